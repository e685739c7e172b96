"""What one trade changes: cash, position and bills, by the kind of instrument.

A trade of a contract makes one bill in its settlement currency; a spot trade makes one bill per currency. A margin
trade in Futures mode changes its position, and the cash of what does not belong to it; in the modes with one margin
pool it is a spot trade whose cash may go below zero: that is a liability.
"""

from dataclasses import replace
from decimal import Decimal
from typing import Any

from okxsync.sandbox.exchange import rows
from okxsync.sandbox.exchange.instruments import PLACES
from okxsync.sandbox.exchange.ledger import Account
from okxsync.sandbox.exchange.orders import ZERO, Fill, Order
from okxsync.sandbox.exchange.positions import MarginPosition, Position
from okxsync.sandbox.exchange.state import State

FEE_CAP = Decimal("0.125")
"""The most that the fee of an option may be of its premium (OKX: trading fee rules)."""


class Booking(State):
    """Books trades."""

    def _book(self, order: Order, sz: Decimal, px: Decimal, exec_type: str, *, trade_id: str | None = None) -> Fill:
        """Book one trade, record the fill, and return it. `trade_id` replaces the next one."""
        account, instrument = self.account(order.uid), order.instrument
        self._last_trade += self._random.randrange(1, 5)
        if trade_id is None:
            trade_id = str(-self._last_trade if order.forced else self._last_trade)
        bill_id, change = self._next_id(), sz if order.buys else -sz
        rate = instrument.maker_rate if exec_type == "M" else instrument.taker_rate
        done = Fill(
            trade_id, bill_id, sz, px, self._marks[instrument.inst_id], ZERO, order.fee_ccy, ZERO, exec_type,
            self._time, rows.trade_sub_type(order),
        )  # fmt: skip
        if order.inst_type == "SPOT" or (order.inst_type == "MARGIN" and self.members[order.uid].pooled):
            done = self._book_spot(account, order, done, change, rate)
        else:
            done = self._book_position(account, order, done, change, rate)
        if trade_id.strip("-0"):
            self._touch(order.uid).trades.append({"instId": instrument.inst_id, "tradeId": trade_id})
        if order.ord_id:  # the others are not trades of the book
            self._quotes[instrument.inst_id].trade(px, sz, self._time)
        account.fills.append((order, done))
        return done

    def _book_spot(self, account: Account, order: Order, fill: Fill, change: Decimal, rate: Decimal) -> Fill:
        instrument, now, cost = order.instrument, self._time, -change * fill.px
        base_fee = -round(fill.sz * rate, PLACES) if order.buys else ZERO
        quote_fee = ZERO if order.buys else -round(cost * rate, PLACES)
        done = replace(fill, fee=base_fee or quote_fee)
        kind, of_bill = rows.trade_type(order), {"sz": fill.sz, "px": fill.px, "order": order, "fill": done}
        of_bill |= {"instrument": instrument, "inst_type": order.inst_type}
        account.post(
            fill.bill_id, now, instrument.base, kind, fill.sub_type, change + base_fee, fee=base_fee, **of_bill
        )
        account.post(
            self._next_id(), now, instrument.quote, kind, fill.sub_type, cost + quote_fee, fee=quote_fee, **of_bill
        )
        self._touch(order.uid).paid(instrument.base, instrument.quote)
        return done

    def _book_position(self, account: Account, order: Order, fill: Fill, change: Decimal, rate: Decimal) -> Fill:
        instrument, now, touched = order.instrument, self._time, self._touch(order.uid)
        position = self._position(account, order)
        if order.fee_ccy == instrument.settle:
            fee = -round(instrument.coins(fill.sz, fill.px) * rate, PLACES)
        else:
            fee = -round(fill.sz * rate, PLACES)
        if instrument.is_option:
            fee = max(fee, -round(instrument.value(fill.sz, fill.px) * FEE_CAP, PLACES))
        effect = position.apply(change, fill.px, fee, now)
        position.trade_id = fill.trade_id
        done = replace(fill, fee=fee, pnl=effect.pnl)
        if isinstance(position, MarginPosition):
            cash = effect.cash
        elif instrument.is_option:
            cash = {instrument.settle: fee - instrument.value(change, fill.px)}
        else:
            cash = {instrument.settle: effect.pnl + fee}
        of_bill: dict[str, Any] = {"sz": fill.sz, "px": fill.px, "order": order, "fill": done, "instrument": instrument}
        of_bill["inst_type"] = order.inst_type
        paid = cash.pop(position.ccy, ZERO) - effect.margin
        account.post(
            fill.bill_id, now, position.ccy, rows.trade_type(order), fill.sub_type, round(paid, PLACES),
            pnl=effect.pnl, fee=fee, pos_bal=position.margin, pos_bal_chg=effect.margin, **of_bill,
        )  # fmt: skip
        touched.paid(position.ccy)
        for ccy, amount in cash.items():
            if amount := round(amount, PLACES):
                account.post(self._next_id(), now, ccy, rows.trade_type(order), fill.sub_type, amount, **of_bill)
                touched.paid(ccy)
        touched.positions[position.key] = position
        return done

    def _position(self, account: Account, order: Order) -> Position:
        key = order.instrument.inst_id, order.td_mode, order.pos_side or "net"
        if key not in account.positions:
            kind = MarginPosition if order.inst_type == "MARGIN" else Position
            account.positions[key] = kind(order.instrument, self._next_id(), order.lever, order.td_mode, key[2])
        return account.positions[key]
