"""Starts approved plans, continues unfinished ones after a restart, and stores how each has ended."""

import logging
from typing import Final, Literal

import trio

from okxsync import events
from okxsync.messages import PlanProgress
from okxsync.plans.cancel_requests import was_asked
from okxsync.plans.canonical import doc_hash
from okxsync.plans.children import preview_hash
from okxsync.plans.current_facts import CurrentFacts
from okxsync.plans.dead_man import Switch
from okxsync.plans.desk import Desk, PlanRunner, moment
from okxsync.plans.execution import Execution
from okxsync.plans.results import result_of
from okxsync.plans.running import Running
from okxsync.plans.states import ENDED
from okxsync.plans.stored import UnreadablePlan, read_attempts, read_children, read_plan, unfinished_plans
from okxsync.plans.waves import Policy
from okxsync.runtime import clock
from okxsync.runtime.supervise import PAUSE_S, isolated, supervised
from okxsync.store.database import StoreError
from okxsync.store.engines import keep_going

log = logging.getLogger("okxsync.plans")


AGAIN_S: Final = 1.0
_LEFT: Final = "it cannot be continued, look its orders up at OKX"


class Lifecycle:
    """Of the plans that are being executed.

    Args:
        running: These plans by id; it is changed here only.
        nursery: In which they run.
    """

    def __init__(self, desk: Desk, facts: CurrentFacts, running: dict[str, Running], nursery: trio.Nursery) -> None:
        self._desk = desk
        self._facts = facts
        self._running = running
        self._nursery = nursery

    async def resume(self) -> None:
        """Continue the plans that an earlier process has begun."""
        while True:
            with keep_going(log, "unfinished plans"):
                for plan_id in unfinished_plans(self._desk.reader):
                    self._nursery.start_soon(self._run, plan_id, None)
                return
            await trio.sleep(AGAIN_S)

    async def prepare(self, plan_id: str, running: Running, *, on_restart: Literal["resume", "stop"]) -> None:
        """Give a plan what runs it.

        Raises:
            UnreadablePlan: a stored row is invalid.
            StoreError: the database cannot be read.
        """
        reads = self._facts.reads
        orders = [running.order(one) for one in await reads.in_thread(read_children, plan_id)]
        attempts = await reads.in_thread(read_attempts, plan_id)
        failure, resumed = running.plan.failure, running.resumed
        policy = Policy(failure.canary, failure.on_reject, failure.stop_at, failure.on_unknown)
        running.runner = PlanRunner(
            self._desk,
            plan_id,
            lambda receipt: Execution(
                orders,
                attempts,
                policy,
                running.valid_until_ms,
                receipt,
                moment(),
                resumed=resumed,
                on_restart=on_restart,
                transport_of=self._desk.transport_of,
            ),
        )
        if resumed and was_asked(self._desk.reader, plan_id, halted=self._desk.halt.exists()):
            running.runner.execution.cancel()

    def start(self, plan_id: str, running: Running) -> None:
        """Execute a plan."""
        self._running[plan_id] = running
        self._nursery.start_soon(self._run, plan_id, running)

    async def _run(self, plan_id: str, running: Running | None) -> None:
        """Run a plan to its end. After an internal error it is continued a minute later, as after a restart.

        Args:
            running: None: as it is stored.
        """
        while running := running or await self._restored(plan_id):
            self._running[plan_id] = running
            if await supervised(self._desk.outbox, None, f"plan {plan_id}", self._run_to_end, plan_id, running):
                return
            await self._desk.flush(plan_id)
            running = None
        self._running.pop(plan_id, None)

    async def _run_to_end(self, plan_id: str, running: Running) -> None:
        assert running.runner
        await running.runner.run()
        execution = running.runner.execution
        ended = result_of(execution.children, execution.decision.withhold)
        now_ms = moment().now_ms
        await self._desk.outbox.send(PlanProgress(plan_id, [], [], [], plan={**ended, "ended_at": now_ms}))
        del self._running[plan_id]

    async def _restored(self, plan_id: str) -> Running | None:
        """Return a plan as it is stored; None: it cannot be continued, which is reported."""
        found: Running | None = None

        async def restore() -> None:
            nonlocal found
            found = await self._read_until_readable(plan_id)

        await isolated(self._desk.outbox, None, f"plan {plan_id}", restore, then=_LEFT)
        return found

    async def _read_until_readable(self, plan_id: str) -> Running | None:
        is_reported = False
        while True:
            try:
                running = await self._read(plan_id)
                log.warning("plan %s: continued after a restart", plan_id)
                return running
            except (UnreadablePlan, StoreError) as error:
                if not is_reported:
                    log.error("plan %s: %s: %s", plan_id, _LEFT, error)
                    note = events.PLAN_UNREADABLE.note(clock.now_us(), None, f"{plan_id}: {error}")
                    await self._desk.outbox.send(note)
                if isinstance(error, UnreadablePlan):  # another version of okxsync may have stored it
                    return None
                is_reported = True
            await trio.sleep(PAUSE_S)

    async def _read(self, plan_id: str) -> Running:
        (row,) = self._desk.reader.query("SELECT * FROM plans WHERE plan_id = ?", [plan_id])
        plan, children = await self._facts.reads.in_thread(read_plan, row)
        if preview_hash(doc_hash(row["doc"]), children) != row["preview_hash"]:
            raise UnreadablePlan("its document or its orders are not those that were approved")
        approved_today = self._facts.approved_today(moment().now_ms, but=plan_id)
        running = Running(plan, children, row["valid_until"] or 0, approved_today, resumed=True)
        await self.prepare(plan_id, running, on_restart=plan.failure.on_restart)
        return running

    def wanted_switches(self) -> dict[Switch, int]:
        """Return the dead man's switches of the accounts with an order that has not ended, each with its seconds."""
        found: dict[Switch, int] = {}
        for running in self._running.values():
            if not (timeout_s := running.plan.dead_man) or not running.tag or running.runner is None:
                continue
            for one in running.runner.execution.children:
                if one.kind == "order" and one.state not in ENDED:
                    switch = Switch(one.account, running.tag)
                    found[switch] = min(found.get(switch, timeout_s), timeout_s)
        return found
