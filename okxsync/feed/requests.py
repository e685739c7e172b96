"""Requests on a connection that wait for their reply, which repeats their id. No I/O.

What can have become of a request without a reply:

    NotSent   nothing of it has left, and nothing of it will
    NoReply   the connection has ended since: it may have been processed
"""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import msgspec
import trio

from okxsync.okx.control import REQUEST_IDS

_numbers: Final = itertools.count(1)
"""Of all requests of this process: a late reply to one is never taken for that to another."""


class NotSent(Exception):
    """Nothing of the request has left."""


class NoReply(Exception):
    """The request was sent, and the connection has ended without its reply."""


class _Reply(msgspec.Struct):
    id: str = ""
    op: str = ""
    event: str = ""


_decode: Final = msgspec.json.Decoder(_Reply).decode


class Request:
    """A request whose reply is awaited."""

    __slots__ = ("_ended", "_reply", "_why", "id", "op")

    def __init__(self, op: str) -> None:
        self.id = f"{REQUEST_IDS}{next(_numbers)}"
        self.op = op
        self._ended = trio.Event()
        self._reply: str | None = None
        self._why = ""

    def end(self, reply: str | None, why: str = "") -> None:
        """Give it its reply, or the reason why there is none; what comes first counts."""
        if not self._ended.is_set():
            self._reply, self._why = reply, why
            self._ended.set()

    async def reply(self) -> str:
        """Return the frame that answers it.

        Raises:
            NoReply: there will be none.
        """
        await self._ended.wait()
        if self._reply is None:
            raise NoReply(self._why)
        return self._reply


class Requests:
    """The requests of one connection."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: dict[str, Request] = {}

    @contextmanager
    def waiting(self, op: str) -> Iterator[Request]:
        """Take the reply to a new request for as long as the block runs."""
        request = Request(op)
        self._waiting[request.id] = request
        try:
            yield request
        finally:
            self._waiting.pop(request.id, None)

    def take(self, frame: str) -> None:
        """Take a frame that was read: perhaps it answers a request."""
        if not self._waiting or frame.startswith('{"arg":'):  # the usual frame is a push
            return
        try:
            found = _decode(frame)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return
        request = self._waiting.get(found.id)
        if request and (found.op == request.op or found.event == "error"):
            request.end(frame)

    def end(self, why: str) -> None:
        """The connection has ended: nothing more is answered."""
        for request in self._waiting.values():
            request.end(None, why)
