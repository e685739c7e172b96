"""The database file itself."""

import stat
from pathlib import Path

import pysqlite3
import pytest
from sqlite_utils import Database

from okxsync import events
from okxsync.mirror.queries import rows_of
from okxsync.store import schema, tables
from okxsync.store.database import StoreError
from okxsync.store.engines import open_database, open_reader
from okxsync.store.schema import migrations
from okxsync.store.sqlite.connection import APPLICATION_ID
from okxsync.store.table import Table
from tests.support.desk import Desk

ALL = [value for value in vars(tables).values() if isinstance(value, Table)]


@pytest.mark.sqlite
def test_it_is_private_and_can_shrink(desk: Desk) -> None:
    desk.begin("orders")
    for suffix in ("", "-wal", "-shm"):
        assert stat.S_IMODE(Path(f"{desk.path}{suffix}").stat().st_mode) == 0o600
    assert desk.rows("PRAGMA journal_mode") == [("wal",)]
    assert desk.rows("PRAGMA auto_vacuum") == [(2,)]


def test_what_others_could_read_is_private_once_a_writer_opens_it(tmp_path: Path) -> None:
    path = tmp_path / "okxsync.db"
    reader = open_database(path)  # keeps -wal and -shm
    reader.execute("INSERT INTO counters VALUES ('x', 1)")
    files = [Path(f"{path}{suffix}") for suffix in ("", "-wal", "-shm")]
    for file in files:
        file.chmod(0o644)
    open_database(path).close()
    assert [stat.S_IMODE(file.stat().st_mode) for file in files] == [0o600] * 3
    reader.close()


@pytest.mark.sqlite
def test_every_table_is_strict_and_every_view_can_be_read(desk: Desk) -> None:
    ours = "name NOT LIKE 'sqlite%' AND name NOT LIKE '_sqlite%' AND schema = 'main'"
    assert desk.rows(f"SELECT name FROM pragma_table_list WHERE type = 'table' AND NOT strict AND {ours}") == []
    views = [name for (name,) in desk.rows("SELECT name FROM sqlite_schema WHERE type = 'view'")]
    assert len(views) == 24
    for view in views:
        desk.rows(f"SELECT * FROM {view}")


@pytest.mark.parametrize("table", ALL, ids=lambda table: f"{table.name}-{len(table.columns)}")
def test_what_is_written_has_a_column(desk: Desk, table: Table) -> None:
    columns = {name for (name,) in desk.rows(f"SELECT name FROM pragma_table_info('{table.name}')")}
    assert set(table.columns) <= columns


def test_views_show_numbers_and_times(desk: Desk) -> None:
    desk.push("mark-price", {"instId": "X", "markPx": "1.50", "ts": "1700000000123"})
    assert desk.rows("SELECT mark_px, ts FROM mark_prices_view") == [(1.5, "2023-11-14T22:13:20.123Z")]


@pytest.mark.sqlite
def test_opening_twice_changes_nothing(desk: Desk) -> None:
    before = desk.rows("SELECT * FROM sqlite_schema")
    open_database(desk.path).close()
    assert desk.rows("SELECT * FROM sqlite_schema") == before


@pytest.mark.sqlite
def test_gaps_that_were_closed_without_a_request_are_open_again(desk: Desk) -> None:
    channels = ["orders:instType=SWAP", "fills", "account:ccy=BTC", "orders", "mark-price:instId=X-Y"]
    for channel in channels:
        desk.db.execute(
            "INSERT INTO gaps (account, channel, from_at, to_at, reason, outcome, filled_at, rows, attempts, note)"
            " VALUES ('alpha', ?, 1, 2, 'closed', 'partial', 3, 0, 1, 'OKX keeps no history of this channel')",
            [channel],
        )
    desk.db.execute("DROP INDEX coverage_unwanted")  # as it was before
    desk.db.execute("ALTER TABLE coverage DROP COLUMN wanted")
    desk.db.execute("DELETE FROM _sqlite_migrations WHERE name = 'm005_wanted'")
    open_database(desk.path).close()
    found = desk.rows(
        "SELECT channel FROM gaps WHERE outcome IS NULL AND filled_at IS NULL AND note IS NULL ORDER BY id"
    )
    assert [channel for (channel,) in found] == channels[:3]


@pytest.mark.sqlite
def test_another_program_may_hold_the_write_lock_meanwhile(desk: Desk) -> None:
    other = open_database(desk.path)
    other.execute("BEGIN IMMEDIATE")
    open_database(desk.path).close()
    other.close()


@pytest.mark.sqlite
def test_a_reader_cannot_write(desk: Desk) -> None:
    reader = open_reader(desk.path)
    with pytest.raises(pysqlite3.OperationalError, match="readonly"):
        reader.execute("DELETE FROM orders")
    reader.close()


@pytest.mark.sqlite
def test_a_database_of_a_newer_version_is_rejected(desk: Desk) -> None:
    desk.db.execute("INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('okxsync', 'm999_x', '')")
    with pytest.raises(StoreError, match="newer okxsync"):
        open_database(desk.path)


