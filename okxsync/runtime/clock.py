"""The clock of this process: the exchange's time, on a clock that nobody can set.

All local times (``*_at``) are on one time axis: the system's steady clock plus an offset. The steady clock runs through
a suspend, and setting the wall clock does not change it. So a step of the wall clock changes nothing here.

The offset begins as the wall clock's, and follows the exchange's as soon as that was measured. A measurement is an
interval, because the exchange reads its clock at an unknown moment between the request and the reply:

    measurement                  the offset
    --------------------------   ----------------------------------------------------------------------------------
    contains the offset          stays
    up to ``FAR_US`` away        moves to the nearest end of the interval
    further away                 stays until further measurements confirm it: one wrong answer of a server must not
                                 move coverage and gaps by an hour

Once the clock is *pinned* - coverage is recorded by it - it never goes back. For a small correction it stands still
until time has caught up. If the exchange turns out to be further behind, it ``must_go_back``: whoever has pinned it
reports everything as lost, and unpins it. Coverage that is in the future then is withdrawn by one rule (see
``store.coverage``). Until then, who asks the exchange for a window must widen it by what this clock is ahead.

The last measurement that was believed also bounds the error: at each moment the exchange's clock shows at least
``earliest_us`` and at most ``latest_us``. Coverage ends by the first and begins by the second. The round trip may be
asymmetric, so the bounds are as far apart as it was long. Until one was believed, the wall clock may be as wrong as the
answers that disagree with it: the bounds include both, so coverage claims too little rather than too much.
"""

import time
from typing import Final, Protocol

import msgspec

from okxsync.messages import ClockOffset


class ExchangeClock(Protocol):
    """The exchange's clock, as far as it is known."""

    def now_s(self) -> float:
        """Return Unix seconds, as the exchange would say."""

    async def measure(self) -> None:
        """Compare with the exchange again."""


FAR_US: Final = 1_000_000
"""A measurement further away than this must be confirmed. A smaller error is within the overlap of backfills."""
CONFIRMATIONS: Final = 3
"""So many measurements in a row must agree."""
CONFIRM_US: Final = 60_000_000
"""And once the clock is pinned, they must span this long: a load balancer may repeat one server's wrong answer."""
STANDSTILL_US: Final = 30_000_000
"""The longest standstill. What begins and ends within it is no longer than the overlap of backfills (150 s)."""

_STEADY: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def steady_s() -> float:
    """Return seconds of a clock that goes on through a suspend, and that nobody sets."""
    return time.clock_gettime(_STEADY)


class _Candidate(msgspec.Struct):
    """Measurements that agree with each other, are far away and not confirmed yet; nanoseconds.

    The offset is between the two ends. The middle of a slow measurement is no better than its ends: measurements agree
    if there is an offset that all of them allow.
    """

    earliest_ns: int
    latest_ns: int
    since_ns: int  # on the steady clock
    count: int = 1

    @property
    def offset_ns(self) -> int:
        return (self.earliest_ns + self.latest_ns) // 2

    def agrees(self, earliest_ns: int, latest_ns: int) -> bool:
        far_ns = FAR_US * 1000
        return earliest_ns <= self.latest_ns + far_ns and self.earliest_ns <= latest_ns + far_ns

    def add(self, earliest_ns: int, latest_ns: int) -> None:
        """Add a measurement that agrees; one beside the others counts alone, because clocks drift."""
        self.count += 1
        both = max(self.earliest_ns, earliest_ns), min(self.latest_ns, latest_ns)
        self.earliest_ns, self.latest_ns = both if both[0] <= both[1] else (earliest_ns, latest_ns)


