"""Rate limits: fixed windows for requests, a sliding one for new connections.

A rejected request also adds a line to the list of violations, because a client that keeps to the limits is never
rejected.
"""

from collections import deque
from collections.abc import Callable, Hashable

TRAVEL_S = 0.05
"""By how much the network may shorten the distance between two connections that were dialled in time."""


class RequestLimits:
    """Counters of one server.

    Args:
        clock: Returns seconds, never going back. Tests may replace it, to hold a window open or to end it.
        violations: Gets a line for each rejection.
    """

    def __init__(self, clock: Callable[[], float], violations: list[str]) -> None:
        self.clock = clock
        self._violations = violations
        self._windows: dict[Hashable, tuple[float, int]] = {}
        self._dials: dict[str, deque[float]] = {}

    def admit(self, what: Hashable, limit: int, period_s: float, count: int = 1) -> bool:
        """Count `count` requests in the current window; reject them all if that exceeds `limit`.

        A window begins with its first request (OKX docs: overview-rate-limits; its begin is not documented).
        """
        now = self.clock()
        start, used = self._windows.get(what, (now, 0))
        if now - start >= period_s:
            start, used = now, 0
        admitted = used + count <= limit
        self._windows[what] = (start, used + count if admitted else used)
        if not admitted:
            self.violated(f"{what}: more than {limit} in {period_s:g} s")
        return admitted

    def admit_dial(self, ip: str, per_second: int) -> bool:
        """Admit a new connection unless it exceeds the limit within a second; 0 admits all."""
        if not per_second:
            return True
        now = self.clock()
        dials = self._dials.setdefault(ip, deque())
        while dials and now - dials[0] >= 1 - TRAVEL_S:
            dials.popleft()
        if len(dials) >= per_second:
            self.violated(f"dials: more than {per_second} connections in a second from {ip}")
            return False
        dials.append(now)
        return True

    def violated(self, line: str) -> None:
        """Add a violation."""
        self._violations.append(line)
