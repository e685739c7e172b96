"""Sizes of every rule; the vectors of OKX's arithmetic (T 8)."""

from decimal import ROUND_DOWN, Decimal
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from okxsync.plans.facts import Balance
from okxsync.plans.reasons import Reason
from okxsync.plans.sizing import (
    Holding,
    coins,
    floor_lot,
    in_cents,
    in_rounds,
    notional,
    slices,
    split_lots,
    to_decimal,
)
from tests.plans.cases import (
    BTC,
    INVERSE,
    INVERSE_SWAP,
    SPOT,
    SPOT_PAIR,
    SWAP,
    D,
    account,
    plan,
    position,
    preview,
)

LOTS = st.sampled_from([D(t) for t in ("0.01", "0.1", "1", "0.00000001", "0.05", "10")])
SIZES = st.fractions(0, 10**9, max_denominator=10**6)


def sizes(size: str, *accounts: object, leg: str = 'side = "buy"', inst: str = BTC) -> list[tuple[object, ...]]:
    found = preview(plan(size, leg, inst=inst), *accounts)  # type: ignore[arg-type]
    return [(one.side, one.sz if not one.reason else one.reason, one.phase) for one in found.children]


# The vectors


def test_vector_1_a_share_of_the_equity() -> None:
    (child,) = preview(plan('rule = "equity"\nvalue = "2%"')).children
    assert (child.sz, child.remainder) == (D("0.36"), D("5.66912"))
    assert child.facts.notional == child.planned_usd == D("241.24428")
    assert child.facts.coins == D("0.0036")


def test_vector_2_inverse_contracts() -> None:
    (child,) = preview(plan('rule = "coins"\nvalue = "0.05"', inst=INVERSE)).children
    assert (child.sz, child.planned_usd, child.remainder) == (D(33), D(3300), D("50.615"))
    assert child.facts.coins is not None
    assert child.facts.coins.quantize(D("1e-9"), ROUND_DOWN) == D("0.049244690")


def test_vector_3_spot() -> None:
    (child,) = preview(plan('rule = "quote"\nvalue = 1000', inst=SPOT)).children
    assert child.sz == D("0.01492263")
    assert child.facts.notional == D("999.999758349")
    assert child.td_mode == "cash"


def test_vector_5_a_target_subtracts_the_position() -> None:
    holder = account(equity=D(20000), positions=(position("0.35"),))
    (child,) = preview(plan('rule = "target_equity"\nvalue = "2%"', ""), holder).children
    assert (child.side, child.sz, child.facts.position, child.facts.position_after) == (
        "buy",
        D("0.24"),
        D("0.35"),
        D("0.59"),
    )


def test_vector_6_equal_shares_leave_a_lot() -> None:
    shares = dict.fromkeys("abc", Fraction(700, 3))
    assert split_lots(shares, "none", "abc") == {"a": 233, "b": 233, "c": 233}
    assert split_lots(shares, "largest", "cab") == {"a": 234, "b": 233, "c": 233}
    assert split_lots(shares, "first", "cab") == {"a": 233, "b": 233, "c": 234}


# Every rule


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ('rule = "contracts"\nvalue = "1.239"', "1.23"),
        ('rule = "coins"\nvalue = "0.01"', "1"),
        ('rule = "quote"\nvalue = 1000', "1.49"),  # 1.4922
        ('rule = "equity"\nvalue = "50%"', "9.21"),  # 6172.835 / 670.123
        ('rule = "equity"\nvalue = "50%"\nbasis = "settle"', "9.21"),
        ('rule = "available"\nvalue = "50%"', "7.46"),  # 5000
        ('rule = "margin"\nvalue = 100', "0.44"),  # 300
        ('rule = "leverage"\nvalue = 1', "18.42"),
        ('rule = "split"\nvalue = 1000', "1.49"),
        ('rule = "table"\ntable = { alpha = "0.5" }', "0.5"),
        ('rule = "table"\nunit = "quote"\ntable = { alpha = "670.123" }', "1"),
        ('rule = "target"\nvalue = 2', "2"),
        ('rule = "target"\nunit = "coins"\nvalue = "0.02"', "2"),
        ('rule = "target"\nunit = "quote"\nvalue = 1000', "1.49"),
    ],
)
def test_rules(size: str, expected: str) -> None:
    assert sizes(size) == [("buy", D(expected), 2)]


