"""Each request that cancels an order of a plan, as a row of ``plan_cancels``.

A cancellation may be repeated, so it is stored once it is answered, and not before it is sent.
"""

import logging
from typing import Final, Literal, TypeAlias

from okxsync.messages import PlanCancel, PlanProgress
from okxsync.plans.replies import Judgement
from okxsync.plans.stored import columns_of_reply
from okxsync.runtime.outbox import Outbox
from okxsync.store.engines import Reader, keep_going

log = logging.getLogger("okxsync.plans")

Action: TypeAlias = Literal["cancel", "cancel-attached"]

_LAST: Final = "SELECT coalesce(max(attempt), 0) FROM plan_cancels WHERE plan_id = ? AND child = ? AND action = ?"


class CancelLog:
    """Stores the cancellations of all plans of a daemon, each with the next number of its child and action."""

    def __init__(self, reader: Reader, send: Outbox) -> None:
        self._reader = reader
        self._send = send
        self._last: dict[tuple[str, int, Action], int] = {}

    async def add(
        self, plan_id: str, child: int, action: Action, body: str, sent_ms: int, replied_ms: int, found: Judgement
    ) -> None:
        """Store a cancellation that was sent, or could not be.

        Args:
            sent_ms: When it was sent, by the exchange's time; ``replied_ms`` likewise.
        """
        key = plan_id, child, action
        if key not in self._last:
            self._last[key] = 0
            with keep_going(log, f"plan {plan_id}"):
                ((last,),) = self._reader.rows(_LAST, list(key))
                self._last[key] = max(last, self._last[key])
        self._last[key] += 1
        row = PlanCancel(
            child, action, self._last[key], found.transport or "rest", body, sent_ms, replied_ms, str(found.verdict),
            **columns_of_reply(found),
        )  # fmt: skip
        await self._send.send(PlanProgress(plan_id, [], [], [], cancels=[row]))
