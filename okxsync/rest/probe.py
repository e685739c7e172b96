"""Whether ``orders`` is alive, or dead while its socket lives.

It pushes only when something happens, so silence proves nothing; and what is pushed now does not prove that nothing
was lost before. So every minute (with many accounts less often) REST is asked what it knows of the time since the last
question: each order that is pending, or was placed since and has ended, must stand in our tables as it is, and each
order that we hold as open must be pending. If so, the channel is proved up to there. If not, it is dead since the last
time that it was proved.
"""

import logging
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import msgspec
import trio

from okxsync.okx import history
from okxsync.okx.errors import Action
from okxsync.okx.history import Endpoint, Walk
from okxsync.rest.client import AccountClient, RestError
from okxsync.store.batch import Message, Proved
from okxsync.store.queries import Held, LiveOrders, live_orders, missing_order

log = logging.getLogger("okxsync.rest")

PROBE_S: Final = 60.0
PER_S: Final = 2.0
"""Accounts asked per second at most, so that a thousand cost 3 % of a processor; each is asked the later."""
LOOK_S: Final = 5.0
SETTLE_S: Final = 5.0
"""What happened so short a time before the question may still be on its way to our tables, or to REST's."""
AT_ONCE: Final = 16
ORDERS: Final = "orders"

Doubt = Callable[[str, str, int, str], Awaitable[None]]


class Probe:
    """Asks for each account once in a while.

    Args:
        send: Where proofs go.
        doubt: Called with account, channel, until when it was proved to be alive (local microseconds), and why.
    """

    def __init__(
        self,
        database: Path,
        client_of: Callable[[str], AccountClient | None],
        send: trio.MemorySendChannel[Message],
        doubt: Doubt,
    ) -> None:
        self._database = database
        self._client_of = client_of
        self._send = send
        self._doubt = doubt
        self._proved: dict[str, int] = {}  # by account: until when, in local microseconds
        self._asked: dict[str, int] = {}
        self._limit = trio.CapacityLimiter(AT_ONCE)

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            while True:
                await trio.sleep(LOOK_S)
                live = live_orders(self._database)
                every_us = max(PROBE_S, len(live) / PER_S) * 1e6
                for one in live:
                    due_at = max(one.since_at, self._asked.get(one.account, 0)) + every_us
                    if _now_us() >= due_at and (client := self._client_of(one.account)):
                        self._asked[one.account] = _now_us()
                        nursery.start_soon(self._ask, client, one)

    async def _ask(self, client: AccountClient, one: LiveOrders) -> None:
        proved, until = max(one.since_at, self._proved.get(one.account, 0)), _now_us() - int(SETTLE_S * 1e6)
        try:
            async with self._limit:
                missing = await self._missing(client, proved, until)
        except RestError as error:
            log.warning("%s: cannot ask whether its orders are pushed: %s", one.account, error)
            return
        if one not in live_orders(self._database):  # lost meanwhile: there is a gap, which others fill
            return
        if missing:
            await self._doubt(one.account, ORDERS, proved, f"{ORDERS}: dead, although its connection lives: {missing}")
        else:
            self._proved[one.account] = until
            await self._send.send(Proved(one.account, ORDERS, until))

    async def _missing(self, client: AccountClient, since_us: int, until_us: int) -> str | None:
        """Return what happened between two times and was not told to us, in words."""
        ahead_ms = client.now_ms() - _now_us() // 1000  # the exchange's clock, of ours
        since_ms, until_ms = since_us // 1000 + ahead_ms, until_us // 1000 + ahead_ms
        held = Held(self._database, client.name, until_us)
        before = held.open_orders()
        told = await _walk(client, history.ORDERS_PENDING, 0)
        told |= await _walk(client, history.ORDERS, since_ms)
        then = {ord_id: at for ord_id, at in told.items() if since_ms < at < until_ms}
        if ord_id := missing_order(self._database, client.name, then):
            return f"order {ord_id} was not pushed"
        if unlisted := set(before) - {(ord_id, inst_id) for ord_id, inst_id in before if ord_id in told}:
            await trio.sleep(SETTLE_S)  # they have ended, perhaps just now
            for ord_id, _ in unlisted & set(held.open_orders()):
                return f"the end of order {ord_id} was not pushed"
        return None


async def _walk(client: AccountClient, endpoint: Endpoint, since_ms: int) -> dict[str, int]:
    """Return the orders that an endpoint lists, each with its ``uTime``."""
    told: dict[str, int] = {}
    for sweep in endpoint.sweeps:
        walk = Walk(endpoint, sweep, since_ms)
        while walk.params is not None:
            try:
                rows = msgspec.json.decode(await client.get(endpoint.path, walk.params), type=list[dict[str, object]])
                told.update((str(row["ordId"]), int(str(row["uTime"]))) for row in rows)
                walk.took(rows)
            except (msgspec.DecodeError, UnicodeError, KeyError, ValueError) as error:
                raise RestError(f"{endpoint.path}: not the rows that are documented: {error}", Action.RETRY) from None
    return told


def _now_us() -> int:
    return time.time_ns() // 1000
