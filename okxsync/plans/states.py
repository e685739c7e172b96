"""The states of a plan and of its child orders, as tables of transitions. Whatever is not in a table is a bug.

    ready --ARM--> armed --SEND--> sent --PLACED--> accepted --> working --> filled | canceled | gone
      |              |               |--REFUSED--> refused
      |              |               |--NOT_PLACED--> ready           (at most ``MAX_ATTEMPTS`` attempts)
      |              |               '--UNKNOWN--> unknown --FOUND--> accepted
      |              |                                |--RESEND--> ready    (with a proof of absence)
      |              |                                '--ABSENT--> absent
      |              |--NOT_PLACED--> ready
      |              '--UNKNOWN--> unknown                              (another process armed it)
      '--WITHHOLD--> withheld

A step that is no order - a cancellation, a leverage - ends as ``done``, from ``sent`` or ``unknown``. It may be
repeated.

An order that is found counts, whatever was believed before: ``FOUND`` leads to ``accepted`` even from ``refused``,
``absent`` and ``withheld``. The caller raises an alarm then.
"""

from enum import StrEnum
from typing import Final, TypeVar


class ChildState(StrEnum):
    READY = "ready"
    SKIPPED = "skipped"
    WITHHELD = "withheld"
    ARMED = "armed"
    SENT = "sent"
    UNKNOWN = "unknown"
    ACCEPTED = "accepted"
    REFUSED = "refused"
    ABSENT = "absent"
    WORKING = "working"
    FILLED = "filled"
    CANCELED = "canceled"
    GONE = "gone"
    DONE = "done"


class ChildEvent(StrEnum):
    ARM = "arm"
    """The intent to send it is on disk, durably."""
    SEND = "send"
    """The request may leave now."""
    NOT_PLACED = "not placed"
    """The request did not leave, or was not accepted, and may be sent again."""
    PLACED = "placed"
    """The exchange accepted the order."""
    REFUSED = "refused"
    """The exchange refused the order."""
    UNKNOWN = "unknown"
    """Nothing proves whether the order was placed."""
    FOUND = "found"
    """An order with this child's id exists."""
    RESEND = "resend"
    """It is proved that no order was placed, and the order may be sent again."""
    ABSENT = "absent"
    """It is proved that no order was placed, or that it has no fill; it is not sent again."""
    WITHHOLD = "withhold"
    """It is not sent, for a reason."""
    WORKING = "working"
    """The order is in the book."""
    FILLED = "filled"
    CANCELED = "canceled"
    GONE = "gone"
    """The exchange no longer knows the order."""
    DONE = "done"
    """A step that is no order has had its effect."""


class PlanState(StrEnum):
    ASKED = "asked"
    PREVIEWED = "previewed"
    DISCARDED = "discarded"
    APPROVED = "approved"
    EXECUTING = "executing"
    PAUSED = "paused"
    DONE = "done"
    STOPPED = "stopped"
    EXPIRED = "expired"


class PlanEvent(StrEnum):
    PREVIEW = "preview"
    DISCARD = "discard"
    APPROVE = "approve"
    EXECUTE = "execute"
    PAUSE = "pause"
    RESUME = "resume"
    FINISH = "finish"
    STOP = "stop"
    EXPIRE = "expire"


class IllegalTransition(Exception):
    """An event that cannot happen in this state: a bug."""


MAX_ATTEMPTS: Final = 3
"""How often a child is sent at most."""

ENDED: Final = frozenset(
    {
        ChildState.SKIPPED,
        ChildState.WITHHELD,
        ChildState.REFUSED,
        ChildState.ABSENT,
        ChildState.FILLED,
        ChildState.CANCELED,
        ChildState.GONE,
        ChildState.DONE,
    }
)
"""The states in which nothing more happens to a child, unless its order is found."""
PLACED: Final = frozenset(
    {ChildState.ACCEPTED, ChildState.WORKING, ChildState.FILLED, ChildState.CANCELED, ChildState.GONE, ChildState.DONE}
)
"""The states of a child whose order exists or existed, or whose step is done."""
IN_FLIGHT: Final = frozenset({ChildState.ARMED, ChildState.SENT})
"""The states with an open intent."""
PLAN_ENDED: Final = frozenset({PlanState.DISCARDED, PlanState.DONE, PlanState.STOPPED, PlanState.EXPIRED})

