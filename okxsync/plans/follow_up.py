"""What a plan is made of that follows an earlier one: its kind, its text, and what became of the earlier orders.

How much an order has filled is in two places of the mirror, the order and its fills. Either may be behind, so the
larger amount counts. Of an undo, what earlier undos of the same plan have filled is left out.
"""

from collections import defaultdict
from collections.abc import Collection
from decimal import Decimal
from typing import Any, Final, Literal

import msgspec

from okxsync.plans.bodies import Cancel
from okxsync.plans.children import Child, from_columns
from okxsync.plans.document import Plan, inst_type_of
from okxsync.plans.facts import decimal_of
from okxsync.plans.plan_file import read
from okxsync.plans.requests import Answered
from okxsync.plans.retry import Ended, retry_of
from okxsync.plans.states import IN_FLIGHT, ChildState
from okxsync.plans.undo import Done, undo_of
from okxsync.store.engines import Reader
from okxsync.store.tables import ALGO_PENDING

_OF_PLAN: Final = (
    " FROM plan_orders AS o JOIN orders AS m ON m.account = o.account AND m.cl_ord_id = o.cl_ord_id"
    " {} WHERE o.plan_id = ? AND o.kind = 'order'"
)
_ORDERS: Final = "SELECT o.child, m.ord_id, m.acc_fill_sz, m.fee, m.fee_ccy" + _OF_PLAN.format("")
_FILLS: Final = "SELECT o.child, f.ord_id, f.fill_sz, f.fee, f.fee_ccy" + _OF_PLAN.format(
    "JOIN fills AS f ON f.account = m.account AND f.inst_id = m.inst_id AND f.ord_id = m.ord_id"
)
_ENDED_ALGOS: Final = (
    "SELECT o.child FROM plan_orders AS o"
    " JOIN algo_orders AS a ON a.account = o.account AND a.algo_cl_ord_id = o.algo_cl_ord_id"
    f" WHERE o.plan_id = ? AND a.state NOT IN ({ALGO_PENDING})"
)
_NOT_ENDED: Final = IN_FLIGHT | {ChildState.READY}
"""States of a child that the daemon may still send by itself."""


class Planned(msgspec.Struct, frozen=True):
    """What a preview is made of.

    Attributes:
        parent_id: The plan that it follows.
        cancels: What is canceled first.
        notes: For the whole preview.
    """

    plan: Plan
    kind: Literal["trade", "retry", "undo"] = "trade"
    parent_id: str | None = None
    cancels: tuple[Cancel, ...] = ()
    notes: tuple[str, ...] = ()


def plan_to_follow(reader: Reader, kind: str, parent_id: str) -> Planned | Answered:
    """Return the plan that retries or undoes another one, or why there is none. ``kind`` is ``retry`` or ``undo``.

    Raises:
        PlanError: the stored document is invalid.
        StoreError: the database cannot be read.
    """
    parent = next(iter(reader.query("SELECT * FROM plans WHERE plan_id = ?", [parent_id])), None)
    if parent is None:
        return Answered("no-plan", f"there is no plan {parent_id}")
    if parent["approved_at"] is None:
        return Answered("not-executed", f"its state is {parent['state']}: there is nothing to {kind}")
    rows = reader.query("SELECT * FROM plan_orders WHERE plan_id = ? ORDER BY child", [parent_id])
    if any(row["state"] in _NOT_ENDED for row in rows):
        return Answered("not-ended", "its orders are still being sent; wait, or use `okxsync plan cancel`")
    later = reader.query(
        "SELECT plan_id, state FROM plans WHERE parent_id = ? AND kind = ? AND approved_at IS NOT NULL"
        " ORDER BY approved_at DESC",
        [parent_id, kind],
    )
    if kind == "retry":
        return _retry(reader, parent, rows, later)
    return _undo(reader, parent, rows, later)


def find_sibling(reader: Reader, plan: dict[str, Any], running: Collection[str]) -> str | None:
    """Return a plan that follows the same one and was approved after this preview was made, which does not know of it.

    Args:
        plan: The row of ``plans`` that is to be approved.
        running: Plans that are executed now; their approval may not be stored yet.

    Raises:
        StoreError: the database cannot be read.
    """
    if plan["parent_id"] is None:
        return None
    siblings = reader.query(
        "SELECT plan_id, approved_at FROM plans WHERE parent_id = ? AND plan_id <> ?",
        [plan["parent_id"], plan["plan_id"]],
    )
    for row in siblings:
        if row["plan_id"] in running or (row["approved_at"] or 0) >= plan["preview_at"]:
            return str(row["plan_id"])
    return None


