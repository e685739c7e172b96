"""What a plan file may contain, the error for each mistake, and the canonical text."""

import re
from decimal import Decimal
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from okxsync.plans import plan_structure
from okxsync.plans.canonical import canonical, doc_hash
from okxsync.plans.document import (
    Accounts,
    Failure,
    Leg,
    Leverage,
    OrderType,
    Plan,
    PlanError,
    PlanLimits,
    Protect,
    Rule,
    Size,
)
from okxsync.plans.plan_file import read
from okxsync.plans.prices import Offset, Price

FULL = """
title = "Cut BTC to 1x before CPI"
valid_for = "60s"
[[legs]]
instrument = "BTC-USDT-SWAP"
side = "buy"
pos_side = "long"
intent = "open"
margin = "cross"
type = "ioc"
price = "mark +0.3%"
phase = 2
[legs.size]
rule = "equity"
value = "2%"
below_min = "skip"
[legs.protect]
take_profit = "+4%"
stop_loss = "-2%"
trigger = "mark"
[legs.leverage]
require = "3"
[accounts]
include = ["group:core", "alpha"]
exclude = ["beta"]
order = "random"
[accounts.weights]
alpha = "2"
[limits]
max_order_usd = "5000"
max_total_usd = "250000"
max_drift_price = "0.5%"
max_drift_equity = "3%"
[failure]
canary = 1
on_reject = "continue"
stop_at = "10%"
on_unknown = "continue"
on_restart = "resume"
"""

SHORT = """
title = "t"
[[legs]]
instrument = "BTC-USDT-SWAP"
side = "buy"
size = { rule = "contracts", value = 1 }
[accounts]
include = ["all"]
"""


def lines(text: str, *assignments: str) -> tuple[str, ...]:
    with pytest.raises(PlanError) as caught:
        read(text, assignments)
    assert not any("\n" in line for line in caught.value.lines)
    return caught.value.lines


def test_a_plan_with_all_keys() -> None:
    leg = Leg(
        instrument="BTC-USDT-SWAP",
        side="buy",
        pos_side="long",
        intent="open",
        margin="cross",
        price=Price("mark", Decimal("0.003"), True),
        phase=2,
        size=Size(rule="equity", value=Decimal("0.02")),
        protect=Protect(Offset(Decimal("0.04"), True), Offset(Decimal("-0.02"), True), "mark"),
        leverage=Leverage(Decimal(3)),
    )
    assert read(FULL) == Plan(
        title="Cut BTC to 1x before CPI",
        legs=(leg,),
        accounts=Accounts(("group:core", "alpha"), ("beta",), "random", {"alpha": Decimal(2)}),
        limits=PlanLimits(Decimal(5000), Decimal(250000), Decimal("0.005"), Decimal("0.03")),
        failure=Failure(1, "continue", Decimal("0.1"), "continue", "resume"),
    )


def test_defaults() -> None:
    plan = read(SHORT)
    assert plan.valid_for == 60
    assert plan.failure == Failure()
    leg = plan.legs[0]
    assert (leg.type, leg.price, leg.intent, leg.margin) == ("ioc", Price("mark", Decimal("0.003"), True), None, None)
    assert leg.phases == (1, 2)
    assert leg.used_phases == {2}


@pytest.mark.parametrize(
    ("side", "offset"), [("buy", Decimal("0.003")), ("sell", Decimal("-0.003")), ("auto", Decimal("0.003"))]
)
def test_an_ioc_order_without_a_price_has_a_cap_on_its_worse_side(side: str, offset: Decimal) -> None:
    text = SHORT.replace('"buy"', f'"{side}"').replace('"contracts", value = 1', '"target", value = 1')
    assert read(text).legs[0].price == Price("mark", offset, True)


def test_rules_that_decide_the_side_need_none() -> None:
    text = SHORT.replace('side = "buy"\n', "")
    assert lines(text) == ("leg 1, side: is missing; use buy or sell",)
    assert read(text.replace('"contracts", value = 1', '"close"')).legs[0].side == "auto"


def test_an_order_that_crosses_zero_opens_one_phase_after_it_reduces() -> None:
    text = SHORT.replace('"contracts", value = 1', '"target", value = "-5"').replace('side = "buy"', "phase = 3")
    leg = read(text).legs[0]
    assert leg.phases == (3, 4)
    assert leg.used_phases == {3, 4}
    assert read(text.replace("phase = 3", 'phase = 3\nintent = "reduce"')).legs[0].used_phases == {3}


