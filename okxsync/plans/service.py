"""The daemon's part in trading: answers requests, makes previews, accepts approvals, and runs plans to their end.

It does nothing until ``[trading] enabled`` is set.
"""

import logging
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final, Literal

import httpx
import msgspec
import trio

from okxsync.config.location import Location
from okxsync.config.settings import AccountSettings, Settings
from okxsync.messages import Halted, PlanAnswer, PlanPreviewed, PlanProgress, Resumed
from okxsync.okx.endpoints import DAY_MS
from okxsync.plans.approval import find_refused
from okxsync.plans.cancel_requests import CANCELED, CancelRequests, was_asked
from okxsync.plans.children import Child, from_columns, is_plan_id, parse_cl_ord_id, to_columns
from okxsync.plans.commands import ChildOrder, Shrunk, Withheld
from okxsync.plans.dead_man import DeadMan, Switch
from okxsync.plans.desk import NOT_CONFIGURED, Desk, PlanRunner, Receipts, moment
from okxsync.plans.document import Plan, PlanError
from okxsync.plans.execution import Execution
from okxsync.plans.facts import AccountFacts, SystemFacts
from okxsync.plans.file_mode import why_open_to_others
from okxsync.plans.follow_up import Planned, find_sibling, plan_to_follow
from okxsync.plans.gather import Gatherer, with_answers
from okxsync.plans.halt import HaltFile
from okxsync.plans.known_refusals import read_known_refusals
from okxsync.plans.mirror_facts import read_facts
from okxsync.plans.plan_file import read
from okxsync.plans.plan_structure import one_line
from okxsync.plans.preview import make_preview, to_plan_columns
from okxsync.plans.reasons import Reason
from okxsync.plans.requests import Answered, Request, Requests
from okxsync.plans.results import result_of
from okxsync.plans.running import Running, Unsettled, approved_since
from okxsync.plans.selection import select
from okxsync.plans.send_checks import find_changed
from okxsync.plans.sender import Sender, open_sending_http
from okxsync.plans.states import ENDED, ChildState
from okxsync.plans.stored import read_attempts, read_children, unfinished_plans
from okxsync.plans.waves import Policy
from okxsync.rest.clients import Clients
from okxsync.runtime import clock
from okxsync.runtime.outbox import Outbox
from okxsync.runtime.supervise import supervised
from okxsync.store.database import StoreError
from okxsync.store.engines import Reader, keep_going

log = logging.getLogger("okxsync.plans")

RECOVERS_S: Final = 45.0
"""How long after its start the daemon may need until the connections of a resumed plan are live and their gaps filled:
REST may lag, so a gap is not filled at once."""
RECHECK_S: Final = 0.25
RECENT_S: Final = 0.1
"""The checks of a wave share a read of the mirror that is no older."""
SETTLES_S: Final = 5.0
"""How much later than the orders the position may be pushed."""
_RECOVERABLE: Final = frozenset({Reason.NOT_CONNECTED, Reason.STALE, Reason.ORDERS_UNCOVERED, Reason.CLOCK})
"""Reasons that end when the connections are live again."""
_APPROVED_SINCE: Final = (
    "SELECT o.plan_id, o.account, o.planned_usd FROM plan_orders AS o JOIN plans AS p ON p.plan_id = o.plan_id"
    " WHERE p.approved_at >= ? AND o.state <> 'skipped'"
)


