"""An order with a fill ends when its take-profit and stop-loss are seen, or as unprotected."""

import pytest

from okxsync.plans.attached import ASKS_MS, SEEN_MS
from okxsync.plans.commands import AskAttached
from okxsync.plans.resolve import OrderRow
from okxsync.plans.results import exit_code, result_of
from okxsync.plans.states import ChildState
from tests.plans.world import World, make_child, sent_orders


def bracket(state: str = "filled", filled: str = "1") -> World:
    """Return a world whose order has ended at the exchange."""
    world = sent_orders(make_child(0, algo_cl_ord_id="T0"))
    follow(world, state, filled)
    return world


def follow(world: World, state: str = "filled", filled: str = "1") -> None:
    row = OrderRow("1", "P0", "BTC-USDT-SWAP", "buy", state=state, acc_fill_sz=filled)
    world.execution.followed(0, row, world.moment)
    world.step()


def state(world: World) -> tuple[ChildState, bool]:
    child = world.execution.child(0)
    return child.state, child.unprotected


@pytest.mark.parametrize(("ends", "as_"), [("filled", ChildState.FILLED), ("canceled", ChildState.CANCELED)])
def test_it_ends_when_the_attached_order_is_seen(ends: str, as_: ChildState) -> None:
    world = bracket(ends, "0.5")
    assert state(world) == (ChildState.WORKING, False)
    assert world.execution.child(0).acc_fill_sz == "0.5"
    world.execution.attached.seen(0)
    follow(world, ends, "0.5")
    assert state(world) == (as_, False)
    assert not world.alarms


def test_without_a_fill_there_is_nothing_to_wait_for() -> None:
    assert state(bracket("canceled", "0")) == (ChildState.CANCELED, False)


def test_after_ten_seconds_it_is_unprotected_and_an_alarm() -> None:
    world = bracket()
    world.advance(SEEN_MS - 1)
    follow(world)
    assert state(world) == (ChildState.WORKING, False)
    world.advance(1)
    follow(world)
    assert state(world) == (ChildState.FILLED, True)
    assert ["its take-profit or stop-loss" in one for one in world.alarms] == [True]
    ended = result_of(world.execution.children, "")
    assert ended["outcome"] == "partial"
    assert exit_code(ended, [{"state": "filled", "ord_type": "ioc", "reason": None, "unprotected": 1}]) == 1


def test_rest_is_asked_for_what_the_mirror_does_not_have() -> None:
    world = bracket()
    asked: list[AskAttached] = []
    for _ in range(3):
        asked += world.execution.attached.questions(world.moment.now_ms)
        world.now_ms += ASKS_MS
    assert asked == [AskAttached(0)]  # once, until it is answered
    world.execution.attached.answered(0, world.moment.now_ms, exists=False)
    assert not world.execution.attached.questions(world.moment.now_ms)
    world.now_ms += ASKS_MS
    assert world.execution.attached.questions(world.moment.now_ms) == [AskAttached(0)]
    world.execution.attached.answered(0, world.moment.now_ms, exists=True)
    follow(world)
    assert state(world) == (ChildState.FILLED, False)
