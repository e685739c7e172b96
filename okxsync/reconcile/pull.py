"""Pulling one subject of one account in a window of time over REST.

A *subject* is what is pulled as a unit: orders, fills, bills, and so on. State comes first, so that the live state is
right within seconds; then history, newest first, back to the begin of the window. A subject is complete when every
request has succeeded; after a single failure the gap stays open.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import msgspec
import trio

from okxsync.messages import OrdersNotFound, Rows
from okxsync.okx import endpoints
from okxsync.okx.channels import channel_of, covers_row
from okxsync.okx.codes import Action
from okxsync.okx.endpoints import Endpoint, Walk, has_none, is_not_offered
from okxsync.reconcile.held import Held
from okxsync.rest.client import AccountClient, RestError
from okxsync.rest.http import UNREADABLE
from okxsync.runtime.clock import now_us
from okxsync.runtime.outbox import Outbox

SUBJECTS: Final[Mapping[str, tuple[str, ...]]] = {
    "orders": ("orders", "fills"),
    "fills": ("fills",),
    "orders-algo": ("algo orders",),
    "algo-advance": ("algo orders",),
    "account": ("balances", "bills"),
    "balance_and_position": ("balances", "bills", "positions", "closed positions"),
    "positions": ("positions", "closed positions"),
    "deposit-info": ("deposits",),
    "withdrawal-info": ("withdrawals",),
}
"""What must be pulled to backfill a channel, by its name; other channels cannot be backfilled."""
TO_VERIFY: Final[Mapping[str, tuple[str, ...]]] = {
    "orders": ("orders", "fills"),
    "orders-algo": ("algo orders",),
    "account": ("balances",),
    "positions": ("positions",),
    "balance_and_position": ("new bills", "positions"),
}
"""What shows whether a live channel has pushed everything."""

UNFILLED_KEPT_MS: Final = 2 * 3600 * 1000
"""Orders that were cancelled without a fill are in no list after two hours (OKX docs: GET trade/orders-history)."""
DEEPEST_MS: Final = 90 * endpoints.DAY_MS
NOT_KEPT: Final = "OKX keeps no history of this channel"
NOT_ASKED: Final = "not backfilled: the complete list is loaded again"
SETTLE_S: Final = 2.0
"""REST may lag behind the pushes by a second; what happened just before a subscription must be visible."""
_NOT_IN_DEMO: Final = "50038"
"""Demo trading has no deposits and withdrawals (OKX docs: overview-demo-trading-services)."""
_NO_SUCH_ORDER: Final = ("51603", "51001")
LAG_MS: Final = 2000
"""A reply of REST may show the state of so long ago. No gap is backfilled sooner after its end, so the reply includes
everything that has changed in it."""
RECEIVED_US: Final = 5_000_000
"""What was received so shortly before the request may not be in REST's lists yet, nor be found by its id."""
AGAIN_S: Final = 2.0
"""What is not found is requested again so much later, before it counts as not found."""


class Window(msgspec.Struct, frozen=True):
    """A span of time in milliseconds; it reaches up to now if it has no end."""

    since_ms: int
    until_ms: int | None = None


NOW: Final = Window(0)
"""For what is pending: all of it, however long ago it was placed."""