_C, _E = ChildState, ChildEvent
_CHILD: Final[dict[ChildState, dict[ChildEvent, ChildState]]] = {
    _C.READY: {_E.ARM: _C.ARMED, _E.WITHHOLD: _C.WITHHELD, _E.FOUND: _C.ACCEPTED},
    _C.SKIPPED: {},
    _C.WITHHELD: {_E.FOUND: _C.ACCEPTED},
    _C.ARMED: {
        _E.SEND: _C.SENT,
        _E.NOT_PLACED: _C.READY,
        _E.UNKNOWN: _C.UNKNOWN,
        _E.FOUND: _C.ACCEPTED,
    },
    _C.SENT: {
        _E.PLACED: _C.ACCEPTED,
        _E.FOUND: _C.ACCEPTED,
        _E.REFUSED: _C.REFUSED,
        _E.NOT_PLACED: _C.READY,
        _E.UNKNOWN: _C.UNKNOWN,
        _E.DONE: _C.DONE,
    },
    _C.UNKNOWN: {
        _E.FOUND: _C.ACCEPTED,
        _E.DONE: _C.DONE,
        _E.RESEND: _C.READY,
        _E.ABSENT: _C.ABSENT,
        _E.REFUSED: _C.REFUSED,
    },
    _C.ACCEPTED: {
        _E.WORKING: _C.WORKING,
        _E.FILLED: _C.FILLED,
        _E.CANCELED: _C.CANCELED,
        _E.GONE: _C.GONE,
    },
    _C.WORKING: {_E.WORKING: _C.WORKING, _E.FILLED: _C.FILLED, _E.CANCELED: _C.CANCELED, _E.GONE: _C.GONE},
    _C.REFUSED: {_E.FOUND: _C.ACCEPTED},
    _C.ABSENT: {_E.FOUND: _C.ACCEPTED},
    _C.FILLED: {},
    _C.DONE: {},
    _C.CANCELED: {_E.FILLED: _C.FILLED},  # the mirror corrects itself: a row of REST may precede the last fill
    _C.GONE: {_E.WORKING: _C.WORKING, _E.FILLED: _C.FILLED, _E.CANCELED: _C.CANCELED},  # it was found later
}
_P, _V = PlanState, PlanEvent
_PLAN: Final[dict[PlanState, dict[PlanEvent, PlanState]]] = {
    _P.ASKED: {_V.PREVIEW: _P.PREVIEWED, _V.DISCARD: _P.DISCARDED},
    _P.PREVIEWED: {_V.APPROVE: _P.APPROVED, _V.DISCARD: _P.DISCARDED},
    _P.DISCARDED: {},
    _P.APPROVED: {_V.EXECUTE: _P.EXECUTING, _V.EXPIRE: _P.EXPIRED, _V.STOP: _P.STOPPED},
    _P.EXECUTING: {_V.PAUSE: _P.PAUSED, _V.FINISH: _P.DONE, _V.STOP: _P.STOPPED, _V.EXPIRE: _P.EXPIRED},
    _P.PAUSED: {_V.RESUME: _P.EXECUTING, _V.FINISH: _P.DONE, _V.STOP: _P.STOPPED, _V.EXPIRE: _P.EXPIRED},
    _P.DONE: {},
    _P.STOPPED: {},
    _P.EXPIRED: {},
}

S = TypeVar("S", ChildState, PlanState)
E = TypeVar("E", ChildEvent, PlanEvent)


def after(state: ChildState, event: ChildEvent) -> ChildState:
    """Return the state of a child after an event.

    Raises:
        IllegalTransition: the event cannot happen in this state.
    """
    return _next(_CHILD, state, event)


def plan_after(state: PlanState, event: PlanEvent) -> PlanState:
    """Return the state of a plan after an event.

    Raises:
        IllegalTransition: the event cannot happen in this state.
    """
    return _next(_PLAN, state, event)


def can(state: ChildState, event: ChildEvent) -> bool:
    """Return whether an event can happen to a child in this state."""
    return event in _CHILD[state]


def _next(table: dict[S, dict[E, S]], state: S, event: E) -> S:
    try:
        return table[state][event]
    except KeyError:
        raise IllegalTransition(f"{event!r} cannot happen in state {state!r}") from None
