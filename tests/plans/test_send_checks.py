"""What withholds a child at its send."""

from typing import Any

import pytest
from msgspec.structs import replace

from okxsync.config.trading import AccountTrading, Limits
from okxsync.plans.checks import Finding
from okxsync.plans.children import Child
from okxsync.plans.commands import Shrunk, Withheld
from okxsync.plans.expected import Expected
from okxsync.plans.reasons import Reason
from okxsync.plans.running import Running
from okxsync.plans.send_checks import Sums, find_changed, shrunk_size
from tests.plans.cases import BTC, NOW, PX, QUOTES, D, account, plan, position, preview, system, trading

PLAN = plan('rule = "equity"\nvalue = "2%"', 'side = "buy"\nprice = "mark +0.3%"')
(CHILD,) = preview(PLAN).children
NO_SUMS = Sums()
HELD = account(positions=(position("2"),))
CLOSE = plan('rule = "close"', "shrink = true")
(CLOSING,) = preview(CLOSE, HELD).children


def found(
    child: Child = CHILD,
    *,
    of: Any = PLAN,
    facts: Any = None,
    rails: Any = None,
    expected: str | None = "0",
    valid_until_ms: int = NOW + 30_000,
    sums: Sums = NO_SUMS,
    **changes: Any,
) -> Finding | None:
    return find_changed(
        child,
        of,
        account(**changes),
        rails or trading("alpha"),
        facts or system(),
        valid_until_ms=valid_until_ms,
        expected=None if expected is None else Expected(D(expected), D(expected), False),
        sums=sums,
    )


def quotes(factor: str, **changes: Any) -> Any:
    mark = PX * D(factor)
    return system(quotes={("global", True, BTC): replace(QUOTES, mark=mark, last=mark, **changes)})


@pytest.mark.parametrize(
    ("old", "new", "detail"),
    [
        ('"sz":"0.36"', '"sz":"36"', "the body is not that of the row"),
        ('"side":"buy"', '"side":"sell"', "the body is not that of the row"),
        ('"clOrdId":"P', '"clOrdId":"Q', "the body is not that of the row"),
        ('"sz":"0.36"', '"sz":"-1"', 'sz "-1" is not a number above 0'),
        ('"sz":"0.36"', '"sz":"much"', "the body cannot be read"),
        ('"ordType":"ioc",', "", "the body cannot be read"),
    ],
)
def test_a_body_that_is_not_that_of_its_row_is_not_sent(old: str, new: str, detail: str) -> None:
    assert old in CHILD.body
    wrong = found(replace(CHILD, body=CHILD.body.replace(old, new)))
    assert wrong
    assert wrong.reason is Reason.BAD_REQUEST
    assert wrong.detail.startswith(detail)


def test_nothing_has_changed() -> None:
    assert found() is None
    assert found(facts=quotes("1.005")) is None
    assert found(equity=D("12345.67") * D("0.97")) is None
    assert found(expected=None) is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"facts": system(halted="by hand")}, Reason.HALTED),
        ({"valid_until_ms": NOW}, Reason.EXPIRED),
        ({"rails": trading("alpha", enabled=False)}, Reason.TRADING_OFF),
        ({"rails": trading("alpha", own=Limits(order_usd=D(200)))}, Reason.LIMIT_ORDER),
        ({"rails": trading(accounts={"alpha": AccountTrading()})}, Reason.ACCOUNT_OFF),
        ({"live": False}, Reason.NOT_CONNECTED),
        ({"gaps": ("orders",)}, Reason.ORDERS_UNCOVERED),
        ({"instruments": {}}, Reason.NOT_OFFERED),
        ({"facts": system(quotes={})}, Reason.PRICE_STALE),
        ({"facts": quotes("1.0051")}, Reason.DRIFT_PRICE),
        ({"facts": quotes("0.9949")}, Reason.DRIFT_PRICE),
        ({"facts": quotes("0.98")}, Reason.OUTSIDE_BAND),
        ({"facts": quotes("1", buy_limit=D(67000))}, Reason.OUTSIDE_BAND),
        ({"equity": D(11900)}, Reason.DRIFT_EQUITY),
        ({"equity": None}, Reason.DRIFT_EQUITY),
        ({"positions": (position("0.01"),)}, Reason.DRIFT_POSITION),
        ({"expected": "0.01"}, Reason.DRIFT_POSITION),
    ],
)
def test_each_change_that_withholds_it(changes: dict[str, Any], reason: Reason) -> None:
    finding = found(**changes)
    assert finding
    assert finding.reason is reason
    assert finding.detail


