"""Backfill against the sandbox: everything that was missed is stored."""

import json
import math
import random
import signal
import sys
from functools import partial
from pathlib import Path

import pysqlite3
import pytest
import trio
from typer.testing import CliRunner

from okxsync.cli import app
from okxsync.config.location import Location
from okxsync.config.settings import Settings
from okxsync.reconcile.backfill import ALL, deeper_than_kept
from okxsync.reconcile.backfill import backfill as patient_backfill
from okxsync.reconcile.timings import TIMINGS
from okxsync.sandbox.exchange.trader import Trader
from okxsync.sandbox.faults.rules import ScriptedReply
from okxsync.sandbox.server.server import Sandbox
from okxsync.store.engines import open_database, open_reader
from tests.support.traded import DAY_MS, backfill, now_us, since
from tests.support.truth import differences

pytestmark = pytest.mark.slow


async def test_an_empty_database_is_backfilled_and_a_second_backfill_changes_nothing(
    sandbox: Sandbox, settings: Settings
) -> None:
    parts = await backfill(settings.database, settings.accounts, since(2))
    assert {part.subject for part in parts} == set(ALL)
    assert all(part.done for part in parts)
    assert differences(sandbox.exchange, settings.database) == {}
    before = dump(settings.database)
    await backfill(settings.database, settings.accounts, since(2))
    assert dump(settings.database) == before


async def test_the_data_of_another_account_is_not_stored(sandbox: Sandbox, settings: Settings) -> None:
    uid = next(uid for uid, member in sandbox.exchange.members.items() if member.name == "a0")
    database = open_database(settings.database)
    for name, known in (("a0", uid), ("a1", "4711")):
        database.execute(
            "INSERT INTO accounts (name, site, demo, first_seen_at, uid) VALUES (?, 'sandbox', 1, 0, ?)", [name, known]
        )
    database.close()
    parts = await backfill(settings.database, settings.accounts, since(2))
    assert {part.account for part in parts if part.error} == {"a1"}
    assert all("belongs to OKX account" in (part.error or "") for part in parts if part.account == "a1")
    reader = open_reader(settings.database)
    assert {name for (name,) in reader.execute("SELECT DISTINCT account FROM orders")} == {"a0", "a2"}
    reader.close()


async def test_two_backfills_in_a_row_stay_within_the_rate_limits(sandbox: Sandbox, settings: Settings) -> None:
    for _ in range(2):
        await patient_backfill(settings.database, settings.accounts, since(2))
    assert sandbox.violations == []


def dump(path: Location) -> dict[str, list[tuple[object, ...]]]:
    db = pysqlite3.connect(path)
    tables = ("orders", "algo_orders", "fills", "positions", "balances", "bills", "positions_history", "deposits")
    found = {table: db.execute(f"SELECT * FROM {table} ORDER BY 1, 2, 3").fetchall() for table in tables}
    names = {table: [column[1] for column in db.execute(f"PRAGMA table_info({table})")] for table in tables}
    db.close()
    request_times = {"as_of", "full_time", "revision"}  # and how many transactions it took
    kept = {
        table: [
            index for index, name in enumerate(names[table]) if not name.endswith("_at") and name not in request_times
        ]
        for table in tables
    }
    return {table: [tuple(row[index] for index in kept[table]) for row in rows] for table, rows in found.items()}


async def test_bills_and_closed_positions_are_the_exchanges(sandbox: Sandbox, settings: Settings) -> None:
    await backfill(settings.database, settings.accounts, since(2))
    db = pysqlite3.connect(settings.database)
    for uid, member in sandbox.exchange.members.items():
        truth = {(row["billId"], row["balChg"], row["bal"]) for row in sandbox.exchange.bill_rows(uid)}
        ours = db.execute("SELECT bill_id, bal_chg, bal FROM bills WHERE account = ?", [member.name]).fetchall()
        assert set(ours) == truth
        lives = {(row["posId"], int(row["cTime"]), row["pnl"]) for row in sandbox.exchange.positions_history_rows(uid)}
        found = db.execute(
            "SELECT pos_id, c_time, pnl FROM positions_history WHERE account = ?", [member.name]
        ).fetchall()
        assert set(found) == lives
    db.close()


