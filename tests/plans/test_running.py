"""What a running plan knows for the checks of its orders."""

from decimal import Decimal

from okxsync.plans.running import UNREADABLE_USD, Running, approved_since
from okxsync.plans.send_checks import Sums
from tests.plans.cases import NOW, D, account, plan, preview


def running(number: int, **approved_today: Decimal) -> Running:
    """A plan of two accounts and one that is skipped, 670.123 USD each for one contract, approved at ``NOW``."""
    of = plan(f'rule = "contracts"\nvalue = {number}')
    found = preview(of, account("alpha"), account("beta"), account("gamma", live=False))
    valid_until_ms = NOW + of.valid_for * 1000
    return Running(of, list(found.children), valid_until_ms, approved_today, resumed=False)


def test_the_sums_of_plan_and_day() -> None:
    one = running(1, alpha=D(100), other=D(1000))
    assert one.approved_ms == NOW
    assert one.sums("alpha") == Sums(D("1340.246"), D("670.123"), D("2440.246"), D("770.123"))
    assert one.sums("other") == Sums(D("1340.246"), D(0), D("2440.246"), D(1000))


def test_an_approval_counts_before_it_is_stored_and_only_once() -> None:
    stored = [("OLD", "alpha", "100"), ("OLD", "beta", "50"), ("NEW", "alpha", "670.123")]
    counted = {"alpha": D("770.123"), "beta": D("720.123")}
    assert approved_since(NOW, stored, {"NEW": running(1)}) == counted
    assert approved_since(NOW, stored[:2], {"NEW": running(1)}) == counted
    assert approved_since(NOW, [("OLD", "alpha", "much")], {}) == {"alpha": UNREADABLE_USD}, "no limit allows it"
    assert approved_since(NOW + 1, [], {"NEW": running(1)}) == {}, "approved before"
