"""Algo orders wait for a price, then place a child order.

They are ``trigger``, ``conditional``, ``oco`` and ``move_order_stop``; ``algo_amending`` changes them while they wait.

An algo order never fills itself. When the last, mark or index price reaches its trigger price it becomes ``effective``,
and its child is an ordinary order with ``algoId`` and ``source``; when the child is rejected it becomes
``order_failed`` with the code.
"""

import heapq
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from okxsync.sandbox.exchange import leverage, parameters
from okxsync.sandbox.exchange.attached import PX_TYPES
from okxsync.sandbox.exchange.instruments import text
from okxsync.sandbox.exchange.ledger import Account
from okxsync.sandbox.exchange.order_entry import OrderEntry
from okxsync.sandbox.exchange.order_reading import (
    read_ccy,
    read_child_px,
    read_pos_side,
    read_reduce_only,
    read_tag,
    read_td_mode,
)
from okxsync.sandbox.exchange.orders import (
    Algo,
    Attached,
    Order,
    OrderRejected,
    check_steps,
    client_id,
    number,
    optional_number,
)
from okxsync.sandbox.exchange.positions import Position

ORD_TYPES = ("trigger", "conditional", "oco", "move_order_stop")


class Algos(OrderEntry):
    """Algo order operations; `_trigger` is called as prices move, `_ended` when an order ends."""

    def place_algo(self, uid: str, request: Mapping[str, Any]) -> Algo:
        """Place a ``trigger``, ``conditional`` or ``oco`` order by the body of ``POST trade/order-algo``."""
        self._now()
        parameters.check("algo", request)
        algo = self._read_algo(uid, request)
        self._watch(algo)
        self._flush()
        return algo

    def _read_algo(self, uid: str, request: Mapping[str, Any]) -> Algo:
        now, member, account = self._time, self.members[uid], self.account(uid)
        instrument = self._instrument(uid, request)
        ord_type, side = str(request.get("ordType", "")), str(request.get("side", ""))
        if ord_type not in ORD_TYPES:
            raise OrderRejected("51000", "Parameter ordType error")
        if side not in ("buy", "sell"):
            raise OrderRejected("51000", "Parameter side error")
        td_mode = read_td_mode(request, member, instrument)
        pos_side = read_pos_side(request, member, instrument, td_mode)
        cl_id = client_id(request, "algoClOrdId")
        if cl_id and any(each.algo_cl_ord_id == cl_id for each in account.waiting.values()):
            raise OrderRejected("51065", "algoClOrdId already exists.")
        closes = parameters.choice(request, "closeFraction", "", "1")
        position = account.position(instrument, td_mode, pos_side)
        if closes and (position is None or not position.pos):
            raise OrderRejected("51023", "Position does not exist")
        if closes and request.get("sz"):
            raise OrderRejected("51000", "Parameter sz error")
        sz = position.closable() if closes and position else number(request, "sz")
        check_steps(instrument, sz, None)
        tgt_ccy = parameters.choice(request, "tgtCcy", "base_ccy", "quote_ccy")
        if instrument.is_spot and tgt_ccy != "base_ccy":
            raise OrderRejected("51000", "Parameter tgtCcy error")
        if parameters.choice(request, "tradeQuoteCcy", "", instrument.quote) and not instrument.is_spot:
            raise OrderRejected("51000", "Parameter tradeQuoteCcy error")
        algo = Algo(
            uid,
            self._next_id(),
            instrument,
            side,
            ord_type,
            td_mode,
            sz,
            now,
            now,
            algo_cl_ord_id=cl_id,
            cl_ord_id=client_id(request, "clOrdId"),
            tag=read_tag(request),
            ccy=read_ccy(request, member, instrument, td_mode),
            pos_side=pos_side,
            reduce_only=bool(closes) or read_reduce_only(request, member, instrument, td_mode),
            close_fraction=closes,
            advance_ord_type=parameters.choice(request, "advanceOrdType", "", "fok", "ioc"),
            cxl_on_close_pos=parameters.flag(request, "cxlOnClosePos"),
        )
        if algo.advance_ord_type and ord_type != "trigger":
            raise OrderRejected("51000", "Parameter advanceOrdType error")
        if algo.cxl_on_close_pos and (not algo.reduce_only or ord_type not in ("conditional", "oco")):
            raise OrderRejected("51000", "Parameter cxlOnClosePos error")
        if td_mode != "cash":
            scope = leverage.scope_of(member, instrument, td_mode, pos_side, buys=side == "buy")
            algo.lever = leverage.lever_of(account, scope)
        read_trigger(algo, request)
        self._check_sides(algo)
        return algo

    def _check_sides(self, algo: Algo) -> None:
        """Reject a take profit or stop loss that would trigger at once."""
        sells = algo.side == "sell"
        for leg, px in (("tp", algo.tp_trigger_px), ("sl", algo.sl_trigger_px)):
            if px is None:
                continue
            now = self._price(algo.instrument.inst_id, algo.px_types[leg])
            rises = sells is (leg == "tp")
            if px < now if rises else px > now:
                code = str(51277 + (2 if sells else 0) + (leg == "sl"))
                raise OrderRejected(code, f"The {leg} trigger price is on the wrong side of the present price {now}")

    def _watch(self, algo: Algo) -> None:
        """Let a new algo order wait for its prices, and push it."""
        account = self.account(algo.uid)
        account.algos[algo.algo_id] = algo
        account.waiting[algo.algo_id] = algo
        self._await(algo)
        self._push_algo(algo)

    def _ended(self, order: Order) -> None:
        """Turn what an order carries into algo orders, once it has filled."""
        if not order.acc_fill_sz or (order.state != "filled" and not self.rules.attached_after_partial):
            return
        for attached in order.attached:
            self._watch(self._activated(order, attached))

    def _activated(self, order: Order, attached: Attached) -> Algo:
        instrument = order.instrument
        filled = order.acc_fill_sz
        if instrument.is_spot:
            filled = instrument.to_lot(filled + (order.fee if order.fee_ccy == instrument.base else 0))
        part = attached.fields.get("sz")
        algo = Algo(
            order.uid,
            self._next_id(),
            instrument,
            "sell" if order.buys else "buy",
            attached.ord_type,
            order.td_mode,
            min(Decimal(part), filled) if part else filled,
            self._time,
            self._time,
            algo_cl_ord_id=attached.cl_id,
            tag=order.tag,
            ccy=order.ccy,
            pos_side=order.pos_side,
            lever=order.lever,
            reduce_only=not instrument.is_spot and order.pos_side == "net" and self.members[order.uid].acct_lv != "4",
        )
        read_trigger(algo, attached.fields)
        return algo

    def _closed(self, account: Account, position: Position) -> None:
        """Cancel the algo orders that end with their position."""
        for algo in list(account.waiting.values()):
            if algo.cxl_on_close_pos and (algo.instrument.inst_id, algo.td_mode, algo.pos_side) == position.key:
                self._end_algo(algo, "canceled")

    def _waiting_algo(self, uid: str, request: Mapping[str, Any], code: str, message: str) -> Algo:
        """Find a waiting algo order by ``algoId`` or ``algoClOrdId``."""
        account = self.account(uid)
        algo = account.waiting.get(str(request.get("algoId") or ""))
        if algo is None and (wanted := request.get("algoClOrdId")):
            algo = next((each for each in account.waiting.values() if each.algo_cl_ord_id == wanted), None)
        if algo is None:
            raise OrderRejected(code, message)
        return algo

    def cancel_algo(self, uid: str, request: Mapping[str, Any]) -> Algo:
        """Cancel a waiting algo order by ``algoId`` or ``algoClOrdId``."""
        self._now()
        parameters.check("cancel-algo", request)
        gone = "Cancellation failed as the order has been filled, canceled or does not exist"
        algo = self._waiting_algo(uid, request, "51400", gone)
        self._end_algo(algo, "canceled")
        self._flush()
        return algo

    def _await(self, algo: Algo) -> None:
        """Watch an algo order's trigger prices: take profit on a favourable move, stop loss on an adverse one."""
        inst_id, sells = algo.instrument.inst_id, algo.side == "sell"
        if algo.ord_type == "move_order_stop":
            self._trailing[inst_id][algo.algo_id] = algo
            self._follow(algo, self._price(inst_id, "last"))
        watched = []
        if algo.trigger_px is not None:
            above = algo.trigger_px > self._price(inst_id, algo.px_types[""])
            watched.append((algo.trigger_px, above, ""))
        if algo.tp_trigger_px is not None:
            watched.append((algo.tp_trigger_px, sells, "tp"))
        if algo.sl_trigger_px is not None:
            watched.append((algo.sl_trigger_px, not sells, "sl"))
        for px, rising, leg in watched:
            place = inst_id, algo.px_types[leg]
            heap = self._rising[place] if rising else self._falling[place]
            algo.entries[leg] = next(self._entries)
            heapq.heappush(heap, (px if rising else -px, algo.entries[leg], algo, leg))

    def _follow(self, algo: Algo, px: Decimal) -> bool:
        """Let a trailing order follow a price; return whether the price has come back to its trigger."""
        sells = algo.side == "sell"
        if algo.extreme is None:
            if algo.active_px is not None and (px < algo.active_px if sells else px > algo.active_px):
                return False
            algo.extreme = px
        algo.extreme = max(algo.extreme, px) if sells else min(algo.extreme, px)
        trigger = algo.move_trigger_px
        return trigger is not None and (px <= trigger if sells else px >= trigger)

    def _price(self, inst_id: str, px_type: str) -> Decimal:
        if px_type == "index":
            return self._index(inst_id)
        return self._marks[inst_id] if px_type == "mark" else self._quotes[inst_id].last

    def _trigger(self, inst_id: str) -> None:
        """Trigger the algo orders whose price has been reached."""
        for px_type in PX_TYPES:
            place = inst_id, px_type
            px = self._price(*place)
            for heap, limit in ((self._rising[place], px), (self._falling[place], -px)):
                while heap and heap[0][0] <= limit:
                    _, entry, algo, leg = heapq.heappop(heap)
                    if algo.pending and algo.entries.get(leg) == entry:
                        self._place_child(algo, leg)
        for algo in list(self._trailing[inst_id].values()):
            if self._follow(algo, self._price(inst_id, "last")):
                self._place_child(algo, "")

    def _place_child(self, algo: Algo, leg: str) -> None:
        """Place the child order of an algo order; if it is rejected, the algo order becomes ``order_failed``."""
        px = {"": algo.ord_px or "-1", "tp": algo.tp_ord_px, "sl": algo.sl_ord_px}[leg]
        body: dict[str, Any] = {
            "instId": algo.instrument.inst_id,
            "tdMode": algo.td_mode,
            "side": algo.side,
            "sz": text(algo.sz),
            "posSide": algo.pos_side,
            "reduceOnly": algo.reduce_only,
            "ccy": algo.ccy,
            "tag": algo.tag,
        }
        kind = algo.advance_ord_type or "limit"
        if px == "-1" and not algo.advance_ord_type:
            body["ordType"] = "market"
        elif px == "-1":  # at any price, at once
            highest, lowest = self.band(algo.instrument.inst_id)
            body |= {"ordType": kind, "px": text(highest if algo.side == "buy" else lowest)}
        else:
            body |= {"ordType": kind, "px": px}
        if body["ordType"] == "market" and algo.instrument.is_spot:
            body["tgtCcy"] = "base_ccy"
        algo.actual_side = leg
        algo.trigger_time = str(self._time)
        try:
            order = self._read_order(algo.uid, body)
            order.algo_id, order.algo_cl_ord_id = algo.algo_id, algo.algo_cl_ord_id
            order.source = "7" if leg else "6"
            self._admit(order)
        except OrderRejected as refusal:
            algo.fail_code = refusal.code
            self._end_algo(algo, "order_failed")
            return
        algo.ord_ids.append(order.ord_id)
        algo.actual_sz = order.sz
        algo.actual_px = text(order.px or self._marks[algo.instrument.inst_id])
        self._end_algo(algo, "effective")
        self._accept(order)

    def _end_algo(self, algo: Algo, state: str) -> None:
        algo.state = state
        algo.u_time = max(self._time, algo.u_time)
        self.account(algo.uid).waiting.pop(algo.algo_id, None)
        self._trailing[algo.instrument.inst_id].pop(algo.algo_id, None)
        self._push_algo(algo)


