"""The feed's tests dial a scripted exchange, on virtual time."""

import time
from collections.abc import AsyncIterator

import pytest
import trio
from trio.testing import MockClock

from okxsync.feed.reader import PAUSES_S
from okxsync.runtime import clock
from tests.support.scripted_peer import START_NS, Exchange, Resolver


@pytest.fixture
async def exchange(monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock) -> AsyncIterator[Exchange]:
    """Put a scripted exchange in TCP's place, and let the wall clock go with trio's. What hangs fails after a day."""
    assert trio.lowlevel.current_clock() is autojump_clock, "the test itself must take autojump_clock"
    with trio.fail_after(24 * 3600):
        async with trio.open_nursery() as nursery:
            found = Exchange(nursery)
            trio.socket.set_custom_hostname_resolver(Resolver())
            monkeypatch.setattr("okxsync.feed.socket.open_tcp", found.dial)
            monkeypatch.setitem(PAUSES_S, "low", 0.0)  # so that times are exact
            monkeypatch.setattr(time, "time_ns", lambda: START_NS + round(trio.current_time() * 1e9))
            monkeypatch.setattr(time, "clock_gettime", lambda clock: trio.current_time())
            monkeypatch.setattr(clock, "current", clock.Clock())
            yield found
            nursery.cancel_scope.cancel()
