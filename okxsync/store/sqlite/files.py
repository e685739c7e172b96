"""The files of a SQLite database: where they are, who may read them, and how large they are."""

import os
import shutil
from contextlib import suppress
from pathlib import Path

from okxsync.store.database import Space, StoreError


def real(path: Path) -> Path:
    """Return the path of a database with all links resolved."""
    return Path(os.path.realpath(path))  # unlike Path.resolve it accepts a broken link: opening reports it


def beside(path: Path, suffix: str) -> Path:
    """Return the path of a file in the folder of the database, not of a link to it, as SQLite does."""
    path = real(path)
    return path.with_name(path.name + suffix)


def wal_of(path: Path) -> Path:
    """Return the path of the database's write-ahead log."""
    return beside(path, "-wal")


def make_private(path: Path) -> None:
    """Create an empty file if there is none: its mode is what SQLite gives -wal and -shm too.

    An existing file is not opened: closing it drops all locks that connections of this process hold on it (POSIX), and
    the next reader would delete their log.
    """
    with suppress(FileExistsError):
        os.close(os.open(real(path), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


def keep_private(path: Path) -> None:
    """Remove other users' permissions, which an earlier version or a copy may have left."""
    for file in (path, wal_of(path), path.with_name(path.name + "-shm")):
        with suppress(FileNotFoundError, PermissionError):  # a user who may write it need not own it
            if file.stat().st_mode & 0o077:
                file.chmod(0o600)


def space(path: Path) -> Space:
    """Return how large the database and its write-ahead log are, and how much is free on their disk.

    Raises:
        StoreError: there is no database.
    """
    wal_bytes = 0
    with suppress(FileNotFoundError):  # the last process that has closed the database removes it
        wal_bytes = wal_of(path).stat().st_size
    try:
        return Space(path.stat().st_size, wal_bytes, shutil.disk_usage(path.absolute().parent).free)
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}") from None


def written_at(path: Path) -> float:
    """Return when the database was last written, in seconds since 1970; 0 if never."""
    return max((file.stat().st_mtime for file in (path, wal_of(path)) if file.exists()), default=0.0)
