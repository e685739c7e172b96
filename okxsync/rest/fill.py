"""Asking REST for what was pushed while nobody listened, one account at a time.

A *subject* is what one question can prove: orders with their fills, money with its bills, and so on. State comes first,
so that the live picture is right within seconds, then history, newest first, back to where the gap began. A subject is
proved when every call succeeded; a single failure proves nothing, and the gap stays open.
"""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import msgspec
import trio

from okxsync.okx import history
from okxsync.okx.history import Endpoint, Walk
from okxsync.rest.client import AccountClient, RestError
from okxsync.store.batch import Message, Rows

SUBJECTS: Final[Mapping[str, tuple[str, ...]]] = {
    "orders": ("orders",),
    "orders-algo": ("algo orders",),
    "algo-advance": ("algo orders",),
    "account": ("money",),
    "balance_and_position": ("money", "positions"),
    "positions": ("positions",),
    "deposit-info": ("deposits",),
    "withdrawal-info": ("withdrawals",),
}
"""What must be asked to prove a channel; of other channels OKX keeps no history."""

UNFILLED_KEPT_MS: Final = 2 * 3600 * 1000
"""Orders that were cancelled without a fill are in no list after two hours (OKX docs: GET trade/orders-history)."""
NOT_KEPT: Final = "OKX keeps no history of this channel"
_NO_SUCH_ORDER: Final = ("51603", "51001")

OpenOrders = Callable[[], Sequence[tuple[str, str]]]


class Filler:
    """Fills one account's window of time.

    Args:
        client: Asks.
        send: Where the rows go; they are written like pushes, and never over anything newer.
        open_orders: Our own orders that are not ended as far as we know: (ordId, instId).
    """

    def __init__(self, client: AccountClient, send: trio.MemorySendChannel[Message], open_orders: OpenOrders) -> None:
        self._client = client
        self._send = send
        self._open_orders = open_orders
        self._subjects: dict[str, Callable[[int], Awaitable[int]]] = {
            "orders": self._orders,
            "algo orders": self._algo_orders,
            "money": self._money,
            "positions": self._positions,
            "deposits": self._deposits,
            "withdrawals": self._withdrawals,
        }

    async def fill(self, subject: str, since_ms: int) -> int:
        """Ask for all of ``subject`` since a time; return how many rows came.

        Raises:
            RestError: some part failed; what came before it is stored, and proves nothing.
        """
        return await self._subjects[subject](since_ms)

    async def _orders(self, since_ms: int) -> int:
        held = self._open_orders()  # before we ask: an order placed later is not missing from the answer
        listed: set[str] = set()
        count = await self._walk(history.ORDERS_PENDING, 0, listed)
        count += await self._sweep(self._reach(history.ORDERS, history.ORDERS_ARCHIVE, since_ms), since_ms, listed)
        for ord_id, inst_id in held:
            if ord_id not in listed:
                count += await self._look_up(ord_id, inst_id)
        return count + await self._sweep(self._reach(history.FILLS, history.FILLS_ARCHIVE, since_ms), since_ms)

    async def _look_up(self, ord_id: str, inst_id: str) -> int:
        """Ask for one order that no list names; one that is nowhere is gone."""
        try:
            return await self._rows("orders", "trade/order", {"instId": inst_id, "ordId": ord_id})
        except RestError as error:
            if error.code not in _NO_SUCH_ORDER:
                raise
        gone = {"ordId": ord_id, "instId": inst_id, "state": "gone", "uTime": str(_now_ms())}
        await self._send.send(Rows(self._client.name, "orders", msgspec.json.encode([gone]).decode(), _now_us()))
        return 1

    async def _algo_orders(self, since_ms: int) -> int:
        count = await self._sweep(history.ALGO_PENDING, 0)
        return count + await self._sweep(history.ALGO_HISTORY, since_ms)

    async def _money(self, since_ms: int) -> int:
        count = await self._rows("account", "account/balance", {})
        return count + await self._sweep(self._reach(history.BILLS, history.BILLS_ARCHIVE, since_ms), since_ms)

    async def _positions(self, since_ms: int) -> int:
        count = await self._rows("positions", "account/positions", {})
        return count + await self._sweep(history.CLOSED_POSITIONS, since_ms)

    async def _deposits(self, since_ms: int) -> int:
        return await self._sweep(history.DEPOSITS, since_ms)

    async def _withdrawals(self, since_ms: int) -> int:
        return await self._sweep(history.WITHDRAWALS, since_ms)

    def _reach(self, near: Endpoint, archive: Endpoint, since_ms: int) -> Endpoint:
        return history.reaching(near, archive, since_ms, _now_ms())

    async def _sweep(self, endpoint: Endpoint, since_ms: int, listed: set[str] | None = None) -> int:
        count = 0
        for sweep in endpoint.sweeps:
            count += await self._walk(endpoint, since_ms, listed, sweep)
        return count

    async def _walk(
        self, endpoint: Endpoint, since_ms: int, listed: set[str] | None = None, sweep: Mapping[str, str] | None = None
    ) -> int:
        count = 0
        walk = Walk(endpoint, sweep or {}, since_ms)
        while walk.params is not None:
            body = await self._client.get(endpoint.path, walk.params)
            rows = _rows_of(body, endpoint.path)
            if rows:
                await self._send.send(Rows(self._client.name, endpoint.channel, body.decode(), _now_us()))
            count += len(rows)
            if listed is not None:
                listed.update(str(row.get("ordId", "")) for row in rows)
            try:
                walk.took(rows)
            except ValueError as error:
                raise _broken(endpoint.path, str(error)) from None
        return count

    async def _rows(self, channel: str, path: str, params: Mapping[str, str]) -> int:
        body = await self._client.get(path, params, priority=0)
        count = len(_rows_of(body, path))
        await self._send.send(Rows(self._client.name, channel, body.decode(), _now_us()))
        return count


def outcome_of(channel: str, from_ms: int, now_ms: int) -> tuple[str, str | None]:
    """Return how a gap ends whose every question was answered: ``filled``, or ``partial`` with a note."""
    if channel not in SUBJECTS:
        return "partial", NOT_KEPT
    if channel == "orders" and now_ms - from_ms > UNFILLED_KEPT_MS:
        return "partial", "orders cancelled without a fill are not kept by OKX for more than two hours"
    return "filled", None


def _rows_of(body: bytes, path: str) -> list[dict[str, object]]:
    try:
        return msgspec.json.decode(body, type=list[dict[str, object]])
    except (msgspec.DecodeError, UnicodeError):
        raise _broken(path, "data is not a list of objects") from None


def _broken(path: str, what: str) -> RestError:
    from okxsync.okx.errors import Action

    return RestError(f"{path}: {what}", Action.RETRY)


def _now_us() -> int:
    return time.time_ns() // 1000


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
