"""An unexpected error of one account: the others go on, and the account is tried again."""

import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import pytest
import trio
from trio.testing import MockClock

from okxsync.accounts.registry import Registry
from okxsync.config.secret import Secret
from okxsync.config.settings import AccountSettings
from okxsync.messages import ConfiguredAccount, Frames, GapResult, Message, Note, Pong, Subscribed, Verified
from okxsync.okx.channels import subscription
from okxsync.okx.sites import Site
from okxsync.reconcile.gaps import GapSource
from okxsync.reconcile.held import Reads
from okxsync.reconcile.reconciler import Reconciler, Source
from okxsync.reconcile.rest_only import RestOnlySource
from okxsync.reconcile.stalled import StalledSource
from okxsync.reconcile.timings import TIMINGS
from okxsync.rest.client import AccountClient
from okxsync.rest.clock import SiteClock
from okxsync.runtime import clock
from okxsync.store.engines import open_database
from okxsync.store.writer import Writer
from tests.support.desk import make_database, phase
from tests.support.mock_http import MockHttp
from tests.support.outbox import queue, received
from tests.support.replies import reply

NOW_S = 1_700_000_000
SITE = Site("http://127.0.0.1:1", "ws://127.0.0.1:1/", "ws://127.0.0.1:1/", "ws://127.0.0.1:1/")


class BrokenSecret(Secret):
    """Raises what no code of ours expects."""

    def reveal(self) -> str:
        return str(1 / 0)


def account(name: str) -> AccountSettings:
    secret = (BrokenSecret if name == "broken" else Secret)("secret", Path())
    return AccountSettings(name, "local", SITE, False, secret, secret, secret, (subscription("orders"),), True)


class Office:
    """Account "broken", whose every request fails, and "sound", whose every reply is empty; both have all to fetch."""

    def __init__(self, folder: Path) -> None:
        self.database = folder / "okxsync.db"
        make_database(self.database)
        self.reads = Reads(self.database, threads=False)
        http = MockHttp(self._answer)
        names = ("broken", "sound")
        self.client_of = {name: AccountClient(http, account(name), SiteClock(http, SITE.rest)) for name in names}.get
        self.asked: list[str] = []  # paths
        self.send, self._receive = queue()
        self.received: list[Message] = []
        self._news = trio.Event()

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.url.path.removeprefix("/api/v5/"))
        return reply({"code": "0", "data": []})

    def reconciler(self, source: Source) -> Reconciler:
        return Reconciler([source], self.reads, self.client_of, self.send)

    def store(self, *messages: Message) -> None:
        database = open_database(self.database)
        writer = Writer(database)
        writer.apply(messages)
        writer.flush()
        database.close()

    def subscribe(self, *, gap: bool) -> None:
        """``orders`` of both accounts are live since five minutes, with or without a gap before."""
        at = now_us() - 300_000_000
        for name in ("broken", "sound"):
            self.store(Subscribed(1, name, ["orders"], at, 60_000_000 if gap else 0))

    def change_cash(self) -> None:
        for name in ("broken", "sound"):
            self.store(ConfiguredAccount(name, "local", False, now_us(), None))
            balance = {"ccy": "USDT", "cashBal": "5", "uTime": str(now_us() // 1000)}
            push = {"arg": {"channel": "account"}, "data": [{"uTime": balance["uTime"], "details": [balance]}]}
            self.store(Frames(1, name, [(now_us(), json.dumps(push))]))

    async def answer_pings(self) -> None:
        self.store(phase(now_us()))
        while True:
            await trio.sleep(5)
            self.store(Pong(1, "sound", now_us(), 0))

    async def collect(self) -> None:
        async for message in received(self._receive):
            self.received.append(message)
            self._news.set()
            self._news = trio.Event()

    async def notes(self, count: int) -> list[Note]:
        """Wait for so many journal entries, and return them."""
        while True:
            notes = [one for one in self.received if isinstance(one, Note)]
            if len(notes) >= count:
                return notes
            await self._news.wait()


@pytest.fixture(autouse=True)
def virtual_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wall clock follows trio's; the test itself must take autojump_clock."""
    monkeypatch.setattr(time, "time_ns", lambda: round((NOW_S + trio.current_time()) * 1e9))
    monkeypatch.setattr(time, "clock_gettime", lambda clock: trio.current_time())
    monkeypatch.setattr(clock, "current", clock.Clock())


def now_us() -> int:
    return time.time_ns() // 1000


async def failed_twice(
    office: Office, work: Callable[[], Awaitable[object]], subject: str, pause_s: float = 60.0
) -> None:
    """Run ``work`` until "broken" has failed a second time, a while after the first."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(office.collect)
        nursery.start_soon(work)
        first, second = (await office.notes(2))[:2]
        nursery.cancel_scope.cancel()
    assert second.at - first.at >= pause_s * 1e6
    for note in (first, second):
        assert (note.level, note.account, note.event) == ("error", "broken", "internal-error")
        assert note.detail.startswith(f"{subject}: ZeroDivisionError at config/reveal.py:")


async def test_gaps(tmp_path: Path, autojump_clock: MockClock) -> None:
    office = Office(tmp_path)
    office.subscribe(gap=True)
    await failed_twice(office, office.reconciler(GapSource(office.reads, TIMINGS)).run, "broken: backfilling gaps")
    assert any(isinstance(one, GapResult) and one.outcome for one in office.received)


async def test_verification(tmp_path: Path, autojump_clock: MockClock) -> None:
    async def stale(*what: object) -> None:
        raise AssertionError(what)

    office = Office(tmp_path)
    office.subscribe(gap=False)
    reconciler = office.reconciler(StalledSource(office.reads, office.send, stale, TIMINGS))

    async def work() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(office.answer_pings)
            nursery.start_soon(reconciler.run)

    await failed_twice(office, work, "broken: verifying orders")
    assert any(isinstance(one, Verified) and one.listener == "sound" for one in office.received)


async def test_what_is_not_pushed(tmp_path: Path, autojump_clock: MockClock) -> None:
    office = Office(tmp_path)
    reconciler = office.reconciler(RestOnlySource(office.reads, office.client_of, TIMINGS))

    async def work() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reconciler.run)
            await trio.sleep(1)
            office.change_cash()

    await failed_twice(office, work, "broken: fetching bills", TIMINGS.refetch_s)
    assert "account/bills" in office.asked


async def test_the_registry(tmp_path: Path, autojump_clock: MockClock) -> None:
    async def changed(name: str) -> None:
        raise AssertionError(name)

    office = Office(tmp_path)
    registry = Registry(office.client_of, office.send, {}, changed)
    registry.configure([account("broken")])
    await failed_twice(office, lambda: registry.identify([account("broken")]), "broken: account/config")
