"""The execution of one approved plan. No I/O: events come in, commands go out (``plans.desk`` carries them out).

    step         what is due: children to prepare, intents to store, outcomes to store, questions to ask
    prepared     the checks before the send have passed, or not
    written      intents are on disk, durably: their orders may be sent
    may_send     asked immediately before the only write; it decides, and the child counts as sent
    replied      a reply, or how the request failed
    answered     the answer to a question about an order of unknown outcome (``plans.inquiries``)
    followed     a row of the mirror

What this guarantees: no request before its intent is on disk; at most one open intent per child; a new attempt only
with a proof that the one before placed nothing; bodies only from approved rows; nothing is sent after ``valid_until``;
every child ends with an order or a reason.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from decimal import Decimal
from typing import Final, Literal

from msgspec.structs import replace

from okxsync.plans.attached import AttachedOrders
from okxsync.plans.codes import Reaction
from okxsync.plans.commands import (
    Attempt,
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
from okxsync.plans.inquiries import Inquiries
from okxsync.plans.records import Records
from okxsync.plans.replies import Judgement, Stage, Verdict, failed
from okxsync.plans.resolve import Answer, OrderRow
from okxsync.plans.restart import recover
from okxsync.plans.states import ENDED, IN_FLIGHT, MAX_ATTEMPTS, PLACED, ChildEvent, ChildState, after, can
from okxsync.plans.waves import CLOCK_ERROR_MS, LAST_MS, Breakers, Decision, Member, Policy, decide

EXPIRES_MS: Final = 3_000
"""``expTime`` of a request: OKX does not process it later."""
BLOCKED_MS: Final = 2_000
"""An intent that is not on disk after this time is given up: the store is blocked."""
SLOW_MS: Final = 2_000
"""After a rate limit: OKX's limits count over two seconds."""
NOT_SENT_MS: Final = (300, 1_000, 2_000, 5_000)
"""Pauses after a request that did not leave."""
MEASURES_MS: Final = 2_000
"""How often the clock is measured while its error is too large."""
ENDS_AT_ONCE: Final = frozenset({"ioc", "fok"})
"""Types of orders that never rest, so that there is nothing to cancel."""
_OF_STATE: Final = {
    "live": ChildEvent.WORKING,
    "partially_filled": ChildEvent.WORKING,
    "filled": ChildEvent.FILLED,
    "canceled": ChildEvent.CANCELED,
    "mmp_canceled": ChildEvent.CANCELED,
    "gone": ChildEvent.GONE,
}
_IN_BOOK: Final = frozenset({ChildState.ACCEPTED, ChildState.WORKING})


