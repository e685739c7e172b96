"""What the machine lets us have, and does to us: open files, core files, its clock, the write-ahead log's size."""

import logging
import resource
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

import trio

from okxsync.pace import steady_s
from okxsync.store.batch import Message, Note
from okxsync.store.database import WAL_TOO_LARGE, wal_of

log = logging.getLogger("okxsync")

LOOK_S: Final = 5.0
STEP_S: Final = 1.0
"""A smaller step of the clock is within the overlap with which gaps are filled."""


def prepare() -> None:
    """Take as many files as there are to be had, and leave no core file, which would hold the secrets.

    A thousand accounts are two thousand sockets, and a shell's usual limit is 1024.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # then as many as there may be
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, most))


class Clock:
    """Notices that the machine's clock was set, beside one that nobody sets."""

    def __init__(self) -> None:
        self._ahead_s = time.time() - steady_s()

    def step_s(self) -> float:
        """Return by how many seconds it was set forward since the last look; negative is back, 0 next to nothing."""
        was_s, self._ahead_s = self._ahead_s, time.time() - steady_s()
        step_s = self._ahead_s - was_s
        return step_s if abs(step_s) > STEP_S else 0.0


async def watch_log(database: Path, send: trio.MemorySendChannel[Message]) -> None:
    """Say it if a reader keeps the write-ahead log from being taken into the database: it grows to the disk's end."""
    path = wal_of(database)
    told = False
    while True:
        await trio.sleep(LOOK_S)
        size = path.stat().st_size if path.exists() else 0
        if size > WAL_TOO_LARGE and not told:
            detail = f"{path.name} has grown to {size >> 20} MiB: somebody reads this database without an end"
            log.warning("%s", detail)
            await send.send(Note(time.time_ns() // 1000, "warning", None, "log-held-up", detail))
        told = size > WAL_TOO_LARGE
