"""Find out whether an order of unknown outcome exists. No I/O: it says what to ask and when, and is given the answers.

OKX does not process a request after its ``expTime``. So an order that does not exist after the *fence*, which is
``exp_time`` plus ``MARGIN_MS``, never will. Times are the exchange's, in milliseconds. What is asked counts as asked at
the earliest time that the exchange's clock can have shown then, so an error of the clock delays the proof.

    question      at                                   proves
    ------------  -----------------------------------  ------------------------------------------------------------
    MIRROR        at once, and after the fence         found; or covers the order's whole life and replaces the lists
    ORDER         after 0.3, 1, 2, 4 ... s             found
    ORDER         twice after the fence, 1 s apart     not found, for the proof of absence
    PENDING       after the fence                      found; not found, for the proof
    HISTORY       after PENDING                        found; not found, for the proof

An order that leaves the book between two lists is in the second one. OKX forgets canceled orders without a fill after
two hours. Later, ``FILLS`` replaces ``HISTORY``; then it is only proved that there was no fill.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Final, TypeAlias

import msgspec

MARGIN_MS: Final = 2_000
"""After ``exp_time``: for a request that was in the exchange's queue then."""
APART_MS: Final = 1_000
"""Between the two lookups of a proof: a read replica may lag."""
FIRST_MS: Final = (300, 1_000, 2_000, 4_000)
"""When the order is looked up after its outcome became unknown."""
LAST_MS: Final = 60_000
"""The longest pause after answers that are errors or prove nothing."""
FORGOTTEN_MS: Final = 2 * 3_600_000 - 60_000
"""OKX forgets canceled orders without a fill after two hours; a minute is for clocks and for the reply's way."""
BEFORE_MS: Final = 1_000
"""How much earlier than the arming lists and coverage must begin."""


class Question(StrEnum):
    MIRROR = "mirror"
    ORDER = "order"
    PENDING = "pending"
    HISTORY = "history"
    FILLS = "fills"


class OrderTerms(msgspec.Struct, frozen=True):
    """An order as it was approved; ``""``: its request has no such field."""

    account: str
    inst_id: str
    side: str
    pos_side: str
    ord_type: str
    sz: str
    px: str
    cl_ord_id: str


class OrderRow(msgspec.Struct, frozen=True, rename="camel"):
    """An order as the exchange or the mirror has it; a fill has only its first fields."""

    ord_id: str = ""
    cl_ord_id: str = ""
    inst_id: str = ""
    side: str = ""
    pos_side: str = ""
    ord_type: str = ""
    sz: str = ""
    px: str = ""
    state: str = ""
    acc_fill_sz: str = ""
    avg_px: str = ""
    fee: str = ""
    amend_source: str = ""
    c_time: str = ""


class Answer(msgspec.Struct, frozen=True):
    """The answer to a question.

    Attributes:
        asked_ms: The earliest time that the exchange's clock can have shown when it was asked.
        rows: All orders or fills that were reported; the resolver selects those of its id.
        error: Why there is no answer; ``""``: ``rows`` is the answer.
        covers_from_ms, covers_until_ms: The time of which ``rows`` lacks nothing: for how long the mirror's channel
            ``orders`` is proved covered, or back to when a list was read. 0 and 0: no time.
    """

    question: Question
    asked_ms: int
    rows: Sequence[OrderRow] = ()
    error: str = ""
    covers_from_ms: int = 0
    covers_until_ms: int = 0


class Ask(msgspec.Struct, frozen=True):
    """Ask this when the exchange's clock certainly shows ``not_before_ms``."""

    question: Question
    not_before_ms: int


class Found(msgspec.Struct, frozen=True):
    """The order exists or existed."""

    order: OrderRow
    proof: str


class Absent(msgspec.Struct, frozen=True):
    """The order does not exist and never will; ``may_resend`` is false if only fills could be excluded."""

    may_resend: bool
    note: str
    proof: str


