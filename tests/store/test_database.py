"""SQLite: which versions are safe, and which errors can pass."""

import resource
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pysqlite3
import pytest

from okxsync.store.database import (
    Connection,
    DatabaseError,
    StoreError,
    ignoring_transient,
    is_transient,
    open_database,
    unsafe_sqlite,
)


def another(db: Connection) -> Connection:
    other = pysqlite3.connect(db.execute("PRAGMA database_list").fetchone()[2], isolation_level=None)
    other.execute("PRAGMA busy_timeout = 0")
    return other


def full(db: Connection) -> None:
    db.execute("PRAGMA max_page_count = 1")
    db.execute("INSERT INTO codecs (name, body) VALUES ('ballast', zeroblob(1000000))")


def write_error(db: Connection) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        db.execute("INSERT INTO codecs (name, body) VALUES ('ballast', zeroblob(1000000))")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def busy(db: Connection) -> None:
    db.execute("BEGIN IMMEDIATE")
    with closing(another(db)) as other:
        other.execute("BEGIN IMMEDIATE")


def busy_snapshot(db: Connection) -> None:
    with closing(another(db)) as other:
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM codecs").fetchone()
        db.execute("INSERT INTO codecs (name, body) VALUES ('ballast', x'')")
        other.execute("DELETE FROM codecs")


def read_only(db: Connection) -> None:
    db.execute("PRAGMA query_only = ON")
    db.execute("DELETE FROM codecs")


def cannot_open(db: Connection) -> None:
    pysqlite3.connect("file:/none/such/file.db?mode=ro", uri=True)


def out_of_memory(db: Connection) -> None:
    raise MemoryError  # as pysqlite3 does for SQLITE_NOMEM


def unknown_table(db: Connection) -> None:
    db.execute("SELECT * FROM nowhere")


def syntax_error(db: Connection) -> None:
    db.execute("SELEKT 1")


def not_a_database(db: Connection) -> None:
    path = Path(db.execute("PRAGMA database_list").fetchone()[2]).with_name("notes.txt")
    path.write_text("my diary" * 200)
    with closing(pysqlite3.connect(path)) as other:
        other.execute("SELECT * FROM sqlite_schema")


def constraint(db: Connection) -> None:
    db.execute("INSERT INTO codecs (name, body) VALUES (NULL, NULL)")


@pytest.mark.parametrize(
    ("fault", "transient"),
    [
        *((fault, True) for fault in (full, write_error, busy, busy_snapshot, read_only, cannot_open, out_of_memory)),
        *((fault, False) for fault in (unknown_table, syntax_error, not_a_database, constraint)),
    ],
)
def test_only_errors_of_the_disk_memory_and_locks_are_transient(
    tmp_path: Path, fault: Callable[[Connection], None], transient: bool
) -> None:
    with closing(open_database(tmp_path / "okxsync.db")) as database:
        with pytest.raises((DatabaseError, MemoryError)) as raised:
            fault(database.conn)
        assert is_transient(raised.value) is transient
        if database.conn.in_transaction:
            database.conn.execute("ROLLBACK")
        if transient:
            with ignoring_transient():
                raise raised.value
        else:
            with pytest.raises(DatabaseError), ignoring_transient():
                raise raised.value


@pytest.mark.parametrize(
    ("version", "safe"),
    [
        ((3, 40, 1), False),
        ((3, 44, 5), False),
        ((3, 44, 6), True),
        ((3, 45, 9), False),
        ((3, 50, 6), False),
        ((3, 50, 7), True),
        ((3, 51, 2), False),
        ((3, 51, 3), True),
        ((3, 52, 0), True),
        ((4, 0, 0), True),
    ],
)
def test_a_sqlite_with_the_wal_reset_bug_is_refused(version: tuple[int, ...], safe: bool) -> None:
    assert (unsafe_sqlite(version) == "") is safe


def test_an_unsafe_sqlite_opens_no_database_for_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pysqlite3, "sqlite_version_info", (3, 40, 1))
    with pytest.raises(StoreError, match=r"^SQLite 3\.40\.1 can corrupt .*; install SQLite 3\.51\.3 or later"):
        open_database(tmp_path / "okxsync.db")
    assert not (tmp_path / "okxsync.db").exists()
