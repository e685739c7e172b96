"""The daemon against the built-in exchange: the mirror equals the exchange's truth, row by row."""

import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from subprocess import Popen
from typing import Any

import pysqlite3 as sqlite3
import pytest
import trio

from okxsync import daemon
from okxsync.config.location import Location
from okxsync.config.settings import load
from okxsync.mirror.ledger import check_ledger
from okxsync.reconcile.timings import Timings
from okxsync.sandbox.exchange.exchange import Exchange
from okxsync.sandbox.exchange.trader import Trader
from okxsync.sandbox.faults.rules import Rule
from okxsync.sandbox.server.server import serve_sandbox
from tests.support import processes
from tests.support.replay import WITHIN_S, until, write_config
from tests.support.running import running
from tests.support.truth import ACCOUNTS, QUICK, SAME, all_live, differences, rows, status_of, trading, truth_of

pytestmark = pytest.mark.slow

LOADED_S = 45
"""Seconds of load: of nine pings, each with 10 s for its answer."""


async def test_after_much_trade_every_table_equals_the_exchanges_state(tmp_path: Path) -> None:
    async with trading(tmp_path) as (sandbox, database):
        trader = Trader(sandbox.exchange, 3)
        for _ in range(600):
            sandbox.operate(trader.step)
            await trio.lowlevel.checkpoint()
        await until(lambda: not differences(sandbox.exchange, database))
        counts = {table: len(truth_of(sandbox.exchange, table)) for table in SAME}
        assert all(counts.values()), counts
        assert sandbox.violations == []
        await until(lambda: status_of(database).exit_code == 0)
        assert status_of(database).writer.errors == 0
    assert rows(database, "SELECT * FROM journal WHERE level = 'error'") == []


async def test_after_every_connection_was_reset_all_are_live_again(tmp_path: Path) -> None:
    async with trading(tmp_path) as (sandbox, database):
        sandbox.drop_all()
        await until(lambda: all_live(database, reconnects=1))
        assert sandbox.violations == []
        gaps = rows(database, "SELECT from_at, to_at FROM gaps WHERE reason LIKE 'closed%'")
        assert len(gaps) == len(rows(database, "SELECT * FROM coverage"))
        assert all(gap["from_at"] <= gap["to_at"] for gap in gaps)


@pytest.mark.parametrize("unannounced", [[], ["business"]])
async def test_an_announced_upgrade_leaves_no_gap_where_it_was_announced(
    tmp_path: Path, unannounced: list[str]
) -> None:
    async with trading(tmp_path, rate=50.0, dials_per_second=3) as (sandbox, database):
        sandbox.faults.rules += [Rule("unannounced", endpoint=endpoint) for endpoint in unannounced]
        await until(lambda: status_of(database).exit_code == 0)
        sandbox.resume_trading()
        sandbox.announce_upgrade(15.0)
        await until(lambda: all_live(database, reconnects=1))
        sandbox.pause_trading()
        await until(lambda: status_of(database).exit_code == 0)
        await until(lambda: not differences(sandbox.exchange, database))
        lost = rows(database, "SELECT DISTINCT channel FROM gaps WHERE reason <> 'initial backfill'")
        assert [row["channel"] for row in lost] == (["orders-algo"] if unannounced else [])
        assert rows(database, "SELECT * FROM journal WHERE event = 'channel-conn-count'") == []
        assert sandbox.violations == []


