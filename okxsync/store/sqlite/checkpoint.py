"""Run checkpoints in a thread: they move committed pages from the write-ahead log into the database.

By default SQLite runs a checkpoint within a commit, which then waits for the disk: under load that was a tenth of the
writer's time. SQLite releases the interpreter lock, so a thread is enough.
"""

import logging
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from okxsync import events
from okxsync.runtime.clock import now_us
from okxsync.store.database import WAL_TOO_LARGE, Connection, TransientError
from okxsync.store.sqlite.connection import WAL_BYTES, open_writer
from okxsync.store.sqlite.files import wal_of

if TYPE_CHECKING:
    from okxsync.runtime.outbox import Outbox

log = logging.getLogger("okxsync")

POLL_S: Final = 5.0

PAGES: Final = 1000
"""Pages of 4 KB that make a checkpoint due; SQLite's own default."""
PAGES_OF_A_FLOOD: Final = 4000
"""The same within ``REST_S`` after the last one: a page that changes repeatedly is moved once."""
REST_S: Final = 2.0


class Checkpoints:
    """Starts a checkpoint when one is due.

    SQLite restarts the log at a commit that finds all of it moved, and under load the thread is always a little behind.
    So when the thread is done with a log of half ``WAL_BYTES``, the writer itself moves the little that was committed
    meanwhile. At ``WAL_BYTES``, for example in a flood, a commit moves the rest, however much it is: some 60 ms. It
    cannot while the thread waits for the disk: at twice the size the writer waits for the thread.

    Args:
        db: The writer's connection.
        other: A connection of the thread's own.
        thread: Runs one checkpoint at a time.
    """

    def __init__(self, db: Connection, other: Connection, thread: ThreadPoolExecutor) -> None:
        self._db = db
        self._other = other
        self._thread = thread
        self._running: Future[None] | None = None
        self._catches_up = False  # the last one has ended, or will, and the writer has not moved the rest
        self._ended = -REST_S
        self._enough = WAL_BYTES // int(db.execute("PRAGMA page_size").fetchone()[0])
        db.execute(f"PRAGMA wal_autocheckpoint = {self._enough}")

    def start_if_due(self) -> None:
        """Start one if it is due; called after each commit, so it must be cheap.

        Raises:
            DatabaseError: the error, here or of the last checkpoint, is permanent.
        """
        with suppress(TransientError), self._db.translated():  # the next commit reports the error again
            _, pages, moved = self._db.execute("PRAGMA wal_checkpoint(NOOP)").fetchone()
            if self._running:
                if not self._running.done() and pages < 2 * self._enough:
                    return
                self._running.result()
            if self._catches_up and pages >= self._enough // 2 and pages - moved < PAGES:
                self._catches_up = False  # once: a reader may hold the rest
                self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                return
            rested = time.monotonic() - self._ended >= REST_S
            if pages - moved >= (PAGES if rested else PAGES_OF_A_FLOOD):
                self._running = self._thread.submit(self._checkpoint)
                self._catches_up = True

    def _checkpoint(self) -> None:
        with suppress(TransientError), self._other.translated():
            self._other.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        self._ended = time.monotonic()


@contextmanager
def checkpointing(db: Connection, path: Path) -> Iterator[Checkpoints]:
    """Offer checkpoints while the block runs; at its end wait for the running one.

    Raises:
        StoreError: the database at ``path`` cannot be opened once more.
    """
    with closing(open_writer(path)) as other, ThreadPoolExecutor(1) as thread:
        yield Checkpoints(db, other, thread)


async def watch_wal(database: Path, send: "Outbox") -> None:
    """Report a reader that blocks checkpoints: the write-ahead log then grows until the disk is full."""
    import trio  # here: the writer process imports this module, and does without

    path = wal_of(database)
    reported = False
    while True:
        await trio.sleep(POLL_S)
        size = path.stat().st_size if path.exists() else 0
        if size > WAL_TOO_LARGE and not reported:
            detail = f"{path.name} has grown to {size >> 20} MiB: a long-running reader blocks checkpoints"
            log.warning("%s", detail)
            await send.send(events.WAL_CHECKPOINT_BLOCKED.note(now_us(), None, detail))
        reported = size > WAL_TOO_LARGE
