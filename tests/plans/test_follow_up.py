"""What retry and undo are made of: rows of an earlier plan, and what the mirror has of its orders."""

from collections.abc import Sequence
from typing import Any

import pytest

from okxsync.messages import PlanChildState, PlanPreviewed, PlanProgress
from okxsync.plans.children import Child, to_columns
from okxsync.plans.document import Plan
from okxsync.plans.facts import AccountFacts
from okxsync.plans.follow_up import Planned, find_sibling, plan_to_follow
from okxsync.plans.preview import make_preview, to_plan_columns
from okxsync.plans.requests import Answered
from okxsync.store.engines import Reader
from tests.plans.cases import BTC, NOW, PLAN_ID, SPOT, D, account, plan, position, preview, system, trading
from tests.support.desk import Desk, order

ALL = tuple(map(account, ("alpha", "beta")))
UNDO_ID = "ZZZZZZZZZZZ"


def store(
    desk: Desk, of: Plan, accounts: Sequence[AccountFacts], *states: str, state: str = "done", **columns: Any
) -> list[Child]:
    """Store a plan whose orders ended in these states; refused and withheld ones with a reason."""
    found = preview(of, *accounts)
    _store(desk, PLAN_ID, to_plan_columns(found), found.children, states, {"state": state, "approved_at": NOW})
    return list(found.children)


def _store(
    desk: Desk,
    plan_id: str,
    row: dict[str, str | int | None],
    children: Sequence[Child],
    states: Sequence[str],
    columns: dict[str, str | int | None],
) -> None:
    desk.apply(PlanPreviewed(row, [to_columns(plan_id, child) for child in children]))
    reasons = {"refused": "refused", "withheld": "stale"}
    ended = [
        PlanChildState(child.number, state, reasons.get(state), None, 1, None, 0, None, None, None, NOW)
        for child, state in zip(children, states, strict=True)
    ]
    desk.apply(PlanProgress(plan_id, ended, [], [], plan=columns))


def traded(desk: Desk, child: Child, *fills: str, acc: str, number: int = 1, **fields: str) -> None:
    """The mirror receives the child's order, with fills."""
    row = order(number, instId=child.inst_id, clOrdId=child.cl_ord_id, side=child.side, sz=str(child.sz), **fields)
    desk.begin("orders")
    for trade, size in enumerate(fills or ("0",), 1):
        fill = {"fillSz": size, "fillPx": "67000", "tradeId": str(trade) if fills else "", "fillTime": str(NOW)}
        desk.push("orders", row | fill | {"accFillSz": acc, "uTime": str(NOW + trade)})


def follow(reader: Reader, kind: str) -> Planned:
    found = plan_to_follow(reader, kind, PLAN_ID)
    assert isinstance(found, Planned), found
    assert (found.kind, found.parent_id) == (kind, PLAN_ID)
    return found


def sizes(found: Planned) -> dict[str, str]:
    return {name: str(size) for leg in found.plan.legs for name, size in leg.size.sizes.items()}


def test_a_retry_is_about_what_was_refused_or_withheld_and_about_rests(desk: Desk, reader: Reader) -> None:
    first, *_ = store(desk, plan(), (*ALL, account("gamma")), "canceled", "refused", "filled")
    traded(desk, first, "0.25", "0.15", acc="0.40", state="canceled")
    found = follow(reader, "retry")
    assert found.plan.title == "Retry: t"
    assert found.plan.accounts.include == ("beta", "alpha")
    assert sizes(found) == {"alpha": "0.60"}


def test_orders_of_unknown_outcome_are_left_out_of_a_retry_and_named(desk: Desk, reader: Reader) -> None:
    store(desk, plan(), ALL, "unknown", "withheld")
    found = follow(reader, "retry")
    assert found.plan.accounts.include == ("beta",)
    assert found.notes == ("orders of unknown outcome are left out: alpha",)


@pytest.mark.parametrize(("fills", "acc"), [((), "0.7"), (("0.3", "0.4"), "0.3"), (("0.3",), "0.7")])
def test_an_undo_reverses_what_was_filled_although_order_or_fills_are_behind(
    desk: Desk, reader: Reader, fills: tuple[str, ...], acc: str
) -> None:
    (child,) = store(desk, plan(), ALL[:1], "filled")
    traded(desk, child, *fills, acc=acc, state="filled")
    found = follow(reader, "undo")
    assert sizes(found) == {"alpha": "0.7"}
    assert found.plan.legs[0].side == "sell"
    assert found.cancels == ()


