"""One task for the pings of all sessions: a task for each would be woken by timers, some three times per ping."""

import math
from collections.abc import Callable
from typing import Final

import trio

from okxsync.runtime.ticks import next_tick

TICK_S: Final = 1.0
"""All sessions act on the same ticks, so their pongs arrive, are handed over and are stored together."""
AT_ONCE: Final = 16
"""So many sessions send a ping in half a millisecond; then other tasks run."""


class Member:
    """A context manager: called for as long as its block runs. Each connection has one."""

    __slots__ = ("_members", "due_s", "on_tick")

    def __init__(self, members: dict["Member", None], on_tick: Callable[[], float]) -> None:
        self._members = members
        self.on_tick = on_tick
        self.due_s = -math.inf

    def __enter__(self) -> None:
        self._members[self] = None

    def __exit__(self, *error: object) -> None:
        del self._members[self]


class Beats:
    """Calls each of its members on the last tick before it is due, and later ticks until it is not."""

    def __init__(self) -> None:
        self._members: dict[Member, None] = {}  # in the order in which they came

    def calling(self, on_tick: Callable[[], float]) -> Member:
        """Call ``on_tick`` for as long as the block runs; it must not raise.

        Args:
            on_tick: Returns when it must be called next, in seconds of trio's clock; most ticks are not a session's.
        """
        return Member(self._members, on_tick)

    async def run(self) -> None:
        """Never returns."""
        while True:
            await trio.sleep_until(tick_s := next_tick(trio.current_time(), TICK_S))
            due = [member for member in self._members if member.due_s < tick_s + TICK_S]
            for place, member in enumerate(due, 1):
                if member in self._members:  # its session may have ended during this tick
                    member.due_s = member.on_tick()
                if not place % AT_ONCE:
                    await trio.lowlevel.checkpoint()
