"""Combinations of keys of a plan that are valid one by one, and impossible together."""

from collections.abc import Iterator, Sequence
from fractions import Fraction

from okxsync.plans.children import PRICED
from okxsync.plans.document import AUTO, SPLITS, Leg, Plan, inst_type_of


def impossible(leg: Leg) -> Iterator[tuple[str, str]]:
    """Yield each impossible combination of a leg: the key, and what is wrong."""
    spot = inst_type_of(leg.instrument) == "SPOT"
    rule = leg.size.rule
    reduces = leg.intent == "reduce" or rule == "close"
    if leg.side == "auto" and rule not in AUTO:
        yield "side", f'the rule "{rule}" needs buy or sell; auto is for {", ".join(sorted(AUTO))}'
    if rule == "close" and leg.intent == "open":
        yield "intent", 'the rule "close" reduces'
    if rule == "leverage" and (spot or leg.intent == "reduce"):
        yield "size.rule", '"leverage" opens positions of contracts'
    if rule == "margin" and spot:
        yield "size.rule", '"margin" is for contracts'
    if rule in SPLITS and leg.intent == "reduce" and leg.size.reassign:
        yield "size.reassign", "a reduction is limited by each account's position"
    if leg.type == "market" and leg.price is not None:
        yield "price", "market orders have no price"
    if leg.type in PRICED and leg.price is None:
        yield "price", f'is missing; "{leg.type}" orders need one, for instance "mark +0.3%"'
    if spot and leg.pos_side:
        yield "pos_side", "spot has no position side"
    if spot and leg.leverage:
        yield "leverage", "spot has no leverage"
    if spot and leg.size.value is not None and leg.size.value < 0 and rule != "change":
        yield "size.value", "a spot balance cannot be negative"
    if not spot and leg.margin == "cash":
        yield "margin", "contracts need cross or isolated"
    if leg.pos_side and leg.side != "auto":
        closes = (leg.side == "buy") is (leg.pos_side == "short")
        if closes is not reduces and rule not in AUTO:
            does = "reduces" if closes else "opens"
            yield "pos_side", f"{leg.side} with {leg.pos_side} {does}, which is not the intent"
    value = leg.size.value if rule in ("target", "target_equity") else None
    if leg.pos_side and value and (value < 0) is (leg.pos_side == "long"):
        yield "size.value", f"has the wrong sign for a {leg.pos_side} position"
    if leg.shrink and not (reduces or (rule in AUTO and leg.intent is None)):
        yield "shrink", "is for reductions"
    if leg.cancel_after and leg.type not in ("limit", "post_only", "market"):
        yield "cancel_after", f'"{leg.type}" orders do not rest'
    if leg.protect:
        yield from _impossible_protection(leg, spot=spot, reduces=reduces)


def is_portfolio(leg: Leg) -> bool:
    """Whether a leg is a share of a spot portfolio: what all of them leave is cash."""
    return inst_type_of(leg.instrument) == "SPOT" and leg.size.rule == "target_equity"


def scale_of(plan: Plan, leg: Leg, account: str) -> Fraction:
    """Return by which a leg's share of the equity is reduced, so that a spot portfolio leaves the plan's cash."""
    if not plan.cash or not is_portfolio(leg):
        return Fraction(1)
    legs = [one for one in plan.legs if is_portfolio(one) and (not one.only or account in one.only)]
    total = sum((Fraction(one.size.value or 0) for one in legs), Fraction(0))
    return min((1 - Fraction(plan.cash)) / total, Fraction(1)) if total > 0 else Fraction(1)


def _impossible_protection(leg: Leg, *, spot: bool, reduces: bool) -> Iterator[tuple[str, str]]:
    assert leg.protect
    if reduces:
        yield "protect", "an order that reduces cannot have a take-profit or stop-loss"
    if spot and leg.type == "market":
        yield "protect", "market orders of spot cannot have a take-profit or stop-loss"
    if spot and leg.protect.trigger != "last":
        yield "protect.trigger", 'spot has "last" only'
    for key, offset, sign in (("take_profit", leg.protect.take_profit, 1), ("stop_loss", leg.protect.stop_loss, -1)):
        above = sign if leg.side != "sell" else -sign
        if offset and offset.relative and offset.value * above <= 0:
            side = "an order" if leg.side == "auto" else f"a {leg.side}"
            yield f"protect.{key}", f"must be {'above' if above > 0 else 'below'} 0% for {side}"


def resting_before_a_phase(legs: Sequence[Leg], rounds: int) -> Iterator[tuple[int, str]]:
    """Yield each leg whose orders can rest although a later phase or round waits for their end: its index, and why."""
    last = max((max(leg.used_phases) for leg in legs), default=0)
    for index, leg in enumerate(legs):
        ends = leg.type in ("ioc", "fok") or (leg.type == "market" and inst_type_of(leg.instrument) == "SPOT")
        waits = f"phase {last} waits" if min(leg.used_phases) < last else "the next round waits" if rounds > 1 else ""
        if waits and not ends and not leg.cancel_after:
            yield index, f'"{leg.type}" orders can rest while {waits}; use ioc or fok, or give cancel_after'
