"""How orders fill: at once against the market, or later when the mark reaches their price.

There is no order book of other participants. The market is one tick to either side of the mark, with unlimited depth
unless a test limits it; taker orders fill there in one to three trades. A limit order that does not cross rests in a
heap by price, and fills at its own price, often in part, at each tick that finds the mark at or through it. Heap
entries are never searched: the entry of an order that was amended or has ended stays, and is dropped when it reaches
the top. So a tick costs only what crosses.
"""

import heapq
from decimal import Decimal

from okxsync.sandbox.exchange.booking import Booking
from okxsync.sandbox.exchange.ledger import Account, reserve_of
from okxsync.sandbox.exchange.orders import ZERO, Fill, Order
from okxsync.sandbox.exchange.positions import MarginPosition, Position
from okxsync.sandbox.exchange.self_trade import CANCELED, SelfTrade


class Matching(Booking, SelfTrade):
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
        if order.amend_source:
            order.amend_source = ""
            if order.ord_type == "post_only":  # the cut, then the entry into the book (changelog of 2026-08-20)
                self._push_order(order)
        self._touch(order.uid).ccys.add(reserve_of(order)[0])
        self._match(order)
        if order.reduce_only and order.pending:
            self._trim(order)

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

    def _closed(self, account: Account, position: Position) -> None:
        """Called when a fill has closed a position of contracts."""

    def _crosses(self, order: Order) -> bool:
        """Whether a new order would fill at once against the market."""
        quote = self._quotes[order.instrument.inst_id]
        px = order.limit_px
        if px is None:
            return True
        return px >= quote.ask if order.buys else px <= quote.bid

    def _match(self, order: Order) -> None:
        """Fill what crosses; the rest of a limit order stays in the book."""
        offered = self._quotes[order.instrument.inst_id].offered(buys=order.buys)
        fillable = order.ord_type != "fok" or offered is None or offered >= order.left
        if fillable and self._crosses(order):
            self._take(order)
        if not order.pending:
            return
        if order.ord_type == "fok":
            self._finish(order, "canceled", "13")
        elif order.ord_type in ("ioc", "optimal_limit_ioc"):
            self._finish(order, "canceled", "14")
        elif order.ord_type == "market" and order.cap is None:  # the rest is less than a lot, or the balance is used up
            self._finish(order, *(("filled",) if order.acc_fill_sz else ("canceled", "2")))
        else:
            self._rest(order)

    def _rest(self, order: Order) -> None:
        """Add an order with its current price to the book; earlier entries become stale."""
        px = order.limit_px
        assert px is not None
        order.place = next(self._entries)
        book = self._bids if order.buys else self._asks
        heapq.heappush(book[order.instrument.inst_id], (-px if order.buys else px, order.place, order))

    def _take(self, order: Order) -> None:
        """Fill an order at the market in one to three trades, each a tick worse; limit orders may stay partly open."""
        instrument, random = order.instrument, self._random
        quote = self._quotes[instrument.inst_id]
        best = quote.ask if order.buys else quote.bid
        step = instrument.tick_sz if order.buys else -instrument.tick_sz
        parts = random.choice((1, 1, 2, 3)) if self.rules.partial_fills else 1
        if not self._prevent(order, best + step * (parts - 1)):
            return
        total = order.sz if order.in_quote else order.left
        cuts = self.rules.partial_fills and order.ord_type not in ("market", "fok", "optimal_limit_ioc")
        if cuts and random.random() < 0.4:
            total = total * random.randrange(20, 80) / 100
        spent = ZERO
        for part in range(parts):
            px = best + step * part
            if (limit := order.limit_px) is not None:
                px = min(px, limit) if order.buys else max(px, limit)
            share = total - spent if part == parts - 1 else total / parts
            sz = instrument.to_lot(share / px if order.in_quote else share)
            if (offered := quote.offered(buys=order.buys)) is not None:
                sz = min(sz, instrument.to_lot(offered))
            if sz:
                spent += sz * px if order.in_quote else sz
                quote.take(sz, buys=order.buys)
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
                px = order.limit_px
                if place != order.place or not order.pending or px is None:
                    continue
                sz = order.left
                if self.rules.partial_fills and random.random() < 0.5:
                    sz = max(order.instrument.to_lot(sz * random.randrange(20, 80) / 100), order.instrument.lot_sz)
                self._fill(order, min(sz, order.left), px, "M")
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
        if order.inst_type != "SPOT":
            self._trim(order)

    def _prevent(self, taker: Order, worst_px: Decimal) -> bool:
        """Cancel what would trade with itself; return whether the taker may fill."""
        quote = self._quotes[taker.instrument.inst_id]
        offered = quote.offered(buys=taker.buys)
        if taker.limit_px is not None and offered is not None and offered < taker.left:
            worst_px = taker.limit_px  # it takes all that the market offers, then what rests up to its limit
        met = [] if taker.forced else self._met(taker, worst_px)
        if met and taker.stp_mode != "cancel_taker":
            for maker in met if taker.stp_mode == "cancel_maker" else met[:1]:
                self._finish(maker, "canceled", CANCELED)
        if met and taker.stp_mode != "cancel_maker":
            self._finish(taker, "canceled", CANCELED)
            return False
        return True

    def _trim(self, changed: Order) -> None:
        """Cut or cancel the resting reduce-only orders that are more than their position, the newest first."""
        account = self.account(changed.uid)
        position = account.position(changed.instrument, changed.td_mode, changed.pos_side)
        if position is None or isinstance(position, MarginPosition):
            return
        if not position.pos:
            self._closed(account, position)
        left = position.closable()
        for each in list(account.pending.values()):
            if not each.reduce_only or each.place == 0 or each.in_quote:
                continue
            if account.position(each.instrument, each.td_mode, each.pos_side) is not position:
                continue
            if reason := self._why_canceled(each, position, left):
                self._finish(each, "canceled", reason)
                continue
            if each.left > left:
                each.sz, each.amend_source = each.acc_fill_sz + left, "4"
                self._push_order(each)
                each.amend_source = ""
            left -= each.left

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

    def _why_canceled(self, order: Order, position: Position, left: Decimal) -> str:
        """Why a resting reduce-only order ends: 17 no position, 23 it has turned, 22 older orders go first."""
        if not position.pos:
            return "17"
        if not self._opposes(order, position.direction):
            return "23"
        return "" if left else "22"

    @staticmethod
    def _opposes(order: Order, direction: int) -> bool:
        """Whether an order reduces a position of this direction."""
        return direction < 0 if order.buys else direction > 0
