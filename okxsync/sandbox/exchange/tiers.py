"""Position tiers: the larger a position, the less leverage it may have (OKX docs: public-data-get-position-tiers)."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from okxsync.sandbox.exchange.instruments import Instrument, text

_TIERS = ((2, 1), (10, 2), (50, 5), (200, 10), (1000, 20))
"""Upper end in million USD, and by what the maximum leverage is divided."""
_MARGIN_OF_MAINTENANCE = Decimal("0.4")


@dataclass(frozen=True, slots=True)
class Tier:
    """Sizes in units of ``sz``."""

    number: int
    min_sz: Decimal
    max_sz: Decimal
    max_lever: Decimal

    def row(self, instrument: Instrument) -> dict[str, Any]:
        """The row of ``GET public/position-tiers``."""
        imr = 1 / self.max_lever
        return {
            "baseMaxLoan": "",
            "imr": text(round(imr, 6)),
            "instFamily": instrument.uly,
            "instId": instrument.inst_id if instrument.is_spot else "",
            "maxLever": text(self.max_lever),
            "maxSz": text(self.max_sz),
            "minSz": text(self.min_sz),
            "mmr": text(round(imr * _MARGIN_OF_MAINTENANCE, 6)),
            "optMgnFactor": "",
            "quoteMaxLoan": "",
            "tier": str(self.number),
            "uly": instrument.uly,
        }


def tiers_of(instrument: Instrument) -> list[Tier]:
    """The tiers of an instrument with leverage, smallest first; none for options."""
    if not instrument.max_lever:
        return []
    unit = instrument.ct_val if instrument.inverse else instrument.ct_val * instrument.start_px
    found: list[Tier] = []
    least = Decimal(0)
    for number, (millions, divisor) in enumerate(_TIERS, 1):
        most = instrument.to_lot(millions * 1_000_000 / unit)
        found.append(Tier(number, least, most, max(Decimal(instrument.max_lever) / divisor, Decimal(1))))
        least = most + instrument.lot_sz
    return found


def largest(instrument: Instrument, lever: str) -> Decimal | None:
    """The largest position, in units of ``sz``, that this leverage permits; None for options."""
    allowed = [tier.max_sz for tier in tiers_of(instrument) if Decimal(lever or 1) <= tier.max_lever]
    return max(allowed, default=None)
