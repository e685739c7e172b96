"""Previews: children, order of accounts, splits, confirmation and hash."""

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from okxsync.config.trading import AccountTrading, Limits
from okxsync.plans.children import from_columns, parse_cl_ord_id, to_columns
from okxsync.plans.document import PlanError
from okxsync.plans.facts import Balance
from okxsync.plans.plan_file import read
from okxsync.plans.preview import make_preview, to_plan_columns
from okxsync.plans.reasons import Reason
from tests.plans.cases import BTC, PLAN_ID, PX, SPOT, SWAP, D, account, plan, position, preview, system, trading

ALL = ("alpha", "beta", "gamma")


def test_the_body_is_exactly_what_is_sent() -> None:
    leg = 'side = "buy"\nprice = "mark +0.3%"\nprotect = { take_profit = "+4%", stop_loss = "65000", trigger = "mark" }'
    rails = trading("alpha", tag="okxsync", clord_prefix="e847")
    (child,) = preview(plan('rule = "equity"\nvalue = "2%"', leg), rails=rails).children
    assert child.body == (
        '{"instId":"BTC-USDT-SWAP","tdMode":"cross","clOrdId":"e847P0123456789A0001","side":"buy","ordType":"ioc",'
        '"sz":"0.36","px":"67213.3","tag":"okxsync","attachAlgoOrds":[{"attachAlgoClOrdId":"e847T0123456789A0001",'
        '"tpTriggerPx":"69901.9","tpOrdPx":"-1","tpTriggerPxType":"mark",'
        '"slTriggerPx":"65000","slOrdPx":"-1","slTriggerPxType":"mark"}]}'
    )
    assert child.algo_cl_ord_id == "e847T0123456789A0001"
    assert (child.reason, child.state, child.phase) == (None, "ready", 2)


@pytest.mark.parametrize(
    ("mode", "pos_mode", "flag", "pos_side"),
    [
        ("2", "net_mode", True, ""),
        ("3", "net_mode", True, ""),
        ("4", "net_mode", False, ""),
        ("2", "long_short_mode", False, "long"),
    ],
)
def test_a_reduction_says_so_as_the_account_mode_wants(mode: str, pos_mode: str, flag: bool, pos_side: str) -> None:
    held = account(mode=mode, pos_mode=pos_mode, positions=(position("2", pos_side=pos_side or "net"),))
    (child,) = preview(plan('rule = "close"', ""), held).children
    body = msgspec.json.decode(child.body)
    assert body.get("reduceOnly", False) is flag
    assert body.get("posSide", "") == pos_side
    assert (body["side"], body["sz"]) == ("sell", "2")


def test_spot_market_orders_count_coins_and_are_never_shrunk() -> None:
    (child,) = preview(plan('rule = "quote"\nvalue = 100', 'side = "buy"\ntype = "market"', inst=SPOT)).children
    body = msgspec.json.decode(child.body)
    assert (body["ordType"], body["tgtCcy"], body["banAmend"]) == ("market", "base_ccy", True)
    assert "px" not in body


def test_each_account_ends_with_orders_or_with_a_reason() -> None:
    accounts = [account("alpha"), account("beta", live=False), account("gamma")]
    found = preview(plan(), *accounts)
    assert [(one.number, one.account, one.reason) for one in found.children] == [
        (1, "alpha", None),
        (2, "beta", Reason.NOT_CONNECTED),
        (3, "gamma", None),
    ]
    assert [one.cl_ord_id for one in found.children] == [f"P{PLAN_ID}000{number}" for number in (1, 2, 3)]
    assert found.children[1].body == ""
    assert (len(found.ready), len(found.skipped), found.ready_accounts) == (2, 1, 2)
    assert found.site_modes == ("global demo",)
    for child in found.children:
        assert from_columns(to_columns(PLAN_ID, child)) == child


def test_the_confirmation_is_what_is_typed() -> None:
    found = preview(plan('rule = "contracts"\nvalue = 30'), *map(account, ALL))
    assert found.planned_usd == D("60311.07")
    assert found.confirmation == "3/60311"
    assert found.typed == "3 accounts 60,311 USD"


def test_dollars_are_rounded_half_up() -> None:
    quotes = {("global", True, BTC): replace(system().quotes[("global", True, BTC)], mark=D(50), last=D(50))}
    found = preview(plan(), facts=system(quotes=quotes))
    assert (found.planned_usd, found.confirmation) == (D("0.5"), "1/1")


