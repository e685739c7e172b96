"""Which children of a plan are sent next. A pure function of the children's states, so a restart decides the same.

first     the canary: the first accounts, one wave; the others follow when the exchange has accepted them
then      waves of up to ``WAVE`` children, while no more than ``UNDER_WAY`` requests are under way
phases    a phase begins when all children of the earlier ones have ended
policies  ``on_reject``, ``stop_at``, three equal codes that concern the plan itself, ``on_unknown``
breakers  a doubled order, too many accounts whose mirror is in doubt, a clock that is off, ``halt``
"""

import heapq
from collections.abc import Sequence
from decimal import Decimal
from typing import Final, Literal

import msgspec

from okxsync.plans.codes import Reaction, meaning_of
from okxsync.plans.states import ENDED, IN_FLIGHT, PLACED, ChildState

WAVE: Final = 100
"""Children per wave."""
UNDER_WAY: Final = WAVE + 28
"""Requests under way; so many connections are kept. Accounts that do not answer take some of these places. If there
were no more than a wave needs, one order of the next wave would wait for a round trip of all others, 0.1 s and more."""
CANARY_MS: Final = 5_000
"""How long the other accounts wait for the acceptance of the canary's orders."""
EQUAL_CODES: Final = 3
"""So many refusals in a row with the same code about the plan itself: all others would be refused too."""
DOUBTED_SHARE: Final = Decimal("0.1")
"""More accounts in doubt than this are no coincidence."""
CLOCK_ERROR_MS: Final = 250
LAST_MS: Final = 1_000
"""Before ``exp_time`` and ``valid_until``: a request that leaves later may arrive too late."""

_SKIPPED: Final = ChildState.SKIPPED
_WITHHELD: Final = ChildState.WITHHELD


class Policy(msgspec.Struct, frozen=True):
    """The table ``failure`` of a plan. ``stop_at`` is a share of all children that are to be sent; None: no limit."""

    canary: int = 1
    on_reject: Literal["continue", "stop", "cancel"] = "continue"
    stop_at: Decimal | None = None
    on_unknown: Literal["continue", "pause"] = "continue"


class Member(msgspec.Struct, frozen=True):
    """A child as far as it decides what is sent next; children are listed in the order of the plan.

    Attributes:
        position: Of its account in the order of the plan.
        sent_ms: When its last attempt was armed or sent; 0: never.
        answered_ms: When its refusal was received; 0: none.
        code: Of the refusal.
        not_before_ms: An earlier attempt was answered by a rate limit: it may be sent again then.
        cancels: It is a cancellation: only the cancellation of the plan withholds it.
    """

    number: int
    position: int
    phase: int
    state: ChildState
    sent_ms: int = 0
    answered_ms: int = 0
    code: str = ""
    not_before_ms: int = 0
    cancels: bool = False


class Breakers(msgspec.Struct, frozen=True):
    """What concerns all children: each stops or pauses the plan."""

    canceled: bool = False
    halted: bool = False
    doubled: bool = False
    doubted_share: Decimal = Decimal(0)
    clock_error_ms: int = 0


class Decision(msgspec.Struct, frozen=True):
    """What to do now.

    Attributes:
        send: Numbers of the children to send.
        withhold: The reason with which all children that are ready end; ``""``: they stay.
        cancel_resting: Cancel the plan's orders that rest; it holds until the plan ends.
        paused: Why nothing is sent for now; ``""``: it is not paused.
        wake_ms: Decide again at this time at the latest; None: only a change of a child decides.
        ended: Whether all children have ended.
        detail: For people: which rule decided.
    """

    send: tuple[int, ...] = ()
    withhold: str = ""
    cancel_resting: bool = False
    paused: str = ""
    wake_ms: int | None = None
    ended: bool = False
    detail: str = ""


def decide(members: Sequence[Member], policy: Policy, breakers: Breakers, now_ms: int, valid_until_ms: int) -> Decision:
    """Return what to do next. Times are the exchange's milliseconds."""
    if all(one.state in ENDED for one in members):
        return Decision(ended=True)
    decision = _decide_others(members, policy, breakers, now_ms, valid_until_ms)
    if breakers.canceled:
        return decision
    cancels = [one for one in _of_phase(members) if one.cancels and one.state is ChildState.READY]
    due = tuple(one.number for one in cancels if one.not_before_ms <= now_ms)
    return msgspec.structs.replace(decision, send=(*due, *decision.send)) if due else decision


def _decide_others(
    everything: Sequence[Member], policy: Policy, breakers: Breakers, now_ms: int, valid_until_ms: int
) -> Decision:
    """Return what to do with the children that are no cancellations."""
    members = [one for one in everything if not one.cancels or breakers.canceled]
    if not any(one.state is ChildState.READY for one in members):
        return Decision(cancel_resting=_cancels_resting(members, policy))
    in_phase = _of_phase(everything)
    if stopped := _stopped(members, in_phase, policy, breakers, now_ms, valid_until_ms):
        return stopped
    until_end = valid_until_ms - LAST_MS
    if paused := _paused(members, policy, breakers):
        return Decision(paused=paused, wake_ms=until_end, detail=paused)
    room = min(WAVE, UNDER_WAY - sum(one.state in IN_FLIGHT for one in members))
    allowed, canary_ends_ms = _allowed([one for one in in_phase if not one.cancels], policy)
    due = [one for one in allowed if one.not_before_ms <= now_ms]
    later = [one.not_before_ms for one in allowed if one.not_before_ms > now_ms]
    wake_ms = min([until_end, *later, *([canary_ends_ms] if canary_ends_ms else [])])
    return Decision(send=tuple(one.number for one in due[: max(room, 0)]), wake_ms=wake_ms)


