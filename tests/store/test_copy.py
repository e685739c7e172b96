"""A database is copied to another one, whatever interrupts it, and both are proved identical."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from okxsync.cli import app
from okxsync.config.location import Location
from okxsync.store import copy as module
from okxsync.store.copy import MARK, copy
from okxsync.store.database import AlreadyRunning, Connection, StoreError
from okxsync.store.engines import engine_of, open_database, reading
from okxsync.store.table import quoted
from tests.support.desk import NOW, Desk, make_database, order
from tests.support.postgres import create_database
from tests.support.replay import Replay, write_config

ROWS = 120


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROWS", 50)


@pytest.fixture(params=["file to file", "file to server", "server to file", "server to server"])
def ends(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Location, Location]:
    old, new = request.param.split(" to ")
    source = create_database() if old == "server" else tmp_path / "old.db"
    fill(source)
    return source, create_database(empty=True) if new == "server" else tmp_path / "new.db"


@pytest.fixture
def source(ends: tuple[Location, Location]) -> Location:
    return ends[0]


@pytest.fixture
def destination(ends: tuple[Location, Location]) -> Location:
    return ends[1]


def fill(location: Location, rows: int = ROWS) -> None:
    """Fill every table, three of them with many rows."""
    make_database(location)
    with closing(open_database(location)) as db, db.transaction():
        for table in db.tables():
            if table.name not in (MARK, "counters"):
                count = rows if table.name in ("orders", "messages", "equity_history") else 3
                kinds = dict(db.execute("SELECT name, type FROM pragma_table_info(?)", [table.name]).fetchall())
                db.load(table.name, table.columns, made(table.columns, table.key, kinds, count))
        db.execute("INSERT INTO counters (name, value) VALUES ('frames', 2)")


def made(columns: tuple[str, ...], key: tuple[str, ...], kinds: dict[str, str], count: int) -> Iterator[list[object]]:
    texts = ["", "1.50", "Ж\u2028", "a" * 3000, "\ud7ff", None]
    for number in range(1, count + 1):
        values: dict[str, object] = {}
        for place, name in enumerate(columns):
            if kinds[name] == "INTEGER":
                values[name] = number if name in key else 2**63 - number
            elif kinds[name] == "BLOB":
                values[name] = bytes([number % 256, 0, 255])
            elif name in key:
                values[name] = f"{name}-{number % 7}-Z{number}" if number % 2 else f"{name}-{number % 7}-a{number}"
            else:
                values[name] = texts[(number + place) % len(texts)] or ""
        yield list(values.values())


def contents(location: Location) -> dict[str, list[object]]:
    found = {}
    with reading(location) as db:
        for table in db.tables():
            columns, key = ", ".join(quoted(table.columns)), ", ".join(quoted(table.key))
            found[table.name] = db.execute(f"SELECT {columns} FROM {table.name} ORDER BY {key}").fetchall()
    del found[MARK]
    return found


def test_every_table_is_copied_and_compared(source: Location, destination: Location) -> None:
    compared = copy(source, destination)
    assert all(one.identical for one in compared)
    assert {one.table: one.source_rows for one in compared}["orders"] == ROWS
    assert {one.table for one in compared} == contents(source).keys()
    assert contents(destination) == contents(source)


def test_a_copy_is_used_like_the_original(source: Location, destination: Location) -> None:
    copy(source, destination)
    with closing(open_database(destination)) as db, db.transaction():  # ids go on behind those that were copied
        values = (NOW, 1, "alpha", "orders", "push", 1, b"{}")
        db.log([values])
        ids = [number for (number,) in db.execute("SELECT id FROM messages ORDER BY id")]
        assert ids == list(range(1, ROWS + 2))


def test_a_copy_of_another_database_is_refused(source: Location, destination: Location, tmp_path: Path) -> None:
    copy(source, destination)
    fill(tmp_path / "other.db", 1)
    with pytest.raises(StoreError, match=r"is a copy of .*; copy to a new database"):
        copy(tmp_path / "other.db", destination)


@pytest.mark.parametrize("batches", [1, 4, 8])
def test_an_interrupted_copy_goes_on(source: Location, destination: Location, batches: int) -> None:
    done = 0

    def interrupt(action: str, table: str, rows: int) -> None:
        nonlocal done
        done += 1
        if done == batches * 7:
            raise KeyboardInterrupt

    copied: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        copy(source, destination, interrupt)
    compared = copy(source, destination, lambda action, table, rows: copied.append(action))
    assert all(one.identical for one in compared)
    assert contents(destination) == contents(source)
    batches_in_all = sum(len(rows) // module.ROWS + 1 for rows in contents(source).values() if rows)
    assert copied.count("copy") <= max(0, batches_in_all - batches * 7) + 1


def test_a_database_that_is_not_complete_is_refused(source: Location, destination: Location, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        copy(source, destination, interrupting("orders"))
    with pytest.raises(StoreError, match="is not complete; repeat `okxsync copy`"):
        copy(destination, tmp_path / "third.db")
    config = write_config(tmp_path, Replay(1, {}).accounts_toml("orders"))
    run = ["run", "--config", str(config), "--db", str(destination), "--for", "0s"]
    result = CliRunner().invoke(app, run)
    assert (result.exit_code, "is not complete" in result.stderr) == (1, True)
    copy(source, destination)
    with closing(open_database(destination)) as db:
        module.reject_unfinished(db, destination)


def interrupting(at: str) -> module.Show:
    def show(action: str, table: str, rows: int) -> None:
        if table == at:
            raise KeyboardInterrupt

    return show


def test_what_changed_in_the_source_between_two_attempts_is_copied_anew(
    source: Location, destination: Location
) -> None:
    with pytest.raises(KeyboardInterrupt):
        copy(source, destination, interrupting("withdrawals"))
    with closing(open_database(source)) as db:
        db.execute("UPDATE orders SET state = 'filled' WHERE ord_id = (SELECT min(ord_id) FROM orders)")
        db.execute("DELETE FROM messages WHERE id < 10")
    assert all(one.identical for one in copy(source, destination))
    assert contents(destination) == contents(source)


def test_a_completed_copy_is_never_written_again(source: Location, destination: Location) -> None:
    copy(source, destination)
    with closing(open_database(destination)) as db:
        db.execute("DELETE FROM orders WHERE ord_id = (SELECT min(ord_id) FROM orders)")
        db.execute("UPDATE fills SET raw = 'other'")
    differing = [one.table for one in copy(source, destination) if not one.identical]
    assert differing == ["fills", "orders"]
    assert len(contents(destination)["orders"]) == ROWS - 1


def test_a_destination_with_other_data_is_refused_and_not_changed(source: Location, destination: Location) -> None:
    desk = Desk(destination)
    desk.push("orders", order(1))
    desk.database.close()
    before = contents(destination)
    with pytest.raises(StoreError, match=r"contains other data \(.*orders.*\); copy to a new database"):
        copy(source, destination)
    assert contents(destination) == before
    with pytest.raises(StoreError, match="cannot be copied to itself"):
        copy(source, source)


@pytest.mark.parametrize("which", ["source", "destination"])
def test_a_database_that_a_daemon_holds_is_refused(source: Location, destination: Location, which: str) -> None:
    held = source if which == "source" else destination
    with engine_of(held).join(), pytest.raises(AlreadyRunning):
        copy(source, destination)


def test_a_source_of_another_version_is_refused(source: Location, destination: Location) -> None:
    with closing(open_database(source)) as db:
        db.execute("ALTER TABLE orders ADD COLUMN of_tomorrow TEXT")
    with pytest.raises(StoreError, match=r"made by another version of okxsync \(tables orders\)"):
        copy(source, destination)


def test_the_command(source: Location, destination: Location, tmp_path: Path) -> None:
    halt = Path(f"{source}.halt")
    if isinstance(source, Path):
        halt.touch()
    if isinstance(source, Path) and not isinstance(destination, Path):  # a file cannot halt a server
        result = CliRunner().invoke(app, ["copy", str(source), str(destination)])
        assert (result.exit_code, "trading is halted" in result.stderr) == (1, True)
        halt.unlink()
    result = CliRunner().invoke(app, ["copy", str(source), str(destination)])
    assert result.exit_code == 0, result.output
    *_, last = result.stdout.splitlines()
    assert last.endswith("all identical")
    if isinstance(source, Path) and isinstance(destination, Path):
        assert Path(f"{destination}.halt").exists()
    with closing(open_database(destination)) as db:
        db.execute("DELETE FROM fills")
    result = CliRunner().invoke(app, ["copy", str(source), str(destination), "--json"])
    assert result.exit_code == 1
    assert '"identical":false' in result.stdout
    with engine_of(destination).join():
        result = CliRunner().invoke(app, ["copy", str(source), str(destination)])
    assert result.exit_code == 4
    assert "stop it first" in result.stderr
    result = CliRunner().invoke(app, ["copy", "mysql://u:canary@h/d", str(destination)])
    assert (result.exit_code, "FROM: not a URL of PostgreSQL" in result.stderr) == (2, True)
    result = CliRunner().invoke(app, ["copy", str(tmp_path / "none.db"), str(destination)])
    assert (result.exit_code, "no such database" in result.stderr) == (1, True)


KILLED = """
import os, signal, sys
from okxsync.config.location import location_of
from okxsync.store import copy as module

module.ROWS = 50
left = int(sys.argv[3])
def show(action, table, rows):
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
module.copy(location_of(sys.argv[1]), location_of(sys.argv[2]), show)
"""


@pytest.mark.slow
def test_a_copy_that_is_killed_again_and_again_ends_identical(source: Location, destination: Location) -> None:
    for batches in (1, 8, 3, 5):
        command = [sys.executable, "-c", KILLED, str(source), str(destination), str(batches)]
        assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert all(one.identical for one in copy(source, destination))
    assert contents(destination) == contents(source)


def test_a_connection_says_which_tables_it_has(source: Location) -> None:
    def look(db: Connection) -> None:
        tables = {table.name: table for table in db.tables()}
        assert tables["plan_orders"].key == ("plan_id", "child")
        assert tables["orders"].columns[:2] == ("account", "ord_id")
        assert not [name for name in tables if "sqlite" in name or "okxsync" in name or name.endswith("_view")]

    with reading(source) as db:
        look(db)
