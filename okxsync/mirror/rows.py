"""The records of the public API: frozen dataclasses under OKX's own field names.

Amounts are exact (``Decimal``), times are aware (UTC). None means that OKX did not send the field, or sent something
that is not a number; it never means zero. Two rows are equal if the exchange reports the same about them: when and how
they were reported (``received_at``, ``raw``) does not count.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cached_property
from typing import Any, Final, TypeAlias, get_type_hints

from okxsync.store.decode import read_number
from okxsync.store.tables import ALGO_PENDING, PENDING

Text: TypeAlias = str | None
Amount: TypeAlias = Decimal | None
Time: TypeAlias = datetime | None
Flag: TypeAlias = bool | None

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Row:
    """Shows only what is known, so that a row fits on a line or two."""

    __slots__ = ()

    def __repr__(self) -> str:
        known = [
            f"{one.name}={_plain(value)}"
            for one in fields(self)  # type: ignore[arg-type]  # every subclass is a dataclass
            if one.repr and (value := getattr(self, one.name)) is not None
        ]
        return f"{type(self).__name__}({', '.join(known)})"


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return str(value) if isinstance(value, Decimal) else repr(value)


@dataclass(frozen=True, slots=True, repr=False)
class Reported(Row):
    """What every row of the exchange has.

    Attributes:
        received_at: When this state was received, by the local clock.
        raw: The JSON object as OKX sent it, with every other field; None if no such object was sent for it alone.
        revision: Of the transaction that changed this row last, see ``Mirror.changes``.
    """

    received_at: datetime = field(compare=False, repr=False)
    raw: Text = field(compare=False, repr=False)
    revision: int = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True, repr=False)
class Order(Reported):
    """The latest state of an order (OKX docs: order channel).

    Attributes:
        state: As OKX sends it, or ``gone`` if REST does not know a pending order any more.
        fee: Negative: charged; positive: a rebate.
        fill_sz: Of the last fill, like ``fill_px``, ``fill_time`` and ``trade_id``.
    """

    account: str
    ord_id: str
    cl_ord_id: Text
    algo_id: Text
    inst_id: Text
    inst_type: Text
    side: Text
    pos_side: Text
    td_mode: Text
    ord_type: Text
    state: Text
    px: Amount
    sz: Amount
    acc_fill_sz: Amount
    avg_px: Amount
    fill_px: Amount
    fill_sz: Amount
    fill_time: Time
    trade_id: Text
    fee: Amount
    fee_ccy: Text
    rebate: Amount
    rebate_ccy: Text
    pnl: Amount
    ccy: Text
    tgt_ccy: Text
    lever: Amount
    reduce_only: Flag
    tp_trigger_px: Amount
    tp_ord_px: Amount
    sl_trigger_px: Amount
    sl_ord_px: Amount
    category: Text
    cancel_source: Text
    tag: Text
    c_time: Time
    u_time: Time


@dataclass(frozen=True, slots=True, repr=False)
class AlgoOrder(Reported):
    """The latest state of an algo order (OKX docs: algo orders channel); a price of -1 means at market."""

    account: str
    algo_id: str
    algo_cl_ord_id: Text
    inst_id: Text
    inst_type: Text
    ord_type: Text
    side: Text
    pos_side: Text
    td_mode: Text
    state: Text
    sz: Amount
    close_fraction: Amount
    trigger_px: Amount
    ord_px: Amount
    tp_trigger_px: Amount
    tp_ord_px: Amount
    sl_trigger_px: Amount
    sl_ord_px: Amount
    callback_ratio: Amount
    callback_spread: Amount
    active_px: Amount
    move_trigger_px: Amount
    actual_sz: Amount
    actual_px: Amount
    actual_side: Text
    ord_id: Text
    cl_ord_id: Text
    fail_code: Text
    lever: Amount
    reduce_only: Flag
    tag: Text
    trigger_time: Time
    c_time: Time
    u_time: Time


@dataclass(frozen=True, slots=True, repr=False)
class Fill(Reported):
    """One execution of an order (OKX docs: order channel, ``fill*``; GET trade/fills).

    Attributes:
        bill_id: Known once REST has reported the fill.
        trade_id_made: OKX pushed no trade id (liquidation, ADL): this one is made, until REST reports the real one.
    """

    account: str
    inst_id: str
    ord_id: str
    trade_id: str
    inst_type: Text
    cl_ord_id: Text
    bill_id: Text
    side: Text
    pos_side: Text
    fill_px: Amount
    fill_sz: Amount
    fill_pnl: Amount
    fee: Amount
    fee_ccy: Text
    fee_rate: Amount
    exec_type: Text
    tag: Text
    fill_time: Time
    ts: Time
    trade_id_made: bool


@dataclass(frozen=True, slots=True, repr=False)
class Position(Reported):
    """A position (OKX docs: positions channel); ``pos`` is 0 once it is closed."""

    account: str
    pos_id: str
    inst_id: Text
    inst_type: Text
    mgn_mode: Text
    pos_side: Text
    pos: Amount
    pos_ccy: Text
    ccy: Text
    avail_pos: Amount
    avg_px: Amount
    mark_px: Amount
    last: Amount
    be_px: Amount
    upl: Amount
    upl_ratio: Amount
    lever: Amount
    liq_px: Amount
    mgn_ratio: Amount
    margin: Amount
    imr: Amount
    mmr: Amount
    notional_usd: Amount
    adl: Text
    realized_pnl: Amount
    pnl: Amount
    fee: Amount
    funding_fee: Amount
    liq_penalty: Amount
    trade_id: Text
    c_time: Time
    u_time: Time


@dataclass(frozen=True, slots=True, repr=False)
class Balance(Reported):
    """An account's balance of one currency (OKX docs: account channel, ``details``)."""

    account: str
    ccy: str
    eq: Amount
    cash_bal: Amount
    avail_bal: Amount
    avail_eq: Amount
    frozen_bal: Amount
    ord_frozen: Amount
    eq_usd: Amount
    dis_eq: Amount
    iso_eq: Amount
    liab: Amount
    interest: Amount
    upl: Amount
    cross_liab: Amount
    iso_liab: Amount
    mgn_ratio: Amount
    imr: Amount
    mmr: Amount
    notional_lever: Amount
    spot_bal: Amount
    open_avg_px: Amount
    acc_avg_px: Amount
    spot_upl: Amount
    total_pnl: Amount
    u_time: Time


