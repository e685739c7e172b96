"""A rate limiter with priorities: one for all connections or requests that share a limit of the exchange."""

import bisect
import itertools
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio

from okxsync.okx.rate_limits import Slots


class Permit:
    """The slot that a request occupies in the limiter's window, until ``release``."""

    def __init__(self, slots: Slots, on_release: Callable[[], None]) -> None:
        self._slots = slots
        self._on_release = on_release
        self._slot: int | None = slots.take(trio.current_time())

    def release(self) -> None:
        """The request has ended. Calling it again has no effect."""
        if self._slot is not None:
            self._slots.finish(self._slot, trio.current_time())
            self._slot = None
            self._on_release()


class _Waiter:
    def __init__(self, priority: int, number: int) -> None:
        self.rank = (priority, number)
        self.changed = trio.Event()  # a slot was freed, or a waiter left the queue


class RateLimiter:
    """Admits requests as its slots allow: the lowest priority number first, equal ones in order of arrival."""

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self._queue: list[_Waiter] = []
        self._numbers = itertools.count()

    @property
    def slots(self) -> Slots:
        return self._slots

    @slots.setter
    def slots(self, slots: Slots) -> None:
        """Use these slots from now on; requests under way keep theirs in the old ones."""
        self._slots = slots
        self._wake_first()

    @asynccontextmanager
    async def acquire(self, priority: int) -> AsyncIterator[Permit]:
        """Wait for a slot, and occupy it until ``Permit.release`` or the end of the block."""
        await self._wait(_Waiter(priority, next(self._numbers)))
        permit = Permit(self._slots, self._wake_first)
        try:
            yield permit
        finally:
            permit.release()

    async def _wait(self, waiter: _Waiter) -> None:
        """Wait in the queue: the first waits for a free slot, the others until they are first."""
        bisect.insort(self._queue, waiter, key=lambda other: other.rank)
        try:
            while True:
                waiter.changed = trio.Event()
                opens_at = self._slots.opens_at() if self._queue[0] is waiter else math.inf
                if opens_at <= trio.current_time():
                    return
                with trio.move_on_at(opens_at):  # a request that ends meanwhile frees a slot earlier
                    await waiter.changed.wait()
        finally:
            self._queue.remove(waiter)
            self._wake_first()

    def _wake_first(self) -> None:
        if self._queue:
            self._queue[0].changed.set()