def test_a_position_may_be_changed_by_the_plan_itself() -> None:
    assert found(positions=(position("0.5"),), expected="0.5") is None


def test_a_cancellation_is_never_withheld() -> None:
    assert found(replace(CHILD, kind="cancel"), facts=system(halted="by hand"), valid_until_ms=0, live=False) is None


def test_leverage_needs_the_state_of_the_account_and_no_price() -> None:
    child = replace(CHILD, kind="leverage")
    assert found(child, facts=system(quotes={})) is None
    assert found(child, live=False) is not None


@pytest.mark.parametrize(("now", "size"), [("2", "2"), ("1.5", "1.5"), ("5", "2"), ("0", "0"), ("-1", "0")])
def test_a_reduction_may_shrink_to_the_present_position(now: str, size: str) -> None:
    held = (position(now),)
    assert shrunk_size(CLOSING, account(positions=held)) == D(size)
    finding = found(CLOSING, of=CLOSE, positions=held, expected="2")
    assert (finding is None) is (size != "0")
    fixed = replace(CLOSING, facts=replace(CLOSING.facts, shrink=False))
    finding = found(fixed, of=CLOSE, positions=held, expected="2")
    assert (finding is None) is (now == "2")


def test_a_short_position_shrinks_too() -> None:
    (child,) = preview(CLOSE, account(positions=(position("-2"),))).children
    assert shrunk_size(child, account(positions=(position("-0.5"),))) == D("0.5")
    sides = account(pos_mode="long_short_mode", positions=(position("2", pos_side="short"),))
    (child,) = preview(CLOSE, sides).children
    assert shrunk_size(child, replace(sides, positions=(position("0.5", pos_side="short"),))) == D("0.5")


def test_a_reduction_is_sent_with_the_size_of_the_position_and_otherwise_as_approved() -> None:
    running = Running(CLOSE, [CLOSING], NOW, {}, resumed=False)
    assert running.shrunk(CLOSING, account(positions=(position("5"),))) is None
    found = running.shrunk(CLOSING, account(positions=(position("1.555"),)))
    assert found == Shrunk("1.55", CLOSING.body.replace('"sz":"2"', '"sz":"1.55"'))
    for left in ("0.005", "0", "-3"):
        assert isinstance(running.shrunk(CLOSING, account(positions=(position(left),))), Withheld)
    (fixed,) = preview(plan('rule = "close"'), HELD).children
    assert Running(CLOSE, [fixed], NOW, {}, resumed=False).shrunk(fixed, account()) is None


def test_of_several_reductions_of_one_position_none_shrinks() -> None:
    other = replace(CLOSING, number=2)
    running = Running(CLOSE, [CLOSING, other], NOW, {}, resumed=False)
    assert isinstance(running.shrunk(CLOSING, account(positions=(position("1"),))), Withheld)


@pytest.mark.parametrize(
    ("own", "common", "reason", "detail"),
    [
        (Limits(plan_usd=D(100)), Limits(), None, ""),
        (Limits(plan_usd=D(99)), Limits(), Reason.LIMIT_PLAN, "100 USD, max_plan_usd of the account is 99"),
        (Limits(), Limits(plan_usd=D(199)), Reason.LIMIT_PLAN, "200 USD, max_plan_usd is 199"),
        (Limits(day_usd=D(299)), Limits(), Reason.LIMIT_DAY, "300 USD, max_day_usd of the account is 299"),
        (Limits(), Limits(day_usd=D(399)), Reason.LIMIT_DAY, "400 USD, max_day_usd is 399"),
        (Limits(day_usd=D(300)), Limits(plan_usd=D(200), day_usd=D(400)), None, ""),
    ],
)
def test_sums_above_a_limit_of_plan_or_day(own: Limits, common: Limits, reason: Reason | None, detail: str) -> None:
    """Limits may be lowered after the preview, and two previews may each be below the limit of a day."""
    finding = found(rails=trading("alpha", own=own, limits=common), sums=Sums(D(200), D(100), D(400), D(300)))
    assert finding == (Finding(reason, detail) if reason else None)