def test_usd_per_quote_currency_comes_from_the_balance() -> None:
    cheap = account(balances={"USDT": Balance(D(100), D(50))}, equity=D(670.123))
    (child,) = preview(plan('rule = "equity"\nvalue = "100%"'), cheap).children
    assert (child.sz, child.facts.usd, child.facts.usd_assumed) == (D(2), D("0.5"), False)
    (child,) = preview(plan(), account(balances={})).children
    assert (child.facts.usd, child.facts.usd_assumed) == (D(1), True)


def test_a_target_with_the_position_on_the_other_side_reduces_first_and_then_opens() -> None:
    short = account(positions=(position("-3"),))
    assert sizes('rule = "target"\nvalue = 2', short, leg="") == [("buy", 3, 1), ("buy", 2, 2)]
    (reduces, opens) = preview(plan('rule = "target"\nvalue = 2', ""), short).children
    assert (reduces.reduce_only, opens.reduce_only) == (True, False)
    assert (reduces.facts.position_after, opens.facts.position_after) == (D(0), D(2))
    assert sizes('rule = "target"\nvalue = 2', short, leg='intent = "reduce"') == [("buy", 3, 1)]
    assert sizes('rule = "target"\nvalue = 2', short, leg='intent = "open"') == [
        (
            "",
            Reason.NOTHING_TO_DO,
            2,
        )
    ]


def test_targets_reached_already_and_small_differences_are_nothing_to_do() -> None:
    holder = account(positions=(position("2"),))
    assert sizes('rule = "target"\nvalue = 2', holder, leg="")[0][1] is Reason.NOTHING_TO_DO
    assert sizes('rule = "target"\nvalue = "2.1"\nband = "5%"', holder, leg="")[0][1] is Reason.NOTHING_TO_DO
    assert sizes('rule = "target"\nvalue = "2.2"\nband = "5%"', holder, leg="")[0][1] == D("0.2")
    assert sizes('rule = "target"\nvalue = "2.1"\nmin_trade_usd = 100', holder, leg="")[0][1] is Reason.NOTHING_TO_DO
    assert sizes('rule = "target"\nvalue = 0\nmin_trade_usd = 5000', holder, leg="")[0][1] == 2


@pytest.mark.parametrize(
    ("positions", "expected"),
    [
        (["2"], [("sell", 2, 1)]),
        (["-2"], [("buy", 2, 1)]),
        ([], [("", Reason.NO_POSITION, 1)]),
    ],
)
def test_close_is_exactly_the_position(positions: list[str], expected: list[object]) -> None:
    holder = account(positions=tuple(map(position, positions)))
    assert sizes('rule = "close"', holder, leg="") == expected


def test_both_sides_of_a_long_short_account_are_closed() -> None:
    both = account(
        pos_mode="long_short_mode", positions=(position("2", pos_side="long"), position("3", pos_side="short"))
    )
    found = preview(plan('rule = "close"', ""), both).children
    assert [(one.side, one.pos_side, one.sz, one.reduce_only) for one in found] == [
        ("sell", "long", D(2), False),
        ("buy", "short", D(3), False),
    ]
    assert sizes('rule = "close"', both, leg='pos_side = "short"') == [("buy", 3, 1)]
    assert sizes('rule = "close"', both, leg='side = "sell"') == [("sell", 2, 1)]


@pytest.mark.parametrize(
    ("share", "held", "expected"),
    [
        ("-33%", "1", ("sell", D("0.33"), 1)),
        ("+33%", "1", ("buy", D("0.33"), 2)),
        ("-50%", "-0.05", ("buy", D("0.02"), 1)),
    ],
)
def test_a_change_is_rounded_towards_the_position(share: str, held: str, expected: object) -> None:
    holder = account(positions=(position(held),))
    assert sizes(f'rule = "change"\nvalue = "{share}"', holder, leg="") == [expected]


def test_followers_have_the_ratio_of_the_leader() -> None:
    leader = account("leader", equity=D(1000), positions=(position("-1"),))
    others = [account("big", equity=D(5555)), account("small", equity=D(100), positions=(position("0.3"),))]
    assert sizes('rule = "follow"\nvalue = "leader"', leader, *others, leg="") == [
        ("sell", D("0.3"), 1),  # small
        ("sell", D("5.55"), 2),
        ("", Reason.NOTHING_TO_DO, 2),
        ("sell", D("0.1"), 2),
    ]


