"""A new plan that takes an earlier one back: it is previewed and approved like any other.

Phase 1 cancels what rests of the earlier plan, attached take-profit and stop-loss orders too. Phase 2 reverses what its
orders filled, as reductions: never more than the present position, so an order that reduced is not opened again.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

import msgspec

from okxsync.config.units import one_of
from okxsync.plans.bodies import Cancel
from okxsync.plans.children import Child
from okxsync.plans.document import MARGINS, POS_SIDES, Accounts, Leg, Plan, Size, inst_type_of
from okxsync.plans.plan_file import DEFAULT_CAP, MAX_TITLE
from okxsync.plans.prices import Price

RESTING: Final = frozenset({"accepted", "working", "unknown"})
CLOSES: Final = frozenset({("sell", "long"), ("buy", "short")})
"""Sides and position sides of orders that close a position. In net mode the position decides, at the preview."""


class Done(msgspec.Struct, frozen=True):
    """What became of a child of the earlier plan.

    Attributes:
        state: Of the child.
        filled: Sum of its fills in the unit of ``sz``, minus what earlier undos have reversed.
        fee: Of these fills in the base currency, below 0 if it was charged; spot buys only.
        protected: Whether its attached algo order may be pending.
    """

    child: Child
    state: str
    filled: Decimal = Decimal(0)
    fee: Decimal = Decimal(0)
    protected: bool = False


class Undo(msgspec.Struct, frozen=True):
    """The plan (None: there is nothing to reverse or to cancel), and what it cancels first.

    Attributes:
        reduced: Accounts in long/short mode whose orders closed a position: it is not opened again.
    """

    plan: Plan | None
    cancels: tuple[Cancel, ...]
    reduced: tuple[str, ...] = ()


def undo_of(parent: Plan, done: Sequence[Done]) -> Undo:
    """Return the plan that takes ``parent`` back."""
    cancels: list[Cancel] = []
    reduced: dict[str, None] = {}
    sizes: dict[tuple[int, str, str, str], dict[str, Decimal]] = {}
    for one in done:
        child = one.child
        if child.kind != "order" or child.reason:
            continue
        if one.state in RESTING:
            cancels.append(Cancel(child.account, child.inst_id, child.cl_ord_id))
        if child.algo_cl_ord_id and one.protected:
            cancels.append(Cancel(child.account, child.inst_id, child.algo_cl_ord_id, algo=True))
        size = one.filled + min(one.fee, Decimal(0)) if child.side == "buy" else one.filled
        if size > 0 and (child.side, child.pos_side) in CLOSES:
            reduced[child.account] = None
        elif size > 0:
            group = sizes.setdefault((child.leg, child.side, child.pos_side, child.td_mode), {})
            group[child.account] = group.get(child.account, Decimal(0)) + size
    legs = [_reverse(parent.legs[number - 1], side, pos, mode, of) for (number, side, pos, mode), of in sizes.items()]
    if not legs and not cancels:
        return Undo(None, (), tuple(reduced))
    names = dict.fromkeys([*(one.account for one in cancels), *(name for leg in legs for name in leg.only), *reduced])
    if not legs:  # a plan has a leg: this one has nothing to do
        first = parent.legs[0]
        legs = [_reverse(first, "buy" if first.side == "buy" else "sell", "", "", dict.fromkeys(names, Decimal(0)))]
    plan = Plan(
        title=f"Undo: {parent.title}"[:MAX_TITLE],
        valid_for=parent.valid_for,
        legs=tuple(legs),
        accounts=Accounts(tuple(names), order=parent.accounts.order),
        limits=parent.limits,
        failure=parent.failure,
    )
    return Undo(plan, tuple(cancels), tuple(reduced))


def _reverse(leg: Leg, side: str, pos_side: str, td_mode: str, sizes: dict[str, Decimal]) -> Leg:
    """Return the leg that reverses fills of one side, with at least the cap of the earlier leg, on the other side."""
    buys = side == "sell"
    relative = leg.price is not None and leg.price.base is not None and leg.price.relative
    cap = max(DEFAULT_CAP, abs(leg.price.offset)) if leg.price and relative else DEFAULT_CAP
    spot = inst_type_of(leg.instrument) == "SPOT"
    margin = None
    if not spot:
        margin = one_of(td_mode, MARGINS) if td_mode else leg.margin
    return Leg(
        instrument=leg.instrument,
        only=tuple(sizes),
        side="buy" if buys else "sell",
        pos_side=one_of(pos_side, POS_SIDES),
        intent="reduce",
        margin=margin,
        price=Price("mark", cap if buys else -cap, True),
        phase=2,
        shrink=True,
        size=Size(rule="table", unit="coins" if spot else "contracts", sizes=sizes),
    )
