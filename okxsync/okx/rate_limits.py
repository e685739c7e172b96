"""OKX's rate limits, as arithmetic on times: no clock, no I/O. Times are seconds of any monotonic clock."""

import itertools
import math
from typing import Final

import msgspec


class Slots:
    """At most ``places`` requests in any window of ``window_s`` seconds.

    The exchange counts a request at an unknown moment between its start and its answer. So a request occupies a place
    from its start until one window after its answer: whenever the exchange counts, no window contains more than
    ``places`` requests. A request that ended without an answer may still be on its way, or wait on a busy server: it
    counts as if the answer had come ``patience_s`` after its end.

    At most ``at_once`` requests are under way, whatever the window allows.
    """

    MARGIN_S = 0.005  # the server's clock may run at a slightly different rate

    def __init__(self, places: int, window_s: float, patience_s: float = 0.0, at_once: float = math.inf) -> None:
        self.places = places
        self._at_once = at_once
        self._window_s = window_s + self.MARGIN_S
        self._patience_s = patience_s
        self._free_at: dict[int, float] = {}  # of the requests that occupy a place; infinite before their end
        self._numbers = itertools.count()

    def opens_at(self, now: float) -> float:
        """Return when the next request may start: ``now``, later, or infinity if a request must end first."""
        self._free_at = {number: at for number, at in self._free_at.items() if at > now}
        if sum(at == math.inf for at in self._free_at.values()) >= self._at_once:
            return math.inf
        excess = len(self._free_at) - self.places
        return now if excess < 0 else sorted(self._free_at.values())[excess]

    def start(self) -> int:
        """Start a request; return its number, which ``end`` needs."""
        number = next(self._numbers)
        self._free_at[number] = math.inf
        return number

    def end(self, number: int, now: float, *, answered: bool) -> None:
        """The request has ended.

        Args:
            answered: The exchange has counted it, or never will.
        """
        self._free_at[number] = now + self._window_s + (0.0 if answered else self._patience_s)

    def counted_until(self, now: float) -> float:
        """Return when all requests so far have left the window, if those under way ended now without an answer."""
        unanswered = now + self._patience_s + self._window_s
        return max((min(at, unanswered) for at in self._free_at.values()), default=now)


UNANSWERED_S: Final = 10.0
"""For how long a connection attempt counts after it was given up. A server that stalls leaves it in its queue."""
DIALS_AT_ONCE: Final = 16
"""Attempts under way to one host. Each takes some 90 KB for its handshakes, and what hundreds at once take stays with
the process. There are so many only if the limit of a site is far above OKX's."""


def dial_slots(per_second: int) -> Slots:
    """Return the slots for new connections per second and IP (OKX docs: overview-websocket-connect)."""
    return Slots(per_second, window_s=1.0, patience_s=UNANSWERED_S, at_once=DIALS_AT_ONCE)


class RequestBudget:
    """Login, subscribe and unsubscribe requests of one connection: 480 per hour, bursts allowed."""

    LIMIT = 480
    WINDOW_S = 3600.0

    def __init__(self) -> None:
        self._sent: list[float] = []  # an empty deque takes 0.6 KB, and each connection has a budget

    def opens_at(self, now: float) -> float:
        """Return when the next request may be sent: ``now``, or when the oldest leaves the hour."""
        while self._sent and self._sent[0] <= now - self.WINDOW_S:
            self._sent.pop(0)
        return now if len(self._sent) < self.LIMIT else self._sent[0] + self.WINDOW_S

    def take(self, now: float) -> None:
        self._sent.append(now)


class Budget(msgspec.Struct, frozen=True):
    """At most ``calls`` in any window of ``window_s`` seconds, per user id (OKX docs: rate limit of each endpoint)."""

    calls: int
    window_s: float
