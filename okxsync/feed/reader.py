"""One task reads all sockets: what has arrived on any of them is read, parsed and handed over in one pass.

A task for each socket costs three wake-ups for each frame: of the event loop, of the task and of the writer's side.
Here the descriptors are collected in one of the operating system's (epoll, kqueue), for which a task can wait as for
a socket. Passes are at least ``PAUSE_S`` apart. So an occasional frame is read at once, and a steady stream in batches.

A ``Source`` is read either by this task, while it is in ``reading``, or by its own, never by both.
"""

import math
import selectors
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from typing import Final, Protocol

import trio

from okxsync.feed.liveness import STALL_S, Moment, now
from okxsync.messages import Message
from okxsync.runtime.outbox import Outbox

PAUSE_S: Final = 0.004
MAX_PASS_S: Final = 0.005
"""After so long a pass lets other tasks run."""


class Source(Protocol):
    """What has a socket, and makes messages to the writer of what it reads."""

    def fileno(self) -> int: ...

    def read(self) -> Sequence[Message]:
        """Read once without waiting, and return the messages to the writer. Never raises."""

    def on_stall(self, began: Moment) -> None:
        """Nothing was read since ``began``, because the queue to the writer was full."""


class SocketReader:
    """Reads its sources, and sends to the writer what they make of it."""

    def __init__(self, send: Outbox) -> None:
        self._send = send
        self._selector = selectors.DefaultSelector()
        self._sources: dict[int, Source] = {}  # by descriptor
        self.stalled_since: Moment | None = None
        """Since when nothing is read because the queue to the writer is full."""

    @contextmanager
    def reading(self, source: Source) -> Iterator[None]:
        """Read ``source`` for as long as the block runs, or until it is removed."""
        number = source.fileno()
        self._selector.register(number, selectors.EVENT_READ)
        self._sources[number] = source
        try:
            yield
        finally:
            self.remove(source)

    def remove(self, source: Source) -> None:
        """Do not read ``source`` any more; its socket is still open."""
        if self._sources.get(number := source.fileno()) is source:
            del self._sources[number]
            self._selector.unregister(number)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Read for as long as the block runs; once only."""
        with closing(self._selector):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._run)
                yield
                nursery.cancel_scope.cancel(reason="no socket is left")

    async def _run(self) -> None:
        opens = -math.inf
        while True:
            await trio.lowlevel.wait_readable(self._selector)
            if opens > trio.current_time():
                await trio.sleep_until(opens)
            opens = trio.current_time() + PAUSE_S
            await self._read_all()

    async def _read_all(self) -> None:
        began = time.monotonic()
        for key, _ in self._selector.select(0):
            if source := self._sources.get(key.fd):  # its task may have ended during this pass
                for message in source.read():
                    await self._forward(message)
            if time.monotonic() - began > MAX_PASS_S:
                await trio.lowlevel.checkpoint()
                began = time.monotonic()

    async def _forward(self, message: Message) -> None:
        """Send ``message`` to the writer. While its queue is full nothing is read, and TCP holds the exchange back."""
        try:
            self._send.send_nowait(message)
        except trio.WouldBlock:
            began = self.stalled_since = now()
            await self._send.send(message)
            self.stalled_since = None
            if now().s - began.s > STALL_S:
                for source in list(self._sources.values()):
                    source.on_stall(began)
