"""Carries out one approved plan: the commands of its ``Execution``, over the sender, REST, the mirror and the writer.

Nobody waits for another account: each check, request and question is a task of its own.
"""

import logging
import math
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, TypeAlias, TypeVarTuple

import trio

from okxsync import events
from okxsync.config.settings import AccountSettings
from okxsync.messages import PlanProgress
from okxsync.plans.cancel_log import Action, CancelLog
from okxsync.plans.canceling import APPEARS_MS, cancel_until_ended, is_over, target_of
from okxsync.plans.children import CancelBody, to_body
from okxsync.plans.commands import (
    Alarm,
    AskAbout,
    AskAttached,
    AskLever,
    CancelOrder,
    ChildOrder,
    Command,
    LeverAnswer,
    MeasureClock,
    Moment,
    Prepare,
    Send,
    Shrunk,
    Store,
    Withheld,
)
from okxsync.plans.execution import Execution
from okxsync.plans.halt import Switch
from okxsync.plans.lookups import (
    ask_exchange,
    ask_lever,
    ask_mirror,
    has_attached,
    read_attached,
    read_end,
    read_orders,
)
from okxsync.plans.mirror_facts import Link, read_doubted, read_links
from okxsync.plans.reasons import Reason
from okxsync.plans.replies import Judgement, Stage, failed
from okxsync.plans.resolve import Answer, Question
from okxsync.plans.results import counters, total_filled_usd
from okxsync.plans.sender import Sender
from okxsync.plans.states import ENDED, ChildState, PlanState
from okxsync.plans.stored import numbers, progress_of
from okxsync.plans.trades import CANCEL, PLACE, SET_LEVERAGE, Trade, Transport
from okxsync.rest.clients import Clients
from okxsync.runtime import clock
from okxsync.runtime.outbox import Outbox
from okxsync.runtime.supervise import isolated, keep_running
from okxsync.store.database import StoreError
from okxsync.store.engines import Reader, keep_going
from okxsync.store.transaction import Written

log = logging.getLogger("okxsync.plans")

TICK_S: Final = 0.1
"""How often the mirror is read for the orders of a plan, and time-outs are noticed."""

TOGETHER_S: Final = 0.003
"""Replies that come so soon after each other are one step, and checks that begin so are one read of the mirror."""
PAUSES: Final = 3
"""A step looks at all children, so with many it takes milliseconds: it has a quarter of the time at most."""
GOES_FIRST_S: Final = 5.0
"""So long at most the daemon's less urgent requests wait for the orders of a plan."""
WATCH_S: Final = 1.0
"""How often it is looked for what must stop or pause a plan."""

ATTACHED_S: Final = 5.0
"""How long REST may take to say whether an attached order exists."""
NOT_CONFIGURED: Final = "the account is not configured and enabled"

Args = TypeVarTuple("Args")
Check: TypeAlias = Callable[[ChildOrder], Awaitable[Withheld | Shrunk | None]]


_LEAVING: Final = frozenset({ChildState.READY, ChildState.ARMED, ChildState.SENT})


class Receipts:
    """Numbers of intents, and who waits for each; one for all plans of a daemon."""

    def __init__(self) -> None:
        self._last = 0
        self._waiting: dict[int, Callable[[int], None]] = {}

    def next(self, on_written: Callable[[int], None]) -> int:
        self._last += 1
        self._waiting[self._last] = on_written
        return self._last

    def written(self, written: Written) -> None:
        """Take an acknowledgement of the writer."""
        for receipt in written.receipts:
            if on_written := self._waiting.pop(receipt, None):
                on_written(receipt)


