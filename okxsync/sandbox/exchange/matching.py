"""How orders fill: at once against the market, or later when the mark reaches their price.

There is no order book of other participants. The market is one tick to either side of the mark, with unlimited depth;
taker orders fill there in one to three trades. A limit order that does not cross rests in a heap by price, and fills at
its own price, often in part, at each tick that finds the mark at or through it. Heap entries are never searched: the
entry of an order that was amended or has ended stays, and is dropped when it reaches the top. So a tick costs only what
crosses.
"""

import heapq
from decimal import Decimal

from okxsync.sandbox.exchange.booking import Booking
from okxsync.sandbox.exchange.ledger import reserve_of
from okxsync.sandbox.exchange.orders import ZERO, Fill, Order


class Matching(Booking):
    """The matching engine; its entry points are `_accept`, `_finish` and, as the mark moves, `_cross`."""

    def _accept(self, order: Order) -> None:
        """Accept an order: from here on it exists, even if it is canceled at once."""
        account = self.account(order.uid)
        account.orders[order.ord_id] = order
        if order.cl_ord_id:
            account.client_ids[order.cl_ord_id] = order
        account.pending[order.ord_id] = order
        if order.ord_type == "post_only" and self._crosses(order):
            self._finish(order, "canceled", "31")
            return
        self._push_order(order)
        self._touch(order.uid).ccys.add(reserve_of(order)[0])
        self._match(order)

    def _finish(self, order: Order, state: str, cancel_source: str = "", fill: Fill | None = None) -> None:
        """Give an order its final state, and push it."""
        order.state, order.cancel_source = state, cancel_source
        order.u_time = max(self._time, order.u_time)
        self.account(order.uid).pending.pop(order.ord_id, None)
        self._touch(order.uid).ccys.add(reserve_of(order)[0])
        self._push_order(order, fill)
        self._ended(order)

    def _ended(self, order: Order) -> None:
        """Called when an order has its final state."""

    def _crosses(self, order: Order) -> bool:
        """Whether a new order would fill at once against the market."""
        quote = self._quotes[order.instrument.inst_id]
        if order.px is None:
            return True
        return order.px >= quote.ask if order.buys else order.px <= quote.bid

    def _match(self, order: Order) -> None:
        """Fill what crosses; the rest of a limit order stays in the book."""
        if self._crosses(order):
            self._take(order)
        if not order.pending:
            return
        if order.ord_type == "fok":
            self._finish(order, "canceled", "13")
        elif order.ord_type in ("ioc", "optimal_limit_ioc"):
            self._finish(order, "canceled", "14")
        elif order.ord_type == "market":  # the rest is less than a lot, or the balance is used up
            self._finish(order, *(("filled",) if order.acc_fill_sz else ("canceled", "2")))
        else:
            self._rest(order)

    def _rest(self, order: Order) -> None:
        """Add an order with its current price to the book; earlier entries become stale."""
        assert order.px is not None
        order.place = next(self._entries)
        book = self._bids if order.buys else self._asks
        heapq.heappush(book[order.instrument.inst_id], (-order.px if order.buys else order.px, order.place, order))

    def _take(self, order: Order) -> None:
        """Fill an order at the market in one to three trades, each a tick worse; limit orders may stay partly open."""
        instrument, random = order.instrument, self._random
        quote = self._quotes[instrument.inst_id]
        best = quote.ask if order.buys else quote.bid
        step = instrument.tick_sz if order.buys else -instrument.tick_sz
        parts = random.choice((1, 1, 2, 3))
        total = order.sz if order.in_quote else order.left
        if order.ord_type not in ("market", "fok", "optimal_limit_ioc") and random.random() < 0.4:
            total = total * random.randrange(20, 80) / 100
        spent = ZERO
        for part in range(parts):
            px = best + step * part
            if order.px is not None:
                px = min(px, order.px) if order.buys else max(px, order.px)
            share = total - spent if part == parts - 1 else total / parts
            sz = instrument.to_lot(share / px if order.in_quote else share)
            if sz:
                spent += sz * px if order.in_quote else sz
                self._fill(order, sz, px, "" if order.forced else "T")
            if not order.pending:
                return

    def _cross(self, inst_id: str) -> None:
        """Fill resting orders that the mark has crossed, often in part; the rest waits for the next tick."""
        quote, random = self._quotes[inst_id], self._random
        for book, limit in ((self._bids[inst_id], -quote.mark), (self._asks[inst_id], quote.mark)):
            waiting = []
            while book and book[0][0] <= limit:
                entry = heapq.heappop(book)
                _, place, order = entry
                if place != order.place or not order.pending or order.px is None:
                    continue
                sz = order.left
                if random.random() < 0.5:
                    sz = max(order.instrument.to_lot(sz * random.randrange(20, 80) / 100), order.instrument.lot_sz)
                self._fill(order, min(sz, order.left), order.px, "M")
                if order.pending:
                    waiting.append(entry)
            for entry in waiting:
                heapq.heappush(book, entry)

    def _fill(self, order: Order, sz: Decimal, px: Decimal, exec_type: str) -> None:
        """Execute one trade: bills, position, totals, push.

        The size is limited to what the account can pay for; if that is nothing, the order is canceled.
        """
        sz = self._cut(order, sz, px)
        if not sz:
            self._finish(order, "canceled", "2")
            return
        fill = self._book(order, sz, px, exec_type)
        order.acc_fill_sz += sz
        order.value += sz * px
        order.fee += fill.fee
        order.pnl += fill.pnl
        order.last_fill = fill
        order.u_time = max(self._time, order.u_time)
        # A spot market order is reported as filled by a separate row (`_match`), after all its fills.
        if not order.left and not (order.instrument.is_spot and order.ord_type == "market"):
            self._finish(order, "filled", fill=fill)
        else:
            order.state = "partially_filled"
            self._push_order(order, fill)

    def _cut(self, order: Order, sz: Decimal, px: Decimal) -> Decimal:
        """Return how much of a trade is possible: reduce-only up to the position, spot up to the available cash."""
        account, instrument = self.account(order.uid), order.instrument
        if order.reduce_only:
            position = account.position(instrument, order.td_mode, order.pos_side)
            return min(sz, position.closable()) if position and self._opposes(order, position.direction) else ZERO
        if order.inst_type != "SPOT":
            return sz
        if order.buys:
            return min(sz, instrument.to_lot(max(account.cash[instrument.quote], ZERO) / px))
        return min(sz, instrument.to_lot(max(account.cash[instrument.base], ZERO)))

    @staticmethod
    def _opposes(order: Order, direction: int) -> bool:
        """Whether an order reduces a position of this direction."""
        return direction < 0 if order.buys else direction > 0
