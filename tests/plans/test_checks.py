"""Each reason for which an account is skipped at preview."""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from okxsync.config.trading import AccountTrading, Limits
from okxsync.okx import models
from okxsync.plans.facts import Balance, MaxSize, OpenOrder, instrument_of
from okxsync.plans.plan_file import read
from okxsync.plans.preview import Preview
from okxsync.plans.reasons import REASONS, Reason
from tests.plans.cases import (
    BTC,
    NOW,
    ONE,
    QUOTES,
    SPOT,
    SPOT_PAIR,
    SWAP,
    D,
    account,
    plan,
    position,
    preview,
    system,
    trading,
)

KEY = ("global", True, BTC)


def of_account(**changes: Any) -> Callable[[], Preview]:
    return lambda: preview(plan(), account(**changes))


def of_rails(**changes: Any) -> Callable[[], Preview]:
    return lambda: preview(plan(), rails=trading("alpha", **changes))


def of_system(**changes: Any) -> Callable[[], Preview]:
    return lambda: preview(plan(), facts=system(**changes))


def of_limits(**changes: Any) -> Callable[[], Preview]:
    return lambda: preview(plan(), rails=trading("alpha", own=Limits(**changes)))


def of_leg(leg: str, size: str = ONE, more: str = "", **changes: Any) -> Callable[[], Preview]:
    return lambda: preview(plan(size, leg, more), account(**changes))


def of_instrument(**changes: Any) -> Callable[[], Preview]:
    return lambda: preview(plan(), account(instruments={BTC: replace(SWAP, **changes)}))


