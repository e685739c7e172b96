"""A plan: what one operation does on many accounts. Values only; ``plan_file.py`` reads them from a TOML text.

Shares are fractions: 2 % is 0.02. Durations are seconds.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Final, Literal, TypeAlias

import msgspec

from okxsync.plans.prices import Offset, Price

LegSide: TypeAlias = Literal["buy", "sell", "auto"]
PosSide: TypeAlias = Literal["", "long", "short"]
Intent: TypeAlias = Literal["open", "reduce"]
Margin: TypeAlias = Literal["cross", "isolated", "cash"]
OrderType: TypeAlias = Literal["ioc", "limit", "post_only", "fok", "market"]
Rule: TypeAlias = Literal[
    "contracts",
    "coins",
    "quote",
    "equity",
    "available",
    "margin",
    "leverage",
    "split",
    "split_equity",
    "split_weights",
    "target",
    "target_equity",
    "change",
    "close",
    "follow",
    "table",
]
Unit: TypeAlias = Literal["contracts", "coins", "quote"]

POS_SIDES: Final[tuple[PosSide, ...]] = ("", "long", "short")
MARGINS: Final[tuple[Margin, ...]] = ("cross", "isolated", "cash")
SHARES: Final = frozenset({"equity", "available", "target_equity", "change"})
"""Rules whose value is a percentage."""
SIGNED: Final = frozenset({"target", "target_equity", "change"})
"""Rules whose value may be negative."""
AUTO: Final = frozenset({"target", "target_equity", "change", "close", "follow"})
"""Rules that decide the side for each account, from its present position."""
SPLITS: Final = frozenset({"split", "split_equity", "split_weights"})
"""Rules whose value is one total over all accounts."""
RULES_OF_KEY: Final[Mapping[str, frozenset[str]]] = {
    "unit": frozenset({"target", "table"}),
    "basis": frozenset({"equity", "target_equity"}),
    "remainder": SPLITS,
    "reassign": SPLITS,
    "band": frozenset({"target", "target_equity", "follow"}),
    "min_trade_usd": frozenset({"target", "target_equity", "follow"}),
}
"""Keys of a size, and the rules to which they belong."""
DEFAULT_VALID_S: Final = 60
MAX_ROUNDS: Final = 10


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """How much each account trades.

    Attributes:
        value: As ``rule`` says; None for ``close``, ``follow`` and ``table``.
        leader: The account that ``follow`` follows.
        unit: Of ``target`` and ``table``.
        basis: What ``equity`` is a share of: the total in USD, or the settle currency (spot: the quote currency).
        below_min: What happens to a size below the smallest order.
        remainder: Who receives the lots that a split leaves.
        reassign: Whether a split gives the shares of skipped accounts to the others.
        sizes: Of ``table``, by account.
        band: Targets: a difference to the position below this share of the target is not traded.
        min_trade_usd: Targets: a difference below this is not traded.
    """

    rule: Rule
    value: Decimal | None = None
    leader: str = ""
    unit: Unit = "contracts"
    basis: Literal["total", "settle"] = "total"
    below_min: Literal["skip", "min"] = "skip"
    remainder: Literal["largest", "first", "none"] = "largest"
    reassign: bool = False
    sizes: Mapping[str, Decimal] = {}
    band: Decimal | None = None
    min_trade_usd: Decimal | None = None


class Protect(msgspec.Struct, frozen=True):
    """Take-profit and stop-loss that are attached to each order that opens."""

    take_profit: Offset | None = None
    stop_loss: Offset | None = None
    trigger: Literal["last", "mark", "index"] = "last"


class Leverage(msgspec.Struct, frozen=True):
    """The leverage of the position: accounts that differ are skipped, or it is set before all orders."""

    value: Decimal
    set: bool = False


class Leg(msgspec.Struct, frozen=True, kw_only=True):
    """One instrument.

    Attributes:
        only: The accounts of the plan that the leg concerns; empty: all.
        pos_side: Only for accounts in long/short mode; ``""``: as side and intent say.
        intent: None: the part of each order that reduces the position is a reduction, the rest opens.
        margin: None: as the account mode says.
        price: None for ``market``.
        phase: None: reductions are phase 1, what opens is phase 2.
        shrink: Whether a reduction may become smaller at the send, if the position has.
        cancel_after: When a resting order is canceled.
    """

    instrument: str
    only: tuple[str, ...] = ()
    side: LegSide
    pos_side: PosSide = ""
    intent: Intent | None = None
    margin: Margin | None = None
    type: OrderType = "ioc"
    price: Price | None = None
    phase: int | None = None
    shrink: bool = False
    cancel_after: int | None = None
    size: Size
    protect: Protect | None = None
    leverage: Leverage | None = None

    @property
    def phases(self) -> tuple[int, int]:
        """The phase of what reduces, and of what opens.

        An order that crosses zero is two: the second needs what the first one frees.
        """
        if self.phase is None:
            return (1, 2)
        return (self.phase, self.phase + 1 if self.intent is None and self.size.rule in AUTO else self.phase)

    @property
    def used_phases(self) -> frozenset[int]:
        """The phases in which orders of this leg can be."""
        reduces, opens = self.phases
        match self.intent:
            case "reduce":
                return frozenset({reduces})
            case "open":
                return frozenset({opens})
        return frozenset({reduces, opens} if self.size.rule in AUTO else {opens})


class Accounts(msgspec.Struct, frozen=True):
    """Which accounts, and in which order: names, ``group:NAME``, or ``all``."""

    include: tuple[str, ...]
    exclude: tuple[str, ...] = ()
    order: Literal["random", "name", "equity"] = "random"
    weights: Mapping[str, Decimal] = {}


class PlanLimits(msgspec.Struct, frozen=True):
    """Own limits of the plan, and how far the facts may move between preview and send."""

    max_order_usd: Decimal | None = None
    max_total_usd: Decimal | None = None
    max_drift_price: Decimal = Decimal("0.005")
    max_drift_equity: Decimal = Decimal("0.03")


class Failure(msgspec.Struct, frozen=True):
    """What happens to the others when an order is rejected or its outcome is unknown. ``stop_at`` is a share."""

    canary: int = 1
    on_reject: Literal["continue", "stop", "cancel"] = "continue"
    stop_at: Decimal | None = None
    on_unknown: Literal["continue", "pause"] = "continue"
    on_restart: Literal["resume", "stop"] = "resume"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A plan, checked.

    Attributes:
        valid_for: From the approval on; nothing is sent later.
        cash: Share of the equity that the spot legs with ``target_equity`` leave.
        dead_man: OKX cancels the plan's resting orders if it does not hear from the daemon for so long.
        rounds: Into how many orders each size is divided. A round begins when the one before has ended, with another
            account as the first, so that the prices of the accounts differ less.
    """

    title: str
    valid_for: int = DEFAULT_VALID_S
    dead_man: int | None = None
    rounds: int = 1
    cash: Decimal | None = None
    legs: tuple[Leg, ...]
    accounts: Accounts
    limits: PlanLimits = PlanLimits()
    failure: Failure = Failure()


InstType: TypeAlias = Literal["SPOT", "SWAP", "FUTURES", "OPTION"]


def inst_type_of(instrument: str) -> InstType | None:
    """Return the type that an instrument id says; None: a type that plans do not trade."""
    match instrument.split("-"):
        case [_, _]:
            return "SPOT"
        case [_, _, "SWAP"]:
            return "SWAP"
        case [_, _, expiry] if expiry.isdigit():
            return "FUTURES"
        case [_, _, _, _, "C" | "P"]:
            return "OPTION"
    return None


class PlanError(ValueError):
    """The plan is invalid; ``lines`` has one line for each thing to fix."""

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines
