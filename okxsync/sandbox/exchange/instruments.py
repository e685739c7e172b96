"""One instrument: its sizes, its arithmetic, and its wire row.

``sz`` is base currency for SPOT and MARGIN and contracts for the others. The value of a contract is ``ctVal`` of the
base currency (linear), ``ctVal`` USD settled in the base currency (inverse), or for options ``ctVal`` of the base
currency with a price in it. Spot pairs are listed a second time as MARGIN, under the same ``instId``.
Instrument codes differ between live and demo trading (OKX docs: public-data-rest-api-get-instruments).
"""

from dataclasses import dataclass, field
from decimal import ROUND_DOWN, Decimal
from typing import Any

DEMO_CODES = 2_000_000
"""Added to a live ``instIdCode`` to make the demo one."""
PLACES = 12
"""Digits after the point of averages, fees and pnl."""
MAX_SPOT_MARKET = Decimal(1_000_000)
"""The most USDT of one market order of a pair."""
_RATES = {"SPOT": ("0.0008", "0.001"), "OPTION": ("0.0002", "0.0003")}
"""Maker and taker fee by type, as fractions of the traded value; of all other types: `_CONTRACT_RATES`."""
_CONTRACT_RATES = ("0.0002", "0.0005")


def text(number: Decimal) -> str:
    """Return a number as OKX writes it: plain digits, no exponent, no trailing zeros, no minus zero."""
    return format(number.normalize(), "f") if number else "0"