class Execution:
    """Executes one plan.

    Args:
        attempts: The last attempt of each child that has one.
        resumed: An earlier process may have begun it.
        next_receipt: Returns a number that no other intent has.
        transport_of: Returns the way on which a child will be sent.
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
        transport_of: Callable[[ChildOrder], str] = lambda child: "rest",
    ) -> None:
        self._records = Records(children, attempts)
        self._children, self._attempts = self._records.children, self._records.attempts
        self._inquiries = Inquiries(self._records, valid_until_ms)
        self._policy = policy
        self._valid_until_ms = valid_until_ms
        self._next_receipt = next_receipt
        self._transport_of = transport_of
        self._preparing: set[int] = set()
        self._prepared: list[int] = []
        self._waiting: dict[int, tuple[int, list[int]]] = {}  # receipt -> when it was asked for, children
        self._not_before_ms: dict[int, int] = {}
        self._failures: Counter[int] = Counter()
        self._members: dict[int, tuple[ChildOrder, Attempt | None, Member]] = {}
        self._cancels_resting = False
        self._canceling: set[int] = set()
        self._measures_ms = 0
        self.attached = AttachedOrders()
        self.breakers = Breakers()
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
        self.breakers = replace(self.breakers, canceled=True)
        self._cancels_resting = True

    def halt(self, *, cancel_orders: bool) -> None:
        """Send nothing more; orders that rest stay in the book unless they are to be canceled."""
        self.breakers = replace(self.breakers, halted=True)
        self._cancels_resting = self._cancels_resting or cancel_orders

    def doubted(self, accounts: Collection[str]) -> None:
        """Take the accounts whose mirror may have missed something; a single one may be a coincidence."""
        all_ = {one.account for one in self._children.values()}
        found = len(all_ & set(accounts))
        share = Decimal(found) / len(all_) if found > 1 else Decimal(0)
        self.breakers = replace(self.breakers, doubted_share=share)

    def step(self, now: Moment) -> list[Command]:
        """Return what is to be done, in this order."""
        self._give_up_blocked(now)
        self._decide(now)
        self._records.store_changes()
        self._cancel_orders(now)
        self._arm(now)
        self._inquiries.step(now, self.decision)
        self._records.commands += self.attached.questions(now.now_ms)
        self._records.store_changes()
        return self._records.take_commands()

    def prepared(self, number: int, found: Withheld | Shrunk | None, now: Moment) -> None:
        """Take the result of the checks before the send; None: it may be sent as approved."""
        if number not in self._preparing:  # the plan was paused meanwhile
            return
        self._preparing.discard(number)
        if self._children[number].state is not ChildState.READY:
            return
        if isinstance(found, Withheld):
            self._records.withhold(number, found, now)
            return
        if found:
            self._children[number] = replace(self._children[number], sz=found.sz, body=found.body)
        self._prepared.append(number)

    def written(self, receipt: int) -> None:
        """The intents of this receipt are on disk, durably."""
        _, numbers = self._waiting.pop(receipt, (0, []))
        for number in numbers:
            if self._children[number].state is ChildState.ARMED:
                self._records.commands.append(Send(self._children[number], self._attempts[number]))

    def may_send(self, number: int, attempt: int, now: Moment, *, halted: bool) -> bool:
        """Return whether this attempt may leave now; if so, it counts as sent.

        Asked right before the request is written, which is one write.
        """
        child, current = self._children[number], self._attempts[number]
        if child.state not in IN_FLIGHT or current.number != attempt:
            return False
        withheld = None
        always = child.kind == "cancel"
        if self.breakers.canceled:
            withheld = Withheld("canceled", "the plan was canceled")
        elif halted and not always:
            withheld = Withheld("halted", "trading is halted")
        elif now.latest_ms >= self._valid_until_ms - LAST_MS and not always:
            waited_s = (now.now_ms - current.armed_ms) / 1000  # for a rate limit, or a connection
            withheld = Withheld("expired", f"the plan is no longer valid; the request waited for {waited_s:.1f} s")
        if withheld or (now.latest_ms >= current.exp_ms - LAST_MS and not always):
            self._not_sent(number, withheld, now)
            return False
        self._attempts[number] = replace(current, sent_ms=now.now_ms)
        if child.state is ChildState.ARMED:
            self._records.set(replace(child, state=after(child.state, ChildEvent.SEND)))
        return True

    def failed(self, number: int, attempt: int, why: str, now: Moment) -> None:
        """Take an internal error of an attempt: what has not left is withheld, what may have left is unknown."""
        child = self._children[number]
        if self._attempts[number].number != attempt:
            return
        self._not_before_ms[number] = now.now_ms + NOT_SENT_MS[-1]
        if child.state is ChildState.ARMED:
            self._not_sent(number, Withheld("internal-error", why), now)
        else:
            self.replied(number, attempt, failed(Stage.STARTED, why), now)

    def replied(self, number: int, attempt: int, judgement: Judgement, now: Moment) -> None:
        """Take a reply to an attempt, or how it failed; if there was no connection, ``may_send`` was not asked."""
        child, current = self._children[number], self._attempts[number]
        if current.number != attempt:
            return
        self._records.end_attempt(number, judgement.verdict, judgement, now)
        if judgement.ord_id:
            self._records.order_seen(number, judgement.ord_id)
            child = self._children[number]
        if judgement.reaction is Reaction.CLOCK:
            self._records.commands.append(MeasureClock())
        if child.state is ChildState.ARMED and judgement.verdict is Verdict.NOT_SENT:  # there was no connection
            self._back_to_ready(number, now)
            return
        if child.state is not ChildState.SENT:
            if judgement.verdict is Verdict.PLACED and can(child.state, ChildEvent.FOUND):
                self._inquiries.found(number, now)
            return
        match judgement.verdict:
            case Verdict.PLACED:
                event = ChildEvent.PLACED if child.kind == "order" else ChildEvent.DONE
                self._records.happens(number, event, now)
            case Verdict.NOT_SENT:
                self._back_to_ready(number, now)
            case Verdict.REFUSED if judgement.resend and current.number < MAX_ATTEMPTS:
                self._back_to_ready(number, now, SLOW_MS)
            case Verdict.REFUSED:
                self._records.happens(number, ChildEvent.REFUSED, now, "refused", judgement.summary)
            case _:
                self._inquiries.unknown(number, now, judgement.summary)

    def answered(self, number: int, answer: Answer, now: Moment) -> None:
        """Take the answer to a question about an order."""
        self._inquiries.answered(number, answer, now, self.decision)

    def canceled(self, number: int, attempt: int, end: str, now: Moment) -> None:
        """Take the end of the order that a step cancels: its state, or how it is known that there is none."""
        child = self._children[number]
        if child.state is ChildState.SENT and child.attempts == attempt:
            self._records.end_attempt(number, Verdict.PLACED)
            self._records.happens(number, ChildEvent.DONE, now, "", end)

    def lever_answered(self, number: int, answer: LeverAnswer, now: Moment) -> None:
        """Take the answer of ``AskLever``."""
        self._inquiries.lever_answered(number, answer, now, self.decision)

    def followed(self, number: int, order: OrderRow, now: Moment) -> None:
        """Take the mirror's row of a child's order."""
        self._records.order_seen(number, order.ord_id)
        child = self._children[number]
        if child.ord_id != order.ord_id:
            return
        if child.state not in PLACED and can(child.state, ChildEvent.FOUND):
            self._inquiries.found(number, now)
        event = _OF_STATE.get(order.state)
        if event and self.attached.is_awaited(child, event, order, now.now_ms):
            event = ChildEvent.WORKING
        if event and can(self._children[number].state, event):
            child = self._children[number]
            followed = replace(child, acc_fill_sz=order.acc_fill_sz, avg_px=order.avg_px, fee=order.fee)
            if followed != child or after(child.state, event) is not child.state:
                self._records.set(followed)
                self._records.happens(number, event, now)
                self._check_attached(number)

    def _check_attached(self, number: int) -> None:
        child = self._children[number]
        if child.state in ENDED and self.attached.are_missing(number) and not child.unprotected:
            self._records.set(replace(child, unprotected=True))
            text = f"{child.acc_fill_sz} filled, and {child.algo_cl_ord_id}, its take-profit or stop-loss, is not seen"
            self._records.alarm(number, text)

    def member(self, child: ChildOrder) -> Member:
        """Return a child as far as it decides what is sent next; it is made anew when something has changed."""
        last, not_before_ms = self._attempts.get(child.number), self._not_before_ms.get(child.number, 0)
        known = self._members.get(child.number)
        if known and known[0] is child and known[1] is last and known[2].not_before_ms == not_before_ms:
            return known[2]
        reply = last.reply if last else None
        member = Member(
            child.number,
            child.position,
            child.phase,
            child.state,
            sent_ms=last.armed_ms if last else 0,
            answered_ms=last.replied_ms if last else 0,
            code=reply.decisive_code if reply else "",
            not_before_ms=not_before_ms,
            cancels=child.kind == "cancel",
        )
        self._members[child.number] = child, last, member
        return member

    def _recover(self, now: Moment, on_restart: Literal["resume", "stop"]) -> None:
        """Take over from an earlier process; the database may be an older copy, which lacks its last requests."""
        self._inquiries.others_end_ms = now.latest_ms + EXPIRES_MS
        for number, child in self._children.items():
            recovery = recover(child.state, on_restart, now.latest_ms, self._valid_until_ms, child.kind)
            if recovery.look_up:
                self._inquiries.look_up(number, recovery.reason)
            elif recovery.event is ChildEvent.WITHHOLD:
                self._records.withhold(number, Withheld(recovery.reason, "the daemon was restarted"), now)
            elif recovery.event is ChildEvent.UNKNOWN:
                self._records.end_attempt(number, Verdict.UNKNOWN)
                self._inquiries.unknown(number, now, "another process sent it")
            elif child.state is ChildState.UNKNOWN:
                self._inquiries.resolve(number, now)

    def _decide(self, now: Moment) -> None:
        doubled = self._records.has_doubled
        self.breakers = replace(self.breakers, doubled=doubled, clock_error_ms=now.error_ms)
        if now.error_ms > CLOCK_ERROR_MS and now.now_ms >= self._measures_ms:
            self._measures_ms = now.now_ms + MEASURES_MS
            self._records.commands.append(MeasureClock())
        members = [self.member(child) for child in self._children.values()]
        decision = self.decision = decide(members, self._policy, self.breakers, now.latest_ms, self._valid_until_ms)
        if decision.withhold:
            for number, child in self._children.items():
                if self._inquiries.is_looked_up(number):
                    self._inquiries.will_not_send(number, decision.withhold)
                elif child.state is ChildState.READY and (child.kind != "cancel" or self.breakers.canceled):
                    self._records.withhold(number, Withheld(decision.withhold, decision.detail), now)
        self._cancels_resting = self._cancels_resting or decision.cancel_resting
        if decision.paused:
            cancels = {one.number for one in self._children.values() if one.kind == "cancel"}
            self._prepared = [one for one in self._prepared if one in cancels]
            self._preparing &= cancels
        for number in decision.send:
            is_checked = number in self._preparing or number in self._prepared
            if not is_checked and not self._inquiries.is_looked_up(number):
                self._preparing.add(number)
                self._records.commands.append(Prepare(number))

    def _cancel_orders(self, now: Moment) -> None:
        """Cancel each order that may rest and is to be canceled; an order that is found later is canceled then."""
        for number, child in self._children.items():
            if child.kind != "order" or child.state not in _IN_BOOK or number in self._canceling:
                continue
            may_rest = child.ord_type not in ENDS_AT_ONCE
            if may_rest and (self._cancels_resting or self._rests_too_long(child, now)):
                self._canceling.add(number)
                self._records.commands.append(CancelOrder(child))

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
            armed = replace(child, state=after(child.state, ChildEvent.ARM), attempts=child.attempts + 1)
            self._children[number] = armed
            self._attempts[number] = Attempt(
                number,
                armed.attempts,
                min(now.now_ms + EXPIRES_MS, self._valid_until_ms),
                now.now_ms,
                last.first_armed_ms if last else now.now_ms,
                transport=self._transport_of(armed),
            )
        receipt = self._next_receipt()
        self._waiting[receipt] = now.now_ms, numbers
        self._records.commands.append(
            Store(
                tuple(self._children[one] for one in numbers),
                tuple(self._attempts[one] for one in numbers),
                receipt=receipt,
            )
        )

    def _give_up_blocked(self, now: Moment) -> None:
        blocked = Withheld("store-blocked", "its intent could not be stored in time")
        for receipt, (since_ms, numbers) in list(self._waiting.items()):
            if now.now_ms < since_ms + BLOCKED_MS:
                continue
            del self._waiting[receipt]
            for number in numbers:
                if self._children[number].state is ChildState.ARMED:
                    self._not_sent(number, blocked, now)

    def _not_sent(self, number: int, withheld: Withheld | None, now: Moment) -> None:
        """End an attempt that placed nothing; None: the child is sent again soon."""
        self._records.end_attempt(number, Verdict.NOT_SENT)
        self._back_to_ready(number, now)
        if withheld:
            self._records.withhold(number, withheld, now)

    def _back_to_ready(self, number: int, now: Moment, pause_ms: int = 0) -> None:
        if not pause_ms:
            pause_ms = NOT_SENT_MS[min(self._failures[number], len(NOT_SENT_MS) - 1)]
            self._failures[number] += 1
        self._not_before_ms[number] = now.now_ms + pause_ms
        self._records.happens(number, ChildEvent.NOT_PLACED, now)
