"""Reads plans for the book: less often than rows of the exchange, for their tables have no revisions."""

import time
from collections.abc import Callable, Collection
from functools import partial
from typing import Final

from okxsync.mirror.plans import Plans
from okxsync.terminal import topics
from okxsync.terminal.book import Book
from okxsync.terminal.plan_rows import PlanRows, request

PLANS_S: Final = 0.1
PAUSE: Final = 20
"""Reading takes at most a twentieth of the time, however many orders a plan has."""
PLANS_SHOWN: Final = 100
REQUESTS_SHOWN: Final = 50


class PlanReader:
    """Belongs to the reader's thread.

    Args:
        followed: Returns the ids of the plans whose orders are shown.
    """

    def __init__(self, followed: Callable[[], Collection[str]]) -> None:
        self._followed = followed
        self._rows = PlanRows()
        self._due_s = 0.0

    def read(self, book: Book, reads: Plans, now_s: float, ahead_us: int) -> None:
        """Read what is due at a time of the steady clock, within a moment of the database."""
        if now_s < self._due_s:
            return
        began_s = time.monotonic()
        followed = self._followed()
        plans = reads.plans(PLANS_SHOWN, followed)
        orders = {one["plan_id"]: reads.orders(one["plan_id"]) for one in plans if one["plan_id"] in followed}
        book[topics.REQUESTS].replace(request(one, ahead_us) for one in reads.requests(REQUESTS_SHOWN))
        book[topics.PLANS].replace(self._rows.plan(one, orders.get(one["plan_id"])) for one in plans)
        book[topics.PLAN_ORDERS].replace(
            self._rows.order(one, weights)
            for plan in plans
            if (of := orders.get(plan["plan_id"]))
            for weights in [self._rows.weights(plan, of, partial(reads.document, plan["plan_id"]))]
            for one in of
        )
        self._due_s = now_s + max(PLANS_S, PAUSE * (time.monotonic() - began_s))
