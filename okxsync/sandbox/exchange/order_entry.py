"""Order entry: place, amend, cancel, close a position, liquidate (OKX docs: order-book-trading-trade).

Requests are REST bodies, with OKX's names. An invalid one raises `OrderRejected` with OKX's code, and changes
nothing.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from okxsync.sandbox.exchange.instruments import text
from okxsync.sandbox.exchange.ledger import Account, reserve_of
from okxsync.sandbox.exchange.matching import Matching
from okxsync.sandbox.exchange.orders import ZERO, Order, OrderRejected, check_steps, client_id, number, optional_number

LEVER = "10"
ORD_TYPES = frozenset({"market", "limit", "post_only", "fok", "ioc", "optimal_limit_ioc"})
SLIPPAGE_TICKS = 3
"""A market order is accepted if the account can pay a price this many ticks away."""


class OrderEntry(Matching):
    """Order operations."""

    def place_order(self, uid: str, request: Mapping[str, Any]) -> Order:
        """Place an order by the body of ``POST trade/order``; numbers are strings, ``instIdCode`` is accepted too."""
        self._now()
        order = self._read_order(uid, request)
        self._admit(order)
        self._accept(order)
        self._flush()
        return order

    def amend_order(self, uid: str, request: Mapping[str, Any]) -> Order:
        """Change ``newSz`` and/or ``newPx`` of a pending order; it keeps its ``ordId``."""
        now = self._now()
        account = self.account(uid)
        order = self._find_order(account, request, "51503", "Order amendment failed as the order does not exist")
        if order.state == "filled":
            raise OrderRejected("51510", "Modification failed as the order has been completed")
        if order.state == "canceled":
            raise OrderRejected("51509", "Modification failed as the order has been canceled")
        sz = optional_number(request, "newSz") or order.sz
        px = optional_number(request, "newPx") or order.px
        if (sz, px) == (order.sz, order.px):
            raise OrderRejected("51506", "Order modification failed: nothing to modify")
        check_steps(order.instrument, sz, px)
        was = order.sz, order.px
        reserved_before = reserve_of(order)
        order.sz, order.px = max(sz, order.acc_fill_sz), px
        order.req_id, order.amend_source = str(request.get("reqId") or ""), "1"
        if order.ord_type == "post_only" and self._crosses(order):
            order.sz, order.px = was
            order.req_id = order.amend_source = ""
            raise OrderRejected("51511", "Order modification failed: a post-only order would be executed at once")
        ccy, reserve = reserve_of(order)
        if reserve - reserved_before[1] > self._free(account, ccy) and reserve > reserved_before[1]:
            order.sz, order.px = was
            order.amend_source = ""
            if str(request.get("cxlOnFail", "")).lower() == "true":
                order.amend_result = "1"
                self._finish(order, "canceled", "0")
                self._flush()
                return order
            order.req_id = ""
            raise OrderRejected("51008", "Order failed. Insufficient balance")
        order.amend_result = "0"
        self._touch(uid).ccys.add(ccy)
        if not order.left:
            self._finish(order, "filled")
        else:
            order.u_time = max(now, order.u_time)
            self._push_order(order)
        order.req_id = order.amend_result = order.amend_source = ""
        if order.pending:
            self._match(order)
        self._flush()
        return order

    def cancel_order(self, uid: str, request: Mapping[str, Any]) -> Order:
        """Cancel a pending order by ``ordId`` or ``clOrdId``."""
        self._now()
        gone = "Cancellation failed as the order has been filled, canceled or does not exist"
        order = self._find_order(self.account(uid), request, "51400", gone)
        if not order.pending:
            raise OrderRejected("51400", gone)
        self._finish(order, "canceled", "1")
        self._flush()
        return order

    def close_position(self, uid: str, request: Mapping[str, Any]) -> Order:
        """Close a swap position at market (``POST trade/close-position``); ``autoCxl`` cancels closing orders first."""
        self._now()
        order = self._closing_order(uid, request)
        opposed = [
            each
            for each in self.account(uid).pending.values()
            if each.reduce_only and each.instrument is order.instrument and each.td_mode == order.td_mode
        ]
        if opposed and str(request.get("autoCxl", "")).lower() != "true":
            raise OrderRejected("51115", "Cancel all pending close-orders before liquidation")
        for each in opposed:
            self._finish(each, "canceled", "1")
        self._accept(order)
        self._flush()
        return order

    def liquidate(self, uid: str, request: Mapping[str, Any], *, adl: bool = False) -> Order:
        """Liquidate a position as OKX does: all orders of the instrument are canceled, then the position is closed.

        The closing order has a ``category``; its trades are "0" in order rows and negative among the fills.
        """
        self._now()
        order = self._closing_order(uid, request)
        order.category = "adl" if adl else "full_liquidation"
        for each in [each for each in self.account(uid).pending.values() if each.instrument is order.instrument]:
            self._finish(each, "canceled", "6" if adl else "3")
        self._touch(uid).event = "adl" if adl else "liquidation"
        self._accept(order)
        self.account(uid).positions[order.instrument.inst_id, order.td_mode].cycles[-1].ended_by = "5" if adl else "3"
        self._flush()
        return order

    def _closing_order(self, uid: str, request: Mapping[str, Any]) -> Order:
        """Return the market order that closes the position of ``instId`` and ``mgnMode``."""
        instrument = self._instrument(uid, request)
        mgn_mode = str(request.get("mgnMode") or "cross")
        position = self.account(uid).position(instrument, mgn_mode)
        if position is None or not position.pos:
            raise OrderRejected("51023", "Position does not exist")
        body = {
            "instId": instrument.inst_id,
            "tdMode": mgn_mode,
            "side": "sell" if position.pos > 0 else "buy",
            "ordType": "market",
            "sz": text(abs(position.pos)),
            "reduceOnly": True,
            "clOrdId": request.get("clOrdId"),
            "tag": request.get("tag"),
        }
        return self._read_order(uid, body)

    def _read_order(self, uid: str, request: Mapping[str, Any]) -> Order:
        """Return the order of a valid request; `_admit` checks whether the account can pay for it."""
        member, account = self.members[uid], self.account(uid)
        instrument = self._instrument(uid, request)
        swap = instrument.is_swap
        side, ord_type = str(request.get("side", "")), str(request.get("ordType", ""))
        td_mode = str(request.get("tdMode", ""))
        if side not in ("buy", "sell"):
            raise OrderRejected("51000", "Parameter side error")
        if ord_type not in ORD_TYPES or (ord_type == "optimal_limit_ioc" and not swap):
            raise OrderRejected("51000", "Parameter ordType error")
        if td_mode not in (("cross", "isolated") if swap else ("cash", "cross")):
            raise OrderRejected("51000", "Parameter tdMode error")
        if swap and member.acct_lv == "1":
            raise OrderRejected("51010", "You can't complete this request under your current account mode")
        if (pos_side := str(request.get("posSide") or "")) not in ("", "net"):
            raise OrderRejected("51000", "Parameter posSide error")
        cl_ord_id = client_id(request, "clOrdId")
        known = account.client_ids.get(cl_ord_id) if cl_ord_id else None
        if known is not None and known.pending:
            raise OrderRejected("51016", "Client order ID already exists")
        market = ord_type in ("market", "optimal_limit_ioc")
        sz, px = number(request, "sz"), None if market else number(request, "px")
        tgt_ccy = ""
        if market and not swap:
            tgt_ccy = str(request.get("tgtCcy") or ("quote_ccy" if side == "buy" else "base_ccy"))
            if tgt_ccy not in ("base_ccy", "quote_ccy"):
                raise OrderRejected("51000", "Parameter tgtCcy error")
        if tgt_ccy == "quote_ccy":
            if sz / self._quotes[instrument.inst_id].ask < instrument.min_sz:
                raise OrderRejected("51020", "Your order should meet or exceed the minimum order amount.")
        else:
            check_steps(instrument, sz, px)
        now = self._time
        return Order(
            uid,
            self._next_id(),
            instrument,
            side,
            ord_type,
            td_mode,
            sz,
            px,
            now,
            now,
            cl_ord_id=cl_ord_id,
            tag=str(request.get("tag") or ""),
            ccy=str(request.get("ccy") or ""),
            pos_side="net" if swap else pos_side,
            tgt_ccy=tgt_ccy,
            lever=LEVER if swap else "",
            reduce_only=swap and str(request.get("reduceOnly", "")).lower() == "true",
        )

    def _admit(self, order: Order) -> None:
        """Reject an order that the account cannot pay for; limit a reduce-only order to the position."""
        account, instrument = self.account(order.uid), order.instrument
        quote = self._quotes[instrument.inst_id]
        slip = instrument.tick_sz * SLIPPAGE_TICKS
        px = order.px or (quote.ask + slip if order.buys else quote.bid)
        held = ZERO
        if instrument.is_swap:
            position = account.position(instrument, order.td_mode)
            held = position.pos if position else ZERO
        against = held * (1 if order.buys else -1) < 0
        if order.reduce_only:
            if not held:
                raise OrderRejected("51169", "You don't have any positions in this contract to reduce or close")
            if not against:
                raise OrderRejected(
                    "51170", "Order failed: a reduce-only order can't be the same direction as the position"
                )
            order.sz = min(order.sz, abs(held))
            return
        if instrument.is_swap:
            opening = max(order.sz - abs(held), ZERO) if against else order.sz
            needed = instrument.value(opening, px) * (1 / Decimal(order.lever) + instrument.taker_rate)
            ccy = instrument.quote
        elif order.buys:
            needed, ccy = (order.sz if order.in_quote else order.sz * px), instrument.quote
        else:
            needed, ccy = (order.sz / quote.bid if order.in_quote else order.sz), instrument.base
        if needed > self._free(account, ccy):
            raise OrderRejected("51008", f"Order failed. Insufficient {ccy} balance in account")

    def _find_order(self, account: Account, request: Mapping[str, Any], code: str, message: str) -> Order:
        ord_id, cl_ord_id = str(request.get("ordId") or ""), str(request.get("clOrdId") or "")
        if not ord_id and not cl_ord_id:
            raise OrderRejected("51003", "Either client order ID or order ID is required")
        instrument = self._instrument(account.uid, request)
        order = account.orders.get(ord_id) if ord_id else account.client_ids.get(cl_ord_id)
        if order is None or order.instrument is not instrument:
            raise OrderRejected(code, message)
        return order
