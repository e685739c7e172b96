"""Cancellations that a person asks for: ``plan cancel``, and ``halt --cancel-orders``.

They may be asked for again, after ``valid_until``, while halted, and when the plan has ended. What became of each order
is read from the plan's rows, which follow the mirror. The answer names the accounts whose orders have not ended in
time; the cancellation of these goes on.
"""

import logging
from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from functools import partial
from typing import Final

import msgspec
import trio

from okxsync.plans.canceling import APPEARS_MS, cancel_until_ended, is_over
from okxsync.plans.children import CancelBody, to_body
from okxsync.plans.desk import Desk, moment
from okxsync.plans.lookups import read_end
from okxsync.plans.replies import Judgement
from okxsync.plans.requests import Answered
from okxsync.plans.trades import CANCEL_ALGOS, Trade
from okxsync.runtime.supervise import keep_running
from okxsync.store.engines import Reader, keep_going

log = logging.getLogger("okxsync.plans")

ANSWER_S: Final = 30.0
"""How long the ends of the orders are waited for before the request is answered."""
POLL_S: Final = 0.2
CANCELED: Final = "canceled"
CANCELING: Final = "canceling"
_UNDER_WAY: Final = "('ready', 'armed', 'sent', 'accepted', 'working')"
_STATES: Final = (
    f"SELECT account, state, state IN {_UNDER_WAY} FROM plan_orders"
    " WHERE plan_id = ? AND kind = 'order' AND state NOT IN ('skipped', 'withheld')"
)
_PROTECTED: Final = (
    "SELECT child, account, inst_id, algo_cl_ord_id FROM plan_orders WHERE plan_id = ? AND algo_cl_ord_id IS NOT NULL"
    " AND state NOT IN ('skipped', 'withheld', 'refused', 'absent')"
)
_PARENT: Final = (
    f"SELECT state IN {_UNDER_WAY}, coalesce(acc_fill_sz, '0') NOT IN ('', '0'), coalesce(ended_at, 0)"
    " FROM plan_orders WHERE plan_id = ? AND child = ?"
)
_ASKED: Final = (
    "SELECT kind, body FROM requests LEFT JOIN answers ON request_id = id WHERE (kind = 'cancel' AND plan_id = ?"
    " OR kind IN ('halt', 'resume')) AND (outcome IS NULL OR outcome IN ('canceled', 'canceling', 'halted', 'resumed'))"
    " ORDER BY id"
)


def was_asked(reader: Reader, plan_id: str, *, halted: bool) -> bool:
    """Return whether an earlier process was asked to cancel the resting orders of a plan.

    Raises:
        StoreError: the database cannot be read.
    """
    last_halt: dict[str, object] = {}
    for kind, body in reader.rows(_ASKED, [plan_id]):
        if kind == "cancel":
            return True
        with suppress(msgspec.MsgspecError):
            last_halt = msgspec.json.decode(body, type=dict[str, object]) if kind == "halt" else {}
    return halted and last_halt.get("cancel_orders") is True


class CancelRequests:
    """Carries them out.

    Args:
        nursery: In which attached orders are canceled.
    """

    def __init__(self, desk: Desk, reader: Reader, nursery: trio.Nursery) -> None:
        self._desk = desk
        self._reader = reader
        self._nursery = nursery
        self._protected: dict[tuple[str, int], str] = {}  # plan and child -> account: attached orders to be canceled

    def cancel_protection(self, plan_id: str) -> None:
        """Cancel the attached take-profit and stop-loss orders of a plan, each once its order has ended.

        Raises:
            StoreError: the database cannot be read.
        """
        for child, account, inst_id, algo_cl_ord_id in self._reader.rows(_PROTECTED, [plan_id]):
            if (plan_id, child) not in self._protected:
                self._protected[plan_id, child] = account
                work = partial(self._cancel_attached, plan_id, child, account, inst_id, algo_cl_ord_id)
                subject = f"plan {plan_id}: cancel {algo_cl_ord_id}"
                self._nursery.start_soon(keep_running, self._desk.outbox, account, subject, work)

    async def result(self, plan_ids: Collection[str]) -> Answered:
        """Return the answer to a request, once all orders of these plans have ended, or after ``ANSWER_S``.

        Raises:
            StoreError: the database cannot be read.
        """
        with trio.move_on_after(ANSWER_S):
            while True:
                if not self._open(plan_ids):
                    break
                await trio.sleep(POLL_S)
        states = Counter(state for plan_id in plan_ids for _, state, _ in self._reader.rows(_STATES, [plan_id]))
        parts = [f"{states[one]} {one}" for one in ("canceled", "filled", "unknown") if states[one]]
        detail = f"nothing more is sent; orders: {', '.join(parts) or 'none in the book'}"
        if names := self._open(plan_ids):
            return Answered(CANCELING, f"{detail}; the end is not confirmed yet, okxsync goes on: {', '.join(names)}")
        return Answered(CANCELED, detail)

    def _open(self, plan_ids: Collection[str]) -> list[str]:
        """Return the accounts with an order whose end is not known yet."""
        under_way = [
            account for one in plan_ids for account, _, is_open in self._reader.rows(_STATES, [one]) if is_open
        ]
        attached = [account for (plan_id, _), account in self._protected.items() if plan_id in plan_ids]
        return sorted({*under_way, *attached})

    async def _cancel_attached(self, plan_id: str, child: int, account: str, inst_id: str, algo_cl_ord_id: str) -> None:
        """Cancel an attached order. It exists from the fill of its parent on, and is discarded with an unfilled one."""
        while True:
            with keep_going(log, f"plan {plan_id}"):
                ((under_way, is_filled, ended_ms),) = self._reader.rows(_PARENT, [plan_id, child])
                if not under_way:
                    break
            await trio.sleep(POLL_S)
        body = to_body((CancelBody(inst_id, algo_cl_ord_id=algo_cl_ord_id),))

        async def post() -> Judgement:
            request = Trade(CANCEL_ALGOS, inst_id, body)
            return await self._desk.cancel(plan_id, child, "cancel-attached", account, request)

        def has_ended(reply: Judgement | None) -> bool:
            with keep_going(log, f"plan {plan_id}"):
                if end := read_end(self._reader, account, algo_cl_ord_id, algo=True):
                    return end != "open"
                exists_now = moment().now_ms > ended_ms + APPEARS_MS
                return not is_filled or (exists_now and reply is not None and is_over(reply))
            return False

        await cancel_until_ended(post, has_ended)
        del self._protected[plan_id, child]
