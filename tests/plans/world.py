"""A simulated exchange, disk and process around ``plans.execution``: everything that may be lost or late can be.

Times are the exchange's true milliseconds. The process sees them with an error of up to ``ERROR_MS``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec.structs import replace

from okxsync.plans.commands import (
    Alarm,
    AskAbout,
    AskLever,
    Attempt,
    CancelOrder,
    ChildOrder,
    Moment,
    Prepare,
    Send,
    Store,
    Withheld,
)
from okxsync.plans.execution import Execution
from okxsync.plans.replies import Stage, failed, judge
from okxsync.plans.resolve import Answer, OrderRow, Question
from okxsync.plans.states import ENDED, PLACED, ChildState
from okxsync.plans.waves import Policy

START_MS = 1_800_000_000_000
ERROR_MS = 200
LAG_MS = 800
"""A reply of REST may lack what is younger; less than the pause between the two lookups of a proof."""
_ASKED = (("before",), ("before", "between"))
"""Since when trading is halted when it is asked whether a request may be sent: before its headers, before its body."""
NOT_PLACED = {"not_sent", "refused", "absent"}


@dataclass
class Order:
    ord_id: str
    child: int
    created_ms: int
    live: bool


@dataclass
class Request:
    """A request on its way to the exchange, and the reply that the exchange gives it."""

    child: int
    attempt: int
    exp_ms: int
    arrives_ms: int
    answers: str  # a code with which the exchange refuses it, "" to accept
    stays: bool  # whether the order rests
    reply: bytes | None = None
    is_lost: bool = False


@dataclass
class Disk:
    """Committed writes; after a power cut those up to the last durable one are certainly there."""

    first: dict[int, ChildOrder]
    commits: list[Store] = field(default_factory=list)

    @property
    def durable(self) -> int:
        return max((number for number, one in enumerate(self.commits, 1) if one.receipt), default=0)

    def read(self) -> tuple[dict[int, ChildOrder], dict[tuple[int, int], Attempt]]:
        children, attempts = dict(self.first), {}
        for commit in self.commits:
            children.update({one.number: one for one in commit.children})
            attempts.update({(one.child, one.number): one for one in commit.attempts})
        return children, attempts


class World:
    def __init__(
        self, accounts: int, valid_ms: int, skew_ms: int, policy: Policy, children: Sequence[ChildOrder] = ()
    ) -> None:
        self.now_ms = START_MS
        self.valid_until_ms = START_MS + valid_ms
        self.skew_ms = skew_ms
        self.error_ms = ERROR_MS
        self.policy = policy
        first = children or [make_child(number) for number in range(accounts)]
        self.disk = Disk({one.number: one for one in first})
        self.queue: list[Store] = []
        self.commands: list[Prepare | Send | AskAbout] = []
        self.asked: list[tuple[AskAbout, int]] = []
        self.orders: list[Order] = []
        self.transit: list[Request] = []
        self.replies: list[Request] = []
        self.alarms: list[str] = []
        self.canceling: list[int] = []
        self.levers: list[AskLever] = []
        self.sent: list[tuple[int, int]] = []
        self.receipts = 0
        self.execution = self.begin(resumed=False)
        self.step()

    @property
    def moment(self) -> Moment:
        now = self.now_ms + self.skew_ms
        return Moment(now, now - self.error_ms, now + self.error_ms)

    def begin(self, *, resumed: bool) -> Execution:
        """Start a process on what is on disk."""
        children, attempts = self.disk.read()
        last = {number: attempts[number, max(n for c, n in attempts if c == number)] for number, _ in attempts}
        return Execution(
            list(children.values()), last, self.policy, self.valid_until_ms, self._receipt, self.moment, resumed=resumed
        )

    def _receipt(self) -> int:
        self.receipts += 1
        return self.receipts

    def step(self) -> None:
        for command in self.execution.step(self.moment):
            match command:
                case Store():
                    self._check_intents(command)
                    self.queue.append(command)
                case Prepare() | Send() | AskAbout():
                    self.commands.append(command)
                case Alarm():
                    self.alarms.append(command.text)
                case AskLever():
                    self.levers.append(command)
                case CancelOrder():
                    self.canceling.append(command.child.number)

    def _check_intents(self, store: Store) -> None:
        """I3, I4: when an intent is stored, nothing before it is open, in the order of the writes."""
        if not store.receipt:
            return
        known: dict[tuple[int, int], Attempt] = {}
        for one in (*self.disk.commits, *self.queue):
            known.update({(attempt.child, attempt.number): attempt for attempt in one.attempts})
        for attempt in store.attempts:
            assert not attempt.verdict
            earlier = [one for (child, _), one in known.items() if child == attempt.child]
            assert all(one.number < attempt.number for one in earlier)
            assert all(one.verdict in NOT_PLACED for one in earlier), "I4: an attempt without a proof for the last one"

    # Time and the exchange

    def advance(self, ms: int) -> None:
        self.now_ms += ms
        for request in sorted(self.transit, key=lambda one: one.arrives_ms):
            if request.arrives_ms <= self.now_ms:
                self.transit.remove(request)
                self._process(request)
        self.step()

    def _process(self, request: Request) -> None:
        pending = [one for one in self.orders if one.child == request.child and one.live]
        if request.arrives_ms > request.exp_ms:
            code = "50036"
        elif request.answers:
            code = request.answers
        else:
            code = "51016" if pending else "0"
        ord_id = ""
        if code == "0":
            ord_id = str(len(self.orders) + 1)
            self.orders.append(Order(ord_id, request.child, request.arrives_ms, request.stays))
            assert sum(one.child == request.child for one in self.orders) == 1, "two orders for one child"
        row = {"clOrdId": f"P{request.child}", "ordId": ord_id, "sCode": code}
        request.reply = msgspec.json.encode({"code": "0" if code == "0" else "1", "data": [row]})
        if not request.is_lost:
            self.replies.append(request)

    def row(self, order: Order) -> OrderRow:
        state = "live" if order.live else "filled"
        return OrderRow(order.ord_id, f"P{order.child}", "BTC-USDT-SWAP", "buy", state=state, acc_fill_sz="1")

    # The process

    def commit(self) -> None:
        """The writer stores the next message, and acknowledges it."""
        store = self.queue.pop(0)
        self.disk.commits.append(store)
        if store.receipt:
            self.execution.written(store.receipt)
        self.step()

    def prepare(self, number: int, withheld: Withheld | None) -> None:
        self.execution.prepared(number, withheld, self.moment)
        self.step()

    def send(self, send: Send, *, delay_ms: int, answers: str, stays: bool, leaves: bool, halted: str) -> None:
        """The request is asked for twice, and leaves; or no connection is made, so that it is not asked for.

        Args:
            halted: ``before`` the headers leave, ``between`` these and the body, or ``""``.
        """
        number, attempt = send.child.number, send.attempt.number
        if not leaves:
            self.execution.replied(number, attempt, failed(Stage.NOT_STARTED, "connect"), self.moment)
        elif all(self.execution.may_send(number, attempt, self.moment, halted=halted in at) for at in _ASKED):
            assert not halted
            assert self.now_ms < self.valid_until_ms, "I7: sent after valid_until"
            _, stored = Disk(self.disk.first, self.disk.commits[: self.disk.durable]).read()
            assert stored[number, attempt].exp_ms == send.attempt.exp_ms, "I1: the intent is not on disk"
            assert send.child.body == self.disk.first[number].body, "I5"
            self.sent.append((number, attempt))
            self.transit.append(Request(number, attempt, send.attempt.exp_ms, self.now_ms + delay_ms, answers, stays))
        self.step()

    def reply(self, request: Request) -> None:
        assert request.reply is not None
        judgement = judge(f"P{request.child}", request.reply, 200)
        self.execution.replied(request.child, request.attempt, judgement, self.moment)
        self.step()

    def lose_reply(self, request: Request | tuple[int, int]) -> None:
        if isinstance(request, Request):
            request.is_lost = True
            number, attempt = request.child, request.attempt
        else:
            number, attempt = request
            for one in self.transit:
                one.is_lost = one.is_lost or (one.child, one.attempt) == request
        self.execution.replied(number, attempt, failed(Stage.STARTED, "time-out"), self.moment)
        self.step()

    def answer(self, command: AskAbout, *, lag_ms: int, error: str) -> None:
        """Answer a question, with the truth of ``lag_ms`` ago."""
        number, question = command.child.number, command.ask.question
        moment = self.moment
        if error:
            answer = Answer(question, moment.earliest_ms, error=error)
        else:
            seen = [one for one in self.orders if one.child == number and one.created_ms <= self.now_ms - lag_ms]
            match question:
                case Question.PENDING:
                    seen = [one for one in seen if one.live]
                case Question.HISTORY | Question.FILLS:
                    seen = [one for one in seen if not one.live]
                case Question.MIRROR:
                    seen = []
                case _:
                    pass
            rows = [self.row(one) for one in seen]
            answer = Answer(question, moment.earliest_ms, rows, covers_from_ms=START_MS - 60_000)
        self.execution.answered(number, answer, moment)
        self.step()

    def answer_all(self, *, lag_ms: int, error: str = "") -> None:
        """Answer all questions that are due, and those that follow from the answers."""
        for _ in range(10):
            now_ms = self.moment.earliest_ms
            due = [one for one in self.commands if isinstance(one, AskAbout) and one.ask.not_before_ms <= now_ms]
            for command in due:
                self.commands.remove(command)
                self.answer(command, lag_ms=lag_ms, error=error)

    def follow(self, order: Order) -> None:
        self.execution.followed(order.child, self.row(order), self.moment)
        self.step()

    # Deaths

    def kill(self, written: int) -> None:
        """Kill the process and start another; the writer still stores the first ``written`` messages of its queue."""
        self.disk.commits.extend(self.queue[:written])
        self._restart()

    def power_cut(self, kept: int) -> None:
        """Cut the power: of the commits after the last durable one, ``kept`` survive."""
        del self.disk.commits[self.disk.durable + kept :]
        self._restart()

    def restore(self, commits: int) -> None:
        """Start on a copy of the database that had only the first ``commits``; requests are still under way."""
        del self.disk.commits[commits:]
        self._restart()

    def _restart(self) -> None:
        self.queue.clear()
        self.commands.clear()
        self.replies.clear()
        for request in self.transit:
            request.is_lost = True
        self.execution = self.begin(resumed=True)
        self.step()

    # The end

    def drain(self) -> None:
        """Let everything arrive and be answered, until every child has ended."""
        for round_ in range(300):
            while self.queue:
                self.commit()
            for request in list(self.replies):
                self.replies.remove(request)
                self.reply(request)
            for command in list(self.commands):
                self.commands.remove(command)
                match command:
                    case Prepare():
                        self.prepare(command.child, None)
                    case Send():
                        self.send(command, delay_ms=10, answers="", stays=False, leaves=True, halted="")
                    case AskAbout():
                        self.commands.append(command)
            self.answer_all(lag_ms=0)
            if round_ > 20:  # the mirror is late, so that it does not hide a mistake
                for order in self.orders:
                    order.live = False
                    child = self.execution.child(order.child)
                    if child.may_exist and child.state not in ENDED:
                        self.follow(order)
            if round_ > 21 and self.execution.has_ended and not self.queue and not self.transit:
                return
            self.advance(700)
        raise AssertionError(f"some children do not end: {self.execution.children}")

    def check(self) -> None:
        """What is true at each moment: in memory, and on disk."""
        for child in self.execution.children:
            ours = [one for one in self.orders if one.child == child.number]
            if child.state in PLACED:
                assert ours
            if child.state in (ChildState.REFUSED, ChildState.ABSENT):
                assert not ours, "an order exists of a child that ended without one"
            if child.state in (ChildState.WITHHELD, ChildState.SKIPPED, ChildState.REFUSED, ChildState.ABSENT):
                assert child.reason, "I6: ended without a reason"
        _, attempts = self.disk.read()
        open_ = [child for (child, _), one in attempts.items() if not one.verdict]
        assert len(open_) == len(set(open_)), "I3: two open intents of one child"

    def check_end(self) -> None:
        children, _ = self.disk.read()
        for number, child in children.items():
            ours = [one for one in self.orders if one.child == number]
            assert (child.state in PLACED) == bool(ours), child
            assert child.state in PLACED or child.reason


def make_child(number: int, phase: int = 1, **changes: Any) -> ChildOrder:
    child = ChildOrder(
        number=number,
        account=f"a{number}",
        position=number,
        phase=phase,
        inst_id="BTC-USDT-SWAP",
        side="buy",
        pos_side="",
        ord_type="ioc",
        sz="1",
        px="60000",
        cl_ord_id=f"P{number}",
        body=f'{{"clOrdId":"P{number}"}}',
    )
    return replace(child, **changes)


def sent_orders(*children: ChildOrder) -> World:
    """Return a world in which these orders were sent, and accepted by the exchange."""
    world = World(0, 60_000, 0, Policy(canary=0), children)
    for _ in children:
        for command in list(world.commands):
            world.commands.remove(command)
            if isinstance(command, Prepare):
                world.prepare(command.child, None)
            elif isinstance(command, Send):
                world.send(command, delay_ms=1, answers="", stays=True, leaves=True, halted="")
        while world.queue:
            world.commit()
    for command in [one for one in world.commands if isinstance(one, Send)]:
        world.commands.remove(command)
        world.send(command, delay_ms=1, answers="", stays=True, leaves=True, halted="")
    world.advance(1)
    for request in list(world.replies):
        world.replies.remove(request)
        world.reply(request)
    return world
