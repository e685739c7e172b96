"""Clocks: this machine's, a steady one that is never set, and the exchange's."""

import time
from typing import Final, Protocol


class ExchangeClock(Protocol):
    """An estimate of the exchange's clock."""

    def now_s(self) -> float:
        """Return Unix seconds on the exchange's clock."""

    async def measure(self) -> None:
        """Compare with the exchange's time again."""


def now_us() -> int:
    """Return the local time in microseconds UTC."""
    return time.time_ns() // 1000


STEP_S: Final = 1.0
"""Smaller steps are within the overlap with which gaps are backfilled."""


class StepDetector:
    """Detects that the machine's clock was set, by comparison with a steady clock."""

    def __init__(self) -> None:
        self._ahead_s = time.time() - steady_s()

    def step_s(self) -> float:
        """Return by how many seconds it was set forward since the last call; negative: back; 0: below ``STEP_S``."""
        was_s, self._ahead_s = self._ahead_s, time.time() - steady_s()
        step_s = self._ahead_s - was_s
        return step_s if abs(step_s) > STEP_S else 0.0


_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def steady_s() -> float:
    """Return seconds of a clock that also runs while the machine is suspended, and is never set."""
    return time.clock_gettime(_STEADY)
