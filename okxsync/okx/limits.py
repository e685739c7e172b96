"""Limits that OKX sets, as arithmetic on times: no clock, no I/O. Times are seconds of any monotonic clock."""

import random
from collections import deque


class DialSlots:
    """New connections per second and IP, as a strict window (OKX docs: overview-websocket-connect).

    The exchange counts a handshake at a moment that we do not see, somewhere between its start and its end. So a place
    is taken from the start of a handshake until one second after its end: whatever moments the exchange saw, no second
    holds more than ``per_second`` of them. One that hangs gives its place back after ``PATIENCE_S``: by then the
    exchange saw it, or never will.
    """

    PATIENCE_S = 2.0
    WINDOW_S = 1.005  # five milliseconds for a server's clock that is not ours

    def __init__(self, per_second: int) -> None:
        self._free_at = [0.0] * per_second

    def opens_at(self) -> float:
        """Return when the next handshake may start."""
        return min(self._free_at)

    def take(self, now: float) -> int:
        """Start a handshake; return its place, for ``finish``."""
        place = self._free_at.index(min(self._free_at))
        self._free_at[place] = now + self.PATIENCE_S + self.WINDOW_S
        return place

    def finish(self, place: int, now: float) -> None:
        """The handshake has ended, well or not."""
        self._free_at[place] = min(self._free_at[place], now + self.WINDOW_S)


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


class BackOff:
    """Decorrelated jitter: each delay is drawn between ``first`` and three times the one before, up to ``cap``.

    Reset only after the connection has been live for ``stable_s``, so that one which comes and goes slows down.
    """

    def __init__(
        self, rng: random.Random, *, first_s: float = 0.5, cap_s: float = 60.0, stable_s: float = 60.0
    ) -> None:
        self._rng = rng
        self.first_s, self.cap_s, self.stable_s = first_s, cap_s, stable_s
        self._last_s = first_s

    def next_delay(self, live_s: float) -> float:
        """Return how long to wait, in seconds, after a connection that was live for ``live_s``."""
        if live_s >= self.stable_s:
            self._last_s = self.first_s
        self._last_s = min(self.cap_s, self._rng.uniform(self.first_s, self._last_s * 3))
        return self._last_s
