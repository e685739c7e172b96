"""What share of its equity each account has in the instruments of a rebalancing plan: before, wanted and after."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

import msgspec

from okxsync.plans.children import Child, from_columns
from okxsync.plans.combinations import scale_of
from okxsync.plans.document import Leg, Plan
from okxsync.plans.facts import decimal_of


class Weight(msgspec.Struct, frozen=True):
    """Shares of the account's equity at the preview, by the reference price of the plan; a short position is negative.

    Attributes:
        after: With what has been filled; before the plan is executed: with all of its orders.
    """

    account: str
    instrument: str
    before: Decimal
    wanted: Decimal
    after: Decimal


def weights_of(plan: Plan, orders: Sequence[Mapping[str, Any]], *, executed: bool) -> list[Weight]:
    """Return the weights of all accounts and instruments that have an order of a leg with ``target_equity``.

    Args:
        orders: The rows of ``plan_orders``.
        executed: Whether fills count, and not the sizes of the orders.
    """
    found: dict[tuple[str, int, str], list[tuple[Child, Fraction]]] = {}
    for row in orders:
        child = from_columns(row)
        filled = decimal_of(row["acc_fill_sz"]) or Decimal(0) if executed else child.sz
        if (
            child.kind == "order"
            and child.sz
            and plan.legs[child.leg - 1].size.basis == "total"
            and plan.legs[child.leg - 1].size.rule == "target_equity"
        ):
            counts = executed or not child.reason
            signed = Fraction(filled or 0) * (1 if child.side == "buy" else -1) if counts else Fraction(0)
            found.setdefault((child.account, child.leg, child.td_mode), []).append((child, signed))
    weights = (_weight(plan, plan.legs[leg - 1], of) for (_, leg, _), of in found.items())
    return [one for one in weights if one]


def _weight(plan: Plan, leg: Leg, orders: Sequence[tuple[Child, Fraction]]) -> Weight | None:
    first = orders[0][0]
    if not first.facts.equity or not first.sz:
        return None
    per_unit = Fraction(first.planned_usd) / Fraction(first.sz) / Fraction(first.facts.equity)
    position = first.facts.position if first.facts.net is None else first.facts.net
    before = Fraction(position or 0) * per_unit
    after = before + sum((signed for _, signed in orders), Fraction(0)) * per_unit
    wanted = Fraction(leg.size.value or 0) * scale_of(plan, leg, first.account)
    return Weight(first.account, first.inst_id, *map(_rounded, (before, wanted, after)))


def _rounded(share: Fraction) -> Decimal:
    return Decimal(f"{round(share * 10**6)}e-6")
