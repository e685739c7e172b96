"""How the rows of each table are read: their columns, what feeds them, and the conversion of their values."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Final, get_type_hints

from okxsync.mirror import rows
from okxsync.mirror.rows import Amount, Flag, Time
from okxsync.store.decode import read_number
from okxsync.store.tables import ALGO_PENDING, PENDING

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Kind:
    """How the rows of one table are read.

    Attributes:
        table: Its name; ``row`` is the class of its rows, ``name`` that of the rows in the API.
        channels: What feeds it.
        time: The column that ``since`` compares and rows are ordered by.
        is_open: SQL: whether a row has not ended.
        pushed: Whether ``channels`` push these rows; others are only fetched over REST.
    """

    table: str
    row: type[Any]
    channels: tuple[str, ...]
    time: str = "u_time"
    is_open: str = "true"
    pushed: bool = True
    known_as: str = ""

    @property
    def name(self) -> str:
        return self.known_as or self.table

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The columns that ``build`` expects, in order."""
        return tuple(one.name for one in fields(self.row))

    def build(self, stored: Sequence[Any]) -> Any:
        """Return the row of the values of its columns."""
        values = list(stored)
        for index, convert in self._conversions:
            if values[index] is not None:
                values[index] = convert(values[index])
        return self.row(*values)

    @cached_property
    def _conversions(self) -> list[tuple[int, Callable[[Any], Any]]]:
        hints = get_type_hints(self.row)
        found = [(index, _converter(name, hints[name])) for index, name in enumerate(self.columns)]
        return [(index, convert) for index, convert in found if convert]


ORDERS: Final = Kind("orders", rows.Order, ("orders",), is_open=f"state IN ({PENDING})")
ALGO_ORDERS: Final = Kind(
    "algo_orders", rows.AlgoOrder, ("orders-algo", "algo-advance"), is_open=f"state IN ({ALGO_PENDING})"
)
FILLS: Final = Kind("fills", rows.Fill, ("orders", "fills"), "fill_time")
POSITIONS: Final = Kind(
    "positions",
    rows.Position,
    ("positions", "balance_and_position"),
    is_open="coalesce(CAST(pos AS DOUBLE PRECISION), 1) <> 0",
)
BALANCES: Final = Kind("balances", rows.Balance, ("account", "balance_and_position"))
EQUITY: Final = Kind("equity", rows.Equity, ("account",))
BILLS: Final = Kind("bills", rows.Bill, ("account", "balance_and_position"), "ts", pushed=False)
CLOSED_POSITIONS: Final = Kind(
    "positions_history",
    rows.ClosedPosition,
    ("positions", "balance_and_position"),
    pushed=False,
    known_as="closed_positions",
)
DEPOSITS: Final = Kind("deposits", rows.Deposit, ("deposit-info",), "ts")
WITHDRAWALS: Final = Kind("withdrawals", rows.Withdrawal, ("withdrawal-info",), "ts")
KINDS: Final = (
    ORDERS,
    ALGO_ORDERS,
    FILLS,
    POSITIONS,
    CLOSED_POSITIONS,
    BALANCES,
    EQUITY,
    BILLS,
    DEPOSITS,
    WITHDRAWALS,
)
"""What belongs to an account."""
MARK_PRICES: Final = Kind("mark_prices", rows.MarkPrice, ("mark-price",), "ts")
INSTRUMENTS: Final = Kind("instruments", rows.Instrument, ("instruments",), "inst_id")
"""What belongs to the exchange, like ``MARK_PRICES``."""


def moment(at_us: int) -> datetime:
    """Return a local time of the database (microseconds UTC)."""
    return _EPOCH + timedelta(microseconds=at_us)


def moment_or_none(at_us: int | None) -> datetime | None:
    return None if at_us is None else moment(at_us)


def _converter(name: str, hint: object) -> Callable[[Any], Any] | None:
    if hint == Amount:
        return read_number  # None for text that is not a number: it is in ``raw``
    if hint in (Time, datetime):
        return moment if name.endswith("_at") else _exchange_moment
    if hint in (Flag, bool):
        return _flag
    return None


def _exchange_moment(at_ms: int) -> datetime | None:
    """Return a time of the exchange; None if it is beyond the years that Python knows."""
    try:
        return _EPOCH + timedelta(milliseconds=at_ms)
    except OverflowError:
        return None


def _flag(stored: object) -> bool | None:
    return stored in ("true", 1) if stored in ("true", "false", 1, 0) else None
