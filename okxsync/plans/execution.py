"""The execution of one approved plan. No I/O: events come in, commands go out (``plans.desk`` carries them out).

    step         what is due: children to prepare, intents to store, outcomes to store, questions to ask
    prepared     the checks before the send have passed, or not
    written      intents are on disk, durably: their orders may be sent
    may_send     asked immediately before the first byte; it decides, and the child counts as sent
    replied      a reply, or how the request failed
    answered     the answer to a question about an order of unknown outcome
    followed     a row of the mirror

What this guarantees: no request before its intent is on disk; at most one open intent per child; a new attempt only
with a proof that the one before placed nothing; bodies only from approved rows; nothing is sent after ``valid_until``;
every child ends with an order or a reason.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from decimal import Decimal
from typing import Final, Literal

import msgspec

from okxsync.plans.codes import Reaction
from okxsync.plans.commands import (
    Alarm,
    AskAbout,
    AskLever,
    Attempt,
    CancelOrder,
    ChildOrder,
    Command,
    LeverAnswer,
    MeasureClock,
    Misfire,
    Moment,
    Prepare,
    Send,
    Shrunk,
    Store,
    Withheld,
)
from okxsync.plans.replies import Judgement, Verdict
from okxsync.plans.resolve import MARGIN_MS, Absent, Answer, Ask, Doubled, Found, OrderRow, Question, Resolver
from okxsync.plans.restart import recover
from okxsync.plans.states import ENDED, MAX_ATTEMPTS, PLACED, ChildEvent, ChildState, after, can
from okxsync.plans.waves import LAST_MS, Breakers, Decision, Member, Policy, decide

EXPIRES_MS: Final = 3_000
"""``expTime`` of a request: OKX does not process it later."""
BLOCKED_MS: Final = 2_000
"""An intent that is not on disk after this time is given up: the store is blocked."""
SLOW_MS: Final = 2_000
"""After a rate limit: OKX's limits count over two seconds."""
LEVER_MS: Final = 1_000
"""When the leverage is asked for after a request of unknown outcome, and again after an answer that is an error."""
LOOKS_UP_MS: Final = 60_000
"""How long a child that will not be sent is looked up in vain, while the exchange cannot be asked."""
NOT_SENT_MS: Final = (300, 1_000, 2_000, 5_000)
"""Pauses after a request that did not leave."""


_OF_STATE: Final = {
    "live": ChildEvent.WORKING,
    "partially_filled": ChildEvent.WORKING,
    "filled": ChildEvent.FILLED,
    "canceled": ChildEvent.CANCELED,
    "mmp_canceled": ChildEvent.CANCELED,
    "gone": ChildEvent.GONE,
}
_IN_BOOK: Final = frozenset({ChildState.ACCEPTED, ChildState.WORKING})
ENDS_AT_ONCE: Final = frozenset({"ioc", "fok"})
"""Types of orders that never rest, so that there is nothing to cancel."""
_replace = msgspec.structs.replace