BUY = 'side = "buy"\n'
CASES: list[tuple[Callable[[], Preview], Reason, str]] = [
    (of_rails(enabled=False), Reason.TRADING_OFF, "[trading] enabled = false"),
    (
        lambda: preview(plan(), account(demo=False), facts=system(quotes={("global", False, BTC): QUOTES})),
        Reason.NOT_LIVE,
        "a live account, and [trading] live = false",
    ),
    (of_rails(accounts={}), Reason.ACCOUNT_OFF, "trading = false"),
    (of_rails(accounts={"alpha": AccountTrading()}), Reason.ACCOUNT_OFF, "trading = false"),
    (of_system(file_mode="mode 0644"), Reason.FILE_MODE, "mode 0644"),
    (of_limits(order_usd=D("670.12")), Reason.LIMIT_ORDER, "670.12 USD, at most 670.12"),
    (of_limits(order_usd=D(600)), Reason.LIMIT_ORDER, "670.12 USD, at most 600"),
    (of_leg(BUY, more="[limits]\nmax_order_usd = 600"), Reason.LIMIT_ORDER, "670.12 USD, at most 600"),
    (of_rails(limits=Limits(plan_usd=D(600))), Reason.LIMIT_PLAN, "670.12 USD, max_plan_usd is 600"),
    (of_limits(plan_usd=D(600)), Reason.LIMIT_PLAN, "670.12 USD, max_plan_usd of the account is 600"),
    (
        of_leg(BUY, more="[limits]\nmax_total_usd = 600"),
        Reason.LIMIT_PLAN,
        "670.12 USD, max_total_usd of the plan is 600",
    ),
    (
        lambda: preview(plan(), rails=trading("alpha", limits=Limits(day_usd=D(1000))), facts=system(day_usd=D(400))),
        Reason.LIMIT_DAY,
        "1,070.12 USD, max_day_usd is 1000",
    ),
    (
        lambda: preview(
            plan(), rails=trading("alpha", own=Limits(day_usd=D(1000))), facts=system(day_usd_of={"alpha": D(400)})
        ),
        Reason.LIMIT_DAY,
        "1,070.12 USD, max_day_usd of the account is 1000",
    ),
    (of_limits(instruments=frozenset({SPOT})), Reason.INSTRUMENT_NOT_LISTED, BTC),
    (of_account(barred=Reason.NO_KEY, barred_detail="ALPHA_KEY is not set"), Reason.NO_KEY, "ALPHA_KEY is not set"),
    (of_account(barred=Reason.KEY_REFUSED), Reason.KEY_REFUSED, ""),
    (of_account(barred=Reason.BARRED), Reason.BARRED, ""),
    (of_account(permissions=frozenset({"read_only"})), Reason.NO_PERMISSION, "permissions: read_only"),
    (of_account(permissions=frozenset()), Reason.NO_PERMISSION, "permissions: not known"),
    (of_account(live=False), Reason.NOT_CONNECTED, "the private connection is not live"),
    (of_account(frame_ms=NOW - 15_100), Reason.STALE, "the last frame is 15.1 s old"),
    (of_account(frame_ms=0), Reason.STALE, "no frame"),
    (of_account(gaps=("orders",)), Reason.ORDERS_UNCOVERED, "open gap: orders"),
    (of_account(doubted=("positions",)), Reason.DOUBTED, "positions"),
    (of_account(unmirrored=("orders",)), Reason.NOT_MIRRORED, "not configured: orders"),
    (of_system(clock_ms=0), Reason.CLOCK, "not measured in the last 10 minutes"),
    (of_system(clock_ms=NOW - 600_001), Reason.CLOCK, "not measured in the last 10 minutes"),
    (of_system(clock_error_ms=251), Reason.CLOCK, "the error is 251 ms"),
    (of_account(mode=""), Reason.MODE, 'account mode "" is not known'),
    (of_account(mode="1"), Reason.MODE, "SWAP cross is not possible in Spot mode"),
    (
        of_leg(BUY + 'margin = "isolated"', mode="3"),
        Reason.MODE,
        "SWAP isolated is not possible in Multi-currency mode",
    ),
    (of_account(pos_mode=""), Reason.POS_MODE, 'position mode "" is not known'),
    (
        of_leg(BUY + 'pos_side = "long"', positions=(position("-2"),)),
        Reason.POS_MODE,
        "in net mode this buy reduces the opposite position",
    ),
    (of_leg(BUY + "leverage = { require = 5 }"), Reason.LEVERAGE, "3, required is 5"),
    (of_leg(BUY + "leverage = { require = 5 }", levers={}), Reason.LEVERAGE, "not known, required is 5"),
    (
        of_leg(BUY + "leverage = { set = 5 }", mode="4"),
        Reason.LEVERAGE,
        "in Portfolio margin mode an instrument has no leverage of its own",
    ),
    (of_leg(BUY, 'rule = "margin"\nvalue = 5', levers={}), Reason.LEVERAGE, "the leverage is not known"),
    (of_account(instruments=None), Reason.NOT_OFFERED, "the instruments of the account are not known"),
    (of_account(instruments={}), Reason.NOT_OFFERED, BTC),
    (of_instrument(state="suspend"), Reason.NOT_TRADING, "state suspend"),
    (of_instrument(change_ms=NOW + 59_000), Reason.PRE_CHANGE, "a change takes effect in 59 s"),
    (of_account(known={"": Reason.REGION}), Reason.REGION, "OKX has refused this in the last 24 hours"),
    (of_account(known={BTC: Reason.DISCLAIMER}), Reason.DISCLAIMER, "OKX has refused this in the last 24 hours"),
    (of_account(lead_instruments=frozenset({BTC})), Reason.LEAD_TRADER, BTC),
    (of_account(managed_left=True), Reason.MANAGED_LEFT, "unbound from the trading team"),
    (of_leg(BUY, 'rule = "contracts"\nvalue = "0.001"'), Reason.BELOW_MIN, "0.001 is below 0.01"),
    (of_leg("", 'rule = "target"\nvalue = 0'), Reason.NOTHING_TO_DO, "as wanted"),
    (of_leg("", 'rule = "close"'), Reason.NO_POSITION, "no position"),
    (
        of_account(max_sizes={(BTC, "cross"): MaxSize(D("0.99"), D(5))}),
        Reason.NO_MARGIN,
        "1 needed, 0.99 possible",
    ),
    (
        of_instrument(max_limit=D("0.001")),
        Reason.OVER_MAX,
        "1 cannot be divided into orders that OKX allows",
    ),
    (
        of_instrument(long_quota=D(600)),
        Reason.SHARED_QUOTA,
        "600.00 USD are left of the quota of all accounts of the master",
    ),
    (of_system(quotes={}), Reason.PRICE_STALE, "no price"),
    (of_system(quotes={KEY: replace(QUOTES, at_ms=NOW - 2100)}), Reason.PRICE_STALE, "the price is 2.1 s old"),
    (of_system(quotes={KEY: replace(QUOTES, mark=None)}), Reason.PRICE_STALE, "no mark price"),
    (
        of_leg(BUY + 'price = "mark +2.1%"'),
        Reason.OUTSIDE_BAND,
        "68419.5 is not within 2% of the mark price 67012.3",
    ),
    (
        of_system(quotes={KEY: replace(QUOTES, buy_limit=D(67000))}),
        Reason.OUTSIDE_BAND,
        "67012.3 is above the exchange's highest buy price 67000",
    ),
    (
        of_leg(BUY + 'protect = { take_profit = "67000" }'),
        Reason.OUTSIDE_BAND,
        "take_profit 67000 must be above the price 67012.3",
    ),
    (of_leg(BUY, 'rule = "equity"\nvalue = "1%"', equity=None), Reason.NOT_MIRRORED, "the equity is not known"),
]


