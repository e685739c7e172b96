"""The orders at the exchange against the rows of plans."""

import time
from collections import defaultdict
from functools import partial

import pytest
from msgspec.structs import replace

from okxsync.messages import PlanChildState, PlanPreviewed, PlanProgress
from okxsync.mirror.ledger import Difference
from okxsync.plans.children import OwnId, make_cl_ord_id, to_columns
from okxsync.plans.preview import to_plan_columns
from okxsync.plans.verify import PlanRow, compare, verify_account, verify_plans
from okxsync.reconcile.verify import KEPT_MS
from tests.plans.cases import NOW, PLAN_ID, account, plan, preview
from tests.support.desk import Desk
from tests.support.scripted_rest import Exchange

OTHER = make_cl_ord_id(OwnId("ZZZZZZZZZZZ", 1))
ROW = PlanRow(PLAN_ID, 1, "BTC-USDT-SWAP", "P1", "filled", "7", "1", NOW, NOW - 1_000)


def differing(row: PlanRow, *ids: str, now_ms: int = NOW) -> list[tuple[str, str | None, str | None]]:
    found = compare("alpha", [row], {"P1": set(ids)}, NOW - 60_000, now_ms)
    return [(one.column, one.ours, one.theirs) for one in found]


@pytest.mark.parametrize(
    ("state", "none", "one", "two"),
    [
        ("filled", "one (filled)", "", "one (filled)"),
        ("accepted", "one (accepted)", "", "one (accepted)"),
        ("canceled", "one (canceled)", "", "one (canceled)"),
        ("withheld", "", "none (withheld)", "none (withheld)"),
        ("refused", "", "none (refused)", "none (refused)"),
        ("absent", "", "none (absent)", "none (absent)"),
        ("skipped", "", "none (skipped)", "none (skipped)"),
        ("ready", "", "none (ready)", "none (ready)"),
        ("unknown", "not known (unknown)", "not known (unknown)", "not known (unknown)"),
        ("sent", "not known (sent)", "not known (sent)", "not known (sent)"),
    ],
)
def test_there_is_one_order_for_each_row_that_was_placed_and_none_for_the_others(
    state: str, none: str, one: str, two: str
) -> None:
    row = replace(ROW, state=state)
    expected = {(): (none, "none"), ("7",): (one, "one (7)"), ("7", "8"): (two, "2 (7, 8)")}
    for ids, (ours, theirs) in expected.items():
        assert differing(row, *ids) == ([("orders", ours, theirs)] if ours else [])


def test_another_order_than_the_one_that_was_acknowledged_is_reported() -> None:
    assert differing(ROW, "8") == [("ord_id", "7", "8")]
    assert differing(replace(ROW, ord_id=None), "8") == []


def test_an_order_that_the_exchange_has_forgotten_is_not_missed() -> None:
    canceled = replace(ROW, state="canceled", acc_fill_sz="0")
    assert differing(canceled, now_ms=NOW + KEPT_MS) == [("orders", "one (canceled)", "none")]
    assert differing(canceled, now_ms=NOW + KEPT_MS + 1) == []
    filled_in_part = replace(canceled, acc_fill_sz="0.5")
    assert differing(filled_in_part, now_ms=NOW + KEPT_MS + 1) == [("orders", "one (canceled)", "none")]
    older = replace(ROW, since_ms=NOW - 60_001)
    assert differing(older) == [], "its list was not read"


def test_an_order_with_an_id_of_a_plan_and_without_a_row_is_reported() -> None:
    found = compare("alpha", [ROW], {"P1": {"7"}, OTHER: {"9"}, "P2": set()}, NOW, NOW)
    assert found == [Difference("alpha", "plan_orders", OTHER, "", None, "present")]


def store(desk: Desk, *states: str) -> list[str]:
    """Store an executed plan of accounts named ``alpha``, and return the ids of its orders."""
    found = preview(plan(), *(account(f"a{number}") for number in range(len(states))))
    children = [to_columns(PLAN_ID, child) | {"account": "alpha"} for child in found.children]
    desk.apply(PlanPreviewed(to_plan_columns(found), children))
    now_ms = time.time_ns() // 1_000_000
    ended = [
        PlanChildState(child.number, state, None, None, 1, str(child.number), 0, "1", None, None, now_ms)
        for child, state in zip(found.children, states, strict=True)
    ]
    desk.apply(PlanProgress(PLAN_ID, ended, [], [], plan={"approved_at": now_ms}))
    return [child.cl_ord_id for child in found.children]


def swaps(rows: list[dict[str, str]], params: dict[str, str]) -> list[dict[str, str]]:
    """Return the one page of a list of swaps."""
    return rows if params.get("instType", "SWAP") == "SWAP" and "after" not in params else []


async def test_lists_are_read_and_what_they_lack_is_looked_up(desk: Desk) -> None:
    ids = store(desk, "filled", "filled", "accepted", "filled")
    now = str(time.time_ns() // 1_000_000)
    at_exchange = {
        "trade/orders-pending": [{"ordId": "3", "clOrdId": ids[2], "cTime": now}],
        "trade/orders-history": [
            {"ordId": "1", "clOrdId": ids[0], "cTime": now},
            {"ordId": "5", "clOrdId": OTHER, "cTime": now},
            {"ordId": "6", "clOrdId": "of somebody else", "cTime": now},
            {"ordId": "11", "clOrdId": ids[0], "cTime": now},
        ],
    }
    exchange = Exchange()
    for path, rows in at_exchange.items():
        exchange.replies[path] = partial(swaps, rows)
    exchange.replies["trade/order"] = lambda params: (
        [{"ordId": "2", "clOrdId": ids[1]}] if params["clOrdId"] == ids[1] else "51603"
    )
    found, notes = await verify_account(desk.path, exchange.client, int(now) - 60_000, 0.0)
    assert notes == []
    assert [(one.key, one.column, one.ours, one.theirs) for one in found] == [
        (f"{PLAN_ID}/1", "orders", "one (filled)", "2 (1, 11)"),
        (f"{PLAN_ID}/4", "orders", "one (filled)", "none"),
        (OTHER, "", None, "present"),
    ]
    rounds: dict[str, int] = defaultdict(int)
    for path in exchange.paths():
        rounds[path] += 1
    assert rounds["trade/orders-pending"] >= 3, "a difference counts only if it stays"


async def test_a_row_that_changes_meanwhile_is_no_difference(desk: Desk) -> None:
    (cl_ord_id,) = store(desk, "sent")
    now_ms = time.time_ns() // 1_000_000

    def accept(params: dict[str, str]) -> list[dict[str, str]]:
        desk.database.execute("UPDATE plan_orders SET state = 'accepted'")
        return [{"ordId": "1", "clOrdId": cl_ord_id, "cTime": str(now_ms)}] if "after" not in params else []

    exchange = Exchange({"trade/orders-pending": accept})
    assert await verify_account(desk.path, exchange.client, now_ms - 60_000, 0.0) == ([], [])


async def test_an_account_that_is_not_configured_any_more_is_named(desk: Desk) -> None:
    store(desk, "filled")
    since_ms = time.time_ns() // 1_000_000 - 60_000
    assert await verify_plans(desk.path, [], since_ms) == ([], {"alpha": "not configured, or not enabled"})
    assert await verify_plans(desk.path, [], since_ms, are_all=False) == ([], {})
    assert await verify_plans(desk.path, [], since_ms + 120_000) == ([], {})
