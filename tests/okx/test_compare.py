"""Which spellings of one value mean the same, and which do not."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from okxsync.okx.compare import (
    ALGO_ORDERS,
    BALANCES,
    FILLS,
    ORDERS,
    POSITIONS,
    Rules,
    canonical,
    differing,
    same,
)

NUMBERS = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**15), max_value=10**15, places=12)


def spellings(value: Decimal) -> list[str]:
    """Return some of the ways in which OKX writes a number."""
    plain = f"{value:f}"
    dotted = plain if "." in plain else f"{plain}."
    return [plain, f"{dotted}000", f"{value:E}", f"{value.normalize():f}" if value else "-0.0"]


@given(NUMBERS, NUMBERS)
def test_numbers_are_the_same_whatever_their_format_and_different_whatever_it_is(one: Decimal, other: Decimal) -> None:
    for left in spellings(one):
        assert all(same("sz", left, right) for right in spellings(one))
        assert all(same("sz", left, right) == (one == other) for right in spellings(other))


@pytest.mark.parametrize("digits", [17, 30, 60])
def test_numbers_that_differ_in_their_last_digit_differ(digits: int) -> None:
    assert not same("sz", "0." + "1" * digits, "0." + "1" * (digits - 1) + "2")
    assert same("sz", "0." + "1" * digits, "0." + "1" * digits + "0")


@pytest.mark.parametrize("zero", [None, "", "0", "0.00", "-0", "0E-18"])
@pytest.mark.parametrize("other", [None, "", "0", "0.00", "-0", "0E-18"])
def test_an_absent_number_is_zero(zero: str | None, other: str | None) -> None:
    assert same("fee", zero, other)
    assert not same("fee", zero, "0.01")


@pytest.mark.parametrize(
    ("column", "one", "other"),
    [
        ("cl_ord_id", "1e1", "10"),
        ("cl_ord_id", "007", "7"),
        ("tag", "1.0", "1"),
        ("algo_id", "", "7"),
        ("state", "live", "filled"),
        ("pos_side", "net", "long"),
        ("pos_side", "", "short"),
        ("reduce_only", "true", "false"),
        ("reduce_only", "true", ""),
        ("px", "NaN", "0"),
        ("attach_algo_ords", "[]", '[{"sz":"1"}]'),
        ("linked_algo_ord", '{"algoId":""}', '{"algoId":"5"}'),
        ("ord_id_list", '["1","2"]', '["1","2","2"]'),
    ],
)
def test_values_that_differ(column: str, one: object, other: object) -> None:
    assert not same(column, one, other)
    assert not same(column, other, one)


@pytest.mark.parametrize(
    ("column", "one", "other"),
    [
        ("pos_side", None, "net"),
        ("sl_trigger_px_type", "last", ""),
        ("trade_id", "0", ""),
        ("category", "normal", ""),
        ("reduce_only", "false", ""),
        ("is_trade_borrow_mode", True, "true"),
        ("collateral_enabled", "false", False),
        ("linked_algo_ord", '{"algoId":""}', "{}"),
        ("linked_algo_ord", None, {"algoId": ""}),
        ("ord_id_list", '["1","2"]', ["2", "1"]),
        ("attach_algo_ords", '[{"sz":"1.0","tpOrdKind":"condition"}]', [{"tpOrdKind": "", "sz": "1"}]),
        ("attach_algo_ords", '[{"sz":1}]', [{"sz": "1"}]),
    ],
)
def test_values_that_mean_the_same(column: str, one: object, other: object) -> None:
    assert same(column, one, other)
    assert same(column, other, one)


JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | NUMBERS.map(str) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)


def shuffled(value: Any, random: Any) -> Any:
    """Return the same JSON with its lists and fields in another order."""
    if isinstance(value, list):
        return random.sample([shuffled(one, random) for one in value], len(value))
    if isinstance(value, dict):
        return {name: shuffled(value[name], random) for name in random.sample(list(value), len(value))}
    return value


@given(JSON, st.randoms(use_true_random=False))
def test_json_is_the_same_in_any_order_decoded_or_as_text(value: Any, random: Any) -> None:
    other = shuffled(value, random)
    assert same("attach_algo_ords", value, other)
    if isinstance(value, list | dict):
        text = msgspec.json.encode(other).decode()
        assert same("attach_algo_ords", value, text)
        assert same("attach_algo_ords", text, f" {text}".lstrip())


@given(JSON, JSON)
def test_comparison_is_symmetric_and_so_is_what_a_value_means(one: Any, other: Any) -> None:
    assert same("x", one, other) == same("x", other, one)
    assert same("x", one, one)
    if canonical("x", one) == canonical("x", other):
        assert same("x", one, other)


@pytest.mark.parametrize("text", ["[" * 5000, '{"a":', "[1e999999999]", "{}}", "[" + "9" * 5000 + "]"])
def test_text_that_only_looks_like_json_is_text(text: str) -> None:
    assert same("note", text, text)
    assert not same("note", text, "other")


LEG = {"attachAlgoId": "5001", "tpTriggerPx": "150", "tpOrdPx": "-1", "sz": ""}


def test_a_field_that_the_objects_of_one_side_do_not_have_is_not_compared() -> None:
    other = {"attachAlgoId": "5002", "tpTriggerPx": "160", "tpOrdPx": "-1", "sz": ""}
    more = [{**leg, "failCode": code, "failReason": "x"} for leg, code in ((other, "51008"), (LEG, ""))]
    assert same("attach_algo_ords", [LEG, other], more)
    assert not same("attach_algo_ords", [LEG], more)
    assert not same("attach_algo_ords", [LEG, LEG], more)
    assert not same("attach_algo_ords", [LEG, {**other, "tpTriggerPx": "161"}], more)
    assert not same("attach_algo_ords", [{"sz": "1"}], [{"px": "1"}])


def columns(rules: Rules, ours: Mapping[str, object], theirs: Mapping[str, object]) -> set[str]:
    return set(differing(rules, ours, theirs))


def test_what_qualifies_an_amount_means_nothing_without_it() -> None:
    ours: dict[str, object] = {"sl_trigger_px": None, "sl_trigger_px_type": "mark", "fee": "0", "fee_ccy": "BTC"}
    theirs = {"sl_trigger_px": "", "sl_trigger_px_type": "", "fee": "", "fee_ccy": "USDT"}
    assert columns(ORDERS, ours, theirs) == set()
    assert columns(ORDERS, ours, theirs | {"fee": "-0.1"}) == {"fee", "fee_ccy"}
    priced = {"sl_trigger_px": "5"}
    assert columns(ORDERS, ours | priced, theirs | priced) == {"sl_trigger_px_type"}
    last = priced | {"sl_trigger_px_type": "last"}
    assert columns(ORDERS, ours | last, theirs | priced) == set()


def test_an_end_may_be_reported_again_at_any_later_time() -> None:
    ours = {"state": "filled", "u_time": 1000, "sz": "1"}
    assert columns(ORDERS, ours, {"state": "filled", "u_time": "90000", "sz": "1.0"}) == set()
    assert columns(ORDERS, ours, {"state": "canceled", "u_time": "90000", "sz": "1.0"}) == {"state"}
    assert columns(ORDERS, ours | {"state": "live"}, {"state": "live", "u_time": "90000"}) == {"u_time"}


@pytest.mark.parametrize("rules", [ORDERS, ALGO_ORDERS, POSITIONS, BALANCES])
@pytest.mark.parametrize(
    ("ours", "theirs", "is_same"),
    [(5000, "5300", True), (5000, "6001", False), (90_000, "5000", True), (None, "5000", True), (5000, "", True)],
)
def test_another_channel_may_give_a_change_another_time(
    rules: Rules, ours: int | None, theirs: str, is_same: bool
) -> None:
    assert columns(rules, {"u_time": ours}, {"u_time": theirs}) == (set() if is_same else {"u_time"})


def test_the_time_of_an_execution_is_the_same_on_both_sides() -> None:
    assert columns(FILLS, {"fill_time": 5000}, {"fill_time": "5001"}) == set()
    assert columns(FILLS, {"fill_time": 5000}, {"fill_time": "7000"}) == {"fill_time"}
    assert columns(FILLS, {"fill_time": 9000}, {"fill_time": "7000"}) == {"fill_time"}
    assert columns(FILLS, {"fill_time": None}, {"fill_time": "700"}) == {"fill_time"}
    assert columns(FILLS, {"fill_time": 700}, {"fill_time": ""}) == {"fill_time"}
    assert columns(FILLS, {"fill_time": None}, {"fill_time": ""}) == set()


def test_columns_of_one_side_and_columns_that_move_are_not_compared() -> None:
    assert columns(POSITIONS, {"pos": "1", "mark_px": "5", "p_time": 7}, {"pos": "1.0", "mark_px": "6"}) == set()
    assert columns(POSITIONS, {"pos": "1"}, {"pos": "2"}) == {"pos"}
