"""The REST endpoints with history, and their paging (OKX docs: the endpoint of each; overview of pagination).

Pages are sorted newest first. ``after`` requests rows strictly older than a cursor, which is an id or a time,
depending on the endpoint. A walk ends when a page is not full, or when its oldest row is older than the period.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from okxsync.okx.rate_limits import Budget

DAY_MS: Final = 86_400_000
OVERLAP_MS: Final = 150_000
"""How much more than a gap is requested. Storing a row twice has no effect.

A channel may have been stalled for two probes (see ``reconcile.stalled``) when a crash kept okxsync from noticing.
Besides, it is not documented whether time bounds are inclusive, and clocks differ.
"""

_NEW_TYPES: Final = frozenset({"EVENTS"})
_INST_TYPES: Final = ("SPOT", "MARGIN", "SWAP", "FUTURES", "OPTION", *_NEW_TYPES)
_UNKNOWN: Final = frozenset("50014 50016 51000 51001".split())
"""Invalid or mismatched parameter: if a type of instrument does not exist, it has no orders."""
_NOT_OFFERED: Final = _UNKNOWN | frozenset("50041 50046 50062 51010".split())
"""Also a disabled feature or an account that is not whitelisted, which may have had orders earlier."""
PLAIN_ALGOS: Final = ("conditional,oco", "trigger", "chase")
"""The types that ``orders-algo`` reports."""
ADVANCED_ALGOS: Final = ("move_order_stop", "iceberg", "twap")
"""The types that ``algo-advance`` reports."""
_ALGO_TYPES: Final = (*PLAIN_ALGOS, *ADVANCED_ALGOS)
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
        sweeps: The parameters of each walk; all walks together return the full list.
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
}


def reaching(near: Endpoint, archive: Endpoint | None, since_ms: int, now_ms: int) -> Endpoint:
    """Return the endpoint that has all rows since ``since_ms``: ``near`` if its retention suffices."""
    depth = near.depth_ms
    return near if archive is None or depth is None or since_ms > now_ms - depth + DAY_MS // 24 else archive


def is_not_offered(sweep: Mapping[str, str], code: str) -> bool:
    """Whether an error code says that the sweep's type of instrument is new, and not offered to this account."""
    return sweep.get("instType") in _NEW_TYPES and code in _NOT_OFFERED


def has_none(code: str) -> bool:
    """Whether an error code for a type that is not offered is equivalent to an empty list."""
    return code in _UNKNOWN


class Walk:
    """The pages of one sweep of one endpoint, back to ``since_ms``. ``params`` is the next request, None at the end.

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
        self._cursor: int | None = None
        if until_ms is not None and endpoint.ends:
            self._sweep["end"] = str(until_ms + overlap_ms)
        self.params: dict[str, str] | None = dict(self._sweep)
        if until_ms is not None and endpoint.by_time:
            self.params["after"] = str(until_ms + overlap_ms)

    def take(self, rows: Sequence[Mapping[str, object]]) -> None:
        """Process a page, and set ``params`` for the next one.

        Raises:
            ValueError: the page is not older than the previous one, or a row has no cursor or time.
        """
        last = rows[-1] if rows else None
        if last is None or len(rows) < self._endpoint.limit or _number(last, self._endpoint.time) < self._since_ms:
            self.params = None
            return
        cursor = _number(last, self._endpoint.cursor)
        if self._endpoint.by_time and _number(rows[0], self._endpoint.cursor) > cursor:
            cursor += 1  # more rows with the same time may follow on the next page
        if self._cursor is not None and cursor >= self._cursor:
            raise ValueError(f"{self._endpoint.path}: the page after {self._cursor} is not older")
        self._cursor = cursor
        self.params = {**self._sweep, "after": str(cursor)}


def _number(row: Mapping[str, object], field: str) -> int:
    """Return an id or a time as a number, because ids vary in length."""
    try:
        return int(str(row[field]))
    except (KeyError, ValueError):
        raise ValueError(f"a row without {field}") from None
