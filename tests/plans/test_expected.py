"""The position that an account should have before an order of a plan is sent."""

from typing import Any

import pytest

from okxsync.plans.children import Child
from okxsync.plans.commands import ChildOrder
from okxsync.plans.document import Plan
from okxsync.plans.expected import Expected, drafting_order, expected_position, key_of
from okxsync.plans.states import ChildState
from tests.plans.cases import SPOT, D, account, plan, position, preview
from tests.plans.world import make_child

CROSSES = plan('rule = "target"\nvalue = "-1"', "")
"""From 2 to -1: phase 1 closes 2, phase 2 opens 1."""


def made(of: Plan, **changes: Any) -> list[Child]:
    return sorted(preview(of, account(**changes)).children, key=drafting_order(of))


def expected(children: list[Child], own: int, **orders: dict[str, Any]) -> Expected | None:
    """Return what is expected before the child ``own``; ``orders`` is what is known of the others: ``n1={...}``."""

    def order_of(number: int) -> ChildOrder:
        attempts = 1 if f"n{number}" in orders else 0
        return make_child(number, **{"attempts": attempts, **orders.get(f"n{number}", {})})

    siblings = [one for one in children if key_of(one) == key_of(children[-1])]
    return expected_position(siblings, order_of, own)


def test_a_phase_expects_the_position_that_the_one_before_has_left() -> None:
    children = made(CROSSES, positions=(position("2"),))
    assert [(one.side, one.sz, one.facts.position) for one in children] == [("sell", D(2), D(2)), ("sell", D(1), D(0))]
    assert expected(children, 1) == Expected(D(2), D(2), False)
    filled = {"state": ChildState.FILLED, "acc_fill_sz": "2"}
    assert expected(children, 2, n1=filled) == Expected(D(0), D(0), True)
    partly = {"state": ChildState.CANCELED, "acc_fill_sz": "0.5"}
    assert expected(children, 2, n1=partly) == Expected(D("1.5"), D("1.5"), True)
    assert expected(children, 2, n1={"state": ChildState.CANCELED, "acc_fill_sz": "0"}) == Expected(D(2), D(2), True)


def test_an_order_that_was_found_without_an_intent_counts() -> None:
    """The database is an older copy, made before the order was sent."""
    children = made(CROSSES, positions=(position("2"),))
    found = {"state": ChildState.FILLED, "acc_fill_sz": "2", "attempts": 0, "ord_id": "7"}
    assert expected(children, 2, n1=found) == Expected(D(0), D(0), True)


@pytest.mark.parametrize("state", [ChildState.SENT, ChildState.ACCEPTED, ChildState.WORKING, ChildState.UNKNOWN])
def test_an_order_that_may_fill_leaves_a_range(state: ChildState) -> None:
    children = made(CROSSES, positions=(position("2"),))
    assert expected(children, 2, n1={"state": state, "acc_fill_sz": "0.5"}) == Expected(D(0), D("1.5"), True)


def test_an_order_that_was_not_placed_changes_nothing() -> None:
    children = made(CROSSES, positions=(position("2"),))
    assert expected(children, 2, n1={"state": ChildState.READY}) == Expected(D(2), D(2), True)
    assert expected(children, 1, n1={"state": ChildState.READY}) == Expected(D(2), D(2), False)


def test_a_short_position_of_long_short_mode_is_reduced_by_a_buy() -> None:
    short = position("2", pos_side="short")
    children = made(plan('rule = "change"\nvalue = "-50%"', ""), pos_mode="long_short_mode", positions=(short,))
    assert [(one.side, one.pos_side) for one in children] == [("buy", "short")]
    known = {"state": ChildState.FILLED, "acc_fill_sz": "1"}
    assert expected(children, 9, n1=known) == Expected(D(1), D(1), True)


@pytest.mark.parametrize(("fee", "least"), [("-0.00001", "0.00999"), ("-0.67", "0.01"), ("", "0.01")])
def test_the_fee_of_a_spot_buy_may_be_taken_from_the_coin(fee: str, least: str) -> None:
    children = made(plan('rule = "coins"\nvalue = "0.01"', 'side = "buy"', inst=SPOT))
    known = {"state": ChildState.FILLED, "acc_fill_sz": "0.01", "fee": fee}
    assert expected(children, 9, n1=known) == Expected(D(least), D("0.01"), True)


def test_without_a_position_at_the_preview_nothing_is_expected() -> None:
    assert expected_position([], make_child, 1) is None