async def test_a_part_that_fails_is_named_and_the_others_are_done(sandbox: Sandbox, settings: Settings) -> None:
    sandbox.faults.replies += [
        ScriptedReply("account/bills", 200, '{"code":"50030","msg":"no permission","data":[]}')
    ] * 30
    parts = await backfill(settings.database, settings.accounts[:1], since(2))
    failed = [part for part in parts if part.error]
    assert [part.subject for part in failed] == ["bills"]
    assert "50030" in str(failed[0].error)
    reader = open_reader(settings.database)
    fetched = {name: span for name, *span in reader.execute("SELECT subject, since_ms, until_ms FROM fetched")}
    reader.close()
    assert set(fetched) == {part.subject for part in parts} - {"bills"}
    since_ms, until_ms = fetched["fills"]
    assert since_ms == parts[0].window.since_ms
    assert until_ms <= now_us() // 1000


@pytest.mark.parametrize(
    "answer",
    [
        ScriptedReply("trade/fills", 503, "<html>service unavailable</html>", media_type="text/html"),
        ScriptedReply("trade/fills", 200, '{"code":"0","data":[{"inst'),
        ScriptedReply("trade/fills", 429, '{"code":"50011","msg":"Too Many Requests"}'),
        ScriptedReply("trade/fills", 401, '{"code":"50102","msg":"Timestamp request expired"}'),
        ScriptedReply("trade/fills", 200, '{"code":"50001","msg":"Service temporarily unavailable","data":[]}'),
    ],
    ids=["html", "truncated", "429", "clock", "50001"],
)
async def test_transient_errors_are_retried(sandbox: Sandbox, settings: Settings, answer: ScriptedReply) -> None:
    sandbox.faults.replies.append(answer)
    parts = await backfill(settings.database, settings.accounts[:1], since(2))
    assert all(part.done for part in parts)


async def test_a_gap_of_data_that_demo_trading_has_not_ends_as_partial(sandbox: Sandbox, settings: Settings) -> None:
    refused = '{"code":"50038","msg":"This feature is unavailable in demo trading","data":[]}'
    sandbox.faults.replies += [ScriptedReply("asset/deposit-history", 200, refused)] * 2
    db = pysqlite3.connect(settings.database)
    with db:
        db.execute(
            "INSERT INTO gaps (account, channel, from_at, to_at, reason, rows, attempts)"
            " VALUES ('a0', 'deposit-info', ?, ?, 'crash', 0, 0)",
            (now_us() - 60_000_000, now_us()),
        )
    parts = await backfill(settings.database, settings.accounts[:1], None)
    assert [(part.done, part.error) for part in parts] == [(True, None)]
    ((outcome, note),) = db.execute("SELECT outcome, note FROM gaps").fetchall()
    assert outcome == "partial"
    assert "not available in demo trading" in note
    db.close()


def make_gap(settings: Settings, channel: str, from_us: int, to_us: int | None) -> None:
    db = pysqlite3.connect(settings.database)
    with db:
        db.execute(
            "INSERT INTO gaps (account, channel, from_at, to_at, reason, rows, attempts)"
            " VALUES ('a0', ?, ?, ?, 'crash', 0, 0)",
            (channel, from_us, to_us),
        )
    db.close()


def gaps_of(settings: Settings) -> dict[str, tuple[str | None, str | None]]:
    """Return outcome and note by channel."""
    db = pysqlite3.connect(settings.database)
    found = {
        channel: (outcome, note) for channel, outcome, note in db.execute("SELECT channel, outcome, note FROM gaps")
    }
    db.close()
    return found