def _retry(
    reader: Reader, parent: dict[str, Any], rows: list[dict[str, Any]], later: list[dict[str, Any]]
) -> Planned | Answered:
    if later:
        return Answered("retried", f"it was retried as {later[0]['plan_id']}; retry that plan")
    filled = _Filled(reader, parent["plan_id"])
    ended = [Ended(from_columns(row), row["state"], filled.size(row)) for row in rows]
    found = retry_of(read(parent["doc"]), ended)
    left_out = [f"orders of unknown outcome are left out: {', '.join(found.unknown)}"] if found.unknown else []
    if found.plan is None:
        return Answered("nothing", "; ".join(["nothing remains to be done", *left_out]))
    return Planned(found.plan, "retry", parent["plan_id"], notes=tuple(left_out))


def _undo(
    reader: Reader, parent: dict[str, Any], rows: list[dict[str, Any]], later: list[dict[str, Any]]
) -> Planned | Answered:
    if unfinished := [one["plan_id"] for one in later if one["state"] in ("approved", "executing", "paused")]:
        return Answered("not-ended", f"it is being undone by {unfinished[0]}")
    filled = _Filled(reader, parent["plan_id"])
    undone = _undone(reader, [one["plan_id"] for one in later])
    ended_algos = {child for (child,) in reader.rows(_ENDED_ALGOS, [parent["plan_id"]])}
    done = []
    for row in rows:
        child, size = from_columns(row), filled.size(row)
        key = _position_of(child)
        reversed_ = min(undone[key, _other(child.side)], size)
        undone[key, _other(child.side)] -= reversed_
        protected = bool(child.algo_cl_ord_id) and size > 0 and child.number not in ended_algos
        fee = filled.fee(row) if size > reversed_ else Decimal(0)
        done.append(Done(child, row["state"], size - reversed_, fee, protected))
    found = undo_of(read(parent["doc"]), done)
    notes = [f"not opened again is what was closed: {', '.join(found.reduced)}"] if found.reduced else []
    if found.plan is None:
        return Answered("nothing", "; ".join(notes) or "nothing was filled, and nothing rests")
    unknown = sorted({row["account"] for row in rows if row["state"] == ChildState.UNKNOWN})
    if unknown:
        notes.append(f"orders of unknown outcome: {', '.join(unknown)}; undo again once they are known")
    return Planned(found.plan, "undo", parent["plan_id"], found.cancels, tuple(notes))


class _Filled:
    """What the orders of a plan have filled, in the unit of ``sz``, and their fees in the base currency."""

    def __init__(self, reader: Reader, plan_id: str) -> None:
        by_order = _sums(reader.rows(_ORDERS, [plan_id]))
        by_fills = _sums(reader.rows(_FILLS, [plan_id]))
        self._of: dict[int, dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
        for child, order in by_order.keys() | by_fills.keys():
            one, other = by_order[child, order], by_fills[child, order]
            for name in one.keys() | other.keys():
                self._of[child][name] += max(one[name], other[name], key=abs)

    def size(self, row: dict[str, Any]) -> Decimal:
        """Return the filled size of a child; what its own row has counts too: the mirror may have lost the order."""
        return max(self._of[row["child"]]["size"], decimal_of(row["acc_fill_sz"]) or Decimal(0))

    def fee(self, row: dict[str, Any]) -> Decimal:
        """Return the fee in the base currency of a spot order, below 0 if it was charged; else 0."""
        if inst_type_of(row["inst_id"]) != "SPOT":
            return Decimal(0)
        return self._of[row["child"]][row["inst_id"].split("-")[0]]


def _sums(rows: list[tuple[Any, ...]]) -> dict[tuple[int, str], dict[str, Decimal]]:
    """Return ``size``, and the fee by currency, of each order of each child."""
    found: dict[tuple[int, str], dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    for child, ord_id, size, fee, ccy in rows:
        sums = found[child, ord_id]
        sums["size"] += decimal_of(size) or Decimal(0)
        sums[ccy or ""] += decimal_of(fee) or Decimal(0)
    return found


_Position = tuple[str, str, str, str]
"""Account, instrument, margin mode and position side."""


def _undone(reader: Reader, undos: Collection[str]) -> dict[tuple[_Position, str], Decimal]:
    """Return what undos have filled, by position and side of their orders."""
    found: dict[tuple[_Position, str], Decimal] = defaultdict(Decimal)
    for plan_id in undos:
        filled = _Filled(reader, plan_id)
        for row in reader.query("SELECT * FROM plan_orders WHERE plan_id = ? AND kind = 'order'", [plan_id]):
            child = from_columns(row)
            found[_position_of(child), child.side] += filled.size(row)
    return found


def _position_of(child: Child) -> _Position:
    return child.account, child.inst_id, child.td_mode, child.pos_side


def _other(side: str) -> str:
    return "sell" if side == "buy" else "buy"
