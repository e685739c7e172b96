"""Rows of plans: nothing unknown looks like zero, and what cannot be read is not known."""

from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from okxsync.plans.canonical import canonical
from okxsync.plans.children import plain, to_columns
from okxsync.plans.preview import to_plan_columns
from okxsync.plans.weights import weights_of
from okxsync.terminal import topics
from okxsync.terminal.plan_rows import PlanRows, request
from tests.plans.cases import NOW, PLAN_ID, account, plan, preview

PREVIEW = preview(plan(), account("alpha"), account("beta", mode="1"))
ORDERS = [to_columns(PLAN_ID, one) for one in PREVIEW.children]
LATER = dict.fromkeys(
    "outcome approved_at approved_by valid_until started_at ended_at filled_usd pause_reason note".split()
)
COUNTS = {"accepted": 0, "rejected": 0, "unknown": 0}


def plan_record(**changes: Any) -> dict[str, Any]:
    return {**LATER, **COUNTS, **to_plan_columns(PREVIEW), **changes}


def order_record(number: int, **changes: Any) -> dict[str, Any]:
    more = dict.fromkeys("ord_id acc_fill_sz avg_px fee filled_usd ended_at".split())
    return {**more, **ORDERS[number], **changes}


def shown_plan(record: dict[str, Any], orders: list[dict[str, Any]] | None) -> dict[str, Any]:
    return topics.PLANS.record(PlanRows().plan(record, orders))


def shown_order(record: dict[str, Any]) -> dict[str, Any]:
    return topics.PLAN_ORDERS.record(PlanRows().order(record))


def test_a_preview_says_what_a_person_types_as_the_command_line_does() -> None:
    shown = shown_plan(plan_record(), [*ORDERS])
    assert shown["confirm"] == PREVIEW.confirmation
    assert shown["typed"].startswith("1 accounts ")
    assert shown["expires_at"] == (NOW + 60_000) * 1000
    assert shown_plan(plan_record(), None)["typed"] is None
    assert shown_plan(plan_record(), [])["typed"] is None


@pytest.mark.parametrize("state", ["discarded", "executing", "done"])
def test_only_a_preview_can_be_confirmed(state: str) -> None:
    shown = shown_plan(plan_record(state=state, doc=None), [*ORDERS])
    assert (shown["confirm"], shown["typed"], shown["expires_at"]) == (None, None, None)


def test_what_cannot_be_read_cannot_be_confirmed() -> None:
    assert shown_plan(plan_record(doc="later = 1"), [*ORDERS])["expires_at"] is None
    broken = [{**ORDERS[0], "facts": "{"}, ORDERS[1]]
    assert shown_plan(plan_record(), broken)["typed"] is None
    skipped = [one for one in ORDERS if one["state"] == "skipped"]
    assert shown_plan(plan_record(), skipped)["typed"] is None


def test_an_order_shows_what_it_was_computed_from() -> None:
    (child,) = [one for one in PREVIEW.children if not one.reason]
    shown = shown_order(order_record(PREVIEW.children.index(child)))
    assert (shown["equity"], shown["equity_at"]) == ("12345.67", NOW * 1000)
    assert (shown["position"], shown["position_after"], shown["sz"]) == ("0", "1", "1")
    assert shown["acc_fill_sz"] is None


def test_an_order_without_a_size_has_no_zero() -> None:
    (child,) = [one for one in PREVIEW.children if one.reason]
    shown = shown_order(order_record(PREVIEW.children.index(child), sz=None))
    assert (shown["planned_usd"], shown["remainder"]) == (None, None)
    unreadable = shown_order(order_record(0, facts="nonsense"))
    assert (unreadable["equity"], unreadable["position"], unreadable["warnings"]) == (None, None, None)


def test_warnings_are_one_text() -> None:
    warned = replace(PREVIEW.children[0], facts=replace(PREVIEW.children[0].facts, warnings=("one", "two")))
    shown = shown_order(order_record(0, **{"facts": to_columns(PLAN_ID, warned)["facts"]}))
    assert shown["warnings"] == "one; two"


def test_a_plan_that_rebalances_shows_shares_as_the_command_line_does() -> None:
    of = plan('rule = "target_equity"\nvalue = "50%"', "")
    children = preview(of, account("alpha", equity=Decimal(6701))).children
    orders = [{**order_record(0), **to_columns(PLAN_ID, one)} for one in children]
    rows = PlanRows()

    def shown(**changes: Any) -> list[tuple[str | None, ...]]:
        weights = rows.weights(plan_record(**changes), orders, lambda: canonical(of))
        found = [topics.PLAN_ORDERS.record(rows.order(one, weights)) for one in orders]
        return [(one["share"], one["share_wanted"], one["share_after"]) for one in found]

    (weight,) = weights_of(of, orders, executed=False)
    assert weight.after > 0
    assert shown(approved_at=None) == [("0", "0.5", plain(weight.after))]
    assert shown(approved_at=NOW) == [("0", "0.5", "0")]
    orders[0]["acc_fill_sz"] = orders[0]["sz"]
    assert shown(approved_at=NOW) == [("0", "0.5", plain(weight.after))]


def test_other_plans_and_unreadable_ones_have_no_shares() -> None:
    for document in (canonical(plan()), "later = 1", ""):
        assert not PlanRows().weights(plan_record(), ORDERS, lambda document=document: document)  # type: ignore[misc]
    of = plan('rule = "target_equity"\nvalue = "50%"', "")
    broken = [{**order_record(0), "facts": "{"}]
    assert not PlanRows().weights(plan_record(), broken, lambda: canonical(of))
    assert shown_order(order_record(0))["share"] is None


def test_times_of_requests_are_by_the_clock_of_the_database() -> None:
    record = {"id": 1, "at": 10, "kind": "halt", "plan_id": "", "by": "me", "expires_at": 40}
    record |= {"outcome": None, "detail": None, "answered_at": None}
    shown = topics.REQUESTS.record(request(record, 5))
    assert (shown["at"], shown["expires_at"], shown["outcome"]) == (15, 45, None)
