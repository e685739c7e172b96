"""One daemon per database: a lock that dies with its holder, and what the holder cannot write into the database itself.

The lock is on a file beside the database. That file's text says why nothing can be stored, while that is so: a database
that cannot be written cannot say it.
"""

import fcntl
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from okxsync.store.database import StoreError, beside

_ROOM: Final = 512
"""Bytes of the text, which are there from the beginning: a full disk takes them all the same."""


class AlreadyRunning(Exception):
    """Another daemon holds this database."""


class Lock:
    """A held lock; ``descriptor`` keeps it, in this process and in those that inherit it.

    ``unheld_s`` is how long ago the holder before this one was last known to be there; infinite if there was none.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._reported: str | None = None
        before = os.fstat(descriptor)
        since_s = time.time() - before.st_mtime
        self.unheld_s = since_s if before.st_size and since_s >= 0 else math.inf

    def report(self, problem: str) -> None:
        """Say what is wrong with the database, or "" if nothing is."""
        if problem != self._reported:
            with suppress(OSError):  # it is the last that could be said
                os.pwrite(self.descriptor, problem.encode()[:_ROOM].ljust(_ROOM), 0)
            self._reported = problem

    def touch(self) -> None:
        """Say that the holder is still there."""
        with suppress(OSError):
            os.utime(self.descriptor)


@contextmanager
def hold(database: Path) -> Iterator[Lock]:
    """Hold the database for this daemon; the lock dies with the last process that holds its file descriptor.

    Raises:
        AlreadyRunning: another daemon holds it.
        StoreError: there is no such folder, or it may not be written to.
    """
    path = beside(database, "-lock")
    try:
        # Not through a link: its text would be written over whatever file that names.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise StoreError(f"{database}: cannot be used ({path}: {error.strerror})") from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunning(f"{database}: another okxsync run holds this database") from None
        lock = Lock(descriptor)
        lock.report("")
        yield lock
    finally:
        os.close(descriptor)


def trouble(database: Path) -> str:
    """Return what the database's holder said was wrong last, "" for nothing."""
    try:
        return beside(database, "-lock").read_text(encoding="utf-8", errors="replace").rstrip(" \0")
    except OSError:
        return ""
