"""``okxsync run`` as a process: status, signals, exit codes, logs."""

import json
import os
import signal
import socket
import time
from pathlib import Path

import pytest
import trio
from typer.testing import CliRunner, Result

from okxsync.cli import app
from okxsync.config.location import Location
from okxsync.mirror.status import Status
from okxsync.okx.rate_limits import UNANSWERED_S
from okxsync.store.engines import open_database
from tests.support.processes import daemon, finish
from tests.support.reading import read_status
from tests.support.replay import WITHIN_S, Replay, replay, until, write_config

pytestmark = pytest.mark.slow
runner = CliRunner()


def status_of(database: Location) -> Status:
    return read_status(database, time.time_ns() // 1000)


def is_live(database: Location) -> bool:
    result = runner.invoke(app, ["status", "--db", str(database), "--json"])
    return result.exit_code == 0 and bool(json.loads(result.stdout)["daemon"]["alive"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_status_is_correct_while_running_and_after_a_clean_stop(tmp_path: Path, number: signal.Signals) -> None:
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

        expected = f"127.0.0.1:{port} TCP: Connection refused"

        def status(*options: str) -> Result:
            return runner.invoke(app, ["status", "--db", str(database), *options])

        with daemon(config) as process:
            await until(lambda: expected in status("--json").stdout)
            assert [one.last_error for one in status_of(database).connections] == [expected]
            assert expected in (table := status()).stdout
            assert table.exit_code == 1
            process.send_signal(signal.SIGTERM)
            await finish(process)


async def test_a_second_signal_does_not_wait_for_a_locked_database(tmp_path: Path) -> None:
    database = tmp_path / "okxsync.db"
    async with replay({}) as server:
        config = write_config(tmp_path, server.accounts_toml("orders"))
        with daemon(config) as process:
            await until(lambda: is_live(database))
            other = open_database(database)
            other.execute("BEGIN IMMEDIATE")
            process.send_signal(signal.SIGINT)
            assert process.stderr
            with trio.fail_after(WITHIN_S):
                while "flushing the queue" not in await trio.to_thread.run_sync(process.stderr.readline):
                    pass
            process.send_signal(signal.SIGINT)
            _, logs = await finish(process)
            other.close()
    assert process.returncode == 1
    assert (
        logs.splitlines()[-1]
        == f"okxsync: {database}: shutdown timed out before the queue was flushed; the next run will backfill the rest"
    )
    assert "Traceback" not in logs


async def test_status_is_correct_after_kill_9_and_the_next_run_finds_the_gap(tmp_path: Path) -> None:
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
            assert status_of(database).exit_code == 1  # all are live, and the gap is open
            assert status_of(database).gaps.open == 1


async def a_heartbeat(lock: Path) -> None:
    """Wait until the daemon marks its lock file again, with whatever time."""

    def marked_at() -> int:
        return lock.stat().st_ctime_ns

    before = marked_at()
    await until(lambda: marked_at() != before)


async def test_a_dial_that_kill_9_leaves_unanswered_counts_for_the_next_run(tmp_path: Path) -> None:
    """The exchange may count it late, together with the dials of the next run."""
    accepted: list[float] = []

    async def stall(stream: trio.SocketStream) -> None:
        accepted.append(trio.current_time())
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, stall, listeners)
        port = listeners[0].socket.getsockname()[1]
        site = Replay(port, {}).accounts_toml().partition("[[accounts]]")[0]
        site = site.replace(f"http://127.0.0.1:{port}", "http://127.0.0.1:1")  # nothing there: not counted here
        market = 'channels = [{ channel = "mark-price", instId = "BTC-USDT-SWAP" }]'
        config = write_config(tmp_path, f'{site}[market]\nsite = "replay"\n{market}\n')
        with daemon(config) as process:
            await until(lambda: len(accepted) == 1)
            await a_heartbeat(tmp_path / "okxsync.db-lock")
            process.kill()
            killed_at, killed_wall_s = trio.current_time(), time.time()
            await finish(process)
        with daemon(config) as process:  # killed before it dials
            await until(lambda: status_of(tmp_path / "okxsync.db").daemon.pid == process.pid)
            await a_heartbeat(tmp_path / "okxsync.db-lock")
            process.kill()
            await finish(process)
        assert (tmp_path / "okxsync.db-lock").stat().st_mtime > killed_wall_s + UNANSWERED_S - 0.5
        with daemon(config):
            await until(lambda: len(accepted) == 2)
        assert accepted[1] - killed_at > UNANSWERED_S + 1.0
        nursery.cancel_scope.cancel()


def all_live(database: Location) -> bool:
    connections = status_of(database).connections
    return bool(connections) and all(one.phase == "live" for one in connections)


async def test_a_second_daemon_is_rejected(tmp_path: Path) -> None:
    database = tmp_path / "okxsync.db"
    async with replay({}) as server:
        config = write_config(tmp_path, server.accounts_toml("orders"))
        with daemon(config):
            await until(lambda: is_live(database))
            with daemon(config) as second:
                _, logs = await finish(second)
                assert second.returncode == 4
                assert len(logs.splitlines()) == 1
            with daemon(config, "--if-not-running") as third:
                assert await finish(third) == ("", "")
                assert third.returncode == 0


async def test_for_limits_the_time(tmp_path: Path) -> None:
    async with replay({}) as server:
        config = write_config(tmp_path, server.accounts_toml("orders"))
        with daemon(config, "--for", "1s") as process:
            await finish(process)
            assert process.returncode == 0


async def test_logs_as_json_lines(tmp_path: Path) -> None:
    async with replay({}) as server:
        config = write_config(tmp_path, server.accounts_toml("orders"))
        with daemon(config, "--log-format", "json") as process:
            assert process.stderr
            lines: list[dict[str, str]] = []
            with trio.fail_after(WITHIN_S):
                while not any("live" in line["message"] for line in lines):
                    lines.append(json.loads(await trio.to_thread.run_sync(process.stderr.readline)))
            process.send_signal(signal.SIGTERM)
            _, rest = await finish(process)
    lines += [json.loads(line) for line in rest.splitlines()]
    assert all(line.keys() >= {"at", "level", "logger", "message"} for line in lines)