def test_what_an_earlier_undo_filled_is_not_reversed_again(desk: Desk, reader: Reader) -> None:
    (child,) = store(desk, plan(), ALL[:1], "filled")
    traded(desk, child, "1", acc="1", state="filled")
    undo = follow(reader, "undo").plan
    held = account(positions=(position("1"),))
    of_undo = make_preview(undo, UNDO_ID, {"alpha": held}, trading("alpha"), system())
    columns: dict[str, str | int | None] = {"state": "executing", "approved_at": NOW + 1}
    _store(desk, UNDO_ID, to_plan_columns(of_undo, "undo", PLAN_ID), of_undo.children, ["canceled"], columns)
    assert plan_to_follow(reader, "undo", PLAN_ID) == Answered("not-ended", f"it is being undone by {UNDO_ID}")
    desk.apply(PlanProgress(UNDO_ID, [], [], [], plan={"state": "done"}))
    traded(desk, of_undo.children[0], "0.4", acc="0.4", number=2, state="canceled")
    assert sizes(follow(reader, "undo")) == {"alpha": "0.6"}


def test_coins_that_were_paid_as_a_fee_are_not_sold(desk: Desk, reader: Reader) -> None:
    (child,) = store(desk, plan('rule = "coins"\nvalue = "0.01"', inst=SPOT), ALL[:1], "filled")
    fee = {"fillFee": "-0.00001", "fillFeeCcy": "BTC", "fee": "-0.00001", "feeCcy": "BTC"}
    traded(desk, child, "0.01", acc="0.01", number=1, state="filled", instType="SPOT", **fee)
    assert sizes(follow(reader, "undo")) == {"alpha": "0.00999"}


def test_an_undo_cancels_what_rests_and_the_protection_of_what_was_filled(desk: Desk, reader: Reader) -> None:
    of = plan(leg='side = "buy"\nprotect = { stop_loss = "-2%" }')
    resting, filled, ended = store(desk, of, (*ALL, account("gamma")), "working", "filled", "filled")
    traded(desk, filled, "1", acc="1", number=2, state="filled")
    traded(desk, ended, "1", acc="1", number=3, state="filled")
    algo = {"algoId": "9", "algoClOrdId": ended.algo_cl_ord_id, "instId": BTC, "instType": "SWAP", "state": "effective"}
    desk.push("orders-algo", algo | {"ordType": "conditional", "cTime": str(NOW), "uTime": str(NOW)})
    # Both were received on the connection of the account "alpha".
    desk.database.execute("UPDATE plan_orders SET account = 'alpha'")
    found = follow(reader, "undo")
    assert [(one.cl_ord_id, one.algo) for one in found.cancels] == [
        (resting.cl_ord_id, False),
        (filled.algo_cl_ord_id, True),
    ]


@pytest.mark.parametrize(
    ("state", "of_child", "approved", "outcome"),
    [
        ("previewed", "ready", None, "not-executed"),
        ("executing", "ready", NOW, "not-ended"),
        ("executing", "sent", NOW, "not-ended"),
        ("done", "filled", NOW, "nothing"),
    ],
)
def test_what_cannot_be_retried_or_undone(
    desk: Desk, reader: Reader, state: str, of_child: str, approved: int | None, outcome: str
) -> None:
    store(desk, plan(), ALL[:1], of_child, state=state)
    desk.apply(PlanProgress(PLAN_ID, [], [], [], plan={"approved_at": approved}))
    for kind in ("retry", "undo"):
        found = plan_to_follow(reader, kind, PLAN_ID)
        assert isinstance(found, Answered)
        assert found.outcome == outcome
    missing = plan_to_follow(reader, "undo", UNDO_ID)
    assert isinstance(missing, Answered)
    assert missing.outcome == "no-plan"


def test_a_plan_is_retried_once_and_then_its_retry(desk: Desk, reader: Reader) -> None:
    store(desk, plan(), ALL[:1], "refused")
    retry = preview(follow(reader, "retry").plan, account())
    for number in ("1", "2"):
        row = to_plan_columns(retry, "retry", PLAN_ID) | {"plan_id": number * 11}
        children = [to_columns(number * 11, child) | {"cl_ord_id": number} for child in retry.children]
        desk.apply(PlanPreviewed(row, children))
    (first, second) = reader.query("SELECT * FROM plans WHERE parent_id = ? ORDER BY plan_id", [PLAN_ID])
    assert find_sibling(reader, first, []) is None
    assert find_sibling(reader, second, ["1" * 11]) == "1" * 11, "its approval may not be stored yet"
    desk.apply(PlanProgress("1" * 11, [], [], [], plan={"approved_at": NOW + 5, "state": "executing"}))
    assert find_sibling(reader, second, []) == "1" * 11
    assert plan_to_follow(reader, "retry", PLAN_ID) == Answered(
        "retried", f"it was retried as {'1' * 11}; retry that plan"
    )


def test_a_plan_without_a_parent_has_no_sibling(desk: Desk, reader: Reader) -> None:
    store(desk, plan(), ALL[:1], "filled")
    (row,) = reader.query("SELECT * FROM plans")
    assert find_sibling(reader, row, [PLAN_ID]) is None
    assert D(row["planned_usd"]) > 0
