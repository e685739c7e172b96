"""``rounds``: each size in parts, one after the other, in rotated order."""

import msgspec
import pytest
from msgspec.structs import replace

from okxsync.plans.canonical import canonical
from okxsync.plans.children import OrderBody
from okxsync.plans.commands import Shrunk, Withheld
from okxsync.plans.document import Plan, PlanError
from okxsync.plans.plan_file import read
from okxsync.plans.preview import make_preview
from okxsync.plans.retry import Ended, retry_of
from okxsync.plans.running import Running
from tests.plans.cases import BTC, NOW, PLAN_ID, SWAP, D, account, plan, position, preview, system, trading


def in_rounds(rounds: int, size: str = 'rule = "contracts"\nvalue = 1', leg: str = 'side = "buy"') -> Plan:
    return replace(plan(size, leg), rounds=rounds)


def test_each_round_is_a_phase_and_begins_with_another_account() -> None:
    found = preview(in_rounds(3), account("alpha"), account("beta"), account("gamma"))
    assert [(one.number, one.account, one.phase, one.slice, one.sz) for one in found.children] == [
        (1, "alpha", 4, 1, D("0.34")),
        (2, "beta", 4, 1, D("0.34")),
        (3, "gamma", 4, 1, D("0.34")),
        (4, "beta", 5, 2, D("0.33")),
        (5, "gamma", 5, 2, D("0.33")),
        (6, "alpha", 5, 2, D("0.33")),
        (7, "gamma", 6, 3, D("0.33")),
        (8, "alpha", 6, 3, D("0.33")),
        (9, "beta", 6, 3, D("0.33")),
    ]
    own = [one for one in found.children if one.account == "alpha"]
    assert [one.facts.position for one in own] == [0, D("0.34"), D("0.67")]
    assert own[-1].facts.position_after == 1
    assert found.confirmation == preview(in_rounds(1), account("alpha"), account("beta"), account("gamma")).confirmation


def test_all_rounds_of_a_reduction_come_before_those_of_what_opens() -> None:
    turn = in_rounds(2, 'rule = "target"\nvalue = 1', "")
    found = preview(turn, account(positions=(position("-1"),))).children
    assert [(one.phase, one.reduce_only, one.sz) for one in found] == [
        (1, True, D("0.5")),
        (2, True, D("0.5")),
        (3, False, D("0.5")),
        (4, False, D("0.5")),
    ]


def test_a_size_that_is_too_small_has_fewer_rounds_and_a_skipped_account_one_row() -> None:
    coarse = account(instruments={BTC: replace(SWAP, min_size=D("0.4"))})
    found = preview(in_rounds(10), coarse, account("beta", live=False)).children
    assert [(one.account, one.sz, one.phase) for one in found if not one.reason] == [
        ("alpha", D("0.5"), 11),
        ("alpha", D("0.5"), 12),
    ]
    assert [(one.account, one.reason) for one in found if one.reason] == [("beta", "not-connected")]


def test_a_round_above_the_largest_order_is_several_orders() -> None:
    limited = account(instruments={BTC: replace(SWAP, max_limit=D("0.3"))})
    found = preview(in_rounds(2), limited).children
    assert [(one.phase, one.slice, one.sz) for one in found] == [
        (3, 1, D("0.3")),
        (3, 2, D("0.2")),
        (4, 3, D("0.3")),
        (4, 4, D("0.2")),
    ]


def test_a_round_of_a_reduction_follows_a_position_that_has_become_smaller() -> None:
    """Those before it have ended, and those after it have not begun: it alone can be too large."""
    close = in_rounds(2, 'rule = "close"', "shrink = true")
    before = account(positions=(position("1"),))
    children = list(preview(close, before).children)
    running = Running(close, children, NOW + 60_000, {}, resumed=False)
    now = account(positions=(position("0.2"),))
    shrunk = running.shrunk(children[1], now)
    assert isinstance(shrunk, Shrunk)
    assert msgspec.json.decode(shrunk.body, type=OrderBody).sz == "0.2"
    at_once = [replace(one, phase=1) for one in children]
    assert isinstance(Running(close, at_once, NOW + 60_000, {}, resumed=False).shrunk(at_once[1], now), Withheld)


def test_the_rest_of_a_plan_in_rounds_is_retried_in_rounds() -> None:
    of = in_rounds(2)
    first, second = preview(of, account()).children
    found = retry_of(of, [Ended(first, "filled", D("0.5")), Ended(second, "withheld")]).plan
    assert found
    again = make_preview(found, PLAN_ID, {"alpha": account()}, trading("alpha"), system())
    assert [one.sz for one in again.children] == [D("0.25"), D("0.25")]


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("rounds = 3", "rounds = 0", "rounds: must be between 1 and 10"),
        ("rounds = 3", "rounds = 11", "rounds: must be between 1 and 10"),
        ("rounds = 3", 'rounds = "3"', "rounds: expected a whole number, got a string"),
        (
            'type = "ioc"',
            'type = "limit"',
            'leg 1, type: "limit" orders can rest while the next round waits; use ioc or fok, or give cancel_after',
        ),
    ],
)
def test_a_mistake_is_one_line(old: str, new: str, line: str) -> None:
    text = (
        f'title = "t"\nrounds = 3\n[[legs]]\ninstrument = "{BTC}"\nside = "buy"\ntype = "ioc"\nprice = "mark"\n'
        '[legs.size]\nrule = "contracts"\nvalue = 1\n[accounts]\ninclude = ["all"]\n'
    )
    assert read(canonical(read(text))) == read(text)
    with pytest.raises(PlanError) as caught:
        read(text.replace(old, new))
    assert caught.value.lines == (line,)