class Desk:
    """What all plans share.

    Args:
        accounts: The settings of an account by its name; None: it is not configured.
        check: The checks directly before a send.
        receipts: Of the writer's acknowledgements.
    """

    def __init__(
        self,
        clients: Clients,
        accounts: Callable[[str], AccountSettings | None],
        sender: Sender,
        reader: Reader,
        outbox: Outbox,
        halt: Switch,
        check: Check,
        receipts: Receipts,
    ) -> None:
        self.clients = clients
        self.accounts = accounts
        self.sender = sender
        self.reader = reader
        self.outbox = outbox
        self.halt = halt
        self.check = check
        self.receipts = receipts
        self._cancel_log = CancelLog(reader, outbox)

    async def send(self, account_name: str, request: Trade, may_send: Callable[[], bool]) -> Judgement | None:
        """Send a request of an account (``Sender.send``), and return what is known of it; None: it may not be sent."""
        if (account := self.accounts(account_name)) is None:
            return failed(Stage.NOT_STARTED, NOT_CONFIGURED)
        return await self.sender.send(account, self.clients.clock_of(account.site), request, may_send)

    def transport_of(self, child: ChildOrder) -> Transport:
        """Return the way on which a child would be sent now."""
        account = self.accounts(child.account)
        return self.sender.transport_of(account, request_of(child)) if account and child.body else "rest"

    async def post(self, account_name: str, request: Trade) -> Judgement:
        """Send a request that may always be sent."""
        found = await self.send(account_name, request, lambda: True)
        assert found is not None
        return found

    async def flush(self, plan_id: str) -> None:
        """Wait until the writer has stored what it was sent before; ``plan_id``: of any plan."""
        stored = trio.Event()
        receipt = self.receipts.next(lambda _: stored.set())
        await self.outbox.send(PlanProgress(plan_id, [], [], [], plan={}, receipt=receipt))
        await stored.wait()

    async def cancel(self, plan_id: str, child: int, action: Action, account_name: str, request: Trade) -> Judgement:
        """Send a cancellation for a child of a plan, store it, and return what is known of it."""
        sent_ms = moment().now_ms
        found = await self.post(account_name, request)
        await self._cancel_log.add(plan_id, child, action, request.body, sent_ms, moment().now_ms, found)
        log.info("plan %s: %s: %s of order %d: %s", plan_id, account_name, action, child, found.text)
        return found


def request_of(child: ChildOrder, exp_ms: int = 0) -> Trade:
    """Return the request of an order or of a leverage."""
    if child.kind == "leverage":
        return Trade(SET_LEVERAGE, "", child.body)
    return Trade(PLACE, child.inst_id, child.body, child.cl_ord_id, exp_ms)


