"""Which valid orders are admitted: funds, position, tier, shared quota, and the size of one order.

`_admit` changes nothing but the size of a reduce-only order. The free margin that it compares with is the one that
``max-size`` divides, so that the largest size is admitted and the next lot is not.
"""

from decimal import Decimal

from okxsync.sandbox.exchange import tiers
from okxsync.sandbox.exchange.instruments import MAX_SPOT_MARKET, Instrument
from okxsync.sandbox.exchange.ledger import Account, margin_needed
from okxsync.sandbox.exchange.order_reading import OrderReading
from okxsync.sandbox.exchange.orders import ZERO, Order, OrderRejected

SLIPPAGE_TICKS = 3
"""A market order of a pair on margin is accepted if the account can pay a price this many ticks away."""
COOL_OFF = "54094"
"""Only reduce-only orders are accepted."""
_NOT_TRADING = {"suspend": "51022", "preopen": "51021", "test": "51021", "expired": "51027", "post_only": "51110"}


class Admission(OrderReading):
    """Admits orders."""

    def _admit(self, order: Order) -> None:
        """Reject an order that the account cannot place; limit a reduce-only order to the position."""
        self._refuse(order)
        account, instrument = self.account(order.uid), order.instrument
        if order.inst_type == "SPOT":
            self._admit_spot(account, order)
        elif order.reduce_only:
            self._admit_reducing(account, order)
            return
        else:
            self._admit_opening(account, order)
        self._check_ceilings(order, instrument)

    def _refuse(self, order: Order) -> None:
        """Reject what the account or the instrument does not take, whatever its size."""
        member, instrument = self.members[order.uid], order.instrument
        code = member.refused.get(instrument.inst_id) or member.refused.get("ANY")
        if code and not (code == COOL_OFF and order.reduce_only):
            raise OrderRejected(code, "Order failed. This account may not place it.")
        if instrument.state == "live" or (instrument.state == "post_only" and order.ord_type == "post_only"):
            return
        code = _NOT_TRADING.get(instrument.state, "51022")
        raise OrderRejected(code, f"{instrument.inst_id} is not traded now: {instrument.state}")

    def _price_of(self, order: Order) -> Decimal:
        """The price that an order must be able to pay."""
        quote, instrument = self._quotes[order.instrument.inst_id], order.instrument
        if order.limit_px is not None:
            return order.limit_px
        if order.inst_type == "SPOT" and order.buys:
            return quote.ask * (1 + self.rules.spot_freeze)
        return quote.ask + instrument.tick_sz * SLIPPAGE_TICKS if order.buys else quote.bid

    def _admit_spot(self, account: Account, order: Order) -> None:
        instrument, quote = order.instrument, self._quotes[order.instrument.inst_id]
        if order.buys:
            needed, ccy = (order.sz if order.in_quote else order.sz * self._price_of(order)), instrument.quote
        else:
            needed, ccy = (order.sz / quote.bid if order.in_quote else order.sz), instrument.base
        if needed > self._cash_left(account, ccy):
            raise OrderRejected("51008", f"Order failed. Insufficient {ccy} balance in account", "1000")

    def _admit_reducing(self, account: Account, order: Order) -> None:
        position = account.position(order.instrument, order.td_mode, order.pos_side)
        if position is None or not position.pos:
            raise OrderRejected("51169", "You don't have any positions in this contract to reduce or close")
        if not self._opposes(order, position.direction):
            raise OrderRejected(
                "51170", "Order failed: a reduce-only order can't be the same direction as the position"
            )
        held = position.closable()
        if order.in_quote or order.sz <= held:
            return
        if self.rules.reduce_beyond == "reject":
            raise OrderRejected("51112", "Close order size exceeds your available size")
        order.sz, order.amend_source = held, "4"

    def _admit_opening(self, account: Account, order: Order) -> None:
        instrument, px = order.instrument, self._price_of(order)
        position = account.position(instrument, order.td_mode, order.pos_side)
        opposed = position is not None and self._opposes(order, position.direction)
        held = position.closable() if position and position.pos else ZERO
        sz, ccy = (order.sz / px if order.in_quote else order.sz), instrument.settle
        opening = max(sz - held, ZERO) if opposed else sz
        needed = margin_needed(order, opening, px) + instrument.coins(opening, px) * instrument.taker_rate
        if needed > self._margin_left(account, ccy):
            raise OrderRejected("51008", f"Order failed. Insufficient {ccy} margin in account", "1001")
        self._check_tier(order, opening, ZERO if opposed else held)
        self._check_quota(order, opening)

    def _waiting(self, order: Order) -> Decimal:
        """What is pending in the direction of an order."""
        same = (order.instrument, order.td_mode, order.pos_side, order.side)
        return sum(
            (
                each.left
                for each in self.account(order.uid).pending.values()
                if not each.reduce_only and (each.instrument, each.td_mode, each.pos_side, each.side) == same
            ),
            ZERO,
        )

    def _check_tier(self, order: Order, opening: Decimal, held: Decimal) -> None:
        """Reject a position that is too large for its leverage, with what is pending in the same direction."""
        most = tiers.largest(order.instrument, order.lever)
        if most is None or not opening:
            return
        if held + self._waiting(order) + opening > most:
            raise OrderRejected(
                "51004", f"Order failed. The position tier limit at your current leverage is {most}", "1101"
            )

    def _check_quota(self, order: Order, opening: Decimal) -> None:
        left = self.quota_left(order.uid, order.instrument, "buy" if order.buys else "sell")
        if left is not None and self._usd_of(order.instrument, opening) > left:
            raise OrderRejected("54030", "Order failed. Beyond the position limit of the master account and its subs")

    def quota_left(self, uid: str, instrument: Instrument, side: str) -> Decimal | None:
        """What a master account and its subs may still open on one side, in USD; None without a limit."""
        main_uid = self.members[uid].main_uid
        quota = self.quotas.get((main_uid, instrument.inst_id))
        if quota is None:
            return None
        used, buys = ZERO, side == "buy"
        for each in self.members.values():
            if each.main_uid != main_uid:
                continue
            account = self.account(each.uid)
            for position in account.positions.values():
                if position.instrument is instrument and position.direction == (1 if buys else -1):
                    used += self._usd_of(instrument, abs(position.pos))
            for order in account.pending.values():
                if order.instrument is instrument and order.buys == buys and not order.reduce_only:
                    used += self._usd_of(instrument, order.left)
        return max(quota - used, ZERO)

    def _usd_of(self, instrument: Instrument, sz: Decimal) -> Decimal:
        """What a size is worth in USD."""
        if instrument.inverse:
            return sz * instrument.ct_val
        return instrument.value(sz, self._marks[instrument.inst_id]) * self._usd[instrument.settle]

    def _check_ceilings(self, order: Order, instrument: Instrument) -> None:
        """Reject an order that is too large by itself."""
        if order.ord_type in ("market", "optimal_limit_ioc"):
            if not instrument.is_spot and order.sz > instrument.max_mkt_sz:
                raise OrderRejected("51202", "Market order amount exceeds the maximum amount.")
            if (
                instrument.is_spot
                and (order.sz if order.in_quote else order.sz * self._price_of(order)) > MAX_SPOT_MARKET
            ):
                raise OrderRejected("51201", f"The value of a market order can't exceed {MAX_SPOT_MARKET} USDT")
        elif order.sz > instrument.max_lmt_sz:
            raise OrderRejected("51101", "Entered amount exceeds the max order amount.")
        elif not instrument.is_option and self._usd_of(instrument, order.sz) > instrument.max_lmt_amt:
            raise OrderRejected("51005", "Your order amount exceeds the max order amount.")
