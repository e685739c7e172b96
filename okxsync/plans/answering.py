"""Answers the requests of clients: previews, approvals, cancellations, halt and resume."""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

import msgspec
import trio

from okxsync.messages import Halted, PlanProgress, Resumed
from okxsync.plans.approval import find_refused
from okxsync.plans.cancel_requests import CANCELED, CancelRequests
from okxsync.plans.current_facts import CurrentFacts
from okxsync.plans.desk import Desk, moment
from okxsync.plans.follow_up import find_sibling
from okxsync.plans.lifecycle import Lifecycle
from okxsync.plans.previewer import Previewer
from okxsync.plans.requests import Answered, Request, answer
from okxsync.plans.running import Running
from okxsync.plans.stored import read_plan
from okxsync.runtime import clock


class Answering:
    """Answers them.

    Args:
        running: The plans that are being executed, by id.
        nursery: In which the work of a request goes on that takes longer.
    """

    def __init__(
        self,
        desk: Desk,
        facts: CurrentFacts,
        previewer: Previewer,
        lifecycle: Lifecycle,
        running: Mapping[str, Running],
        nursery: trio.Nursery,
    ) -> None:
        self._desk = desk
        self._facts = facts
        self._previewer = previewer
        self._lifecycle = lifecycle
        self._running = running
        self._nursery = nursery
        self._cancels = CancelRequests(desk, desk.reader, nursery)
        self._discarded: set[str] = set()  # whose new state may not be stored yet

    async def handle(self, request: Request) -> Answered | None:
        """Answer a request; None: its answer follows when its work is done."""
        try:
            body = msgspec.json.decode(request.body, type=dict[str, Any])
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return Answered("bad-request", "body: not a JSON object")
        match request.kind:
            case "preview" | "retry" | "undo":
                self._answer_later(request, partial(self._previewer.answer, request, body))
                return None
            case "execute":
                return await self._execute(request, body)
            case "cancel":
                return await self._cancel(request, protection=body.get("protection") is True)
            case "halt":
                return await self._halt(request, body)
            case "resume":
                return await self._resume(request)
        return Answered("bad-request", f"kind: {request.kind} is not known")

    def _answer_later(self, request: Request, work: Callable[[], Awaitable[Answered]]) -> None:
        self._nursery.start_soon(answer, self._desk.outbox, request.id, work)

    async def _execute(self, request: Request, body: dict[str, Any]) -> Answered:
        plan_id = request.plan_id or ""
        if (row := self._row(plan_id)) is None:
            return Answered("no-plan", f"there is no plan {plan_id}")
        if row["state"] != "previewed" or plan_id in self._running or plan_id in self._discarded:
            return Answered("not-previewed", f"its state is {row['state']}; a plan is executed at most once")
        plan, children = await self._facts.reads.in_thread(read_plan, row)
        system = await self._facts.of_system_and_day(plan, [])
        refused = find_refused(
            str(body.get("preview_hash", "")),
            str(body.get("confirm", "")),
            row["doc"],
            row["preview_hash"],
            children,
            self._facts.trading,
            system,
            preview_ms=row["preview_at"],
            valid_for=plan.valid_for,
        )
        if refused:
            return Answered(refused.outcome, refused.detail)
        if system.file_mode:
            return Answered("file-mode", system.file_mode)
        if sibling := find_sibling(self._desk.reader, row, self._running):
            return Answered("stale-preview", f"plan {sibling} does the same, and was approved since: make a new one")
        # In an older copy of the database a plan that was executed looks like a preview.
        resumed = plan_id not in self._previewer.made
        now_ms = moment().now_ms
        valid_until_ms = now_ms + plan.valid_for * 1000
        approved: dict[str, str | int | None] = {
            "state": "executing", "approved_at": now_ms, "approved_by": request.by, "valid_until": valid_until_ms,
            "started_at": now_ms,
        }  # fmt: skip
        running = Running(plan, children, valid_until_ms, system.day_usd_of, resumed=resumed)
        await self._lifecycle.prepare(plan_id, running, on_restart="resume")
        # The writer stores messages in their order: no intent of the plan is stored before its approval.
        await self._desk.outbox.send(PlanProgress(plan_id, [], [], [], plan=approved))
        self._lifecycle.start(plan_id, running)
        return Answered("executing", f"valid for {plan.valid_for} s")

    async def _cancel(self, request: Request, *, protection: bool) -> Answered | None:
        plan_id = request.plan_id or ""
        if (row := self._row(plan_id)) is None:
            return Answered("no-plan", f"there is no plan {plan_id}")
        if running := self._running.get(plan_id):
            assert running.runner
            running.runner.execution.cancel()
        elif row["state"] in ("previewed", "discarded"):
            self._discarded.add(plan_id)
            await self._desk.outbox.send(PlanProgress(plan_id, [], [], [], plan={"state": "discarded"}))
            return Answered(CANCELED, "the preview is discarded; nothing was sent")
        if protection:
            self._cancels.cancel_protection(plan_id)
        self._answer_later(request, partial(self._cancels.result, [plan_id]))
        return None

    async def _halt(self, request: Request, body: dict[str, Any]) -> Answered | None:
        await trio.to_thread.run_sync(self._desk.halt.make)
        await self._desk.outbox.send(Halted(clock.now_us(), request.by, str(body.get("reason", ""))))
        cancel_orders = body.get("cancel_orders") is True
        for one in self._running.values():
            if one.runner:
                one.runner.execution.halt(cancel_orders=cancel_orders)
        if not cancel_orders:
            return Answered("halted", "nothing is sent until `okxsync resume`")
        self._answer_later(request, partial(self._cancels.result, list(self._running)))
        return None

    async def _resume(self, request: Request) -> Answered:
        await trio.to_thread.run_sync(self._desk.halt.remove)
        await self._desk.outbox.send(Resumed(clock.now_us(), request.by))
        return Answered("resumed", "orders that were withheld are not sent; preview a new plan")

    def _row(self, plan_id: str) -> dict[str, Any] | None:
        return next(iter(self._desk.reader.query("SELECT * FROM plans WHERE plan_id = ?", [plan_id])), None)
