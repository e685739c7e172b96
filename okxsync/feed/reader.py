"""One task reads all sockets: a pass reads, parses and queues what has arrived on any of them.

A task for each socket would be woken for each frame, and so would the task that sends batches to the writer. Here one
descriptor of the operating system (epoll, kqueue) stands for all sockets, and a task can wait for it as for a socket.
While frames arrive, a pass follows the one before after a pause. So an occasional frame is read at once, and a steady
stream in batches.

A ``Source`` is read by this task only while it is in ``reading``.
"""

import selectors
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from typing import Final, Protocol

import trio

from okxsync.config.settings import Latency
from okxsync.feed.beats import Beats
from okxsync.feed.liveness import STALL_S, Moment, now
from okxsync.messages import Message
from okxsync.runtime.outbox import Outbox

PAUSES_S: Final[dict[Latency, float]] = {"low": 0.006, "lean": 0.03}
"""Each pass costs two wake-ups and a transaction: shorter pauses cost CPU time, longer ones make rows visible later."""
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
    """Reads its sources, and sends to the writer what they make of it.

    Attributes:
        beats: The task that sends pings; it runs while the sources are read.
        pause_s: Between two passes while frames arrive; it may be changed at any time.
        stalled_since: Since when nothing is read because the queue to the writer is full.
    """

    def __init__(self, send: Outbox) -> None:
        self.beats = Beats()
        self.pause_s = PAUSES_S["low"]
        self.stalled_since: Moment | None = None
        self._send = send
        self._selector = selectors.DefaultSelector()
        self._sources: dict[int, Source] = {}  # by descriptor
        self._blocked: Source | None = None  # what it read waits for the writer
        self._admitted = trio.Event()  # set when that has been sent

    def reading(self, source: Source) -> "Reading":
        """Read ``source`` for as long as the block runs, or until it is removed; its socket stays open until then.

        The block ends only when all that was read has been sent to the writer, so whatever the source sends next
        comes after it.
        """
        return Reading(self, source)

    def add(self, source: Source) -> None:
        """Read ``source`` from now on."""
        number = source.fileno()
        self._selector.register(number, selectors.EVENT_READ)
        self._sources[number] = source

    async def wait_sent(self, source: Source) -> None:
        """Wait until all that was read of ``source`` has been sent to the writer."""
        if self._blocked is source:
            await self._admitted.wait()

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
                nursery.start_soon(self.beats.run)
                yield
                nursery.cancel_scope.cancel(reason="no socket is left")

    async def _run(self) -> None:
        while True:
            if await self._read_all():
                await trio.sleep(self.pause_s)  # rather than wait: in a steady stream that is one wake-up less a pass
            else:
                await trio.lowlevel.wait_readable(self._selector)

    async def _read_all(self) -> bool:
        """Read each source on which something has arrived; return whether there was one."""
        began = time.monotonic()
        readable = self._selector.select(0)
        for key, _ in readable:
            if source := self._sources.get(key.fd):  # its task may have ended during this pass
                await self._forward(source, source.read())
            if time.monotonic() - began > MAX_PASS_S:
                await trio.lowlevel.checkpoint()
                began = time.monotonic()
        return bool(readable)

    async def _forward(self, source: Source, messages: Sequence[Message]) -> None:
        for number, message in enumerate(messages):
            try:
                self._send.send_nowait(message)
            except trio.WouldBlock:
                await self._wait_and_forward(source, messages[number:])
                break

    async def _wait_and_forward(self, source: Source, messages: Sequence[Message]) -> None:
        """Send while the writer's queue is full. Meanwhile nothing is read, and TCP holds the exchange back."""
        began = self.stalled_since = now()
        self._blocked, self._admitted = source, trio.Event()
        try:
            for message in messages:
                await self._send.send(message)
        finally:
            self._blocked = None
            self._admitted.set()
        self.stalled_since = None
        if now().s - began.s > STALL_S:
            for other in list(self._sources.values()):
                other.on_stall(began)


class Reading:
    """A context manager, see ``SocketReader.reading``. Each connection has one: a generator would take 0.7 KB."""

    __slots__ = ("_reader", "_source")

    def __init__(self, reader: SocketReader, source: Source) -> None:
        self._reader = reader
        self._source = source

    async def __aenter__(self) -> None:
        self._reader.add(self._source)

    async def __aexit__(self, *error: object) -> None:
        self._reader.remove(self._source)
        with trio.CancelScope(shield=True):  # ends when the writer has room, or the reader is cancelled
            await self._reader.wait_sent(self._source)
