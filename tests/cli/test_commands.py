"""The commands as users call them: exit codes, one line for each thing to mend, no traceback."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import trio
from typer.testing import CliRunner, Result

from okxsync.cli import app
from okxsync.mirror.status import Status, read_status
from okxsync.store.database import open_database
from tests.support.processes import daemon, finish
from tests.support.replay import Replay, replay, until, write_config

ROOT = Path(__file__).parent.parent.parent
runner = CliRunner()


def commands() -> list[str]:
    return [str(command.name or getattr(command.callback, "__name__", "")) for command in app.registered_commands]


@pytest.mark.parametrize("command", commands())
def test_every_command_has_help_and_a_line_in_the_readme(command: str) -> None:
    result = runner.invoke(app, [command, "--help"])
    assert result.exit_code == 0
    assert "Example: okxsync" in result.stdout
    assert f"| `okxsync {command}`" in (ROOT / "README.md").read_text()


def test_the_example_lacks_nothing_but_its_secrets() -> None:
    secrets = [f"{name}_{part}" for name in ("ALPHA", "ALPHA_DEMO", "BETA", "GAMMA") for part in ("KEY", "SECRET")]
    result = runner.invoke(app, ["run", "--config", str(ROOT / "accounts.example.toml")], env=dict.fromkeys(secrets))
    assert result.exit_code == 2
    lines = result.stderr.splitlines()
    assert len(lines) == 12
    for line in lines:
        assert line.startswith("okxsync: ")
        assert "environment" in line
    assert all(any(secret in line for line in lines) for secret in secrets)


@pytest.mark.parametrize("command", ["run", "status"])
def test_no_configuration_is_one_line(command: str, tmp_path: Path) -> None:
    result = runner.invoke(app, [command, "--config", str(tmp_path / "none.toml")])
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert "none.toml" in result.stderr


def test_a_bad_duration_is_one_line(tmp_path: Path) -> None:
    config = write_config(tmp_path, "")
    result = runner.invoke(app, ["run", "--config", str(config), "--for", "soon"])
    assert result.exit_code == 2
    assert "--for" in result.stderr


def test_a_database_that_is_none_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("dear diary" * 100)
    config = write_config(tmp_path, Replay(1, {}).accounts_toml("orders"))
    for command, code in (("run", 1), ("status", 3)):
        result = runner.invoke(app, [command, "--config", str(config), "--db", str(tmp_path / "notes.txt")])
        assert result.exit_code == code
        assert "notes.txt" in result.stderr.splitlines()[-1]
        assert "Traceback" not in result.stderr


def test_status_of_a_database_on_which_nothing_ever_ran(tmp_path: Path) -> None:
    open_database(tmp_path / "new.db").close()
    result = runner.invoke(app, ["status", "--db", str(tmp_path / "new.db")])
    assert result.exit_code == 3
    assert "no daemon has ever run" in result.stdout
    assert runner.invoke(app, ["status", "--db", str(tmp_path / "none.db")]).exit_code == 3


def status_of(database: Path) -> Status:
    return read_status(database, time.time_ns() // 1000)


def is_live(database: Path) -> bool:
    result = runner.invoke(app, ["status", "--db", str(database), "--json"])
    return result.exit_code == 0 and bool(json.loads(result.stdout)["daemon"]["alive"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_status_is_true_while_running_and_after_a_clean_stop(tmp_path: Path, number: signal.Signals) -> None:
    database = tmp_path / "okxsync.db"
    async with replay({}) as server:
        config = write_config(tmp_path, server.accounts_toml("orders", "orders-algo"))
        with daemon(config) as process:
            await until(lambda: is_live(database))
            status = status_of(database)
            assert (status.daemon.alive, status.daemon.pid) == (True, process.pid)
            assert [one.endpoint for one in status.connections] == ["business", "private"]
            process.send_signal(number)
            _, logs = await finish(process)
            assert process.returncode == 0
    assert "Traceback" not in logs
    status = status_of(database)
    assert status.exit_code == 3
    assert not status.daemon.alive
    assert {one.phase for one in status.connections} == {"stopped"}
    assert status.gaps.open == 2


async def test_status_names_host_port_and_step_of_a_connection_that_never_comes_up(tmp_path: Path) -> None:
    database = tmp_path / "okxsync.db"
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        market = 'channels = [{ channel = "mark-price", instId = "BTC-USDT-SWAP" }]'
        site = Replay(port, {}).accounts_toml().partition("[[accounts]]")[0]
        config = write_config(tmp_path, f'{site}[market]\nsite = "replay"\n{market}\n')

        says = f"127.0.0.1:{port} TCP: Connection refused"

        def status(*options: str) -> Result:
            return runner.invoke(app, ["status", "--db", str(database), *options])

        with daemon(config) as process:
            await until(lambda: says in status("--json").stdout)
            assert [one.last_error for one in status_of(database).connections] == [says]
            assert says in (table := status()).stdout
            assert table.exit_code == 1
            process.send_signal(signal.SIGTERM)
            await finish(process)


async def test_a_second_signal_does_not_wait_for_a_database_that_somebody_holds(tmp_path: Path) -> None:
    database = tmp_path / "okxsync.db"
    async with replay({}) as server:
        config = write_config(tmp_path, server.accounts_toml("orders"))
        with daemon(config) as process:
            await until(lambda: is_live(database))
            other = open_database(database)
            other.execute("BEGIN IMMEDIATE")
            process.send_signal(signal.SIGINT)
            assert process.stderr
            with trio.fail_after(10):
                while "storing what is queued" not in await trio.to_thread.run_sync(process.stderr.readline):
                    pass
            process.send_signal(signal.SIGINT)
            _, logs = await finish(process)
            other.close()
    assert process.returncode == 1
    assert (
        logs.splitlines()[-1]
        == f"okxsync: {database}: not all could be stored in time; the next run fills what is missing"
    )
    assert "Traceback" not in logs


async def test_status_is_true_after_kill_9_and_the_next_run_finds_the_gap(tmp_path: Path) -> None:
    database = tmp_path / "okxsync.db"
    async with replay({}) as server:
        config = write_config(tmp_path, server.accounts_toml("orders"))
        with daemon(config) as process:
            await until(lambda: is_live(database))
            os.kill(process.pid, signal.SIGKILL)
            await finish(process)
        status = status_of(database)
        assert status.exit_code == 3
        assert {one.phase for one in status.connections} == {"stopped"}
        assert status.gaps.open == 1
        with daemon(config):
            await until(lambda: status_of(database).daemon.alive and all_live(database))
            assert status_of(database).exit_code == 1  # it is live, and the hole is not filled
            assert status_of(database).gaps.open == 1


def all_live(database: Path) -> bool:
    connections = status_of(database).connections
    return bool(connections) and all(one.phase == "live" for one in connections)


async def test_a_second_daemon_is_refused(tmp_path: Path) -> None:
    database = tmp_path / "okxsync.db"
    async with replay({}) as server:
        config = write_config(tmp_path, server.accounts_toml("orders"))
        with daemon(config):
            await until(lambda: is_live(database))
            with daemon(config) as second:
                _, said = await finish(second)
                assert second.returncode == 4
                assert len(said.splitlines()) == 1
            with daemon(config, "--if-not-running") as third:
                assert await finish(third) == ("", "")
                assert third.returncode == 0


async def test_for_ends_by_itself(tmp_path: Path) -> None:
    async with replay({}) as server:
        config = write_config(tmp_path, server.accounts_toml("orders"))
        with daemon(config, "--for", "1s") as process:
            await finish(process)
            assert process.returncode == 0


def test_a_traceback_never_shows_local_variables() -> None:
    assert not app.pretty_exceptions_enable


def run_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", BROKEN, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


BROKEN = """
from okxsync import cli
@cli.app.command()
def broken():
    raise BaseExceptionGroup("of a nursery", [ValueError("it is\\nodd \\x1b[2J")])
cli.main()
"""


def test_what_nobody_expected_is_one_line_and_a_traceback_on_request() -> None:
    plain = run_command("broken")
    assert (plain.returncode, plain.stdout) == (1, "")
    (line,) = plain.stderr.splitlines()
    assert line.startswith("okxsync: internal error: ValueError: it is odd \\u001b[2J")
    assert "Traceback" in run_command("--debug", "broken").stderr


def test_the_shell_can_complete_commands() -> None:
    assert "--install-completion" in runner.invoke(app, ["--help"]).stdout


async def test_logs_as_json_lines(tmp_path: Path) -> None:
    async with replay({}) as server:
        config = write_config(tmp_path, server.accounts_toml("orders"))
        with daemon(config, "--for", "1s", "--log-format", "json") as process:
            _, said = await finish(process)
    lines = [json.loads(line) for line in said.splitlines()]
    assert any("live" in line["message"] for line in lines)
    assert all(line.keys() >= {"at", "level", "logger", "message"} for line in lines)
