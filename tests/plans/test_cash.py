"""A spot portfolio that keeps cash."""

import pytest

from okxsync.plans.canonical import canonical
from okxsync.plans.document import Plan, PlanError
from okxsync.plans.facts import Balance
from okxsync.plans.plan_file import read
from tests.plans.cases import PX, D, account, preview

LEG = '[[legs]]\ninstrument = "BTC-USDT"\nprice = "mark"\n{}[legs.size]\nrule = "target_equity"\nvalue = "{}%"\n'


def portfolio(*shares: int, cash: str = '[[legs]]\ncash = "1%"\n', more: str = "") -> Plan:
    legs = "".join(LEG.format(more, share) for share in shares)
    return read(f'title = "t"\n[accounts]\ninclude = ["all"]\n{legs}{cash}')


def bought(of: Plan) -> D:
    """Return the share of the equity that the first leg buys of a portfolio of 10,000 USDT."""
    holder = account(equity=D(10000), balances={"USDT": Balance(D(10000), D(10000), D(10000))})
    (child,) = [one for one in preview(of, holder, account("beta")).ready if (one.leg, one.account) == (1, "alpha")]
    assert child.sz
    return (child.sz * PX / D(10000)).quantize(D("0.0001"))


@pytest.mark.parametrize(
    ("shares", "cash", "found"),
    [
        ((100,), '[[legs]]\ncash = "1%"\n', "0.99"),
        ((100,), "", "1"),
        ((60, 40), '[[legs]]\ncash = "10%"\n', "0.54"),
        ((60,), '[[legs]]\ncash = "10%"\n', "0.6"),  # more than that is left anyway
    ],
)
def test_shares_that_leave_too_little_are_reduced_in_proportion(shares: tuple[int, ...], cash: str, found: str) -> None:
    of = portfolio(*shares, cash=cash)
    assert bought(of) == D(found)
    assert read(canonical(of)) == of


def test_a_leg_that_does_not_concern_the_account_does_not_count() -> None:
    legs = LEG.format('only = ["alpha"]\n', 60) + LEG.format('only = ["beta"]\n', 60)
    of = read(f'title = "t"\n[accounts]\ninclude = ["all"]\n{legs}[[legs]]\ncash = "1%"\n')
    assert bought(of) == D("0.6")


@pytest.mark.parametrize(
    ("legs", "error"),
    [
        ('[[legs]]\ncash = "1%"\n' + LEG.format("", 50), "leg 1, cash: belongs to a leg without other keys, which is"),
        (LEG.format('cash = "1%"\n', 50), "leg 1, cash: belongs to a leg without other keys, which is the last one"),
        (LEG.format("", 50) + '[[legs]]\ncash = "100%"\n', "cash: must be below 100%"),
        (LEG.format("", 50) + '[[legs]]\ncash = "0%"\n', "cash: must be above 0"),
        (LEG.format("", 50) + '[[legs]]\ncash = "x"\n', 'cash: invalid percentage "x"; use "2%"'),
        (LEG.format("", 50) + "[[legs]]\ncash = 1\n", "cash: expected"),
        (LEG.format("", 50).replace("BTC-USDT", "BTC-USDT-SWAP") + '[[legs]]\ncash = "1%"\n', "cash: needs a spot leg"),
    ],
)
def test_a_mistake_is_one_line(legs: str, error: str) -> None:
    with pytest.raises(PlanError) as found:
        read(f'title = "t"\n[accounts]\ninclude = ["all"]\n{legs}')
    assert found.value.lines[0].startswith(error)
