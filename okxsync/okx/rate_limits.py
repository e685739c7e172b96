"""OKX's rate limits, as arithmetic on times: no clock, no I/O. Times are seconds of any monotonic clock."""

from collections import deque

import msgspec


class Slots:
    """At most ``places`` requests in any window of ``window_s`` seconds.

    The exchange counts a request at an unknown moment between its start and its end. So a place is occupied from the
    start of a request until one window after its end: whenever the exchange counts, no window contains more than
    ``places`` requests. A hanging request frees its place after ``patience_s``, when the exchange has counted it or
    never will. All places are free from ``opens_at`` on: from the start, unless an earlier limiter occupied them.
    """

    MARGIN_S = 0.005  # the server's clock may run at a slightly different rate

    def __init__(self, places: int, window_s: float, patience_s: float, opens_at: float = 0.0) -> None:
        self.places = places
        self._window_s = window_s + self.MARGIN_S
        self._patience_s = patience_s
        self._free_at = [opens_at] * places

    def opens_at(self) -> float:
        """Return when the next request may start."""
        return min(self._free_at)

    def take(self, now: float) -> int:
        """Start a request; return its place, which ``finish`` needs."""
        place = self._free_at.index(min(self._free_at))
        self._free_at[place] = now + self._patience_s + self._window_s
        return place

    def ends_at(self) -> float:
        """Return when the last started request has left the window."""
        return max(self._free_at)

    def finish(self, place: int, now: float) -> None:
        """The request has ended, successfully or not."""
        self._free_at[place] = min(self._free_at[place], now + self._window_s)


def dial_slots(per_second: int, opens_at: float = 0.0) -> Slots:
    """Return the slots for new connections per second and IP (OKX docs: overview-websocket-connect)."""
    return Slots(per_second, window_s=1.0, patience_s=2.0, opens_at=opens_at)


class RequestBudget:
    """Login, subscribe and unsubscribe requests of one connection: 480 per hour, bursts allowed."""

    LIMIT = 480
    WINDOW_S = 3600.0

    def __init__(self) -> None:
        self._sent: deque[float] = deque()

    def opens_at(self, now: float) -> float:
        """Return when the next request may be sent: ``now``, or when the oldest leaves the hour."""
        while self._sent and self._sent[0] <= now - self.WINDOW_S:
            self._sent.popleft()
        return now if len(self._sent) < self.LIMIT else self._sent[0] + self.WINDOW_S

    def take(self, now: float) -> None:
        self._sent.append(now)


class Budget(msgspec.Struct, frozen=True):
    """At most ``calls`` in any window of ``window_s`` seconds, per user id (OKX docs: rate limit of each endpoint)."""

    calls: int
    window_s: float
