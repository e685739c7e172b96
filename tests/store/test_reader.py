"""The connection for reading that is kept."""

from pathlib import Path

import pytest

from okxsync.messages import Subscribed
from okxsync.store.database import StoreError
from okxsync.store.engines import Reader, open_database
from tests.support.desk import NOW, Desk

CHANNELS = "SELECT channel FROM coverage ORDER BY channel"


def test_each_query_sees_what_was_committed_last(desk: Desk, reader: Reader) -> None:
    assert reader.rows(CHANNELS) == []
    desk.apply(Subscribed(1, "alpha", ["orders"], NOW))
    assert reader.rows(CHANNELS) == [("orders",)]
    assert reader.query("SELECT channel FROM coverage WHERE account = :name", {"name": "alpha"}) == [
        {"channel": "orders"}
    ]


@pytest.mark.sqlite
def test_between_two_queries_it_blocks_no_checkpoint(desk: Desk, reader: Reader) -> None:
    desk.apply(Subscribed(1, "alpha", ["orders"], NOW))
    assert reader.rows(CHANNELS) == [("orders",)]
    desk.apply(Subscribed(1, "alpha", ["account"], NOW))
    ((busy, in_log, moved),) = desk.rows("PRAGMA wal_checkpoint(TRUNCATE)")
    assert (busy, in_log, moved) == (0, 0, 0)
    assert reader.rows(CHANNELS) == [("account",), ("orders",)]


def test_a_database_that_is_not_there_yet_is_opened_later(tmp_path: Path) -> None:
    path = tmp_path / "okxsync.db"
    reader = Reader(path)
    for _ in range(2):
        with pytest.raises(StoreError, match="no such database"):
            reader.rows(CHANNELS)
    open_database(path).close()
    assert reader.rows(CHANNELS) == []
    reader.close()
    assert reader.rows(CHANNELS) == []
    reader.close()


def test_after_an_error_it_is_opened_again(tmp_path: Path) -> None:
    path, other = tmp_path / "okxsync.db", tmp_path / "other.db"
    open_database(path).close()
    desk = Desk(other)
    desk.apply(Subscribed(1, "alpha", ["orders"], NOW))
    desk.database.close()
    reader = Reader(path)
    assert reader.rows(CHANNELS) == []
    path.write_bytes(b"\0" * path.stat().st_size)
    with pytest.raises(StoreError, match=r"okxsync\.db: "):
        reader.rows("SELECT count(*) FROM orders")
    other.replace(path)
    assert reader.rows(CHANNELS) == [("orders",)]
    reader.close()


def test_an_error_of_ours_is_raised_as_it_is_and_harms_no_later_query(reader: Reader) -> None:
    with pytest.raises(Exception, match="type"):
        reader.rows("SELECT ?", [object()])
    assert reader.rows("SELECT 1") == [(1,)]
