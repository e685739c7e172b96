"""Orders, algo orders and fills as the exchange keeps them; ``rows`` converts them to OKX's wire rows.

An order owns its running totals (``accFillSz``, ``avgPx``, ``fee``) and its last fill; a fill is immutable. States are
OKX's: ``live`` and ``partially_filled`` are pending, ``filled`` and ``canceled`` are final and never change again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from okxsync.sandbox.exchange.instruments import PLACES, Instrument, text

ZERO = Decimal(0)
PENDING = frozenset({"live", "partially_filled"})


class OrderRejected(Exception):
    """A rejected request: ``sCode``, ``sMsg`` and ``subCode`` of its row (OKX docs: error-code)."""

    def __init__(self, code: str, message: str, sub_code: str = "") -> None:
        super().__init__(f"{code} {message}")
        self.code = code
        self.message = message
        self.sub_code = sub_code


def number(request: Mapping[str, Any], name: str) -> Decimal:
    """Read a positive number of a request; numbers are strings there, JSON numbers are accepted too.

    Raises:
        OrderRejected: 51000 when it is missing, not a number, or not positive.
    """
    given = optional_number(request, name)
    if given is None:
        raise OrderRejected("51000", f"Parameter {name} error")
    return given


def optional_number(request: Mapping[str, Any], name: str) -> Decimal | None:
    """Read a positive number that may be missing."""
    given = request.get(name)
    if given in (None, ""):
        return None
    try:
        value = Decimal(str(given))
    except InvalidOperation:
        value = ZERO
    if not value.is_finite() or value <= 0:
        raise OrderRejected("51000", f"Parameter {name} error")
    return value


def client_id(request: Mapping[str, Any], name: str) -> str:
    """Read a client order id: empty, or up to 32 letters and digits, else 51000."""
    given = str(request.get(name) or "")
    if given and not (len(given) <= 32 and given.isascii() and given.isalnum()):
        raise OrderRejected("51000", f"Parameter {name} error")
    return given


def check_steps(instrument: Instrument, sz: Decimal, px: Decimal | None) -> None:
    """Reject an invalid size or price: 51020 too small, 51121 not a multiple of the lot, 51006 not one of the tick."""
    if sz < instrument.min_sz:
        raise OrderRejected("51020", "Your order should meet or exceed the minimum order amount.")
    if sz % instrument.lot_sz:
        raise OrderRejected("51121", "Order quantity must be a multiple of the lot size.")
    if px is not None and px % instrument.tick_sz:
        raise OrderRejected("51006", "Order price is not within the price limit or not a multiple of the tick size")


@dataclass(frozen=True, slots=True)
class Fill:
    """One trade of one order. `fee` is negative when charged, `pnl` is realized, its bill has the same `sub_type`."""

    trade_id: str
    bill_id: str
    sz: Decimal
    px: Decimal
    mark: Decimal
    fee: Decimal
    fee_ccy: str
    pnl: Decimal
    exec_type: str  # T taker, M maker, empty when forced
    time: int
    sub_type: str


_ATTACHED: Final = ("tpTriggerPx", "tpOrdPx", "slTriggerPx", "slOrdPx", "callbackRatio", "callbackSpread", "activePx")


@dataclass(slots=True, eq=False)
class Attached:
    """An element of ``attachAlgoOrds``; `fields` are as given in the request, without what an amendment has deleted."""

    attach_id: str
    cl_id: str
    fields: dict[str, str]

    def has(self, leg: str) -> bool:
        """Whether it has a take profit (``tp``) or a stop loss (``sl``)."""
        return bool(self.fields.get(f"{leg}TriggerPx"))

    @property
    def trails(self) -> bool:
        return bool(self.fields.get("callbackRatio") or self.fields.get("callbackSpread"))

    @property
    def ord_type(self) -> str:
        """The type of the algo order that it becomes."""
        if self.trails:
            return "move_order_stop"
        return "oco" if self.has("tp") and self.has("sl") else "conditional"

    def row(self) -> dict[str, Any]:
        """As order rows show it."""
        types = {
            f"{leg}TriggerPxType": (self.fields.get(f"{leg}TriggerPxType") or "last") if self.has(leg) else ""
            for leg in ("tp", "sl")
        }
        return {
            "amendPxOnTriggerType": "0",
            "attachAlgoClOrdId": self.cl_id,
            "attachAlgoId": self.attach_id,
            "slTriggerRatio": "",
            "sz": self.fields.get("sz", ""),
            "tpOrdKind": "condition",
            "tpTriggerRatio": "",
            **{name: self.fields.get(name, "") for name in _ATTACHED},
            **types,
        }


@dataclass(slots=True, eq=False)
class Order:
    """An order; `px` is None for market orders; `sz` is in quote currency when `in_quote` is set.

    A market order of a contract is a limit order at `cap`, the edge of the price band.
    """

    uid: str
    ord_id: str
    instrument: Instrument
    side: str
    ord_type: str
    td_mode: str
    sz: Decimal
    px: Decimal | None
    c_time: int
    u_time: int
    cap: Decimal | None = None
    stp_mode: str = "cancel_maker"
    cl_ord_id: str = ""
    tag: str = ""
    ccy: str = ""
    pos_side: str = ""
    tgt_ccy: str = ""
    lever: str = ""
    reduce_only: bool = False
    algo_id: str = ""
    algo_cl_ord_id: str = ""
    source: str = ""
    category: str = "normal"
    state: str = "live"
    acc_fill_sz: Decimal = ZERO
    value: Decimal = ZERO  # sum of px x sz over the fills
    fee: Decimal = ZERO
    pnl: Decimal = ZERO
    cancel_source: str = ""
    amend_source: str = ""
    amend_result: str = ""
    req_id: str = ""
    attached: list[Attached] = field(default_factory=list)
    last_fill: Fill | None = None
    place: int = 0  # its current entry in the book; older entries are stale

    @property
    def pending(self) -> bool:
        return self.state in PENDING

    @property
    def limit_px(self) -> Decimal | None:
        """The worst price at which it fills; None for market orders of pairs."""
        return self.cap if self.px is None else self.px

    @property
    def forced(self) -> bool:
        """Whether the exchange placed it: a liquidation or auto-deleveraging."""
        return self.category in ("full_liquidation", "adl")

    @property
    def buys(self) -> bool:
        return self.side == "buy"

    @property
    def in_quote(self) -> bool:
        return self.tgt_ccy == "quote_ccy"

    @property
    def left(self) -> Decimal:
        """The unfilled size, in units of `sz` (not for orders in quote currency)."""
        return self.sz - self.acc_fill_sz

    @property
    def avg_px(self) -> str:
        return text(round(self.value / self.acc_fill_sz, PLACES)) if self.acc_fill_sz else ""

    @property
    def inst_type(self) -> str:
        """MARGIN for a spot pair that is not traded with cash."""
        spot = self.instrument.is_spot
        return "MARGIN" if spot and self.td_mode in ("cross", "isolated") else self.instrument.inst_type

    @property
    def fee_ccy(self) -> str:
        """Buyers of spot pairs pay in the base currency; all others in the quote or settlement currency."""
        return self.instrument.base if self.instrument.is_spot and self.buys else self.instrument.settle

    @property
    def opens(self) -> bool:
        """Whether it opens a side of long/short mode; False in net mode."""
        return (self.pos_side, self.side) in (("long", "buy"), ("short", "sell"))


@dataclass(slots=True, eq=False)
class Algo:
    """An algo order that waits for a price: ``trigger``, ``conditional`` (one of TP, SL), ``oco`` (both), or
    ``move_order_stop``, whose trigger price follows the market at a distance."""

    uid: str
    algo_id: str
    instrument: Instrument
    side: str
    ord_type: str
    td_mode: str
    sz: Decimal
    c_time: int
    u_time: int
    algo_cl_ord_id: str = ""
    cl_ord_id: str = ""  # an older name of the client's id, which ccxt still sends
    tag: str = ""
    ccy: str = ""
    pos_side: str = ""
    lever: str = ""
    reduce_only: bool = False
    close_fraction: str = ""
    trigger_px: Decimal | None = None
    ord_px: str = ""  # "-1" is market
    tp_trigger_px: Decimal | None = None
    tp_ord_px: str = ""
    sl_trigger_px: Decimal | None = None
    sl_ord_px: str = ""
    px_types: dict[str, str] = field(default_factory=dict)  # by leg: "" trigger, "tp", "sl"
    entries: dict[str, int] = field(default_factory=dict)  # by leg: its current entry; older ones are stale
    callback_ratio: Decimal | None = None
    callback_spread: Decimal | None = None
    active_px: Decimal | None = None  # the price from which on it follows the market; None: from the beginning
    extreme: Decimal | None = None  # the best price since then
    advance_ord_type: str = ""  # the type of the child of a trigger order, if not limit or market
    cxl_on_close_pos: bool = False
    req_id: str = ""
    amend_result: str = ""
    state: str = "live"
    actual_side: str = ""
    actual_sz: Decimal = ZERO
    actual_px: str = ""
    trigger_time: str = ""
    fail_code: str = ""
    ord_ids: list[str] = field(default_factory=list)

    @property
    def pending(self) -> bool:
        return self.state == "live"

    @property
    def inst_type(self) -> str:
        """MARGIN for a spot pair that is not traded with cash."""
        spot = self.instrument.is_spot
        return "MARGIN" if spot and self.td_mode in ("cross", "isolated") else self.instrument.inst_type

    @property
    def px(self) -> Decimal:
        """The first of its trigger prices."""
        return self.trigger_px or self.tp_trigger_px or self.sl_trigger_px or self.move_trigger_px or ZERO

    @property
    def move_trigger_px(self) -> Decimal | None:
        """The trigger price of a trailing order at the moment; None before it follows the market."""
        if self.extreme is None:
            return None
        distance = self.extreme * self.callback_ratio if self.callback_ratio else self.callback_spread or ZERO
        return self.extreme - distance if self.side == "sell" else self.extreme + distance


@dataclass(slots=True, eq=False)
class Movement:
    """A deposit or a withdrawal; `state` advances by ticks, 2 is final in both."""

    uid: str
    movement_id: str
    ccy: str
    amt: Decimal
    fee: Decimal
    ts: int
    p_time: int
    state: str = "0"
    withdrawn: bool = False
