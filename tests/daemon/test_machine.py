"""Faults of the machine, produced for real: what was acknowledged stays, the status says what is wrong, it heals."""

import os
import re
import resource
import signal
import socket
import sys
import time
from pathlib import Path
from subprocess import run
from typing import Any

import pysqlite3 as sqlite3
import pytest
import trio
from typer.testing import CliRunner

from okxsync.cli import app
from okxsync.config.location import Location
from okxsync.config.settings import load
from okxsync.daemon import run as run_daemon
from okxsync.runtime import clock
from okxsync.sandbox.exchange.exchange import Exchange
from okxsync.sandbox.exchange.trader import Trader
from okxsync.sandbox.faults.rules import Rule
from okxsync.sandbox.server.server import Sandbox, serve_sandbox
from okxsync.store.database import StoreError
from tests.support import processes
from tests.support.desk import make_database
from tests.support.replay import WITHIN_S, Replay, until, write_config
from tests.support.running import is_live, running, said_by_status
from tests.support.truth import differences, rows, status_of, trading

pytestmark = pytest.mark.slow

runner = CliRunner()


async def test_a_full_disk_stops_only_the_writer_which_catches_up(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        daemon.trade()
        await daemon.is_complete()
        stored = rows(daemon.database, "SELECT count(*) AS n FROM orders")[0]["n"]
        # What a file may grow to stands for what a disk has left: SQLite sees the same failure of a write.
        _, most = resource.prlimit(daemon.writer, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
        daemon.trade()
        await until(lambda: "stored nothing for" in said_by_status(daemon.database))
        said = said_by_status(daemon.database)
        assert "cannot be written" in said
        await until(lambda: not status_of(daemon.database).daemon.is_storing)  # its heartbeat is not stored either
        status = status_of(daemon.database)
        assert (status.daemon.alive, status.exit_code) == (True, 1)
        assert (status.writer.trouble or "").startswith("cannot be written: ")
        assert rows(daemon.database, "SELECT count(*) AS n FROM orders")[0]["n"] >= stored
        daemon.trade()
        resource.prlimit(daemon.writer, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, most))
        await daemon.is_complete()
        assert "cannot be written" not in said_by_status(daemon.database)
        assert status_of(daemon.database).writer.trouble is None
        (failed,) = rows(daemon.database, "SELECT * FROM journal WHERE event = 'write-failed'")
        assert re.fullmatch(r"from 20\S+Z to 20\S+Z: (disk I/O error|database or disk is full)", failed["detail"])
        assert "the database can be written again" in await daemon.stops()


async def test_a_lock_that_another_process_holds_costs_time_but_no_row(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        other = sqlite3.connect(daemon.database, isolation_level=None)
        other.execute("PRAGMA busy_timeout = 10000")
        other.execute("BEGIN IMMEDIATE")
        daemon.trade()
        await until(lambda: "locked" in said_by_status(daemon.database))
        daemon.trade()
        other.execute("ROLLBACK")
        other.close()
        await daemon.is_complete()
        await daemon.stops()


async def test_without_a_free_file_descriptor_it_waits_for_one(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        pid = daemon.process.pid
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, before[1]))
        daemon.sandbox.drop_all()
        daemon.trade()
        await until(
            lambda: all(
                "Too many open files" in (one.last_error or "") for one in status_of(daemon.database).connections
            )
        )
        daemon.trade()
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        await daemon.is_complete()
        await daemon.stops()


def test_a_daemon_may_have_as_many_files_as_the_system_lets_it(tmp_path: Path) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    config = write_config(tmp_path, Replay(1, {}).accounts_toml("orders"))
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, most))
    try:
        assert runner.invoke(app, ["run", "--config", str(config), "--for", "1s"]).exit_code == 0
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (most, most)
        assert resource.getrlimit(resource.RLIMIT_CORE)[0] == 0  # it would hold the secrets
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("ignored", [False, True])
async def test_a_lost_terminal_stops_the_daemon_unless_sighup_is_ignored(tmp_path: Path, ignored: bool) -> None:
    handler = signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)
    try:
        async with running(tmp_path) as daemon:
            daemon.process.send_signal(signal.SIGHUP)
            if ignored:
                daemon.trade()
                await daemon.is_complete()
                await daemon.stops()
            else:
                _, logs = await processes.finish(daemon.process)
                assert daemon.process.returncode == 0
                assert "SIGHUP: stopping" in logs
    finally:
        signal.signal(signal.SIGHUP, handler)