@pytest.mark.sqlite
def test_a_reader_of_an_older_database_says_what_to_do(desk: Desk) -> None:
    desk.db.execute("DROP TABLE unverified")
    with pytest.raises(StoreError, match=r"cannot be read \(no such table: unverified\)"):
        rows_of(desk.path, "unverified", "alpha")
    desk.db.execute("DELETE FROM _sqlite_migrations WHERE name = 'm007_unproved'")
    with pytest.raises(StoreError, match="older okxsync; `okxsync run`"):
        rows_of(desk.path, "unverified", "alpha")


def test_a_file_that_is_not_a_database_is_rejected_and_not_changed(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("my diary" * 200)
    for opens in (open_database, open_reader):
        with pytest.raises(StoreError, match="not a database"):
            opens(path)
    assert path.read_text() == "my diary" * 200


def test_a_database_of_another_program_is_rejected_and_not_changed(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    other = pysqlite3.connect(path)
    other.execute("CREATE TABLE theirs (x)")
    other.close()
    before = path.read_bytes()
    for opens in (open_database, open_reader):
        with pytest.raises(StoreError, match="not an okxsync database"):
            opens(path)
    assert path.read_bytes() == before


def test_a_folder_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="No such file or directory"):
        open_database(tmp_path / "none" / "x.db")


def older_database(path: Path, stop_before: str) -> Database:
    """Return a database as an older okxsync left it."""
    database = Database(pysqlite3.connect(path, isolation_level=None), execute_plugins=False)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    migrations.apply(database, stop_before=stop_before)
    return database


def test_versions_of_an_older_database_become_clocks(tmp_path: Path) -> None:
    path = tmp_path / "okxsync.db"
    older = older_database(path, "m009_clocks")
    for table, key, state, version in (
        ("orders", "1", "live", "00010 001800000000000 1"),
        ("orders", "2", "gone", "1001800000000005"),
        ("orders", "3", "filled", "30025 1 998199999999999"),
        ("algo_orders", "1", "effective", "001800000000000 2 001800000000001 1"),
        ("algo_orders", "2", "gone", "001800000000005 "),
    ):
        older.execute(
            f"INSERT INTO {table} (account, {'ord_id' if table == 'orders' else 'algo_id'}, state, source, received_at,"
            " version) VALUES ('alpha', ?, ?, 'ws', 1, ?)",
            [key, state, version],
        )
    for key, version in (
        ("BTC", "001800000000000 001800000000009"),
        ("ETH", "001800000000007 001800000000007 absent"),
        ("USDT", "001800000000003 000000000000000"),
    ):
        insert = "INSERT INTO balances (account, ccy, received_at, version) VALUES ('alpha', ?, 1, ?)"
        older.execute(insert, [key, version])
    older.execute("INSERT INTO equity (account, received_at, version) VALUES ('alpha', 1, '001800000000009')")
    older.close()
    now = open_database(path)
    assert now.execute("SELECT ord_id, rank, not_found_at FROM orders").fetchall() == [
        ("1", 0, None), ("2", 0, 1_800_000_000_005), ("3", 3, None)
    ]  # fmt: skip
    assert now.execute("SELECT algo_id, rank, not_found_at FROM algo_orders").fetchall() == [
        ("1", 2, None), ("2", 0, 1_800_000_000_005)
    ]  # fmt: skip
    assert now.execute("SELECT ccy, full_time, absent_time, source FROM balances").fetchall() == [
        ("BTC", 1_800_000_000_009, None, "ws"),
        ("ETH", 1_800_000_000_007, 1_800_000_000_007, "ws"),
        ("USDT", 0, None, "ws"),
    ]
    assert now.execute("SELECT as_of FROM equity").fetchone() == (1_800_000_000_009,)
    now.close()


def test_events_of_an_older_database_get_the_names_of_today(tmp_path: Path) -> None:
    path = tmp_path / "okxsync.db"
    older = older_database(path, "m010_plain_words")
    for old in schema._EVENTS_RENAMED:
        older.execute("INSERT INTO journal (at, level, event, detail) VALUES (1, 'warning', ?, ?)", [old, old])
    older.close()
    now = open_database(path)
    named = dict(now.execute("SELECT detail, event FROM journal").fetchall())
    now.close()
    assert named["clock-set"] == "clock-off"
    assert named.keys() == schema._EVENTS_RENAMED.keys()
    assert set(named.values()) <= events.BY_NAME.keys()


def test_instruments_of_an_older_database_get_a_key_with_their_type(tmp_path: Path) -> None:
    path = tmp_path / "okxsync.db"
    older = older_database(path, "m014_instruments")
    for inst_id, inst_type in (("BTC-USDT", "MARGIN"), ("BTC-USDT-SWAP", "SWAP"), ("X", None)):
        older.execute(
            "INSERT INTO instruments (inst_id, inst_type, tick_sz, upc_chg, received_at) VALUES (?, ?, '0.1', '[]', 7)",
            [inst_id, inst_type],
        )
    older.execute("INSERT INTO algo_orders (account, algo_id, source, received_at) VALUES ('alpha', '1', 'ws', 1)")
    older.close()
    now = open_database(path)
    found = "SELECT inst_type, inst_id, tick_sz, upc_chg, as_of, received_at, revision FROM instruments ORDER BY 1"
    assert now.execute(found).fetchall() == [
        ("MARGIN", "BTC-USDT", "0.1", "[]", 0, 7, 1), ("SWAP", "BTC-USDT-SWAP", "0.1", "[]", 0, 7, 1)
    ]  # fmt: skip
    assert now.execute("SELECT tick_sz FROM instruments_view").fetchall() == [(0.1,), (0.1,)]
    assert now.execute("SELECT trigger_params FROM algo_orders_view").fetchall() == [(None,)]
    now.close()


def test_closed_positions_of_an_older_database_get_a_key_with_their_direction(tmp_path: Path) -> None:
    path = tmp_path / "okxsync.db"
    older = older_database(path, "m020_directions")
    for pos_id, direction in (("1", "long"), ("2", None)):
        older.execute(
            "INSERT INTO positions_history (account, pos_id, c_time, direction, pnl, received_at, revision)"
            " VALUES ('alpha', ?, 5, ?, '0.10', 7, 3)",
            [pos_id, direction],
        )
    older.execute("CREATE TABLE before AS SELECT * FROM pragma_table_info('positions_history')")
    older.close()
    now = open_database(path)
    found = "SELECT pos_id, c_time, direction, pnl, received_at, revision FROM positions_history ORDER BY 1"
    assert now.execute(found).fetchall() == [("1", 5, "long", "0.10", 7, 3), ("2", 5, "", "0.10", 7, 3)]
    assert now.execute("SELECT pnl FROM positions_history_view").fetchall() == [(0.1,), (0.1,)]
    changed = (
        "SELECT name, type FROM {} WHERE name <> 'direction' AND (name, type, \"notnull\") NOT IN"
        ' (SELECT name, type, "notnull" FROM {})'
    )
    tables = ["before", "pragma_table_info('positions_history')"]
    assert [now.execute(changed.format(*pair)).fetchall() for pair in (tables, tables[::-1])] == [[], []]
    now.close()


@pytest.mark.parametrize(("last_pid", "ids"), [(7, {9: 1, 7: 2}), (None, {7: 1, 9: 2})])
def test_processes_of_an_older_database_become_runs(tmp_path: Path, last_pid: int | None, ids: dict[int, int]) -> None:
    """The last run has the largest id. A database that does not say which one it is goes by their starts."""
    path = tmp_path / "okxsync.db"
    older = older_database(path, "m011_runs")
    for pid, at in ((7, 100), (9, 200)):
        older.execute("INSERT INTO processes VALUES (?, ?, ?, '0.1', NULL, NULL)", [pid, at, at + 1])
        older.execute(
            "INSERT INTO connections (id, listener, endpoint, url, site, demo, requires_auth, phase, since_at,"
            " messages, reconnects, pid) VALUES (?1, 'a' || ?1, 'private', '', '', 0, 1, 'live', 1, 0, 0, ?1)",
            [pid],
        )
    if last_pid:
        older.execute("INSERT INTO counters (name, value) VALUES ('pid', ?)", [last_pid])
    before = older.execute("SELECT * FROM processes ORDER BY pid").fetchall()
    older.close()
    now = open_database(path)
    assert dict(now.execute("SELECT pid, id FROM runs").fetchall()) == ids
    assert now.execute("SELECT * FROM processes ORDER BY pid").fetchall() == before
    assert dict(now.execute("SELECT pid, run_id FROM connections").fetchall()) == ids
    assert now.execute("SELECT count(*) FROM counters WHERE name = 'pid'").fetchone() == (0,)
    now.close()


def test_plans_of_an_older_database_have_no_cancellations_and_are_not_unprotected(tmp_path: Path) -> None:
    path = tmp_path / "okxsync.db"
    older = older_database(path, "m022_what_plans_did")
    older.execute(
        "INSERT INTO plan_attempts (plan_id, child, attempt, transport, request, exp_time, armed_at, verdict)"
        " VALUES ('P', 1, 2, 'rest', '{}', 7, 4, 'placed')"
    )
    older.execute(
        "INSERT INTO plan_orders (plan_id, child, account, leg, phase, slice, kind, inst_id, reduce_only, cl_ord_id,"
        " planned_usd, remainder, facts, state, attempts, doubled)"
        " VALUES ('P', 1, 'alpha', 1, 1, 1, 'order', 'X', 0, 'c', '0', '0', '{}', 'filled', 2, 0)"
    )
    older.close()
    now = open_database(path)
    found = "SELECT plan_id, child, attempt, request, exp_time, armed_at, verdict FROM plan_attempts"
    assert now.execute(found).fetchall() == [("P", 1, 2, "{}", 7, 4, "placed")]
    assert now.execute("SELECT * FROM plan_cancels").fetchall() == []
    assert now.execute("SELECT state, unprotected FROM plan_orders_view").fetchall() == [("filled", 0)]
    now.close()
