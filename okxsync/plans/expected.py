"""The position that an account should have now: that of the preview, and what the plan's own orders have filled since.

A child's own ``facts.position`` will not do: it assumes that all orders before it are filled completely. So the
position of the first child of the same instrument, margin mode and side is taken, which assumes nothing, and the fills
of all.
"""

from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Final, NamedTuple, TypeAlias

from okxsync.plans.children import Child
from okxsync.plans.commands import ChildOrder
from okxsync.plans.document import Plan, inst_type_of
from okxsync.plans.facts import decimal_of
from okxsync.plans.states import ENDED, ChildState

MAX_FEE: Final = Decimal("0.02")
"""Of the size. A fee that is larger is in the quote currency."""
Key: TypeAlias = tuple[str, str, str, str]


class Expected(NamedTuple):
    """The position is at least and at most this, in the unit of ``sz``.

    Attributes:
        is_moving: An order of the plan was sent: the mirror's position may be older than the mirror's order.
    """

    least: Decimal
    most: Decimal
    is_moving: bool


def key_of(child: Child) -> Key:
    """Return what position a child changes."""
    return child.account, child.inst_id, child.td_mode, child.pos_side


def drafting_order(plan: Plan) -> Callable[[Child], tuple[int, int]]:
    """Return the key by which children are sorted as the preview has computed them, one after the other."""
    legs = sorted(range(len(plan.legs)), key=lambda index: (min(plan.legs[index].used_phases), index))
    rank = {index + 1: position for position, index in enumerate(legs)}
    return lambda child: (rank.get(child.leg, -1), child.number)


def expected_position(
    siblings: Sequence[Child], order_of: Callable[[int], ChildOrder], own_number: int
) -> Expected | None:
    """Return the position that is expected before a child is sent; None: the preview did not know it.

    Args:
        siblings: All children that change the same position, in the order in which they were computed.
        order_of: Returns the present state of a child.
        own_number: Of the child that is to be sent.
    """
    position = next((one.facts.position for one in siblings if one.facts.position is not None), None)
    if position is None:
        return None
    least = most = position
    is_moving = False
    for child in siblings:
        order = order_of(child.number)
        if child.number == own_number or not order.may_exist:
            continue
        is_moving = True
        for low, high in _changes(child, order):
            least, most = least + low, most + high
    return Expected(least, most, is_moving)


def _changes(child: Child, order: ChildOrder) -> Iterable[tuple[Decimal, Decimal]]:
    """Yield by how much an order has changed the position, at least and at most."""
    filled = decimal_of(order.acc_fill_sz) or Decimal(0)
    may_fill = order.state not in ENDED and order.state is not ChildState.READY
    possible = max(filled, child.sz or Decimal(0)) if may_fill else filled
    adds = (child.side == "buy") is (child.pos_side != "short")
    yield (filled, possible) if adds else (-possible, -filled)
    fee = decimal_of(order.fee) or Decimal(0)
    if inst_type_of(child.inst_id) == "SPOT" and child.side == "buy" and abs(fee) <= MAX_FEE * filled:
        yield min(fee, Decimal(0)), max(fee, Decimal(0))  # charged in the coin that was bought, or not