MISTAKES = [
    ("title =", "titel =", 'unknown key "titel"; did you mean "title"?'),
    ('"60s"', "60", "valid_for: expected a string, got a number"),
    ('"60s"', '"1m30s"', 'valid_for: invalid duration "1m30s"; use 90s, 15m, 2h, 14d or 0'),
    ('"60s"', '"2d"', "valid_for: must be between 5s and 86400s"),
    ('"Cut BTC to 1x before CPI"', '"a\\u001bb"', "title: expected 1 to 200 printable characters"),
    ('side = "buy"', 'sides = "buy"', 'leg 1: unknown key "sides"; did you mean "side"?'),
    ('side = "buy"', "side = 1", "leg 1, side: expected a string, got a number"),
    ('side = "buy"', 'side = "bye"', 'leg 1, side: expected one of buy, sell, auto, got "bye"; did you mean "buy"?'),
    ('side = "buy"', 'side = "auto"', 'leg 1, side: the rule "equity" needs buy or sell; auto is for change, close,'),
    ('pos_side = "long"', 'pos_side = "short"', "leg 1, pos_side: buy with short reduces, which is not the intent"),
    ('"BTC-USDT-SWAP"', '"BTC"', 'leg 1, instrument: "BTC" is not the id of a spot pair, a swap or a future'),
    ('"BTC-USDT-SWAP"', '"BTC-USD-261225-60000-C"', "leg 1, instrument: plans do not trade options"),
    ('intent = "open"', 'intent = "reduce"', "leg 1, pos_side: buy with long opens, which is not the intent"),
    ('margin = "cross"', 'margin = "cash"', "leg 1, margin: contracts need cross or isolated"),
    ('type = "ioc"', 'type = "iok"', 'leg 1, type: expected one of ioc, limit, post_only, fok, market, got "iok"'),
    ('type = "ioc"', 'type = "market"', "leg 1, price: market orders have no price"),
    ('type = "ioc"', 'cancel_after = "5m"', 'leg 1, cancel_after: "ioc" orders do not rest'),
    ('"mark +0.3%"', '"mid +0.3%"', 'leg 1, price: invalid price "mid +0.3%"; use "67000.5", or mark, last, bid, ask'),
    ("phase = 2", "phase = 0", "leg 1, phase: must be between 1 and 9"),
    ("phase = 2", "phase = true", "leg 1, phase: expected a whole number, got a boolean"),
    ("phase = 2", "shrink = true", "leg 1, shrink: is for reductions"),
    ('rule = "equity"', 'rule = "equty"', "leg 1, size rule: expected one of contracts, coins, quote, equity, availab"),
    ('rule = "equity"\nvalue = "2%"', 'value = "2%"', 'leg 1, size: missing key "rule"'),
    ('rule = "equity"', 'rule = "close"', 'leg 1, size value: the rule "close" has no value'),
    ('rule = "equity"', 'rule = "table"', 'leg 1, size value: the rule "table" has no value'),
    ('rule = "equity"', 'rule = "split_weights"', 'leg 1, size value: invalid number "2%"; use 5000 or "0.25"'),
    ('rule = "equity"', 'rule = "contracts"', 'leg 1, size value: invalid number "2%"; use 5000 or "0.25"'),
    ('value = "2%"', 'value = "2"', 'leg 1, size value: invalid percentage "2"; use "2%"'),
    ('value = "2%"', 'value = "-2%"', "leg 1, size value: must be above 0"),
    ('value = "2%"', "value = 0.02", "leg 1, size value: expected a string or a whole number, got a number"),
    ('value = "2%"\n', "", 'leg 1, size value: is missing; the rule "equity" needs a percentage, for instance "2%"'),
    ('below_min = "skip"', 'unit = "coins"', 'leg 1, size unit: does not belong to the rule "equity"'),
    ('below_min = "skip"', "reassign = true", 'leg 1, size reassign: does not belong to the rule "equity"'),
    ('below_min = "skip"', 'table = { alpha = "1" }', 'leg 1, size table: belongs to the rule "table", which need'),
    ('take_profit = "+4%"', 'take_profit = "-4%"', "leg 1, protect take_profit: must be above 0% for a buy"),
    ('stop_loss = "-2%"', 'stop_loss = "0"', 'leg 1, protect stop_loss: price "0" must be above 0'),
    ('trigger = "mark"', 'trigger = "bid"', 'leg 1, protect trigger: expected one of last, mark, index, got "bid"'),
    ('require = "3"', 'require = "3"\nset = "3"', "leg 1, leverage: expected exactly one of require and set"),
    ('require = "3"', 'set = "0"', "leg 1, leverage set: must be above 0"),
    ('include = ["group:core", "alpha"]', "include = []", "[accounts] include: names no account; use names,"),
    ('exclude = ["beta"]', 'exclude = ["b", "b"]', '[accounts] exclude: "b" is listed 2 times'),
    ('order = "random"', 'order = "size"', "[accounts] order: expected one of random, name, equity,"),
    ('alpha = "2"', 'alpha = "0"', "[accounts] weights alpha: must be above 0"),
    ('max_order_usd = "5000"', 'max_order_usd = "5k"', '[limits] max_order_usd: invalid number "5k"; use 5000'),
    ('max_drift_price = "0.5%"', 'max_drift_price = "0%"', "[limits] max_drift_price: must be above 0"),
    ("canary = 1", "canary = -1", "[failure] canary: must be 0 or above"),
    ('stop_at = "10%"', 'stop_at = "110%"', "[failure] stop_at: must be at most 100%"),
    ('on_reject = "continue"', 'on_reject = "halt"', "[failure] on_reject: expected one of continue, stop, cancel"),
    ("[accounts]", "[acounts]", 'unknown key "acounts"; did you mean "accounts"?'),
]


