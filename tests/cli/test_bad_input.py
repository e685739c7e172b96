"""Every command with input that cannot be right: one line that says which, the right exit code, no traceback."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from okxsync.cli import app
from okxsync.store.engines import open_database, open_reader
from tests.support.desk import make_database
from tests.support.replay import Replay, write_config

runner = CliRunner()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = write_config(tmp_path, Replay(3, {}).accounts_toml("orders"))
    make_database(tmp_path / "okxsync.db")
    database = open_database(tmp_path / "okxsync.db")
    database.execute("INSERT INTO accounts (name, site, demo, first_seen_at) VALUES ('desk1', 'replay', 0, 0)")
    database.close()
    return path


@pytest.mark.parametrize(
    ("words", "code", "expected"),
    [
        ("status --account dest1", 2, 'no account "dest1"; did you mean "desk1"?'),
        ("status --json --account nobody", 2, 'no account "nobody"'),
        ("log --account dest1", 2, 'no account "dest1"; did you mean "desk1"?'),
        ("log --grep (", 2, "--grep"),
        ("log --since yesterday", 2, "yesterday"),
        ("log --since 1h --until 2h", 2, "--until must be later"),
        ("backfill --since 2130-01-01T00:00Z", 2, "is in the future"),
        ("backfill --until 1h", 2, "--until needs --since"),
        ("backfill --account nobody", 2, '"nobody"'),
        ("verify --since 2130-01-01T00:00Z", 2, "is in the future"),
        ("verify --account nobody", 2, '"nobody"'),
        ("check --account nobody", 2, '"nobody"'),
        ("prune --older-than soon", 2, "soon"),
        ("run --for never", 2, "never"),
    ],
)
def test_invalid_input_is_one_line(config: Path, words: str, code: int, expected: str) -> None:
    result = runner.invoke(app, [*words.split(), "--config", str(config)])
    assert result.exit_code == code
    (line,) = result.stderr.splitlines()
    assert line.startswith("okxsync: ")
    assert expected in line


@pytest.mark.parametrize("words", ["show", "watch", "execute --confirm 1/1", "cancel", "retry", "undo"])
def test_bytes_that_are_not_utf8_are_no_plan(config: Path, words: str) -> None:
    command, *more = words.split()
    text = config.read_text()
    config.write_text(f"[trading]\nenabled = true\n{text}")
    result = runner.invoke(app, ["plan", command, "\udcff", *more, "--config", str(config)])
    assert result.exit_code in (2, 3)
    assert len(result.stderr.splitlines()) == 1


def test_misfires_are_asked_for_with_any_bytes(config: Path) -> None:
    result = runner.invoke(app, ["misfires", "--account", "\udcff", "--reason", "\udcff", "--config", str(config)])
    assert (result.exit_code, result.stderr) == (0, "")


@pytest.mark.parametrize("words", ["verify", "verify --ledger"])
def test_nothing_compared_is_not_identical(tmp_path: Path, words: str) -> None:
    config = write_config(tmp_path, "")
    make_database(tmp_path / "okxsync.db")
    result = runner.invoke(app, [*words.split(), "--config", str(config)])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"okxsync: {config}: no account is enabled, so there is nothing to compare\n"


def test_a_demo_removes_no_real_account(config: Path) -> None:
    database = config.with_name("okxsync.db")
    result = runner.invoke(app, ["demo", "--for", "1s", "--db", str(database)])
    assert result.exit_code == 1
    assert result.stderr == f"okxsync: {database}: contains other accounts (desk1); use another path for the demo\n"


@pytest.mark.slow
def test_a_demo_takes_no_database_from_the_environment(config: Path) -> None:
    database = config.with_name("okxsync.db")
    result = runner.invoke(app, ["demo", "--for", "1s", "--accounts", "1"], env={"OKXSYNC_DB": str(database)})
    assert result.exit_code == 0
    reader = open_reader(database)
    assert reader.execute("SELECT name, removed_at FROM accounts").fetchall() == [("desk1", None)]
    reader.close()


@pytest.mark.slow
def test_one_database_serves_many_demos(tmp_path: Path) -> None:
    for accounts in ("2", "1"):
        words = ["demo", "--for", "1s", "--accounts", accounts, "--db", str(tmp_path / "demo.db")]
        assert runner.invoke(app, words).exit_code == 0


@pytest.mark.parametrize("port", ["-1", "99999", "http"])
def test_an_invalid_port_is_rejected(port: str) -> None:
    result = runner.invoke(app, ["sandbox", "--port", port])
    assert result.exit_code == 2
    assert "--port" in result.stderr


@pytest.mark.parametrize(
    ("words", "code"),
    [("run", 1), ("status", 3), ("log", 1), ("prune --older-than 1d", 1), ("backfill", 1), ("verify --ledger", 5),
     ("verify", 5)],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["folder", "junk", "foreign", "nowhere"])
def test_an_unusable_database_is_one_line(config: Path, tmp_path: Path, words: str, code: int, kind: str) -> None:
    path = tmp_path / kind
    if kind == "folder":
        path.mkdir()
    elif kind == "junk":
        path.write_text("dear diary " * 1000)
    elif kind == "foreign":
        foreign(path)
    else:
        path = path / "okxsync.db"
    result = runner.invoke(app, [*words.split(), "--config", str(config), "--db", str(path)])
    assert result.exit_code == code
    lines = [line for line in result.stderr.splitlines() if line.startswith("okxsync: ")]
    assert len(lines) == 1
    assert str(path) in lines[0]


def foreign(path: Path) -> None:
    subprocess.run([sys.executable, "-c", FOREIGN, str(path)], check=True)


FOREIGN = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('CREATE TABLE notes (id)')"


def test_check_reports_an_unusable_database(config: Path, tmp_path: Path) -> None:
    foreign(tmp_path / "foreign")
    result = runner.invoke(app, ["check", "--config", str(config), "--db", str(tmp_path / "foreign"), "--json"])
    assert result.exit_code == 1
    assert "not an okxsync database" in result.stdout
    assert "check the address, proxy, firewall" in result.stdout  # no server listens on that port


def test_a_full_output_device_is_not_an_internal_error(config: Path) -> None:
    command = [sys.executable, "-m", "okxsync", "status", "--config", str(config)]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode != 0
    assert done.stderr.startswith("okxsync: ")
    assert "No space left on device" in done.stderr
    assert "internal error" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["execute", "show", "watch", "cancel", "retry", "undo"])
def test_a_plan_command_without_an_id_is_one_line(command: str) -> None:
    result = CliRunner().invoke(app, ["plan", command])
    assert result.exit_code == 2
    assert "Missing argument 'ID'" in result.stderr