@pytest.mark.parametrize(("make", "reason", "detail"), CASES, ids=[f"{n}-{one[1]}" for n, one in enumerate(CASES)])
def test_the_reason_and_its_detail(make: Callable[[], Preview], reason: Reason, detail: str) -> None:
    (child,) = make().children
    assert (child.reason, child.detail) == (reason, detail)
    assert (child.state, child.body) == ("skipped", "")


def test_every_reason_of_a_preview_has_a_case() -> None:
    """``opposes`` and ``own-order-ahead`` need more than one order; the daemon finds the others only."""
    tested = {reason for _, reason, _ in CASES} | {Reason.OPPOSES, Reason.OWN_ORDER_AHEAD}
    not_here = {Reason.HALTED, Reason.DRIFT_PRICE, Reason.BAD_REQUEST}
    assert tested | not_here == {reason for reason, entry in REASONS.items() if entry.at_preview}


def test_an_order_at_a_limit_is_not_above_it() -> None:
    assert preview(plan(), rails=trading("alpha", own=Limits(order_usd=D("670.123")))).ready
    assert preview(plan(), account(max_sizes={(BTC, "cross"): MaxSize(D(1))})).ready
    assert preview(plan(), account(frame_ms=NOW - 15_000)).ready
    assert preview(plan(), account(instruments={BTC: replace(SWAP, change_ms=NOW + 60_001)})).ready


@pytest.mark.parametrize(
    ("mode", "inst", "margin", "td_mode"),
    [
        ("1", SPOT, "", "cash"),
        ("2", SPOT, "", "cash"),
        ("3", SPOT, "", "cross"),
        ("4", SPOT, "", "cross"),
        ("2", BTC, "", "cross"),
        ("2", BTC, "isolated", "isolated"),
        ("3", BTC, "", "cross"),
        ("4", BTC, "cross", "cross"),
    ],
)
def test_the_trade_mode_follows_the_account_mode(mode: str, inst: str, margin: str, td_mode: str) -> None:
    leg = BUY + (f'margin = "{margin}"' if margin else "")
    (child,) = preview(plan('rule = "quote"\nvalue = 1000', leg, inst=inst), account(mode=mode)).children
    assert (child.reason, child.td_mode) == (None, td_mode)


def test_an_instrument_that_is_post_only_accepts_such_orders() -> None:
    facts = account(instruments={BTC: replace(SWAP, state="post_only")})
    assert preview(plan(), facts).children[0].reason is Reason.NOT_TRADING
    assert preview(plan(leg=BUY + 'type = "post_only"\nprice = "mark -1%"'), facts).ready


def test_the_accounts_of_a_master_share_a_quota_in_the_order_of_the_plan() -> None:
    quota = {BTC: replace(SWAP, long_quota=D(1500))}
    accounts = [account(name, main_uid="m", instruments=quota) for name in ("alpha", "beta", "gamma")]
    found = preview(plan(), *accounts, account("other", instruments=quota))
    assert [one.reason for one in found.children] == [None, None, Reason.SHARED_QUOTA, None]
    sells = preview(plan(leg='side = "sell"'), *accounts)
    assert len(sells.ready) == 3


def two_sides(phase: str = "") -> Callable[..., Preview]:
    text = (
        f'title = "t"\n[accounts]\ninclude = ["all"]\norder = "name"\n'
        f'[[legs]]\ninstrument = "{BTC}"\nphase = 1\nside = "sell"\n'
        'size = { rule = "table", table = { alpha = 1 } }\n'
        f'[[legs]]\ninstrument = "{BTC}"\nphase = 1\nside = "buy"\n'
        'size = { rule = "table", table = { beta = 1 } }\n'
    )
    of = read(text if not phase else text.replace("phase = 1", phase, 1))
    return lambda *accounts: preview(of, *accounts)


