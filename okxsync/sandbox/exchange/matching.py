"""How orders fill: at once against the market, or later when the mark reaches their price.

There is no order book of other participants. The market is one tick to either side of the mark, with unlimited depth;
taker orders fill there in one to three trades. A limit order that does not cross rests in a heap by price, and fills at
its own price, often in part, at each tick that finds the mark at or through it. Heap entries are never searched: the
entry of an order that was amended or has ended stays, and is dropped when it reaches the top. So a tick costs only what
crosses.
"""

import heapq
from decimal import Decimal
from typing import Any

from okxsync.sandbox.exchange import rows
from okxsync.sandbox.exchange.ledger import PLACES, Account, Position, reserve_of
from okxsync.sandbox.exchange.orders import ZERO, Fill, Order
from okxsync.sandbox.exchange.state import State


class Matching(State):
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
        instrument, now = order.instrument, self._time
        fill = self._settle(order, sz, px, exec_type)
        self._touch(order.uid).trades.append({"instId": instrument.inst_id, "tradeId": fill.trade_id})
        self._quotes[instrument.inst_id].trade(px, sz, now)
        self.account(order.uid).fills.append((order, fill))
        order.acc_fill_sz += sz
        order.value += sz * px
        order.fee += fill.fee
        order.pnl += fill.pnl
        order.last_fill = fill
        order.u_time = max(now, order.u_time)
        # A spot market order is reported as filled by a separate row (`_match`), after all its fills.
        if not order.left and (instrument.is_swap or order.ord_type != "market"):
            self._finish(order, "filled", fill=fill)
        else:
            order.state = "partially_filled"
            self._push_order(order, fill)

    def _cut(self, order: Order, sz: Decimal, px: Decimal) -> Decimal:
        """Return how much of a trade is possible: reduce-only up to the position, spot up to the available cash."""
        account, instrument = self.account(order.uid), order.instrument
        if instrument.is_swap:
            if not order.reduce_only:
                return sz
            position = account.position(instrument, order.td_mode)
            held = position.pos if position else ZERO
            return min(sz, abs(held)) if held * (1 if order.buys else -1) < 0 else ZERO
        if order.buys:
            return min(sz, instrument.to_lot(max(account.cash[instrument.quote], ZERO) / px))
        return min(sz, instrument.to_lot(max(account.cash[instrument.base], ZERO)))

    def _settle(self, order: Order, sz: Decimal, px: Decimal, exec_type: str) -> Fill:
        """Book one trade: one bill for a swap, one bill per currency for spot."""
        account, instrument, now = self.account(order.uid), order.instrument, self._time
        self._last_trade += self._random.randrange(1, 5)
        trade_id, bill_id = str(-self._last_trade if order.forced else self._last_trade), self._next_id()
        rate = instrument.maker_rate if exec_type == "M" else instrument.taker_rate
        mark, change = self._marks[instrument.inst_id], sz if order.buys else -sz
        kind, sub_type = rows.trade_type(order), rows.trade_sub_type(order)
        touched = self._touch(order.uid)

        def fill(fee: Decimal, pnl: Decimal = ZERO) -> Fill:
            return Fill(trade_id, bill_id, sz, px, mark, fee, order.fee_ccy, pnl, exec_type, now)

        of_bill: dict[str, Any] = {"sz": sz, "px": px, "instrument": instrument, "order": order}
        if instrument.is_swap:
            position = self._position(account, order)
            position.trade_id = trade_id
            fee = -round(instrument.value(sz, px) * rate, PLACES)
            pnl = position.apply(change, px, fee, now)
            done = fill(fee, pnl)
            of_bill |= {"fill": done, "pnl": pnl, "fee": fee, "pos_bal": position.pos, "pos_bal_chg": change}
            account.post(bill_id, now, instrument.quote, kind, sub_type, pnl + fee, **of_bill)
            touched.positions[instrument.inst_id, order.td_mode] = position
            touched.paid(instrument.quote)
            return done
        cost = -change * px
        base_fee, quote_fee = (-round(sz * rate, PLACES), ZERO) if order.buys else (ZERO, -round(cost * rate, PLACES))
        done = of_bill["fill"] = fill(base_fee or quote_fee)
        account.post(bill_id, now, instrument.base, kind, sub_type, change + base_fee, fee=base_fee, **of_bill)
        account.post(self._next_id(), now, instrument.quote, kind, sub_type, cost + quote_fee, fee=quote_fee, **of_bill)
        touched.paid(instrument.base, instrument.quote)
        return done

    def _position(self, account: Account, order: Order) -> Position:
        key = order.instrument.inst_id, order.td_mode
        if key not in account.positions:
            account.positions[key] = Position(order.instrument, self._next_id(), order.lever, order.td_mode)
        return account.positions[key]
