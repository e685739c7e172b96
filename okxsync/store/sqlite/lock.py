"""One daemon per database: a file lock that ends with its holder.

The lock is on a file beside the database. While the database cannot be written, the text of this file says why.
"""

import fcntl
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from okxsync.store.database import AlreadyRunning, StoreError
from okxsync.store.sqlite.files import beside

MAX_COUNTED_S: Final = 15.0
"""The largest ``counted_s``. A mark further in the future means that this machine's clock was set back."""
_ROOM: Final = 512
"""Bytes of the text. They are allocated from the start, so that they can be written on a full disk."""


class Lock:
    """A held lock. ``descriptor`` holds it, in this process and in processes that inherit it.

    ``unheld_s`` is how long ago, in seconds, the exchange counted the last request of the previous holder; negative if
    it may still count one, infinite if there was no holder. See ``touch``.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._reported: str | None = None
        before = os.fstat(descriptor)
        since_s = time.time() - before.st_mtime
        if since_s < -MAX_COUNTED_S:
            since_s = 0.0  # the machine's clock was set back: assume the shortest time
        self.unheld_s = since_s if before.st_size else math.inf

    def report(self, problem: str) -> None:
        """Write why the database cannot be written; "" if it can."""
        if problem != self._reported:
            with suppress(OSError):  # there is no other place to report it
                os.pwrite(self.descriptor, problem.encode()[:_ROOM].ljust(_ROOM), 0)
            self._reported = problem

    def touch(self, counted_s: float = 0.0) -> None:
        """Record that the holder is alive, and that the exchange may count what it sent for ``counted_s`` more."""
        now = time.time()
        with suppress(OSError):
            os.utime(self.descriptor, (now, now + min(counted_s, MAX_COUNTED_S)))


@contextmanager
def hold(database: Path) -> Iterator[Lock]:
    """Hold the database for this daemon. The lock ends with the last process that holds its file descriptor.

    Raises:
        AlreadyRunning: another daemon holds it.
        StoreError: the folder does not exist, or is not writable.
    """
    path = beside(database, "-lock")
    try:
        # O_NOFOLLOW: through a link, the text would overwrite another file.
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


def beat_age_s(database: Path) -> float:
    """Return how long ago the holder of the database was last alive, in seconds; infinite if that is not known.

    The file's time is up to ``MAX_COUNTED_S`` ahead of when it was touched (see ``Lock.touch``).
    """
    try:
        age_s = time.time() - beside(database, "-lock").stat().st_mtime
    except OSError:
        return math.inf
    return max(age_s, 0.0) if age_s >= -MAX_COUNTED_S else math.inf


def trouble(database: Path) -> str:
    """Return why the holder of the database cannot write it; "" if it can."""
    try:
        return beside(database, "-lock").read_text(encoding="utf-8", errors="replace").rstrip(" \0")
    except OSError:
        return ""