def test_the_leverage_rule_fills_up_to_the_exposure_and_never_reduces() -> None:
    size = 'rule = "leverage"\nvalue = 1'
    assert sizes(size, account(positions=(position("8.42"),))) == [("buy", 10, 2)]
    assert sizes(size, account(positions=(position("20"),)))[0][1] is Reason.NOTHING_TO_DO
    assert sizes(size, account(positions=(position("-1"),)), leg='side = "sell"') == [("sell", D("17.42"), 2)]


def test_the_leverage_rule_counts_an_opposite_position_as_negative_exposure() -> None:
    size = 'rule = "leverage"\nvalue = 1'
    assert sizes(size, account(positions=(position("-1"),))) == [("buy", D("19.42"), 2)]
    assert sizes(size, account(positions=(position("1"),)), leg='side = "sell"') == [("sell", D("19.42"), 2)]


def test_a_reduction_of_a_fixed_size_is_capped_by_the_position() -> None:
    leg = 'side = "sell"\nintent = "reduce"'
    size = 'rule = "contracts"\nvalue = 5'
    assert sizes(size, account(positions=(position("2"),)), leg=leg) == [("sell", 2, 1)]
    assert sizes(size, account(positions=(position("9"),)), leg=leg) == [("sell", 5, 1)]
    assert sizes(size, account(positions=(position("-9"),)), leg=leg)[0][1] is Reason.NO_POSITION


def test_sizes_below_the_smallest_order() -> None:
    assert sizes('rule = "contracts"\nvalue = "0.009"')[0][1] is Reason.BELOW_MIN
    assert sizes('rule = "contracts"\nvalue = "0.009"\nbelow_min = "min"') == [("buy", D("0.01"), 2)]
    tiny = account(balances={"BTC": Balance(D("0.000004"), D("0.27"), D("0.000004"))})
    close = 'rule = "close"\nbelow_min = "min"'
    assert sizes(close, tiny, leg="", inst=SPOT)[0][1] is Reason.BELOW_MIN


def test_spot_sells_what_is_free() -> None:
    holder = account(balances={"BTC": Balance(D("0.5"), D(33000), D("0.3"))})
    assert sizes('rule = "close"', holder, leg="", inst=SPOT) == [("sell", D("0.3"), 1)]
    assert sizes('rule = "target"\nunit = "coins"\nvalue = "0.1"', holder, leg="", inst=SPOT) == [("sell", D("0.3"), 1)]


# Properties


@given(size=SIZES, lot=LOTS)
def test_rounding_to_lots_never_goes_up(size: Fraction, lot: Decimal) -> None:
    floored = floor_lot(size, lot)
    assert (Fraction(floored) / Fraction(lot)).denominator == 1
    assert 0 <= size - Fraction(floored) < Fraction(lot)
    assert floor_lot(-size, lot) == -floored


@given(
    shares=st.dictionaries(st.text("abcdef", min_size=1, max_size=3), SIZES, min_size=1, max_size=8),
    remainder=st.sampled_from(["largest", "first", "none"]),
)
def test_shares_add_up_with_the_named_remainder(shares: dict[str, Fraction], remainder: str) -> None:
    found = split_lots(shares, remainder, sorted(shares))  # type: ignore[arg-type]
    left = sum(shares.values(), Fraction(0)) - sum(found.values())
    assert set(found) == set(shares)
    assert left >= 0
    assert left < (len(shares) if remainder == "none" else 1)
    if remainder == "largest":
        assert all(abs(found[name] - shares[name]) < 1 for name in shares)


@given(
    lots=st.integers(1, 100_000),
    ceiling=st.integers(1, 5000),
    lot=LOTS,
    smallest=st.integers(1, 50),
)
def test_slices_add_up_and_none_is_too_large_or_too_small(lots: int, ceiling: int, lot: Decimal, smallest: int) -> None:
    instrument = replace(SWAP, lot=lot, min_size=lot * smallest)
    size = lot * max(lots, smallest)
    found = slices(size, lot * ceiling, instrument)
    if found is None:
        assert ceiling < 2 * smallest or size > lot * ceiling * 100
        return
    assert sum(found) == size
    assert all(lot * smallest <= one <= max(lot * ceiling, lot * smallest) for one in found)
    assert all((one / lot) % 1 == 0 for one in found)