@pytest.mark.parametrize(
    ("channel", "subjects"),
    [
        ("orders:instType=SWAP", {"orders", "fills"}),
        ("orders:instFamily=BTC-USDT", {"orders", "fills"}),
        ('account:extraParams={"updateInterval":"0"}', {"balances", "bills"}),
        ("account:ccy=BTC", {"balances", "bills"}),
        ("fills", {"fills"}),
        ("deposit-info:ccy=BTC", {"deposits"}),
    ],
)
async def test_a_gap_of_a_channel_with_arguments_is_backfilled_as_without(
    sandbox: Sandbox, settings: Settings, channel: str, subjects: set[str]
) -> None:
    make_gap(settings, channel, now_us() - 60_000_000, now_us() - 5_000_000)
    parts = await backfill(settings.database, settings.accounts[:1], None)
    assert {part.subject for part in parts} == subjects
    assert gaps_of(settings) == {channel: ("filled", None)}


async def test_a_gap_of_orders_with_arguments_is_partial_for_the_same_reason_as_without(
    sandbox: Sandbox, settings: Settings
) -> None:
    make_gap(settings, "orders:instType=SWAP", now_us() - 3 * 3600 * 1_000_000, now_us() - 5_000_000)
    await backfill(settings.database, settings.accounts[:1], None)
    outcome, note = gaps_of(settings)["orders:instType=SWAP"]
    assert (outcome, "two hours" in str(note)) == ("partial", True)


async def test_a_window_that_begins_after_a_gap_does_not_close_it_whatever_its_arguments(
    sandbox: Sandbox, settings: Settings
) -> None:
    make_gap(settings, "orders:instType=SWAP", now_us() - 3 * DAY_MS * 1000, now_us() - 5_000_000)
    await backfill(settings.database, settings.accounts[:1], since(2))
    assert gaps_of(settings) == {"orders:instType=SWAP": (None, None)}


async def test_a_gap_that_ended_just_now_is_backfilled_once_rest_knows_its_end(
    sandbox: Sandbox, settings: Settings
) -> None:
    """REST lags behind the pushes by a second."""
    await backfill(settings.database, settings.accounts, since(2))
    sandbox.faults.rest_lags_ms = 1000
    trader, from_us = Trader(sandbox.exchange, 6), now_us()
    for _ in range(100):
        sandbox.operate(trader.step)
    for name in ("orders", "account", "orders-algo"):
        make_gap(settings, name, from_us, now_us())
    await backfill(settings.database, settings.accounts[:1], None)
    assert set(gaps_of(settings).values()) == {("filled", None)}
    uid = next(iter(sandbox.exchange.members))
    db = pysqlite3.connect(settings.database)
    ours = {ord_id for (ord_id,) in db.execute("SELECT ord_id FROM orders WHERE account = 'a0'")}
    db.close()
    assert ours >= {row["ordId"] for row in sandbox.exchange.order_rows(uid)}


@pytest.mark.parametrize("instrument", ["BTC-USDT-SWAP", None])
async def test_an_order_whose_look_up_is_rejected_does_not_keep_the_gap_open(
    sandbox: Sandbox, settings: Settings, instrument: str | None
) -> None:
    await backfill(settings.database, settings.accounts, since(2))
    db = pysqlite3.connect(settings.database)
    with db:
        db.execute("UPDATE orders SET ord_id = '42', inst_id = ?, received_at = 0 WHERE rowid IN (SELECT rowid"
                   " FROM orders WHERE state = 'live' AND account = 'a0' LIMIT 1)", [instrument])  # fmt: skip
    db.close()
    refused = '{"code":"51000","msg":"Parameter instId error","data":[]}'
    sandbox.faults.replies += [ScriptedReply("trade/order", 200, refused)] * 2
    make_gap(settings, "orders", now_us() - 60_000_000, now_us() - 5_000_000)
    parts = await backfill(settings.database, settings.accounts[:1], None)
    assert all(part.done for part in parts)
    outcome, note = gaps_of(settings)["orders"]
    assert (outcome, "the end of order 42" in str(note)) == ("partial", True)
    db = pysqlite3.connect(settings.database)
    assert db.execute("SELECT state FROM orders WHERE ord_id = '42'").fetchall() == [("gone",)]
    db.close()


