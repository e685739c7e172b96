"""Checkpoints beside the writing: the database gets what was committed, and the log ends somewhere."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from okxsync.store.database import Connection
from okxsync.store.engines import open_database, open_reader
from okxsync.store.sqlite.checkpoint import PAGES, PAGES_OF_A_FLOOD, Checkpoints, checkpointing
from okxsync.store.sqlite.connection import WAL_BYTES
from okxsync.store.sqlite.files import wal_of
from tests.support.desk import make_database


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "okxsync.db"


@pytest.fixture
def db(path: Path) -> Iterator[Connection]:
    make_database(path)
    with closing(open_database(path)) as database:
        yield database


def write(db: Connection, pages: int) -> None:
    """Commit some ``pages``."""
    db.execute("INSERT INTO codecs (name, body) VALUES ('ballast', zeroblob(?))", [pages * 4096])


def wait(checkpoints: Checkpoints) -> None:
    assert checkpoints._running
    checkpoints._running.result()


def standing(db: Connection) -> tuple[int, int]:
    """Return the pages in the log, and how many of them were moved."""
    _, pages, moved = db.execute("PRAGMA wal_checkpoint(NOOP)").fetchone()
    return pages, moved


def test_a_few_pages_are_not_moved(path: Path, db: Connection) -> None:
    with checkpointing(db, path) as checkpoints:
        write(db, PAGES // 2)
        checkpoints.start_if_due()
    assert standing(db)[1] == 0


def test_many_are_moved_by_a_thread(path: Path, db: Connection) -> None:
    with checkpointing(db, path) as checkpoints:
        write(db, PAGES)
        assert standing(db)[1] == 0, "the commit itself moves nothing"
        checkpoints.start_if_due()
    pages, moved = standing(db)
    assert moved == pages >= PAGES


def test_under_load_more_pages_are_moved_at_once(path: Path, db: Connection) -> None:
    with checkpointing(db, path) as checkpoints:
        write(db, PAGES)
        checkpoints.start_if_due()
        wait(checkpoints)
        write(db, PAGES)
        checkpoints.start_if_due()
        wait(checkpoints)
        assert standing(db)[1] == 0, "the log began anew, and none of it was moved"
        write(db, PAGES_OF_A_FLOOD)
        checkpoints.start_if_due()
    pages, moved = standing(db)
    assert moved == pages


def test_the_log_begins_anew_although_the_thread_is_always_a_little_behind(path: Path, db: Connection) -> None:
    with checkpointing(db, path) as checkpoints:
        write(db, WAL_BYTES // 4096 // 2)
        checkpoints.start_if_due()
        wait(checkpoints)
        write(db, 1)
        checkpoints.start_if_due()
        write(db, 1)
    pages, _ = standing(db)
    assert pages < PAGES


def test_a_tool_that_reads_with_another_sqlite_does_not_delete_the_log(path: Path, db: Connection) -> None:
    """A connection that closes and finds no lock believes it is the last one, and deletes the log."""
    with checkpointing(db, path):
        write(db, 1)
        log = wal_of(path).stat().st_ino
        read = f"import sqlite3; sqlite3.connect({str(path)!r}).execute('SELECT count(*) FROM codecs').fetchall()"
        subprocess.run([sys.executable, "-c", read], check=True)
        open_database(path).close()
        subprocess.run([sys.executable, "-c", read], check=True)
        assert wal_of(path).stat().st_ino == log
        assert locks(path), "by which all others see that somebody has it open"
        write(db, 1)
        with closing(open_reader(path)) as reader:
            assert reader.execute("SELECT count(*) FROM codecs").fetchone() == (2,)


def locks(path: Path) -> list[str]:
    """Return the locks that any process holds on a file."""
    inode = f":{path.stat().st_ino}"
    return [line for line in Path("/proc/locks").read_text().splitlines() if line.split()[5].endswith(inode)]


def test_the_writer_waits_for_a_disk_that_does_not_keep_up(path: Path, db: Connection) -> None:
    goes_on = threading.Event()
    with closing(open_database(path)) as other, ThreadPoolExecutor(1) as thread, ThreadPoolExecutor(1) as writer:
        thread.submit(goes_on.wait)
        checkpoints = Checkpoints(db, other, thread)
        write(db, PAGES)
        checkpoints.start_if_due()
        checkpoints.start_if_due()  # it is under way, and nobody waits
        write(db, 2 * WAL_BYTES // 4096)
        looking = writer.submit(checkpoints.start_if_due)
        with pytest.raises(TimeoutError):
            looking.result(timeout=0.1)
        goes_on.set()
        looking.result()


def test_the_thread_ends_with_the_block(path: Path, db: Connection) -> None:
    before = threading.active_count()
    with checkpointing(db, path) as checkpoints:
        write(db, PAGES)
        checkpoints.start_if_due()
        assert threading.active_count() == before + 1
    assert threading.active_count() == before


def test_the_log_stays_bounded_when_the_thread_never_catches_up(path: Path, db: Connection) -> None:
    with checkpointing(db, path):  # nobody looks
        for _ in range(40):
            write(db, 1000)
    assert wal_of(path).stat().st_size < 1.2 * WAL_BYTES


def test_a_reader_that_blocks_checkpoints_blocks_no_commit(path: Path, db: Connection) -> None:
    write(db, 1)
    with closing(open_reader(path)) as reader, checkpointing(db, path) as checkpoints:
        reader.execute("BEGIN")
        count = reader.execute("SELECT count(*) FROM codecs").fetchone()[0]
        for _ in range(3):
            write(db, PAGES)
            checkpoints.start_if_due()
        assert reader.execute("SELECT count(*) FROM codecs").fetchone()[0] == count
        reader.execute("COMMIT")
        write(db, PAGES)
        checkpoints.start_if_due()
    assert db.execute("SELECT count(*) FROM codecs").fetchone()[0] == count + 4
    with checkpointing(db, path) as checkpoints:
        checkpoints.start_if_due()
    pages, moved = standing(db)
    assert moved == pages
