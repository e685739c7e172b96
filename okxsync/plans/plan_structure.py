"""The structure of a plan's TOML text: which tables and keys there are, and of which type their values are.

What the values mean is checked in ``plan_file.py``.
"""

import tomllib
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import msgspec

from okxsync.config.validate import Keys, mistakes
from okxsync.plans.document import PlanError

MAX_BYTES: Final = 1_000_000

Amount: TypeAlias = str | int


class SizeTable(msgspec.Struct, forbid_unknown_fields=True):
    rule: str
    value: Amount | None = None
    unit: str | None = None
    basis: str | None = None
    below_min: str | None = None
    remainder: str | None = None
    reassign: bool | None = None
    table: dict[str, Amount] | None = None
    csv: str | None = None
    band: str | None = None
    min_trade_usd: Amount | None = None


class ProtectTable(msgspec.Struct, forbid_unknown_fields=True):
    take_profit: Amount | None = None
    stop_loss: Amount | None = None
    trigger: str | None = None


class LeverageTable(msgspec.Struct, forbid_unknown_fields=True):
    require: Amount | None = None
    set: Amount | None = None


class LegTable(msgspec.Struct, forbid_unknown_fields=True):
    instrument: str
    size: SizeTable
    only: list[str] = []
    side: str | None = None
    pos_side: str | None = None
    intent: str | None = None
    margin: str | None = None
    type: str | None = None
    price: Amount | None = None
    phase: int | None = None
    shrink: bool = False
    cancel_after: str | None = None
    protect: ProtectTable | None = None
    leverage: LeverageTable | None = None


class AccountsTable(msgspec.Struct, forbid_unknown_fields=True):
    include: list[str]
    exclude: list[str] = []
    order: str | None = None
    weights: dict[str, Amount] = {}


class LimitsTable(msgspec.Struct, forbid_unknown_fields=True):
    max_order_usd: Amount | None = None
    max_total_usd: Amount | None = None
    max_drift_price: str | None = None
    max_drift_equity: str | None = None


class FailureTable(msgspec.Struct, forbid_unknown_fields=True):
    canary: int = 1
    on_reject: str | None = None
    stop_at: str | None = None
    on_unknown: str | None = None
    on_restart: str | None = None


class File(msgspec.Struct, forbid_unknown_fields=True):
    title: str
    legs: list[LegTable]
    accounts: AccountsTable
    valid_for: str | None = None
    dead_man: str | None = None
    rounds: int = 1
    cash: str | None = None
    limits: LimitsTable = msgspec.field(default_factory=LimitsTable)
    failure: FailureTable = msgspec.field(default_factory=FailureTable)


_FILE: Final = msgspec.inspect.type_info(File)


def parse(text: str, assignments: Sequence[str] = ()) -> File:
    """Return the tables of a text. The arguments are those of ``plan_file.read``.

    Raises:
        PlanError: the text has another structure.
    """
    if len(text.encode(errors="replace")) > MAX_BYTES:
        raise PlanError(f"the plan is longer than {MAX_BYTES} bytes")
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise PlanError(f"not valid TOML: {one_line(str(error))}") from None
    for assignment in assignments:
        _assign(table, assignment)
    _take_weights(table)
    _take_cash(table)
    if wrong := [f"{place_of(keys)}{one_line(what)}" for keys, what in mistakes(table, _FILE)]:
        raise PlanError(*wrong)
    return msgspec.convert(table, File)


def one_line(text: str) -> str:
    return " ".join("".join(one if one.isprintable() else " " for one in text).split())


def _take_weights(table: dict[str, Any]) -> None:
    """Make of a leg with ``weights`` a leg for each instrument: the share of the equity that it is to have."""
    found = table.get("legs")
    legs: list[Any] = found if isinstance(found, list) else []
    for index, leg in reversed(list(enumerate(legs))):
        if not isinstance(leg, dict) or "weights" not in leg:
            continue
        weights, size = leg["weights"], leg.get("size", {})
        if not isinstance(weights, dict) or not weights or not isinstance(size, dict):
            raise PlanError(f'leg {index + 1}, weights: expected a table, for instance "BTC-USDT-SWAP" = "4%"')
        if "instrument" in leg or "value" in size or size.setdefault("rule", "target_equity") != "target_equity":
            text = 'take the place of instrument and value; the rule is "target_equity"'
            raise PlanError(f"leg {index + 1}, weights: {text}")
        common = {key: value for key, value in leg.items() if key != "weights"}
        legs[index : index + 1] = [
            {"cash": value} if name == "cash" else common | {"instrument": name, "size": size | {"value": value}}
            for name, value in sorted(weights.items(), key=lambda one: one[0] == "cash")
        ]


def _take_cash(table: dict[str, Any]) -> None:
    """Make a key of the plan of ``cash``, which is written as a leg of its own."""
    found = table.get("legs")
    legs: list[Any] = found if isinstance(found, list) else []
    for index, leg in enumerate(legs):
        if isinstance(leg, dict) and "cash" in leg:
            if len(leg) > 1 or index + 1 < len(legs) or "cash" in table:
                raise PlanError(f"leg {index + 1}, cash: belongs to a leg without other keys, which is the last one")
            table["cash"] = legs.pop()["cash"]


def _assign(table: dict[str, Any], assignment: str) -> None:
    path, equals, text = assignment.partition("=")
    *parents, last = path.strip().split(".")
    if not equals or not last or not all(parents):
        raise PlanError(f'--set "{one_line(assignment)}": expected KEY=VALUE, for instance size.value=3%')
    try:
        value = tomllib.loads(f"value = {text.strip()}")["value"]
    except (ValueError, RecursionError):
        value = text.strip()
    if isinstance(value, float):  # as it was typed: exact
        value = text.strip()
    top: list[Any] = [table]
    if (parents or [last])[0] in (*LegTable.__struct_fields__, "weights") and isinstance(
        legs := table.get("legs"), list
    ):
        top = legs
    for one in top:
        for parent in parents:
            one = one.setdefault(parent, {}) if isinstance(one, dict) else None
        if not isinstance(one, dict):
            raise PlanError(f'--set "{one_line(assignment)}": no table for this key')
        one[last] = value


def place_of(keys: Keys) -> str:
    """Return where a mistake is: ``leg 1, size value: ``, ``[limits] max_order_usd: ``, ``title: ``, or nothing."""
    match keys:
        case ():
            return ""
        case ("legs", int(index), *rest):
            return f"leg {index + 1}{', ' if rest else ''}{' '.join(map(str, rest))}: "
        case (str(key),):
            return f"{key}: " if key in ("title", "legs", "valid_for", "dead_man", "rounds", "cash") else f"[{key}]: "
        case (key, *rest):
            return f"[{key}] {' '.join(str(one) for one in rest if isinstance(one, str))}: "
    raise AssertionError(keys)
