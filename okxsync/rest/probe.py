"""Whether a channel that is silent has nothing to say, or is dead while its socket lives.

``orders`` pushes only when something happens, so silence proves nothing. Where no order was pushed for a minute, two
cheap questions tell: what is pending, and what was filled last? Whatever the answers name must be in our tables, for
it was pushed before. If it is not, the channel is dead: since the last time that it was proved to be alive.
"""

import logging
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import msgspec
import trio

from okxsync.rest.client import AccountClient, RestError
from okxsync.store.queries import has_order, silent_orders

log = logging.getLogger("okxsync.rest")

PROBE_S: Final = 60.0
LOOK_S: Final = 5.0
SETTLE_MS: Final = 5_000
"""What happened so short a time before the question may still be on its way to our tables."""
AT_ONCE: Final = 16
ORDERS: Final = "orders"

Doubt = Callable[[str, str, int, str], Awaitable[None]]


class Probe:
    """Asks for silent accounts, each at most once in a while.

    Args:
        doubt: Called with account, channel, until when it was proved to be alive (local microseconds), and why.
    """

    def __init__(self, database: Path, client_of: Callable[[str], AccountClient | None], doubt: Doubt) -> None:
        self._database = database
        self._client_of = client_of
        self._doubt = doubt
        self._proved: dict[str, int] = {}  # by account: when it was asked last, and nothing was missing
        self._asked: dict[str, float] = {}
        self._limit = trio.CapacityLimiter(AT_ONCE)

    async def run(self) -> None:
        while True:
            await trio.sleep(LOOK_S)
            now = trio.current_time()
            silent = silent_orders(self._database, _now_us() - int(PROBE_S * 1e6))
            due = [one for one in silent if now - self._asked.get(one.account, 0.0) >= PROBE_S]
            async with trio.open_nursery() as nursery:
                for one in due:
                    self._asked[one.account] = now
                    nursery.start_soon(self._ask, one.account, one.alive_at)

    async def _ask(self, account: str, alive_at: int) -> None:
        client = self._client_of(account)
        if client is None:
            return
        asked_us = _now_us()
        alive_at = max(alive_at, self._proved.get(account, 0))
        ahead_ms = client.now_ms() - asked_us // 1000  # the exchange's clock, of ours
        between = alive_at // 1000 + ahead_ms + SETTLE_MS, client.now_ms() - SETTLE_MS
        try:
            async with self._limit:
                missing = await self._missing(client, *between)
        except RestError as error:
            log.warning("%s: cannot ask whether its orders are pushed: %s", account, error)
            return
        if missing:
            why = f"{ORDERS}: dead, although its connection lives: {missing} was not pushed"
            await self._doubt(account, ORDERS, alive_at, why)
        else:
            self._proved[account] = asked_us - SETTLE_MS * 1000

    async def _missing(self, client: AccountClient, since_ms: int, until_ms: int) -> str | None:
        """Return what happened in a time and was not told to us, in words."""
        for path, time_of, what in (
            ("trade/orders-pending", "uTime", "order"),
            ("trade/fills", "fillTime", "a fill of"),
        ):
            for row in await _rows(client, path):
                at, ord_id = _moment(row.get(time_of)), str(row.get("ordId"))
                if since_ms < at < until_ms and not has_order(self._database, client.name, ord_id, at):
                    return f"{what} {ord_id}"
        return None


async def _rows(client: AccountClient, path: str) -> list[dict[str, object]]:
    try:
        return msgspec.json.decode(await client.get(path, {"limit": "100"}), type=list[dict[str, object]])
    except (msgspec.DecodeError, UnicodeError):
        return []  # nothing is proved either way


def _moment(text: object) -> int:
    return int(text) if isinstance(text, str) and text.isdecimal() else 0


def _now_us() -> int:
    return time.time_ns() // 1000
