"""Rows that no code foresees, and internal errors: the other plans and requests go on, and trading never ends."""

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from okxsync.config.settings import load
from okxsync.messages import PlanChildState, PlanPreviewed, PlanProgress
from okxsync.plans.children import OwnId, make_cl_ord_id, to_columns
from okxsync.plans.desk import Receipts
from okxsync.plans.preview import make_preview, to_plan_columns
from okxsync.plans.service import PlanService
from okxsync.rest.clients import Clients
from okxsync.rest.http import open_http
from okxsync.runtime.outbox import Inbox
from okxsync.runtime.supervise import PAUSE_S
from tests.plans.cases import account, plan, system, trading
from tests.support.desk import Desk
from tests.support.outbox import queue
from tests.support.replay import Replay, until, write_config

BAD, GOOD, OLD = "BBBBBBBBBBB", "GGGGGGGGGGG", "99999999999"


@asynccontextmanager
async def serving(desk: Desk) -> AsyncIterator[None]:
    """Run the plan service of a daemon with the real writer; there is no exchange."""
    folder = desk.path.parent
    settings = load(write_config(folder, "[trading]\nenabled = true\n\n" + Replay(1, {}).accounts_toml()))
    send, receive = queue()
    async with open_http() as http, trio.open_nursery() as nursery:
        receipts = Receipts()
        clients = Clients(http, settings.accounts)
        plans = PlanService(settings, desk.path, clients, http, lambda _: None, send, receipts, threads=False)
        nursery.start_soon(write, receive, desk, receipts)
        nursery.start_soon(plans.run)
        yield
        nursery.cancel_scope.cancel(reason="the test is over")


async def write(inbox: Inbox, desk: Desk, receipts: Receipts) -> None:
    while True:
        await inbox.wait()
        receipts.written(desk.writer.apply(inbox.receive_batch_nowait(500, 10**7)))
        desk.writer.flush()


def preview(desk: Desk, plan_id: str) -> None:
    found = make_preview(plan(), plan_id, {"alpha": account()}, trading("alpha"), system())
    desk.apply(PlanPreviewed(to_plan_columns(found), [to_columns(plan_id, one) for one in found.children]))


def store(desk: Desk, plan_id: str) -> None:
    """Store a plan that an earlier process has begun; its one order was accepted."""
    preview(desk, plan_id)
    accepted = PlanChildState(1, "accepted", None, None, 1, f"of {plan_id}", 0, None, None, None, None)
    now_ms = time.time_ns() // 1_000_000
    approved: dict[str, str | int | None] = {"state": "executing", "approved_at": now_ms, "valid_until": now_ms + 1000}
    desk.apply(PlanProgress(plan_id, [accepted], [], [], plan=approved))


def fill(desk: Desk, plan_id: str, size: str = "1") -> None:
    """Store that the order of a plan was filled."""
    desk.db.execute(
        "INSERT INTO orders (account, inst_id, ord_id, cl_ord_id, state, acc_fill_sz, source, received_at)"
        " VALUES ('alpha', 'BTC-USDT-SWAP', ?, ?, 'filled', ?, 'ws', 1)",
        [f"of {plan_id}", make_cl_ord_id(OwnId(plan_id, 1)), size],
    )


def has_ended(desk: Desk, plan_id: str) -> bool:
    return desk.rows("SELECT state FROM plans WHERE plan_id = ? AND ended_at IS NOT NULL", plan_id) == [("done",)]


def journal(desk: Desk) -> list[str]:
    return [event for (event,) in desk.rows("SELECT event FROM journal WHERE level = 'error' ORDER BY id")]


def request(desk: Desk, kind: str, body: str, plan_id: str | None = GOOD) -> int:
    now_us = time.time_ns() // 1000
    ((number,),) = desk.db.execute(
        "INSERT INTO requests (at, kind, plan_id, body, by, expires_at) VALUES (?, ?, ?, ?, 'me', ?) RETURNING id",
        [now_us, kind, plan_id, body, now_us + 10**9],
    ).fetchall()
    return int(number)


async def outcome(desk: Desk, number: int) -> str:
    """Wait for the answer to a request."""
    found: list[tuple[str]] = []

    def is_answered() -> bool:
        found[:] = desk.rows("SELECT outcome FROM answers WHERE request_id = ?", number)
        return bool(found)

    await until(is_answered)
    return found[0][0]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE plan_orders SET state = 'frozen' WHERE plan_id = ?",
        "UPDATE plan_orders SET facts = 'none' WHERE plan_id = ?",
        "UPDATE plan_orders SET planned_usd = 'much' WHERE plan_id = ?",
        "UPDATE plan_orders SET body = CAST(x'ff' AS TEXT) WHERE plan_id = ?",
        "UPDATE plans SET doc = 'title = 3' WHERE plan_id = ?",
        "UPDATE plans SET doc = replace(doc, 'canary = 1', 'canary = 0') WHERE plan_id = ?",
        """UPDATE plan_orders SET body = replace(body, '"sz":"1"', '"sz":"9"') WHERE plan_id = ?""",
        "UPDATE plans SET title = CAST(x'ff' AS TEXT) WHERE plan_id = ?",
        "UPDATE plans SET valid_until = NULL WHERE plan_id = ?",
    ],
)
async def test_a_plan_that_cannot_be_read_is_reported_once_and_the_others_are_continued(
    desk: Desk, change: str, autojump_clock: MockClock
) -> None:
    for plan_id in (BAD, GOOD):
        store(desk, plan_id)
    desk.db.execute(change, [BAD])
    async with serving(desk):
        fill(desk, GOOD)
        await until(lambda: has_ended(desk, GOOD))
        await trio.sleep(3 * PAUSE_S)
        assert await outcome(desk, request(desk, "cancel", "{}", "0" * 11)) == "no-plan"
    assert journal(desk) == ([] if "valid_until" in change else ["plan-unreadable"])