class PlanService:
    """Trading of one daemon.

    Args:
        blocked: Returns why an account must not be connected; None if it may.
    """

    def __init__(
        self,
        settings: Settings,
        database: Location,
        clients: Clients,
        http: httpx.AsyncClient,
        blocked: Callable[[str], str | None],
        send: Outbox,
        receipts: Receipts,
    ) -> None:
        self._database = database
        self._clients = clients
        self._blocked = blocked
        self._send = send
        self._receipts = receipts
        self._gatherer = Gatherer(http, clients)
        self._reader = Reader(database)
        self._halt = HaltFile(database)
        self._running: dict[str, Running] = {}
        self._discarded: set[str] = set()  # whose new state may not be stored yet
        self._previewed: set[str] = set()  # by this process, so that no other one can have executed them
        self._nursery: trio.Nursery
        self._desk: Desk
        self._cancels: CancelRequests
        self._enabled = trio.Event()
        self._started_at = trio.current_time()
        self.configure(settings)

    def configure(self, settings: Settings) -> None:
        """Apply a changed configuration."""
        self._settings = settings
        self._accounts = {one.name: one for one in settings.accounts}
        if settings.trading.enabled:
            self._enabled.set()

    async def run(self) -> None:
        """Resume unfinished plans, and answer requests; never returns."""
        await self._enabled.wait()
        self._started_at = trio.current_time()
        try:
            async with open_sending_http() as http, trio.open_nursery() as nursery:
                self._nursery = nursery
                sender = Sender(http, self._settings.trading.ip_rate)
                self._desk = Desk(
                    self._clients, self._accounts_get, sender, self._reader, self._send, self._halt, self._check,
                    self._receipts,
                )  # fmt: skip
                self._cancels = CancelRequests(self._desk, self._reader, nursery)
                await self._resume_plans()
                nursery.start_soon(DeadMan(self._desk, self._wanted_switches).run)
                await Requests(self._reader, self._send, self._handle).run()
        finally:
            self._reader.close()

    def _accounts_get(self, name: str) -> AccountSettings | None:
        found = self._accounts.get(name)
        return found if found and found.enabled else None

    # Requests

    async def _handle(self, request: Request) -> Answered | None:
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
                    return await self._halt_trading(request, body)
                case "resume":
                    return await self._resume_trading(request)
        except msgspec.MsgspecError:
            return Answered("bad-request", "body: not a JSON object")
        except PlanError as error:
            return Answered("bad-plan", f"the stored plan cannot be read: {error}")
        except StoreError as error:
            return Answered("store-error", str(error))
        except OSError as error:
            return Answered("failed", str(error))
        return Answered("bad-request", f"kind: {request.kind} is not known")

    async def _preview(self, request: Request, body: dict[str, Any]) -> None:
        async def failed(what: str) -> None:
            await self._send.send(PlanAnswer(request.id, clock.now_us(), "internal-error", what))

        subject = f"plan {request.plan_id}: preview"
        await supervised(self._send, None, subject, self._answer_preview, request, body, on_failure=failed)

    async def _answer_preview(self, request: Request, body: dict[str, Any]) -> None:
        try:
            answered = await self._make_preview(request, body)
        except PlanError as error:
            answered = Answered("bad-plan", "\n".join(one_line(line) for line in error.lines))
        except StoreError as error:
            answered = Answered("store-error", str(error))
        await self._send.send(PlanAnswer(request.id, clock.now_us(), answered.outcome, answered.detail))

    async def _make_preview(self, request: Request, body: dict[str, Any]) -> Answered:
        plan_id = request.plan_id or ""
        if not is_plan_id(plan_id):
            return Answered("bad-request", "plan_id: 11 characters of Crockford's base 32")
        if self._reader.rows("SELECT 1 FROM plans WHERE plan_id = ?", [plan_id]):
            return Answered("previewed", "it exists already")
        if request.kind in ("retry", "undo"):
            planned = plan_to_follow(self._reader, request.kind, str(body.get("parent_id", "")))
            if isinstance(planned, Answered):
                return planned
        else:
            planned = Planned(read(str(body.get("document", ""))))
        plan, accounts = planned.plan, self._accounts  # these, although the settings may change while OKX is asked
        facts = self._mirror_facts(plan, accounts)
        trading = self._settings.trading
        groups = {name: trading.accounts[name].groups if name in trading.accounts else frozenset() for name in facts}
        names = select(plan, plan_id, groups, {name: one.equity for name, one in facts.items()})
        completed = await self._gatherer.complete(plan, {name: facts[name] for name in names}, accounts)
        system = self._with_day(await self._system(plan, [accounts[name] for name in names]))
        # The accounts' state in the mirror is read again: asking REST may have taken seconds.
        fresh = self._mirror_facts(plan, accounts)
        known = read_known_refusals(self._reader, system.now_ms)
        for name, one in completed.items():
            fresh[name] = msgspec.structs.replace(with_answers(fresh[name], one), known=known.get(name, {}))
        preview = make_preview(plan, plan_id, fresh, trading, system, planned.cancels)
        preview = msgspec.structs.replace(preview, warnings=(*preview.warnings, *planned.notes))
        orders = [to_columns(plan_id, child) for child in preview.children]
        columns = to_plan_columns(preview, planned.kind, planned.parent_id)
        self._previewed.add(plan_id)
        await self._send.send(PlanPreviewed(columns, orders))
        return Answered("previewed", preview.confirmation)

    async def _execute(self, request: Request, body: dict[str, Any]) -> Answered:
        plan_id = request.plan_id or ""
        if (row := self._row(plan_id)) is None:
            return Answered("no-plan", f"there is no plan {plan_id}")
        if row["state"] != "previewed" or plan_id in self._running or plan_id in self._discarded:
            return Answered("not-previewed", f"its state is {row['state']}; a plan is executed at most once")
        plan, children = read(row["doc"]), self._children(plan_id)
        system = self._with_day(await self._system(plan, []))
        refused = find_refused(
            str(body.get("preview_hash", "")),
            str(body.get("confirm", "")),
            row["doc_hash"],
            row["preview_hash"],
            children,
            self._settings.trading,
            system,
            preview_ms=row["preview_at"],
            valid_for=plan.valid_for,
        )
        if refused:
            return Answered(refused.outcome, refused.detail)
        if system.file_mode:
            return Answered("file-mode", system.file_mode)
        if sibling := find_sibling(self._reader, row, self._running):
            return Answered("stale-preview", f"plan {sibling} does the same, and was approved since: make a new one")
        now_ms = moment().now_ms
        valid_until_ms = now_ms + plan.valid_for * 1000
        approved: dict[str, str | int | None] = {
            "state": "executing", "approved_at": now_ms, "approved_by": request.by, "valid_until": valid_until_ms,
            "started_at": now_ms,
        }  # fmt: skip
        # The writer stores messages in their order: no intent of the plan is stored before its approval.
        await self._send.send(PlanProgress(plan_id, [], [], [], plan=approved))
        # In an older copy of the database a plan that was executed looks like a preview.
        resumed = plan_id not in self._previewed
        running = Running(plan, children, valid_until_ms, system.day_usd_of, resumed=resumed)
        self._start(plan_id, running, on_restart="resume")
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
            await self._send.send(PlanProgress(plan_id, [], [], [], plan={"state": "discarded"}))
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
        await self._send.send(PlanAnswer(request.id, clock.now_us(), answered.outcome, answered.detail))

    async def _halt_trading(self, request: Request, body: dict[str, Any]) -> Answered | None:
        await trio.to_thread.run_sync(self._halt.make)
        await self._send.send(Halted(clock.now_us(), request.by, str(body.get("reason", ""))))
        cancel_orders = body.get("cancel_orders") is True
        for one in self._running.values():
            if one.runner:
                one.runner.execution.halt(cancel_orders=cancel_orders)
        if not cancel_orders:
            return Answered("halted", "nothing is sent until `okxsync resume`")
        self._nursery.start_soon(self._answer_cancel, request, list(self._running))
        return None

    async def _resume_trading(self, request: Request) -> Answered:
        await trio.to_thread.run_sync(self._halt.remove)
        await self._send.send(Resumed(clock.now_us(), request.by))
        return Answered("resumed", "orders that were withheld are not sent; preview a new plan")

    # Running plans

    def _wanted_switches(self) -> dict[Switch, int]:
        """Return the dead man's switches of the accounts with an order that has not ended."""
        found: dict[Switch, int] = {}
        for running in self._running.values():
            if not (timeout_s := running.plan.dead_man) or not running.tag or running.runner is None:
                continue
            for one in running.runner.execution.children:
                if one.kind == "order" and one.state not in ENDED:
                    switch = Switch(one.account, running.tag)
                    found[switch] = min(found.get(switch, timeout_s), timeout_s)
        return found

    async def _resume_plans(self) -> None:
        with keep_going(log, "unfinished plans"):
            for row in unfinished_plans(self._reader):
                plan_id = row["plan_id"]
                log.warning("plan %s: continued after a restart", plan_id)
                try:
                    plan, children = read(row["doc"]), self._children(plan_id)
                except PlanError as error:  # another version of okxsync stored it: the mirror runs all the same
                    log.error("plan %s: it cannot be continued, look its orders up: %s", plan_id, error)
                    continue
                approved_today = self._approved_today(moment().now_ms, but=plan_id)
                running = Running(plan, children, row["valid_until"] or 0, approved_today, resumed=True)
                self._start(plan_id, running, on_restart=plan.failure.on_restart)

    def _start(self, plan_id: str, running: Running, *, on_restart: Literal["resume", "stop"]) -> None:
        self._running[plan_id] = running
        orders = [running.order(one) for one in read_children(self._reader, plan_id)]
        attempts = read_attempts(self._reader, plan_id)
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
        if resumed and was_asked(self._reader, plan_id, halted=self._halt.exists()):
            running.runner.execution.cancel()
        self._nursery.start_soon(self._run_plan, plan_id, running.runner)

    async def _run_plan(self, plan_id: str, runner: PlanRunner) -> None:
        """Run a plan to its end. After an internal error it stays open, and is continued after a restart."""
        if not await supervised(self._send, None, f"plan {plan_id}", runner.run):
            return
        ended = result_of(runner.execution.children, runner.execution.decision.withhold)
        now_ms = moment().now_ms
        await self._send.send(PlanProgress(plan_id, [], [], [], plan={**ended, "ended_at": now_ms}))
        del self._running[plan_id]

    async def _check(self, child: ChildOrder) -> Withheld | Shrunk | None:
        """The checks directly before a send.

        Those of a resumed plan wait until the daemon's connections are live. A position that the plan itself has
        changed may be pushed later than its orders.
        """
        own = parse_cl_ord_id(child.cl_ord_id)
        running = self._running.get(own.plan_id) if own else None
        if running is None:
            return Withheld(Reason.BAD_REQUEST, "the plan is not being executed")
        try:
            return await self._check_until_settled(child, running)
        except StoreError as error:
            return Withheld(Reason.STORE_BLOCKED, str(error))

    async def _check_until_settled(self, child: ChildOrder, running: Running) -> Withheld | Shrunk | None:
        settles_at = trio.current_time() + SETTLES_S
        while True:
            finding = await self._find_changed(child, running)
            recovers = running.resumed and trio.current_time() - self._started_at < RECOVERS_S
            waits = finding is None and child.kind == "leverage" and self._has_unknown(child.account)
            waits = waits or (isinstance(finding, Unsettled) and trio.current_time() < settles_at)
            waits = waits or bool(recovers and isinstance(finding, Withheld) and finding.reason in _RECOVERABLE)
            if not waits:
                return finding
            await trio.sleep(RECHECK_S)

    def _has_unknown(self, account: str) -> bool:
        """Return whether an order of an account may be placed, and it is not known: then its leverage stays."""
        open_states = {ChildState.ARMED, ChildState.SENT, ChildState.UNKNOWN}
        executions = [one.runner.execution for one in self._running.values() if one.runner]
        return any(
            child.account == account and child.kind == "order" and child.state in open_states
            for one in executions
            for child in one.children
        )

    async def _find_changed(self, order: ChildOrder, running: Running) -> Withheld | Shrunk | None:
        """Return why a child is withheld now, ``Unsettled``: perhaps not in a moment; or with which size it is sent."""
        account = self._accounts_get(order.account)
        if account is None:
            return Withheld(Reason.NO_KEY, NOT_CONFIGURED)
        child = running.children[order.number]
        if child.kind == "cancel":
            return None
        if not_set := running.find_unset_lever(child):
            return not_set
        answered = await self._gatherer.refresh(running.plan, self._recent_facts(running, account))
        # The reply may have taken seconds: what the mirror knows is read after it.
        facts = with_answers(self._recent_facts(running, account), answered)
        system = await self._system(running.plan, [account])
        expected = running.expected(child)
        finding = find_changed(
            child,
            running.plan,
            facts,
            self._settings.trading,
            system,
            valid_until_ms=running.valid_until_ms,
            expected=expected,
            sums=running.sums(account.name),
        )
        if finding and finding.reason is Reason.DRIFT_POSITION and expected and expected.is_moving:
            return Unsettled(finding.reason, finding.detail)
        return Withheld(finding.reason, finding.detail) if finding else running.shrunk(child, facts)

    # Facts

    def _mirror_facts(self, plan: Plan, accounts: dict[str, AccountSettings]) -> dict[str, AccountFacts]:
        sites = {name: (one.site_name, one.demo) for name, one in accounts.items()}
        facts = read_facts(self._reader, sites, {leg.instrument for leg in plan.legs})
        for name, one in facts.items():
            if not accounts[name].enabled:
                facts[name] = msgspec.structs.replace(one, barred=Reason.NO_KEY, barred_detail="enabled = false")
            elif (why := self._blocked(name)) is not None:
                why = why or "the account is not identified yet"
                facts[name] = msgspec.structs.replace(one, barred=Reason.BARRED, barred_detail=why)
        return facts

    def _recent_facts(self, running: Running, account: AccountSettings) -> AccountFacts:
        """Return what the mirror knew of an account a moment ago; one read serves all that are checked at the time.

        Raises:
            StoreError: the database cannot be read.
        """
        if trio.current_time() >= running.read_at + RECENT_S or account.name not in running.facts:
            others = {name: found for name in running.next_accounts() if (found := self._accounts.get(name))}
            running.facts = self._mirror_facts(running.plan, {**others, account.name: account})
            running.read_at = trio.current_time()
        return running.facts[account.name]

    def _with_day(self, system: SystemFacts) -> SystemFacts:
        """Return the facts with what was approved today, for the limits per day."""
        day_of = self._approved_today(system.now_ms)
        return msgspec.structs.replace(system, day_usd=sum(day_of.values(), Decimal(0)), day_usd_of=day_of)

    def _approved_today(self, now_ms: int, but: str = "") -> dict[str, Decimal]:
        """Return what was approved today (UTC), in USD by account.

        Args:
            now_ms: The exchange's time.
            but: A plan that does not count.

        Raises:
            StoreError: the database cannot be read.
        """
        since_ms = now_ms - now_ms % DAY_MS
        others = {plan_id: one for plan_id, one in self._running.items() if plan_id != but}
        rows = self._reader.rows(_APPROVED_SINCE, [since_ms])
        return approved_since(since_ms, (row for row in rows if row[0] != but), others)

    async def _system(self, plan: Plan, accounts: list[AccountSettings]) -> SystemFacts:
        """Return the facts of the system, without those of the day."""
        quotes = await self._gatherer.quotes(plan, accounts)
        now_ms = moment().now_ms
        sites = [self._clients.clock_of(one.site) for one in accounts]
        age_s = max((one.age_s() for one in sites), default=0.0)
        return SystemFacts(
            now_ms=now_ms,
            halted="`okxsync resume` lifts it" if self._halt.exists() else "",
            file_mode=why_open_to_others(self._database),
            clock_ms=0 if age_s == float("inf") else now_ms - int(age_s * 1000),
            clock_error_ms=(clock.latest_us() - clock.earliest_us()) // 2000,
            quotes=quotes,
        )

    def _row(self, plan_id: str) -> dict[str, Any] | None:
        return next(iter(self._reader.query("SELECT * FROM plans WHERE plan_id = ?", [plan_id])), None)

    def _children(self, plan_id: str) -> list[Child]:
        sql = "SELECT * FROM plan_orders WHERE plan_id = ? ORDER BY child"
        return [from_columns(row) for row in self._reader.query(sql, [plan_id])]
