"""Checkpoints beside the writing: what was committed moves from the write-ahead log into the database in a thread.

SQLite does it within a commit, which then waits until the disk has it all; in a flood the writer stood still for a
tenth of its time. SQLite runs without the interpreter lock, so that a thread is enough.
"""

import logging
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from okxsync import events
from okxsync.runtime.clock import now_us
from okxsync.store.database import WAL_BYTES, WAL_TOO_LARGE, Connection, ignoring_transient, open_database, wal_of

if TYPE_CHECKING:
    import trio

    from okxsync.messages import Message

log = logging.getLogger("okxsync")

POLL_S: Final = 5.0

PAGES: Final = 1000
"""What is worth a checkpoint, in pages of 4 KB; SQLite's own measure."""
PAGES_OF_A_FLOOD: Final = 4000
"""The same within ``REST_S`` of the last one: a page that changes again and again is moved once."""
REST_S: Final = 2.0


class Checkpoints:
    """Calls for a checkpoint when one is due.

    The log begins anew at a commit that finds all of it moved, and a thread is always a little behind a flood. So from
    ``WAL_BYTES`` on the commit itself moves what the thread has left. While that one waits for the disk nobody else can
    move anything, and at twice the size the writer waits for it.

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
        self._ended = -REST_S
        self._enough = WAL_BYTES // int(db.execute("PRAGMA page_size").fetchone()[0])
        db.execute(f"PRAGMA wal_autocheckpoint = {self._enough}")

    def start_if_due(self) -> None:
        """Start one if it is due; called after each commit, so it must be cheap.

        Raises:
            DatabaseError: the error, here or of the last checkpoint, is permanent.
        """
        with ignoring_transient():
            _, pages, moved = self._db.execute("PRAGMA wal_checkpoint(NOOP)").fetchone()
            if self._running:
                if not self._running.done() and pages < 2 * self._enough:
                    return
                self._running.result()
            rested = time.monotonic() - self._ended >= REST_S
            if pages - moved >= (PAGES if rested else PAGES_OF_A_FLOOD):
                self._running = self._thread.submit(self._checkpoint)

    def _checkpoint(self) -> None:
        with ignoring_transient():
            self._other.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        self._ended = time.monotonic()


@contextmanager
def checkpointing(db: Connection, path: Path) -> Iterator[Checkpoints]:
    """Checkpoint for as long as the block runs; its end waits for the one that is under way.

    Raises:
        StoreError: the database at ``path`` cannot be opened once more.
    """
    with closing(open_database(path)) as other, ThreadPoolExecutor(1) as thread:
        yield Checkpoints(db, other.conn, thread)


async def watch_wal(database: Path, send: "trio.MemorySendChannel[Message]") -> None:
    """Say it if a reader keeps the write-ahead log from being taken into the database: it grows to the disk's end."""
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
