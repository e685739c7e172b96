"""Pulling one subject of one account in a window of time over REST.

A *subject* is what is pulled as a unit: orders, fills, bills, and so on. State comes first, so that the live state is
right within seconds; then history, newest first, back to the begin of the window.

The result of a subject is one of these:

- An error, if a request failed. It is pulled again later, and a gap stays open.
- Complete: every request has succeeded, and every row of every reply is stored under a key of its own.
- Partial, with notes. Either OKX does not report something (*unknown*), as how an order ended that it cannot find. Or
  OKX rejects one of the requests (*rejected*), or a row cannot be stored or requested (*unstored*): to pull it again
  would change nothing.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Final, TypeAlias

import msgspec
import trio

from okxsync.messages import OrdersNotFound, Rows
from okxsync.okx import endpoints
from okxsync.okx.channels import covers_row
from okxsync.okx.codes import Action
from okxsync.okx.endpoints import Endpoint, Walk, has_none, is_not_offered, is_optional
from okxsync.okx.fill_ids import belongs_to_order, names_order
from okxsync.reconcile.held import AccountReads, Held
from okxsync.reconcile.replies import ReplyCheck
from okxsync.rest.client import AccountClient, RestError
from okxsync.rest.http import UNREADABLE
from okxsync.runtime.clock import now_us
from okxsync.runtime.outbox import Outbox
from okxsync.store.decode import milliseconds
from okxsync.store.envelope import decode_leniently

NEARLY_MS: Final = 3600 * 1000
"""A new account's first window is often as long as the recent list, and begins some minutes before it is pulled."""
_NOT_IN_DEMO: Final = "50038"
"""Demo trading has no deposits and withdrawals (OKX docs: overview-demo-trading-services)."""
UNFINISHED_MS: Final = 7 * endpoints.DAY_MS
"""A deposit or withdrawal that is not stored may take so long. One that is stored is followed however long it takes."""
_FILLS: Final = (endpoints.FILLS, endpoints.FILLS_ARCHIVE)
ALGO_CHANNELS: Final = ("orders-algo", "algo-advance")
_NO_SUCH_ORDER: Final = ("51603", "51001")
AGAIN_S: Final = 2.0
"""What is not found is requested again so much later, before it counts as not found."""

Row: TypeAlias = Mapping[str, object]
Take: TypeAlias = Callable[[Row], None]
_decode_list: Final = msgspec.json.Decoder(list[object]).decode


def _ignore(row: Row) -> None:
    pass


class Window(msgspec.Struct, frozen=True):
    """A span of time in milliseconds; it reaches up to now if it has no end."""

    since_ms: int
    until_ms: int | None = None

    def has(self, time_ms: int) -> bool:
        return self.since_ms <= time_ms and (self.until_ms is None or time_ms <= self.until_ms)


ALL: Final = Window(0)
"""For what is pending: all of it, however long ago it was placed."""


class Pulled(msgspec.Struct, frozen=True):
    """The notes about a subject whose requests have not failed.

    Attributes:
        unknown: What OKX does not report of it.
        rejected: Which requests OKX rejects.
        unstored: Which rows cannot be stored, or cannot be requested because no cursor leads to them.
    """

    unknown: str | None = None
    rejected: str | None = None
    unstored: str | None = None


class Listed(msgspec.Struct):
    """What the replies to one piece of work list.

    Attributes:
        orders: Their ids.
        orders_of_fills: By id, the instruments of the orders that fills name.
        expected: Those of them that OKX must have.
    """

    orders: set[str] = msgspec.field(default_factory=set)
    orders_of_fills: dict[str, str] = msgspec.field(default_factory=dict)
    expected: set[str] = msgspec.field(default_factory=set)


