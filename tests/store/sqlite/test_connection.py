"""SQLite: which versions are safe, which errors are transient, and what a transaction is."""

import resource
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pysqlite3
import pytest

from okxsync.store.database import Connection, DatabaseError, RejectedValueError, StoreError, TransientError
from okxsync.store.engines import open_database, open_reader
from okxsync.store.sqlite import connection
from okxsync.store.sqlite.connection import unsafe_sqlite


def another(db: Connection) -> Connection:
    other: Connection = pysqlite3.connect(db.execute("PRAGMA database_list").fetchone()[2], isolation_level=None)
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
    ("fault", "kind"),
    [
        *(
            (fault, TransientError)
            for fault in (full, write_error, busy, busy_snapshot, read_only, cannot_open, out_of_memory)
        ),
        *((fault, DatabaseError) for fault in (unknown_table, syntax_error, not_a_database)),
        (constraint, RejectedValueError),
    ],
)
def test_only_errors_of_the_disk_memory_and_locks_are_transient(
    tmp_path: Path, fault: Callable[[Connection], None], kind: type[DatabaseError]
) -> None:
    with closing(open_database(tmp_path / "okxsync.db")) as database:
        with pytest.raises(DatabaseError) as raised, database.translated():
            fault(database)
        assert type(raised.value) is kind
        assert str(raised.value)
        assert bool(raised.value.remedy) is (kind is not TransientError)


def codecs(db: Connection) -> list[str]:
    return [name for (name,) in db.execute("SELECT name FROM codecs ORDER BY id").fetchall()]


def add(db: Connection, name: str) -> None:
    db.execute("INSERT INTO codecs (name, body) VALUES (?, x'')", [name])


def test_a_part_of_a_transaction_can_fail_alone(tmp_path: Path) -> None:
    with closing(open_database(tmp_path / "okxsync.db")) as database:
        with database.transaction():
            add(database, "before")
            with suppress(RejectedValueError), database.transaction():
                add(database, "part")
                constraint(database)
            add(database, "after")
        assert codecs(database) == ["before", "after"]
        assert not database.in_transaction


def test_a_transaction_that_fails_changes_nothing(tmp_path: Path) -> None:
    with closing(open_database(tmp_path / "okxsync.db")) as database:
        with suppress(RejectedValueError), database.transaction():
            add(database, "before")
            constraint(database)
        assert codecs(database) == []
        assert not database.in_transaction


def test_a_snapshot_is_one_moment(tmp_path: Path) -> None:
    path = tmp_path / "okxsync.db"
    with closing(open_database(path)) as database, closing(open_reader(path)) as reader:
        version = reader.version()
        with reader.snapshot():
            assert codecs(reader) == []
            add(database, "meanwhile")
            assert codecs(reader) == []
        assert codecs(reader) == ["meanwhile"]
        assert reader.version() != version


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
    monkeypatch.setattr(connection, "VERSION", (3, 40, 1))
    with pytest.raises(StoreError, match=r"^SQLite 3\.40\.1 can corrupt .*; install SQLite 3\.51\.3 or later"):
        open_database(tmp_path / "okxsync.db")
    assert not (tmp_path / "okxsync.db").exists()


def test_a_part_that_fails_leaves_no_savepoint_behind(tmp_path: Path) -> None:
    """Else each of thousands of failed rows would nest the next one deeper."""
    with closing(open_database(tmp_path / "okxsync.db")) as db:
        with db.transaction():
            with suppress(ValueError), db.transaction():
                db.execute("INSERT INTO codecs (name, body) VALUES ('lost', x'')")
                raise ValueError
            with pytest.raises(DatabaseError, match="no such savepoint"), db.translated():
                db.execute("RELEASE part")
            db.execute("INSERT INTO codecs (name, body) VALUES ('kept', x'')")
        assert db.query("SELECT name FROM codecs WHERE name IN ('lost', 'kept')") == [{"name": "kept"}]
