"""The requests that trade: what each is, and how many of them OKX allows."""

from typing import Final, Literal, TypeAlias

import msgspec

from okxsync.okx.rate_limits import Budget
from okxsync.plans.replies import Judgement, judge, judge_repeatable

Transport: TypeAlias = Literal["rest", "ws"]

PLACE: Final = "trade/order"
CANCEL: Final = "trade/cancel-order"
CANCEL_ALGOS: Final = "trade/cancel-algos"
SET_LEVERAGE: Final = "account/set-leverage"
CANCEL_ALL_AFTER: Final = "trade/cancel-all-after"
LIMITS: Final = {
    PLACE: Budget(60, 2),
    CANCEL: Budget(60, 2),
    CANCEL_ALGOS: Budget(20, 2),
    SET_LEVERAGE: Budget(20, 2),
    CANCEL_ALL_AFTER: Budget(1, 1),
}
"""Per account and instrument, over REST and WebSocket together; the leverage per account, ``cancel-all-after`` per tag
(OKX docs: limit of each one)."""


class Trade(msgspec.Struct, frozen=True):
    """A request that trades: it places an order, or it may be repeated: a cancellation or a setting.

    Attributes:
        path: A key of ``LIMITS``.
        subject: What OKX counts the requests of an account by, of an order its instrument; ``""``: nothing but the
            account.
        body: Of the request over REST, sent as it is.
        cl_ord_id: Of the order that it places; ``""``: it places none.
        exp_ms: OKX does not process it later; 0: it does not expire.
    """

    path: str
    subject: str
    body: str
    cl_ord_id: str = ""
    exp_ms: int = 0

    def judge(self, body: bytes | str, status: int | None) -> Judgement:
        """Return what a reply proves; ``status``: None if it came over a WebSocket."""
        return judge(self.cl_ord_id, body, status) if self.cl_ord_id else judge_repeatable(body, status)
