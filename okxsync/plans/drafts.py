"""A child order while a preview is made: later checks may still skip it, and only at the end it gets a number."""

from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Final

from okxsync.plans.checks import Finding
from okxsync.plans.document import Leg
from okxsync.plans.facts import AccountFacts, Instrument
from okxsync.plans.prices import Quotes, Side
from okxsync.plans.sizing import Holding

NOTHING: Final = Holding()


@dataclass(frozen=True)
class Ground:
    """What an account and a leg give before there is a size: all checks that need none have passed.

    Attributes:
        reference: The price of the leg's base.
        usd: USD per unit of the currency of T; ``assumed``: because no rate is known.
        lever: The leverage that the position has or gets; None: not known.
        sets_leverage: Whether it has to be set first.
    """

    instrument: Instrument
    td_mode: str
    long_short: bool
    quotes: Quotes
    reference: Decimal
    usd: Fraction
    assumed: bool
    lever: Decimal | None
    sets_leverage: bool


@dataclass
class Draft:
    """One order of an account, or why there is none."""

    account: AccountFacts
    leg_number: int
    leg: Leg
    phase: int
    ground: Ground | None = None
    side: Side | None = None
    reduces: bool = False
    size: Decimal = Decimal(0)
    px: Decimal | None = None
    take_profit: Decimal | None = None
    stop_loss: Decimal | None = None
    rounds: list[list[Decimal]] = field(default_factory=list)
    """The sizes of its orders, by round."""
    remainder: Fraction = Fraction(0)
    notional: Fraction = Fraction(0)
    before: Holding = NOTHING
    after: Holding = NOTHING
    warnings: list[str] = field(default_factory=list)
    finding: Finding | None = None

    @property
    def usd(self) -> Fraction:
        """What it is worth in USD."""
        return self.notional * self.ground.usd if self.ground else Fraction(0)

    @property
    def wants_nothing(self) -> bool:
        """Whether its leg has a size of 0 for the account."""
        size = self.leg.size
        return size.rule == "table" and not size.sizes.get(self.account.name)

    @property
    def pos_side(self) -> str:
        """``posSide`` of the request; ``""``: none."""
        if not self.ground or not self.ground.long_short:
            return ""
        return "long" if (self.side == "buy") is not self.reduces else "short"
