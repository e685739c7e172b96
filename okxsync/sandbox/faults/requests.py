"""Faults of single requests that trade: what becomes of the request, and what of its reply.

The client cannot tell them apart: a request that was executed and one that was not get the same reply, or none.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

REPLIES: Final = {
    "50001": (503, '{"code":"50001","data":[],"msg":"Service temporarily unavailable. Try again later."}'),
    "50004": (
        400,
        '{"code":"50004","data":[],"msg":"API endpoint request timeout (does not indicate success or failure)"}',
    ),
    "50013": (429, '{"code":"50013","data":[],"msg":"Systems are busy. Please try again later."}'),
    "50026": (500, '{"code":"50026","data":[],"msg":"System error. Try again later"}'),
    "http-500": (500, "<html><body><h1>500 Internal Server Error</h1></body></html>"),
    "http-502": (502, "<html><body><h1>502 Bad Gateway</h1></body></html>"),
    "http-429": (429, "<html><body><h1>error code: 1015</h1>You are being rate limited</body></html>"),
}
"""HTTP status and body; over WebSocket only those whose name is a code, as the code of the reply."""
HOW: Final = ("own", "lost", "reset", "truncated", *REPLIES)


@dataclass(eq=False)
class RequestFault:
    """One fault. Empty fields match every request.

    Attributes:
        how: The reply: ``own`` is the right one, ``lost`` none, ``reset`` ends the connection with RST, ``truncated``
            cuts the right reply in half; the others are in `REPLIES`.
        path: For instance ``trade/order``; an operation of WebSocket has the path of its REST twin.
        account: The name of the account.
        transport: ``rest`` or ``ws``.
        cl_ord_id: Only the request that has this ``clOrdId``.
        acts: Whether the request is executed.
        queue_s: How long it waits before it is executed; ``expTime`` is checked again then (50037).
        ignores_exp_time: Whether it is executed after ``expTime``, which OKX says never happens.
        delay_s: How long the reply waits after the request is executed.
        times: How often the fault happens; 0 for always.
    """

    how: str = "own"
    path: str = ""
    account: str = ""
    transport: str = ""
    cl_ord_id: str = ""
    acts: bool = True
    queue_s: float = 0.0
    ignores_exp_time: bool = False
    delay_s: float = 0.0
    times: int = 1

    def __post_init__(self) -> None:
        if self.how not in HOW:
            raise ValueError(f"{self.how} is not one of {', '.join(HOW)}")
        if self.how == "own" and not self.acts:
            raise ValueError("a request that is not executed has no reply of its own")

    def holds_for(self, transport: str, path: str, account: str, bodies: Sequence[Mapping[str, Any]]) -> bool:
        if self.cl_ord_id and self.cl_ord_id not in [str(each.get("clOrdId") or "") for each in bodies]:
            return False
        if transport == "ws" and (self.how == "truncated" or self.how.startswith("http-")):
            return False
        given = ((self.path, path), (self.account, account), (self.transport, transport))
        return all(wanted in ("", found) for wanted, found in given)


def take(
    faults: list[RequestFault], transport: str, path: str, account: str, bodies: Sequence[Mapping[str, Any]]
) -> RequestFault:
    """Return the first fault of a request, and count it; one without effect if there is none."""
    for each in faults:
        if each.holds_for(transport, path, account, bodies):
            if each.times == 1:
                faults.remove(each)
            each.times -= each.times > 1
            return each
    return RequestFault()
