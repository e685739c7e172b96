"""Whose turn it is to connect, or to ask: one limiter for all who share one of the exchange's limits."""

import bisect
import itertools
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio

from okxsync.okx.rate_limits import Slots


class Permit:
    """A request's place in the limiter's window, until ``release``."""

    def __init__(self, slots: Slots, on_release: Callable[[], None]) -> None:
        self._slots = slots
        self._on_release = on_release
        self._place: int | None = slots.take(trio.current_time())

    def release(self) -> None:
        """The request is through; once is enough, more does no harm."""
        if self._place is not None:
            self._slots.finish(self._place, trio.current_time())
            self._place = None
            self._on_release()


class _Waiter:
    def __init__(self, priority: int, number: int) -> None:
        self.rank = (priority, number)
        self.news = trio.Event()  # a place was freed, or someone left the queue


class RateLimiter:
    """Lets requests through as its slots allow; the lowest priority number goes first, equals in order of asking."""

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self._queue: list[_Waiter] = []
        self._numbers = itertools.count()

    @property
    def slots(self) -> Slots:
        return self._slots

    @slots.setter
    def slots(self, slots: Slots) -> None:
        """Go by others from now on; those who have their turn keep their place in the old ones."""
        self._slots = slots
        self._wake_first()

    @asynccontextmanager
    async def acquire(self, priority: int) -> AsyncIterator[Permit]:
        """Wait for a turn, and hold it until ``Permit.release``, at the latest until the block ends."""
        await self._wait(_Waiter(priority, next(self._numbers)))
        permit = Permit(self._slots, self._wake_first)
        try:
            yield permit
        finally:
            permit.release()

    async def _wait(self, me: _Waiter) -> None:
        """Wait in the queue: the first sleeps until a slot opens, the others until they are the first."""
        bisect.insort(self._queue, me, key=lambda waiter: waiter.rank)
        try:
            while True:
                me.news = trio.Event()
                opens_at = self._slots.opens_at() if self._queue[0] is me else math.inf
                if opens_at <= trio.current_time():
                    return
                with trio.move_on_at(opens_at):  # a request that ends meanwhile opens one earlier
                    await me.news.wait()
        finally:
            self._queue.remove(me)
            self._wake_first()

    def _wake_first(self) -> None:
        if self._queue:
            self._queue[0].news.set()
