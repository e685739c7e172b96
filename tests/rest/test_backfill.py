"""Backfill and verify against the built-in exchange: what was missed comes back, and what is wrong is found."""

import json
import math
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import msgspec
import pysqlite3
import pytest
import trio
from typer.testing import CliRunner

from okxsync.cli import app
from okxsync.config import Settings, load
from okxsync.okx.channels import subscription
from okxsync.rest.backfill import ALL, LONGEST_WINDOW_S, backfill, deeper_than_kept
from okxsync.rest.fill import Window
from okxsync.rest.verify import SUBJECTS, verify_all
from okxsync.sandbox.exchange import Exchange
from okxsync.sandbox.faults import Answer
from okxsync.sandbox.market import Trader
from okxsync.sandbox.server import Sandbox, serve_sandbox
from okxsync.store.database import open_database, open_reader
from okxsync.store.ledger import check_ledger
from tests.replay import write_config
from tests.test_truth import TRUTH, differences, snake

DAY_MS = 86_400_000


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """Three accounts that have traded for a quarter of a minute; prices stand still."""
    past_ms = [time.time_ns() // 1_000_000 - 20_000]
    exchange = Exchange(lambda: past_ms[0] if past_ms else time.time_ns() // 1_000_000, seed=11)
    for number in range(3):
        exchange.add_member(f"a{number}")
    trader = Trader(exchange, 5)
    for step in range(300):
        trader.step()
        past_ms[0] += 50
        if step % 10 == 0:
            exchange.tick()
    past_ms.clear()
    for _ in range(5):
        exchange.tick()
    async with serve_sandbox(exchange, tick_s=3600) as sandbox:
        yield sandbox


@pytest.fixture(autouse=True)
def nobody_asked_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """The budgets of each test's exchange are new."""
    monkeypatch.setattr("okxsync.rest.backfill.LONGEST_WINDOW_S", 0.0)


@pytest.fixture
def settings(sandbox: Sandbox, tmp_path: Path) -> Settings:
    settings = load(write_config(tmp_path, sandbox.accounts_toml()))
    open_database(settings.database).close()
    return settings


def since(days: int) -> Window:
    return Window(time.time_ns() // 1_000_000 - days * DAY_MS)


async def test_an_empty_database_is_filled_and_a_second_time_nothing_changes(
    sandbox: Sandbox, settings: Settings
) -> None:
    parts = await backfill(settings.database, settings.accounts, since(2))
    assert {part.subject for part in parts} == set(ALL)
    assert all(part.done for part in parts)
    assert differences(sandbox.exchange, settings.database) == {}
    before = dump(settings.database)
    await backfill(settings.database, settings.accounts, since(2))
    assert dump(settings.database) == before


async def test_what_belongs_to_another_account_is_not_filled_in(sandbox: Sandbox, settings: Settings) -> None:
    uid = next(uid for uid, member in sandbox.exchange.members.items() if member.name == "a0")
    database = open_database(settings.database)
    for name, known in (("a0", uid), ("a1", "4711")):
        database.execute(
            "INSERT INTO accounts (name, site, demo, first_seen_at, uid) VALUES (?, 'sandbox', 1, 0, ?)", [name, known]
        )
    database.conn.commit()
    database.close()
    parts = await backfill(settings.database, settings.accounts, since(2))
    assert {part.account for part in parts if part.error} == {"a1"}
    assert all("another account of OKX" in (part.error or "") for part in parts if part.account == "a1")
    reader = open_reader(settings.database)
    assert {name for (name,) in reader.execute("SELECT DISTINCT account FROM orders")} == {"a0", "a2"}
    reader.close()


async def test_two_backfills_in_a_row_stay_within_the_budgets(
    sandbox: Sandbox, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("okxsync.rest.backfill.LONGEST_WINDOW_S", LONGEST_WINDOW_S)
    for _ in range(2):
        await backfill(settings.database, settings.accounts, since(2))
    assert sandbox.violations == []


def dump(path: Path) -> dict[str, list[tuple[object, ...]]]:
    db = pysqlite3.connect(path)
    tables = ("orders", "algo_orders", "fills", "positions", "balances", "bills", "positions_history", "deposits")
    found = {table: db.execute(f"SELECT * FROM {table} ORDER BY 1, 2, 3").fetchall() for table in tables}
    names = {table: [column[1] for column in db.execute(f"PRAGMA table_info({table})")] for table in tables}
    db.close()
    kept = {table: [index for index, name in enumerate(names[table]) if not name.endswith("_at")] for table in tables}
    moving = dict.fromkeys(("deposits", "balances", "positions"), "version")  # the time of the question
    return {
        table: [tuple(row[index] for index in kept[table] if names[table][index] != moving.get(table)) for row in rows]
        for table, rows in found.items()
    }


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
    sandbox.faults.answers += [Answer("account/bills", 200, '{"code":"50030","msg":"no permission","data":[]}')] * 30
    parts = await backfill(settings.database, settings.accounts[:1], since(2))
    failed = [part for part in parts if part.error]
    assert [part.subject for part in failed] == ["bills"]
    assert "50030" in str(failed[0].error)


@pytest.mark.parametrize(
    "answer",
    [
        Answer("trade/fills", 503, "<html>service unavailable</html>", media_type="text/html"),
        Answer("trade/fills", 200, '{"code":"0","data":[{"inst'),
        Answer("trade/fills", 429, '{"code":"50011","msg":"Too Many Requests"}'),
        Answer("trade/fills", 401, '{"code":"50102","msg":"Timestamp request expired"}'),
        Answer("trade/fills", 200, '{"code":"50001","msg":"Service temporarily unavailable","data":[]}'),
    ],
    ids=["html", "truncated", "429", "clock", "50001"],
)
async def test_what_may_pass_is_asked_again(sandbox: Sandbox, settings: Settings, answer: Answer) -> None:
    sandbox.faults.answers.append(answer)
    parts = await backfill(settings.database, settings.accounts[:1], since(2))
    assert all(part.done for part in parts)


async def test_a_gap_that_a_simulated_account_cannot_answer_ends_as_partial(
    sandbox: Sandbox, settings: Settings
) -> None:
    refused = '{"code":"50038","msg":"This feature is unavailable in demo trading","data":[]}'
    sandbox.faults.answers += [Answer("asset/deposit-history", 200, refused)] * 2
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
    """Channel -> outcome and note."""
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
        ('account:extraParams={"updateInterval":"0"}', {"money", "bills"}),
        ("account:ccy=BTC", {"money", "bills"}),
        ("fills", {"fills"}),
        ("deposit-info:ccy=BTC", {"deposits"}),
    ],
)
async def test_a_gap_of_a_channel_with_arguments_is_asked_for_as_without(
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


async def test_a_gap_that_ended_just_now_is_asked_for_once_rest_knows_of_its_end(
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
async def test_an_order_that_cannot_be_looked_up_does_not_keep_the_gaps_of_all_others_open(
    sandbox: Sandbox, settings: Settings, instrument: str | None
) -> None:
    await backfill(settings.database, settings.accounts, since(2))
    db = pysqlite3.connect(settings.database)
    with db:
        db.execute("UPDATE orders SET ord_id = '42', inst_id = ?, received_at = 0 WHERE rowid IN (SELECT rowid"
                   " FROM orders WHERE state = 'live' AND account = 'a0' LIMIT 1)", [instrument])  # fmt: skip
    db.close()
    refused = '{"code":"51000","msg":"Parameter instId error","data":[]}'
    sandbox.faults.answers += [Answer("trade/order", 200, refused)] * 2
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
    sandbox.faults.answers += [Answer("trade/order", 200, '{"code":"50030","msg":"no permission","data":[]}')]
    make_gap(settings, "orders", now_us() - 60_000_000, now_us() - 5_000_000)
    parts = await backfill(settings.database, settings.accounts[:1], None)
    assert [part.subject for part in parts if part.error] == ["orders"]
    assert gaps_of(settings)["orders"][0] is None


def now_us() -> int:
    return time.time_ns() // 1000


async def test_an_order_that_is_nowhere_any_more_is_gone(sandbox: Sandbox, settings: Settings) -> None:
    await backfill(settings.database, settings.accounts, since(2))
    db = pysqlite3.connect(settings.database)
    with db:
        db.execute("UPDATE orders SET ord_id = '42', received_at = 0 WHERE rowid IN (SELECT rowid FROM orders"
                   " WHERE state = 'live' LIMIT 1)")  # fmt: skip
    await backfill(settings.database, settings.accounts, since(2))
    assert db.execute("SELECT state FROM orders WHERE ord_id = '42'").fetchall() == [("gone",)]
    db.close()


async def test_verify_finds_nothing_in_a_true_copy(sandbox: Sandbox, settings: Settings) -> None:
    await backfill(settings.database, settings.accounts, since(2))
    found, unasked = await verify_all(settings.database, settings.accounts, since(1).since_ms)
    assert (found, unasked) == ([], {})
    assert check_ledger(settings.database, [account.name for account in settings.accounts]) == []


async def test_verify_compares_what_the_subscriptions_tell(sandbox: Sandbox, settings: Settings) -> None:
    await backfill(settings.database, settings.accounts, since(2))
    swaps = (subscription({"channel": "orders", "instType": "SWAP"}),)
    accounts = [msgspec.structs.replace(account, subscriptions=swaps) for account in settings.accounts]
    db = pysqlite3.connect(settings.database)
    with db:
        for table in ("orders", "fills"):
            assert db.execute(f"DELETE FROM {table} WHERE inst_type = 'SPOT'").rowcount
        for table in ("balances", "algo_orders", "positions"):
            assert db.execute(f"DELETE FROM {table}").rowcount
    assert await verify_all(settings.database, accounts, since(1).since_ms) == ([], {})
    with db:
        db.execute("DELETE FROM fills WHERE rowid = (SELECT max(rowid) FROM fills)")
    db.close()
    found, _ = await verify_all(settings.database, accounts, since(1).since_ms)
    assert {one.table for one in found} == {"fills"}


async def test_verify_compares_fills_that_no_order_tells_of(sandbox: Sandbox, settings: Settings) -> None:
    await backfill(settings.database, settings.accounts, since(2))
    alone = [msgspec.structs.replace(one, subscriptions=(subscription("fills"),)) for one in settings.accounts]
    db = pysqlite3.connect(settings.database)
    with db:
        gone = db.execute("DELETE FROM fills").rowcount
    db.close()
    found, _ = await verify_all(settings.database, alone, since(1).since_ms)
    assert len(found) == gone > 0
    assert {one.table for one in found} == {"fills"}


async def test_verify_leaves_out_the_algo_orders_that_another_channel_tells_of(
    sandbox: Sandbox, settings: Settings
) -> None:
    await backfill(settings.database, settings.accounts, since(2))
    db = pysqlite3.connect(settings.database)
    with db:
        algo_id, account = db.execute("SELECT algo_id, account FROM algo_orders WHERE state = 'live'").fetchone()
        changed = "UPDATE algo_orders SET ord_type = 'twap', algo_id = 'x' || algo_id WHERE algo_id = ?"
        assert db.execute(changed, [algo_id]).rowcount
    db.close()
    (one,) = [one for one in settings.accounts if one.name == account]
    found, _ = await verify_all(settings.database, [one], since(1).since_ms)
    assert [one.key for one in found] == [algo_id], "it is there, and here it is not; and twap is not compared"
    advanced = msgspec.structs.replace(one, subscriptions=(subscription("algo-advance"),))
    found, _ = await verify_all(settings.database, [advanced], since(1).since_ms)
    assert [one.key for one in found] == [f"x{algo_id}"]


async def test_verify_says_when_there_is_nothing_to_compare(sandbox: Sandbox, settings: Settings) -> None:
    one = msgspec.structs.replace(settings.accounts[0], subscriptions=(subscription("deposit-info"),))
    _, unasked = await verify_all(settings.database, [one], since(1).since_ms)
    assert unasked == {one.name: "none of its channels has something to compare"}


async def test_verify_does_not_mind_how_json_is_written(sandbox: Sandbox, settings: Settings) -> None:
    await backfill(settings.database, settings.accounts, since(2))
    db = pysqlite3.connect(settings.database)
    with db:
        assert db.execute("UPDATE orders SET linked_algo_ord = replace(linked_algo_ord, ':', ' : ')"
                          " WHERE linked_algo_ord LIKE '{%:%}'").rowcount  # fmt: skip
    db.close()
    assert await verify_all(settings.database, settings.accounts, since(1).since_ms) == ([], {})


WRONG = {  # each of another account, so that one does not hide another
    "DELETE FROM fills WHERE rowid = (SELECT max(rowid) FROM fills WHERE account = 'a0')": "fills",
    "UPDATE fills SET fill_px = '1' WHERE rowid = (SELECT max(rowid) FROM fills WHERE account = 'a1')": "fills",
    "DELETE FROM orders WHERE rowid = (SELECT max(rowid) FROM orders WHERE account = 'a0' AND state = 'live')":
        "orders",
    "UPDATE orders SET sz = '99' WHERE rowid = (SELECT max(rowid) FROM orders WHERE account = 'a1' AND state = 'live')":
        "orders",
    "UPDATE orders SET state = 'live' WHERE rowid = (SELECT min(rowid) FROM orders WHERE state = 'filled')": "orders",
    "DELETE FROM positions WHERE rowid = (SELECT max(rowid) FROM positions WHERE account = 'a0' AND pos <> '0')":
        "positions",
    "UPDATE positions SET pos = '7' WHERE rowid = (SELECT max(rowid) FROM positions WHERE account = 'a1' AND pos <> 0)":
        "positions",
    "UPDATE balances SET cash_bal = '1' WHERE account = 'a0' AND ccy = 'USDT'": "balances",
    "DELETE FROM balances WHERE account = 'a1' AND ccy = 'USDT'": "balances",
    "DELETE FROM orders WHERE rowid = (SELECT max(rowid) FROM orders WHERE account = 'a2' AND state = 'filled')":
        "orders",
    "UPDATE orders SET px = 1 WHERE rowid = (SELECT min(rowid) FROM orders WHERE account = 'a2' AND state <> 'live')":
        "orders",
    "UPDATE algo_orders SET sz = '99' WHERE rowid = (SELECT max(rowid) FROM algo_orders WHERE state = 'live')":
        "algo_orders",
}  # fmt: skip


async def test_verify_finds_each_row_that_is_wrong(sandbox: Sandbox, settings: Settings) -> None:
    await backfill(settings.database, settings.accounts, since(2))
    db = pysqlite3.connect(settings.database)
    with db:
        for change in WRONG:
            assert db.execute(change).rowcount == 1, change
    db.close()
    found, unasked = await verify_all(settings.database, settings.accounts, since(1).since_ms)
    assert unasked == {}
    wrong = {(one.account, one.table, one.key) for one in found}
    assert Counter(table for _, table, _ in wrong) == Counter(WRONG.values())


@pytest.mark.parametrize(
    ("change", "table"),
    [
        ("DELETE FROM fills WHERE rowid = (SELECT max(rowid) FROM fills)", "orders"),
        ("DELETE FROM orders WHERE rowid = (SELECT max(rowid) FROM orders WHERE state = 'filled')", "orders"),
        ("DELETE FROM bills WHERE rowid = (SELECT max(rowid) - 9 FROM bills)", "bills"),
        (
            "DELETE FROM bills WHERE rowid = (SELECT rowid FROM bills ORDER BY ts DESC, bill_id DESC LIMIT 1)",
            "balances",
        ),
        ("UPDATE balances SET cash_bal = '1' WHERE account = 'a1' AND ccy = 'USDT'", "balances"),
        ("UPDATE bills SET bal = '1' WHERE rowid = (SELECT max(rowid) FROM bills)", "bills"),
    ],
)
async def test_the_ledger_finds_what_does_not_add_up(
    sandbox: Sandbox, settings: Settings, change: str, table: str
) -> None:
    await backfill(settings.database, settings.accounts, since(2))
    db = pysqlite3.connect(settings.database)
    accounts = [account.name for account in settings.accounts]
    with db:
        # All money was asked for long after it last moved.
        db.execute("INSERT INTO gaps (account, channel, from_at, to_at, reason, outcome, filled_at, rows, attempts)"
                   " SELECT DISTINCT account, 'account', 0, ?, 'crash', 'filled', 0, 0, 1 FROM bills",
                   [now_us() + 60_000_000])  # fmt: skip
    assert check_ledger(settings.database, accounts) == []
    with db:
        assert db.execute(change).rowcount == 1
    db.close()
    found = check_ledger(settings.database, accounts)
    assert table in {one.table for one in found}


async def test_the_commands(sandbox: Sandbox, settings: Settings) -> None:
    config = ["--config", str(settings.path)]

    async def invoke(*arguments: str) -> tuple[int, str]:
        result = await trio.to_thread.run_sync(CliRunner().invoke, app, list(arguments))
        return result.exit_code, result.stdout

    code, said = await invoke("backfill", *config, "--since", "2d", "--json")
    assert code == 0
    assert json.loads(said)["complete"]
    assert await invoke("backfill", *config) == (0, "no open gaps\n")
    assert await invoke("verify", *config) == (0, "identical\n")
    assert await invoke("verify", *config, "--ledger") == (0, "identical\n")
    code, _ = await invoke("backfill", *config, "--since", "2d", "--account", "nobody")
    assert code == 2
    db = pysqlite3.connect(settings.database)
    with db:
        db.execute("DELETE FROM balances WHERE account = 'a1'")
    db.close()
    code, said = await invoke("verify", *config, "--json")
    assert code == 1
    assert {one["account"] for one in json.loads(said)["differences"]} == {"a1"}


async def test_verify_says_when_it_could_not_ask(sandbox: Sandbox, settings: Settings) -> None:
    member = next(iter(sandbox.exchange.members.values()))
    sandbox.delete_key(member.credentials.api_key)
    _, unasked = await verify_all(settings.database, settings.accounts, since(1).since_ms)
    assert list(unasked) == [member.name]
    assert "50119" in unasked[member.name]


def test_a_window_deeper_than_okx_keeps_is_said_so() -> None:
    now = 1_800_000_000_000
    assert deeper_than_kept(now - 2 * DAY_MS, now) == []
    assert any("orders" in line and "90 days" in line for line in deeper_than_kept(now - 100 * DAY_MS, now))


async def test_a_backfill_that_is_interrupted_and_repeated_ends_in_the_same_rows(
    sandbox: Sandbox, settings: Settings, tmp_path: Path
) -> None:
    whole = tmp_path / "whole.db"
    await backfill(whole, settings.accounts, since(2))
    await trio.sleep(LONGEST_WINDOW_S)  # its calls leave the exchange's windows: another file does not know of them
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
    assert dump(settings.database) == dump(whole)
    assert sandbox.violations == []


async def interrupt(number: signal.Signals | None, process: trio.Process) -> None:
    process.send_signal(number or signal.SIGKILL)


async def test_verify_names_each_column_that_is_wrong(
    sandbox: Sandbox, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("okxsync.rest.verify.AGAIN_S", 0.0)
    await backfill(settings.database, settings.accounts, since(2))
    uid, member = next(iter(sandbox.exchange.members.items()))
    db = pysqlite3.connect(settings.database)
    wrong = set()
    for subject in SUBJECTS:
        told = {snake(name) for row in TRUTH[subject.table](sandbox.exchange, uid) for name in row}
        types = {name: kind for _, name, kind, *_ in db.execute(f"PRAGMA table_info({subject.table})")}
        columns = (told & types.keys()) - subject.moving - {*subject.key, "account", "source"}
        kept = columns - {"state"} if "state" in subject.where else columns  # another state is another list
        where = subject.where.format(since_ms=0, kept_ms=0)
        ((row,),) = db.execute(
            f"SELECT max(rowid) FROM {subject.table} WHERE account = ? AND {where}", [member.name]
        ).fetchall()
        assert row is not None, subject.table
        altered = sorted(kept - TIMES)
        changes = ", ".join(f'"{name}" = ?' for name in altered)
        values = [7 if types[name] == "INTEGER" else "77.7" for name in altered]
        with db:
            db.execute(f"UPDATE {subject.table} SET {changes} WHERE rowid = ?", [*values, row])
        wrong |= {(subject.table, name) for name in altered}
    db.close()
    found, _ = await verify_all(settings.database, settings.accounts, since(1).since_ms)
    assert {(one.table, one.column) for one in found} == wrong
    assert {one.account for one in found} == {member.name}


TIMES = {"fill_time", "c_time", "u_time", "acc_fill_sz"}  # decide what is asked for
