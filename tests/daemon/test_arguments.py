"""Channels of the user's own: those with arguments, those that are refused, and those that are taken out again."""

import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from okxsync import daemon
from okxsync.config.location import Location
from okxsync.config.settings import load
from okxsync.reconcile.timings import TIMINGS, Timings
from okxsync.sandbox.exchange.exchange import Exchange
from okxsync.sandbox.exchange.trader import Trader
from okxsync.sandbox.faults.rules import Rule
from okxsync.sandbox.server.server import Sandbox, serve_sandbox
from tests.support import processes
from tests.support.desk import make_database
from tests.support.replay import replace, until, write_config
from tests.support.running import is_live
from tests.support.truth import QUICK, rows, status_of

pytestmark = pytest.mark.slow

SWAPS = (
    '[{ channel = "orders", instType = "SWAP" }, { channel = "positions", instFamily = "BTC-USDT" },'
    ' { channel = "account", extraParams = "{\\"updateInterval\\":\\"0\\"}" },'
    ' { channel = "orders-algo", instId = "BTC-USDT-SWAP" }]'
)


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[Sandbox]:
    """An exchange with two accounts, and an empty database beside the configuration."""
    make_database(tmp_path / "okxsync.db")
    exchange = Exchange(lambda: time.time_ns() // 1_000_000, seed=7)
    for number in range(2):
        exchange.add_member(f"a{number}", vip=5)
    async with serve_sandbox(exchange, dials_per_second=0) as sandbox:
        sandbox.pause_trading()
        yield sandbox
        assert sandbox.violations == []


def with_channels(sandbox: Sandbox, channels: str) -> str:
    """Let a0 listen to these channels."""
    text = sandbox.accounts_toml().replace('name = "a0"', f'name = "a0"\nchannels = {channels}')
    return text if text.startswith("[history]") else f'[history]\ninitial = "0"\n{text}'


@asynccontextmanager
async def mirrored(folder: Path, text: str, connections: int, timings: Timings = TIMINGS) -> AsyncIterator[Location]:
    """A daemon on this configuration that is live."""
    settings = load(write_config(folder, text))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(daemon.run, settings, settings.database, timings=timings))
        await until(lambda: is_live(settings.database, connections))
        yield settings.database
        nursery.cancel_scope.cancel(reason="the test is over")


@asynccontextmanager
async def run(folder: Path, text: str, connections: int) -> AsyncIterator[Location]:
    """A whole run, in a process of its own, from live to stopped."""
    config = write_config(folder, text)
    database = folder / "okxsync.db"
    with processes.daemon(config) as process:
        await until(lambda: is_live(database, connections))
        yield database
        process.send_signal(signal.SIGTERM)
        await processes.finish(process)


def trade(sandbox: Sandbox, times: int) -> None:
    trader = Trader(sandbox.exchange, 3)
    for _ in range(times):
        sandbox.operate(trader.step)


def orders_of_a0(sandbox: Sandbox, inst_type: str) -> set[str]:
    uid = next(uid for uid, member in sandbox.exchange.members.items() if member.name == "a0")
    return {row["ordId"] for row in sandbox.exchange.order_rows(uid) if row["instType"] == inst_type}


def held(database: Location, inst_type: str) -> set[str]:
    found = rows(database, f"SELECT ord_id FROM orders WHERE account = 'a0' AND inst_type = '{inst_type}'")
    return {row["ord_id"] for row in found}


async def test_a_gap_of_a_channel_with_arguments_between_two_runs_is_filled(sandbox: Sandbox, tmp_path: Path) -> None:
    text = with_channels(sandbox, SWAPS)
    async with run(tmp_path, text, 5) as database:
        await until(lambda: status_of(database).exit_code == 0)
    trade(sandbox, 200)
    assert orders_of_a0(sandbox, "SWAP")
    async with run(tmp_path, text, 5) as database:
        await until(lambda: status_of(database).exit_code == 0)
        assert held(database, "SWAP") == orders_of_a0(sandbox, "SWAP")
    gaps = rows(database, "SELECT outcome, note FROM gaps WHERE account = 'a0' AND reason = 'stopped' AND to_at")
    assert len(gaps) == 4
    assert {(gap["outcome"], gap["note"]) for gap in gaps} == {("filled", None)}


async def test_channels_with_arguments_are_verified_only_for_what_they_report(sandbox: Sandbox, tmp_path: Path) -> None:
    trade(sandbox, 200)
    async with mirrored(tmp_path, with_channels(sandbox, SWAPS), 5, QUICK) as database:
        await until(lambda: status_of(database).exit_code == 0)
        sandbox.drop_all()  # then REST reports orders, positions and currencies that the channels never report
        trade(sandbox, 100)
        await until(lambda: all(one.reconnects for one in status_of(database).connections))
        await until(lambda: status_of(database).exit_code == 0)
        trade(sandbox, 200)
        assert held(database, "SPOT") < orders_of_a0(sandbox, "SPOT")
        await until(lambda: held(database, "SWAP") == orders_of_a0(sandbox, "SWAP"))
        await until(lambda: status_of(database).exit_code == 0)  # everything was received and stored
        from_us = time.time_ns() // 1000
        covered = "SELECT min(covered_until) AS at FROM coverage WHERE account = 'a0'"
        await until(lambda: rows(database, covered)[0]["at"] > from_us + 4_000_000)
        assert rows(database, "SELECT * FROM gaps WHERE reason LIKE '%: channel stalled%'") == []
        sandbox.faults.silent.add("orders")
        trade(sandbox, 100)
        dead = "SELECT * FROM gaps WHERE channel = 'orders:instType=SWAP' AND reason LIKE '%: channel stalled%'"
        await until(lambda: bool(rows(database, dead)))
        sandbox.faults.silent.clear()
        await until(lambda: held(database, "SWAP") == orders_of_a0(sandbox, "SWAP"))