class Doubled(msgspec.Struct, frozen=True):
    """Several orders have the id, or an order that is not ours has it: a person must look."""

    orders: tuple[OrderRow, ...]
    note: str
    proof: str


Outcome: TypeAlias = Found | Absent | Doubled


class Resolver:
    """Resolves one order.

    Args:
        armed_ms: When its first attempt was armed: no order of ours is older.
        exp_ms: ``expTime`` of its last attempt.
        now_ms: The time at which its outcome became unknown.
    """

    def __init__(self, order: OrderTerms, armed_ms: int, exp_ms: int, now_ms: int) -> None:
        self._order = order
        self._armed_ms = armed_ms
        self._start_ms = now_ms
        self._fence_ms = exp_ms + MARGIN_MS
        self._log: list[dict[str, object]] = []
        self._mirror_read = self._mirror_read_after = False
        self._lookups = 0
        self._failures = 0
        self._not_before_ms = now_ms
        self._first_not_found_ms: int | None = None  # after the fence
        self._not_found_twice = False
        self._pending_ms: int | None = None
        self._proved = ""
        self._outcome: Outcome | None = None

    @property
    def fence_ms(self) -> int:
        """After this time an order that does not exist never will."""
        return self._fence_ms

    def next_step(self, now_ms: int) -> Ask | Outcome:
        """Return what to ask next, or the outcome. ``now_ms`` is the earliest time of the exchange's clock."""
        if self._outcome:
            return self._outcome
        if not self._mirror_read:
            return Ask(Question.MIRROR, self._start_ms)
        if now_ms <= self._fence_ms:
            return Ask(Question.ORDER, max(self._not_before_ms, self._next_lookup_ms()))
        if not self._mirror_read_after:
            return Ask(Question.MIRROR, now_ms)
        if not self._not_found_twice:
            again_ms = (self._first_not_found_ms or self._fence_ms) + APART_MS
            return Ask(Question.ORDER, max(self._not_before_ms, again_ms if self._first_not_found_ms else 0))
        if self._pending_ms is None:
            return Ask(Question.PENDING, self._not_before_ms)
        return Ask(Question.FILLS if self._is_late(now_ms) else Question.HISTORY, self._not_before_ms)

    def take(self, answer: Answer, now_ms: int) -> None:
        """Take an answer, to a question of ``next_step`` or any other; ``now_ms`` is the time of the answer."""
        ours = [row for row in answer.rows if row.cl_ord_id == self._order.cl_ord_id]
        self._note(answer, ours)
        if self._outcome:
            return
        if ours:
            self._outcome = self._judge(ours)
        elif answer.error:
            self._wait_longer(now_ms)
        elif self._take_nothing(answer, now_ms):
            self._failures = 0
            self._not_before_ms = now_ms
        else:
            self._wait_longer(now_ms)

    def _wait_longer(self, now_ms: int) -> None:
        self._failures += 1
        self._not_before_ms = now_ms + _pause_ms(self._failures)

    def _take_nothing(self, answer: Answer, now_ms: int) -> bool:
        """Take a successful answer without our order; return whether it was of use."""
        is_after = answer.asked_ms > self._fence_ms
        reaches_back = 0 < answer.covers_from_ms <= self._armed_ms - BEFORE_MS
        match answer.question:
            case Question.MIRROR:
                self._mirror_read = True
                self._mirror_read_after = self._mirror_read_after or is_after
                if reaches_back and answer.covers_until_ms >= self._fence_ms:
                    self._proved = "the channel orders is covered from before the first attempt until after the fence"
            case Question.ORDER:
                self._lookups += 1
                if is_after and self._first_not_found_ms is None:
                    self._first_not_found_ms = answer.asked_ms
                elif is_after and answer.asked_ms >= (self._first_not_found_ms or 0) + APART_MS:
                    self._not_found_twice = True
            case Question.PENDING:
                if not is_after:
                    return False
                self._pending_ms = answer.asked_ms
            case Question.HISTORY | Question.FILLS:
                if not (is_after and reaches_back and self._pending_ms and answer.asked_ms >= self._pending_ms):
                    return False
                if answer.question is Question.HISTORY and not self._is_late(now_ms):
                    self._proved = "neither the pending orders nor the history back to the first attempt contain it"
                elif answer.question is Question.FILLS and self._not_found_twice:
                    self._outcome = Absent(False, "no fill", self._proof("no fill, and it is not pending"))
        if self._proved and self._not_found_twice and not self._outcome:
            self._outcome = Absent(True, "", self._proof(self._proved))
        return True

    def _next_lookup_ms(self) -> int:
        """Return when the next lookup before the fence is due; after the last one, the first after the fence."""
        after_fence_ms = self._fence_ms + 1
        if self._lookups < len(FIRST_MS):
            return min(self._start_ms + FIRST_MS[self._lookups], after_fence_ms)
        return after_fence_ms

    def _is_late(self, now_ms: int) -> bool:
        return now_ms >= self._armed_ms + FORGOTTEN_MS

    def _judge(self, ours: Iterable[OrderRow]) -> Outcome:
        by_id = {row.ord_id: row for row in ours}
        if len(by_id) > 1:
            return Doubled(tuple(by_id.values()), "several orders have this id", self._proof("several orders"))
        (order,) = by_id.values()
        if different := differences(self._order, self._armed_ms, order):
            return Doubled((order,), f"the order with this id is not ours: {different}", self._proof("not ours"))
        return Found(order, self._proof("found"))

    def _note(self, answer: Answer, ours: Sequence[OrderRow]) -> None:
        noted: dict[str, object] = {"question": str(answer.question), "asked_ms": answer.asked_ms}
        if answer.error:
            noted["error"] = answer.error
        else:
            noted["orders"] = [row.ord_id for row in ours]
        if answer.covers_from_ms:
            noted["covers"] = [answer.covers_from_ms, answer.covers_until_ms]
        del self._log[: len(self._log) + 1 - _LONGEST_LOG]
        self._log.append(noted)

    def _proof(self, conclusion: str) -> str:
        """Return the evidence as JSON."""
        found = {"conclusion": conclusion, "fence_ms": self._fence_ms, "answers": self._log}
        return msgspec.json.encode(found).decode()


