"""Checkpoints beside the writing: the database gets what was committed, and the log ends somewhere."""

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from okxsync.store.checkpoint import PAGES, checkpointing
from okxsync.store.database import WAL_BYTES, Connection, open_database, open_reader, wal_of


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "okxsync.db"


@pytest.fixture
def db(path: Path) -> Iterator[Connection]:
    with closing(open_database(path)) as database:
        yield database.conn


def write(db: Connection, pages: int) -> None:
    """Commit some ``pages``."""
    db.execute("INSERT INTO codecs (name, body) VALUES ('ballast', zeroblob(?))", [pages * 4096])


def standing(db: Connection) -> tuple[int, int]:
    """Return the pages in the log, and how many of them were moved."""
    _, pages, moved = db.execute("PRAGMA wal_checkpoint(NOOP)").fetchone()
    return pages, moved


def test_a_few_pages_are_left_where_they_are(path: Path, db: Connection) -> None:
    with checkpointing(db, path) as checkpoints:
        write(db, PAGES // 2)
        checkpoints.look()
    assert standing(db)[1] == 0


def test_many_are_moved_by_a_thread(path: Path, db: Connection) -> None:
    with checkpointing(db, path) as checkpoints:
        write(db, PAGES)
        assert standing(db)[1] == 0, "the commit itself moves nothing"
        checkpoints.look()
    pages, moved = standing(db)
    assert moved == pages >= PAGES


def test_the_thread_ends_with_the_block(path: Path, db: Connection) -> None:
    before = threading.active_count()
    with checkpointing(db, path) as checkpoints:
        write(db, PAGES)
        checkpoints.look()
        assert threading.active_count() == before + 1
    assert threading.active_count() == before


def test_a_flood_that_the_thread_never_catches_up_with_does_not_grow_the_log_for_ever(
    path: Path, db: Connection
) -> None:
    with checkpointing(db, path):  # nobody looks
        for _ in range(40):
            write(db, 1000)
    assert wal_of(path).stat().st_size < 1.2 * WAL_BYTES


def test_a_reader_that_holds_it_up_costs_no_commit(path: Path, db: Connection) -> None:
    write(db, 1)
    with closing(open_reader(path)) as reader, checkpointing(db, path) as checkpoints:
        reader.execute("BEGIN")
        count = reader.execute("SELECT count(*) FROM codecs").fetchone()[0]
        for _ in range(3):
            write(db, PAGES)
            checkpoints.look()
        assert reader.execute("SELECT count(*) FROM codecs").fetchone()[0] == count
        reader.execute("COMMIT")
        write(db, PAGES)
        checkpoints.look()
    assert db.execute("SELECT count(*) FROM codecs").fetchone()[0] == count + 4
    with checkpointing(db, path) as checkpoints:
        checkpoints.look()
    pages, moved = standing(db)
    assert moved == pages
