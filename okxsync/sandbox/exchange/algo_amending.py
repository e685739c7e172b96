"""Amends algo orders that wait: sizes, trigger prices, prices of the child; a leg can be added or deleted.

An amendment is made on a copy, and applied if the copy is valid (OKX docs:
order-book-trading-algo-trading-post-amend-algo-order).
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from okxsync.sandbox.exchange import parameters
from okxsync.sandbox.exchange.algos import Algos, read_trigger
from okxsync.sandbox.exchange.instruments import text
from okxsync.sandbox.exchange.orders import ZERO, Algo, OrderRejected, check_steps, client_id, number

_AMENDED = "ord_type sz trigger_px ord_px tp_trigger_px tp_ord_px sl_trigger_px sl_ord_px".split()


class AlgoAmending(Algos):
    """The operation ``amend-algos``."""

    def amend_algo(self, uid: str, request: Mapping[str, Any]) -> Algo:
        """Change a waiting algo order by the body of ``POST trade/amend-algos``; price 0 deletes a leg."""
        self._now()
        parameters.check("amend-algo", request)
        cancels, req_id = parameters.flag(request, "cxlOnFail"), client_id(request, "reqId")
        algo = self._waiting_algo(uid, request, "51503", "Order amendment failed as the order does not exist")
        if algo.ord_type == "move_order_stop":
            raise OrderRejected("51000", "Parameter ordType error: a trailing order can't be amended")
        changed = replace(algo, px_types=dict(algo.px_types), entries={})
        try:
            self._change_algo(changed, request)
            self._check_sides(changed)
        except OrderRejected:
            if not cancels:
                raise
            algo.req_id, algo.amend_result = req_id, "-1"
            self._end_algo(algo, "canceled")
            self._flush()
            return algo
        for name in (*_AMENDED, "px_types"):
            setattr(algo, name, getattr(changed, name))
        algo.req_id, algo.amend_result, algo.u_time = req_id, "0", max(self._time, algo.u_time)
        algo.entries.clear()  # what it waited for before
        self._await(algo)
        self._push_algo(algo)
        algo.req_id = algo.amend_result = ""
        self._flush()
        return algo

    def _change_algo(self, algo: Algo, request: Mapping[str, Any]) -> None:
        """Apply an amendment to a copy."""
        given = {name[3].lower() + name[4:]: value for name, value in request.items() if name.startswith("new")}
        given = {name: value for name, value in given.items() if value not in (None, "")}
        if not given:
            raise OrderRejected("51506", "Order modification failed: nothing to modify")
        if "sz" in given:
            algo.sz = number(given, "sz")
            check_steps(algo.instrument, algo.sz, None)
        now: dict[str, Any] = {}
        for leg in algo.px_types:
            prices = {"": (algo.trigger_px, algo.ord_px), "tp": (algo.tp_trigger_px, algo.tp_ord_px)}
            trigger_px, ord_px = prices.get(leg, (algo.sl_trigger_px, algo.sl_ord_px))
            trigger, child = (f"{leg}TriggerPx", f"{leg}OrdPx") if leg else ("triggerPx", "ordPx")
            now |= {trigger: text(trigger_px or ZERO), f"{trigger}Type": algo.px_types[leg], child: ord_px}
        now |= {name: value for name, value in given.items() if name != "sz"}
        for leg in ("tp", "sl"):
            if str(now.get(f"{leg}TriggerPx", "")).strip("0.") == "":
                now = {name: value for name, value in now.items() if not name.startswith(leg)}
        algo.tp_trigger_px = algo.sl_trigger_px = algo.trigger_px = None
        algo.tp_ord_px = algo.sl_ord_px = algo.ord_px = ""
        algo.px_types.clear()
        if algo.ord_type != "trigger":
            algo.ord_type = "oco" if "tpTriggerPx" in now and "slTriggerPx" in now else "conditional"
        read_trigger(algo, now)