@dataclass(frozen=True, slots=True, repr=False)
class Equity(Reported):
    """The totals of an account in USD (OKX docs: account channel)."""

    account: str
    total_eq: Amount
    adj_eq: Amount
    iso_eq: Amount
    avail_eq: Amount
    ord_froz: Amount
    imr: Amount
    mmr: Amount
    borrow_froz: Amount
    mgn_ratio: Amount
    notional_usd: Amount
    upl: Amount
    u_time: Time = field(compare=False)  # OKX sends it anew with every push


@dataclass(frozen=True, slots=True, repr=False)
class Bill(Reported):
    """One entry of an account's ledger (OKX docs: GET account/bills)."""

    account: str
    bill_id: str
    ccy: Text
    type: Text
    sub_type: Text
    bal: Amount
    bal_chg: Amount
    pos_bal: Amount
    pos_bal_chg: Amount
    sz: Amount
    px: Amount
    pnl: Amount
    fee: Amount
    interest: Amount
    mgn_mode: Text
    inst_type: Text
    inst_id: Text
    ord_id: Text
    cl_ord_id: Text
    trade_id: Text
    exec_type: Text
    notes: Text
    tag: Text
    fill_time: Time
    ts: Time


@dataclass(frozen=True)
class Kind:
    """How the rows of one table are read.

    Attributes:
        table: Its name; ``row`` is the class of its rows.
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


ORDERS: Final = Kind("orders", Order, ("orders",), is_open=f"state IN ({PENDING})")
ALGO_ORDERS: Final = Kind(
    "algo_orders", AlgoOrder, ("orders-algo", "algo-advance"), is_open=f"state IN ({ALGO_PENDING})"
)
FILLS: Final = Kind("fills", Fill, ("orders", "fills"), "fill_time")
POSITIONS: Final = Kind(
    "positions",
    Position,
    ("positions", "balance_and_position"),
    is_open="coalesce(CAST(pos AS DOUBLE PRECISION), 1) <> 0",
)
BALANCES: Final = Kind("balances", Balance, ("account", "balance_and_position"))
EQUITY: Final = Kind("equity", Equity, ("account",))
BILLS: Final = Kind("bills", Bill, ("account", "balance_and_position"), "ts", pushed=False)
KINDS: Final = (ORDERS, ALGO_ORDERS, FILLS, POSITIONS, BALANCES, EQUITY, BILLS)


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