@pytest.mark.parametrize(("old", "new", "line"), MISTAKES)
def test_each_mistake_is_one_line_with_its_place(old: str, new: str, line: str) -> None:
    assert old in FULL
    found = lines(FULL.replace(old, new, 1))
    assert found[0].startswith(line)
    assert all(len(one) < 300 for one in found)


@pytest.mark.parametrize(
    ("leg", "line"),
    [
        (
            'instrument = "BTC-USD-261225-60000-C"\ntype = "market"\nside = "buy"',
            "leg 1, instrument: OKX has no market orders for options, and plans do not trade options",
        ),
        ('instrument = "BTC-USDT"\nside = "buy"\npos_side = "long"', "leg 1, pos_side: spot has no position side"),
        ('instrument = "BTC-USDT"\nside = "buy"\nleverage = { set = 2 }', "leg 1, leverage: spot has no leverage"),
        (
            'instrument = "BTC-USDT"\nside = "buy"\ntype = "market"\nprotect = { stop_loss = "1" }',
            "leg 1, protect: market orders of spot cannot have a take-profit or stop-loss",
        ),
        (
            'instrument = "BTC-USDT"\nside = "buy"\nprotect = { stop_loss = "1", trigger = "mark" }',
            'leg 1, protect trigger: spot has "last" only',
        ),
        (
            'instrument = "BTC-USDT"\nside = "sell"\nintent = "reduce"\nprotect = { stop_loss = "1" }',
            "leg 1, protect: an order that reduces cannot have a take-profit or stop-loss",
        ),
        (
            'instrument = "BTC-USDT"\nside = "buy"\ntype = "limit"',
            'leg 1, price: is missing; "limit" orders need one, for instance "mark +0.3%"',
        ),
    ],
)
def test_impossible_combinations(leg: str, line: str) -> None:
    text = f'title = "t"\n[accounts]\ninclude = ["all"]\n[[legs]]\n{leg}\nsize = {{ rule = "quote", value = 1 }}'
    assert lines(text) == (line,)


def test_a_protection_of_a_sell_is_on_its_own_side() -> None:
    sell = SHORT.replace('"buy"', '"sell"').replace("[accounts]", '[legs.protect]\ntake_profit = "+4%"\n[accounts]')
    assert lines(sell) == ("leg 1, protect take_profit: must be below 0% for a sell",)
    assert read(sell.replace("+4%", "-4%")).legs[0].protect == Protect(Offset(Decimal("-0.04"), True))


def test_orders_that_can_rest_do_not_stand_before_a_later_phase() -> None:
    close = '[[legs]]\ninstrument = "ETH-USDT-SWAP"\ntype = "{}"\nprice = "1"\nsize = {{ rule = "close" }}\n'
    text = SHORT.replace("[accounts]", close.format("limit") + "[accounts]")
    assert lines(text) == (
        'leg 2, type: "limit" orders can rest while phase 2 waits; use ioc or fok, or give cancel_after',
    )
    assert read(text.replace('"limit"', '"fok"'))
    assert read(text.replace('"limit"', '"limit"\ncancel_after = "10m"')).legs[1].cancel_after == 600


def test_all_mistakes_are_reported_at_once() -> None:
    text = FULL.replace('"mark +0.3%"', '"x"').replace('"2%"', '"x"').replace("canary = 1", "canary = -1")
    assert len(lines(text)) == 3


@pytest.mark.parametrize("text", ["title", 'title = "a', "a = " + "[" * 5000, "\x00", "title = 1\ntitle = 2"])
def test_a_text_that_is_not_toml_is_one_line(text: str) -> None:
    (line,) = lines(text)
    assert line.startswith("not valid TOML: ")