def test_the_hash_is_of_document_and_orders() -> None:
    found = preview(plan(), *map(account, ALL))
    assert found.hash == preview(plan(), *map(account, ALL)).hash
    assert found.hash != preview(plan('rule = "contracts"\nvalue = 2'), *map(account, ALL)).hash
    assert found.hash != preview(plan(more="[failure]\ncanary = 2"), *map(account, ALL)).hash
    assert found.hash != preview(plan(), *map(account, ALL), rails=trading("alpha", "beta")).hash
    assert read(found.doc) == found.plan


def test_the_row_of_a_plan() -> None:
    row = to_plan_columns(preview(plan('rule = "split"\nvalue = 1000'), *map(account, ALL)), "retry", "0000000000A")
    assert {key: row[key] for key in ("kind", "parent_id", "state", "accounts", "ready", "skipped", "site_modes")} == {
        "kind": "retry",
        "parent_id": "0000000000A",
        "state": "previewed",
        "accounts": 3,
        "ready": 3,
        "skipped": 0,
        "site_modes": "global demo",
    }
    assert row["note"] == "leg 1: 1.51673 not placed"


# Accounts


def names(include: str, **groups: frozenset[str]) -> tuple[str, ...]:
    text = f'title = "t"\n[[legs]]\ninstrument = "{BTC}"\nside = "buy"\nsize = {{ rule = "contracts", value = 1 }}\n'
    rails = trading(accounts={name: AccountTrading(True, of) for name, of in groups.items()})
    facts = {name: account(name, equity=D(len(name))) for name in groups}
    return make_preview(read(f"{text}[accounts]\n{include}"), PLAN_ID, facts, rails, system()).accounts


GROUPS = {"alpha": frozenset({"core"}), "beta": frozenset({"core", "eu"}), "gamma": frozenset[str]()}


def test_accounts_are_names_groups_or_all_without_the_excluded() -> None:
    assert names('include = ["all"]\norder = "name"', **GROUPS) == ALL
    assert names('include = ["group:core"]\norder = "name"', **GROUPS) == ("alpha", "beta")
    assert names('include = ["gamma", "group:eu"]\norder = "name"', **GROUPS) == ("beta", "gamma")
    assert names('include = ["all"]\nexclude = ["group:eu"]\norder = "name"', **GROUPS) == ("alpha", "gamma")
    assert names('include = ["all"]\norder = "equity"', **GROUPS) == ("alpha", "gamma", "beta")


def test_a_random_order_is_that_of_the_plan_id() -> None:
    many = {f"a{number}": frozenset[str]() for number in range(30)}
    once = names('include = ["all"]', **many)
    assert once == names('include = ["all"]', **many)
    assert set(once) == set(many)
    assert once != tuple(sorted(many))


@pytest.mark.parametrize(
    ("include", "line"),
    [
        ('include = ["alpa"]', '[accounts] include: unknown account "alpa"; did you mean "alpha"?'),
        ('include = ["group:cor"]', '[accounts] include: unknown group "cor"; did you mean "core"?'),
        ('include = ["all"]\nexclude = ["x"]', '[accounts] exclude: unknown account "x"'),
        ('include = ["alpha"]\nexclude = ["alpha"]', "[accounts] include: no account is left"),
        ('include = ["all"]\nweights = { x = 1 }', '[accounts] weights: unknown account "x"'),
    ],
)
def test_unknown_accounts_are_one_line(include: str, line: str) -> None:
    with pytest.raises(PlanError) as caught:
        names(include, **GROUPS)
    assert caught.value.lines == (line,)


# Splits


def test_the_share_of_a_skipped_account_is_not_given_to_others() -> None:
    size = 'rule = "split"\nvalue = 30000'
    accounts = [account("alpha"), account("beta", live=False), account("gamma")]
    kept = preview(plan(size), *accounts)
    assert [one.sz for one in kept.ready] == [D("14.92"), D("14.92")]  # 10000 each
    assert kept.unplaced == {1: D("10003.52968")}
    given = preview(plan(f"{size}\nreassign = true"), *accounts)
    assert [one.sz for one in given.ready] == [D("22.38"), D("22.38")]  # 15000 each
    assert given.unplaced == {1: D("5.29452")}


