"""What only PostgreSQL has: sessions that end, commits of unknown outcome, roles, and who else uses the server."""

from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest

from okxsync.config.location import Url
from okxsync.store.database import AlreadyRunning, DatabaseError, StoreError, TransientError
from okxsync.store.engines import engine_of, open_database, open_reader, open_requester
from okxsync.store.postgres.connection import PostgresWriter
from tests.support.desk import NOW, Desk, order
from tests.support.postgres import create_database

INSERT = (
    "INSERT INTO requests (at, kind, plan_id, body, by, expires_at) VALUES (1, 'halt', '', '{}', 'me', 2) RETURNING id"
)


@pytest.fixture
def other(location: Url) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """Another program's connection."""
    with psycopg.connect(location.text, autocommit=True) as db:
        yield db


def end_session(other: psycopg.Connection[tuple[object, ...]], writer: PostgresWriter) -> None:
    other.execute("SELECT pg_terminate_backend(%s, 5000)", [writer._db.info.backend_pid])


def test_a_session_that_ends_within_a_transaction_undoes_it_and_the_next_one_has_another(
    desk: Desk, other: psycopg.Connection[tuple[object, ...]]
) -> None:
    desk.begin("orders")
    assert isinstance(desk.db, PostgresWriter)

    def delete_all() -> None:
        assert isinstance(desk.db, PostgresWriter)
        with desk.db.transaction():
            desk.db.execute("DELETE FROM coverage")
            end_session(other, desk.db)
            desk.db.execute("DELETE FROM connections")

    with pytest.raises(TransientError):
        delete_all()
    desk.push("orders", *(order(number) for number in range(100)))
    assert desk.rows("SELECT count(*) FROM coverage") == [(1,)]
    assert desk.rows("SELECT count(*) FROM orders") == [(100,)]


@pytest.mark.parametrize("is_in", [True, False])
def test_a_commit_that_was_not_answered_is_found_out(
    desk: Desk, other: psycopg.Connection[tuple[object, ...]], monkeypatch: pytest.MonkeyPatch, is_in: bool
) -> None:
    """The connection is lost before or after the server has committed; the frame is logged once in the end."""
    desk.begin("orders")
    writer = desk.db
    assert isinstance(writer, PostgresWriter)
    lost = iter([True])

    def commit_and_lose(self: object) -> None:
        if next(lost, False):
            if is_in:
                writer._db.execute("COMMIT")
            end_session(other, writer)
        assert writer._db.execute("COMMIT").statusmessage == "COMMIT"

    monkeypatch.setattr("okxsync.store.postgres.connection.PostgresConnection._commit", commit_and_lose)
    frame = desk.frame("orders", order(1))
    try:
        desk.writer.apply([frame])
    except TransientError:
        assert not is_in
        desk.writer.apply([frame])
    assert desk.rows("SELECT count(*) FROM messages") == [(1,)]
    assert desk.rows("SELECT value FROM counters WHERE name = 'messages'") == [(1,)]


def test_a_database_that_is_older_than_what_was_written_ends_the_writer(
    desk: Desk, other: psycopg.Connection[tuple[object, ...]]
) -> None:
    desk.begin("orders")
    assert isinstance(desk.db, PostgresWriter)
    end_session(other, desk.db)
    other.execute("UPDATE okxsync_writers SET seq = seq - 1")  # as a standby without the last commit
    with pytest.raises(TransientError):
        desk.push("orders", order(1))
    with pytest.raises(DatabaseError, match="older than what was written") as raised:
        desk.push("orders", order(1))
    assert not isinstance(raised.value, TransientError)


def test_one_daemon_holds_it_and_its_lock_is_taken_again(
    location: Url, other: psycopg.Connection[tuple[object, ...]]
) -> None:
    engine = engine_of(location)
    with engine.join() as hold:
        assert hold.unheld_s == float("inf")
        with pytest.raises(AlreadyRunning), engine.join():
            pass
        hold.touch(3.0)
        assert engine.beat_age_s() < 60
    with engine.join() as hold:
        assert hold.unheld_s < 60


def test_an_empty_database_is_made_after_it_is_held(location: Url) -> None:
    url = create_database(empty=True)
    assert not engine_of(url).exists()
    with pytest.raises(StoreError, match="no okxsync database"):
        open_reader(url)
    with engine_of(url).join():
        open_database(url).close()
    assert engine_of(url).exists()
    with closing(open_reader(url)) as db:
        assert db.execute("SELECT value FROM counters WHERE name = 'revision'").fetchone() == (1,)