def test_a_text_without_end_is_not_read() -> None:
    assert lines("#" * 1_000_001) == ("the plan is longer than 1000000 bytes",)


def test_assignments_replace_values_of_all_legs_or_of_the_plan() -> None:
    plan = read(FULL, ["size.value=3%", "limits.max_order_usd=7000", 'title="new"', "phase=4"])
    assert plan.legs[0].size.value == Decimal("0.03")
    assert plan.legs[0].phase == 4
    assert plan.limits.max_order_usd == 7000
    assert plan.title == "new"


def test_a_decimal_of_an_assignment_is_exactly_what_was_typed() -> None:
    (leg,) = read(FULL, ["size.rule=coins", "size.value=0.30"]).legs
    assert str(leg.size.value) == "0.30"


def test_a_decimal_of_a_file_needs_quotes() -> None:
    text = FULL.replace('"2%"', "0.5")
    assert lines(text)[0] == (
        "leg 1, size value: expected a string or a whole number, got a number with a decimal point; write it in"
        " quotes, so that it is exact"
    )


def test_an_assignment_that_does_not_fit_is_one_line() -> None:
    assert lines(FULL, "size") == ('--set "size": expected KEY=VALUE, for instance size.value=3%',)
    assert lines(FULL, "title.x=1") == ('--set "title.x=1": no table for this key',)
    assert lines(FULL, "size.valu=3%") == ('leg 1, size: unknown key "valu"; did you mean "value"?',)


def test_the_canonical_text_is_the_same_for_all_spellings() -> None:
    other = FULL.replace('"mark +0.3%"', '"mark  + 0.30 %"').replace('"5000"', "5000").replace('"60s"', '"1m"')
    assert canonical(read(other)) == canonical(read(FULL))
    assert doc_hash(canonical(read(other))) == doc_hash(canonical(read(FULL)))
    assert doc_hash(canonical(read(FULL, ["size.value=3%"]))) != doc_hash(canonical(read(FULL)))


RULES = {
    "contracts": '"3"',
    "coins": '"0.5"',
    "quote": "100",
    "equity": '"2%"',
    "available": '"2.5%"',
    "margin": "50",
    "leverage": '"1.5"',
    "split": "1000",
    "split_equity": "1000",
    "split_weights": "1000",
    "target": '"-0.5"',
    "target_equity": '"-50%"',
    "change": '"-33%"',
    "close": None,
    "follow": '"alpha"',
    "table": None,
}


@given(
    rule=st.sampled_from(sorted(RULES)),
    title=st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=20),
    phase=st.none() | st.integers(1, 9),
    kind=st.sampled_from(["ioc", "fok"]),
    price=st.sampled_from(["mark +0.1%", "bid", "1.50", "index -3"]),
    names=st.lists(st.text("abc-_. \"'\\é", min_size=1), min_size=1, max_size=3, unique=True),
)
def test_the_canonical_text_reads_back_as_the_same_plan(
    rule: str, title: str, phase: int | None, kind: str, price: str, names: list[str]
) -> None:
    value = {} if (text := RULES[rule]) is None else {"value": text.strip('"')}
    leg = [f"phase = {phase}"] if phase else []
    quoted = [_quoted(name) for name in names]
    table = [f"[legs.size.table]\n{name} = 1" for name in quoted[:1]] if rule == "table" else []
    written = "\n".join(
        [
            f"title = {_quoted(title)}",
            '[[legs]]\ninstrument = "ETH-USDT-SWAP"\nside = "buy"',
            f'type = "{kind}"\nprice = "{price}"',
            *leg,
            f'[legs.size]\nrule = "{rule}"',
            *(f'value = "{one}"' for one in value.values()),
            *table,
            f"[accounts]\ninclude = [{', '.join(quoted)}]",
            "[accounts.weights]",
            *(f"{name} = 2" for name in quoted),
        ]
    )
    plan = read(written)
    assert read(canonical(plan)) == plan
    assert canonical(read(canonical(plan))) == canonical(plan)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def test_every_key_rule_and_choice_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "plans.md").read_text(encoding="utf-8")
    tables = [plan_structure.File, plan_structure.LegTable, plan_structure.SizeTable, plan_structure.ProtectTable,
              plan_structure.LeverageTable, plan_structure.LimitsTable, plan_structure.FailureTable]  # fmt: skip
    keys = {key for table in tables for key in table.__struct_fields__} | set(get_args(Rule)) | set(get_args(OrderType))
    words = set(re.findall(r"[a-z_]+", text))
    assert keys - words == set()
