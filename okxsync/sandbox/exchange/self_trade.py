"""Self-trade prevention over a master account and its sub-accounts; the mode of the taker decides.

An order that would meet a resting order of the same master does not trade with it: the maker, the taker or both are
canceled with ``cancelSource`` 32 (OKX docs: order-book-trading-self-trade-prevention).
"""

from decimal import Decimal

from okxsync.sandbox.exchange.orders import Order
from okxsync.sandbox.exchange.state import State

CANCELED = "32"
MODES = ("cancel_maker", "cancel_taker", "cancel_both")


class SelfTrade(State):
    """Finds own orders on the other side."""

    def _met(self, taker: Order, worst_px: Decimal) -> list[Order]:
        """The resting orders of the taker's master that it would meet on the way to a price, best price first."""
        main_uid, inst_id = self.members[taker.uid].main_uid, taker.instrument.inst_id
        book = self._asks[inst_id] if taker.buys else self._bids[inst_id]
        if not book or not _reached(book[0][0], worst_px, buys=taker.buys):
            return []  # the best price is at the top of the heap
        found = []
        for px, place, order in book:
            reached = _reached(px, worst_px, buys=taker.buys)
            if reached and order.pending and place == order.place and self.members[order.uid].main_uid == main_uid:
                found.append((px, place, order))
        return [order for _, _, order in sorted(found, key=lambda entry: entry[:2])]


def _reached(entry_px: Decimal, worst_px: Decimal, *, buys: bool) -> bool:
    """Whether a taker meets an entry of the book; bids have negative prices there."""
    return entry_px <= worst_px if buys else -entry_px >= worst_px