def moment() -> Moment:
    """Return the exchange's time now."""
    return Moment(clock.now_us() // 1000, clock.earliest_us() // 1000, clock.latest_us() // 1000)


class PlanRunner:
    """Runs one plan.

    Args:
        begin: Returns the execution; it is given the function that makes receipts.
    """

    def __init__(self, desk: Desk, plan_id: str, begin: Callable[[Callable[[], int]], Execution]) -> None:
        self._desk = desk
        self._plan_id = plan_id
        self._changed, self._may_leave = trio.Event(), trio.Event()
        self._stored: list[int] = []
        self._paused: str | None = None  # what an earlier process has stored is not known
        self._counted: dict[str, str | int | None] = {}
        self._began_s = trio.current_time()
        self._follows_at = self._watches_at = self._counts_at = -math.inf
        self.execution = begin(lambda: desk.receipts.next(self._written))

    @property
    def is_sending(self) -> bool:
        """Whether orders are being sent, in the first seconds of the plan."""
        is_early = trio.current_time() < self._began_s + GOES_FIRST_S
        return is_early and any(one.state in _LEAVING for one in self.execution.children)

    async def run(self) -> None:
        """Return when every child has ended."""
        async with trio.open_nursery() as nursery:
            while True:
                self._changed, self._may_leave = trio.Event(), trio.Event()
                began = time.monotonic()
                self._follow()
                stored, self._stored = self._stored, []
                for receipt in stored:
                    self.execution.written(receipt)
                commands = self.execution.step(moment())
                took_s = time.monotonic() - began  # without what other tasks do while this one waits
                for command in commands:
                    await self._carry_out(command, nursery)
                await self._store_pause()
                await self._store_counters()
                if self.execution.has_ended and not nursery.child_tasks and not self._changed.is_set():
                    return
                with trio.move_on_after(TICK_S):
                    await self._changed.wait()
                with trio.move_on_after(max(TOGETHER_S, PAUSES * took_s)):
                    await self._may_leave.wait()

    async def _store_pause(self) -> None:
        """Store that the plan is paused, or goes on."""
        if (why := self.execution.decision.paused) != self._paused:
            if why or self._paused is not None:
                log.warning("plan %s: %s", self._plan_id, f"paused: {why}" if why else "goes on")
            self._paused = why
            state = PlanState.PAUSED if why else PlanState.EXECUTING
            changed: dict[str, str | int | None] = {"state": str(state), "pause_reason": why or None}
            await self._desk.outbox.send(PlanProgress(self._plan_id, [], [], [], plan=changed))

    async def _store_counters(self) -> None:
        """Store what was filled, and how many orders are accepted, rejected and unknown, once a second."""
        if self._watches_at <= self._counts_at:
            return
        self._counts_at = self._watches_at
        children = self.execution.children
        found: dict[str, str | int | None] = {**counters(children)}
        if any(one.acc_fill_sz for one in children):
            found["filled_usd"] = total_filled_usd(children)
        if found != self._counted:
            self._counted = found
            await self._desk.outbox.send(PlanProgress(self._plan_id, [], [], [], plan=found))

    async def _carry_out(self, command: Command, nursery: trio.Nursery) -> None:
        match command:
            case Store():
                await self._desk.outbox.send(self._progress(command))
            case Prepare():
                nursery.start_soon(self._contained, command, self._prepare, command)
            case Send():
                nursery.start_soon(self._contained, command, self._send, command)
            case AskAbout():
                nursery.start_soon(self._contained, command, self._ask, command)
            case AskLever():
                nursery.start_soon(self._contained, command, self._ask_lever, command)
            case AskAttached(child=number):
                nursery.start_soon(self._contained, command, self._ask_attached, number)
            case MeasureClock():
                nursery.start_soon(self._contained, command, self._desk.clients.measure_clocks)
            case Alarm():
                log.error("plan %s: %s: %s", self._plan_id, command.account, command.text)
                note = events.PLAN_ALARM.note(clock.now_us(), command.account, f"{self._plan_id}: {command.text}")
                await self._desk.outbox.send(note)
            case CancelOrder(child=child):
                subject = f"plan {self._plan_id}: cancel {child.cl_ord_id}"
                cancel = partial(self._cancel, child.number)
                nursery.start_soon(keep_running, self._desk.outbox, child.account, subject, cancel)

    async def _contained(self, command: Command, work: Callable[[*Args], Awaitable[object]], *args: *Args) -> None:
        """Do what a command says. An internal error is that of its child alone: the others go on."""
        subject = f"plan {self._plan_id}: {type(command).__name__}"
        then = "the plan goes on without it"
        if what := await isolated(self._desk.outbox, self._account_of(command), subject, work, *args, then=then):
            self._failed(command, f"internal error ({what})")
        self._changed.set()

    def _account_of(self, command: Command) -> str | None:
        match command:
            case Prepare(child=number) | AskAttached(child=number):
                return self.execution.child(number).account
            case Send(child=child) | AskAbout(child=child) | AskLever(child=child):
                return child.account
        return None

    def _failed(self, command: Command, why: str) -> None:
        """Answer a command that had an internal error."""
        now = moment()
        match command:
            case Prepare(child=number):
                self.execution.prepared(number, Withheld(Reason.INTERNAL_ERROR, why), now)
            case Send(child=child, attempt=attempt):
                self.execution.failed(child.number, attempt.number, why, now)
            case AskAbout(child=child, ask=ask):
                self.execution.answered(child.number, Answer(ask.question, now.earliest_ms, error=why), now)
            case AskLever(child=child):
                self.execution.lever_answered(child.number, LeverAnswer(now.earliest_ms, error=why), now)
            case AskAttached(child=number):
                self.execution.attached.answered(number, now.now_ms, exists=False)

    def _progress(self, store: Store) -> PlanProgress:
        links: dict[str, Link] = {}
        if store.misfires:
            with keep_going(log, f"plan {self._plan_id}"):
                links = read_links(self._desk.reader, {one.account for one in store.misfires})
        return progress_of(
            self._plan_id, store, numbers(self.execution.children), clock.now_us(), links, moment().error_ms
        )

    def _written(self, receipt: int) -> None:
        """Called by the task of the writer, which an error must not end: the receipt is taken by ``run``."""
        self._stored.append(receipt)
        self._changed.set()
        self._may_leave.set()  # its orders wait for nothing else

    async def _prepare(self, command: Prepare) -> None:
        child = self.execution.child(command.child)
        found = await self._desk.check(child)
        if isinstance(found, Shrunk):
            log.info(
                "plan %s: %s: %s is reduced from %s to the position", self._plan_id, child.account, found.sz, child.sz
            )
        self.execution.prepared(child.number, found, moment())

    async def _send(self, send: Send) -> None:
        if send.child.kind == "cancel":
            await self._cancel_target(send)
        else:
            await self._send_once(send)

    async def _send_once(self, send: Send) -> None:
        child, attempt = send.child, send.attempt

        def may_send() -> bool:
            return self.execution.may_send(child.number, attempt.number, moment(), halted=self._desk.halt.exists())

        judgement = await self._desk.send(child.account, request_of(child, attempt.exp_ms), may_send)
        if judgement is not None:
            self.execution.replied(child.number, attempt.number, judgement, moment())

    async def _cancel_target(self, send: Send) -> None:
        """Cancel the order of an earlier plan until its end is seen."""
        child, attempt = send.child, send.attempt
        target, end = target_of(child.body), ""
        if not self.execution.may_send(child.number, attempt.number, moment(), halted=False):
            return

        async def post() -> Judgement:
            request = Trade(target.path, target.inst_id, child.body)
            return await self._desk.cancel(self._plan_id, child.number, "cancel", child.account, request)

        def has_ended(reply: Judgement | None) -> bool:
            nonlocal end
            try:
                end = read_end(self._desk.reader, child.account, target.cl_ord_id, algo=target.is_algo)
            except StoreError as error:
                log.warning("plan %s: %s", self._plan_id, error)
                return False
            exists_now = moment().now_ms > attempt.first_armed_ms + APPEARS_MS
            return end != "open" if end else exists_now and reply is not None and is_over(reply)

        await cancel_until_ended(post, has_ended)
        self.execution.canceled(child.number, attempt.number, end or "there is no such order", moment())

    async def _cancel(self, number: int) -> None:
        """Cancel an order until the mirror has shown its end."""
        child = self.execution.child(number)
        body = to_body(
            CancelBody(child.inst_id, ord_id=child.ord_id, cl_ord_id="" if child.ord_id else child.cl_ord_id)
        )

        async def post() -> Judgement:
            request = Trade(CANCEL, child.inst_id, body)
            return await self._desk.cancel(self._plan_id, number, "cancel", child.account, request)

        await cancel_until_ended(post, lambda _: self.execution.child(number).state in ENDED)
        self._changed.set()

    async def _ask(self, about: AskAbout) -> None:
        child, ask = about.child, about.ask
        await trio.sleep(max(0, ask.not_before_ms - moment().earliest_ms) / 1000)
        answer = await self._answer(child, ask.question, about.back_to_ms)
        self.execution.answered(child.number, answer, moment())

    async def _ask_lever(self, ask: AskLever) -> None:
        await trio.sleep(max(0, ask.not_before_ms - moment().now_ms) / 1000)
        client = self._desk.clients.of(ask.child.account)
        answer = LeverAnswer(moment().earliest_ms, error="the account is not configured")
        if client is not None:
            answer = await ask_lever(client, ask.child)
        self.execution.lever_answered(ask.child.number, answer, moment())

    async def _ask_attached(self, number: int) -> None:
        child = self.execution.child(number)
        client = self._desk.clients.of(child.account)
        exists = False
        with trio.move_on_after(ATTACHED_S):
            exists = client is not None and await has_attached(client, child.algo_cl_ord_id)
        self.execution.attached.answered(number, moment().now_ms, exists=exists)

    async def _answer(self, child: ChildOrder, question: Question, back_to_ms: int) -> Answer:
        if question is Question.MIRROR:
            try:
                return ask_mirror(self._desk.reader, child)
            except StoreError as error:
                return Answer(question, moment().earliest_ms, error=str(error))
        if (client := self._desk.clients.of(child.account)) is None:
            return Answer(question, moment().earliest_ms, error="the account is not configured")
        return await ask_exchange(client, child, question, back_to_ms)

    def _follow(self) -> None:
        """Give the mirror's rows of the plan's orders to the execution; at times also what must stop or pause it."""
        now = trio.current_time()
        if now < self._follows_at:
            return
        self._follows_at = now + TICK_S
        try:
            if self.execution.attached.awaited:
                for number in read_attached(self._desk.reader, self._plan_id):
                    self.execution.attached.seen(number)
            for number, order in read_orders(self._desk.reader, self._plan_id):
                self.execution.followed(number, order, moment())
            if now >= self._watches_at:
                self._watches_at = now + WATCH_S
                self.execution.doubted(read_doubted(self._desk.reader))
        except StoreError as error:
            log.warning("plan %s: %s", self._plan_id, error)
