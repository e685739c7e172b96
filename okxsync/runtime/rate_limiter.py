"""A rate limiter with priorities: one for all connections or requests that share a limit of the exchange."""

import bisect
import itertools
import math
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager

import trio

from okxsync.okx.rate_limits import Budget, Slots


class Permit:
    """The right to send one request, which counts from now on."""

    def __init__(self, slots: Slots, on_end: Callable[[], None]) -> None:
        self._slots = slots
        self._on_end = on_end
        self._number: int | None = slots.start()

    def release(self) -> None:
        """The request has ended, and the exchange cannot count it later: it answered, or never received it."""
        self._end(answered=True)

    def abandon(self) -> None:
        """The request has ended without an answer. After ``release`` this has no effect."""
        self._end(answered=False)

    def _end(self, *, answered: bool) -> None:
        if self._number is not None:
            self._slots.end(self._number, trio.current_time(), answered=answered)
            self._number = None
            self._on_end()


class _Waiter:
    def __init__(self, priority: int, number: int) -> None:
        self.rank = (priority, number)
        self.changed = trio.Event()  # a request has ended, the limit has changed, or a waiter left the queue


class RateLimiter:
    """Admits requests as its slots allow: the lowest priority number first, equal ones in order of arrival.

    Args:
        slots: The limit.
        on_change: Called before each request that is admitted, and after its end.
    """

    def __init__(self, slots: Slots, on_change: Callable[[], None] = lambda: None) -> None:
        self._slots = slots
        self._on_change = on_change
        self._queue: list[_Waiter] = []
        self._numbers = itertools.count()

    def limit(self, places: int) -> None:
        """Change the limit. Earlier requests count against it as before."""
        self._slots.places = places
        self._wake_first()

    @property
    def is_unused(self) -> bool:
        """Whether a new limiter would do the same: no request waits, and none counts any more."""
        return not self._queue and self.counted_until() <= trio.current_time()

    def counted_until(self) -> float:
        """Return until when requests count that were sent up to now, in seconds of trio's clock."""
        return self._slots.counted_until(trio.current_time())

    @asynccontextmanager
    async def acquire(self, priority: int) -> AsyncIterator[Permit]:
        """Wait until a request may be sent; it counts until ``Permit.release``, or as abandoned after the block."""
        await self._wait(_Waiter(priority, next(self._numbers)))
        permit = Permit(self._slots, self._request_ended)
        try:
            self._on_change()
            yield permit
        finally:
            permit.abandon()

    async def _wait(self, waiter: _Waiter) -> None:
        """Wait in the queue: the first waits for a free slot, the others until they are first."""
        bisect.insort(self._queue, waiter, key=lambda other: other.rank)
        try:
            while True:
                waiter.changed = trio.Event()
                is_first = self._queue[0] is waiter
                opens_at = self._slots.opens_at(trio.current_time()) if is_first else math.inf
                if opens_at <= trio.current_time():
                    return
                with trio.move_on_at(opens_at):  # a request that ends meanwhile may free a slot earlier
                    await waiter.changed.wait()
        finally:
            self._queue.remove(waiter)
            self._wake_first()

    def _request_ended(self) -> None:
        self._on_change()
        self._wake_first()

    def _wake_first(self) -> None:
        if self._queue:
            self._queue[0].changed.set()


class RateLimiters:
    """A rate limiter for each key. One that is not in use any more is dropped: there are several for each account."""

    def __init__(self) -> None:
        self._limiters: OrderedDict[Hashable, RateLimiter] = OrderedDict()  # the one requested last is the last

    def __len__(self) -> int:
        return len(self._limiters)

    def of(self, key: Hashable, budget: Budget) -> RateLimiter:
        """Return the limiter of a key. Acquire at once: it may be dropped when the next one is requested."""
        while self._limiters and next(iter(self._limiters.values())).is_unused:
            self._limiters.popitem(last=False)
        limiter = self._limiters.setdefault(key, RateLimiter(Slots(budget.calls, budget.window_s)))
        self._limiters.move_to_end(key)
        return limiter
