"""Finds out what became of the children of a plan whose outcome is unknown. No I/O: commands ask, answers come in.

order of unknown outcome         a ``Resolver``: it is found, or proved absent
order that may have been sent    looked up once before it is sent: the database may be an older copy
leverage of unknown outcome      the leverage is asked for
cancellation                     it is simply repeated
"""

from typing import Final

import msgspec

from okxsync.plans.commands import AskAbout, AskLever, LeverAnswer, Moment, Withheld
from okxsync.plans.records import Records
from okxsync.plans.replies import Verdict
from okxsync.plans.resolve import MARGIN_MS, Absent, Answer, Ask, Doubled, Found, Question, Resolver
from okxsync.plans.states import ENDED, MAX_ATTEMPTS, ChildEvent
from okxsync.plans.waves import LAST_MS, Decision

SLOW_MS: Final = 2_000
"""When a child is looked up again after an answer that is an error."""
LEVER_MS: Final = 1_000
"""When the leverage is asked for after a request of unknown outcome, and again after an answer that is an error."""
LOOKS_UP_MS: Final = 60_000
"""How long a child that will not be sent is looked up in vain, while the exchange cannot be asked."""


class Inquiries:
    """The inquiries of one execution.

    Attributes:
        others_end_ms: Until when requests of an earlier process may be processed.
    """

    def __init__(self, records: Records, valid_until_ms: int) -> None:
        self._records = records
        self._valid_until_ms = valid_until_ms
        self._resolvers: dict[int, Resolver] = {}
        self._asked: dict[int, Question] = {}
        self._asks_again_ms: dict[int, int] = {}
        self._lookups: dict[int, str] = {}  # children without an intent -> why they will not be sent, or ""
        self._levers: dict[int, int] = {}  # steps of unknown outcome -> when the leverage is asked for
        self._levers_asked: set[int] = set()
        self.others_end_ms = 0

    def step(self, now: Moment, decision: Decision) -> None:
        """Draw the conclusions from the answers, and ask what is still to be asked."""
        for number in sorted(self._resolvers):
            self._resolve(number, now, decision)
        self._give_up_lookups(now, decision)
        for number in sorted(self._lookups.keys() - self._asked.keys()):
            self._ask(number, Ask(Question.ORDER, self._asks_again_ms.get(number, 0)))
        for number in sorted(self._levers.keys() - self._levers_asked):
            self._levers_asked.add(number)
            self._records.commands.append(AskLever(self._records.children[number], self._levers[number]))

    # What is unknown

    def unknown(self, number: int, now: Moment, why: str) -> None:
        """Take a child whose outcome has become unknown."""
        self._records.happens(number, ChildEvent.UNKNOWN, now, "", why)
        self.resolve(number, now)

    def resolve(self, number: int, now: Moment) -> None:
        """Find out what became of a child of unknown outcome."""
        child = self._records.children[number]
        match child.kind:
            case "order":
                attempt = self._records.attempts[number]
                self._asked.pop(number, None)
                exp_ms = max(attempt.exp_ms, self.others_end_ms)
                self._resolvers[number] = Resolver(child, attempt.first_armed_ms, exp_ms, now.now_ms)
            case "leverage":
                self._levers[number] = now.now_ms + LEVER_MS
            case "cancel":
                self._records.happens(number, ChildEvent.RESEND, now)

    def found(self, number: int, now: Moment) -> None:
        """The child's order exists, whatever was believed before."""
        child = self._records.children[number]
        if child.state in ENDED:
            self._records.alarm(number, f"the order {child.ord_id} exists, although the child ended as {child.state}")
        self._resolvers.pop(number, None)
        self._lookups.pop(number, None)
        last = self._records.attempts.get(number)
        if last and not last.verdict:
            self._records.end_attempt(number, Verdict.PLACED)
        self._records.happens(number, ChildEvent.FOUND, now)

    def look_up(self, number: int, reason: str) -> None:
        """Look up a child without an intent before it is sent; ``reason``: why it will not be sent."""
        self._lookups[number] = reason

    def is_looked_up(self, number: int) -> bool:
        return number in self._lookups

    def will_not_send(self, number: int, reason: str) -> None:
        """Withhold a child that is being looked up, once it is known that it has no order."""
        self._lookups[number] = self._lookups[number] or reason

    # Answers

    def answered(self, number: int, answer: Answer, now: Moment, decision: Decision) -> None:
        """Take the answer to a question about an order."""
        if self._asked.get(number) is answer.question:
            del self._asked[number]
        if resolver := self._resolvers.get(number):
            resolver.take(answer, now.now_ms)
        elif number in self._lookups:
            cl_ord_id = self._records.children[number].cl_ord_id
            for row in answer.rows:
                if row.cl_ord_id == cl_ord_id:
                    self._records.order_seen(number, row.ord_id)
            self._looked_up(number, answer, now, decision)

    def lever_answered(self, number: int, answer: LeverAnswer, now: Moment, decision: Decision) -> None:
        """Take the answer of ``AskLever``. A step may be sent again, since it can only set the same leverage."""
        self._levers_asked.discard(number)
        if answer.error:
            self._levers[number] = now.now_ms + LEVER_MS
            return
        del self._levers[number]
        proof = msgspec.json.encode({"question": "leverage-info", "asked_ms": answer.asked_ms, "lever": answer.lever})
        if answer.is_set:
            self._records.end_attempt(number, Verdict.PLACED, proof=proof.decode())
            self._records.happens(number, ChildEvent.DONE, now)
            return
        self._records.end_attempt(number, Verdict.ABSENT, proof=proof.decode())
        if self._may_resend(number, now, decision):
            self._records.happens(number, ChildEvent.RESEND, now)
        else:
            self._records.happens(number, ChildEvent.ABSENT, now, "absent", f"the leverage is {answer.lever}")

    # Orders of unknown outcome

    def _resolve(self, number: int, now: Moment, decision: Decision) -> None:
        if number in self._asked:
            return
        match self._resolvers[number].next_step(now.earliest_ms):
            case Ask() as ask:
                self._ask(number, ask)
            case Found(order=order, proof=proof):
                self._is_resolved(number, order.ord_id, proof, now)
            case Doubled(orders=orders, note=note, proof=proof):
                del self._resolvers[number]
                self._records.doubled(number, note)
                if len(orders) > 1:
                    self._is_resolved(number, orders[0].ord_id, proof, now)
                else:
                    self._records.end_attempt(number, Verdict.REFUSED, proof=proof)
                    self._records.happens(number, ChildEvent.REFUSED, now, "refused", note)
            case Absent() as absent:
                del self._resolvers[number]
                self._is_absent(number, absent, now, decision)

    def _is_resolved(self, number: int, ord_id: str, proof: str, now: Moment) -> None:
        self._records.order_seen(number, ord_id)
        self._records.end_attempt(number, Verdict.PLACED, proof=proof)
        self.found(number, now)

    def _is_absent(self, number: int, absent: Absent, now: Moment, decision: Decision) -> None:
        reply = self._records.attempts[number].reply
        self._records.end_attempt(number, Verdict.ABSENT, proof=absent.proof)
        if reply and not reply.resend:
            self._records.happens(number, ChildEvent.REFUSED, now, "refused", reply.summary)
        elif absent.may_resend and self._may_resend(number, now, decision):
            self._records.happens(number, ChildEvent.RESEND, now)
        else:
            note = absent.note or "it is proved that it was not placed"
            self._records.happens(number, ChildEvent.ABSENT, now, "absent", note)

    def _may_resend(self, number: int, now: Moment, decision: Decision) -> bool:
        is_valid = now.latest_ms < self._valid_until_ms - LAST_MS
        return self._records.attempts[number].number < MAX_ATTEMPTS and is_valid and not decision.withhold

    # Children that may have been sent by an earlier process

    def _looked_up(self, number: int, answer: Answer, now: Moment, decision: Decision) -> None:
        ends_ms = self.others_end_ms + MARGIN_MS
        if self._records.children[number].ord_id:
            self.found(number, now)
        elif answer.error:
            self._asks_again_ms[number] = now.now_ms + SLOW_MS
        elif answer.asked_ms <= ends_ms:  # a request of an earlier process may still be processed
            self._asks_again_ms[number] = ends_ms + 1
        elif reason := self._lookups.pop(number):
            self._records.withhold(number, Withheld(reason, _why(reason, decision)), now)

    def _give_up_lookups(self, now: Moment, decision: Decision) -> None:
        """End the children that will not be sent, and of which the exchange says nothing."""
        if now.earliest_ms < self.others_end_ms + LOOKS_UP_MS:
            return
        for number in [one for one, reason in self._lookups.items() if reason]:
            reason = self._lookups.pop(number)
            unknown = "whether an earlier process has sent it could not be asked"
            self._records.withhold(number, Withheld(reason, f"{_why(reason, decision)}; {unknown}"), now)

    def _ask(self, number: int, ask: Ask) -> None:
        self._asked[number] = ask.question
        child, attempt = self._records.children[number], self._records.attempts.get(number)
        self._records.commands.append(AskAbout(child, ask, attempt.first_armed_ms if attempt else 0))


def _why(reason: str, decision: Decision) -> str:
    """Return for people why a child that was looked up is withheld."""
    return decision.detail if reason == decision.withhold else "the daemon was restarted"
