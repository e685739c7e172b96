"""The values of an execution: child orders, attempts, and the commands that it gives. Times are the exchange's ms."""

from typing import TypeAlias

import msgspec

from okxsync.plans.children import Kind
from okxsync.plans.replies import Judgement
from okxsync.plans.resolve import Ask, OrderTerms
from okxsync.plans.states import ChildState


class ChildOrder(OrderTerms, frozen=True, kw_only=True):
    """A child of a plan as approved, with its present state: an order, or a step that may be repeated.

    Attributes:
        position: Of its account in the order of the plan.
        body: The request's body, without ``expTime``, which is a header.
        cancel_after_ms: If it still rests so long after it was sent, it is canceled; 0: never.
        unprotected: Something was filled, and the attached take-profit and stop-loss were not seen in time.
        algo_cl_ord_id: Of the attached take-profit and stop-loss; ``""``: there is none.
        approved_sz: ``sz`` as approved, for which ``planned_usd`` is; ``sz`` of a reduction may have become smaller.
        reference: The price behind ``planned_usd``; ``""`` if the contract's worth in USD does not depend on a price.
    """

    number: int
    position: int
    phase: int
    body: str
    state: ChildState = ChildState.READY
    reason: str = ""
    detail: str = ""
    attempts: int = 0
    ord_id: str = ""
    doubled: bool = False
    unprotected: bool = False
    algo_cl_ord_id: str = ""
    acc_fill_sz: str = ""
    avg_px: str = ""
    fee: str = ""
    ended_ms: int = 0
    kind: Kind = "order"
    cancel_after_ms: int = 0
    approved_sz: str = ""
    planned_usd: str = "0"
    reference: str = ""

    @property
    def may_exist(self) -> bool:
        """Whether an order of it may exist; one without an intent was sent before an older copy was restored."""
        return bool(self.attempts or self.ord_id)


class Attempt(msgspec.Struct, frozen=True):
    """One attempt to send a child; it has no verdict until its outcome is known. Times are milliseconds."""

    child: int
    number: int
    exp_ms: int
    armed_ms: int
    first_armed_ms: int
    sent_ms: int = 0
    replied_ms: int = 0
    verdict: str = ""
    reply: Judgement | None = None
    proof: str = ""
    transport: str = "rest"


class Misfire(msgspec.Struct, frozen=True):
    """What was not sent, and why."""

    at_ms: int
    child: int
    account: str
    reason: str
    detail: str


class Withheld(msgspec.Struct, frozen=True):
    """Why a child must not be sent: a reason code, and what was found."""

    reason: str
    detail: str = ""


class Shrunk(msgspec.Struct, frozen=True):
    """A reduction is sent with a smaller size, since the position has become smaller."""

    sz: str
    body: str


class Moment(msgspec.Struct, frozen=True):
    """The exchange's time: as measured, and what its clock shows at least and at most."""

    now_ms: int
    earliest_ms: int
    latest_ms: int

    @property
    def error_ms(self) -> int:
        return (self.latest_ms - self.earliest_ms) // 2


class Prepare(msgspec.Struct, frozen=True):
    """Check this child, and answer with ``prepared``: why it is withheld, its smaller size, or nothing."""

    child: int


class Store(msgspec.Struct, frozen=True):
    """Store these rows in one transaction.

    Attributes:
        receipt: If not 0, store them durably, and call ``written`` with this number afterwards.
    """

    children: tuple[ChildOrder, ...]
    attempts: tuple[Attempt, ...]
    misfires: tuple[Misfire, ...] = ()
    receipt: int = 0


class Send(msgspec.Struct, frozen=True):
    """Send this attempt: wait for its budget, ask ``may_send``, and answer with ``replied``."""

    child: ChildOrder
    attempt: Attempt


class AskAbout(msgspec.Struct, frozen=True):
    """Ask this about a child, not earlier than it says, and answer with ``answered``."""

    child: ChildOrder
    ask: Ask
    back_to_ms: int


class AskLever(msgspec.Struct, frozen=True):
    """Ask for the leverage that this step sets, not earlier than it says, and answer with ``lever_answered``."""

    child: ChildOrder
    not_before_ms: int


class LeverAnswer(msgspec.Struct, frozen=True):
    """The leverage that OKX reports; ``is_set``: it is the one of the step. ``error``: why it is not known."""

    asked_ms: int
    lever: str = ""
    is_set: bool = False
    error: str = ""


class AskAttached(msgspec.Struct, frozen=True):
    """Ask REST whether the attached order of this child exists, and answer with ``attached_answered``."""

    child: int


class MeasureClock(msgspec.Struct, frozen=True):
    """The exchange rejected a signature because of its time, or the clock's error is too large to trade by."""


class CancelOrder(msgspec.Struct, frozen=True):
    """Cancel this order, and repeat it until the mirror shows the order's end; given once per order."""

    child: ChildOrder


class Alarm(msgspec.Struct, frozen=True):
    """A person must look at this."""

    child: int
    account: str
    text: str


Command: TypeAlias = Prepare | Store | Send | AskAbout | AskLever | AskAttached | MeasureClock | CancelOrder | Alarm
