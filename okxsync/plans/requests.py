"""Requests of the command line and other programs: rows that they insert into ``requests``, each answered once.

``expires_at`` is compared with this machine's wall clock, which set it. A request that waited longer, for a daemon that
was not there, is not executed.
"""

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

import msgspec
import trio

from okxsync.messages import PlanAnswer
from okxsync.runtime.clock import now_us
from okxsync.runtime.outbox import Outbox
from okxsync.store.engines import Reader, keep_going

log = logging.getLogger("okxsync.plans")

POLL_S: Final = 0.025
"""One query of some 20 us; the writer changes the database all the time, so its version number says nothing."""
STALE: Final = "stale-request"
_NEW: Final = (
    "SELECT id, kind, plan_id, body, by, expires_at FROM requests LEFT JOIN answers ON request_id = id"
    " WHERE id > ? AND request_id IS NULL ORDER BY id"
)


class Request(msgspec.Struct, frozen=True, array_like=True):
    """A row of ``requests``; ``body`` is a JSON object as text."""

    id: int
    kind: str
    plan_id: str | None
    body: str
    by: str
    expires_at: int


class Answered(msgspec.Struct, frozen=True):
    """How a request was answered; ``detail`` is for people."""

    outcome: str
    detail: str = ""


Handle: TypeAlias = Callable[[Request], Awaitable[Answered | None]]


class Requests:
    """Takes requests in the order in which they were inserted.

    Args:
        handle: Answers one request; it must not wait for the end of what it starts, and it does not raise. None: it
            sends the answer itself, later.
        wall_us: The wall clock.
    """

    def __init__(
        self,
        reader: Reader,
        send: Outbox,
        handle: Handle,
        wall_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self._reader = reader
        self._send = send
        self._handle = handle
        self._wall_us = wall_us
        self._last_id = 0

    async def run(self) -> None:
        """Answer requests; never returns."""
        while True:
            with keep_going(log, "requests"):
                await self.take_new()
            await trio.sleep(POLL_S)

    async def take_new(self) -> None:
        """Answer the requests that have no answer yet.

        Raises:
            StoreError: the database cannot be read.
        """
        for row in self._reader.rows(_NEW, [self._last_id]):
            request = Request(*row)
            self._last_id = request.id
            answered: Answered | None
            if request.expires_at <= self._wall_us():
                answered = Answered(STALE, "it waited too long for a running daemon; make it again")
            else:
                answered = await self._handle(request)
            if answered is not None:
                await self._send.send(PlanAnswer(request.id, now_us(), answered.outcome, answered.detail))
