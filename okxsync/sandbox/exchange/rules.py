"""What tests may choose: the shape of the market, and the answers to questions that OKX's documents leave open."""

from dataclasses import dataclass
from decimal import Decimal


@dataclass
class Rules:
    """The choices of one exchange. They may be changed at any time.

    Attributes:
        band: How far a price may be beyond the mark, as a fraction: above it for buyers, below it for sellers.
        partial_fills: Whether limit orders fill in random parts; without, each fills in one trade.
        reduce_beyond: A reduce-only or closing order that is larger than the position is ``cut`` to it
            (``amendSource`` 4), or ``reject``-ed (51112). OKX documents both.
        atomic_batches: In portfolio margin mode, one rejected order of a batch rejects the others (54004).
        attached_after_partial: Whether the take profit and stop loss of an order that is canceled after a part has
            filled start to wait.
        dead_man_algos: Whether cancel-all-after cancels algo orders, too.
        spot_freeze: What a spot market purchase in the base currency must be able to pay beyond the best price, as a
            fraction.
        cancel_loses: Whether an accepted cancellation loses the race: the order fills at the next tick instead.
    """

    band: Decimal = Decimal("0.05")
    partial_fills: bool = True
    reduce_beyond: str = "cut"
    atomic_batches: bool = True
    attached_after_partial: bool = True
    dead_man_algos: bool = False
    spot_freeze: Decimal = Decimal("0.05")
    cancel_loses: bool = False
