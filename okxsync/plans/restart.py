"""What a new process does with the children of a plan that an earlier process has begun.

An intent without an outcome is unknown, whenever that process died: after the intent was stored, while it was sent,
before the reply, or before the reply was stored. A child without an intent was not sent by this database's daemon. It
may have been sent if the database is an older copy, so each is looked up before it is sent, or ends with a reason.
"""

from typing import Literal

import msgspec

from okxsync.plans.children import Kind
from okxsync.plans.states import IN_FLIGHT, ChildEvent, ChildState
from okxsync.plans.waves import LAST_MS


class Recovery(msgspec.Struct, frozen=True):
    """What to do with a child.

    Attributes:
        event: What happens to it; None: nothing.
        reason: Why it is withheld.
        look_up: Look for its order first; if there is one, nothing of this happens.
    """

    event: ChildEvent | None = None
    reason: str = ""
    look_up: bool = False


def recover(
    state: ChildState, on_restart: Literal["resume", "stop"], now_ms: int, valid_until_ms: int, kind: Kind = "order"
) -> Recovery:
    """Return what to do with a child in this state. Times are the exchange's milliseconds.

    A cancellation is always allowed, and it and a leverage may be repeated, so they need no lookup.
    """
    if state in IN_FLIGHT:
        return Recovery(ChildEvent.UNKNOWN)
    if state is not ChildState.READY or kind == "cancel":
        return Recovery()
    look_up = kind == "order"
    if now_ms >= valid_until_ms - LAST_MS:
        return Recovery(ChildEvent.WITHHOLD, "expired", look_up)
    if on_restart == "stop":
        return Recovery(ChildEvent.WITHHOLD, "restart", look_up)
    return Recovery(look_up=look_up)
