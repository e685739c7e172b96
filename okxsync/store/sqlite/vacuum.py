"""Give free pages back to the file system, in steps that are short for every other writer.

The file keeps its free pages (``auto_vacuum`` is INCREMENTAL) until they are released here.
"""

import time
from collections.abc import Callable
from typing import Final

from okxsync.store.database import Connection
from okxsync.store.prune import next_size

SLACK_PAGES: Final = 1000
"""Free pages that the daemon keeps for the next frames."""
CHECKPOINTS: Final = 40


class PageVacuum:
    """Releases pages over a connection for writing. The duration of a step decides the size of the next one."""

    def __init__(self, db: Connection, clock: Callable[[], float] = time.perf_counter) -> None:
        self._db = db
        self._clock = clock
        self._pages = 50
        self.released = 0

    def step(self, *, keep_some: bool) -> bool:
        slack = SLACK_PAGES if keep_some else 0
        free = self._free()
        if free <= slack:
            return False
        began = self._clock()
        self._db.execute(f"PRAGMA incremental_vacuum({min(self._pages, free - slack)})").fetchall()
        left = self._free()
        self.released += max(0, free - left)
        self._pages = next_size(self._pages, self._clock() - began, 10, 400)
        return left < free and left > slack

    def finish(self) -> None:
        for _ in range(CHECKPOINTS):  # the file shrinks once the complete WAL is in it; another writer may delay that
            busy, pages, moved = self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            if not busy and pages == moved:
                break
            time.sleep(0.05)

    def _free(self) -> int:
        return int(self._db.execute("PRAGMA freelist_count").fetchone()[0])
