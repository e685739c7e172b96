"""What ``okxsync check`` says of SQLite and of the disk."""

import os
import shutil
from pathlib import Path
from typing import Final

from okxsync.store.database import Check, StoreError
from okxsync.store.sqlite.connection import open_reader, unsafe_sqlite

SPACE_WARN: Final = 5_000_000_000
SPACE_FAIL: Final = 200_000_000


def sqlite_version(version: tuple[int, ...]) -> Check:
    text = ".".join(map(str, version))
    if problem := unsafe_sqlite(version):
        return Check("fail", "SQLite", *problem.split("; "))
    return Check("ok", "SQLite", text)


def disk(path: Path, log_max_bytes: int | None) -> Check:
    """Check that the database can be written, and that the disk has enough free space."""
    folder = path.absolute().parent
    if not folder.is_dir():
        return Check("fail", "disk", f"{folder}: no such folder", "create it, or change `database`")
    target = path if path.exists() else folder
    if not os.access(target, os.W_OK):
        return Check("fail", "disk", f"{target}: cannot be written", "change its owner or mode, or use --db")
    if path.exists() and path.stat().st_size:
        try:
            open_reader(path).close()
        except StoreError as error:
            return Check("fail", "database", str(error), "give another path with --db")
    free = shutil.disk_usage(folder).free
    found = f"{free / 1e9:.1f} GB free in {folder}"
    if free < SPACE_FAIL:
        return Check("fail", "disk", found, "free some space")
    if free < max(SPACE_WARN, log_max_bytes or 0):
        return Check("warn", "disk", found, "free some space, or lower [log] max_size")
    return Check("ok", "disk", found)