def test_shares_by_equity_and_by_weights() -> None:
    accounts = [account("alpha", equity=D(1000)), account("beta", equity=D(3000))]
    by_equity = preview(plan('rule = "split_equity"\nvalue = 1000\nremainder = "none"'), *accounts)
    assert [one.sz for one in by_equity.ready] == [D("0.37"), D("1.11")]
    weights = "[accounts.weights]\nalpha = 3\nbeta = 1"
    by_weight = preview(plan('rule = "split_weights"\nvalue = 1000\nremainder = "none"', more=weights), *accounts)
    assert [one.sz for one in by_weight.ready] == [D("1.11"), D("0.37")]


def test_shares_below_the_smallest_order_are_given_to_others_only_if_the_leg_says_so() -> None:
    size = 'rule = "split"\nvalue = 20'  # 0.029 contracts, 0.0149 each for two
    accounts = [account(name) for name in "abcde"]
    assert [one.reason for one in preview(plan(f'{size}\nremainder = "none"'), *accounts).children] == [
        Reason.BELOW_MIN
    ] * 5
    found = preview(plan(f'{size}\nreassign = true\nremainder = "none"'), *accounts)
    assert [(one.account, one.sz) for one in found.ready] == [("a", D("0.01")), ("b", D("0.01"))]


@given(
    total=st.integers(1, 200_000),
    live=st.lists(st.booleans(), min_size=1, max_size=7),
    reassign=st.booleans(),
    remainder=st.sampled_from(["largest", "first", "none"]),
)
def test_shares_never_add_up_to_more_than_the_total(
    total: int, live: list[bool], reassign: bool, remainder: str
) -> None:
    accounts = [account(f"a{number}", live=one) for number, one in enumerate(live)]
    size = f'rule = "split"\nvalue = {total}\nremainder = "{remainder}"\nreassign = {str(reassign).lower()}'
    found = preview(plan(size), *accounts)
    placed = sum((one.facts.notional or D(0) for one in found.ready), D(0))
    assert placed + found.unplaced[1] == total
    assert found.unplaced[1] >= 0
    if not reassign:
        fair = D(total) / len(live)
        lot = SWAP.lot * SWAP.cv * PX
        most = fair + lot * (len(live) if remainder == "first" else 1)
        assert all((one.facts.notional or D(0)) <= most for one in found.ready)


# Phases, leverage, slices


def test_reductions_are_phase_1_and_openings_phase_2() -> None:
    two = plan('rule = "target"\nvalue = 1', "")
    accounts = [account("alpha"), account("beta", positions=(position("3"),))]
    found = preview(two, *accounts)
    assert [(one.number, one.account, one.side, one.phase) for one in found.children] == [
        (1, "beta", "sell", 1),
        (2, "alpha", "buy", 2),
    ]


def test_leverage_is_set_in_phase_0_where_it_differs() -> None:
    leg = 'side = "buy"\nleverage = { set = 5 }'
    accounts = [account("alpha"), account("beta", levers={(BTC, "cross", ""): D(5)}), account("gamma", live=False)]
    found = preview(plan(leg=leg), *accounts)
    assert [(one.account, one.kind, one.phase) for one in found.children] == [
        ("alpha", "leverage", 0),
        ("alpha", "order", 2),
        ("beta", "order", 2),
        ("gamma", "order", 2),
    ]
    assert found.children[0].body == '{"instId":"BTC-USDT-SWAP","lever":"5","mgnMode":"cross"}'
    assert found.children[1].facts.lever == 5
    assert found.confirmation == "2/1340"


def test_a_size_above_the_largest_order_is_several_children() -> None:
    limited = account(instruments={BTC: replace(SWAP, max_limit=D("0.4"))})
    found = preview(plan(), limited).children
    assert [(one.slice, one.sz, one.facts.position_after) for one in found] == [
        (1, D("0.4"), D("0.4")),
        (2, D("0.4"), D("0.8")),
        (3, D("0.2"), D(1)),
    ]
    assert len({one.cl_ord_id for one in found}) == 3
    by_usd = account(instruments={BTC: replace(SWAP, max_limit_usd=D(400))})
    assert [one.sz for one in preview(plan(), by_usd).children] == [D("0.59"), D("0.41")]


def test_the_children_count_is_readable_from_each_id() -> None:
    found = preview(plan(), *(account(f"a{number:03}") for number in range(200)))
    for child in found.children:
        own = parse_cl_ord_id(child.cl_ord_id)
        assert own
        assert (own.plan_id, own.child) == (PLAN_ID, child.number)