def _stopped(
    members: Sequence[Member],
    in_phase: Sequence[Member],
    policy: Policy,
    breakers: Breakers,
    now_ms: int,
    valid_until_ms: int,
) -> Decision | None:
    if breakers.canceled:
        return Decision(withhold="canceled", detail="the plan was canceled")
    if now_ms >= valid_until_ms - LAST_MS:
        return Decision(withhold="expired", detail="the plan is no longer valid")
    if breakers.halted:
        return Decision(withhold="halted", detail="trading is halted")
    refused = sorted(
        (one for one in members if one.state is ChildState.REFUSED), key=lambda one: (one.answered_ms, one.number)
    )
    if refused and policy.on_reject != "continue":
        detail = f"an order was refused ({refused[-1].code}), and on_reject is {policy.on_reject}"
        return Decision(withhold="stopped", cancel_resting=_cancels_resting(members, policy), detail=detail)
    if refused and policy.stop_at is not None:
        planned = sum(one.state is not ChildState.SKIPPED for one in members)
        if len(refused) >= policy.stop_at * planned:
            return Decision(withhold="stopped", detail=f"{len(refused)} of {planned} orders were refused")
    if code := _repeated_code(members, refused):
        return Decision(withhold="stopped", detail=f"{EQUAL_CODES} refusals in a row with code {code}")
    if breakers.doubted_share > DOUBTED_SHARE:
        return Decision(withhold="stopped", detail="the mirror of too many accounts is in doubt")
    if _canary_failed([one for one in in_phase if not one.cancels], policy, now_ms):
        return Decision(withhold="canary", detail="the orders of the first accounts were not accepted in time")
    return None


def _cancels_resting(members: Sequence[Member], policy: Policy) -> bool:
    return policy.on_reject == "cancel" and any(one.state is ChildState.REFUSED for one in members)


def _paused(members: Sequence[Member], policy: Policy, breakers: Breakers) -> str:
    if breakers.doubled:
        return "an order exists twice"
    if breakers.clock_error_ms > CLOCK_ERROR_MS:
        return f"the clock's error is {breakers.clock_error_ms} ms"
    if policy.on_unknown == "pause" and any(one.state is ChildState.UNKNOWN for one in members):
        return "the outcome of an order is unknown"
    return ""


def _repeated_code(members: Sequence[Member], refused: Sequence[Member]) -> str:
    """Return the code of the last refusals if they are equal, about the plan itself, and nothing was placed since."""
    last = refused[-EQUAL_CODES:]
    codes = {one.code for one in last}
    if len(last) < EQUAL_CODES or len(codes) > 1 or meaning_of(last[0].code).reaction is not Reaction.FIX:
        return ""
    placed_ms = max((one.answered_ms for one in members if one.state in PLACED), default=0)
    return "" if placed_ms >= last[0].answered_ms else last[0].code


def _of_phase(members: Sequence[Member]) -> list[Member]:
    """Return the children of the present phase; each phase has a canary of its own."""
    phase = min(one.phase for one in members if one.state not in ENDED)
    return [one for one in members if one.phase == phase]


def _canary(members: Sequence[Member], policy: Policy) -> set[int]:
    """Return the positions of the first accounts, of which nothing was withheld or skipped entirely."""
    able = {one.position for one in members if one.state is not _SKIPPED and one.state is not _WITHHELD}
    return set(heapq.nsmallest(policy.canary, able))


def _is_accepted(members: Sequence[Member], canary: set[int]) -> bool:
    return {one.position for one in members if one.position in canary and one.state in PLACED} == canary


def _canary_failed(members: Sequence[Member], policy: Policy, now_ms: int) -> bool:
    if not policy.canary:
        return False
    canary = _canary(members, policy)
    if _is_accepted(members, canary) or all(one.position in canary for one in members if one.state not in ENDED):
        return False  # or there are no others
    theirs = [one for one in members if one.position in canary]
    if any(one.state in (ChildState.REFUSED, ChildState.ABSENT) for one in theirs):
        return True
    sent = _sent_ms(theirs)
    return sent is not None and now_ms >= sent + CANARY_MS


def _allowed(members: Sequence[Member], policy: Policy) -> tuple[list[Member], int | None]:
    """Return the children that may be sent now, and when the canary's time ends; None: it does not matter."""
    ready = [one for one in members if one.state is ChildState.READY]
    if not policy.canary:
        return ready, None
    canary = _canary(members, policy)
    if _is_accepted(members, canary):
        return ready, None
    theirs = [one for one in members if one.position in canary]
    sent = _sent_ms(theirs)
    return [one for one in theirs if one.state is ChildState.READY], None if sent is None else sent + CANARY_MS


def _sent_ms(members: Sequence[Member]) -> int | None:
    """Return when the first of these was sent whose outcome is not known; None: there is none."""
    return min((one.sent_ms for one in members if one.sent_ms and one.state not in ENDED), default=None)
