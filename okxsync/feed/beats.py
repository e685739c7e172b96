"""One task for the pings of all sessions: a task for each would be woken by timers, some three times per ping."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import trio

TICK_S: Final = 0.5
"""All sessions act on the same ticks, so their pongs arrive, are handed over and are stored together."""
AT_ONCE: Final = 16
"""So many sessions send a ping in half a millisecond; then other tasks run."""


class Beats:
    """Calls each of its members on every tick."""

    def __init__(self) -> None:
        self._members: dict[int, Callable[[], None]] = {}
        self._last = 0

    @contextmanager
    def calling(self, on_tick: Callable[[], None]) -> Iterator[None]:
        """Call ``on_tick`` on every tick for as long as the block runs; it must not raise."""
        self._last = number = self._last + 1
        self._members[number] = on_tick
        try:
            yield
        finally:
            del self._members[number]

    async def run(self) -> None:
        """Never returns."""
        while True:
            await trio.sleep_until(next_tick(trio.current_time()))
            for place, number in enumerate(list(self._members), 1):
                if on_tick := self._members.get(number):  # its session may have ended during this tick
                    on_tick()
                if not place % AT_ONCE:
                    await trio.lowlevel.checkpoint()


def next_tick(now_s: float) -> float:
    """Return when the next tick is, in seconds of trio's clock."""
    return (math.floor(now_s / TICK_S) + 1) * TICK_S
