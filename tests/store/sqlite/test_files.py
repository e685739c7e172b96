"""The sizes of a database's files."""

from pathlib import Path

import pytest

from okxsync.store.database import StoreError
from okxsync.store.sqlite import files


def test_sizes_of_a_database_that_is_gone_are_an_error_for_people(tmp_path: Path) -> None:
    """Whoever shows them reads on when the database is back: an ``OSError`` ended the terminal."""
    path = tmp_path / "okxsync.db"
    path.write_bytes(b"x" * 10)
    assert files.space(path).write_ahead_log == 0  # there is none
    files.wal_of(path).write_bytes(b"x" * 3)
    found = files.space(path)
    assert (found.database, found.write_ahead_log) == (10, 3)
    path.unlink()
    with pytest.raises(StoreError, match=r"okxsync\.db: No such file or directory"):
        files.space(path)