def reasons(found: Preview) -> list[Reason]:
    return [one.reason for one in found.children if one.reason and one.reason is not Reason.NOTHING_TO_DO]


def test_opposite_sides_of_one_master_are_not_sent_in_one_phase() -> None:
    same = account("alpha", main_uid="m"), account("beta", main_uid="m")
    found = two_sides()(*same)
    assert reasons(found) == [Reason.OPPOSES, Reason.OPPOSES]
    assert '"beta" of the same master: buy in phase 1' in [one.detail for one in found.children]
    assert reasons(two_sides()(account("alpha"), account("beta"))) == []
    assert reasons(two_sides("phase = 2")(*same)) == []


def test_closing_both_sides_of_one_account_does_not_oppose_itself() -> None:
    both = account(
        pos_mode="long_short_mode", positions=(position("2", pos_side="long"), position("3", pos_side="short"))
    )
    assert len(preview(plan('rule = "close"', ""), both).ready) == 2


def test_a_resting_order_that_would_be_cut_is_a_warning() -> None:
    orders = (OpenOrder(BTC, "sell", reduces=True),)
    held = account(positions=(position("2"),), open_orders=orders)
    (child,) = preview(plan('rule = "close"', ""), held).children
    assert (child.reason, child.facts.warnings) == (None, ("own-order-ahead",))
    (child,) = preview(plan(leg='side = "sell"'), replace(held, positions=())).children
    assert child.facts.warnings == ()


def test_an_unknown_largest_size_is_a_warning() -> None:
    (child,) = preview(plan(), account(max_sizes={})).children
    assert (child.reason, child.facts.warnings) == (None, ("the largest possible size is not known",))


def test_spot_is_compared_with_the_free_balance() -> None:
    free = {(SPOT, "cash"): MaxSize(D(1), D(1), D(500), D("0.001"))}
    buy = plan('rule = "quote"\nvalue = 501', inst=SPOT)
    assert preview(buy, account(max_sizes=free)).children[0].reason is Reason.NO_MARGIN
    sell = plan('rule = "coins"\nvalue = "0.0011"', 'side = "sell"', inst=SPOT)
    assert preview(sell, account(max_sizes=free)).children[0].reason is Reason.NO_MARGIN


def test_a_quote_currency_without_a_known_value_in_usd_is_not_traded() -> None:
    pair = replace(SPOT_PAIR, inst_id="ETH-BTC", base="ETH", quote="BTC", settle="BTC")
    quotes = {("global", True, "ETH-BTC"): replace(QUOTES, mark=D("0.05"), last=D("0.05"))}
    of = plan('rule = "coins"\nvalue = 1', inst="ETH-BTC")
    facts = account(instruments={"ETH-BTC": pair})
    (child,) = preview(of, facts, facts=system(quotes=quotes)).children
    assert (child.reason, child.detail) == (Reason.PRICE_STALE, "the price of BTC in USD is not known")
    rich = replace(facts, balances={"BTC": Balance(D(1), D(67000))})
    (child,) = preview(of, rich, facts=system(quotes=quotes)).children
    assert child.planned_usd == 3350


def test_instruments_are_read_from_rows_of_okx() -> None:
    row = models.Instrument(
        inst_id=BTC,
        inst_type="SWAP",
        ct_type="linear",
        ct_val="0.01",
        ct_mult="1",
        lot_sz="0.01",
        min_sz="0.01",
        tick_sz="0.1",
        settle_ccy="USDT",
        state="live",
        max_lmt_sz="",
    )
    assert instrument_of(row, NOW) == SWAP
    assert instrument_of(models.Instrument(inst_id=BTC, inst_type="SWAP"), NOW) is None
    spot = models.Instrument(
        inst_id=SPOT,
        inst_type="SPOT",
        base_ccy="BTC",
        quote_ccy="USDT",
        lot_sz="0.00000001",
        min_sz="0.00001",
        tick_sz="0.1",
        state="live",
        max_mkt_sz="1000000",
    )
    assert instrument_of(spot, NOW) == SPOT_PAIR
