"""Algo orders: ``trigger``, ``conditional`` and ``oco`` wait for the mark price, then place a child order.

An algo order never fills itself. When the mark reaches a price it becomes ``effective`` and its child an ordinary
order with ``algoId`` and ``source``; when the child is rejected it becomes ``order_failed`` with the code.
"""

import heapq
from collections.abc import Mapping
from typing import Any

from okxsync.sandbox.exchange.instruments import text
from okxsync.sandbox.exchange.order_entry import LEVER, OrderEntry
from okxsync.sandbox.exchange.orders import Algo, OrderRejected, check_steps, client_id, number, optional_number


class Algos(OrderEntry):
    """Algo order operations; `_trigger` is called as the mark moves."""

    def place_algo(self, uid: str, request: Mapping[str, Any]) -> Algo:
        """Place a ``trigger``, ``conditional`` or ``oco`` order by the body of ``POST trade/order-algo``."""
        now = self._now()
        account, instrument = self.account(uid), self._instrument(uid, request)
        ord_type, side = str(request.get("ordType", "")), str(request.get("side", ""))
        td_mode = str(request.get("tdMode", ""))
        if ord_type not in ("trigger", "conditional", "oco"):
            raise OrderRejected("51000", "Parameter ordType error")
        if side not in ("buy", "sell"):
            raise OrderRejected("51000", "Parameter side error")
        if td_mode not in (("cross", "isolated") if instrument.is_swap else ("cash", "cross")):
            raise OrderRejected("51000", "Parameter tdMode error")
        closes = str(request.get("closeFraction") or "")
        position = account.position(instrument, td_mode)
        if closes and (position is None or not position.pos):
            raise OrderRejected("51023", "Position does not exist")
        sz = abs(position.pos) if closes and position else number(request, "sz")
        check_steps(instrument, sz, None)
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
            algo_cl_ord_id=client_id(request, "algoClOrdId"),
            tag=str(request.get("tag") or ""),
            ccy=str(request.get("ccy") or ""),
            pos_side="net" if instrument.is_swap else "",
            lever=LEVER if instrument.is_swap else "",
            reduce_only=bool(closes) or str(request.get("reduceOnly", "")).lower() == "true",
            close_fraction=closes,
        )
        if ord_type == "trigger":
            algo.trigger_px = number(request, "triggerPx")
            algo.ord_px = child_px(request, "orderPx", "ordPx")
        else:
            both = ord_type == "oco"
            algo.tp_trigger_px = optional_number(request, "tpTriggerPx")
            algo.sl_trigger_px = optional_number(request, "slTriggerPx")
            given = (algo.tp_trigger_px is not None) + (algo.sl_trigger_px is not None)
            if given != (2 if both else 1):
                raise OrderRejected("51000", "Parameter tpTriggerPx or slTriggerPx error")
            if algo.tp_trigger_px is not None:
                algo.tp_ord_px = child_px(request, "tpOrdPx")
            if algo.sl_trigger_px is not None:
                algo.sl_ord_px = child_px(request, "slOrdPx")
        account.algos[algo.algo_id] = algo
        account.waiting[algo.algo_id] = algo
        self._await(algo)
        self._push_algo(algo)
        self._flush()
        return algo

    def cancel_algo(self, uid: str, request: Mapping[str, Any]) -> Algo:
        """Cancel a waiting algo order by ``algoId`` or ``algoClOrdId``."""
        self._now()
        account = self.account(uid)
        algo = account.waiting.get(str(request.get("algoId") or ""))
        if algo is None and (client_id := request.get("algoClOrdId")):
            algo = next((each for each in account.waiting.values() if each.algo_cl_ord_id == client_id), None)
        if algo is None:
            raise OrderRejected("51400", "Cancellation failed as the order has been filled, canceled or does not exist")
        self._end_algo(algo, "canceled")
        self._flush()
        return algo

    def _await(self, algo: Algo) -> None:
        """Watch an algo order's trigger prices: take profit on a favourable move, stop loss on an adverse one."""
        inst_id, mark = algo.instrument.inst_id, self._marks[algo.instrument.inst_id]
        sells = algo.side == "sell"
        watched = []
        if algo.trigger_px is not None:
            watched.append((algo.trigger_px, algo.trigger_px > mark, ""))
        if algo.tp_trigger_px is not None:
            watched.append((algo.tp_trigger_px, sells, "tp"))
        if algo.sl_trigger_px is not None:
            watched.append((algo.sl_trigger_px, not sells, "sl"))
        for px, rising, leg in watched:
            heap = self._rising[inst_id] if rising else self._falling[inst_id]
            heapq.heappush(heap, (px if rising else -px, next(self._entries), algo, leg))

    def _trigger(self, inst_id: str) -> None:
        """Trigger the algo orders whose price the mark has reached."""
        mark = self._marks[inst_id]
        for heap, limit in ((self._rising[inst_id], mark), (self._falling[inst_id], -mark)):
            while heap and heap[0][0] <= limit:
                _, _, algo, leg = heapq.heappop(heap)
                if algo.pending:
                    self._place_child(algo, leg)

    def _place_child(self, algo: Algo, leg: str) -> None:
        """Place the child order of an algo order; if it is rejected, the algo order becomes ``order_failed``."""
        px = {"": algo.ord_px, "tp": algo.tp_ord_px, "sl": algo.sl_ord_px}[leg]
        body: dict[str, Any] = {
            "instId": algo.instrument.inst_id,
            "tdMode": algo.td_mode,
            "side": algo.side,
            "sz": text(algo.sz),
            "ordType": "market" if px == "-1" else "limit",
            "px": px,
            "tgtCcy": "base_ccy",
            "reduceOnly": algo.reduce_only,
            "ccy": algo.ccy,
            "tag": algo.tag,
        }
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
        self._push_algo(algo)


def child_px(request: Mapping[str, Any], *names: str) -> str:
    """Read the price of a child order: a positive price, or ``-1`` for market."""
    given = next((str(request[name]) for name in names if request.get(name)), "")
    return given if given == "-1" else text(number({names[0]: given}, names[0]))
