"""The records of the public API: frozen dataclasses under OKX's own field names.

Amounts are exact (``Decimal``), times are aware (UTC). None means that OKX did not send the field, or sent something
that is not a number; it never means zero. Two rows are equal if the exchange reports the same about them: when and how
they were reported (``received_at``, ``raw``) does not count.
"""

from dataclasses import dataclass, field, fields
from datetime import datetime
from decimal import Decimal
from typing import TypeAlias

Text: TypeAlias = str | None
Amount: TypeAlias = Decimal | None
Time: TypeAlias = datetime | None
Flag: TypeAlias = bool | None


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
        bill_id: Known once REST has reported the fill, like ``sub_type`` (OKX docs: bill subtypes).
        trade_id_made: OKX pushed no trade id (liquidation, ADL): this one is made, until REST reports the real one.
    """

    account: str
    inst_id: str
    ord_id: str
    trade_id: str
    inst_type: Text
    cl_ord_id: Text
    bill_id: Text
    sub_type: Text
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


@dataclass(frozen=True, slots=True, repr=False)
class ClosedPosition(Reported):
    """A position that was closed, at least in part (OKX docs: GET account/positions-history).

    Attributes:
        direction: ``long`` or ``short``; "" if OKX sent none. It tells apart two positions of one ``pos_id`` that were
            opened within one millisecond.
        type: How it was closed last: 1 partly, 2 fully, 3 liquidated, 4 partly liquidated, 5 or 6 by ADL.
    """

    account: str
    pos_id: str
    inst_id: Text
    inst_type: Text
    mgn_mode: Text
    pos_side: Text
    direction: str
    type: Text
    ccy: Text
    lever: Amount
    open_avg_px: Amount
    close_avg_px: Amount
    open_max_pos: Amount
    close_total_pos: Amount
    realized_pnl: Amount
    pnl: Amount
    pnl_ratio: Amount
    fee: Amount
    funding_fee: Amount
    liq_penalty: Amount
    settled_pnl: Amount
    c_time: Time
    u_time: Time


@dataclass(frozen=True, slots=True, repr=False)
class Deposit(Reported):
    """A deposit and its latest state (OKX docs: deposit-info channel, which lists the states)."""

    account: str
    dep_id: str
    uid: Text
    sub_acct: Text
    ccy: Text
    chain: Text
    amt: Amount
    state: Text
    to: Text
    tx_id: Text
    from_wd_id: Text
    ts: Time


@dataclass(frozen=True, slots=True, repr=False)
class Withdrawal(Reported):
    """A withdrawal and its latest state (OKX docs: withdrawal-info channel, which lists the states)."""

    account: str
    wd_id: str
    uid: Text
    sub_acct: Text
    ccy: Text
    chain: Text
    amt: Amount
    fee: Amount
    fee_ccy: Text
    state: Text
    to: Text
    tx_id: Text
    client_id: Text
    ts: Time


@dataclass(frozen=True, slots=True, repr=False)
class MarkPrice(Row):
    """The latest mark price of an instrument (OKX docs: mark-price channel)."""

    inst_id: str
    inst_type: Text
    mark_px: Amount
    ts: Time = field(compare=False)  # OKX sends it anew with every push
    received_at: datetime = field(compare=False, repr=False)
    revision: int = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True, repr=False)
class Instrument(Reported):
    """An instrument (OKX docs: GET public/instruments); ``exp_time`` is None unless it expires."""

    inst_id: str
    inst_type: Text
    inst_family: Text
    uly: Text
    base_ccy: Text
    quote_ccy: Text
    settle_ccy: Text
    ct_type: Text
    ct_val: Amount
    ct_mult: Amount
    ct_val_ccy: Text
    opt_type: Text
    stk: Amount
    lever: Amount
    tick_sz: Amount
    lot_sz: Amount
    min_sz: Amount
    state: Text
    list_time: Time
    exp_time: Time
