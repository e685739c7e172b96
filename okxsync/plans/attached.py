"""Whether the take-profit and stop-loss attached to an order exist once it has filled. No I/O.

OKX makes an algo order of them, with an id that okxsync has chosen, after the fill (OKX docs:
order-book-trading-trade-post-place-order). If that fails the position is open without protection, and no reply says so.
So an order with a fill ends only when its algo order was seen, in the mirror or over REST, or after ``SEEN_MS``: then
it is unprotected.
"""

from typing import Final

from okxsync.plans.commands import AskAttached, ChildOrder
from okxsync.plans.facts import decimal_of
from okxsync.plans.resolve import OrderRow
from okxsync.plans.states import ChildEvent

SEEN_MS: Final = 10_000
"""How long after the end of its order an algo order may appear."""
ASKS_MS: Final = 2_000
"""How long the mirror alone is waited for, and the pause between two questions to REST."""
_ENDS: Final = frozenset({ChildEvent.FILLED, ChildEvent.CANCELED, ChildEvent.GONE})


class AttachedOrders:
    """The attached orders of one plan; ``awaited``: children whose order has ended before its algo order was seen."""

    def __init__(self) -> None:
        self._since_ms: dict[int, int] = {}
        self._ask_at_ms: dict[int, int] = {}
        self._asked: set[int] = set()
        self._seen: set[int] = set()

    @property
    def awaited(self) -> frozenset[int]:
        return frozenset(self._since_ms.keys() - self._seen)

    def seen(self, number: int) -> None:
        """The algo order of this child exists or existed."""
        self._seen.add(number)

    def is_awaited(self, child: ChildOrder, event: ChildEvent, order: OrderRow, now_ms: int) -> bool:
        """Return whether the end of an order waits until its attached orders are seen."""
        if not child.algo_cl_ord_id or event not in _ENDS or not decimal_of(order.acc_fill_sz):
            return False
        since_ms = self._since_ms.setdefault(child.number, now_ms)
        self._ask_at_ms.setdefault(child.number, now_ms + ASKS_MS)
        return child.number not in self._seen and now_ms < since_ms + SEEN_MS

    def are_missing(self, number: int) -> bool:
        """Return whether an order that has ended is unprotected."""
        return number in self.awaited

    def questions(self, now_ms: int) -> list[AskAttached]:
        """Return what REST is asked now."""
        due = [one for one in sorted(self.awaited - self._asked) if now_ms >= self._ask_at_ms[one]]
        self._asked.update(due)
        return [AskAttached(one) for one in due]

    def answered(self, number: int, now_ms: int, *, exists: bool) -> None:
        """Take the answer to a question; ``exists`` is False, too, if REST could not be asked."""
        self._asked.discard(number)
        self._ask_at_ms[number] = now_ms + ASKS_MS
        if exists:
            self.seen(number)