@given(st.fractions(max_denominator=10**6))
@example(Fraction(10**40 + 1, 3))
@example(Fraction(10**30))
def test_amounts_are_exact_as_far_as_decimals_go(amount: Fraction) -> None:
    assert abs(Fraction(to_decimal(amount)) - amount) < Fraction(1, 10**12)
    assert abs(Fraction(in_cents(amount)) - amount) <= Fraction(1, 200)


@given(st.integers(1, 10**6), st.integers(1, 10), st.integers(1, 50))
def test_rounds_add_up_and_differ_by_a_lot_at_most(lots: int, rounds: int, smallest: int) -> None:
    instrument = replace(SWAP, min_size=SWAP.lot * smallest)
    sizes = in_rounds(SWAP.lot * lots, rounds, instrument)
    assert sum(sizes) == SWAP.lot * lots
    assert 1 <= len(sizes) <= rounds
    assert max(sizes) - min(sizes) <= SWAP.lot
    assert len(sizes) == 1 or min(sizes) >= instrument.smallest


@given(size=st.decimals(1, 1000, places=2), px=st.decimals(1, 100000, places=1))
def test_what_a_size_is_worth(size: Decimal, px: Decimal) -> None:
    assert notional(SWAP, size, px) == Fraction(size) * Fraction(px) / 100
    assert notional(INVERSE_SWAP, size, px) == Fraction(size) * 100
    assert coins(INVERSE_SWAP, size, px) * Fraction(px) == notional(INVERSE_SWAP, size, px)
    assert notional(SPOT_PAIR, size, px) == Fraction(size) * Fraction(px)


SIGNED = st.integers(-500, 500).map(lambda lots: D("0.01") * lots)
RULES = st.sampled_from(
    [
        'rule = "close"',
        'rule = "change"\nvalue = "-70%"',
        'rule = "change"\nvalue = "+70%"',
        'rule = "target"\nvalue = "1.5"',
        'rule = "target"\nvalue = "-1.5"',
        'rule = "target_equity"\nvalue = "-15%"',
        'rule = "contracts"\nvalue = 3\n',
        'rule = "split"\nvalue = 700',
        'rule = "equity"\nvalue = "7%"\nbelow_min = "min"',
    ]
)


@given(
    held=SIGNED,
    other=st.integers(0, 500).map(lambda lots: D("0.01") * lots),
    long_short=st.booleans(),
    size=RULES,
    side=st.sampled_from(["buy", "sell"]),
    again=RULES,
)
def test_a_reduction_never_reverses_a_position(
    held: Decimal, other: Decimal, long_short: bool, size: str, side: str, again: str
) -> None:
    """With two legs on one instrument, in both position modes."""
    positions = [position(str(held))]
    if long_short:
        positions = [position(str(abs(held)), pos_side="long"), position(str(other), pos_side="short")]
    holder = account(positions=tuple(positions), pos_mode="long_short_mode" if long_short else "net_mode")
    legs = []
    for one in (size, again):
        fixed = not any(rule in one for rule in ("close", "change", "target"))
        leg = plan(one, f'side = "{side}"' if fixed else "").legs[0]
        legs.append(replace(leg, intent="reduce", protect=None))
    found = preview(replace(plan(), legs=tuple(legs)), holder).ready
    left = {"net": held, "long": abs(held), "short": -other} if long_short else {"net": held}
    for child in found:
        assert child.sz
        key = child.pos_side or "net"
        before = left[key]
        after = before + (child.sz if child.side == "buy" else -child.sz)
        assert abs(after) < abs(before)
        assert after == 0 or (after > 0) is (before > 0)
        assert child.reduce_only is not long_short
        left[key] = after


def test_what_an_order_leaves_of_a_position() -> None:
    held = Holding(Fraction(2), Fraction(3))
    assert held.after("buy", Fraction(1), reduces=True, long_short=True) == Holding(Fraction(2), Fraction(2))
    assert held.after("sell", Fraction(1), reduces=True, long_short=True) == Holding(Fraction(1), Fraction(3))
    assert held.after("sell", Fraction(1), reduces=False, long_short=True) == Holding(Fraction(2), Fraction(4))
    assert Holding(Fraction(2)).after("sell", Fraction(5), reduces=False, long_short=False) == Holding(
        Fraction(0), Fraction(3)
    )