class Puller:
    """Pulls subjects of one account.

    Args:
        client: The account's.
        send: Where the rows go; they are written like pushes, and never over anything newer.
        held: What is stored already.
        on_rows: Called after each request with the number of its rows.
        only: Arguments of a subscription: rows that it does not report are left out.
        plain_algos: Leave out the algo orders that ``orders-algo`` does not report.
        overlap_ms: How much more than a window is requested.
    """

    def __init__(
        self,
        client: AccountClient,
        send: Outbox,
        held: Held,
        on_rows: Callable[[int], None] = lambda rows: None,
        *,
        only: Mapping[str, str] | None = None,
        plain_algos: bool = False,
        overlap_ms: int = endpoints.OVERLAP_MS,
    ) -> None:
        self._client = client
        self._send = send
        self._held = held
        self._on_rows = on_rows
        self._only = only or {}
        self._kinds = endpoints.PLAIN_ALGOS if plain_algos else None
        self._overlap_ms = overlap_ms
        self._unknown: list[str] = []  # what OKX does not report
        self._subjects: dict[str, Callable[[Window], Awaitable[None]]] = {
            "orders": self._orders,
            "fills": self._fills,
            "algo orders": self._algo_orders,
            "balances": self._balances,
            "bills": self._bills,
            "new bills": self._new_bills,
            "positions": self._positions,
            "closed positions": self._closed_positions,
            "deposits": self._deposits,
            "withdrawals": self._withdrawals,
        }

    async def pull(self, subject: str, window: Window) -> str | None:
        """Pull all of ``subject`` in a window of time; return what OKX cannot report of it, or None.

        Raises:
            RestError: a request failed. What was received before it is stored; the subject is not complete.
            StoreError: the database cannot be read.
        """
        try:
            await self._subjects[subject](window)
        except RestError as error:
            if error.code != _NOT_IN_DEMO:
                raise
            return f"{subject}: {error}"
        more = f" (and {len(self._unknown) - 1} more)" if len(self._unknown) > 1 else ""
        return f"{self._unknown[0]}{more}" if self._unknown else None

    async def _orders(self, window: Window) -> None:
        held = self._held.open_orders(RECEIVED_US)  # before the request: an order placed later cannot be missing
        listed: set[str] = set()
        await self._sweep(endpoints.ORDERS_PENDING, NOW, listed)
        await self._sweep(endpoints.ORDERS, window, listed)
        if self._reach(endpoints.ORDERS, endpoints.ORDERS_ARCHIVE, window) is endpoints.ORDERS_ARCHIVE:
            await self._sweep(endpoints.ORDERS_ARCHIVE, window, listed)  # it lacks orders cancelled without a fill
        ids = {ord_id: {"instId": inst_id or "", "ordId": ord_id} for ord_id, inst_id in held if ord_id not in listed}
        await self._look_up("orders", "trade/order", ids)

    async def _fills(self, window: Window) -> None:
        await self._sweep(self._reach(endpoints.FILLS, endpoints.FILLS_ARCHIVE, window), window)

    async def _algo_orders(self, window: Window) -> None:
        held = self._held.open_algo_orders(RECEIVED_US)
        listed: set[str] = set()
        await self._sweep(endpoints.ALGO_PENDING, NOW, listed)
        await self._sweep(endpoints.ALGO_HISTORY, window, listed)  # by cTime: it may not reach old ones
        kinds = None if self._kinds is None else {kind for kinds in self._kinds for kind in kinds.split(",")}
        missing = (name for name, kind in held if name not in listed and (kinds is None or kind in kinds))
        ids = {algo_id: {"algoId": algo_id} for algo_id in missing}
        await self._look_up("orders-algo", "trade/order-algo", ids)

    async def _look_up(self, channel: str, path: str, ids: Mapping[str, Mapping[str, str]]) -> None:
        """Request orders that no list contains, each by its id. What is not found twice counts as not found.

        So does an order whose look-up OKX rejects: it is not pending, and otherwise it would keep every gap open.
        """
        missing = [*ids]
        for wait_s in (0.0, AGAIN_S):
            if missing:
                await trio.sleep(wait_s)
            began_us, as_of_ms = now_us(), self._as_of_ms()
            rejected = {name: await self._look_up_one(channel, path, ids[name]) for name in missing}
            missing = [name for name, why in rejected.items() if why is not None]
        if missing:
            self._unknown += [f"the end of order {name}: {why}" for name, why in rejected.items() if why]
            await self._send.send(OrdersNotFound(self._client.name, channel, missing, began_us, as_of_ms))

    async def _look_up_one(self, channel: str, path: str, params: Mapping[str, str]) -> str | None:
        """Request one order; return None if it is found, ``""`` if it is not, or why OKX rejects the look-up."""
        try:
            return None if await self._fetch(channel, path, params) else ""
        except RestError as error:
            if error.code in _NO_SUCH_ORDER:
                return ""
            if error.action not in (Action.FIX, Action.REJECT):
                raise
            return str(error)

    async def _balances(self, window: Window) -> None:
        await self._fetch("account", "account/balance", {}, complete=True)

    async def _bills(self, window: Window) -> None:
        if (fetched_until := self._held.bills_until_ms()) is not None:
            window = Window(min(window.since_ms, fetched_until), window.until_ms)
        await self._new_bills(window)

    async def _new_bills(self, window: Window) -> None:
        await self._sweep(self._reach(endpoints.BILLS, endpoints.BILLS_ARCHIVE, window), window)

    async def _positions(self, window: Window) -> None:
        await self._fetch("positions", "account/positions", {}, complete=True)

    async def _closed_positions(self, window: Window) -> None:
        await self._sweep(endpoints.CLOSED_POSITIONS, window)

    async def _deposits(self, window: Window) -> None:
        await self._sweep(endpoints.DEPOSITS, window)

    async def _withdrawals(self, window: Window) -> None:
        await self._sweep(endpoints.WITHDRAWALS, window)

    def _reach(self, near: Endpoint, archive: Endpoint, window: Window) -> Endpoint:
        return endpoints.reaching(near, archive, window.since_ms, now_us() // 1000)

    async def _sweep(self, endpoint: Endpoint, window: Window, listed: set[str] | None = None) -> None:
        """Read all pages of all sweeps of an endpoint; add the ids that they contain to ``listed``."""
        for sweep in endpoint.sweeps:
            if self._kinds and sweep.get("ordType", self._kinds[0]) not in self._kinds:
                continue
            walk = Walk(endpoint, sweep, window.since_ms - self._ahead_ms(), window.until_ms, self._overlap_ms)
            while walk.params is not None:
                try:
                    rows = await self._fetch(endpoint.channel, endpoint.path, walk.params, priority=1)
                except RestError as error:
                    if not is_not_offered(sweep, error.code):
                        raise
                    if not has_none(error.code):
                        self._unknown.append(f"{sweep['instType']}: {error}")
                    break
                if listed is not None:
                    listed.update(str(row.get(endpoint.cursor, "")) for row in rows)
                try:
                    walk.take(rows)
                except ValueError as error:
                    raise _broken(endpoint.path, str(error)) from None

    def _ahead_ms(self) -> int:
        """Return by how much our clock is ahead of this site's: such times are its future.

        That is so while a measurement is not confirmed, and if two sites disagree (see ``runtime.clock``).
        """
        return max(0, now_us() // 1000 - self._client.now_ms())

    def _as_of_ms(self) -> int:
        """Return as of when the reply to a request of now is true, by the exchange's clock."""
        return self._client.now_ms() - LAG_MS

    async def _fetch(
        self, channel: str, path: str, params: Mapping[str, str], *, priority: int = 0, complete: bool = False
    ) -> list[dict[str, object]]:
        """Request one page, and send its rows as of before the request: what is pushed meanwhile is newer.

        Args:
            complete: The page is the complete state.
        """
        began_us, as_of_ms = now_us(), self._as_of_ms()
        body = await self._client.get(path, params, priority=priority)
        try:
            rows = msgspec.json.decode(body, type=list[dict[str, object]])
        except UNREADABLE:
            raise _broken(path, "data is not a list of objects") from None
        if self._only:
            reported = [row for row in rows if covers_row(self._only, row)]
            body, complete = msgspec.json.encode(reported), False
        if rows or complete:
            await self._send.send(Rows(self._client.name, channel, body.decode(), began_us, as_of_ms, complete))
        self._on_rows(len(rows))
        return rows


def subjects_of(key: str) -> tuple[str, ...]:
    """Return what must be pulled to backfill a channel; that may include rows that its arguments leave out."""
    return SUBJECTS.get(channel_of(key), ())


def outcome_of(key: str, from_ms: int, now_ms: int, unknown: str | None = None) -> tuple[str, str | None]:
    """Return the outcome of a gap whose every request has succeeded: ``filled``, or ``partial`` with a note.

    Args:
        key: The channel's, as in coverage.
        unknown: What OKX cannot report.
    """
    if unknown:
        return "partial", unknown
    channel = channel_of(key)
    if channel not in SUBJECTS:
        return "partial", NOT_ASKED if channel == "instruments" else NOT_KEPT
    if now_ms - from_ms > DEEPEST_MS:
        return "partial", "beyond OKX's retention of three months"
    if channel == "orders" and now_ms - from_ms > UNFILLED_KEPT_MS:
        return "partial", "orders cancelled without a fill are not kept by OKX for more than two hours"
    return "filled", None


def _broken(path: str, what: str) -> RestError:
    return RestError(f"{path}: {what}", Action.RETRY)
