"""The connection of programs that ask the daemon for something: it inserts requests, and can do nothing else."""

from contextlib import closing
from pathlib import Path

import pytest

from okxsync.store.database import DatabaseError, StoreError
from okxsync.store.engines import open_requester
from tests.support.desk import Desk

INSERT = (
    "INSERT INTO requests (at, kind, plan_id, body, by, expires_at) VALUES (1, 'halt', '', '{}', 'me', 2) RETURNING id"
)
FORBIDDEN = (
    "UPDATE requests SET kind = 'resume'",
    "DELETE FROM requests",
    "INSERT INTO answers VALUES (1, 1, 'x', 'x')",
    "INSERT INTO requests (id, at, kind, plan_id, body, by, expires_at) VALUES (1, 1, 'x', '', '{}', 'me', 2)"
    " ON CONFLICT (id) DO UPDATE SET kind = 'y'",
    "REPLACE INTO plans (plan_id) VALUES ('x')",
    "UPDATE plans SET state = 'executing'",
    "UPDATE plan_orders SET state = 'ready'",
    "INSERT INTO halts (at, by, reason) VALUES (1, 'x', 'x')",
    "DROP TABLE requests",
    "CREATE TABLE more (x)",
    "ALTER TABLE requests ADD COLUMN more TEXT",
    "ATTACH ':memory:' AS other",
    "PRAGMA writable_schema = 1",
    "PRAGMA journal_mode = DELETE",
    "VACUUM",
)


def test_a_request_is_inserted_and_nothing_else_is_changed(desk: Desk) -> None:
    with closing(open_requester(desk.path)) as db:
        with db.transaction():
            assert db.execute(INSERT).fetchone() == (1,)
        for sql in FORBIDDEN:
            with pytest.raises(DatabaseError), db.transaction():
                db.execute(sql).fetchall()
    assert desk.rows("SELECT id, kind, body, by FROM requests") == [(1, "halt", "{}", "me")]
    assert desk.rows("SELECT count(*) FROM halts") == [(0,)]


def test_no_database_is_made_or_migrated(tmp_path: Path) -> None:
    path = tmp_path / "okxsync.db"
    with pytest.raises(StoreError, match="no such database"):
        open_requester(path)
    assert not path.exists()
    path.touch()
    with pytest.raises(StoreError, match="not an okxsync database"):
        open_requester(path)
    assert path.stat().st_size == 0
