"""What REST can tell of the past, and how far to page for it (OKX docs: the endpoint of each; overview of pagination).

Pages come newest first; ``after`` asks for what is strictly older than a cursor, which is an id or a time, as the
endpoint has it. A walk ends when a page is not full, or when its oldest row is older than what is asked for.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from okxsync.okx.rate_limits import Budget

DAY_MS: Final = 86_400_000
OVERLAP_MS: Final = 150_000
"""How much more than a gap is asked for; rows are idempotent.

A channel may have been dead for two probes (see ``reconcile.stalled``) when a crash kept us from noticing. Besides,
whether bounds of time are inclusive is not certain, and clocks differ.
"""

_NEW_TYPES: Final = frozenset({"EVENTS"})
_INST_TYPES: Final = ("SPOT", "MARGIN", "SWAP", "FUTURES", "OPTION", *_NEW_TYPES)
_NOT_KNOWN: Final = frozenset("50014 50016 51000 51001".split())
"""A parameter that is wrong or does not match: where a type of instrument is none, there are no orders of it."""
_NOT_OFFERED: Final = _NOT_KNOWN | frozenset("50041 50046 50062 51010".split())
"""And a feature that is off, an account that is not on the list: it may have been once."""
PLAIN_ALGOS: Final = ("conditional,oco", "trigger", "chase")
"""What ``orders-algo`` tells of."""
ADVANCED_ALGOS: Final = ("move_order_stop", "iceberg", "twap")
"""What ``algo-advance`` tells of."""
_ALGO_TYPES: Final = (*PLAIN_ALGOS, *ADVANCED_ALGOS)
_ALGO_ENDS: Final = ("effective", "canceled", "order_failed")


class Endpoint(msgspec.Struct, frozen=True):
    """One list of the past.

    Attributes:
        path: Below ``/api/v5/``.
        channel: The channel whose records its rows are.
        cursor: The field that ``after`` takes.
        time: The field that says how old a row is, in the order of the pages.
        budget: How often it may be asked.
        depth_ms: How far back OKX keeps it; None: for ever, or not said.
        sweeps: Parameters of each walk that is needed to see all of it.
    """

    path: str
    channel: str
    cursor: str
    time: str
    budget: Budget
    depth_ms: int | None = None
    sweeps: tuple[dict[str, str], ...] = ({},)
    limit: int = 100
    ends: bool = False  # whether it takes ``end``, compared with ``time``

    @property
    def by_time(self) -> bool:
        """Whether the cursor is a time, which several rows may share."""
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
}


def reaching(near: Endpoint, archive: Endpoint | None, since_ms: int, now_ms: int) -> Endpoint:
    """Return the endpoint that still has what is since ``since_ms``: the near one if it reaches so far."""
    depth = near.depth_ms
    return near if archive is None or depth is None or since_ms > now_ms - depth + DAY_MS // 24 else archive


def is_not_offered(sweep: Mapping[str, str], code: str) -> bool:
    """Whether a refusal of a sweep says that it asks for a type of instrument that is new, and not offered here."""
    return sweep.get("instType") in _NEW_TYPES and code in _NOT_OFFERED


def has_none(code: str) -> bool:
    """Whether a refusal of what is not offered says as much as an empty answer."""
    return code in _NOT_KNOWN


class Walk:
    """The pages of one sweep of one endpoint, back to ``since_ms``; ``params`` is the next request, None at the end."""

    def __init__(
        self, endpoint: Endpoint, sweep: Mapping[str, str], since_ms: int, until_ms: int | None = None
    ) -> None:
        self._endpoint = endpoint
        self._since_ms = since_ms - OVERLAP_MS
        self._sweep = {**sweep, "limit": str(endpoint.limit)}
        self._cursor: int | None = None
        if until_ms is not None and endpoint.ends:
            self._sweep["end"] = str(until_ms + OVERLAP_MS)
        self.params: dict[str, str] | None = dict(self._sweep)
        if until_ms is not None and endpoint.by_time:
            self.params["after"] = str(until_ms + OVERLAP_MS)

    def take(self, rows: Sequence[Mapping[str, object]]) -> None:
        """Take a page.

        Raises:
            ValueError: the page does not go back in time, or its rows lack what it takes to go on.
        """
        last = rows[-1] if rows else None
        if last is None or len(rows) < self._endpoint.limit or _number(last, self._endpoint.time) < self._since_ms:
            self.params = None
            return
        cursor = _number(last, self._endpoint.cursor)
        if self._endpoint.by_time and _number(rows[0], self._endpoint.cursor) > cursor:
            cursor += 1  # the next page may begin with more rows of the same time
        if self._cursor is not None and cursor >= self._cursor:
            raise ValueError(f"{self._endpoint.path}: the page after {self._cursor} is not older")
        self._cursor = cursor
        self.params = {**self._sweep, "after": str(cursor)}


def _number(row: Mapping[str, object], field: str) -> int:
    """Return an id or a time as the number that it is; ids are longer in some years than in others."""
    try:
        return int(str(row[field]))
    except (KeyError, ValueError):
        raise ValueError(f"a row without {field}") from None
