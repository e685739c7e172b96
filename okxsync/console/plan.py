"""Plans as tables, for a terminal or a pipe: a row per child order, totals, and what to type."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
from rich.console import Group, RenderableType
from rich.text import Text

from okxsync.console.fitted import FittedTable
from okxsync.console.format import UNKNOWN
from okxsync.plans.document import inst_type_of
from okxsync.plans.facts import decimal_of
from okxsync.plans.weights import Weight
from okxsync.runtime.text import CONTROL_ESCAPES

Row = Mapping[str, Any]
_NUMBERS = frozenset(
    ["to plan", *"equity position after size price USD margin remainder filled average fee before wanted".split()]
)
_FOLDED = frozenset({"order", "title", "reason", "detail", "verdict"})
_COLOUR = {
    "ready": "green", "filled": "green", "accepted": "green", "working": "green", "done": "green", "skipped": "yellow",
    "withheld": "yellow", "canceled": "yellow", "refused": "red", "unknown": "red", "absent": "red", "gone": "red",
}  # fmt: skip


def render_preview(plan: Row, orders: Sequence[Row], typed: str, weights: Sequence[Weight] = ()) -> RenderableType:
    """Return a preview.

    Args:
        plan: The row of ``plans``.
        orders: Those of ``plan_orders``.
        typed: What a person types to approve it; ``""``: it cannot be approved.
        weights: Of a plan that rebalances.
    """
    table = _table(
        ("account", "order", "equity", "position", "after", "size", "price", "USD", "margin", "remainder", "verdict"),
        moved=("equity", "remainder", "margin", "position", "price", "after"),
    )
    for one in orders:
        facts = msgspec.json.decode(one["facts"] or "{}")
        verdict = Text(_verdict(one), _COLOUR.get(one["state"], ""))
        for warning in facts.get("warnings", ()):
            verdict.append(f"; {_clean(warning)}", "yellow")
        order = " ".join(filter(None, [_step(one), one["side"], one["inst_id"], one["pos_side"], one["ord_type"]]))
        table.add_row(
            _clean(one["account"]),
            _clean(order),
            _number(facts.get("equity"), money=True),
            _number(facts.get("position")),
            _number(facts.get("position_after")),
            _number(one["sz"]),
            _number(one["px"]),
            _number(one["planned_usd"], money=True) if one["sz"] else UNKNOWN,
            _margin(one, facts),
            _number(one["remainder"], money=True) if one["sz"] else UNKNOWN,
            verdict,
        )
    lines = [_title(plan), f"{plan['accounts']} accounts, {plan['ready']} orders ready, {plan['skipped']} skipped"]
    if plan["note"]:
        lines.append(_clean(plan["note"]))
    parts: list[RenderableType] = [Text("\n".join(lines)), table]
    if weights:
        parts.append(render_weights(weights))
    if typed:
        parts.append(Text(f"okxsync plan execute {plan['plan_id']}   and type: {typed}"))
    return Group(*parts)


def render_progress(plan: Row, orders: Sequence[Row], weights: Sequence[Weight] = ()) -> RenderableType:
    """Return how far a plan is: a row per order."""
    table = _table(
        ("account", "order", "size", "price", "state", "filled", "average", "to plan", "fee", "attempts", "reason"),
        moved=("attempts", "fee", "price", "to plan", "average", "size", "filled"),
    )
    for one in orders:
        order = " ".join(filter(None, [_step(one), one["side"], one["inst_id"], one["pos_side"]]))
        why = ": ".join(filter(None, [one["reason"], one["detail"]]))
        table.add_row(
            _clean(one["account"]),
            _clean(order),
            _number(one["sz"]),
            _number(one["px"]),
            _state(one),
            _number(one["acc_fill_sz"]),
            _number(one["avg_px"]),
            _to_plan(one),
            _number(one["fee"]),
            str(one["attempts"] or ""),
            _clean(why),
        )
    states = Counter(one["state"] for one in orders)
    counted = ", ".join(f"{count} {state}" for state, count in states.most_common())
    outcome = f", {plan['outcome']}" if plan["outcome"] else ""
    if plan["pause_reason"]:
        outcome = f" ({_clean(plan['pause_reason'])})"
    shares = [render_weights(weights)] if weights else []
    return Group(Text(f"{_title(plan)}\n{plan['state']}{outcome}: {counted}"), table, *shares)


def render_list(plans: Sequence[Row]) -> RenderableType:
    table = _table(
        ("plan", "previewed", "state", "outcome", "accounts", "ready", "skipped", "USD", "title"),
        moved=("skipped", "ready", "previewed", "accounts"),
    )
    for one in plans:
        table.add_row(
            one["plan_id"],
            _time(one["preview_at"], 1000),
            one["state"],
            one["outcome"] or "",
            str(one["accounts"]),
            str(one["ready"]),
            str(one["skipped"]),
            _number(one["planned_usd"], money=True),
            _clean(one["title"]),
        )
    return table


def render_misfires(misfires: Sequence[Row]) -> RenderableType:
    table = _table(("time", "plan", "order", "account", "reason", "detail"), moved=("order", "time"))
    for one in misfires:
        table.add_row(
            _time(one["at"], 1_000_000),
            one["plan_id"],
            str(one["child"]),
            _clean(one["account"]),
            one["reason"],
            _clean(one["detail"]),
        )
    return table


def render_weights(weights: Sequence[Weight]) -> RenderableType:
    """Return the shares of equity of a plan that rebalances."""
    table = _table(("account", "instrument", "before", "wanted", "after"))
    for one in weights:
        shares = (f"{share * 100:+.2f}%" for share in (one.before, one.wanted, one.after))
        table.add_row(_clean(one.account), _clean(one.instrument), *shares)
    return Group(Text("Share of the equity"), table)


def _state(order: Row) -> Text:
    """Return the state of an order, with its alarms."""
    alarms = [name for name in ("doubled", "unprotected") if order[name]]
    return Text(", ".join([order["state"], *alarms]), "red" if alarms else _COLOUR.get(order["state"], ""))


def _step(order: Row) -> str:
    """Return what a child does that is no order: ``cancel`` or ``leverage``."""
    return "" if order["kind"] == "order" else str(order["kind"])


def _table(columns: Sequence[str], moved: Sequence[str] = ()) -> FittedTable:
    return FittedTable(columns, right=_NUMBERS, folded=_FOLDED, moved=moved)


def _title(plan: Row) -> str:
    return f"plan {plan['plan_id']}: {_clean(plan['title'])} ({_clean(plan['site_modes'])})"


def _margin(order: Row, facts: Row) -> str:
    """Return what a child needs, and the leverage of a contract."""
    margin = _number(facts.get("margin"), money=True)
    lever = facts.get("lever")
    return margin if lever is None or inst_type_of(order["inst_id"]) == "SPOT" else f"{margin} at {lever}x"


def _verdict(order: Row) -> str:
    if not order["reason"]:
        return str(order["state"])
    detail = f" ({_clean(order['detail'])})" if order["detail"] else ""
    return f"{order['state']}: {order['reason']}{detail}"


def _number(text: str | None, *, money: bool = False) -> str:
    """Return a number as it is, or rounded to cents; a dash if it is not known."""
    if text is None or text == "":
        return UNKNOWN
    return f"{Decimal(text):,.2f}" if money else str(text)


def _to_plan(order: Row) -> str:
    """Return by how much the average price is above the reference price of the plan, in percent."""
    reference = decimal_of(msgspec.json.decode(order["facts"] or "{}").get("reference"))
    average = decimal_of(order["avg_px"])
    return f"{(average / reference - 1) * 100:+.3f}%" if average and reference else UNKNOWN


def _time(at: int | None, per_second: int) -> str:
    return UNKNOWN if at is None else datetime.fromtimestamp(at / per_second, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _clean(text: str | None) -> str:
    """Return text of the exchange or of a plan file without control characters."""
    return (text or "").translate(CONTROL_ESCAPES)
