"""Checks of a child directly before it is sent, with fresh facts: is the world still that of the preview?"""

from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

from okxsync.config.trading import AccountTrading, TradingSettings
from okxsync.plans.checks import Finding, find_rail, find_stale_price, find_unready, find_untradable
from okxsync.plans.children import Child, plain, why_unlike
from okxsync.plans.document import Plan
from okxsync.plans.expected import Expected
from okxsync.plans.facts import AccountFacts, SystemFacts
from okxsync.plans.grounds import holding_of, reference_of
from okxsync.plans.prices import Side, why_outside
from okxsync.plans.reasons import Reason
from okxsync.plans.sizing import to_decimal


class Sums(NamedTuple):
    """What was approved, in USD: in the child's plan, and today in all plans, this one included."""

    plan: Decimal = Decimal(0)
    plan_of_account: Decimal = Decimal(0)
    day: Decimal = Decimal(0)
    day_of_account: Decimal = Decimal(0)


def find_changed(
    child: Child,
    plan: Plan,
    account: AccountFacts,
    trading: TradingSettings,
    system: SystemFacts,
    *,
    valid_until_ms: int,
    expected: Expected | None,
    sums: Sums,
) -> Finding | None:
    """Return why a child that was ready at preview is withheld now; None: it may be sent.

    A cancellation is never withheld.

    Args:
        child: As approved.
        plan: Its plan.
        account: Fresh facts.
        trading: The settings now.
        system: Fresh facts.
        valid_until_ms: After it nothing is sent.
        expected: The position that the account should have; None: not known.
        sums: With which the limits of plan and day are compared.
    """
    if child.kind == "cancel":
        return None
    if system.halted:
        return Finding(Reason.HALTED, system.halted)
    if system.now_ms >= valid_until_ms:
        return Finding(Reason.EXPIRED, "the plan is no longer valid")
    if child.kind == "order" and (wrong := why_unlike(child)):
        return Finding(Reason.BAD_REQUEST, wrong)
    finding = (
        find_rail(trading, account, system, child.inst_id)
        or next(_exceeded_limits(child, plan, account, trading, sums), None)
        or find_unready(account, system)
        or find_untradable(account, child.inst_id, child.ord_type, system.now_ms, valid_until_ms - system.now_ms)
    )
    if finding or child.kind == "leverage":
        return finding
    return (
        _find_price(child, plan, account, trading, system)
        or _find_equity(child, plan, account)
        or _find_position(child, account, expected)
    )


def _exceeded_limits(
    child: Child, plan: Plan, account: AccountFacts, trading: TradingSettings, sums: Sums
) -> Iterator[Finding]:
    """A limit may have been lowered since the preview, and what was approved since counts for the day."""
    common, own = trading.limits, trading.accounts.get(account.name, AccountTrading()).limits
    for reason, name, limit, usd in (
        (Reason.LIMIT_ORDER, "max_order_usd", own.order_usd, child.planned_usd),
        (Reason.LIMIT_ORDER, "max_order_usd of the plan", plan.limits.max_order_usd, child.planned_usd),
        (Reason.LIMIT_PLAN, "max_plan_usd of the account", own.plan_usd, sums.plan_of_account),
        (Reason.LIMIT_PLAN, "max_plan_usd", common.plan_usd, sums.plan),
        (Reason.LIMIT_DAY, "max_day_usd of the account", own.day_usd, sums.day_of_account),
        (Reason.LIMIT_DAY, "max_day_usd", common.day_usd, sums.day),
    ):
        if limit is not None and usd > limit:
            yield Finding(reason, f"{plain(usd)} USD, {name} is {plain(limit)}")


def _find_price(
    child: Child, plan: Plan, account: AccountFacts, trading: TradingSettings, system: SystemFacts
) -> Finding | None:
    quotes = system.quotes.get((account.site, account.demo, child.inst_id))
    if stale := find_stale_price(quotes, system.now_ms):
        return stale
    assert quotes is not None
    assert account.instruments is not None
    reference = reference_of(plan.legs[child.leg - 1], account.instruments[child.inst_id], quotes)
    if isinstance(reference, Finding):
        return reference
    band = trading.accounts.get(account.name, AccountTrading()).limits.price_band
    side: Side = "buy" if child.side == "buy" else "sell"
    if child.px is not None and (why := why_outside(child.px, side, quotes, band)):
        return Finding(Reason.OUTSIDE_BAND, why)
    before = child.facts.reference
    if before and _moved(before, reference) > Fraction(plan.limits.max_drift_price):
        return Finding(Reason.DRIFT_PRICE, f"from {plain(before)} to {plain(reference)}")
    return None


def _find_equity(child: Child, plan: Plan, account: AccountFacts) -> Finding | None:
    before, now = child.facts.equity, account.equity
    if now is None:
        return Finding(Reason.DRIFT_EQUITY, "the equity is not known")
    if before is not None and _moved(before, now) > Fraction(plan.limits.max_drift_equity):
        return Finding(Reason.DRIFT_EQUITY, f"from {plain(before)} to {plain(now)} USD")
    return None


def _find_position(child: Child, account: AccountFacts, expected: Expected | None) -> Finding | None:
    """Any change counts, except one that a reduction may follow (``shrunk_size``)."""
    present = present_position(child, account)
    if expected is None or expected.least <= present <= expected.most:
        return None
    if child.facts.shrink and shrunk_size(child, account):
        return None
    return Finding(Reason.DRIFT_POSITION, f"from {plain(expected.most)} to {plain(present)}")


def _moved(before: Decimal, now: Decimal) -> Fraction:
    if not before:
        return Fraction(0 if before == now else 1)
    return abs(Fraction(now) / Fraction(before) - 1)


def present_position(child: Child, account: AccountFacts) -> Decimal:
    """Return the position that a child changes, in the form of ``Basis.position``."""
    assert account.instruments is not None
    holding = holding_of(account, account.instruments[child.inst_id], child.td_mode)
    match child.pos_side:
        case "long":
            return to_decimal(holding.long)
        case "short":
            return to_decimal(holding.short)
    return to_decimal(holding.net)


def shrunk_size(child: Child, account: AccountFacts) -> Decimal:
    """Return the size of a reduction that may shrink: at most the present position, in whole lots; 0: nothing is left.

    An order that is larger than the position would reverse it where OKX has no reduce-only orders.
    """
    assert account.instruments is not None
    instrument = account.instruments[child.inst_id]
    present = present_position(child, account)
    reducible = present if child.pos_side or child.side == "sell" else -present
    size = min(child.sz or Decimal(0), max(reducible, Decimal(0)))
    size -= size % instrument.lot
    return size if size >= instrument.smallest else Decimal(0)