@given(
    value=st.decimals("0.01", "500", places=2),
    order=st.integers(1, 100_000),
    total=st.integers(1, 300_000),
    below=st.sampled_from(["skip", "min"]),
    largest=st.decimals("0.05", "50", places=2),
)
def test_no_order_and_no_plan_is_above_a_limit(
    value: Decimal, order: int, total: int, below: str, largest: Decimal
) -> None:
    limits = Limits(order_usd=D(order))
    rails = trading(*ALL, own=limits, limits=Limits(plan_usd=D(total)))
    accounts = [account(name, instruments={BTC: replace(SWAP, max_limit=largest)}) for name in ALL]
    found = preview(plan(f'rule = "equity"\nvalue = "{value}%"\nbelow_min = "{below}"'), *accounts, rails=rails)
    assert found.planned_usd <= total
    for name in ALL:
        own = [one for one in found.ready if one.account == name]
        assert sum((one.planned_usd for one in own), D(0)) <= order
        assert all(one.sz and one.sz <= largest for one in own)
        if below == "skip":
            assert sum((one.planned_usd for one in own), D(0)) <= D("12345.67") * value / 100


@given(
    offset=st.decimals("-5", "5", places=3),
    side=st.sampled_from(["buy", "sell"]),
    band=st.decimals("0.1", "4", places=2),
)
def test_each_price_is_inside_the_band_and_on_the_tick_on_its_side(offset: Decimal, side: str, band: Decimal) -> None:
    rails = trading("alpha", own=Limits(price_band=band / 100))
    sign = "+" if offset >= 0 else "-"
    (child,) = preview(plan(leg=f'side = "{side}"\nprice = "mark {sign}{abs(offset)}%"'), rails=rails).children
    stated = PX * (1 + offset / 100)
    assert child.px
    assert child.px % SWAP.tick == 0
    assert stated - SWAP.tick < child.px <= stated if side == "buy" else stated <= child.px < stated + SWAP.tick
    inside = abs(child.px - PX) <= PX * band / 100
    assert (child.reason is None) is inside


def test_funds_that_one_leg_uses_are_not_there_for_the_next() -> None:
    one = plan('rule = "contracts"\nvalue = 6')
    two = replace(one, legs=(one.legs[0], one.legs[0]))
    short = account(max_sizes={(BTC, "cross"): replace(account().max_sizes[(BTC, "cross")], buy=D(10))})
    assert [child.reason for child in preview(two, short).children] == [None, Reason.NO_MARGIN]


def test_what_a_reduction_frees_is_only_a_warning() -> None:
    both = read(
        f'title = "t"\n[accounts]\ninclude = ["all"]\n'
        f'[[legs]]\ninstrument = "{BTC}"\nsize = {{ rule = "close" }}\n'
        f'[[legs]]\ninstrument = "BTC-USD-SWAP"\nside = "buy"\nsize = {{ rule = "contracts", value = 6 }}\n'
    )
    sizes = {("BTC-USD-SWAP", "cross"): replace(account().max_sizes[(BTC, "cross")], buy=D(5))}
    short = account(max_sizes=sizes, positions=(position("1"),))
    found = preview(both, short).children
    assert [child.reason for child in found] == [None, None]
    assert found[1].facts.warnings == ("6 needed, 5 possible before the reductions of the plan",)


def test_a_dead_man_switch_needs_a_tag() -> None:
    """Without one OKX cancels all orders of the account."""
    of = replace(plan(), dead_man=60)
    with pytest.raises(PlanError, match=r"dead_man: needs \[trading\] tag"):
        preview(of)
    assert preview(of, rails=trading("alpha", tag="okxsync")).ready


def test_a_halt_is_a_warning_of_the_preview() -> None:
    found = preview(plan(), facts=system(halted="by hand"))
    assert found.warnings == ("trading is halted: by hand",)
    assert len(found.ready) == 1


def test_equity_and_balance_in_another_currency() -> None:
    """The margin of an inverse contract is in its coin; T is in USD."""
    held = {"BTC": Balance(D("0.1"), D("6701.23"), D("0.05"))}
    at = plan('rule = "available"\nvalue = "100%"', inst="BTC-USD-SWAP")
    (child,) = preview(at, account(balances=held)).children
    assert (child.sz, child.planned_usd) == (D(33), D(3300))  # 3350.6 USD