_LONGEST_LOG: Final = 40
"""Answers that are kept: while REST is down the last ones are enough."""


def _pause_ms(failures: int) -> int:
    return min(LAST_MS, 500 << min(failures, 10))


def differences(sent: OrderTerms, armed_ms: int, order: OrderRow) -> str:
    """Return how an order differs from the one that was sent, or "": then it is ours.

    What a reply does not state is not compared. Size and price are not compared after an amendment; the exchange itself
    cuts reduce-only orders.

    Args:
        sent: The order as it was approved.
        armed_ms: When its first attempt was armed.
        order: As the exchange or the mirror has it.
    """
    found = []
    for name in ("inst_id", "side", "ord_type"):
        ours, theirs = getattr(sent, name), getattr(order, name)
        if theirs and ours and theirs != ours:
            found.append(f"{name} {theirs}")
    if order.pos_side and sent.pos_side and order.pos_side != sent.pos_side:
        found.append(f"pos_side {order.pos_side}")
    if not order.amend_source:
        for name in ("sz", "px"):
            ours, theirs = getattr(sent, name), getattr(order, name)
            if theirs and ours and _number(theirs) != _number(ours):
                found.append(f"{name} {theirs}")
    if order.c_time.isdecimal() and int(order.c_time) < armed_ms - OLDER_MS:
        found.append("created before it was sent")
    return ", ".join(found)


OLDER_MS: Final = 10_000
"""An order that is older than its first attempt by more than any error of the clock is another one."""


def _number(text: str) -> Decimal | str:
    try:
        return Decimal(text)
    except InvalidOperation:
        return text
