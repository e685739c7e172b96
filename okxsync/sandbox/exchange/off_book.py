"""Trades that no order of the book stands behind: block trades, spread legs, delivery and exercise.

They change cash and positions, make fills and bills with ``ordId`` "", and are not pushed by channel ``orders`` (OKX
docs: order-book-trading-trade-get-transaction-details).
"""

from collections.abc import Sequence
from decimal import Decimal

from okxsync.sandbox.exchange import leverage
from okxsync.sandbox.exchange.algo_amending import AlgoAmending
from okxsync.sandbox.exchange.instruments import Instrument
from okxsync.sandbox.exchange.ledger import Account
from okxsync.sandbox.exchange.orders import Fill, Order, check_steps
from okxsync.sandbox.exchange.positions import Position

NO_TRADE = "0"
"""``tradeId`` of a delivery and of an exercise: nobody traded."""


class OffBook(AlgoAmending):
    """Trades that are agreed elsewhere or follow from a contract."""

    def block_trade(self, uid: str, inst_id: str, side: str, sz: str, *, pos_side: str = "net") -> Fill:
        """Execute one leg of a block trade at the mark."""
        self._now()
        return self._trade_legs(uid, "block_trade", [(inst_id, side)], sz, pos_side)[0]

    def spread_trade(self, uid: str, inst_ids: tuple[str, str], side: str, sz: str, *, pos_side: str = "net") -> None:
        """Trade a spread: buying it sells the first leg and buys the second."""
        self._now()
        first, second = ("sell", "buy") if side == "buy" else ("buy", "sell")
        self._trade_legs(uid, "spread", [(inst_ids[0], first), (inst_ids[1], second)], sz, pos_side)

    def _trade_legs(
        self, uid: str, category: str, legs: Sequence[tuple[str, str]], sz: str, pos_side: str
    ) -> list[Fill]:
        orders = []
        for inst_id, side in legs:
            instrument = self._instrument(uid, {"instId": inst_id})
            check_steps(instrument, Decimal(sz), None)
            td_mode = "cash" if instrument.is_spot else "cross"
            order = self._off_book_order(uid, instrument, side, Decimal(sz), td_mode, category)
            if self.members[uid].two_sided and not instrument.is_spot and not instrument.is_option:
                order.pos_side = pos_side if pos_side != "net" else "long" if side == "buy" else "short"
            self._admit(order)
            orders.append(order)
        fills = [self._book(order, order.sz, self._marks[order.instrument.inst_id], "T") for order in orders]
        self._flush()
        return fills

    def _close_off_book(self, account: Account, position: Position, px: Decimal) -> None:
        """Deliver or exercise a position at its settlement price."""
        instrument = position.instrument
        side = "sell" if position.direction > 0 else "buy"
        category = "exercise" if instrument.is_option else "delivery"
        order = self._off_book_order(account.uid, instrument, side, abs(position.pos), position.mgn_mode, category)
        order.pos_side = position.pos_side
        if instrument.is_option:
            order.source = "172" if not px else "170" if position.pos > 0 else "171"
        touched = self._touch(account.uid)
        touched.event = "exercised" if instrument.is_option else "delivered"
        if instrument.is_option:
            touched.unpushed.add(position.key)
        self._book(order, order.sz, px, "", trade_id=NO_TRADE)

    def _off_book_order(
        self, uid: str, instrument: Instrument, side: str, sz: Decimal, td_mode: str, category: str
    ) -> Order:
        return Order(
            uid, "", instrument, side, "limit", td_mode, sz, self._marks[instrument.inst_id], self._time, self._time,
            pos_side="" if instrument.is_spot else "net", lever=leverage.DEFAULT, category=category,
        )  # fmt: skip
