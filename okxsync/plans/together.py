"""Checks of children that concern each other: sums against limits and quotas, and opposite sides of one master."""

from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from fractions import Fraction

from okxsync.config.trading import AccountTrading, TradingSettings
from okxsync.plans.checks import Finding
from okxsync.plans.children import plain
from okxsync.plans.document import Plan
from okxsync.plans.drafts import Draft
from okxsync.plans.facts import SystemFacts
from okxsync.plans.reasons import Reason
from okxsync.plans.sizing import in_cents


def check_together(drafts: Sequence[Draft], plan: Plan, trading: TradingSettings, system: SystemFacts) -> None:
    """Skip the drafts that may not be sent because of others. Their order is that of the plan."""
    _opposes(drafts)
    _shared_quota(drafts)
    _limits(drafts, plan, trading, system)


def _ready(drafts: Iterable[Draft]) -> list[Draft]:
    return [draft for draft in drafts if draft.finding is None]


def _groups(drafts: Iterable[Draft], key: Callable[[Draft], object]) -> list[list[Draft]]:
    groups: dict[object, list[Draft]] = {}
    for draft in drafts:
        groups.setdefault(key(draft), []).append(draft)
    return list(groups.values())


def _opposes(drafts: Sequence[Draft]) -> None:
    """OKX cancels orders of one master that would trade with each other (T 13): neither side is sent.

    The two orders of one leg that close a long and a short position of one account are not meant.
    """
    for group in _groups(
        _ready(drafts), lambda one: (one.account.master, one.account.site, one.leg.instrument, one.phase)
    ):
        sides = _groups(group, lambda one: one.side)
        for own, others in ((sides[0], sides[1]), (sides[1], sides[0])) if len(sides) == 2 else ():
            for draft in own:
                origin = draft.account.name, draft.leg_number
                other = next((one for one in others if (one.account.name, one.leg_number) != origin), None)
                if other:
                    detail = f'"{other.account.name}" of the same master: {other.side} in phase {other.phase}'
                    draft.finding = Finding(Reason.OPPOSES, detail)


def _shared_quota(drafts: Sequence[Draft]) -> None:
    """The accounts of a master share a quota (54030); those that fit, in the order of the plan, are sent."""
    opening = [one for one in _ready(drafts) if not one.reduces and one.ground]
    for group in _groups(opening, lambda one: (one.account.master, one.account.site, one.leg.instrument, one.side)):
        quotas = [
            quota
            for one in group
            if one.ground
            and (quota := one.ground.instrument.long_quota if one.side == "buy" else one.ground.instrument.short_quota)
            is not None
        ]
        if not quotas:
            continue
        left = Fraction(min(quotas))
        for draft in group:
            if draft.usd > left:
                detail = f"{_usd(left)} USD are left of the quota of all accounts of the master"
                draft.finding = Finding(Reason.SHARED_QUOTA, detail)
            else:
                left -= draft.usd


def _limits(drafts: Sequence[Draft], plan: Plan, trading: TradingSettings, system: SystemFacts) -> None:
    """A sum above a limit skips all that are part of it: which ones would be sent is not left to chance."""
    for group in _groups(_ready(drafts), lambda one: one.account.name):
        name = group[0].account.name
        own = trading.accounts.get(name, AccountTrading()).limits
        used = system.day_usd_of.get(name, Decimal(0))
        _limit(group, Reason.LIMIT_PLAN, "max_plan_usd of the account", own.plan_usd)
        _limit(_ready(group), Reason.LIMIT_DAY, "max_day_usd of the account", own.day_usd, used)
    _limit(_ready(drafts), Reason.LIMIT_PLAN, "max_total_usd of the plan", plan.limits.max_total_usd)
    _limit(_ready(drafts), Reason.LIMIT_PLAN, "max_plan_usd", trading.limits.plan_usd)
    _limit(_ready(drafts), Reason.LIMIT_DAY, "max_day_usd", trading.limits.day_usd, system.day_usd)


def _limit(
    drafts: Sequence[Draft], reason: Reason, name: str, limit: Decimal | None, used: Decimal = Decimal(0)
) -> None:
    total = sum((one.usd for one in drafts), Fraction(used))
    if limit is None or total <= Fraction(limit):
        return
    for draft in drafts:
        draft.finding = Finding(reason, f"{_usd(total)} USD, {name} is {plain(limit)}")


def _usd(amount: Fraction) -> str:
    return f"{Decimal(in_cents(amount)):,.2f}"
