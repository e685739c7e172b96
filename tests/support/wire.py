"""One account on the sandbox's exchange in virtual time: its pushes and pongs travel on a wire that may be slow.

Here are the real probe, writer and database. In place of the network is a queue for the connection and a function for
REST, so that a plan decides what is late, by how much, and what is lost.
"""

import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import trio
from trio.testing import MockClock

from okxsync.messages import Frames, Pong, Verified
from okxsync.okx.channels import subscription
from okxsync.rest.client import AccountClient
from okxsync.runtime.outbox import Outbox
from okxsync.sandbox.exchange.exchange import Exchange, OrderRejected
from okxsync.sandbox.faults.rules import Faults, Terms
from okxsync.sandbox.server.channels import CHANNELS
from okxsync.sandbox.server.endpoints import READ_ENDPOINTS
from okxsync.sandbox.server.hub import Hub, Subscription
from okxsync.sandbox.server.read_request import ReadRequest
from tests.support import live_accounts
from tests.support.desk import Desk
from tests.support.outbox import queued
from tests.support.replies import reply

ENDPOINTS = {each.path: each for each in READ_ENDPOINTS}
PING_S = 5.0
STEP_S = 0.1
"""How often frames are delivered, and what was delivered is written."""


def now_us() -> int:
    return time.time_ns() // 1000


class Wire:
    """What the exchange has sent on a connection and the client has not received: in order, each `delay_s` late.

    Attributes:
        lost: Says of a frame whether it is lost on the way.
    """

    def __init__(self, send: Outbox, name: str) -> None:
        self.delay_s = 0.0
        self.lost: Callable[[str], bool] = lambda frame: False
        self._send = send
        self._name = name
        self._queue: deque[tuple[float, str | int]] = deque()  # when it arrives; a frame, or a ping's local time

    def send(self, frame: str) -> None:
        if not self.lost(frame):
            self._put(frame)

    def ping(self) -> None:
        """Send a ping, which the exchange answers at once."""
        self._put(now_us())

    def deliver(self) -> None:
        while self._queue and self._queue[0][0] <= trio.current_time():
            _, what = self._queue.popleft()
            if isinstance(what, str):
                self._send.send_nowait(Frames(1, self._name, [(now_us(), what)]))
            else:
                self._send.send_nowait(Pong(1, self._name, what, 0))

    def _put(self, what: str | int) -> None:
        earlier = self._queue[-1][0] if self._queue else 0.0
        self._queue.append((max(trio.current_time() + self.delay_s, earlier), what))


class Wired:
    """The account under test.

    Attributes:
        stalled: The verdicts: channel, and why.
        verified: When a channel was verified, and until when (local microseconds).
    """

    def __init__(
        self, desk: Desk, exchange: Exchange, uid: str, found: live_accounts.LiveAccounts, latency_s: float
    ) -> None:
        self.desk = desk
        self.exchange = exchange
        self.uid = uid
        self.latency_s = latency_s
        self.hub = Hub(exchange, Terms(), 1)
        self.wire = Wire(found.send, found.names[0])
        self.verified: list[tuple[str, int]] = []
        self.subscriptions: list[Subscription] = []
        self._found = found

    @property
    def faults(self) -> Faults:
        return self.hub.faults

    @property
    def stalled(self) -> list[tuple[str, str]]:
        return [(channel, why) for _, channel, why in self._found.stale]

    @property
    def client(self) -> AccountClient:
        """The account's REST client."""
        client = self._found.clients.of(self._found.names[0])
        assert client
        return client

    def subscribe(self, channels: Sequence[str | Mapping[str, str]], snapshot_s: float) -> None:
        for one in map(subscription, channels):
            subscribed = Subscription(self.wire, CHANNELS[one.channel], one.arg, self.uid, snapshot_s)
            self.subscriptions.append(subscribed)
            self.hub.subscribe(subscribed)
            self.hub.send_snapshot(subscribed)

    async def answer(self, request: httpx.Request) -> httpx.Response:
        """Answer a REST request with the state in the middle of its way."""
        await trio.sleep(self.latency_s / 2)
        path = request.url.path.removeprefix("/api/v5/")
        asked = ReadRequest(self.exchange, self.faults, self.uid, dict(request.url.params), self.hub.now_ms(), True)
        try:
            body = {"code": "0", "msg": "", "data": ENDPOINTS[path].answer(asked)}
        except OrderRejected as rejected:
            body = {"code": rejected.code, "msg": rejected.message, "data": []}
        await trio.sleep(self.latency_s / 2)
        return reply(body)

    async def run(self) -> None:
        """Deliver, write and ping for as long as it runs."""
        next_ping = trio.current_time()
        while True:
            if trio.current_time() >= next_ping:
                self.wire.ping()
                next_ping += PING_S
            self.hub.send_due_snapshots()
            self.wire.deliver()
            self._write()
            await trio.sleep(STEP_S)

    def _write(self) -> None:
        messages = queued(self._found.receive)
        self.verified += [(one.channel, one.at) for one in messages if isinstance(one, Verified)]
        if messages:
            self.desk.apply(*messages)


@asynccontextmanager
async def wired(
    folder: Path,
    channels: Sequence[str | Mapping[str, str]],
    *,
    snapshot_s: float = 5.0,
    latency_s: float = 0.2,
    seed: int = 3,
    exchange: Exchange | None = None,
    rest_only: bool = False,
) -> AsyncIterator[Wired]:
    """Let the account live and be verified for as long as the block runs.

    Args:
        channels: As in accounts.toml.
        snapshot_s: The period of the regular pushes of ``account`` and ``positions``; 0 for none.
        latency_s: How long a REST request and its answer are on their way, together.
        exchange: One that has the account already; by default one with spot and swaps.
        rest_only: Whether what only REST reports is fetched too: bills, closed positions, fills without an order.
    """
    if exchange is None:
        exchange = Exchange(lambda: time.time_ns() // 1_000_000, seed=seed)
        exchange.add_member("a0")
    [uid] = exchange.members
    exchange.take_pushes()
    desk = Desk(folder / "okxsync.db")
    transport = live_accounts.Exchange(live_accounts.nothing)
    keys = [one.key for one in map(subscription, channels)]
    account = Wired(desk, exchange, uid, live_accounts.LiveAccounts(folder, desk, transport, 1, *keys), latency_s)
    transport.answer = account.answer
    found = account._found
    try:
        async with trio.open_nursery() as nursery:
            account.subscribe(channels, snapshot_s)
            nursery.start_soon(account.run)
            more = [found.rest_only_source()] if rest_only else []
            nursery.start_soon(found.reconciler(found.stalled_source(), *more).run)
            yield account
            nursery.cancel_scope.cancel(reason="the test is over")
    finally:
        desk.database.close()


def in_virtual_time(test: Callable[[], object]) -> None:
    """Run an async function, with trio's clock and the wall clock jumping to the next thing that happens."""
    clock = MockClock(autojump_threshold=0)

    async def run() -> None:
        with pytest.MonkeyPatch.context() as monkeypatch:
            live_accounts.virtual_time(monkeypatch, clock)
            await test()  # type: ignore[misc]

    trio.run(run, clock=clock)
