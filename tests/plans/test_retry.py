"""Plans made of what an earlier one did not do."""

from decimal import Decimal

import pytest
from msgspec.structs import replace

from okxsync.plans.canonical import canonical
from okxsync.plans.document import Plan
from okxsync.plans.facts import AccountFacts
from okxsync.plans.plan_file import read
from okxsync.plans.prices import Price
from okxsync.plans.retry import Ended, retry_of
from tests.plans.cases import D, account, plan, position, preview

ALL = tuple(map(account, ("alpha", "beta", "gamma")))


def after(of: Plan, accounts: tuple[AccountFacts, ...], *states: str, filled: tuple[str, ...] = ()) -> list[Ended]:
    done = [*filled, *["0"] * (len(states) - len(filled))]
    children = preview(of, *accounts).children
    return [Ended(child, state, D(part)) for child, state, part in zip(children, states, done, strict=True)]


def again(of: Plan, ended: list[Ended]) -> Plan:
    found = retry_of(of, ended).plan
    assert found
    assert read(canonical(found)) == found
    return found


@pytest.mark.parametrize("state", ["withheld", "refused", "absent", "expired", "canceled", "gone"])
def test_what_was_not_placed_is_sized_anew(state: str) -> None:
    of = plan('rule = "equity"\nvalue = "2%"')
    retry = again(of, after(of, ALL, "filled", state, "filled", filled=("0.36", "0", "0.36")))
    assert retry.accounts.include == ("beta",)
    richer = account("beta", equity=D(20000))
    assert [(one.account, one.sz) for one in preview(retry, richer, account("alpha")).children] == [("beta", D("0.59"))]


def test_nothing_remains_of_a_plan_that_is_done() -> None:
    of = plan()
    assert retry_of(of, after(of, ALL, "filled", "filled", "canceled", filled=("1", "1", "1"))).plan is None


def test_accounts_with_an_unknown_order_are_named_and_left_out() -> None:
    of = plan()
    found = retry_of(of, after(of, ALL, "unknown", "refused", "filled"))
    assert found.unknown == ("alpha",)
    assert found.plan
    assert found.plan.accounts.include == ("beta",)


def test_the_rest_of_a_partly_filled_order_is_the_new_size() -> None:
    of = plan()
    retry = again(of, after(of, ALL, "filled", "canceled", "refused", filled=("1", "0.4", "0")))
    found = preview(retry, *ALL).children
    assert [(one.account, one.sz) for one in found if not one.reason] == [("beta", D("0.6")), ("gamma", D(1))]


def test_a_split_keeps_the_share_that_it_was() -> None:
    of = plan('rule = "split"\nvalue = 3000\nremainder = "none"')
    retry = again(of, after(of, ALL, "filled", "refused", "filled", filled=("1.49", "0", "1.49")))
    assert retry.legs[0].size.sizes == {"beta": Decimal(1000)}
    (child,) = preview(retry, account("beta")).children
    assert child.sz == D("1.49")


def test_targets_find_what_is_missing_themselves() -> None:
    of = plan('rule = "target"\nvalue = 2', "")
    retry = again(of, after(of, ALL, "canceled", "filled", "filled", filled=("0.5", "2", "2")))
    (child,) = preview(retry, account(positions=(position("0.5"),))).children
    assert (child.side, child.sz) == ("buy", D("1.5"))


def test_the_rest_of_a_change_has_its_side_and_its_price() -> None:
    of = plan('rule = "change"\nvalue = "-50%"', 'price = "mark +0.3%"')
    held = (account(positions=(position("4"),)),)
    retry = again(of, after(of, held, "canceled", filled=("0.5",)))
    (leg,) = retry.legs
    assert (leg.side, leg.intent, leg.price) == ("sell", "reduce", Price("mark", D("-0.003"), True))
    (child,) = preview(retry, account(positions=(position("3.5"),))).children
    assert (child.side, child.sz, child.px, child.reduce_only) == ("sell", D("1.5"), D("66811.3"), True)


def test_only_the_legs_that_failed_are_repeated() -> None:
    one = plan()
    of = replace(one, legs=(one.legs[0], plan('rule = "contracts"\nvalue = 2').legs[0]))
    ended = after(of, ALL[:2], "filled", "refused", "refused", "filled", filled=("1", "0", "0", "2"))
    retry = again(of, ended)
    assert [(leg.only, leg.size.value) for leg in retry.legs] == [(("beta",), D(1)), (("alpha",), D(2))]


def test_an_account_without_a_leg_has_a_reason() -> None:
    of = replace(plan(), legs=(replace(plan().legs[0], only=("beta",)),))
    found = preview(of, *ALL).children
    assert [(one.account, one.detail) for one in found if one.reason] == [
        ("alpha", "no leg concerns the account"),
        ("gamma", "no leg concerns the account"),
    ]
