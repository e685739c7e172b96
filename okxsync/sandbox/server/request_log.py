"""A log of all requests that trade or change a setting, also of those that were rejected or whose reply was lost.

With it a test can say what a client has sent, when, and how often; what exists is in ``Exchange.order_counts``.
"""

import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

KEPT = 100_000


@dataclass(slots=True, eq=False)
class LoggedRequest:
    """One request.

    Attributes:
        at_us: When it arrived, in microseconds UTC of this machine.
        account: The name of the account of its key, "" if the key is unknown.
        path: Below /api/v5/; an operation of WebSocket has the path of its REST twin.
        bodies: The order requests: one, or those of a batch.
        fault: How the reply was distorted; ``own`` for not at all.
        executed: Whether the exchange tried to execute it.
        codes: ``sCode`` of each row, or the outer code of a reply without rows; none while it is not executed.
    """

    at_us: int
    transport: str
    account: str
    path: str
    bodies: Sequence[Mapping[str, Any]]
    exp_time: str = ""
    fault: str = "own"
    executed: bool = False
    codes: list[str] = field(default_factory=list)

    def row(self) -> dict[str, Any]:
        """As JSON."""
        return {name: getattr(self, name) for name in self.__slots__}


class RequestLog:
    """The newest requests, oldest first."""

    def __init__(self) -> None:
        self._requests: deque[LoggedRequest] = deque(maxlen=KEPT)

    def arrived(
        self, transport: str, account: str, path: str, bodies: Sequence[Mapping[str, Any]], exp_time: str
    ) -> LoggedRequest:
        """Add a request that has just arrived."""
        logged = LoggedRequest(time.time_ns() // 1000, transport, account, path, bodies, exp_time)
        self._requests.append(logged)
        return logged

    def __iter__(self) -> Iterator[LoggedRequest]:
        return iter(self._requests)

    def __len__(self) -> int:
        return len(self._requests)

    def clear(self) -> None:
        """Remove all requests."""
        self._requests.clear()

    def of(self, account: str = "", path: str = "") -> list[LoggedRequest]:
        """The requests of an account and of a path; "" for all."""
        return [each for each in self._requests if account in ("", each.account) and path in ("", each.path)]

    def placements(self) -> Counter[tuple[str, str]]:
        """How often each order was requested, by account and ``clOrdId``, whatever came of it."""
        placing = ("trade/order", "trade/batch-orders")
        return Counter(
            (each.account, str(body.get("clOrdId") or ""))
            for each in self._requests
            if each.path in placing
            for body in each.bodies
        )