async def test_a_request_that_cannot_be_read_is_answered_as_failed_and_the_next_ones_are_handled(desk: Desk) -> None:
    store(desk, GOOD)
    deep = '{"a":' * 100_000
    undecodable = "CAST(x'7bff7d' AS TEXT)"
    async with serving(desk):
        for kind in ("preview", "execute", "cancel", "halt"):
            number = request(desk, kind, "{}")
            desk.db.execute(f"UPDATE requests SET id = id + 100, body = {undecodable} WHERE id = ?", [number])
            assert await outcome(desk, number + 100) == "store-error"
            assert await outcome(desk, request(desk, kind, deep)) == "bad-request"
        fill(desk, GOOD)
        await until(lambda: has_ended(desk, GOOD))
    assert not (desk.path.parent / "okxsync.db.halt").exists()


async def test_a_request_that_has_an_internal_error_is_answered_once_and_the_next_ones_are_handled(desk: Desk) -> None:
    for plan_id in (BAD, OLD):
        preview(desk, plan_id)
    store(desk, GOOD)
    desk.db.execute("UPDATE plans SET preview_at = NULL WHERE plan_id = ?", [BAD])
    desk.db.execute("UPDATE plan_orders SET facts = 'none' WHERE plan_id = ?", [OLD])
    desk.db.execute("UPDATE plans SET state = 'done', approved_at = 1 WHERE plan_id = ?", [OLD])
    desk.db.execute("UPDATE plan_orders SET state = 'refused' WHERE plan_id = ?", [OLD])
    async with serving(desk):
        assert await outcome(desk, request(desk, "execute", "{}", BAD)) == "internal-error"
        assert await outcome(desk, request(desk, "retry", json.dumps({"parent_id": OLD}), "0" * 11)) == "internal-error"
        assert await outcome(desk, request(desk, "cancel", "{}", BAD)) == "canceled"
        fill(desk, GOOD)
        await until(lambda: has_ended(desk, GOOD))
    assert journal(desk) == ["internal-error", "internal-error"]


async def test_a_plan_that_has_an_internal_error_is_continued_a_minute_later_as_after_a_restart(
    desk: Desk, autojump_clock: MockClock
) -> None:
    for plan_id in (BAD, GOOD, OLD):
        store(desk, plan_id)
    async with serving(desk):
        fill(desk, OLD)
        await until(lambda: has_ended(desk, OLD))  # all of them run
        desk.db.execute("UPDATE plan_orders SET child = 2 WHERE plan_id = ?", [BAD])  # which the plan does not have
        fill(desk, BAD)
        await until(lambda: journal(desk) == ["internal-error"])
        fill(desk, GOOD)
        await until(lambda: has_ended(desk, GOOD))
        desk.db.execute("UPDATE plan_orders SET child = 1 WHERE plan_id = ?", [BAD])
        assert not has_ended(desk, BAD)
        began = trio.current_time()
        await until(lambda: has_ended(desk, BAD), 2 * PAUSE_S)
        assert trio.current_time() - began > PAUSE_S / 2
    assert journal(desk) == ["internal-error"]


@pytest.mark.parametrize("size", ["2" + "0" * 30, "1e999999", "much"])
async def test_a_filled_size_that_no_account_has_is_no_error(desk: Desk, size: str, autojump_clock: MockClock) -> None:
    store(desk, GOOD)
    async with serving(desk):
        fill(desk, GOOD, size)
        await until(lambda: has_ended(desk, GOOD))
    assert journal(desk) == []


async def test_an_internal_error_of_a_cancellation_is_that_of_its_order_alone(
    desk: Desk, autojump_clock: MockClock
) -> None:
    """The row of the order is deleted while its attached order is being canceled."""
    for plan_id in (BAD, GOOD):
        store(desk, plan_id)
    desk.db.execute("UPDATE plan_orders SET algo_cl_ord_id = 'T1' WHERE plan_id = ?", [BAD])
    async with serving(desk):
        number = request(desk, "cancel", '{"protection": true}', BAD)
        await trio.sleep(1)
        desk.db.execute("DELETE FROM plan_orders WHERE plan_id = ?", [BAD])
        await until(lambda: journal(desk) == ["internal-error"])
        assert await outcome(desk, number) == "canceling"
        fill(desk, GOOD)
        await until(lambda: has_ended(desk, GOOD))