def test_a_database_of_another_program_or_version_is_rejected(desk: Desk) -> None:
    url = create_database(empty=True)
    with psycopg.connect(url.text, autocommit=True) as db:
        db.execute("CREATE TABLE theirs (x int)")
    with pytest.raises(StoreError, match="not an okxsync database"):
        open_database(url)
    desk.db.execute("INSERT INTO okxsync_migrations VALUES ('m999_x', '')")
    try:
        with pytest.raises(StoreError, match="newer okxsync"):
            open_database(desk.path)
    finally:
        desk.db.execute("DELETE FROM okxsync_migrations WHERE name = 'm999_x'")


def test_a_pending_migration_is_applied(desk: Desk) -> None:
    desk.db.execute("DROP INDEX fills_by_time")
    desk.db.execute("DELETE FROM okxsync_migrations WHERE name = 'm025_newest_fills'")
    open_database(desk.path).close()
    assert desk.rows("SELECT count(*) FROM pg_indexes WHERE indexname = 'fills_by_time'") == [(1,)]


def test_a_reader_cannot_write_and_a_requester_only_requests(desk: Desk) -> None:
    with closing(open_reader(desk.path)) as reader, pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        reader.execute("DELETE FROM orders")
    with closing(open_requester(desk.path)) as db:
        with db.transaction():
            assert db.execute(INSERT).fetchone() == (1,)
        for sql in ("UPDATE requests SET kind = 'x'", "INSERT INTO answers VALUES (1, 1, 'x', 'x')", "DROP TABLE runs"):
            with pytest.raises(DatabaseError, match="only requests"), db.transaction():
                db.execute(sql)
    assert desk.rows("SELECT id, kind FROM requests") == [(1, "halt")]


def test_roles_need_no_more_than_is_documented(
    desk: Desk, location: Url, other: psycopg.Connection[tuple[object, ...]]
) -> None:
    name = location.text.partition("?")[0].rpartition("/")[2]
    with engine_of(location).join():
        pass  # the owner has started it once
    roles = {"writer": "SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public",
             "reader": "SELECT ON ALL TABLES IN SCHEMA public"}  # fmt: skip
    urls = {}
    try:
        for role, grants in roles.items():
            other.execute(f"CREATE ROLE {name}_{role} LOGIN; GRANT {grants} TO {name}_{role}".encode())
            urls[role] = Url(location.text.replace("user=postgres", f"user={name}_{role}"))
        other.execute(f"GRANT INSERT ON requests TO {name}_reader".encode())
        desk.database.close()
        with engine_of(urls["writer"]).join() as hold, closing(Desk(urls["writer"]).database) as db:
            hold.touch(1.0)
            assert db.execute("SELECT count(*) FROM runs").fetchone() == (0,)
        assert [one.level for one in engine_of(urls["writer"]).checks(None)] == ["ok"] * 4 + ["warn"]  # fsync
        with closing(open_reader(urls["reader"])) as reader, closing(open_requester(urls["reader"])) as db:
            assert reader.query("SELECT * FROM orders_view") == []
            with db.transaction():
                db.execute(INSERT)
        with pytest.raises(StoreError, match="permission denied"):
            open_database(urls["reader"])
    finally:
        for role in urls:
            other.execute(f"DROP OWNED BY {name}_{role}; DROP ROLE {name}_{role}".encode())


def test_without_a_server_the_error_is_one_line_without_a_password() -> None:
    url = Url("postgresql:///okx?host=/none")
    for use in (open_database, open_reader, open_requester):
        with pytest.raises(StoreError, match=r"^postgresql:///okx\?host=/none: cannot be opened \(") as raised:
            use(url)
        assert "\n" not in str(raised.value)
    assert [one.level for one in engine_of(url).checks(None)] == ["fail"]


def test_values_of_a_frame_are_as_sqlite_has_them(desk: Desk) -> None:
    desk.push("mark-price", {"instId": "X", "markPx": "1.50 USD", "ts": str(NOW // 1000)})
    assert desk.rows("SELECT mark_px FROM mark_prices_view") == [(1.5,)]
    assert desk.rows("SELECT sum(size), max(1, 2), max(1, NULL), 1 / 4e0 FROM messages")[0][1:] == (2, None, 0.25)
