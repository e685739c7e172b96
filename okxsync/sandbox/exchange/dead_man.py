"""Cancel-all-after: the orders of an account, or those of a tag, are canceled unless the client calls again in time.

OKX docs: order-book-trading-trade-post-cancel-all-after.
"""

from collections.abc import Mapping
from typing import Any

from okxsync.sandbox.exchange import parameters
from okxsync.sandbox.exchange.capacity import Capacity
from okxsync.sandbox.exchange.order_reading import read_tag
from okxsync.sandbox.exchange.orders import OrderRejected
from okxsync.sandbox.exchange.rows import Row

SECONDS = range(10, 121)
MOST_TAGS = 20
CANCELED = "20"


class DeadMan(Capacity):
    """Holds a deadline of each account and tag; the tag "" is of all orders. `_cancel_due` is called at each tick."""

    def cancel_all_after(self, uid: str, request: Mapping[str, Any]) -> Row:
        """Set or lift a deadline by the body of ``POST trade/cancel-all-after``; times of the row are in seconds."""
        now = self._now()
        parameters.check("cancel-all-after", request)
        given, tag = str(request.get("timeOut", "")), read_tag(request)
        if not given.isdecimal() or (int(given) and int(given) not in SECONDS):
            raise OrderRejected("51000", "Parameter timeOut error")
        deadlines = self._deadlines.setdefault(uid, {})
        if given == "0":
            deadlines.pop(tag, None)
            return {"tag": tag, "triggerTime": "0", "ts": str(now // 1000)}
        if tag and tag not in deadlines and len(deadlines.keys() - {""}) >= MOST_TAGS:
            raise OrderRejected("51071", f"You've reached the maximum limit for tag level CAA. Limit is {MOST_TAGS}.")
        deadlines[tag] = now + int(given) * 1000
        return {"tag": tag, "triggerTime": str(deadlines[tag] // 1000), "ts": str(now // 1000)}

    def _cancel_due(self) -> None:
        """Cancel what no client has kept alive."""
        for uid, deadlines in self._deadlines.items():
            for tag, at in list(deadlines.items()):
                if self._time >= at:
                    del deadlines[tag]
                    self._cancel_all(uid, tag)

    def _cancel_all(self, uid: str, tag: str) -> None:
        account = self.account(uid)
        for order in list(account.pending.values()):
            if tag in ("", order.tag):
                self._finish(order, "canceled", CANCELED)
        if self.rules.dead_man_algos:
            for algo in list(account.waiting.values()):
                if tag in ("", algo.tag):
                    self._end_algo(algo, "canceled")
        self._flush()