def fills_of_a0(sandbox: Sandbox) -> set[str]:
    uid = next(uid for uid, member in sandbox.exchange.members.items() if member.name == "a0")
    return {row["tradeId"] for row in sandbox.exchange.fill_rows(uid)}


def fills_held(database: Location) -> set[str]:
    return {row["trade_id"] for row in rows(database, "SELECT trade_id FROM fills WHERE account = 'a0'")}


async def test_gaps_of_fills_alone_are_filled_over_rest(sandbox: Sandbox, tmp_path: Path) -> None:
    text = with_channels(sandbox, '["fills"]')
    async with run(tmp_path, text, 4) as database:
        await until(lambda: status_of(database).exit_code == 0)
    trade(sandbox, 100)
    missed = fills_of_a0(sandbox)  # the exchange settles later: such a fill is not one of the gap
    assert missed
    async with run(tmp_path, text, 4) as database:
        await until(lambda: status_of(database).exit_code == 0)
        assert missed <= fills_held(database)
    (gap,) = rows(database, "SELECT outcome, note FROM gaps WHERE account = 'a0' AND reason = 'stopped' AND to_at")
    assert gap == {"outcome": "filled", "note": None}


async def test_a_push_of_fills_triggers_a_rest_request(sandbox: Sandbox, tmp_path: Path) -> None:
    timings = Timings(poll_s=0.3, refetch_s=0.5)
    async with mirrored(tmp_path, with_channels(sandbox, '["fills"]'), 4, timings) as database:
        await until(lambda: status_of(database).exit_code == 0)
        trade(sandbox, 100)
        assert fills_of_a0(sandbox)
        await until(lambda: fills_held(database) == fills_of_a0(sandbox))


async def test_a_channel_that_is_rejected_on_the_first_run_has_an_open_gap_until_it_is_accepted(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("okxsync.feed.spec.SLOW_S", 2.0)
    rule = Rule("subscribe-error", account="a0", channel="orders", code="60018")
    sandbox.faults.rules.append(rule)
    async with mirrored(tmp_path, sandbox.accounts_toml(), 5) as database:
        await until(lambda: bool(rows(database, "SELECT * FROM gaps WHERE account = 'a0' AND reason LIKE '%60018%'")))
        await until(lambda: status_of(database).gaps.open == 1)
        rejections = "SELECT count(*) AS n FROM messages WHERE account = 'a0' AND kind = 'error'"
        await until(lambda: rows(database, rejections)[0]["n"] >= 3)  # it was requested again
        status = status_of(database)
        assert (status.gaps.open, status.exit_code) == (1, 1)
        trade(sandbox, 50)
        sandbox.faults.rules.clear()
        await until(lambda: status_of(database).exit_code == 0)
        assert {one.reconnects for one in status_of(database).connections} == {0}
        assert held(database, "SWAP") == orders_of_a0(sandbox, "SWAP")


async def test_channels_removed_from_the_settings_leave_no_open_gap(sandbox: Sandbox, tmp_path: Path) -> None:
    text = sandbox.accounts_toml()
    async with run(tmp_path, text, 5) as database:
        await until(lambda: status_of(database).exit_code == 0)
    without_market = text[: text.index("[market]")] + text[text.index("[[accounts]]") :]
    less = without_market.replace('name = "a0"', 'name = "a0"\nchannels = ["account", "orders"]').replace(
        'name = "a1"', 'name = "a1"\nenabled = false'
    )
    async with run(tmp_path, less, 1) as database:
        await until(lambda: status_of(database).exit_code == 0)
        left = rows(database, "SELECT DISTINCT note FROM gaps WHERE outcome IS NULL")
        assert left == [{"note": "no longer subscribed"}]
        trade(sandbox, 50)
        replace(tmp_path / "accounts.toml", text)
        await until(lambda: is_live(database, 5))
        await until(lambda: status_of(database).exit_code == 0)
        assert rows(database, "SELECT * FROM gaps WHERE outcome IS NULL OR note = 'no longer subscribed'") == []
        assert held(database, "SPOT") == orders_of_a0(sandbox, "SPOT")
        replace(tmp_path / "accounts.toml", less)  # in a running daemon, with a gap that cannot be filled meanwhile
        await until(lambda: is_live(database, 1))
        await until(lambda: status_of(database).exit_code == 0)
