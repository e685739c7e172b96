"""Connections under test: a single one, or all that some settings require."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
from trio.testing import wait_all_tasks_blocked

from okxsync.config.settings import AccountSettings, MarketSettings, Settings
from okxsync.feed.connection import FeedConnection
from okxsync.feed.dialers import Dialers
from okxsync.feed.pool import ConnectionPool, SpecKey
from okxsync.feed.reader import SocketReader
from okxsync.feed.spec import ConnectionSpec
from okxsync.messages import Message
from okxsync.okx.rate_limits import dial_slots
from okxsync.runtime.rate_limiter import RateLimiter
from tests.support.accounts import settings
from tests.support.scripted_peer import Exchange, FixedClock, Timeline

CLIMB = ["waiting", "connecting", "logging_in", "subscribing", "live"]


@asynccontextmanager
async def connected(
    spec: ConnectionSpec, clock: FixedClock | None = None
) -> AsyncIterator[tuple[FeedConnection, Timeline]]:
    """Run a connection; cancel it in the end."""
    timeline = Timeline()
    reader = SocketReader(timeline.send)
    async with reader.running(), trio.open_nursery() as nursery:
        nursery.start_soon(timeline.collect)
        connection = FeedConnection(7, spec, timeline.send, reader, RateLimiter(dial_slots(3)), clock or FixedClock())
        nursery.start_soon(connection.run)
        yield connection, timeline
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def kept(spec: ConnectionSpec, clock: FixedClock | None = None) -> AsyncIterator[Timeline]:
    """Run a connection as ``connected`` does, and yield what it reports."""
    async with connected(spec, clock) as (_, timeline):
        yield timeline


class Running:
    """A pool under test. ``change`` returns once the pool has applied the settings."""

    def __init__(self, exchange: Exchange, known_ids: dict[SpecKey, int]) -> None:
        self.exchange = exchange
        self.timeline = Timeline()
        self.blocked: dict[str, str] = {}
        self.pool = ConnectionPool(
            self.timeline.send, lambda site: FixedClock(), Dialers(), known_ids, self.blocked.get
        )
        self._changed, self.changes = trio.open_memory_channel[Settings | str](0)

    async def change(self, *accounts: AccountSettings, market: MarketSettings | None = None) -> None:
        await self._changed.send(settings(*accounts, market=market))
        await wait_all_tasks_blocked()

    async def block(self, name: str, why: str | None) -> None:
        self.blocked.pop(name, None)
        if why is not None:
            self.blocked[name] = why
        await self._changed.send(name)
        await wait_all_tasks_blocked()

    def since(self, number: int) -> list[Message]:
        return [message for _, message in self.timeline.all[number:]]

    @property
    def reported(self) -> int:
        return len(self.timeline.all)


@asynccontextmanager
async def running(
    exchange: Exchange,
    *accounts: AccountSettings,
    market: MarketSettings | None = None,
    known_ids: dict[SpecKey, int] | None = None,
) -> AsyncIterator[Running]:
    found = Running(exchange, known_ids or {})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(found.timeline.collect)
        nursery.start_soon(found.pool.run, settings(*accounts, market=market), found.changes)
        yield found
        nursery.cancel_scope.cancel()