async def test_a_frozen_daemon_is_reported_and_recovers(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        os.kill(daemon.process.pid, signal.SIGSTOP)
        daemon.trade()
        await until(lambda: "stored nothing for" in said_by_status(daemon.database))
        os.kill(daemon.process.pid, signal.SIGCONT)
        await daemon.is_complete()
        await daemon.stops()


async def test_a_reader_that_never_ends_is_reported_before_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("okxsync.store.sqlite.checkpoint.WAL_TOO_LARGE", 2**20)
    monkeypatch.setattr("okxsync.store.sqlite.checkpoint.POLL_S", 0.1)
    monkeypatch.setattr("okxsync.console.status.WAL_TOO_LARGE", 2**20)
    async with trading(tmp_path, rate=100.0) as (sandbox, database):
        reader = sqlite3.connect(database, isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM orders").fetchone()
        sandbox.resume_trading()
        await until(lambda: bool(rows(database, "SELECT * FROM journal WHERE event = 'wal-checkpoint-blocked'")))
        assert "a long-running reader blocks checkpoints" in said_by_status(database)
        reader.close()
        sandbox.pause_trading()
        await until(lambda: not differences(sandbox.exchange, database))
    assert len(rows(database, "SELECT * FROM journal WHERE event = 'wal-checkpoint-blocked'")) == 1


class Resolver(trio.abc.HostnameResolver):
    """Names that are not found while ``down``."""

    def __init__(self) -> None:
        self.down = False

    async def getaddrinfo(self, host, port, family=0, type=0, proto=0, flags=0):  # type: ignore[no-untyped-def]
        await trio.lowlevel.checkpoint()
        if self.down:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return socket.getaddrinfo("127.0.0.1", port, family, type, proto, flags)

    async def getnameinfo(self, sockaddr, flags):  # type: ignore[no-untyped-def]
        await trio.lowlevel.checkpoint()
        return socket.getnameinfo(sockaddr, flags)


async def test_a_temporary_failure_of_name_resolution_is_recovered_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolver = Resolver()
    trio.socket.set_custom_hostname_resolver(resolver)
    toml = Sandbox.accounts_toml
    monkeypatch.setattr(Sandbox, "accounts_toml", lambda self: toml(self).replace("127.0.0.1", "localhost"))
    async with trading(tmp_path) as (sandbox, database):
        trader = Trader(sandbox.exchange, 3)
        resolver.down = True
        sandbox.drop_all()
        for _ in range(100):
            sandbox.operate(trader.step)
        await until(lambda: all("name resolution" in (one.last_error or "") for one in status_of(database).connections))
        resolver.down = False
        await until(lambda: status_of(database).exit_code == 0)
        await until(lambda: not differences(sandbox.exchange, database))


@pytest.mark.parametrize("damage", ["first page", "header", "cut"])
def test_a_damaged_database_is_reported_in_one_line(tmp_path: Path, damage: str) -> None:
    database = tmp_path / "okxsync.db"
    make_database(database)
    content = bytearray(database.read_bytes())
    match damage:
        case "first page":
            content[:4096] = b"\xff" * 4096
        case "header":
            content[30:4096] = b"\xff" * (4096 - 30)
        case _:
            del content[len(content) // 2 :]
    database.write_bytes(content)
    config = write_config(tmp_path, Replay(1, {}).accounts_toml("orders"))
    commands = {"run": "", "status": "", "log": "", "backfill": "--since 1h", "prune": "--older-than 1d", "verify": ""}
    for command, arguments in commands.items():
        line = [sys.executable, "-m", "okxsync", command, *arguments.split(), "--config", str(config)]
        result = run(line, capture_output=True, text=True, check=False, timeout=WITHIN_S)
        assert result.returncode == (3 if command == "status" else 5 if command == "verify" else 1), result
        assert str(database) in result.stderr
        assert "Traceback" not in result.stderr


@pytest.mark.parametrize("step_s", [-7200, 7200])
async def test_a_clock_step_leaves_no_hole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step_s: int) -> None:
    """The exchange's clock goes on; ours is set while channels are live, then connections are lost."""
    real_ns = time.time_ns
    real_s = time.time
    exchange = Exchange(lambda: real_ns() // 1_000_000, seed=7)
    for number in range(3):
        exchange.add_member(f"a{number}")
    trader = Trader(exchange, 3)
    async with serve_sandbox(exchange, dials_per_second=0) as sandbox:
        settings = load(write_config(tmp_path, sandbox.accounts_toml()))
        database = settings.database
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_daemon, settings, database)
            await until(lambda: is_live(database, 7) and not open_gaps(database))
            monkeypatch.setattr(time, "time_ns", lambda: real_ns() + step_s * 10**9)
            monkeypatch.setattr(time, "time", lambda: real_s() + step_s)
            await until(lambda: bool(rows(database, "SELECT * FROM journal WHERE event = 'clock-off'")))
            set_us = real_ns() // 1000
            sandbox.drop_all()
            for _ in range(100):
                sandbox.operate(trader.step)  # pushed to nobody
            await until(lambda: is_live(database, 7) and not open_gaps(database))
            await until(lambda: not differences(exchange, database))
            lost = rows(database, "SELECT * FROM gaps WHERE reason LIKE 'closed%'")
            assert {gap["account"] for gap in lost} == {"a0", "a1", "a2", "market"}
            for gap in lost:
                assert gap["from_at"] < gap["to_at"]
                assert abs(gap["from_at"] - set_us) < 60_000_000, "a gap begins about where it did"
            ahead = rows(database, f"SELECT * FROM coverage WHERE covered_until > {real_ns() // 1000 + 1_000_000}")
            assert ahead == []
            nursery.cancel_scope.cancel(reason="the test is over")
        assert sandbox.violations == []


def open_gaps(database: Location) -> list[dict[str, Any]]:
    return rows(database, "SELECT * FROM gaps WHERE outcome IS NULL")


@pytest.mark.parametrize("ahead_s", [-7200, 7200])
async def test_gaps_are_filled_by_the_exchange_s_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead_s: int
) -> None:
    """Ours is hours off all the time: what our times call recent is the exchange's future, or its past."""
    real_ns, real_s = time.time_ns, time.time
    exchange = Exchange(lambda: real_ns() // 1_000_000, seed=7)
    exchange.add_member("a0")
    trader = Trader(exchange, 3)
    monkeypatch.setattr(time, "time_ns", lambda: real_ns() + ahead_s * 10**9)
    monkeypatch.setattr(time, "time", lambda: real_s() + ahead_s)
    async with serve_sandbox(exchange, dials_per_second=0) as sandbox:
        settings = load(write_config(tmp_path, sandbox.accounts_toml()))
        database = settings.database
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_daemon, settings, database)
            await until(lambda: is_live(database, 3) and not open_gaps(database))
            sandbox.drop_all()
            for _ in range(1200):  # several pages of orders and fills
                sandbox.operate(trader.step)  # pushed to nobody
            await until(lambda: is_live(database, 3) and not open_gaps(database))
            await until(lambda: not differences(exchange, database))
            nursery.cancel_scope.cancel(reason="the test is over")
        assert sandbox.violations == []


async def test_a_clock_that_is_ahead_and_cannot_be_corrected_at_the_start_is_corrected_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then public channels are live, for only a login is signed with the time. Their coverage is withdrawn."""
    monkeypatch.setattr("okxsync.daemon.MEASURE_EVERY_S", 0.5)
    monkeypatch.setattr(clock, "CONFIRM_US", 1_000_000)
    real_ns = time.time_ns
    exchange = Exchange(lambda: real_ns() // 1_000_000, seed=7)
    exchange.add_member("a0")
    trader = Trader(exchange, 3)
    monkeypatch.setattr(time, "time_ns", lambda: real_ns() + 7200 * 10**9)
    async with serve_sandbox(exchange, dials_per_second=0) as sandbox:
        no_time = Rule("rest", path="public/time", code="503")
        sandbox.faults.rules.append(no_time)
        settings = load(write_config(tmp_path, sandbox.accounts_toml()))
        database = settings.database
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_daemon, settings, database)
            future = "SELECT * FROM coverage WHERE covered_until > {}"
            hour_us = 3_600_000_000
            await until(lambda: status_exists(database))
            await until(lambda: bool(rows(database, future.format(real_ns() // 1000 + hour_us))))
            sandbox.faults.rules.remove(no_time)
            for _ in range(50):
                sandbox.operate(trader.step)
            await until(
                lambda: is_live(database, 3) and not rows(database, future.format(real_ns() // 1000 + 1_000_000))
            )
            await until(lambda: not open_gaps(database) and not differences(exchange, database))
            withdrawn = rows(database, "SELECT * FROM gaps WHERE reason LIKE '%; the clock was ahead before'")
            assert "market" in {gap["account"] for gap in withdrawn}
            assert all(gap["from_at"] < gap["to_at"] <= real_ns() // 1000 + 1_000_000 for gap in withdrawn)
            nursery.cancel_scope.cancel(reason="the test is over")
        assert sandbox.violations == []


def status_exists(database: Location) -> bool:
    try:
        return status_of(database).daemon.alive
    except StoreError:  # not made yet
        return False