class Execution:
    """Executes one plan.

    Args:
        attempts: The last attempt of each child that has one.
        resumed: An earlier process may have begun it.
        next_receipt: Returns a number that no other intent has.
    """

    def __init__(
        self,
        children: Sequence[ChildOrder],
        attempts: Mapping[int, Attempt],
        policy: Policy,
        valid_until_ms: int,
        next_receipt: Callable[[], int],
        now: Moment,
        *,
        resumed: bool = False,
        on_restart: Literal["resume", "stop"] = "resume",
    ) -> None:
        self._children = {one.number: one for one in children}
        self._attempts = dict(attempts)
        self._policy = policy
        self._valid_until_ms = valid_until_ms
        self._next_receipt = next_receipt
        self._preparing: set[int] = set()
        self._prepared: list[int] = []
        self._waiting: dict[int, tuple[int, list[int]]] = {}  # receipt -> when it was asked for, children
        self._resolvers: dict[int, Resolver] = {}
        self._asked: dict[int, Question] = {}
        self._asks_again_ms: dict[int, int] = {}
        self._to_look_up: dict[int, str] = {}  # children without an intent -> why they will not be sent, or ""
        self._others_end_ms = 0  # until when requests of an earlier process may be processed
        self._levers: dict[int, int] = {}  # steps of unknown outcome -> when the leverage is asked for
        self._levers_asked: set[int] = set()
        self._not_before_ms: dict[int, int] = {}
        self._not_sent: Counter[int] = Counter()
        self._changed: dict[int, None] = {}
        self._changed_attempts: dict[tuple[int, int], Attempt] = {}
        self._misfires: list[Misfire] = []
        self._commands: list[Command] = []
        self._cancels_resting = False
        self._canceling: set[int] = set()
        self.breakers = Breakers(doubled=any(one.doubled for one in children))
        self.decision = Decision()
        if resumed:
            self._recover(now, on_restart)

    @property
    def children(self) -> Sequence[ChildOrder]:
        return list(self._children.values())

    @property
    def has_ended(self) -> bool:
        return all(one.state in ENDED for one in self._children.values())

    def child(self, number: int) -> ChildOrder:
        return self._children[number]

    def cancel(self) -> None:
        """Send nothing more, and cancel the orders that rest now or later."""
        self.breakers = _replace(self.breakers, canceled=True)
        self._cancels_resting = True

    def halt(self, *, cancel_orders: bool) -> None:
        """Send nothing more; orders that rest stay in the book unless they are to be canceled."""
        self.breakers = _replace(self.breakers, halted=True)
        self._cancels_resting = self._cancels_resting or cancel_orders

    def doubted(self, accounts: Collection[str]) -> None:
        """Take the accounts whose mirror may have missed something; a single one may be a coincidence."""
        all_ = {one.account for one in self._children.values()}
        found = len(all_ & set(accounts))
        share = Decimal(found) / len(all_) if found > 1 else Decimal(0)
        self.breakers = _replace(self.breakers, doubted_share=share)

    def step(self, now: Moment) -> list[Command]:
        """Return what is to be done, in this order."""
        self._give_up_blocked(now)
        self._decide(now)
        self._store_changes()
        self._cancel_orders(now)
        self._arm(now)
        for number in sorted(self._resolvers):
            self._resolve(number, now)
        self._give_up_lookups(now)
        for number in sorted(self._to_look_up.keys() - self._asked.keys()):
            self._ask(number, Ask(Question.ORDER, self._asks_again_ms.get(number, 0)))
        for number in sorted(self._levers.keys() - self._levers_asked):
            self._levers_asked.add(number)
            self._commands.append(AskLever(self._children[number], self._levers[number]))
        self._store_changes()
        commands, self._commands = self._commands, []
        return commands

    def prepared(self, number: int, found: Withheld | Shrunk | None, now: Moment) -> None:
        """Take the result of the checks before the send; None: it may be sent as approved."""
        if number not in self._preparing:  # the plan was paused meanwhile
            return
        self._preparing.discard(number)
        if self._children[number].state is not ChildState.READY:
            return
        if isinstance(found, Withheld):
            self._withhold(number, found, now)
            return
        if found:
            self._children[number] = _replace(self._children[number], sz=found.sz, body=found.body)
        self._prepared.append(number)

    def written(self, receipt: int) -> None:
        """The intents of this receipt are on disk, durably."""
        _, numbers = self._waiting.pop(receipt, (0, []))
        for number in numbers:
            if self._children[number].state is ChildState.ARMED:
                self._commands.append(Send(self._children[number], self._attempts[number]))

    def may_send(self, number: int, attempt: int, now: Moment, *, halted: bool) -> bool:
        """Return whether this attempt may leave now; if so, it counts as sent. To be called right before it leaves."""
        child, current = self._children[number], self._attempts[number]
        if child.state is not ChildState.ARMED or current.number != attempt:
            return False
        withheld = None
        always = child.kind == "cancel"
        if self.breakers.canceled:
            withheld = Withheld("canceled", "the plan was canceled")
        elif halted and not always:
            withheld = Withheld("halted", "trading is halted")
        elif now.latest_ms >= self._valid_until_ms - LAST_MS and not always:
            withheld = Withheld("expired", "the plan is no longer valid")
        if withheld or (now.latest_ms >= current.exp_ms - LAST_MS and not always):
            self._end_attempt(number, Verdict.NOT_SENT)
            if withheld:
                self._withhold(number, withheld, now)
            else:
                self._back_to_ready(number, now)
            return False
        self._attempts[number] = _replace(current, sent_ms=now.now_ms)
        self._set(_replace(child, state=after(child.state, ChildEvent.SEND)))
        return True

    def replied(self, number: int, attempt: int, judgement: Judgement, now: Moment) -> None:
        """Take a reply to an attempt, or how it failed; if there was no connection, ``may_send`` was not asked."""
        child, current = self._children[number], self._attempts[number]
        if current.number != attempt:
            return
        self._end_attempt(number, judgement.verdict, judgement, now)
        if judgement.ord_id:
            self._order_seen(number, judgement.ord_id)
            child = self._children[number]
        if judgement.reaction is Reaction.CLOCK:
            self._commands.append(MeasureClock())
        if child.state is ChildState.ARMED and judgement.verdict is Verdict.NOT_SENT:  # there was no connection
            self._back_to_ready(number, now)
            return
        if child.state is not ChildState.SENT:
            if judgement.verdict is Verdict.PLACED and can(child.state, ChildEvent.FOUND):
                self._is_found(number, now)
            return
        match judgement.verdict:
            case Verdict.PLACED:
                event = ChildEvent.PLACED if child.kind == "order" else ChildEvent.DONE
                self._happens(number, event, now)
            case Verdict.NOT_SENT:
                self._back_to_ready(number, now)
            case Verdict.REFUSED if judgement.resend and current.number < MAX_ATTEMPTS:
                self._back_to_ready(number, now, SLOW_MS)
            case Verdict.REFUSED:
                self._happens(number, ChildEvent.REFUSED, now, "refused", _what(judgement))
            case _:
                self._is_unknown(number, now, _what(judgement))

    def answered(self, number: int, answer: Answer, now: Moment) -> None:
        """Take the answer to a question about an order."""
        if self._asked.get(number) is answer.question:
            del self._asked[number]
        child = self._children[number]
        if resolver := self._resolvers.get(number):
            resolver.take(answer, now.now_ms)
        elif number in self._to_look_up:
            for row in answer.rows:
                if row.cl_ord_id == child.cl_ord_id:
                    self._order_seen(number, row.ord_id)
            self._looked_up(number, answer, now)

    def canceled(self, number: int, attempt: int, end: str, now: Moment) -> None:
        """Take the end of the order that a step cancels: its state, or how it is known that there is none."""
        child = self._children[number]
        if child.state is ChildState.SENT and child.attempts == attempt:
            self._end_attempt(number, Verdict.PLACED)
            self._happens(number, ChildEvent.DONE, now, "", end)

    def lever_answered(self, number: int, answer: LeverAnswer, now: Moment) -> None:
        """Take the answer of ``AskLever``. A step may be sent again, since it can only set the same leverage."""
        self._levers_asked.discard(number)
        if answer.error:
            self._levers[number] = now.now_ms + LEVER_MS
            return
        del self._levers[number]
        proof = msgspec.json.encode({"question": "leverage-info", "asked_ms": answer.asked_ms, "lever": answer.lever})
        if answer.is_set:
            self._end_attempt(number, Verdict.PLACED, proof=proof.decode())
            self._happens(number, ChildEvent.DONE, now)
            return
        self._end_attempt(number, Verdict.ABSENT, proof=proof.decode())
        if self._may_resend(number, now):
            self._happens(number, ChildEvent.RESEND, now)
        else:
            self._happens(number, ChildEvent.ABSENT, now, "absent", f"the leverage is {answer.lever}")

    def followed(self, number: int, order: OrderRow, now: Moment) -> None:
        """Take the mirror's row of a child's order."""
        self._order_seen(number, order.ord_id)
        child = self._children[number]
        if child.ord_id != order.ord_id:
            return
        if child.state not in PLACED and can(child.state, ChildEvent.FOUND):
            self._is_found(number, now)
        event = _OF_STATE.get(order.state)
        if event and can(self._children[number].state, event):
            child = self._children[number]
            followed = _replace(child, acc_fill_sz=order.acc_fill_sz, avg_px=order.avg_px, fee=order.fee)
            if followed != child or after(child.state, event) is not child.state:
                self._set(followed)
                self._happens(number, event, now)

    def member(self, child: ChildOrder) -> Member:
        """Return a child as far as it decides what is sent next."""
        last = self._attempts.get(child.number)
        reply = last.reply if last else None
        return Member(
            child.number,
            child.position,
            child.phase,
            child.state,
            sent_ms=last.armed_ms if last else 0,
            answered_ms=last.replied_ms if last else 0,
            code=reply.decisive_code if reply else "",
            not_before_ms=self._not_before_ms.get(child.number, 0),
            cancels=child.kind == "cancel",
        )

    def _recover(self, now: Moment, on_restart: Literal["resume", "stop"]) -> None:
        """Take over from an earlier process; the database may be an older copy, which lacks its last requests."""
        self._others_end_ms = now.latest_ms + EXPIRES_MS
        for number, child in self._children.items():
            recovery = recover(child.state, on_restart, now.latest_ms, self._valid_until_ms, child.kind)
            if recovery.look_up:
                self._to_look_up[number] = recovery.reason
            elif recovery.event is ChildEvent.WITHHOLD:
                self._withhold(number, Withheld(recovery.reason, "the daemon was restarted"), now)
            elif recovery.event is ChildEvent.UNKNOWN:
                self._end_attempt(number, Verdict.UNKNOWN)
                self._is_unknown(number, now, "another process sent it")
            elif child.state is ChildState.UNKNOWN:
                self._resolve_later(number, now)

    def _decide(self, now: Moment) -> None:
        self.breakers = _replace(self.breakers, clock_error_ms=now.error_ms)
        members = [self.member(child) for child in self._children.values()]
        decision = self.decision = decide(members, self._policy, self.breakers, now.latest_ms, self._valid_until_ms)
        if decision.withhold:
            for number, child in self._children.items():
                if number in self._to_look_up:
                    self._to_look_up[number] = self._to_look_up[number] or decision.withhold
                elif child.state is ChildState.READY and (child.kind != "cancel" or self.breakers.canceled):
                    self._withhold(number, Withheld(decision.withhold, decision.detail), now)
        self._cancels_resting = self._cancels_resting or decision.cancel_resting
        if decision.paused:
            cancels = {one.number for one in self._children.values() if one.kind == "cancel"}
            self._prepared = [one for one in self._prepared if one in cancels]
            self._preparing &= cancels
        for number in decision.send:
            if number not in self._preparing and number not in self._prepared and number not in self._to_look_up:
                self._preparing.add(number)
                self._commands.append(Prepare(number))

    def _cancel_orders(self, now: Moment) -> None:
        """Cancel each order that may rest and is to be canceled; an order that is found later is canceled then."""
        for number, child in self._children.items():
            if child.kind != "order" or child.state not in _IN_BOOK or number in self._canceling:
                continue
            may_rest = child.ord_type not in ENDS_AT_ONCE
            if may_rest and (self._cancels_resting or self._rests_too_long(child, now)):
                self._canceling.add(number)
                self._commands.append(CancelOrder(child))

    def _rests_too_long(self, child: ChildOrder, now: Moment) -> bool:
        armed_ms = self._attempts[child.number].armed_ms if child.number in self._attempts else now.now_ms
        return bool(child.cancel_after_ms) and now.now_ms >= armed_ms + child.cancel_after_ms

    def _arm(self, now: Moment) -> None:
        """Store the intents of all children that have passed the checks."""
        numbers = [one for one in dict.fromkeys(self._prepared) if self._children[one].state is ChildState.READY]
        self._prepared.clear()
        if not numbers:
            return
        for number in numbers:
            child, last = self._children[number], self._attempts.get(number)
            armed = _replace(child, state=after(child.state, ChildEvent.ARM), attempts=child.attempts + 1)
            self._children[number] = armed
            self._attempts[number] = Attempt(
                number,
                armed.attempts,
                min(now.now_ms + EXPIRES_MS, self._valid_until_ms),
                now.now_ms,
                last.first_armed_ms if last else now.now_ms,
            )
        receipt = self._next_receipt()
        self._waiting[receipt] = now.now_ms, numbers
        self._commands.append(
            Store(
                tuple(self._children[one] for one in numbers),
                tuple(self._attempts[one] for one in numbers),
                receipt=receipt,
            )
        )

    def _give_up_blocked(self, now: Moment) -> None:
        for receipt, (since_ms, numbers) in list(self._waiting.items()):
            if now.now_ms < since_ms + BLOCKED_MS:
                continue
            del self._waiting[receipt]
            for number in numbers:
                if self._children[number].state is ChildState.ARMED:
                    self._end_attempt(number, Verdict.NOT_SENT)
                    self._withhold(number, Withheld("store-blocked", "its intent could not be stored in time"), now)

    def _back_to_ready(self, number: int, now: Moment, pause_ms: int = 0) -> None:
        if not pause_ms:
            pause_ms = NOT_SENT_MS[min(self._not_sent[number], len(NOT_SENT_MS) - 1)]
            self._not_sent[number] += 1
        self._not_before_ms[number] = now.now_ms + pause_ms
        self._happens(number, ChildEvent.NOT_PLACED, now)

    def _withhold(self, number: int, withheld: Withheld, now: Moment) -> None:
        child = self._children[number]
        self._to_look_up.pop(number, None)
        self._misfires.append(Misfire(now.now_ms, number, child.account, withheld.reason, withheld.detail))
        self._happens(number, ChildEvent.WITHHOLD, now, withheld.reason, withheld.detail)

    def _happens(self, number: int, event: ChildEvent, now: Moment, reason: str = "", detail: str = "") -> None:
        child = self._children[number]
        state = after(child.state, event)
        ended_ms = now.now_ms if state in ENDED else 0
        self._set(_replace(child, state=state, reason=reason, detail=detail, ended_ms=ended_ms))

    def _set(self, child: ChildOrder) -> None:
        self._children[child.number] = child
        if child.state is not ChildState.SENT:  # whoever reads an intent without an outcome knows as much
            self._changed[child.number] = None

    def _end_attempt(
        self, number: int, verdict: Verdict, reply: Judgement | None = None, now: Moment | None = None, proof: str = ""
    ) -> None:
        attempt = self._attempts[number]
        attempt = _replace(
            attempt,
            verdict=str(verdict),
            reply=reply or attempt.reply,
            replied_ms=now.now_ms if now else attempt.replied_ms,
            proof=proof,
        )
        self._attempts[number] = attempt
        self._changed_attempts[number, attempt.number] = attempt

    def _order_seen(self, number: int, ord_id: str) -> None:
        """Note the id of a child's order; a second one is an alarm."""
        child = self._children[number]
        if not child.ord_id:
            self._set(_replace(child, ord_id=ord_id))
        elif ord_id and ord_id != child.ord_id and not child.doubled:
            self._alarm(number, f"two orders have the id {child.cl_ord_id}: {child.ord_id} and {ord_id}")

    def _alarm(self, number: int, text: str) -> None:
        child = self._children[number]
        self._set(_replace(child, doubled=True))
        self.breakers = _replace(self.breakers, doubled=True)
        self._commands.append(Alarm(number, child.account, text))

    def _is_found(self, number: int, now: Moment) -> None:
        child = self._children[number]
        if child.state in ENDED:
            text = f"the order {child.ord_id} exists, although the child ended as {child.state}"
            self._commands.append(Alarm(number, child.account, text))
        self._resolvers.pop(number, None)
        self._to_look_up.pop(number, None)
        last = self._attempts.get(number)
        if last and not last.verdict:
            self._end_attempt(number, Verdict.PLACED)
        self._happens(number, ChildEvent.FOUND, now)

    def _is_unknown(self, number: int, now: Moment, why: str) -> None:
        self._happens(number, ChildEvent.UNKNOWN, now, "", why)
        self._resolve_later(number, now)

    def _resolve_later(self, number: int, now: Moment) -> None:
        """Find out what became of a child of unknown outcome; a cancellation is simply repeated."""
        match self._children[number].kind:
            case "order":
                self._start_resolving(number, now)
            case "leverage":
                self._levers[number] = now.now_ms + LEVER_MS
            case "cancel":
                self._happens(number, ChildEvent.RESEND, now)

    def _start_resolving(self, number: int, now: Moment) -> None:
        child, attempt = self._children[number], self._attempts[number]
        self._asked.pop(number, None)
        exp_ms = max(attempt.exp_ms, self._others_end_ms)
        self._resolvers[number] = Resolver(child, attempt.first_armed_ms, exp_ms, now.now_ms)

    def _resolve(self, number: int, now: Moment) -> None:
        if number in self._asked:
            return
        match self._resolvers[number].next_step(now.earliest_ms):
            case Ask() as ask:
                self._ask(number, ask)
            case Found(order=order, proof=proof):
                self._order_seen(number, order.ord_id)
                self._end_attempt(number, Verdict.PLACED, proof=proof)
                self._is_found(number, now)
            case Doubled(orders=orders, note=note, proof=proof):
                del self._resolvers[number]
                self._alarm(number, note)
                if len(orders) > 1:
                    self._order_seen(number, orders[0].ord_id)
                    self._end_attempt(number, Verdict.PLACED, proof=proof)
                    self._is_found(number, now)
                else:
                    self._end_attempt(number, Verdict.REFUSED, proof=proof)
                    self._happens(number, ChildEvent.REFUSED, now, "refused", note)
            case Absent() as absent:
                del self._resolvers[number]
                self._is_absent(number, absent, now)

    def _is_absent(self, number: int, absent: Absent, now: Moment) -> None:
        attempt = self._attempts[number]
        self._end_attempt(number, Verdict.ABSENT, proof=absent.proof)
        if attempt.reply and not attempt.reply.resend:
            self._happens(number, ChildEvent.REFUSED, now, "refused", _what(attempt.reply))
        elif absent.may_resend and self._may_resend(number, now):
            self._happens(number, ChildEvent.RESEND, now)
        else:
            self._happens(
                number, ChildEvent.ABSENT, now, "absent", absent.note or "it is proved that it was not placed"
            )

    def _may_resend(self, number: int, now: Moment) -> bool:
        is_valid = now.latest_ms < self._valid_until_ms - LAST_MS
        return self._attempts[number].number < MAX_ATTEMPTS and is_valid and not self.decision.withhold

    def _looked_up(self, number: int, answer: Answer, now: Moment) -> None:
        ends_ms = self._others_end_ms + MARGIN_MS
        if self._children[number].ord_id:
            self._is_found(number, now)
        elif answer.error:
            self._asks_again_ms[number] = now.now_ms + SLOW_MS
        elif answer.asked_ms <= ends_ms:  # a request of an earlier process may still be processed
            self._asks_again_ms[number] = ends_ms + 1
        elif why := self._to_look_up.pop(number):
            self._withhold(number, Withheld(why, self._why_not(why)), now)

    def _give_up_lookups(self, now: Moment) -> None:
        """End the children that will not be sent, and of which the exchange says nothing."""
        if now.earliest_ms < self._others_end_ms + LOOKS_UP_MS:
            return
        for number, why in list(self._to_look_up.items()):
            if why:
                unknown = "whether an earlier process has sent it could not be asked"
                self._withhold(number, Withheld(why, f"{self._why_not(why)}; {unknown}"), now)

    def _why_not(self, reason: str) -> str:
        is_decided = reason == self.decision.withhold
        return self.decision.detail if is_decided else "the daemon was restarted"

    def _ask(self, number: int, ask: Ask) -> None:
        self._asked[number] = ask.question
        attempt = self._attempts.get(number)
        self._commands.append(AskAbout(self._children[number], ask, attempt.first_armed_ms if attempt else 0))

    def _store_changes(self) -> None:
        if self._changed or self._changed_attempts or self._misfires:
            children = tuple(self._children[one] for one in self._changed)
            self._commands.append(Store(children, tuple(self._changed_attempts.values()), tuple(self._misfires)))
            self._changed, self._changed_attempts, self._misfires = {}, {}, []


def _what(judgement: Judgement) -> str:
    """Return a line for people: the code, what it means, and the exchange's own words."""
    code, said = judgement.decisive_code, judgement.s_msg
    return f"{code + ' ' if code else ''}{judgement.text}{f' ({said})' if said else ''}"
