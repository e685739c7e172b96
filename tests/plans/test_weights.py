"""A table of weights in a plan, and the weights that the commands show."""

from typing import Any

import pytest

from okxsync.plans.children import to_columns
from okxsync.plans.document import PlanError
from okxsync.plans.facts import Balance
from okxsync.plans.plan_file import read
from okxsync.plans.weights import Weight, weights_of
from tests.plans.cases import BTC, PLAN_ID, SPOT, D, account, plan, position, preview

TABLE = """
title = "t"
[accounts]
include = ["all"]
[[legs]]
price = "mark"
[legs.size]
band = "5%"
[legs.weights]
BTC-USDT = "60%"
cash = "10%"
ETH-USDT = "30%"
"""


def test_a_table_of_weights_is_a_leg_for_each_instrument() -> None:
    legs = "".join(
        f'[[legs]]\nprice = "mark"\ninstrument = "{name}"\n'
        f'[legs.size]\nrule = "target_equity"\nband = "5%"\nvalue = "{share}"\n'
        for name, share in (("BTC-USDT", "60%"), ("ETH-USDT", "30%"))
    )
    written_out = f'title = "t"\n[accounts]\ninclude = ["all"]\n{legs}[[legs]]\ncash = "10%"\n'
    assert read(TABLE) == read(written_out)
    assert read(TABLE, ["weights.BTC-USDT=50%"]).legs[0].size.value == D("0.5")


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ('band = "5%"', 'value = "1%"', 'leg 1, weights: take the place of instrument and value; the rule is "target'),
        ('band = "5%"', 'rule = "equity"', "leg 1, weights: take the place of instrument and value; the rule is"),
        ('price = "mark"', 'instrument = "BTC-USDT"', "leg 1, weights: take the place of instrument and value"),
        ('BTC-USDT = "60%"', "BTC-USDT = 60", "leg 1, size value: "),
        ('BTC-USDT = "60%"', 'BTC = "60%"', 'leg 1, instrument: "BTC" is not the id'),
        ('[legs.size]\nband = "5%"\n[legs.weights]', "weights = 1\n[legs.size]", "leg 1, weights: expected a table"),
    ],
)
def test_a_mistake_is_one_line(old: str, new: str, line: str) -> None:
    with pytest.raises(PlanError) as caught:
        read(TABLE.replace(old, new))
    assert caught.value.lines[0].startswith(line)


def rows(size: str, *accounts: Any, inst: str = BTC) -> tuple[Any, list[dict[str, Any]]]:
    of = plan(size, "", inst=inst)
    children = preview(of, *accounts).children
    return of, [{**to_columns(PLAN_ID, one), "acc_fill_sz": None} for one in children]


def test_weights_are_those_of_the_plan_before_and_of_the_fills_after_the_execution() -> None:
    of, orders = rows('rule = "target_equity"\nvalue = "50%"', account(equity=D(6701), positions=(position("-2"),)))
    assert [(one["side"], one["sz"]) for one in orders] == [("buy", "2"), ("buy", "4.99")]
    before, after = D("-0.200007"), D("0.499017")
    assert weights_of(of, orders, executed=False) == [Weight("alpha", BTC, before, D("0.5"), after)]
    orders[0] |= {"state": "filled", "acc_fill_sz": "2"}
    orders[1] |= {"state": "withheld", "reason": "stale"}
    assert weights_of(of, orders, executed=True) == [Weight("alpha", BTC, before, D("0.5"), D(0))]


def test_both_sides_of_an_account_count_and_the_cash_of_a_portfolio() -> None:
    both = account(
        pos_mode="long_short_mode",
        equity=D(67012),
        positions=(position("1", pos_side="long"), position("3", pos_side="short")),
    )
    of, orders = rows('rule = "target_equity"\nvalue = "-1%"', both)
    (found,) = weights_of(of, orders, executed=False)
    assert (found.before, found.wanted, found.after) == (D("-0.02"), D("-0.01"), D("-0.0099"))
    spot = read(TABLE.replace('"30%"', '"60%"').replace("ETH-USDT", "BTC-USDC"))
    holder = account(equity=D(10000), balances={"USDT": Balance(D(10000), D(10000), D(10000))})
    orders = [{**to_columns(PLAN_ID, one), "acc_fill_sz": None} for one in preview(spot, holder).children]
    assert [(one.instrument, one.wanted) for one in weights_of(spot, orders, executed=False)] == [(SPOT, D("0.45"))]


def test_other_rules_have_no_weights() -> None:
    of, orders = rows('rule = "target"\nvalue = 1', account())
    assert weights_of(of, orders, executed=False) == []
