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


class _Member:
    def __init__(self, on_tick: Callable[[], float]) -> None:
        self.on_tick = on_tick
        self.due_s = -math.inf


class Beats:
    """Calls each of its members on the last tick before it is due, and later ticks until it is not."""

    def __init__(self) -> None:
        self._members: dict[int, _Member] = {}
        self._last = 0

    @contextmanager
    def calling(self, on_tick: Callable[[], float]) -> Iterator[None]:
        """Call ``on_tick`` for as long as the block runs; it must not raise.

        Args:
            on_tick: Returns when it must be called next, in seconds of trio's clock; most ticks are not a session's.
        """
        self._last = number = self._last + 1
        self._members[number] = _Member(on_tick)
        try:
            yield
        finally:
            del self._members[number]

    async def run(self) -> None:
        """Never returns."""
        while True:
            await trio.sleep_until(tick_s := next_tick(trio.current_time()))
            due = [number for number, member in self._members.items() if member.due_s < tick_s + TICK_S]
            for place, number in enumerate(due, 1):
                if member := self._members.get(number):  # its session may have ended during this tick
                    member.due_s = member.on_tick()
                if not place % AT_ONCE:
                    await trio.lowlevel.checkpoint()


def next_tick(now_s: float) -> float:
    """Return when the next tick is, in seconds of trio's clock."""
    return (math.floor(now_s / TICK_S) + 1) * TICK_S
