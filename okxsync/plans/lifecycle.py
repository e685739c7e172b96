"""Starts approved plans, continues unfinished ones after a restart, and stores how each has ended."""

import logging
from typing import Literal

import trio

from okxsync.messages import PlanProgress
from okxsync.plans.cancel_requests import was_asked
from okxsync.plans.current_facts import CurrentFacts
from okxsync.plans.dead_man import Switch
from okxsync.plans.desk import Desk, PlanRunner, moment
from okxsync.plans.document import PlanError
from okxsync.plans.execution import Execution
from okxsync.plans.plan_file import read
from okxsync.plans.results import result_of
from okxsync.plans.running import Running
from okxsync.plans.states import ENDED
from okxsync.plans.stored import read_approved, read_attempts, read_children, unfinished_plans
from okxsync.plans.waves import Policy
from okxsync.runtime.supervise import supervised
from okxsync.store.engines import keep_going

log = logging.getLogger("okxsync.plans")


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

    def resume(self) -> None:
        """Continue the plans that an earlier process has begun."""
        with keep_going(log, "unfinished plans"):
            for row in unfinished_plans(self._desk.reader):
                plan_id = row["plan_id"]
                log.warning("plan %s: continued after a restart", plan_id)
                try:
                    plan, children = read(row["doc"]), read_approved(self._desk.reader, plan_id)
                except PlanError as error:  # another version of okxsync stored it: the mirror runs all the same
                    log.error("plan %s: it cannot be continued, look its orders up: %s", plan_id, error)
                    continue
                approved_today = self._facts.approved_today(moment().now_ms, but=plan_id)
                running = Running(plan, children, row["valid_until"] or 0, approved_today, resumed=True)
                self.start(plan_id, running, on_restart=plan.failure.on_restart)

    def start(self, plan_id: str, running: Running, *, on_restart: Literal["resume", "stop"]) -> None:
        """Execute a plan.

        Raises:
            StoreError: the database cannot be read.
        """
        reader = self._desk.reader
        self._running[plan_id] = running
        orders = [running.order(one) for one in read_children(reader, plan_id)]
        attempts = read_attempts(reader, plan_id)
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
            ),
        )
        if resumed and was_asked(reader, plan_id, halted=self._desk.halt.exists()):
            running.runner.execution.cancel()
        self._nursery.start_soon(self._run, plan_id, running.runner)

    async def _run(self, plan_id: str, runner: PlanRunner) -> None:
        """Run a plan to its end. After an internal error it stays open, and is continued after a restart."""
        outbox = self._desk.outbox
        if not await supervised(outbox, None, f"plan {plan_id}", runner.run):
            return
        ended = result_of(runner.execution.children, runner.execution.decision.withhold)
        now_ms = moment().now_ms
        await outbox.send(PlanProgress(plan_id, [], [], [], plan={**ended, "ended_at": now_ms}))
        del self._running[plan_id]

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
