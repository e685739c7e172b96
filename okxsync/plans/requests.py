"""Requests of the command line and other programs: rows that they insert into ``requests``, each answered once.

``expires_at`` is compared with this machine's wall clock, which set it. A request that waited longer, for a daemon that
was not there, is not executed.
"""

import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, TypeAlias

import msgspec
import trio

from okxsync.messages import PlanAnswer
from okxsync.plans.document import PlanError
from okxsync.plans.plan_structure import one_line
from okxsync.plans.stored import UnreadablePlan
from okxsync.reconcile.held import Reads
from okxsync.runtime.clock import now_us
from okxsync.runtime.outbox import Outbox
from okxsync.runtime.supervise import isolated
from okxsync.store.database import StoreError

log = logging.getLogger("okxsync.plans")

POLL_S: Final = 0.025
"""One query of some 20 us; the writer changes the database all the time, so its version number says nothing."""
STALE: Final = "stale-request"
_NEW: Final = (
    "SELECT id FROM requests LEFT JOIN answers ON request_id = id WHERE id > ? AND request_id IS NULL ORDER BY id"
)
_ONE: Final = "SELECT id, kind, plan_id, body, by, expires_at FROM requests WHERE id = ?"


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


async def answer(send: Outbox, request_id: int, work: Callable[[], Awaitable[Answered | None]]) -> None:
    """Answer a request with what ``work`` returns, unless that is None. An error is an answer, too."""
    found: Answered | None = None

    async def run() -> None:
        nonlocal found
        try:
            found = await work()
        except PlanError as error:
            found = Answered("bad-plan", "\n".join(one_line(line) for line in error.lines))
        except UnreadablePlan as error:
            found = Answered("bad-plan", f"the stored plan cannot be read: {one_line(str(error))}")
        except StoreError as error:
            found = Answered("store-error", str(error))
        except OSError as error:
            found = Answered("failed", str(error))

    if what := await isolated(send, None, f"request {request_id}", run, then="it is answered as failed"):
        found = Answered("internal-error", f"internal error ({what})")
    if found is not None:
        await send.send(PlanAnswer(request_id, now_us(), found.outcome, found.detail))


class Requests:
    """Takes requests in the order in which they were inserted.

    Args:
        reads: Not shared with long reads: a cancellation would wait for them.
        handle: Answers one request; it must not wait for the end of what it starts. None: the answer is sent later.
        wall_us: The wall clock.
    """

    def __init__(
        self,
        reads: Reads,
        send: Outbox,
        handle: Handle,
        wall_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self._reads = reads
        self._send = send
        self._handle = handle
        self._wall_us = wall_us
        self._last_id = 0

    async def run(self) -> None:
        """Answer requests; never returns. That they cannot be read is logged once."""
        reported = ""
        while True:
            error = ""
            try:
                await self.take_new()
            except StoreError as failure:
                error = str(failure)
            if error and error != reported:
                log.warning("requests: %s", error)
            reported = error
            await trio.sleep(POLL_S)

    async def take_new(self) -> None:
        """Answer the requests that have no answer yet. One that cannot be read is answered as failed.

        Raises:
            StoreError: the database cannot be read.
        """
        for (number,) in await self._reads.rows(_NEW, [self._last_id]):
            self._last_id = number
            await answer(self._send, number, partial(self._take, number))

    async def _take(self, number: int) -> Answered | None:
        ((*columns,),) = await self._reads.rows(_ONE, [number])
        request = Request(*columns)
        if request.expires_at <= self._wall_us():
            return Answered(STALE, "it waited too long for a running daemon; make it again")
        return await self._handle(request)
