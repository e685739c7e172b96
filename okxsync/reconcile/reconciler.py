"""What the daemon requests over REST: sources find the work, and one pool does it.

    sources (gaps, stalled, rest_only)  ->  Work  ->  pool  ->  rows and results to the writer

A source searches the database from time to time, and returns what is to be done now. The pool does it. Each source has
places of its own in the pool: gaps wait for nothing else, and a REST that does not answer one source holds up no other.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Set
from typing import Final, Protocol

import trio

from okxsync.reconcile.held import Reads
from okxsync.reconcile.work import Work, perform
from okxsync.rest.client import AccountClient
from okxsync.runtime.outbox import Outbox
from okxsync.runtime.supervise import keep_running, supervised
from okxsync.runtime.ticks import sleep_until_tick
from okxsync.store.engines import keep_going

log = logging.getLogger("okxsync.reconcile")

WAIT_S: Final = 0.1
"""How often it is looked whether what is more urgent has ended."""
STEP_S: Final = 0.5
"""What is spread begins no more often: to wake up costs as much as a request. With a thousand accounts eight begin
together, which takes some five milliseconds."""


class Source(Protocol):
    """Finds what is to be done.

    Attributes:
        name: What it finds, in the words of a log line.
        at_once: How much of its work is done at the same time.
        spread: Whether its work is begun evenly between two searches, rather than at once. A request takes some
            milliseconds of the event loop, so a hundred of them would delay pushes by a second.
        poll_s: Seconds between two searches.
    """

    name: str
    at_once: int
    spread: bool
    poll_s: float

    async def search(self, busy: Set[object]) -> list[Work]:
        """Return what to do now, the most urgent first.

        Args:
            busy: Keys of the work that is being done.
        """


class _Lane:
    """A source's share of the pool."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.queue: deque[Work] = deque()  # as of the last search
        self.busy: set[object] = set()  # keys of the work that is being done, or paused after an internal error
        self.places = source.at_once
        self.permits = 0  # how much more of the queue may begin now


class Reconciler:
    """Does what its sources find, for as long as it runs.

    Args:
        client_of: An account's client, or None if no request may be sent.
        send: Where rows and results go.
        waits: Returns whether something more urgent needs the machine; it is true for seconds at most. What is spread
            is not begun then.
    """

    def __init__(
        self,
        sources: Iterable[Source],
        reads: Reads,
        client_of: Callable[[str], AccountClient | None],
        send: Outbox,
        waits: Callable[[], bool] = lambda: False,
    ) -> None:
        self._lanes = [_Lane(source) for source in sources]
        self._reads = reads
        self._client_of = client_of
        self._send = send
        self._waits = waits

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            for lane in self._lanes:
                nursery.start_soon(self._keep_searching, lane, nursery)

    async def _keep_searching(self, lane: _Lane, nursery: trio.Nursery) -> None:
        """An internal error of a search ends neither the work nor the other searches."""
        await keep_running(self._send, None, lane.source.name, self._search, lane, nursery)

    async def _search(self, lane: _Lane, nursery: trio.Nursery) -> None:
        while True:
            lane.queue.clear()  # what has not begun is found again; meanwhile nothing begins
            with keep_going(log, f"{lane.source.name}: the database cannot be searched"):
                lane.queue.extend(await lane.source.search(frozenset(lane.busy)))
            found = len(lane.queue)
            steps = max(1, min(found, int(lane.source.poll_s / STEP_S))) if lane.source.spread else 1
            lane.permits = 0
            for step in range(steps):
                if lane.source.spread:
                    await self._wait_for_urgent()
                lane.permits += found * (step + 1) // steps - found * step // steps
                self._begin(lane, nursery)
                await sleep_until_tick(lane.source.poll_s / steps)

    async def _wait_for_urgent(self) -> None:
        while self._waits():  # noqa: ASYNC110 - who decides that has no event
            await trio.sleep(WAIT_S)

    def _begin(self, lane: _Lane, nursery: trio.Nursery) -> None:
        """Begin as much as there are places for: what has not begun has no task."""
        while lane.queue and lane.places and lane.permits:
            work = lane.queue.popleft()
            lane.places -= 1
            lane.permits -= 1
            lane.busy.add(work.key)
            nursery.start_soon(self._supervise, work, lane, nursery)

    async def _supervise(self, work: Work, lane: _Lane, nursery: trio.Nursery) -> None:
        about = f"{work.account}: {work.about}"
        await supervised(self._send, work.account, about, self._do, work, lane, nursery)
        lane.busy.discard(work.key)  # after an internal error: a minute later

    async def _do(self, work: Work, lane: _Lane, nursery: trio.Nursery) -> None:
        try:
            report = await perform(work, self._client_of(work.account), self._reads, self._send)
            for message in work.finish(report):
                await self._send.send(message)
        finally:
            lane.places += 1
            self._begin(lane, nursery)
