"""The canonical text of a plan: every value, defaults too, in a fixed order. Its SHA-256 is the document's identity."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from decimal import Decimal

import msgspec

from okxsync.plans.children import plain
from okxsync.plans.document import RULES_OF_KEY, SHARES, Leg, Plan, Size
from okxsync.plans.prices import offset_text, price_text


def canonical(plan: Plan) -> str:
    """Return the plan as TOML, from which ``plan_file.read`` makes the same plan."""
    lines = [*_lines(_top(plan))]
    for leg in plan.legs:
        lines += ["[[legs]]", *_lines(_leg_table(leg)), "[legs.size]", *_lines(_size_table(leg.size))]
        if leg.size.sizes:
            lines += ["[legs.size.table]", *_lines(dict(sorted(leg.size.sizes.items())))]
        if protect := leg.protect:
            offsets = {key: getattr(protect, key) for key in ("take_profit", "stop_loss")}
            texts = {key: offset_text(offset) for key, offset in offsets.items() if offset}
            lines += ["[legs.protect]", *_lines(texts | {"trigger": protect.trigger})]
        if leg.leverage:
            lines += ["[legs.leverage]", *_lines({"set" if leg.leverage.set else "require": leg.leverage.value})]
    accounts = plan.accounts
    lines += ["[accounts]", *_lines({key: getattr(accounts, key) for key in ("include", "exclude", "order")})]
    if accounts.weights:
        lines += ["[accounts.weights]", *_lines(dict(sorted(accounts.weights.items())))]
    limits = msgspec.structs.asdict(plan.limits)
    limits |= {key: _share(limits[key]) for key in ("max_drift_price", "max_drift_equity")}
    lines += ["[limits]", *_lines(limits)]
    failure = msgspec.structs.asdict(plan.failure)
    lines += ["[failure]", *_lines(failure | {"stop_at": _share(plan.failure.stop_at)})]
    return "\n".join(lines) + "\n"


def doc_hash(doc: str) -> str:
    """Return the SHA-256 of a canonical text."""
    return hashlib.sha256(doc.encode()).hexdigest()


def _top(plan: Plan) -> dict[str, object]:
    return {
        "title": plan.title,
        "valid_for": f"{plan.valid_for}s",
        "dead_man": _duration(plan.dead_man),
        "rounds": plan.rounds,
        "cash": _share(plan.cash),
    }


def _leg_table(leg: Leg) -> dict[str, object]:
    plain_keys = ("instrument", "side", "pos_side", "intent", "margin", "type")
    return {key: getattr(leg, key) or None for key in plain_keys} | {
        "only": leg.only or None,
        "price": price_text(leg.price) if leg.price else None,
        "phase": leg.phase,
        "shrink": leg.shrink,
        "cancel_after": _duration(leg.cancel_after),
    }


def _size_table(size: Size) -> dict[str, object]:
    value = size.leader or (_share(size.value) if size.rule in SHARES else size.value)
    table: dict[str, object] = {"rule": size.rule, "value": value, "below_min": size.below_min}
    table |= {key: getattr(size, key) for key, rules in RULES_OF_KEY.items() if size.rule in rules}
    return table | {"band": _share(size.band)}


def _share(value: Decimal | None) -> str | None:
    return None if value is None else f"{plain(value.scaleb(2))}%"


def _duration(seconds: int | None) -> str | None:
    return None if seconds is None else f"{seconds}s"


def _lines(table: Mapping[str, object]) -> Iterator[str]:
    for key, value in table.items():
        if value is not None:
            yield f"{_key(key)} = {_toml(value)}"


def _key(key: str) -> str:
    return key if key.isascii() and key.replace("-", "_").isidentifier() else _toml(key)


def _toml(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case Decimal():
            return json.dumps(plain(value))
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case tuple():
            return f"[{', '.join(_toml(one) for one in value)}]"
    raise AssertionError(value)
