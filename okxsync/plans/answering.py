"""Answers the requests of clients: previews, approvals, cancellations, halt and resume."""

import logging
from collections.abc import Mapping
from typing import Any

import msgspec
import trio

from okxsync.messages import Halted, PlanAnswer, PlanProgress, Resumed
from okxsync.plans.approval import find_refused
from okxsync.plans.cancel_requests import CANCELED, CancelRequests
from okxsync.plans.current_facts import CurrentFacts
from okxsync.plans.desk import Desk, moment
from okxsync.plans.document import PlanError
from okxsync.plans.follow_up import find_sibling
from okxsync.plans.lifecycle import Lifecycle
from okxsync.plans.plan_file import read
from okxsync.plans.previewer import Previewer
from okxsync.plans.requests import Answered, Request
from okxsync.plans.running import Running
from okxsync.plans.stored import read_approved
from okxsync.runtime import clock
from okxsync.runtime.supervise import supervised
from okxsync.store.database import StoreError

log = logging.getLogger("okxsync.plans")


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
            match request.kind:
                case "preview" | "retry" | "undo":
                    self._nursery.start_soon(self._preview, request, body)
                    return None
                case "execute":
                    return await self._execute(request, body)
                case "cancel":
                    return await self._cancel(request, protection=body.get("protection") is True)
                case "halt":
                    return await self._halt(request, body)
                case "resume":
                    return await self._resume(request)
        except msgspec.MsgspecError:
            return Answered("bad-request", "body: not a JSON object")
        except PlanError as error:
            return Answered("bad-plan", f"the stored plan cannot be read: {error}")
        except StoreError as error:
            return Answered("store-error", str(error))
        except OSError as error:
            return Answered("failed", str(error))
        return Answered("bad-request", f"kind: {request.kind} is not known")

    async def _answer(self, request: Request, answered: Answered) -> None:
        await self._desk.outbox.send(PlanAnswer(request.id, clock.now_us(), answered.outcome, answered.detail))

    async def _preview(self, request: Request, body: dict[str, Any]) -> None:
        async def work() -> None:
            await self._answer(request, await self._previewer.answer(request, body))

        async def failed(what: str) -> None:
            await self._answer(request, Answered("internal-error", what))

        await supervised(self._desk.outbox, None, f"plan {request.plan_id}: preview", work, on_failure=failed)

    async def _execute(self, request: Request, body: dict[str, Any]) -> Answered:
        plan_id = request.plan_id or ""
        if (row := self._row(plan_id)) is None:
            return Answered("no-plan", f"there is no plan {plan_id}")
        if row["state"] != "previewed" or plan_id in self._running or plan_id in self._discarded:
            return Answered("not-previewed", f"its state is {row['state']}; a plan is executed at most once")
        plan, children = read(row["doc"]), read_approved(self._desk.reader, plan_id)
        system = await self._facts.of_system_and_day(plan, [])
        refused = find_refused(
            str(body.get("preview_hash", "")),
            str(body.get("confirm", "")),
            row["doc_hash"],
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
        now_ms = moment().now_ms
        valid_until_ms = now_ms + plan.valid_for * 1000
        approved: dict[str, str | int | None] = {
            "state": "executing", "approved_at": now_ms, "approved_by": request.by, "valid_until": valid_until_ms,
            "started_at": now_ms,
        }  # fmt: skip
        # The writer stores messages in their order: no intent of the plan is stored before its approval.
        await self._desk.outbox.send(PlanProgress(plan_id, [], [], [], plan=approved))
        # In an older copy of the database a plan that was executed looks like a preview.
        resumed = plan_id not in self._previewer.made
        running = Running(plan, children, valid_until_ms, system.day_usd_of, resumed=resumed)
        self._lifecycle.start(plan_id, running, on_restart="resume")
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
        self._nursery.start_soon(self._answer_cancel, request, [plan_id])
        return None

    async def _answer_cancel(self, request: Request, plan_ids: list[str]) -> None:
        try:
            answered = await self._cancels.result(plan_ids)
        except StoreError as error:
            answered = Answered("store-error", str(error))
        await self._answer(request, answered)

    async def _halt(self, request: Request, body: dict[str, Any]) -> Answered | None:
        await trio.to_thread.run_sync(self._desk.halt.make)
        await self._desk.outbox.send(Halted(clock.now_us(), request.by, str(body.get("reason", ""))))
        cancel_orders = body.get("cancel_orders") is True
        for one in self._running.values():
            if one.runner:
                one.runner.execution.halt(cancel_orders=cancel_orders)
        if not cancel_orders:
            return Answered("halted", "nothing is sent until `okxsync resume`")
        self._nursery.start_soon(self._answer_cancel, request, list(self._running))
        return None

    async def _resume(self, request: Request) -> Answered:
        await trio.to_thread.run_sync(self._desk.halt.remove)
        await self._desk.outbox.send(Resumed(clock.now_us(), request.by))
        return Answered("resumed", "orders that were withheld are not sent; preview a new plan")

    def _row(self, plan_id: str) -> dict[str, Any] | None:
        return next(iter(self._desk.reader.query("SELECT * FROM plans WHERE plan_id = ?", [plan_id])), None)
