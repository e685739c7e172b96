"""Plans in the database: what is acknowledged is on disk, and writing it twice changes nothing."""

import pytest

from okxsync.messages import (
    Halted,
    Message,
    Note,
    PlanAnswer,
    PlanAttempt,
    PlanChildState,
    PlanMisfire,
    PlanPreviewed,
    PlanProgress,
    Resumed,
)
from okxsync.plans.children import Child, to_columns
from tests.support.desk import NOW, Desk, order

MS = NOW // 1000
PLAN_ID = "0123456789A"
CL_ORD_ID = f"P{PLAN_ID}0001"
CHILD = Child(number=1, account="alpha", leg=1, phase=1, inst_id="X", cl_ord_id=CL_ORD_ID, body="{}")
PREVIEWED = PlanPreviewed(
    {
        "plan_id": PLAN_ID, "title": "t", "kind": "trade", "doc": "{}", "doc_hash": "h", "site_modes": "sandbox demo",
        "state": "previewed", "accounts": 1, "ready": 1, "skipped": 0, "planned_usd": "100",
    },
    [to_columns(PLAN_ID, CHILD)],
)  # fmt: skip
ARMED = PlanProgress(
    PLAN_ID,
    [PlanChildState(1, "armed", None, None, 1, None, 0, None, None, None, None)],
    [PlanAttempt(1, 1, "rest", "{}", MS + 3000, MS)],
    [],
    receipt=7,
)


def test_an_intent_is_stored_and_acknowledged_by_its_number(desk: Desk) -> None:
    desk.apply(PREVIEWED)
    assert desk.writer.apply([ARMED]).receipts == [7]
    assert desk.rows("SELECT state, attempts FROM plan_orders") == [("armed", 1)]
    assert desk.rows("SELECT child, attempt, exp_time, verdict FROM plan_attempts") == [(1, 1, MS + 3000, None)]


@pytest.mark.sqlite
def test_only_a_transaction_with_an_intent_waits_for_the_disk(desk: Desk) -> None:
    """2 is FULL, 1 is NORMAL, with which a power cut undoes the last commits."""
    seen: list[str] = []
    desk.database.set_trace_callback(seen.append)  # type: ignore[attr-defined]
    desk.apply(PREVIEWED)
    assert not [one for one in seen if "synchronous" in one]
    desk.apply(ARMED)
    full, normal = seen.index("PRAGMA synchronous = FULL"), seen.index("PRAGMA synchronous = NORMAL")
    begin, commit = seen.index("BEGIN IMMEDIATE", full), seen.index("COMMIT", full)
    assert full < begin < commit < normal
    assert desk.rows("PRAGMA synchronous") == [(1,)]


@pytest.mark.sqlite
def test_a_transaction_that_fails_leaves_the_normal_mode_and_no_receipt(desk: Desk) -> None:
    desk.apply(PREVIEWED)
    wrong = PlanProgress(PLAN_ID, [], [], [], {"doc": "changed"}, receipt=8)
    assert desk.writer.apply([wrong, ARMED]).receipts == [7]
    assert desk.rows("PRAGMA synchronous") == [(1,)]
    assert desk.rows("SELECT doc FROM plans") == [("{}",)]
    assert desk.rows("SELECT event FROM journal") == [("invalid-message",)]


def test_writing_it_twice_changes_nothing(desk: Desk) -> None:
    misfire = PlanProgress(PLAN_ID, [], [], [PlanMisfire(NOW, 1, "alpha", "halted", "trading is halted")])
    messages: list[Message] = [PREVIEWED, ARMED, misfire, PlanAnswer(1, NOW, "done", ""), Halted(NOW, "me", "why")]
    for _ in range(2):
        desk.writer.apply(messages)
    for table in ("plans", "plan_orders", "plan_attempts", "misfires", "answers", "halts"):
        assert desk.rows(f"SELECT count(*) FROM {table}") == [(1,)], table
    assert desk.rows("SELECT state FROM plan_orders") == [("armed",)]


def test_a_halt_is_lifted_once(desk: Desk) -> None:
    desk.apply(Halted(NOW, "a", "x"), Resumed(NOW + 1, "b"), Resumed(NOW + 2, "c"))
    assert desk.rows("SELECT at, by, reason, lifted_at, lifted_by FROM halts") == [(NOW, "a", "x", NOW + 1, "b")]


def test_the_view_shows_the_present_state_of_the_order(desk: Desk) -> None:
    desk.apply(PREVIEWED)
    desk.begin("orders")
    desk.push("orders", order(5, clOrdId=CL_ORD_ID, state="filled", accFillSz="10"))
    assert desk.rows("SELECT state, order_state, order_acc_fill_sz FROM plan_orders_view") == [
        ("ready", "filled", "10")
    ]


def test_an_id_belongs_to_one_child(desk: Desk) -> None:
    desk.apply(PREVIEWED, Note(NOW, "info", None, "e", "d"))
    plan = PREVIEWED.plan | {"plan_id": "ZZZZZZZZZZZ"}
    desk.apply(PlanPreviewed(plan, [PREVIEWED.orders[0] | {"plan_id": "ZZZZZZZZZZZ"}]))
    assert desk.rows("SELECT plan_id FROM plans") == [(PLAN_ID,)]


@pytest.mark.parametrize("table", ["plans", "plan_orders"])
def test_every_column_of_a_preview_exists(desk: Desk, table: str) -> None:
    from okxsync.store.plans import _COLUMNS

    columns = {name for (name,) in desk.rows(f"SELECT name FROM pragma_table_info('{table}')")}
    assert columns >= _COLUMNS[table]