@dataclass(slots=True, eq=False)
class Instrument:
    """One instrument. Its steps and its state may change while it is listed.

    Attributes:
        code: The live ``instIdCode``.
        quote: The currency of prices; ``USD`` for inverse contracts and options.
        ct_val: Per unit of ``sz``: base currency, or USD for inverse contracts.
        exp_time: When it expires, in ms; 0 for never.
        opt_type: ``C`` or ``P`` for options.
        state: ``live``, or why it is not traded; in ``post_only`` only post-only orders are accepted.
        changes: The rows of ``upcChg``, each with ``param``, ``newValue`` and ``effTime``.
    """

    inst_id: str
    inst_type: str
    code: int
    base: str
    quote: str
    start_px: Decimal
    tick_sz: Decimal
    lot_sz: Decimal
    min_sz: Decimal
    ct_val: Decimal = Decimal(1)
    max_lever: str = ""
    inverse: bool = False
    exp_time: int = 0
    opt_type: str = ""
    stk: Decimal = Decimal(0)
    max_lmt_sz: Decimal = Decimal(100_000_000)
    max_lmt_amt: Decimal = Decimal(20_000_000)  # in USD
    max_mkt_sz: Decimal = Decimal(20_000)  # contracts; spot pairs have `MAX_SPOT_MARKET` instead
    state: str = "live"
    changes: list[dict[str, str]] = field(default_factory=list)

    @property
    def is_spot(self) -> bool:
        return self.inst_type == "SPOT"

    @property
    def is_swap(self) -> bool:
        return self.inst_type == "SWAP"

    @property
    def is_option(self) -> bool:
        return self.inst_type == "OPTION"

    @property
    def settle(self) -> str:
        """The currency of margin, fees and pnl of a contract; the quote currency of a spot pair."""
        return self.base if self.inverse or self.is_option else self.quote

    @property
    def uly(self) -> str:
        """The underlying, also the instrument family; empty for spot."""
        return "" if self.is_spot else f"{self.base}-{self.quote}"

    @property
    def index(self) -> str:
        """The spot pair whose price is the index of this instrument."""
        return f"{self.base}-USDT"

    @property
    def taker_rate(self) -> Decimal:
        """Taker fee as a fraction of the traded value, before the sign."""
        return Decimal(_RATES.get(self.inst_type, _CONTRACT_RATES)[1])

    @property
    def maker_rate(self) -> Decimal:
        return Decimal(_RATES.get(self.inst_type, _CONTRACT_RATES)[0])

    def inst_id_code(self, demo: bool) -> int:
        return self.code + DEMO_CODES if demo else self.code

    def to_lot(self, sz: Decimal) -> Decimal:
        """Round a size down to the lot size."""
        return (sz / self.lot_sz).to_integral_value(ROUND_DOWN) * self.lot_sz

    def to_tick(self, px: Decimal) -> Decimal:
        """Round a price to the nearest tick, at least one tick."""
        return max((px / self.tick_sz).to_integral_value() * self.tick_sz, self.tick_sz)

    def value(self, sz: Decimal, px: Decimal) -> Decimal:
        """What `sz` is worth at `px`, in the settlement currency."""
        return round(sz * self.ct_val / px, PLACES) if self.inverse else sz * self.ct_val * px

    def coins(self, sz: Decimal, px: Decimal) -> Decimal:
        """The settlement currency that fees and margin are computed from; for options the underlying coins."""
        return sz * self.ct_val if self.is_option else self.value(sz, px)

    def pnl(self, pos: Decimal, opened: Decimal, px: Decimal) -> Decimal:
        """What a signed position gains when the price moves from `opened` to `px`, in the settlement currency."""
        if self.inverse:
            return round(pos * self.ct_val / opened - pos * self.ct_val / px, PLACES)
        return pos * self.ct_val * (px - opened)

    def average(self, pos: Decimal, avg_px: Decimal, opening: Decimal, px: Decimal) -> Decimal:
        """The average price of a position after adding to it; inverse contracts average their value in coins."""
        if self.inverse:
            return round((pos + opening) / ((pos / avg_px if pos else 0) + opening / px), PLACES)
        return round((pos * avg_px + opening * px) / (pos + opening), PLACES)

    def payoff(self, index: Decimal) -> Decimal:
        """The price of an expiring instrument at its settlement: the intrinsic value of an option, else the index."""
        if not self.is_option:
            return index
        inside = index - self.stk if self.opt_type == "C" else self.stk - index
        return max(round(inside / index, PLACES), Decimal(0))

    def row(self, demo: bool, inst_type: str = "", state: str = "") -> dict[str, Any]:
        """The wire row of REST and of channel ``instruments``; `inst_type` may be MARGIN for a spot pair."""
        contract, kind = not self.is_spot, inst_type or self.inst_type
        return {
            "alias": "",
            "auctionEndTime": "",
            "baseCcy": "" if contract else self.base,
            "category": "1",
            "contTdSwTime": "",
            "ctMult": "1" if contract else "",
            "ctType": "" if not contract or self.is_option else "inverse" if self.inverse else "linear",
            "ctVal": text(self.ct_val) if contract else "",
            "ctValCcy": "" if not contract else self.quote if self.inverse else self.base,
            "expTime": str(self.exp_time) if self.exp_time else "",
            "futureSettlement": False,
            "groupId": "1",
            "instCategory": "1",
            "instFamily": self.uly,
            "instId": self.inst_id,
            "instIdCode": self.inst_id_code(demo),
            "instType": kind,
            "lever": self.max_lever if kind != "SPOT" else "",
            "listTime": "1573557408000",
            "lotSz": text(self.lot_sz),
            "maxIcebergSz": "100000000",
            "maxLmtAmt": text(self.max_lmt_amt),
            "maxLmtSz": text(self.max_lmt_sz),
            "maxMktAmt": "" if contract else text(MAX_SPOT_MARKET),
            "maxMktSz": text(self.max_mkt_sz if contract else MAX_SPOT_MARKET),
            "maxStopSz": "20000" if contract else "1000000",
            "maxTriggerSz": "100000000",
            "maxTwapSz": "100000000",
            "minSz": text(self.min_sz),
            "openType": "call_auction" if not contract else "",
            "optType": self.opt_type,
            "posLmtAmt": "",
            "posLmtPct": "",
            "preMktSwTime": "",
            "quoteCcy": "" if contract else self.quote,
            "ruleType": "normal",
            "settleCcy": self.settle if contract else "",
            "state": state or self.state,
            "stk": text(self.stk) if self.is_option else "",
            "tickSz": text(self.tick_sz),
            "tradeQuoteCcyList": [] if contract else [self.quote],
            "uly": self.uly,
            "upcChg": list(self.changes),
        }