@pytest.mark.parametrize("change", ["added", "removed", "bad key"])
async def test_a_change_of_one_account_does_not_affect_the_others(tmp_path: Path, change: str) -> None:
    async with trading(tmp_path) as (sandbox, database):
        config = tmp_path / "accounts.toml"
        text = config.read_text()
        if change == "added":
            member = sandbox.exchange.add_member("late")
            config.write_text(sandbox.accounts_toml())
            await until(
                lambda: any(one.listener == member.name and one.phase == "live" for one in connections(database))
            )
        elif change == "removed":
            first = text.index("[[accounts]]")
            config.write_text(text[:first] + text[text.index("[[accounts]]", first + 1) :])
            await until(lambda: all(one.listener != "a0" for one in connections(database)))
        else:
            passphrase = next(iter(sandbox.exchange.members.values())).credentials.passphrase
            config.write_text(text.replace(passphrase, "no" + passphrase))
            await until(lambda: {one.phase for one in connections(database) if one.listener == "a0"} == {"stopped"})
        assert all(one.reconnects == 0 for one in connections(database) if one.listener not in ("a0", "late"))


def connections(database: Location) -> list[Any]:
    return status_of(database).connections


@pytest.mark.parametrize("rest_lags_ms", [0, 1000])
async def test_a_gap_is_filled_and_verified(tmp_path: Path, rest_lags_ms: int) -> None:
    async with trading(tmp_path) as (sandbox, database):
        sandbox.faults.rest_lags_ms = rest_lags_ms
        trader = Trader(sandbox.exchange, 3)
        for _ in range(200):
            sandbox.operate(trader.step)
        sandbox.drop_all()
        for _ in range(200):
            sandbox.operate(trader.step)  # pushed to nobody
        await until(lambda: all_live(database, reconnects=1) and status_of(database).gaps.open == 0)
        await until(lambda: not differences(sandbox.exchange, database))
        assert sandbox.violations == []
        accounts = [member.name for member in sandbox.exchange.members.values()]
        await until(lambda: check_ledger(database, accounts) == [])  # bills are not pushed, and yet none is missing
    outcomes = {row["outcome"] for row in rows(database, "SELECT outcome FROM gaps WHERE account <> 'market'")}
    assert outcomes == {"filled", "partial"}  # partial: the seven days initial backfill


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL])
async def test_a_run_fills_what_was_missed_since_the_last_one(tmp_path: Path, ending: signal.Signals) -> None:
    exchange = Exchange(lambda: time.time_ns() // 1_000_000, seed=7)
    for number in range(ACCOUNTS):
        exchange.add_member(f"a{number}")
    trader = Trader(exchange, 3)
    async with serve_sandbox(exchange, dials_per_second=0) as sandbox:
        config = write_config(tmp_path, sandbox.accounts_toml())
        database = load(config).database
        for _ in range(3):
            for _ in range(150):
                sandbox.operate(trader.step)
            with processes.daemon(config) as process:
                await until(lambda: all_live(database) and status_of(database).exit_code == 0)
                for _ in range(50):
                    sandbox.operate(trader.step)
                await until(lambda: not differences(exchange, database))
                process.send_signal(ending)
                await processes.finish(process)
        assert sandbox.violations == []
    reason = "stopped" if ending is signal.SIGTERM else "crash"
    assert rows(database, f"SELECT * FROM gaps WHERE reason = '{reason}' AND outcome = 'filled'")


async def test_a_run_right_after_another_keeps_to_the_limits_together_with_it(tmp_path: Path) -> None:
    exchange = Exchange(lambda: time.time_ns() // 1_000_000, seed=7)
    for number in range(ACCOUNTS):
        exchange.add_member(f"a{number}")
    async with serve_sandbox(exchange) as sandbox:
        settings = load(write_config(tmp_path, sandbox.accounts_toml()))
        for _ in range(3):
            await until(lambda: not sandbox.connections)
            async with trio.open_nursery() as life:
                life.start_soon(daemon.run, settings, settings.database)
                await until(lambda: len(sandbox.connections) >= 3)
                life.cancel_scope.cancel(reason="the next one takes over")
        assert sandbox.violations == []


async def test_bills_and_closed_positions_follow_what_is_pushed(tmp_path: Path) -> None:
    async with trading(tmp_path, timings=Timings(poll_s=0.3, refetch_s=0.5, rest_lag_s=1.0)) as (sandbox, database):
        trader = Trader(sandbox.exchange, 3)
        await until(lambda: status_of(database).exit_code == 0)
        for _ in range(400):
            sandbox.operate(trader.step)

        members = sandbox.exchange.members
        truth = {row["billId"] for uid in members for row in sandbox.exchange.bill_rows(uid)}
        ends = {(row["posId"], int(row["cTime"]), row["direction"]) for uid in members
                for row in sandbox.exchange.positions_history_rows(uid)}  # fmt: skip
        assert ends

        def all_there() -> bool:
            bills = {row["bill_id"] for row in rows(database, "SELECT bill_id FROM bills")}
            found = rows(database, "SELECT pos_id, c_time, direction FROM positions_history")
            closed = {(row["pos_id"], row["c_time"], row["direction"]) for row in found}
            return bills >= truth and closed >= ends  # what rests goes on to trade

        await until(all_there)
        assert rows(database, "SELECT * FROM gaps WHERE outcome IS NULL") == []
        assert sandbox.violations == []


@pytest.mark.parametrize("silent", [["orders"], ["account", "positions", "balance_and_position"], ["orders-algo"]])
async def test_channels_that_stall_silently_are_found(tmp_path: Path, silent: list[str]) -> None:
    async with trading(tmp_path, timings=QUICK) as (sandbox, database):
        sandbox.terms.snapshot_s = 1.0
        trader = Trader(sandbox.exchange, 3)
        await until(lambda: status_of(database).exit_code == 0)
        died_at = time.time_ns() // 1000
        sandbox.faults.silent.update(silent)
        for _ in range(300):
            sandbox.operate(trader.step)  # every other channel goes on
        found = f"SELECT * FROM gaps WHERE channel = '{silent[0]}' AND reason LIKE '{silent[0]}: channel stalled%'"
        await until(lambda: bool(rows(database, found)))
        sandbox.faults.silent.clear()
        repaired_at = time.time_ns() // 1000
        await until(lambda: not differences(sandbox.exchange, database))
        await until(lambda: status_of(database).exit_code == 0)
        assert sandbox.violations == []
        # An account that reconnects before the repair stalls again; another silent channel may have been found first.
        stalled = rows(database, found)
        assert all(gap["from_at"] < repaired_at for gap in stalled)
        around = f"SELECT account FROM gaps WHERE channel = '{silent[0]}' AND {died_at} BETWEEN from_at AND to_at"
        assert {gap["account"] for gap in stalled} <= {gap["account"] for gap in rows(database, around)}


async def test_a_complete_channel_is_never_found_stalled(tmp_path: Path) -> None:
    async with trading(tmp_path, timings=QUICK, rate=20.0) as (sandbox, database):
        sandbox.resume_trading()
        await until(lambda: status_of(database).exit_code == 0)
        covered = "SELECT min(covered_until) AS at FROM coverage WHERE account <> 'market'"
        until_us = time.time_ns() // 1000 + 5_000_000
        await until(lambda: rows(database, covered)[0]["at"] > until_us)  # each was verified, or has pushed
        assert rows(database, "SELECT * FROM gaps WHERE reason LIKE '%: channel stalled%'") == []


@contextmanager
def locked(database: Location) -> Iterator[None]:
    """Another program holds the write lock."""
    other = sqlite3.connect(database, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    yield
    other.execute("ROLLBACK")
    other.close()


@contextmanager
def full_disk(database: Location) -> Iterator[None]:
    """The writer can write no file any further."""
    writer = processes.writer_of()
    before = resource.prlimit(writer, resource.RLIMIT_FSIZE)
    resource.prlimit(writer, resource.RLIMIT_FSIZE, (4096, before[1]))
    yield
    resource.prlimit(writer, resource.RLIMIT_FSIZE, before)


@contextmanager
def busy_machine(database: Location) -> Iterator[None]:
    """Twice as many other processes as there are cores never rest."""
    command = [sys.executable, "-c", "while True: pass"]
    others = [Popen(command) for _ in range(2 * (os.cpu_count() or 1))]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


@contextmanager
def busy_core(*pids: int) -> Iterator[None]:
    """Let these processes share one core with two that never rest, and leave the other cores to other tests."""
    core = {min(os.sched_getaffinity(0))}
    command = [sys.executable, "-c", "while True: pass"]
    others = [Popen(command) for _ in range(2)]
    try:
        for pid in (*pids, *(other.pid for other in others)):
            for thread in Path(f"/proc/{pid}/task").iterdir():
                os.sched_setaffinity(int(thread.name), core)
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


@pytest.mark.parametrize("stalled_by", [locked, full_disk, busy_machine])
async def test_a_stalled_writer_makes_no_channel_look_stalled(
    tmp_path: Path, stalled_by: Callable[[Path], AbstractContextManager[None]]
) -> None:
    async with trading(tmp_path, timings=QUICK, rate=50.0) as (sandbox, database):
        sandbox.resume_trading()
        await until(lambda: status_of(database).exit_code == 0)
        with stalled_by(Path(str(database))):
            await trio.sleep(20)  # of trade; nothing of it is stored
        covered = "SELECT min(covered_until) AS at FROM coverage WHERE account <> 'market'"
        until_us = time.time_ns() // 1000 + 5_000_000
        await until(lambda: rows(database, covered)[0]["at"] > until_us)
        assert {one.reconnects for one in status_of(database).connections} == {0}
        assert rows(database, "SELECT * FROM gaps WHERE reason LIKE '%: channel stalled%'") == []


async def test_a_busy_machine_makes_no_connection_look_silent(tmp_path: Path) -> None:
    """A daemon in a process of its own, through many pings of each connection."""
    async with running(tmp_path, rate=20.0) as run:
        await until(lambda: status_of(run.database).exit_code == 0)
        with busy_core(run.process.pid, run.writer):
            began_us = time.time_ns() // 1000
            pinged = "channel IN ('account', 'positions')"  # what the answers to pings prove at once
            proved = f"SELECT min(covered_until) AS at FROM coverage WHERE {pinged}"
            await until(lambda: rows(run.database, proved)[0]["at"] > began_us + LOADED_S * 1_000_000, 2 * WITHIN_S)
            assert {one.reconnects for one in status_of(run.database).connections} == {0}
        assert rows(run.database, "SELECT * FROM gaps WHERE reason <> 'initial backfill'") == []
        assert rows(run.database, "SELECT * FROM journal WHERE event IN ('disconnected', 'internal-error')") == []
        run.sandbox.pause_trading()
        await run.is_complete()


async def test_orders_that_stalled_for_a_while_and_recovered_are_found(tmp_path: Path) -> None:
    async with trading(tmp_path, timings=QUICK) as (sandbox, database):
        trader = Trader(sandbox.exchange, 3)
        await until(lambda: status_of(database).exit_code == 0)
        sandbox.faults.silent.add("orders")
        died_at = time.time_ns() // 1000
        for _ in range(100):
            sandbox.operate(trader.step)
        sandbox.faults.silent.clear()
        for _ in range(300):
            sandbox.operate(trader.step)  # pushed, and hides what was not
        dead = "SELECT * FROM gaps WHERE channel = 'orders' AND reason LIKE 'orders: channel stalled%'"
        await until(lambda: bool(rows(database, dead)))
        await until(lambda: not differences(sandbox.exchange, database))
        await until(lambda: status_of(database).exit_code == 0)
    found = rows(
        database, "SELECT from_at, to_at FROM gaps WHERE channel = 'orders' AND reason LIKE 'orders: channel stalled%'"
    )
    assert found
    assert [gap for gap in found if not gap["from_at"] <= died_at <= gap["to_at"]] == [], died_at
