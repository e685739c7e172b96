"""Deposits and withdrawals, between outside, funding account and trading account, one step at each tick.

A deposit is announced (state 0), credited to the funding account (1), and moved on to the trading account (2). A
withdrawal leaves both at once, is processed (0, 1), and is complete (2). Each step is a bill of its account.
"""

from decimal import Decimal

from okxsync.sandbox.exchange.orders import ZERO, Movement, OrderRejected, number
from okxsync.sandbox.exchange.state import State

WITHDRAWAL_FEE = {"USDT": Decimal(1), "BTC": Decimal("0.0001"), "ETH": Decimal("0.001")}


class Funds(State):
    """Deposits and withdrawals; `_advance` is called at each tick."""

    def deposit(self, uid: str, ccy: str, amt: str) -> Movement:
        """Announce a deposit; ticks credit it to the funding account and then move it into the trading account."""
        self._now()
        movement = self._movement(uid, ccy, amt)
        self.account(uid).deposits.append(movement)
        self._moving.append(movement)
        self._push_movement(movement)
        return movement

    def withdraw(self, uid: str, ccy: str, amt: str) -> Movement:
        """Withdraw from the trading account, through the funding account; a fee is added, and ticks complete it."""
        now = self._now()
        account = self.account(uid)
        movement = self._movement(uid, ccy, amt)
        movement.withdrawn, movement.fee = True, WITHDRAWAL_FEE.get(ccy, ZERO)
        total = movement.amt + movement.fee
        if total > self._cash_left(account, ccy):
            raise OrderRejected("58350", "Insufficient balance")
        account.post(self._next_id(), now, ccy, "1", "12", -total, sz=total, sent_from="18", sent_to="6")
        account.post_asset(self._next_id(), now, ccy, "130", total)
        account.post_asset(self._next_id(), now, ccy, "2", -total)
        account.withdrawals.append(movement)
        self._moving.append(movement)
        self._transferred(uid, ccy)
        self._push_movement(movement)
        self._flush()
        return movement

    def _movement(self, uid: str, ccy: str, amt: str) -> Movement:
        """Create a deposit or withdrawal. Any currency is accepted; one without a market is worth a dollar."""
        if not (ccy.isascii() and ccy.isalnum() and ccy == ccy.upper()):
            raise OrderRejected("58111", f"Currency {ccy} is unknown")
        amount = number({"amt": amt}, "amt")
        self._usd.setdefault(ccy, Decimal(1))
        return Movement(uid, self._next_id(), ccy, amount, ZERO, self._time, self._time)

    def _advance(self) -> None:
        """Advance every deposit and withdrawal by one step."""
        moving, self._moving = self._moving, []
        for movement in moving:
            movement.state = str(int(movement.state) + 1)
            movement.p_time = max(self._time, movement.p_time)
            if not movement.withdrawn:
                if movement.state == "1":
                    self._credit(movement)
                else:
                    self._into_trading(movement)
            self._push_movement(movement)
            if movement.state != "2":
                self._moving.append(movement)

    def _credit(self, deposit: Movement) -> None:
        """A deposit arrives in the funding account."""
        account = self.account(deposit.uid)
        account.post_asset(self._next_id(), self._time, deposit.ccy, "1", deposit.amt)

    def _into_trading(self, deposit: Movement) -> None:
        """A deposit moves from the funding to the trading account."""
        account, now, ccy, amt = self.account(deposit.uid), self._time, deposit.ccy, deposit.amt
        account.post_asset(self._next_id(), now, ccy, "131", -amt)
        account.post(self._next_id(), now, ccy, "1", "11", amt, sz=amt, sent_from="6", sent_to="18")
        self._transferred(deposit.uid, ccy)

    def _transferred(self, uid: str, ccy: str) -> None:
        touched = self._touch(uid)
        touched.paid(ccy)
        touched.event = "transferred"
