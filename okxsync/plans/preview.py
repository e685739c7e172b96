"""The preview of a plan: every account gets its orders, or the reason why it has none. Pure: facts in, values out.

    for each leg, reductions first
        ground of each account      all checks that need no size; prices, leverage (grounds.py)
        shares of a split           over all accounts, also of those that are skipped
        orders of each account      rule, size, price, checks (drafting.py, sizing.py, size_checks.py)
    checks over all orders          limits, quota, opposite sides (together.py)
    children                        numbered by phase, account and leg; ids, bodies, hash

What is approved is what is sent, so nothing of it changes afterwards.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction

import msgspec

from okxsync.config.trading import AccountTrading, TradingSettings
from okxsync.plans.approval import confirmation, planned_usd, ready_accounts, typed
from okxsync.plans.bodies import Cancel, Part, cancel_child, leverage_child, order_child, parts_of
from okxsync.plans.canonical import canonical, doc_hash
from okxsync.plans.children import MAX_CHILDREN, Child, plain, preview_hash
from okxsync.plans.document import SPLITS, Plan, PlanError
from okxsync.plans.drafting import Drafting
from okxsync.plans.drafts import Draft
from okxsync.plans.facts import AccountFacts, SystemFacts
from okxsync.plans.selection import select
from okxsync.plans.sizing import to_decimal
from okxsync.plans.together import check_together


class Preview(msgspec.Struct, frozen=True, kw_only=True):
    """What is stored, shown and approved.

    Attributes:
        doc: The canonical text of the plan.
        made_ms: The exchange's time; ``valid_for`` after it an approval is too late.
        accounts: All accounts, in the order of the plan.
        site_modes: ``global live``, ``global demo``: where it trades.
        unplaced: By leg: the money of a split that is not placed, in the currency of its total.
        warnings: Of the whole plan; each child has its own.
    """

    plan_id: str
    plan: Plan
    doc: str
    doc_hash: str
    made_ms: int
    accounts: tuple[str, ...]
    site_modes: tuple[str, ...]
    children: tuple[Child, ...]
    unplaced: Mapping[int, Decimal] = {}
    warnings: tuple[str, ...] = ()

    @property
    def hash(self) -> str:
        return preview_hash(self.doc_hash, self.children)

    @property
    def ready(self) -> tuple[Child, ...]:
        return tuple(child for child in self.children if not child.reason)

    @property
    def skipped(self) -> tuple[Child, ...]:
        return tuple(child for child in self.children if child.reason)

    @property
    def ready_accounts(self) -> int:
        return ready_accounts(self.children)

    @property
    def planned_usd(self) -> Decimal:
        return planned_usd(self.children)

    @property
    def confirmation(self) -> str:
        return confirmation(self.children)

    @property
    def typed(self) -> str:
        return typed(self.children)


def to_plan_columns(preview: Preview, kind: str = "trade", parent_id: str | None = None) -> dict[str, str | int | None]:
    """Return the row of ``plans``; ``kind`` is ``trade``, ``retry`` or ``undo``."""
    left = [f"leg {leg}: {plain(money)} not placed" for leg, money in preview.unplaced.items() if money]
    return {
        "plan_id": preview.plan_id,
        "title": preview.plan.title,
        "kind": kind,
        "parent_id": parent_id,
        "doc": preview.doc,
        "doc_hash": preview.doc_hash,
        "site_modes": ", ".join(preview.site_modes),
        "state": "previewed",
        "preview_at": preview.made_ms,
        "preview_hash": preview.hash,
        "accounts": len(preview.accounts),
        "ready": len(preview.ready),
        "skipped": len(preview.skipped),
        "accepted": 0,
        "rejected": 0,
        "unknown": 0,
        "planned_usd": plain(preview.planned_usd),
        "note": "; ".join([*preview.warnings, *left]) or None,
    }


def make_preview(
    plan: Plan,
    plan_id: str,
    accounts: Mapping[str, AccountFacts],
    trading: TradingSettings,
    system: SystemFacts,
    cancels: Sequence[Cancel] = (),
) -> Preview:
    """Return the preview.

    Args:
        plan: The plan.
        plan_id: Made by the client; decides a random order, and is part of each order's id.
        accounts: All configured accounts, by name.
        trading: Settings.
        system: What concerns all accounts.
        cancels: Resting orders that are canceled first, for an undo; those of other accounts are left out.

    Raises:
        PlanError: the plan names an account or a group that does not exist, has too many orders, or needs a tag.
    """
    if plan.dead_man and not trading.tag:
        raise PlanError("dead_man: needs [trading] tag: without one it would cancel all orders of an account")
    accounts = {name: _without(facts, cancels) for name, facts in accounts.items()}
    groups = {name: trading.accounts.get(name, AccountTrading()).groups for name in accounts}
    names = select(plan, plan_id, groups, {name: facts.equity for name, facts in accounts.items()})
    drafting = Drafting(plan, [accounts[name] for name in names], accounts, trading, system)
    by_phase = sorted(range(len(plan.legs)), key=lambda index: (min(plan.legs[index].used_phases), index))
    for index in by_phase:
        drafting.add_leg(index + 1, plan.legs[index])
    drafting.add_idle()
    rank = {name: position for position, name in enumerate(names)}
    # An account whose orders are canceled has a row: another one, for nothing to reverse, would say that it is skipped.
    canceled = {one.account for one in cancels}
    wanted = [one for one in drafting.drafts if one.account.name not in canceled or not one.wants_nothing]
    drafts = sorted(wanted, key=lambda one: (one.phase, rank[one.account.name], one.leg_number))
    check_together(drafts, plan, trading, system)
    doc = canonical(plan)
    return Preview(
        plan_id=plan_id,
        plan=plan,
        doc=doc,
        doc_hash=doc_hash(doc),
        made_ms=system.now_ms,
        accounts=names,
        site_modes=tuple(sorted({f"{one.site} {'demo' if one.demo else 'live'}" for one in drafting.accounts})),
        children=_children(plan, plan_id, names, drafts, trading, [one for one in cancels if one.account in rank]),
        unplaced=_unplaced(plan, drafts),
        warnings=(f"trading is halted: {system.halted}",) if system.halted else (),
    )


def _without(facts: AccountFacts, cancels: Sequence[Cancel]) -> AccountFacts:
    """Return an account without the resting orders that the plan itself cancels before all others."""
    ids = {one.cl_ord_id for one in cancels if one.account == facts.name}
    if not ids:
        return facts
    left = tuple(one for one in facts.open_orders if one.cl_ord_id not in ids)
    return msgspec.structs.replace(facts, open_orders=left)


def _children(
    plan: Plan,
    plan_id: str,
    names: Sequence[str],
    drafts: Sequence[Draft],
    trading: TradingSettings,
    cancels: Sequence[Cancel],
) -> tuple[Child, ...]:
    found = [cancel_child(plan_id, number, cancel, trading) for number, cancel in enumerate(cancels, 1)]
    set_already = set()
    for draft in drafts:
        if draft.ground and draft.ground.sets_leverage and not draft.finding:
            child = leverage_child(plan_id, len(found) + 1, draft, trading)
            if (key := (child.account, child.body)) not in set_already:
                set_already.add(key)
                found.append(child)
    rank = {name: position for position, name in enumerate(names)}

    def turn(part: Part) -> tuple[int, int]:
        first = part.round * len(names) // plan.rounds  # each round begins with another account
        return part.phase, (rank[part.draft.account.name] - first) % len(names)

    for part in sorted((part for draft in drafts for part in parts_of(draft, plan.rounds)), key=turn):
        found.append(order_child(plan_id, len(found) + 1, part, trading))
    if len(found) > MAX_CHILDREN:
        raise PlanError(f"the plan has {len(found)} orders; at most {MAX_CHILDREN} are possible")
    return tuple(found)


def _unplaced(plan: Plan, drafts: Sequence[Draft]) -> dict[int, Decimal]:
    """Return what each split leaves: by rounding, or because accounts are skipped."""
    found = {}
    for number, leg in enumerate(plan.legs, 1):
        if leg.size.rule in SPLITS and leg.size.value is not None:
            placed = (one.notional for one in drafts if one.leg_number == number and not one.finding)
            found[number] = to_decimal(Fraction(leg.size.value) - sum(placed, Fraction(0)))
    return found
