"""Balances and positions of one member: every change of a balance is one bill, and the bills add up.

``cash`` of a currency is the sum of ``balChg`` over its bills, always: only `post` changes it.
Fees and realized pnl are part of the bill of their trade, as at OKX (``balChg`` = pnl + fee for swaps, the amount plus
its fee for spot). The margin of an isolated position leaves the balance while it is open (``posBal``), so that its
funding changes no balance. The funding account has its own balances and asset bills under the same rule.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from okxsync.sandbox.exchange.instruments import Instrument
from okxsync.sandbox.exchange.orders import ZERO, Algo, Fill, Movement, Order
from okxsync.sandbox.exchange.positions import OPTION_MARGIN, Position

PositionKey = tuple[str, str, str]
"""``instId``, ``mgnMode``, ``posSide``."""


@dataclass(frozen=True, slots=True)
class Bill:
    """One change of a trading balance (OKX docs: trading-account-rest-api-get-bills-details-last-7-days)."""

    bill_id: str
    ts: int
    ccy: str
    type: str
    sub_type: str
    bal: Decimal
    bal_chg: Decimal
    pnl: Decimal = ZERO
    fee: Decimal = ZERO
    sz: Decimal | None = None
    px: Decimal | None = None
    interest: Decimal = ZERO
    pos_bal: Decimal = ZERO  # the margin of an isolated position
    pos_bal_chg: Decimal = ZERO
    instrument: Instrument | None = None
    order: Order | None = None
    fill: Fill | None = None
    mgn_mode: str = ""
    inst_type: str = ""  # if not the instrument's
    sent_from: str = ""
    sent_to: str = ""


@dataclass(frozen=True, slots=True)
class AssetBill:
    """One change of a funding balance; type 1 deposit, 2 withdrawal, 130 from trading, 131 to trading."""

    bill_id: str
    ts: int
    ccy: str
    type: str
    bal: Decimal
    bal_chg: Decimal


@dataclass(slots=True, eq=False)
class Account:
    """The state of one member. Lists are oldest first; `pending` indexes the pending orders."""

    uid: str
    cash: defaultdict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    cash_time: dict[str, int] = field(default_factory=dict)
    change_time: dict[str, int] = field(default_factory=dict)  # also of what is frozen
    funds: defaultdict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    bills: list[Bill] = field(default_factory=list)
    asset_bills: list[AssetBill] = field(default_factory=list)
    orders: dict[str, Order] = field(default_factory=dict)
    pending: dict[str, Order] = field(default_factory=dict)
    client_ids: dict[str, Order] = field(default_factory=dict)  # newest order of a clOrdId
    fills: list[tuple[Order, Fill]] = field(default_factory=list)
    algos: dict[str, Algo] = field(default_factory=dict)
    waiting: dict[str, Algo] = field(default_factory=dict)
    positions: dict[PositionKey, Position] = field(default_factory=dict)
    interest: defaultdict[str, Decimal] = field(
        default_factory=lambda: defaultdict(Decimal)
    )  # accrued on negative cash
    deposits: list[Movement] = field(default_factory=list)
    withdrawals: list[Movement] = field(default_factory=list)
    levers: dict[tuple[str, str, str], str] = field(default_factory=dict)  # by scope; see ``leverage``

    def post(self, bill_id: str, ts: int, ccy: str, kind: str, sub_type: str, change: Decimal, **more: Any) -> Bill:
        """Change a trading balance by a bill; `more` are the bill's other fields."""
        self.cash[ccy] += change
        if change:
            self.cash_time[ccy] = ts
        self.bills.append(Bill(bill_id, ts, ccy, kind, sub_type, self.cash[ccy], change, **more))
        return self.bills[-1]

    def post_asset(self, bill_id: str, ts: int, ccy: str, kind: str, change: Decimal) -> AssetBill:
        """Change a funding balance by an asset bill."""
        self.funds[ccy] += change
        self.asset_bills.append(AssetBill(bill_id, ts, ccy, kind, self.funds[ccy], change))
        return self.asset_bills[-1]

    def position(self, instrument: Instrument, mgn_mode: str, pos_side: str = "net") -> Position | None:
        return self.positions.get((instrument.inst_id, mgn_mode, pos_side or "net"))

    def reserved(self) -> dict[str, Decimal]:
        """What pending orders hold back, by currency."""
        held: defaultdict[str, Decimal] = defaultdict(Decimal)
        for order in self.pending.values():
            ccy, amount = reserve_of(order)
            held[ccy] += amount
        return held


def reserve_of(order: Order) -> tuple[str, Decimal]:
    """Return the currency and the amount that the rest of a limit order holds back."""
    instrument = order.instrument
    px = order.limit_px
    if px is None or order.reduce_only:
        return instrument.settle, ZERO
    if order.inst_type == "SPOT":
        return (instrument.quote, order.left * px) if order.buys else (instrument.base, order.left)
    return instrument.settle, margin_needed(order, order.left, px)


def margin_needed(order: Order, sz: Decimal, px: Decimal) -> Decimal:
    """What opening `sz` takes in the margin currency: initial margin, or the premium of a bought option."""
    instrument = order.instrument
    if instrument.is_option:
        return instrument.value(sz, px) if order.buys else sz * instrument.ct_val * OPTION_MARGIN
    return instrument.value(sz, px) / Decimal(order.lever)
