"""A new plan for what an earlier one did not do: it is previewed and approved like any other."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

import msgspec
from msgspec.structs import replace

from okxsync.plans.children import Child
from okxsync.plans.document import AUTO, SPLITS, Accounts, Leg, Plan, Size, Unit, inst_type_of
from okxsync.plans.plan_file import MAX_TITLE
from okxsync.plans.prices import Offset

TITLE: Final = "Retry: "
NOT_PLACED: Final = frozenset({"withheld", "refused", "absent", "expired"})
ENDED_OPEN: Final = frozenset({"canceled", "gone"})
"""May have a rest that was not filled."""


class Ended(msgspec.Struct, frozen=True):
    """A child of the earlier plan: its state and how much of it was filled, in the unit of ``sz``."""

    child: Child
    state: str
    filled: Decimal = Decimal(0)

    @property
    def rest(self) -> Decimal:
        return (self.child.sz or Decimal(0)) - self.filled

    @property
    def is_missing(self) -> bool:
        """Whether something of it remains to be done."""
        return self.state in NOT_PLACED or (self.state in ENDED_OPEN and self.rest > 0)


class Retry(msgspec.Struct, frozen=True):
    """The new plan (None: nothing remains to be done), and the accounts whose orders are unknown: they are left out."""

    plan: Plan | None
    unknown: tuple[str, ...]


def retry_of(parent: Plan, children: Sequence[Ended]) -> Retry:
    """Return the plan that does what is missing.

    Rules that aim at a position are applied anew: they find what is missing themselves. So is any rule where nothing
    was filled; a share of a split stays the share that it was. Where a part was filled, the rest is the new size.
    """
    orders = [one for one in children if one.child.kind == "order" and not one.child.reason]
    unknown = {one.child.account for one in children if one.state == "unknown"}
    legs: list[Leg] = []
    for number, leg in enumerate(parent.legs, 1):
        of_leg = [one for one in orders if one.child.leg == number and one.child.account not in unknown]
        legs += _legs(leg, of_leg)
    names = list(dict.fromkeys(name for leg in legs for name in leg.only))
    plan = None
    if legs:
        accounts = Accounts(tuple(names), (), parent.accounts.order, _of(parent.accounts.weights, names))
        title = f"{TITLE}{parent.title.removeprefix(TITLE)}"[:MAX_TITLE]
        plan = replace(parent, title=title, legs=tuple(legs), accounts=accounts)
    return Retry(plan, tuple(sorted(unknown)))


def _legs(leg: Leg, orders: Sequence[Ended]) -> list[Leg]:
    anew: list[str] = []
    rests: dict[tuple[str, bool], dict[str, Decimal]] = {}
    shares: dict[str, Decimal] = {}
    for name in dict.fromkeys(one.child.account for one in orders if one.is_missing):
        own = [one for one in orders if one.child.account == name]
        if leg.size.rule in AUTO - {"change"} or not any(one.filled for one in own):
            if leg.size.rule in SPLITS:
                shares[name] = sum((_money(one.child) for one in own), Decimal(0))
            else:
                anew.append(name)
            continue
        for one in own:
            if one.is_missing:
                sizes = rests.setdefault((one.child.side, _reduces(leg, one.child)), {})
                sizes[name] = sizes.get(name, Decimal(0)) + one.rest
    found = [replace(leg, only=tuple(anew))] if anew else []
    if shares:
        found.append(_table(leg, leg.side, shares, "quote"))
    for (side, reduces), sizes in rests.items():
        rest = _table(leg, side, sizes, "coins" if inst_type_of(leg.instrument) == "SPOT" else "contracts")
        intent = "reduce" if reduces else leg.intent
        phase = leg.phase and leg.phases[0 if reduces else 1]
        found.append(replace(rest, intent=intent, phase=phase, protect=None if reduces else rest.protect))
    return found


def _reduces(leg: Leg, child: Child) -> bool:
    """Whether a child reduces: Portfolio margin and long/short accounts have no flag that says so."""
    if leg.intent:
        return leg.intent == "reduce"
    before, after = child.facts.position, child.facts.position_after
    return before is not None and after is not None and abs(after) < abs(before)


def _money(child: Child) -> Decimal:
    """Return the money of a child before it was rounded to lots."""
    return (child.facts.notional or Decimal(0)) + child.remainder


def _table(leg: Leg, side: str, sizes: dict[str, Decimal], unit: Unit) -> Leg:
    """Return a leg with a size for each account; the offsets of `auto` become those of a sell, if it is one."""
    price, protect = leg.price, leg.protect
    if leg.side == "auto" and side == "sell":
        price = price and replace(price, offset=-price.offset if price.base else price.offset)
        protect = protect and replace(
            protect, take_profit=_mirrored(protect.take_profit), stop_loss=_mirrored(protect.stop_loss)
        )
    size = Size(rule="table", unit=unit, sizes=sizes, below_min=leg.size.below_min)
    shrink = leg.shrink and leg.intent == "reduce"
    return replace(leg, side=side, size=size, only=tuple(sizes), price=price, protect=protect, shrink=shrink)


def _mirrored(offset: Offset | None) -> Offset | None:
    return replace(offset, value=-offset.value) if offset and offset.relative else offset


def _of(weights: object, names: Sequence[str]) -> dict[str, Decimal]:
    assert isinstance(weights, dict)
    return {name: weight for name, weight in weights.items() if name in names}