class Puller:
    """Pulls a subject of one account.

    Args:
        client: The account's.
        send: Where the rows go; they are written like pushes, and never over anything newer.
        held: Reads what is stored already.
        on_rows: Called after each request with the number of its rows.
        only: Arguments of a subscription: rows that it does not report are left out.
        plain_algos: Leave out the algo orders that ``orders-algo`` does not report.
        overlap_ms: How much more than a window is requested.
        rest_lag_s: How far a reply may lag behind the pushes.
        listed: Collects what the replies list; subjects of one piece of work share it.
    """

    def __init__(
        self,
        client: AccountClient,
        send: Outbox,
        held: AccountReads,
        on_rows: Callable[[int], None] = lambda rows: None,
        *,
        only: Mapping[str, str] | None = None,
        plain_algos: bool = False,
        overlap_ms: int = endpoints.OVERLAP_MS,
        rest_lag_s: float = endpoints.REST_LAG_S,
        listed: Listed | None = None,
    ) -> None:
        self._client = client
        self._send = send
        self._held = held
        self._on_rows = on_rows
        self._only = only or {}
        self._overlap_ms = overlap_ms
        self._lag_ms = int(rest_lag_s * 1000)
        self._plain_algos = plain_algos
        self._listed = listed or Listed()
        self._checks: dict[str, ReplyCheck] = {}  # by channel
        self._unknown: list[str] = []  # notes
        self._rejected: list[str] = []
        self._unstored: list[str] = []

    async def pull(self, subject: str, window: Window) -> Pulled:
        """Pull all of ``subject`` in a window of time.

        Raises:
            RestError: a request failed. What was received before it is stored.
            StoreError: the database cannot be read.
        """
        try:
            await _SUBJECTS[subject](self, window)
        except RestError as error:
            self._note_rejection(error, {})
        return self._pulled()

    async def pull_orders_of_fills(self) -> Pulled:
        """Pull the orders of the fills in the window that neither a list nor the database has.

        An order that was created before the window is in no list that is sorted by creation. Call it after ``orders``
        and ``fills`` were pulled.

        Raises:
            RestError: a request failed.
            StoreError: the database cannot be read.
        """
        instruments = self._listed.orders_of_fills
        unlisted = instruments.keys() - self._listed.orders
        missing = await self._held.read(lambda held: held.orders_missing(unlisted))
        ids = {ord_id: {"instId": instruments[ord_id], "ordId": ord_id} for ord_id in sorted(missing)}
        found = await self._look_up("orders", "trade/order", ids)
        if lacking := [name for name in found.missing if name in self._listed.expected]:
            self._unknown.append(_count(lacking, "order", "with a fill was not found", "with a fill were not found"))
        return self._pulled()

    def _pulled(self) -> Pulled:
        return Pulled(_first_of(self._unknown), _first_of(self._rejected), _first_of(self._unstored))

    async def _orders(self, window: Window) -> None:
        # Before the request: an order that is placed later cannot be missing from its reply.
        stored, not_found, types, is_mirrored = await self._held.read(
            lambda held: (
                held.open_orders(self._as_of_ms()),
                held.orders_not_found(window.since_ms),
                held.inst_types(),
                bool(self._only) or held.has_orders_before(window.since_ms),
            )
        )
        listed = self._listed.orders

        def take(row: Row) -> None:
            listed.add(_text(row, "ordId"))
            types.add(_text(row, "instType"))

        await self._sweep(endpoints.ORDERS_PENDING, ALL, take)
        for endpoint, until_ms in self._lists(endpoints.ORDERS, endpoints.ORDERS_ARCHIVE, window):
            # The archive lacks orders that were cancelled without a fill.
            since_ms = window.since_ms if is_mirrored else self._created_since_ms(endpoint, window)
            await self._sweep(endpoint, Window(since_ms, until_ms), take, types)
        missing = {name: {"instId": of, "ordId": name} for name, of in (*stored, *not_found) if name not in listed}
        await self._settle("orders", "trade/order", missing, {name for name, _ in not_found})

    def _created_since_ms(self, endpoint: Endpoint, window: Window) -> int:
        """Return since when the orders of a window may have been created, if none of before it is stored.

        The lists are sorted by creation, and have what has ended within their depth. So the recent list is read to its
        end; the archive too, unless the window hardly reaches beyond the recent list: it has orders of three months.
        """
        depth_ms = endpoints.ORDERS.depth_ms or 0
        is_deep = window.since_ms < now_us() // 1000 - depth_ms - NEARLY_MS
        return 0 if endpoint is endpoints.ORDERS or is_deep else window.since_ms

    async def _fills(self, window: Window) -> None:
        reads_archive = endpoints.FILLS_ARCHIVE in (endpoint for endpoint, _ in self._lists(*_FILLS, window))
        # The recent list has all types at once, and is fetched often.
        types = await self._held.read(Held.inst_types) if reads_archive else set[str]()

        def take(row: Row) -> None:
            types.add(_text(row, "instType"))
            ord_id = _text(row, "ordId")
            in_window = window.has(milliseconds(_text(row, "ts"))) and covers_row(self._only, row)
            if in_window and names_order(ord_id):
                self._listed.orders_of_fills[ord_id] = _text(row, "instId")
                if belongs_to_order(ord_id, _text(row, "subType")):
                    self._listed.expected.add(ord_id)

        await self._sweep_lists(*_FILLS, window, take, types)

    async def _algo_orders(self, window: Window) -> None:
        stored, not_found, types, is_mirrored = await self._held.read(
            lambda held: (
                held.open_algo_orders(self._as_of_ms()),
                held.algo_orders_not_found(window.since_ms),
                held.algo_types(),
                self._plain_algos or held.has_orders_before(window.since_ms, ALGO_CHANNELS),
            )
        )
        listed: set[str] = set()

        def take(row: Row) -> None:
            listed.add(_text(row, "algoId"))

        await self._sweep(endpoints.ALGO_PENDING, ALL, take, types)
        # This list is sorted by creation too, and has three months.
        await self._sweep(endpoints.ALGO_HISTORY, window if is_mirrored else Window(0, window.until_ms), take, types)
        missing = {
            name: {"algoId": name}
            for name, type in (*stored, *not_found)
            if name not in listed and (not self._plain_algos or type in endpoints.PLAIN_ALGOS)
        }
        await self._settle("orders-algo", "trade/order-algo", missing, {name for name, _ in not_found})

    async def _settle(
        self, channel: str, path: str, ids: Mapping[str, Mapping[str, str]], not_found: Collection[str]
    ) -> None:
        """Request stored orders that no list contains; those that are not found count as gone.

        So does an order whose look-up OKX rejects: it is not pending, and otherwise it would keep every gap open.

        Args:
            not_found: Those that were not found earlier in this window, and are still of an unknown end.
        """
        found = await self._look_up(channel, path, ids)
        if new := [name for name in found.missing if name not in not_found]:
            await self._send.send(OrdersNotFound(self._client.name, channel, new, found.began_us, found.as_of_ms))
        what = "order" if channel == "orders" else "algo order"
        if gone := [name for name, why in found.missing.items() if not why]:
            self._unknown.append(
                _count(gone, what, "was not found: its end is unknown", "were not found: their ends are unknown")
            )
        self._unknown += [f"the end of {what} {name}: {why}" for name, why in found.missing.items() if why]

    async def _look_up(self, channel: str, path: str, ids: Mapping[str, Mapping[str, str]]) -> "_LookUp":
        """Request orders, each by its id. What is not found twice counts as not found."""
        missing: dict[str, str] = dict.fromkeys(ids, "")
        began_us = as_of_ms = 0
        for wait_s in (0.0, AGAIN_S):
            if missing:
                await trio.sleep(wait_s)
            began_us, as_of_ms = now_us(), self._as_of_ms()
            rejected = {name: await self._look_up_one(channel, path, ids[name]) for name in missing}
            missing = {name: why for name, why in rejected.items() if why is not None}
        return _LookUp(missing, began_us, as_of_ms)

    async def _look_up_one(self, channel: str, path: str, params: Mapping[str, str]) -> str | None:
        """Request one order; return None if it is found, ``""`` if it is not, or why OKX rejects the look-up."""
        try:
            return None if await self._fetch(channel, path, params) else ""
        except RestError as error:
            if error.code in _NO_SUCH_ORDER:
                return ""
            if not error.is_rejection:
                raise
            return str(error)

    async def _balances(self, window: Window) -> None:
        if not await self._fetch("account", "account/balance", {}, complete=True):
            # An account without money has a row too, with an empty list (OKX docs: GET account/balance).
            self._unstored.append("account/balance: the reply has no account")

    async def _bills(self, window: Window) -> None:
        if (fetched_until := await self._held.read(Held.bills_until_ms)) is not None:
            window = Window(min(window.since_ms, fetched_until), window.until_ms)
        await self._new_bills(window)

    async def _new_bills(self, window: Window) -> None:
        await self._sweep_lists(endpoints.BILLS, endpoints.BILLS_ARCHIVE, window)

    async def _positions(self, window: Window) -> None:
        await self._fetch("positions", "account/positions", {}, complete=True)

    async def _closed_positions(self, window: Window) -> None:
        await self._sweep(endpoints.CLOSED_POSITIONS, window)

    async def _deposits(self, window: Window) -> None:
        await self._sweep(endpoints.DEPOSITS, await self._since_unfinished("deposits", ("2",), window))

    async def _withdrawals(self, window: Window) -> None:
        await self._sweep(endpoints.WITHDRAWALS, await self._since_unfinished("withdrawals", ("2", "-1", "-2"), window))

    async def _since_unfinished(self, table: str, final: Collection[str], window: Window) -> Window:
        """Return a window that includes what was made before it and may have ended in it; lists are by creation."""
        made_ms = await self._held.read(lambda held: held.unfinished_since_ms(table, final, window.since_ms))
        return Window(min(made_ms, window.since_ms - UNFINISHED_MS), window.until_ms)

    def _lists(self, near: Endpoint, archive: Endpoint, window: Window) -> list[tuple[Endpoint, int | None]]:
        return endpoints.lists_since(near, archive, window.since_ms, window.until_ms, now_us() // 1000)

    async def _sweep_lists(
        self, near: Endpoint, archive: Endpoint, window: Window, take: Take = _ignore, types: Collection[str] = ()
    ) -> None:
        for endpoint, until_ms in self._lists(near, archive, window):
            await self._sweep(endpoint, Window(window.since_ms, until_ms), take, types)

    async def _sweep(
        self, endpoint: Endpoint, window: Window, take: Take = _ignore, types: Collection[str] = ()
    ) -> None:
        """Read all pages of all sweeps of an endpoint.

        Args:
            take: Called with each row.
            types: Types that the exchange has reported, which the endpoint's own sweeps may lack.
        """
        for sweep in endpoint.sweeps_of(types):
            if self._plain_algos and not {*sweep.get("ordType", "trigger").split(",")} <= {*endpoints.PLAIN_ALGOS}:
                continue
            walk = Walk(endpoint, sweep, window.since_ms - self._ahead_ms(), window.until_ms, self._overlap_ms)
            self._checks.pop(endpoint.channel, None)  # the archive may spell the same rows differently
            while walk.params is not None:
                try:
                    rows = await self._fetch(endpoint.channel, endpoint.path, walk.params, priority=1)
                except RestError as error:
                    self._note_rejection(error, sweep, is_used=sweep.get("instType") in types)
                    break
                for row in rows:
                    if isinstance(row, dict):
                        take(row)
                try:
                    walk.take(rows)
                except ValueError as error:
                    raise RestError(str(error), Action.RETRY) from None
            if walk.incomplete:
                self._unstored.append(walk.incomplete)

    def _note_rejection(self, error: RestError, sweep: Mapping[str, str], *, is_used: bool = False) -> None:
        """Note that OKX rejects a request; any other error is raised.

        Args:
            is_used: The account has traded this type, so it is offered, and a push of it may have been lost.
        """
        note = ": ".join((*sweep.values(), str(error)))
        is_offered = not is_not_offered(sweep, error.code)
        if error.code == _NOT_IN_DEMO:
            self._unknown.append(note)
        elif is_used and (error.is_rejection or not is_offered):
            self._rejected.append(note)
        elif not is_offered:
            self._unknown += [] if has_none(error.code) else [note]
        elif error.is_rejection:
            (self._unknown if is_optional(sweep) else self._rejected).append(note)
        else:
            raise error

    def _ahead_ms(self) -> int:
        """Return by how much our clock is ahead of this site's: such times are its future.

        That is so while a measurement is not confirmed, and if two sites disagree (see ``runtime.clock``).
        """
        return max(0, now_us() // 1000 - self._client.now_ms())

    def _as_of_ms(self) -> int:
        """Return as of when the reply to a request of now is true, by the exchange's clock."""
        return self._client.now_ms() - self._lag_ms

    async def _fetch(
        self, channel: str, path: str, params: Mapping[str, str], *, priority: int = 0, complete: bool = False
    ) -> list[object]:
        """Request one page, and send its rows as of before the request: what is pushed meanwhile is newer.

        Args:
            complete: The page is the complete state.
        """
        began_us, as_of_ms = now_us(), self._as_of_ms()
        body = await self._client.get(path, params, priority=priority)
        try:
            text = body.decode()
            rows = decode_leniently(_decode_list, text)
        except UNREADABLE:
            raise _broken(path, "data is not a list") from None
        rejected = self._checks.setdefault(channel, ReplyCheck(channel)).rejected(rows)
        self._unstored += [f"{path}: a row cannot be stored: {row}" for row in rejected]
        if self._only:
            reported = [row for row in rows if isinstance(row, dict) and covers_row(self._only, row)]
            text, complete = msgspec.json.encode(reported).decode(), False
        if rows or complete:
            await self._send.send(Rows(self._client.name, channel, text, began_us, as_of_ms, complete))
        self._on_rows(len(rows))
        return rows


_SUBJECTS: Final[Mapping[str, Callable[[Puller, Window], Awaitable[None]]]] = {
    "orders": Puller._orders,
    "fills": Puller._fills,
    "algo orders": Puller._algo_orders,
    "balances": Puller._balances,
    "bills": Puller._bills,
    "new bills": Puller._new_bills,
    "positions": Puller._positions,
    "closed positions": Puller._closed_positions,
    "deposits": Puller._deposits,
    "withdrawals": Puller._withdrawals,
}


class _LookUp(msgspec.Struct, frozen=True):
    """What was not found, with the reason if OKX rejects the request; when it was requested last, and as of when."""

    missing: dict[str, str]
    began_us: int
    as_of_ms: int


def _broken(path: str, what: str) -> RestError:
    return RestError(f"{path}: {what}", Action.RETRY)


def _text(row: Row, field: str) -> str:
    return str(row.get(field) or "")


def _count(names: Collection[str], what: str, one: str, more: str) -> str:
    first = min(names, key=lambda name: (len(name), name))  # ids grow: the oldest
    return f"1 {what} {one} ({first})" if len(names) == 1 else f"{len(names)} {what}s {more} (the first is {first})"


def _first_of(notes: Sequence[str]) -> str | None:
    more = f" (and {len(notes) - 1} more)" if len(notes) > 1 else ""
    return f"{notes[0]}{more}" if notes else None