async def test_a_look_up_that_the_key_may_not_make_leaves_the_gap_open(sandbox: Sandbox, settings: Settings) -> None:
    await backfill(settings.database, settings.accounts, since(2))
    db = pysqlite3.connect(settings.database)
    with db:
        db.execute("UPDATE orders SET ord_id = '42', received_at = 0 WHERE rowid IN (SELECT rowid"
                   " FROM orders WHERE state = 'live' AND account = 'a0' LIMIT 1)")  # fmt: skip
    db.close()
    sandbox.faults.replies += [ScriptedReply("trade/order", 200, '{"code":"50030","msg":"no permission","data":[]}')]
    make_gap(settings, "orders", now_us() - 60_000_000, now_us() - 5_000_000)
    parts = await backfill(settings.database, settings.accounts[:1], None)
    assert [part.subject for part in parts if part.error] == ["orders"]
    assert gaps_of(settings)["orders"][0] is None


async def test_a_gap_with_an_order_that_is_not_found_ends_as_partial(sandbox: Sandbox, settings: Settings) -> None:
    await backfill(settings.database, settings.accounts, since(2))
    db = pysqlite3.connect(settings.database)
    with db:
        db.execute("UPDATE orders SET ord_id = '42', received_at = 0 WHERE rowid IN (SELECT rowid FROM orders"
                   " WHERE state = 'live' AND account = 'a0' LIMIT 1)")  # fmt: skip
    make_gap(settings, "orders", now_us() - 60_000_000, now_us() - 5_000_000)
    await backfill(settings.database, settings.accounts[:1], None)
    assert db.execute("SELECT state FROM orders WHERE ord_id = '42'").fetchall() == [("gone",)]
    assert gaps_of(settings)["orders"] == ("partial", "1 order was not found: its end is unknown (42)")
    db.close()


async def test_the_commands(sandbox: Sandbox, settings: Settings) -> None:
    config = ["--config", str(settings.path)]

    async def invoke(*arguments: str) -> tuple[int, str]:
        result = await trio.to_thread.run_sync(CliRunner().invoke, app, list(arguments))
        return result.exit_code, result.stdout

    code, output = await invoke("backfill", *config, "--since", "2d", "--json")
    assert code == 0
    assert json.loads(output)["complete"]
    assert await invoke("backfill", *config) == (0, "no open gaps\n")
    assert await invoke("verify", *config) == (0, "identical\n")
    assert await invoke("verify", *config, "--ledger") == (0, "identical\n")
    code, _ = await invoke("backfill", *config, "--since", "2d", "--account", "nobody")
    assert code == 2
    db = pysqlite3.connect(settings.database)
    with db:
        db.execute("DELETE FROM balances WHERE account = 'a1'")
    db.close()
    code, output = await invoke("verify", *config, "--json")
    assert code == 1
    assert {one["account"] for one in json.loads(output)["differences"]} == {"a1"}


def test_a_window_beyond_okx_s_retention_is_reported() -> None:
    now = 1_800_000_000_000
    assert deeper_than_kept(now - 2 * DAY_MS, now) == []
    assert any("orders" in line and "90 days" in line for line in deeper_than_kept(now - 100 * DAY_MS, now))


async def test_a_backfill_that_is_interrupted_and_repeated_ends_in_the_same_rows(
    sandbox: Sandbox, settings: Settings, tmp_path: Path
) -> None:
    complete = tmp_path / "whole.db"
    await backfill(complete, settings.accounts, since(2))
    await trio.sleep(TIMINGS.window_s)  # until its requests no longer count: another database does not know them
    moments, command = random.Random(5), [sys.executable, "-m", "okxsync", "backfill", "--config", str(settings.path)]
    for number in (signal.SIGINT, signal.SIGKILL, None):
        with trio.move_on_after(moments.uniform(0.5, 2.5) if number else math.inf):
            done = await trio.run_process(
                [*command, "--since", "2d"],
                capture_stdout=True,
                capture_stderr=True,
                deliver_cancel=partial(interrupt, number),
            )
    assert b"complete" in done.stdout
    assert dump(settings.database) == dump(complete)
    assert sandbox.violations == []


async def interrupt(number: signal.Signals | None, process: trio.Process) -> None:
    process.send_signal(number or signal.SIGKILL)
