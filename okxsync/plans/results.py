"""How a plan has ended: its counters, its outcome, and the exit code of the commands that show it. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any, Final

from okxsync.plans.commands import ChildOrder
from okxsync.plans.facts import decimal_of
from okxsync.plans.sizing import in_cents
from okxsync.plans.states import ENDED, PLACED, ChildState

OK: Final = 0
PARTLY: Final = 1
UNKNOWN_LEFT: Final = 5
REFUSED: Final = 6
STOPPED: Final = 7
UNSENT: Final = frozenset({"ready", "armed", "sent"})
"""States of a child of which more is about to happen by the daemon alone."""
POLICIES: Final = frozenset({"stopped", "canary", "restart"})
"""Reasons with which the plan's own policy withholds the rest."""
_RESTING_TYPES: Final = frozenset({"limit", "post_only"})


def result_of(children: Sequence[ChildOrder], withheld: str) -> dict[str, str | int | None]:
    """Return the columns of a plan whose children have all ended.

    The outcome is ``complete`` if every order was filled completely and is protected as planned, and ``nothing`` if
    none was filled at all.

    Args:
        children: All child orders.
        withheld: The reason with which the rest was withheld; ``""``: nothing was.
    """
    complete = sum(one.state in (ChildState.FILLED, ChildState.DONE) and not one.unprotected for one in children)
    some = complete or any(decimal_of(one.acc_fill_sz) for one in children)
    outcome = "complete" if complete == len(children) else "partial" if some else "nothing"
    state = "expired" if withheld == "expired" else "stopped" if withheld else "done"
    return {
        "state": state,
        "outcome": outcome,
        "filled_usd": total_filled_usd(children),
        **counters(children),
    }


def counters(children: Sequence[ChildOrder]) -> dict[str, int]:
    """Return the columns of a plan that count its children."""
    states = Counter(one.state for one in children)
    return {
        "accepted": sum(states[one] for one in PLACED),
        "rejected": states[ChildState.REFUSED],
        "unknown": states[ChildState.UNKNOWN],
    }


def is_settled(orders: Sequence[Mapping[str, Any]]) -> bool:
    """Whether nothing more happens soon: each order has ended, rests in the book, or is unknown."""
    for one in orders:
        if one["state"] in UNSENT or (one["state"] in ("accepted", "working") and not rests(one)):
            return False
    return True


def have_ended(orders: Sequence[Mapping[str, Any]]) -> bool:
    """Whether nothing more happens at all, so that the plan ends, too."""
    return all(one["state"] in ENDED for one in orders)


def rests(order: Mapping[str, Any]) -> bool:
    """Whether an order was accepted and waits in the book, as its type says."""
    return order["state"] in ("accepted", "working") and order["ord_type"] in _RESTING_TYPES


def exit_code(plan: Mapping[str, Any], orders: Sequence[Mapping[str, Any]]) -> int:
    """Return the exit code for a plan that was executed, by its rows and those of its orders."""
    if any(one["state"] == "unknown" for one in orders):
        return UNKNOWN_LEFT
    if any(one["state"] == "withheld" and one["reason"] in POLICIES for one in orders):
        return STOPPED
    as_planned = all((one["state"] in ("filled", "done") or rests(one)) and not one["unprotected"] for one in orders)
    return OK if as_planned and plan["state"] not in ("stopped", "expired") else PARTLY


def filled_usd(child: ChildOrder) -> Fraction:
    """Return what was filled of an order in USD, at its average price and with the rates of the preview."""
    filled, size = decimal_of(child.acc_fill_sz), decimal_of(child.approved_sz or child.sz)
    planned = decimal_of(child.planned_usd)
    if not filled or not size or planned is None:
        return Fraction(0)
    worth = Fraction(planned) * Fraction(filled) / Fraction(size)
    average, reference = decimal_of(child.avg_px), decimal_of(child.reference)
    return worth * Fraction(average) / Fraction(reference) if average and reference else worth


def total_filled_usd(children: Iterable[ChildOrder]) -> str:
    return in_cents(sum(map(filled_usd, children), Fraction(0)))
