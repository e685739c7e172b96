"""Counting what clients do: fixed windows for requests, a sliding one for new connections.

A request is admitted or not; who is refused also finds its name in the list of violations, because a client that
knows the limits never meets them.
"""

from collections import deque
from collections.abc import Callable, Hashable

TRAVEL_S = 0.05
"""How much the way to us may squeeze connections together that were dialled in time."""


class RequestLimits:
    """Counters of one server.

    Args:
        clock: Seconds, never going back.
        violations: Gets a line for each refusal.
    """

    def __init__(self, clock: Callable[[], float], violations: list[str]) -> None:
        self._clock = clock
        self._violations = violations
        self._windows: dict[Hashable, tuple[float, int]] = {}
        self._dials: dict[str, deque[float]] = {}

    def admit(self, what: Hashable, limit: int, period_s: float, count: int = 1) -> bool:
        """Count `count` requests in the present window; refuse them all if they are more than `limit`.

        A window begins with its first request (OKX docs: overview-rate-limits; where windows begin is not said).
        """
        now = self._clock()
        start, used = self._windows.get(what, (now, 0))
        if now - start >= period_s:
            start, used = now, 0
        admitted = used + count <= limit
        self._windows[what] = (start, used + count if admitted else used)
        if not admitted:
            self.violated(f"{what}: more than {limit} in {period_s:g} s")
        return admitted

    def admit_dial(self, ip: str, per_second: int) -> bool:
        """Admit a new connection unless it is one too many within a second; 0 admits all."""
        if not per_second:
            return True
        now = self._clock()
        dials = self._dials.setdefault(ip, deque())
        while dials and now - dials[0] >= 1 - TRAVEL_S:
            dials.popleft()
        if len(dials) >= per_second:
            self.violated(f"dials: more than {per_second} connections in a second from {ip}")
            return False
        dials.append(now)
        return True

    def violated(self, line: str) -> None:
        """Note a violation that was found elsewhere."""
        self._violations.append(line)