class Clock:
    """A time axis, as the module describes it; it begins at its first use."""

    def __init__(self) -> None:
        self._offset_ns: int | None = None  # to the steady clock
        self._bounds_ns: tuple[int, int] | None = None  # of the exchange's clock to the steady one; None: not measured
        self._shown_us = 0  # the latest time that was returned
        self._passed_us = 0  # the latest time that the exchange's clock is known to have passed
        self._pinned = False
        self._candidate: _Candidate | None = None
        self.must_go_back = False
        """Whether the exchange's clock is confirmed to be far behind this one, which is pinned."""

    def now_us(self) -> int:
        """Return the time in microseconds UTC."""
        self._shown_us = max(self._shown_us, (_steady_ns() + self.offset_ns) // 1000)
        return self._shown_us

    def earliest_us(self) -> int:
        """Return what the exchange's clock shows at least, in microseconds UTC; until it was measured, ``now_us``."""
        earliest = self._bounds_ns[0] if self._bounds_ns else self._doubtful_ns()[0]
        self._passed_us = max(self._passed_us, (_steady_ns() + earliest) // 1000)
        return self._passed_us

    def latest_us(self) -> int:
        """Return what the exchange's clock shows at most, in microseconds UTC; until it was measured, ``now_us``."""
        latest = self._bounds_ns[1] if self._bounds_ns else self._doubtful_ns()[1]
        return max(self.now_us(), (_steady_ns() + latest) // 1000)

    def at_us(self, moment_s: float) -> int:
        """Return the time of a moment of the steady clock, in microseconds UTC."""
        return (round(moment_s * 1e9) + self.offset_ns) // 1000

    @property
    def offset_ns(self) -> int:
        """By how much this clock is ahead of the steady one."""
        if self._offset_ns is None:
            self._offset_ns = time.time_ns() - _steady_ns()
        return self._offset_ns

    def ahead_us(self) -> int:
        """Return by how much this clock is ahead of the wall clock."""
        return self.now_us() - time.time_ns() // 1000

    @property
    def is_in_doubt(self) -> bool:
        """Whether some more measurements can settle an offset that is not confirmed."""
        return self._candidate is not None and not self._pinned

    def pin(self) -> None:
        """Coverage is recorded from now on: do not go back any more."""
        self._pinned = True

    def unpin(self) -> None:
        """Nothing is covered any more: go back if the next measurements confirm it."""
        self._pinned = self.must_go_back = False

    def measured(self, earliest_s: float, latest_s: float) -> None:
        """Take a measurement: the exchange's clock is ahead of the steady one by an amount between the two."""
        earliest, latest = round(earliest_s * 1e9), round(latest_s * 1e9)
        nearest = min(max(self.offset_ns, earliest), latest)
        if abs(nearest - self.offset_ns) <= FAR_US * 1000:
            self._candidate = None
            self.must_go_back = False
            self._bounds_ns = earliest, latest
            self._move(nearest)
        else:
            self._confirm(earliest, latest)

    def follow(self, offset_ns: int) -> None:
        """Be the clock of another process of this machine, whose ``offset_ns`` this is."""
        self._move(offset_ns)

    def _doubtful_ns(self) -> tuple[int, int]:
        """Return the bounds of the offset while no measurement was believed.

        A gap that ends in the future is not closed before. So a measurement that is far ahead does not count: it may be
        one server's wrong answer.
        """
        known = self._candidate
        if known is None:
            return self.offset_ns, self.offset_ns
        is_near = known.latest_ns <= self.offset_ns + STANDSTILL_US * 1000
        latest = max(self.offset_ns, known.latest_ns) if is_near else self.offset_ns
        return min(self.offset_ns, known.earliest_ns), latest

    def _confirm(self, earliest: int, latest: int) -> None:
        known, now = self._candidate, _steady_ns()
        if known is None or not known.agrees(earliest, latest):
            known = self._candidate = _Candidate(earliest, latest, now)
            if not self._pinned:
                self._passed_us = 0
        else:
            known.add(earliest, latest)
        if known.count < CONFIRMATIONS or (self._pinned and now - known.since_ns < CONFIRM_US * 1000):
            return
        self.must_go_back = self._pinned and known.offset_ns < self.offset_ns - STANDSTILL_US * 1000
        if not self.must_go_back:
            self._candidate = None
            self._bounds_ns = earliest, latest
            self._move(min(max(known.offset_ns, earliest), latest))

    def _move(self, offset_ns: int) -> None:
        self._offset_ns = offset_ns
        if not self._pinned:
            self._shown_us = self._passed_us = 0


def _steady_ns() -> int:
    return round(steady_s() * 1e9)


current = Clock()
"""The clock of this process."""


def now_us() -> int:
    """Return the time of this process's clock in microseconds UTC."""
    return current.now_us()


def earliest_us() -> int:
    """Return what the exchange's clock shows at least, in microseconds UTC."""
    return current.earliest_us()


def latest_us() -> int:
    """Return what the exchange's clock shows at most, in microseconds UTC."""
    return current.latest_us()


def clock_offset() -> ClockOffset:
    """Return the offset of this process's clock now."""
    return ClockOffset(current.offset_ns, current.ahead_us())
