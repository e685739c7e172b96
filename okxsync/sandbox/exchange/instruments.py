"""The instruments: two spot pairs and two linear perpetual swaps, with OKX's sizes and contract values.

``sz`` is base currency for SPOT and contracts for SWAP; a contract is ``ctVal`` of the base currency, settled
in USDT.
Instrument codes differ between live and demo trading (OKX docs: public-data-rest-api-get-instruments).
"""

from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal
from typing import Any

DEMO_CODES = 2_000_000
"""Added to a live ``instIdCode`` to make the demo one."""


def text(number: Decimal) -> str:
    """Return a number as OKX writes it: plain digits, no exponent, no trailing zeros, no minus zero."""
    return format(number.normalize(), "f") if number else "0"


@dataclass(frozen=True, slots=True)
class Instrument:
    """One instrument; prices are in `quote`, sizes in base currency (SPOT) or contracts (SWAP)."""

    inst_id: str
    inst_type: str
    code: int  # live instIdCode
    base: str
    quote: str
    start_px: Decimal
    tick_sz: Decimal
    lot_sz: Decimal
    min_sz: Decimal
    ct_val: Decimal = Decimal(1)  # base currency per unit of sz
    max_lever: str = ""

    @property
    def is_swap(self) -> bool:
        return self.inst_type == "SWAP"

    @property
    def uly(self) -> str:
        """The underlying, also the instrument family; empty for spot."""
        return f"{self.base}-{self.quote}" if self.is_swap else ""

    @property
    def taker_rate(self) -> Decimal:
        """Taker fee as a fraction of the traded value, before the sign."""
        return Decimal("0.0005") if self.is_swap else Decimal("0.001")

    @property
    def maker_rate(self) -> Decimal:
        return Decimal("0.0002") if self.is_swap else Decimal("0.0008")

    def inst_id_code(self, demo: bool) -> int:
        return self.code + DEMO_CODES if demo else self.code

    def to_lot(self, sz: Decimal) -> Decimal:
        """Round a size down to the lot size."""
        return (sz / self.lot_sz).to_integral_value(ROUND_DOWN) * self.lot_sz

    def to_tick(self, px: Decimal) -> Decimal:
        """Round a price to the nearest tick, at least one tick."""
        return max((px / self.tick_sz).to_integral_value() * self.tick_sz, self.tick_sz)

    def value(self, sz: Decimal, px: Decimal) -> Decimal:
        """What `sz` is worth at `px`, in the quote currency."""
        return sz * self.ct_val * px

    def row(self, demo: bool) -> dict[str, Any]:
        """The wire row of ``GET public/instruments`` and channel ``instruments``."""
        swap = self.is_swap
        return {
            "alias": "",
            "auctionEndTime": "",
            "baseCcy": "" if swap else self.base,
            "category": "1",
            "contTdSwTime": "",
            "ctMult": "1" if swap else "",
            "ctType": "linear" if swap else "",
            "ctVal": text(self.ct_val) if swap else "",
            "ctValCcy": self.base if swap else "",
            "expTime": "",
            "futureSettlement": False,
            "groupId": "1",
            "instCategory": "1",
            "instFamily": self.uly,
            "instId": self.inst_id,
            "instIdCode": self.inst_id_code(demo),
            "instType": self.inst_type,
            "lever": self.max_lever,
            "listTime": "1573557408000",
            "lotSz": text(self.lot_sz),
            "maxIcebergSz": "100000000",
            "maxLmtAmt": "20000000",
            "maxLmtSz": "100000000",
            "maxMktAmt": "" if swap else "1000000",
            "maxMktSz": "20000" if swap else "1000000",
            "maxStopSz": "20000" if swap else "1000000",
            "maxTriggerSz": "100000000",
            "maxTwapSz": "100000000",
            "minSz": text(self.min_sz),
            "openType": "call_auction" if not swap else "",
            "optType": "",
            "posLmtAmt": "",
            "posLmtPct": "",
            "preMktSwTime": "",
            "quoteCcy": "" if swap else self.quote,
            "ruleType": "normal",
            "settleCcy": self.quote if swap else "",
            "state": "live",
            "stk": "",
            "tickSz": text(self.tick_sz),
            "tradeQuoteCcyList": [] if swap else [self.quote],
            "uly": self.uly,
            "upcChg": [],
        }


def _spot(code: int, base: str, px: str, tick: str, lot: str, least: str) -> Instrument:
    d = Decimal
    return Instrument(f"{base}-USDT", "SPOT", code, base, "USDT", d(px), d(tick), d(lot), d(least), max_lever="10")


def _swap(code: int, base: str, px: str, tick: str, ct_val: str) -> Instrument:
    d, lot = Decimal, Decimal("0.01")
    inst_id = f"{base}-USDT-SWAP"
    return Instrument(inst_id, "SWAP", code, base, "USDT", d(px), d(tick), lot, lot, d(ct_val), "100")


INSTRUMENTS = (
    _spot(10461, "BTC", "60000", "0.1", "0.00000001", "0.00001"),
    _spot(10462, "ETH", "2500", "0.01", "0.000001", "0.0001"),
    _swap(10459, "BTC", "60000", "0.1", "0.01"),
    _swap(10463, "ETH", "2500", "0.01", "0.1"),
)
