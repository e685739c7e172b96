"""What the clients report: a line for each step, and whether all were as expected."""

from typing import Any

INST_ID = "BTC-USDT-SWAP"
FAR = "57500"
"""A price inside the band at which a purchase rests."""


ENDS = {"limit": "live", "post_only": "live", "ioc": "canceled", "fok": "canceled", "optimal_limit_ioc": "filled"}
"""The state after a purchase at ``FAR``, by ``ordType``; ``optimal_limit_ioc`` has no price."""
ALGOS: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "conditional": ({"slTriggerPx": "50000", "slOrdPx": "-1"}, {"newSlTriggerPx": "51000"}),
    "oco": (
        {"tpTriggerPx": "70000", "tpOrdPx": "-1", "slTriggerPx": "50000", "slOrdPx": "-1"},
        {"newTpTriggerPx": "71000"},
    ),
    "trigger": ({"triggerPx": "50000", "orderPx": "-1"}, {"newTriggerPx": "51000"}),
    "move_order_stop": ({"callbackRatio": "0.05"}, {}),
}
"""What a sale needs, and what amends it, by ``ordType`` of ``trade/order-algo``; OKX amends no trailing stop."""


class Checks:
    """The steps of one client."""

    def __init__(self, client: str) -> None:
        self.client = client
        self.failed = 0

    def that(self, step: str, right: bool, found: Any = "") -> None:
        """Report one step."""
        self.failed += not right
        print(f"{'ok  ' if right else 'FAIL'} {self.client}: {step}{'' if right else f': {found}'}", flush=True)

    def done(self, step: str, reply: Any) -> list[Any]:
        """Report a reply of OKX that must have succeeded, and return its rows."""
        rows = reply.get("data") or []
        refused = [row for row in rows if isinstance(row, dict) and row.get("sCode", "0") != "0"]
        self.that(step, reply.get("code") == "0" and not refused, reply)
        return list(rows)

    def refused(self, step: str, reply: Any, code: str) -> None:
        """Report a reply that must be rejected with a code, its own or that of its first row."""
        rows = reply.get("data") or [{}]
        self.that(step, code in (reply.get("code"), rows[0].get("sCode")), reply)
