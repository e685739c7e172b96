"""Clocks: this machine's, one that nobody sets, and the exchange's."""

import time
from typing import Final, Protocol


class ExchangeClock(Protocol):
    """The exchange's clock, as far as it is known."""

    def now_s(self) -> float:
        """Return Unix seconds, as the exchange would say."""

    async def measure(self) -> None:
        """Compare with the exchange again."""


def now_us() -> int:
    """Return the local time in microseconds UTC."""
    return time.time_ns() // 1000


STEP_S: Final = 1.0
"""A smaller step of the clock is within the overlap with which gaps are filled."""


class StepDetector:
    """Notices that the machine's clock was set, beside one that nobody sets."""

    def __init__(self) -> None:
        self._ahead_s = time.time() - steady_s()

    def step_s(self) -> float:
        """Return by how many seconds it was set forward since the last look; negative is back, 0 next to nothing."""
        was_s, self._ahead_s = self._ahead_s, time.time() - steady_s()
        step_s = self._ahead_s - was_s
        return step_s if abs(step_s) > STEP_S else 0.0


_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def steady_s() -> float:
    """Return seconds of a clock that goes on through a suspend, and that nobody sets."""
    return time.clock_gettime(_STEADY)