def read_trigger(algo: Algo, request: Mapping[str, Any]) -> None:
    """Read the trigger prices and the prices of the child orders into an algo order."""
    trailing = [request.get(name) for name in ("callbackRatio", "callbackSpread", "activePx")]
    if algo.ord_type == "move_order_stop":
        algo.callback_ratio = optional_number(request, "callbackRatio")
        algo.callback_spread = optional_number(request, "callbackSpread")
        algo.active_px = optional_number(request, "activePx")
        if (algo.callback_ratio is None) is (algo.callback_spread is None):
            raise OrderRejected("51000", "Parameter callbackRatio or callbackSpread error")
        if algo.callback_ratio is not None and algo.callback_ratio > 1:
            raise OrderRejected("51000", "Parameter callbackRatio error")
    elif any(trailing):
        raise OrderRejected("51000", "Parameter callbackRatio error")
    for leg in ("", "tp", "sl"):
        trigger = f"{leg}TriggerPx" if leg else "triggerPx"
        px = optional_number(request, trigger)
        wanted = algo.ord_type in (("trigger",) if not leg else ("conditional", "oco"))
        names = (f"{leg}OrdPx",) if leg else ("orderPx", "ordPx")
        if px is None or not wanted:
            if any(request.get(name) for name in (trigger, f"{trigger}Type", *names)):
                raise OrderRejected("51000", f"Parameter {trigger} error")
            continue
        algo.px_types[leg] = parameters.choice(request, f"{trigger}Type", *PX_TYPES)
        ord_px = read_child_px(request, *names)
        if leg == "tp":
            algo.tp_trigger_px, algo.tp_ord_px = px, ord_px
        elif leg == "sl":
            algo.sl_trigger_px, algo.sl_ord_px = px, ord_px
        else:
            algo.trigger_px, algo.ord_px = px, ord_px
    if len(algo.px_types) != {"oco": 2, "move_order_stop": 0}.get(algo.ord_type, 1):
        raise OrderRejected("51000", "Parameter triggerPx, tpTriggerPx or slTriggerPx error")
