"""One daemon per database, whatever path names it, and the report in its lock file."""

import math
import os
import time
from pathlib import Path

import pytest

from okxsync.store.database import AlreadyRunning, StoreError
from okxsync.store.engines import open_database
from okxsync.store.sqlite.files import wal_of
from okxsync.store.sqlite.lock import MAX_COUNTED_S, hold, trouble


@pytest.fixture
def link(tmp_path: Path) -> Path:
    """A link to a link to a database, each in its own folder."""
    for name in ("one", "two", "three"):
        (tmp_path / name).mkdir()
    real = tmp_path / "one" / "real.db"
    open_database(real).close()
    (tmp_path / "two" / "near.db").symlink_to(real)
    (tmp_path / "three" / "far.db").symlink_to(Path("..", "two", "near.db"))
    return tmp_path / "three" / "far.db"


def test_a_link_leads_to_the_same_lock(link: Path) -> None:
    with hold(link.resolve()) as lock:
        with pytest.raises(AlreadyRunning), hold(link):
            pytest.fail("two daemons on one database")
        lock.report("the disk is full")
        assert trouble(link) == "the disk is full"
    with hold(link), pytest.raises(AlreadyRunning), hold(link.resolve()):
        pytest.fail("two daemons on one database")


def test_the_wal_is_found_through_a_link(link: Path) -> None:
    database = open_database(link)
    database.execute("CREATE TABLE scratch (x)")
    assert wal_of(link).stat().st_size > 0
    database.close()


def test_circular_links_are_an_ordinary_error(tmp_path: Path) -> None:
    (tmp_path / "a.db").symlink_to(tmp_path / "b.db")
    (tmp_path / "b.db").symlink_to(tmp_path / "a.db")
    assert trouble(tmp_path / "a.db") == ""
    assert not wal_of(tmp_path / "a.db").exists()


def test_the_report_is_in_the_lock_file(tmp_path: Path) -> None:
    database = tmp_path / "okxsync.db"
    with hold(database) as lock:
        lock.report("no space left")
        assert trouble(database) == "no space left"
        lock.report("")
        assert trouble(database) == ""


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    other = tmp_path / "precious.txt"
    other.write_text("mine")
    (tmp_path / "okxsync.db-lock").symlink_to(other)
    with pytest.raises(StoreError, match="-lock"), hold(tmp_path / "okxsync.db"):
        pass
    assert other.read_text() == "mine"


def unheld_s(database: Path) -> float:
    with hold(database) as lock:
        return lock.unheld_s


def test_the_next_holder_knows_when_the_last_request_counted(tmp_path: Path) -> None:
    database = tmp_path / "okxsync.db"
    assert unheld_s(database) == math.inf
    for counted_s, expected in [(0.0, 0.0), (8.0, -8.0), (1000.0, -MAX_COUNTED_S)]:
        with hold(database) as lock:
            lock.touch(counted_s)
        assert unheld_s(database) == pytest.approx(expected, abs=1.0)


def test_after_the_clock_was_set_back_the_last_request_counts_as_of_now(tmp_path: Path) -> None:
    database = tmp_path / "okxsync.db"
    unheld_s(database)
    os.utime(tmp_path / "okxsync.db-lock", (time.time(), time.time() + 3600))
    assert unheld_s(database) == 0.0
