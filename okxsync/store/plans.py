"""Write what happens to plans: each message names the state afterwards, so writing it twice changes nothing.

Misfires have no key of their own; one of the same child and time is the same one.
"""

from typing import Final

import msgspec

from okxsync.messages import (
    Halted,
    PlanAnswer,
    PlanAttempt,
    PlanCancel,
    PlanChildState,
    PlanMisfire,
    PlanPreviewed,
    PlanProgress,
    Resumed,
)
from okxsync.store.database import Connection
from okxsync.store.table import quoted

_CHANGES: Final = frozenset(
    """state outcome preview_at preview_hash approved_at approved_by valid_until started_at ended_at accepted rejected
    unknown filled_usd note pause_reason""".split()
)
"""The columns of ``plans`` that change after the preview."""
_COLUMNS: Final = {
    "plans": _CHANGES
    | frozenset("plan_id title kind parent_id doc doc_hash site_modes accounts ready skipped planned_usd".split()),
    "plan_orders": frozenset(
        """plan_id child account leg phase slice kind inst_id side pos_side td_mode ord_type px sz reduce_only cl_ord_id
        algo_cl_ord_id body planned_usd remainder facts state reason detail attempts ord_id doubled acc_fill_sz avg_px
        fee filled_usd ended_at unprotected""".split()
    ),
}
_STATE: Final = PlanChildState.__struct_fields__[1:]
_ATTEMPT: Final = PlanAttempt.__struct_fields__
_CANCEL: Final = PlanCancel.__struct_fields__
_MISFIRE: Final = PlanMisfire.__struct_fields__
_SET_STATE: Final = (
    f"UPDATE plan_orders SET {', '.join(f'{one} = ?' for one in _STATE)} WHERE child = ? AND plan_id = ?"
)
_PUT_ATTEMPT: Final = (
    f"INSERT INTO plan_attempts (plan_id, {', '.join(_ATTEMPT)}) VALUES ({', '.join('?' * (len(_ATTEMPT) + 1))})"
    " ON CONFLICT (plan_id, child, attempt) DO UPDATE SET "
    + ", ".join(f"{one} = excluded.{one}" for one in _ATTEMPT if one not in ("child", "attempt"))
)
_ADD_CANCEL: Final = (
    f"INSERT INTO plan_cancels (plan_id, {', '.join(_CANCEL)}) VALUES ({', '.join('?' * (len(_CANCEL) + 1))})"
    " ON CONFLICT (plan_id, child, action, attempt) DO NOTHING"
)
_ADD_MISFIRE: Final = (
    f"INSERT INTO misfires (plan_id, {', '.join(_MISFIRE)}) SELECT {', '.join(f'?{n + 1}' for n in range(10))}"
    " WHERE NOT EXISTS (SELECT 1 FROM misfires WHERE plan_id = ?1 AND at = ?2 AND child = ?3)"
)


def previewed(db: Connection, message: PlanPreviewed) -> None:
    """Store a new plan; one that is stored already does not change."""
    counters: dict[str, str | int | None] = {"accepted": 0, "rejected": 0, "unknown": 0}
    if db.execute("SELECT 1 FROM plans WHERE plan_id = ?", [message.plan["plan_id"]]).fetchone():
        return
    _insert(db, "plans", message.plan, counters)
    for order in message.orders:
        _insert(db, "plan_orders", order, {"attempts": 0, "doubled": 0, "unprotected": 0})


def progress(db: Connection, message: PlanProgress) -> None:
    plan_id, plan = message.plan_id, message.plan
    if unknown := plan.keys() - _CHANGES:
        raise ValueError(f"columns of a plan that do not change: {', '.join(sorted(unknown))}")
    if plan:
        columns = ", ".join(f"{name} = ?" for name in plan)
        db.execute(f"UPDATE plans SET {columns} WHERE plan_id = ?", [*plan.values(), plan_id])
    children = [msgspec.structs.astuple(one) for one in message.orders]
    db.executemany(_SET_STATE, [(*state, child, plan_id) for child, *state in children])
    db.executemany(_PUT_ATTEMPT, [(plan_id, *msgspec.structs.astuple(one)) for one in message.attempts])
    db.executemany(_ADD_CANCEL, [(plan_id, *msgspec.structs.astuple(one)) for one in message.cancels])
    db.executemany(_ADD_MISFIRE, [(plan_id, *msgspec.structs.astuple(one)) for one in message.misfires])


def answer(db: Connection, message: PlanAnswer) -> None:
    db.execute(
        "INSERT INTO answers (request_id, at, outcome, detail) VALUES (?, ?, ?, ?) ON CONFLICT (request_id) DO NOTHING",
        msgspec.structs.astuple(message),
    )


def halted(db: Connection, message: Halted) -> None:
    db.execute(
        "INSERT INTO halts (at, by, reason) SELECT ?, ?, ?"
        " WHERE NOT EXISTS (SELECT 1 FROM halts WHERE lifted_at IS NULL)",
        msgspec.structs.astuple(message),
    )


def resumed(db: Connection, message: Resumed) -> None:
    db.execute("UPDATE halts SET lifted_at = ?, lifted_by = ? WHERE lifted_at IS NULL", [message.at, message.by])


def _insert(db: Connection, table: str, row: dict[str, str | int | None], initial: dict[str, str | int | None]) -> None:
    if unknown := row.keys() - _COLUMNS[table]:
        raise ValueError(f"unknown columns of {table}: {', '.join(sorted(unknown))}")
    row = initial | row
    marks = ", ".join("?" * len(row))
    db.execute(f"INSERT INTO {table} ({', '.join(quoted(row))}) VALUES ({marks})", list(row.values()))
