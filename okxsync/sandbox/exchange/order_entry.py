"""Order entry: place, amend, cancel, close a position, liquidate (OKX docs: order-book-trading-trade).

Requests are REST bodies, with OKX's names. An invalid one raises `OrderRejected` with OKX's code, and changes
nothing.
"""

from collections.abc import Mapping
from typing import Any

from okxsync.sandbox.exchange import parameters
from okxsync.sandbox.exchange.admission import SLIPPAGE_TICKS, Admission
from okxsync.sandbox.exchange.attached import amend_attached
from okxsync.sandbox.exchange.instruments import text
from okxsync.sandbox.exchange.ledger import Account, reserve_of
from okxsync.sandbox.exchange.order_reading import read_clamp
from okxsync.sandbox.exchange.orders import Order, OrderRejected, check_steps, client_id, optional_number


class OrderEntry(Admission):
    """Order operations."""

    def place_order(self, uid: str, request: Mapping[str, Any]) -> Order:
        """Place an order by the body of ``POST trade/order``; numbers are strings, ``instIdCode`` is accepted too."""
        self._now()
        order = self._read_order(uid, request)
        self._admit(order)
        self._accept(order)
        self._flush()
        return order

    def try_order(self, uid: str, request: Mapping[str, Any]) -> OrderRejected | None:
        """Return why an order would be rejected, or None; nothing is placed."""
        self._now()
        try:
            self._admit(self._read_order(uid, request))
        except OrderRejected as rejection:
            return rejection
        return None

    def rejects_batches_atomically(self, uid: str) -> bool:
        """Whether one rejected order of a batch rejects the others."""
        return self.rules.atomic_batches and self.members[uid].acct_lv == "4"

    def amend_order(self, uid: str, request: Mapping[str, Any]) -> Order:
        """Change ``newSz`` and/or ``newPx`` of a pending order; it keeps its ``ordId``."""
        now = self._now()
        parameters.check("amend", request)
        cancels, req_id = parameters.flag(request, "cxlOnFail"), client_id(request, "reqId")
        account = self.account(uid)
        order = self._find_order(account, request, "51503", "Order amendment failed as the order does not exist")
        if order.state == "filled":
            raise OrderRejected("51510", "Modification failed as the order has been completed")
        if order.state == "canceled":
            raise OrderRejected("51509", "Modification failed as the order has been canceled")
        sz = optional_number(request, "newSz") or order.sz
        px = optional_number(request, "newPx") or order.px
        if px is not None and px != order.px:
            px = self._within_band(order.instrument, order.side, px, clamps=read_clamp(request))
        attached = order.attached
        if request.get("attachAlgoOrds"):
            attached = amend_attached(attached, request["attachAlgoOrds"])
        if (sz, px) == (order.sz, order.px) and attached is order.attached:
            raise OrderRejected("51506", "Order modification failed: nothing to modify")
        check_steps(order.instrument, sz, px)
        was = order.sz, order.px
        reserved_before = reserve_of(order)
        order.sz, order.px = max(sz, order.acc_fill_sz), px
        order.req_id, order.amend_source = req_id, "1"
        if order.ord_type == "post_only" and self._crosses(order):
            order.sz, order.px = was
            order.req_id = order.amend_source = ""
            raise OrderRejected("51511", "Order modification failed: a post-only order would be executed at once")
        ccy, reserve = reserve_of(order)
        left = self._cash_left(account, ccy) if order.inst_type == "SPOT" else self._margin_left(account, ccy)
        if reserve - reserved_before[1] > left and reserve > reserved_before[1]:
            order.sz, order.px = was
            order.amend_source = ""
            if cancels:
                order.amend_result = "1"
                self._finish(order, "canceled", "0")
                self._flush()
                return order
            order.req_id = ""
            raise OrderRejected(
                "51008", "Order failed. Insufficient balance", "1000" if order.inst_type == "SPOT" else "1001"
            )
        try:
            self._check_attached(order, attached)
        except OrderRejected:
            order.sz, order.px = was
            order.req_id = order.amend_source = ""
            raise
        order.attached, order.amend_result = attached, "0"
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
        parameters.check("cancel", request)
        gone = "Cancellation failed as the order has been filled, canceled or does not exist"
        order = self._find_order(self.account(uid), request, "51400", gone)
        if not order.pending:
            raise OrderRejected("51400", gone)
        if self.rules.cancel_loses:
            self._racing.append(order)
            return order
        self._finish(order, "canceled", "1")
        self._flush()
        return order

    def _fill_racing(self) -> None:
        """Fill the orders whose accepted cancellation has lost the race."""
        racing, self._racing = self._racing, []
        for order in racing:
            px = order.limit_px
            if order.pending and px is not None:
                self._fill(order, order.left, px, "M")
        self._flush()

    def close_position(self, uid: str, request: Mapping[str, Any]) -> Order:
        """Close a position at market (``POST trade/close-position``); ``autoCxl`` cancels closing orders first."""
        self._now()
        parameters.check("close", request)
        cancels = parameters.flag(request, "autoCxl")
        order = self._closing_order(uid, request)
        opposed = [
            each
            for each in self.account(uid).pending.values()
            if each.reduce_only
            and (each.instrument, each.td_mode, each.pos_side) == (order.instrument, order.td_mode, order.pos_side)
        ]
        if opposed and not cancels:
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
        position = self.account(uid).position(order.instrument, order.td_mode, order.pos_side)
        assert position is not None
        position.cycles[-1].ended_by = "5" if adl else "3"
        self._flush()
        return order

    def _closing_order(self, uid: str, request: Mapping[str, Any]) -> Order:
        """Return the market order that closes the position of ``instId``, ``mgnMode`` and ``posSide``."""
        instrument, account = self._instrument(uid, request), self.account(uid)
        mgn_mode = parameters.choice(request, "mgnMode", "cross", "isolated")
        pos_side = str(request.get("posSide") or "net")
        position = account.position(instrument, mgn_mode, pos_side)
        if position is None or not position.pos or request.get("ccy") not in (None, "", position.ccy):
            raise OrderRejected("51023", "Position does not exist")
        body = {
            "instId": instrument.inst_id,
            "tdMode": mgn_mode,
            "side": "sell" if position.direction > 0 else "buy",
            "posSide": pos_side,
            "sz": text(position.closable()),
            "clOrdId": request.get("clOrdId"),
            "tag": request.get("tag"),
        }
        if instrument.is_option:
            quote = self._quotes[instrument.inst_id]
            px = quote.bid - SLIPPAGE_TICKS * instrument.tick_sz if position.direction > 0 else quote.ask
            body |= {"ordType": "ioc", "px": text(max(px, instrument.tick_sz))}
        else:
            body["ordType"] = "market"
        if instrument.is_spot:
            body |= {"ccy": position.ccy, "tgtCcy": "base_ccy"}
        order = self._read_order(uid, body)
        order.reduce_only = True
        return order

    def _find_order(self, account: Account, request: Mapping[str, Any], code: str, message: str) -> Order:
        ord_id, cl_ord_id = str(request.get("ordId") or ""), str(request.get("clOrdId") or "")
        if not ord_id and not cl_ord_id:
            raise OrderRejected("51003", "Either client order ID or order ID is required")
        instrument = self._instrument(account.uid, request)
        order = account.orders.get(ord_id) if ord_id else account.client_ids.get(cl_ord_id)
        if order is None or order.instrument is not instrument:
            raise OrderRejected(code, message)
        return order
