"""The REST endpoints with history, and their paging (OKX docs: the endpoint of each; overview of pagination).

Pages are sorted newest first. ``after`` requests rows older than a cursor, which is an id or a time, depending on the
endpoint. A walk ends with an empty page, or with a page whose oldest row is older than the period.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from okxsync.okx.rate_limits import Budget

DAY_MS: Final = 86_400_000
REST_LAG_S: Final = 10.0
"""How far a reply may lag behind the pushes: REST shows each change at most so much later than it happened.

OKX documents no limit. Replies come from replicas; a lag of a second is expected, and ten leave room for a busy
exchange. It cannot be much longer: bills are promised within 30 s, and one fetch in that time must come after the lag.
Everything that depends on the lag is derived from this value (see ``Timings.rest_lag_s``).
"""
OVERLAP_MS: Final = 150_000
"""How much more than a gap is requested. Storing a row twice has no effect.

A channel may have been stalled for two probes (see ``reconcile.stalled``) when a crash kept okxsync from noticing.
Besides, it is not documented whether time bounds are inclusive, and clocks differ.
"""
ARCHIVE_OVERLAP_MS: Final = DAY_MS
"""How much of the recent list is read from the archive as well. How far the archive is behind is not documented."""

_INST_TYPES: Final = ("SPOT", "MARGIN", "SWAP", "FUTURES", "OPTION", "EVENTS")
_EVERYWHERE: Final = "SPOT"
"""The type of instrument that every region and account has; the others may not be offered."""
_UNKNOWN: Final = frozenset("50014 50016 51000 51001".split())
"""Invalid or mismatched parameter: if a type does not exist, it has no orders."""
_NOT_OFFERED: Final = _UNKNOWN | frozenset("50041 50046 50062 51010".split())
"""Also a disabled feature or an account that is not whitelisted, which may have had orders earlier."""
PLAIN_ALGOS: Final = ("conditional", "oco", "trigger", "chase")
"""The types that ``orders-algo`` reports."""
ADVANCED_ALGOS: Final = ("move_order_stop", "iceberg", "twap", "smart_iceberg")
"""The types that ``algo-advance`` reports."""
_OPTIONAL_ALGOS: Final = ("chase", *ADVANCED_ALGOS)
"""Types that not every site and account has: they are new, or need derivatives."""
_ALGO_TYPES: Final = ("conditional,oco", "trigger", "chase", *ADVANCED_ALGOS)
"""As they are requested: only these two may be requested together (OKX docs: GET trade/orders-algo-pending)."""
_ALGO_ENDS: Final = ("effective", "canceled", "order_failed")


class Endpoint(msgspec.Struct, frozen=True):
    """One REST list with history.

    Attributes:
        path: Below ``/api/v5/``.
        channel: The channel with the same records.
        cursor: The field that ``after`` refers to.
        time: The field with the time of a row, by which pages are sorted.
        budget: The rate limit.
        depth_ms: OKX's retention; None: unlimited or not documented.
        sweeps: The parameters of each walk; all walks together return the full list of the types that are known.
        limit: The page size.
        ends: Whether the parameter ``end``, compared with ``time``, is supported.
    """

    path: str
    channel: str
    cursor: str
    time: str
    budget: Budget
    depth_ms: int | None = None
    sweeps: tuple[dict[str, str], ...] = ({},)
    limit: int = 100
    ends: bool = False

    @property
    def by_time(self) -> bool:
        """Whether the cursor is a time, which several rows can have in common."""
        return self.cursor in ("ts", "uTime")

    def sweeps_of(self, types: Collection[str]) -> tuple[dict[str, str], ...]:
        """Return the sweeps, and more for those of ``types`` that this table does not know.

        Args:
            types: Types of instruments or of algo orders that the exchange has reported.
        """
        name = next((one for one in ("instType", "ordType") if one in self.sweeps[0]), None)
        if name is None:
            return self.sweeps
        known = {type for sweep in self.sweeps for type in sweep[name].split(",")}
        others = [sweep for sweep in self.sweeps if sweep[name] == self.sweeps[-1][name]]
        new = tuple({**sweep, name: type} for type in sorted({*types} - known - {""}) for sweep in others)
        return (*self.sweeps, *new)


def _of_each(name: str, values: Sequence[str]) -> tuple[dict[str, str], ...]:
    return tuple({name: value} for value in values)


ORDERS_PENDING: Final = Endpoint("trade/orders-pending", "orders", "ordId", "cTime", Budget(60, 2))
ORDERS: Final = Endpoint(
    "trade/orders-history",
    "orders",
    "ordId",
    "cTime",
    Budget(40, 2),
    7 * DAY_MS,
    _of_each("instType", _INST_TYPES),
    ends=True,
)
ORDERS_ARCHIVE: Final = Endpoint(
    "trade/orders-history-archive",
    "orders",
    "ordId",
    "cTime",
    Budget(20, 2),
    90 * DAY_MS,
    _of_each("instType", _INST_TYPES),
    ends=True,
)
ALGO_PENDING: Final = Endpoint(
    "trade/orders-algo-pending",
    "orders-algo",
    "algoId",
    "cTime",
    Budget(20, 2),
    None,
    _of_each("ordType", _ALGO_TYPES),
)
ALGO_HISTORY: Final = Endpoint(
    "trade/orders-algo-history",
    "orders-algo",
    "algoId",
    "cTime",
    Budget(20, 2),
    90 * DAY_MS,
    tuple({"ordType": kind, "state": state} for kind in _ALGO_TYPES for state in _ALGO_ENDS),
)
FILLS: Final = Endpoint("trade/fills", "fills", "billId", "ts", Budget(60, 2), 3 * DAY_MS, ends=True)
FILLS_ARCHIVE: Final = Endpoint(
    "trade/fills-history",
    "fills",
    "billId",
    "ts",
    Budget(10, 2),
    90 * DAY_MS,
    _of_each("instType", _INST_TYPES),
    ends=True,
)
BILLS: Final = Endpoint("account/bills", "bills", "billId", "ts", Budget(5, 1), 7 * DAY_MS, ends=True)
BILLS_ARCHIVE: Final = Endpoint("account/bills-archive", "bills", "billId", "ts", Budget(5, 2), 90 * DAY_MS, ends=True)
CLOSED_POSITIONS: Final = Endpoint(
    "account/positions-history", "positions-history", "uTime", "uTime", Budget(10, 2), 90 * DAY_MS
)
DEPOSITS: Final = Endpoint("asset/deposit-history", "deposit-info", "ts", "ts", Budget(6, 1))
WITHDRAWALS: Final = Endpoint("asset/withdrawal-history", "withdrawal-info", "ts", "ts", Budget(6, 1))

ENDPOINTS: Final = (
    *(ORDERS_PENDING, ORDERS, ORDERS_ARCHIVE, ALGO_PENDING, ALGO_HISTORY, FILLS, FILLS_ARCHIVE, BILLS, BILLS_ARCHIVE),
    *(CLOSED_POSITIONS, DEPOSITS, WITHDRAWALS),
)
BUDGETS: Final[dict[str, Budget]] = {
    **{endpoint.path: endpoint.budget for endpoint in ENDPOINTS},
    "account/config": Budget(5, 2),
    "account/balance": Budget(10, 2),
    "account/positions": Budget(10, 2),
    "trade/order": Budget(60, 2),
    "trade/order-algo": Budget(20, 2),
    "public/instruments": Budget(20, 2),
    "account/instruments": Budget(20, 2),
    "account/leverage-info": Budget(20, 2),
    "account/max-size": Budget(20, 2),
    "account/trade-fee": Budget(5, 2),
    "account/max-avail-size": Budget(20, 2),
    "public/price-limit": Budget(20, 2),
    "public/mark-price": Budget(10, 2),
    "market/ticker": Budget(20, 2),
    "market/index-tickers": Budget(20, 2),
}


def lists_since(
    near: Endpoint, archive: Endpoint, since_ms: int, until_ms: int | None, now_ms: int
) -> list[tuple[Endpoint, int | None]]:
    """Return the lists that together have all rows since ``since_ms``, each with the time up to which it is needed.

    The archive may lag behind, so the newest rows are always read from ``near``.
    """
    assert near.depth_ms is not None
    lists = [(near, until_ms)]
    if since_ms <= now_ms - near.depth_ms + DAY_MS // 24:
        overlap_ms = now_ms - near.depth_ms + ARCHIVE_OVERLAP_MS
        lists.append((archive, overlap_ms if until_ms is None else min(until_ms, overlap_ms)))
    return lists


def is_optional(sweep: Mapping[str, str]) -> bool:
    """Whether a sweep is about a type that is not offered in every region and to every account."""
    return sweep.get("instType", _EVERYWHERE) != _EVERYWHERE or sweep.get("ordType") in _OPTIONAL_ALGOS


def is_not_offered(sweep: Mapping[str, str], code: str) -> bool:
    """Whether an error code says that the type that a sweep is about is not offered to this account."""
    return is_optional(sweep) and code in _NOT_OFFERED


def has_none(code: str) -> bool:
    """Whether an error code for a type that is not offered is equivalent to an empty list."""
    return code in _UNKNOWN


class Walk:
    """The pages of one sweep of one endpoint, back to ``since_ms``.

    OKX's paging is not documented in each detail, so a walk assumes little. A page that is not full need not be the
    last one. ``after`` may include its own value: the replies show whether it does. Rows with the same time may be
    divided between pages: if the cursor is a time, the oldest time of a page is requested again.

    Attributes:
        params: The next request; None at the end.
        incomplete: Why rows may be missing; None if none can be.

    Args:
        overlap_ms: How much more than that period is requested.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        sweep: Mapping[str, str],
        since_ms: int,
        until_ms: int | None = None,
        overlap_ms: int = OVERLAP_MS,
    ) -> None:
        self._endpoint = endpoint
        self._since_ms = since_ms - overlap_ms
        self._sweep = {**sweep, "limit": str(endpoint.limit)}
        self._after: int | None = None
        self._is_inclusive = self._was_full = False
        self._only_ms: int | None = None  # the one time of the last page's rows, if it had no other
        self._last: list[int] = []  # the cursors of the last page
        self._crowded = endpoint.limit // 2  # so many rows of one time on a page may not be all: pages may be short
        if until_ms is not None and endpoint.ends:
            self._sweep["end"] = str(until_ms + overlap_ms)
        self.params: dict[str, str] | None = dict(self._sweep)
        self.incomplete: str | None = None
        if until_ms is not None and endpoint.by_time:
            self._continue(until_ms + overlap_ms)

    def take(self, rows: Sequence[object]) -> None:
        """Process a page, and set ``params`` for the next one.

        Raises:
            ValueError: the page is not older than the previous one.
        """
        self.params = None
        if not rows:
            return
        cursors = _numbers(rows, self._endpoint.cursor)
        times = _numbers(rows, self._endpoint.time)
        if not cursors or not times:
            missing = self._endpoint.time if cursors else self._endpoint.cursor
            self.incomplete = f"{self._endpoint.path}: a page of rows without {missing} cannot be continued"
            return
        newest, oldest = max(cursors), min(cursors)
        end = min(self._last, default=0)
        if oldest < end or cursors.count(end) > self._last.count(end):
            self._crowded = min(self._crowded, len(self._last))  # the last page was cut at this length
        if self._after is not None and newest > self._after:
            if self._was_full:
                raise ValueError(f"{self._endpoint.path}: the page after {self._after} is not older")
            return  # this list is not paged: the page before had all of it
        if self._only_ms is not None and oldest < self._only_ms:
            # A page that has room for other times and does not show them is shorter than the limit: it may be cut.
            self.incomplete = f"{self._endpoint.path}: more rows at {self._only_ms} ms than fit on a page"
        self._is_inclusive |= newest == self._after
        self._last = cursors
        self._was_full = len(rows) >= self._endpoint.limit
        if times[-1] < self._since_ms:
            return
        if not self._endpoint.by_time:
            self._continue_below(oldest)
        elif newest > oldest:
            self._only_ms = None
            self._continue_below(oldest + 1)  # more rows with the same time may follow on the next page
        else:
            # The page has all rows of this time that fit on one, and no parameter requests those that do not.
            is_whole = len(rows) > self._endpoint.limit  # such an exchange does not divide the rows of one time
            self._only_ms = None if is_whole else oldest
            if not is_whole and len(rows) >= self._crowded:
                self.incomplete = f"{self._endpoint.path}: more rows at {oldest} ms than fit on a page"
            self._continue_below(oldest)

    def _continue_below(self, bound: int) -> None:
        """Request rows with a cursor below ``bound`` next."""
        self._continue(bound - 1 if self._is_inclusive else bound)

    def _continue(self, after: int) -> None:
        if after > 0:
            self._after = after
            self.params = {**self._sweep, "after": str(after)}


def _numbers(rows: Iterable[object], field: str) -> list[int]:
    """Return an id or a time of each row that has it, as numbers, because ids vary in length.

    Zero is none: OKX writes ``"0"`` where there is no id (OKX docs: GET trade/fills). Nothing is older than it, so one
    such row would end the walk.
    """
    texts = (str(row.get(field)) for row in rows if isinstance(row, Mapping))
    return [number for text in texts if text.isascii() and text.isdecimal() and (number := int(text))]
