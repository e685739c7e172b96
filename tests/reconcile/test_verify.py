"""Verify against the sandbox: what is wrong is found, and nothing else."""

from collections import Counter

import msgspec
import pysqlite3
import pytest

from okxsync.config.settings import Settings
from okxsync.mirror.ledger import check_ledger
from okxsync.okx.channels import subscription
from okxsync.reconcile.verify import SUBJECTS, verify_all
from okxsync.sandbox.server.server import Sandbox
from tests.support.traded import backfill, now_us, since
from tests.support.truth import TRUTH, snake

pytestmark = pytest.mark.slow


async def test_verify_finds_nothing_in_a_true_copy(sandbox: Sandbox, settings: Settings) -> None:
    await backfill(settings.database, settings.accounts, since(2))
    found, uncompared = await verify_all(settings.database, settings.accounts, since(1).since_ms)
    assert (found, uncompared) == ([], {})
    assert check_ledger(settings.database, [account.name for account in settings.accounts]) == []


async def test_verify_compares_what_the_subscriptions_report(sandbox: Sandbox, settings: Settings) -> None:
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


async def test_verify_compares_fills_of_an_account_without_the_channel_orders(
    sandbox: Sandbox, settings: Settings
) -> None:
    await backfill(settings.database, settings.accounts, since(2))
    alone = [msgspec.structs.replace(one, subscriptions=(subscription("fills"),)) for one in settings.accounts]
    db = pysqlite3.connect(settings.database)
    with db:
        deleted = db.execute("DELETE FROM fills").rowcount
    db.close()
    found, _ = await verify_all(settings.database, alone, since(1).since_ms)
    assert len(found) == deleted > 0
    assert {one.table for one in found} == {"fills"}


async def test_verify_leaves_out_the_algo_orders_that_another_channel_reports(
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


async def test_verify_reports_that_there_is_nothing_to_compare(sandbox: Sandbox, settings: Settings) -> None:
    one = msgspec.structs.replace(settings.accounts[0], subscriptions=(subscription("deposit-info"),))
    _, uncompared = await verify_all(settings.database, [one], since(1).since_ms)
    assert uncompared == {one.name: "none of its channels can be compared"}


async def test_verify_ignores_the_spacing_of_json(sandbox: Sandbox, settings: Settings) -> None:
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
    found, uncompared = await verify_all(settings.database, settings.accounts, since(1).since_ms)
    assert uncompared == {}
    wrong = {(one.account, one.table, one.key) for one in found}
    assert Counter(table for _, table, _ in wrong) == Counter(WRONG.values())


OF_ITS_CURRENCY = "SELECT 1 FROM bills WHERE account = one.account AND ccy = one.ccy AND ts"
IN_THE_MIDDLE = (
    f"CAST(bal_chg AS REAL) <> 0 AND EXISTS ({OF_ITS_CURRENCY} < one.ts) AND EXISTS ({OF_ITS_CURRENCY} > one.ts)"
)


@pytest.mark.parametrize(
    ("change", "table"),
    [
        ("DELETE FROM fills WHERE rowid = (SELECT max(rowid) FROM fills)", "orders"),
        ("DELETE FROM orders WHERE rowid = (SELECT max(rowid) FROM orders WHERE state = 'filled')", "orders"),
        (f"DELETE FROM bills WHERE rowid = (SELECT max(rowid) FROM bills AS one WHERE {IN_THE_MIDDLE})", "bills"),
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
        # All balances were fetched long after they last changed.
        db.execute("INSERT INTO gaps (account, channel, from_at, to_at, reason, outcome, filled_at, rows, attempts)"
                   " SELECT DISTINCT account, 'account', 0, ?, 'crash', 'filled', 0, 0, 1 FROM bills",
                   [now_us() + 60_000_000])  # fmt: skip
    assert check_ledger(settings.database, accounts) == []
    with db:
        assert db.execute(change).rowcount == 1
    db.close()
    found = check_ledger(settings.database, accounts)
    assert table in {one.table for one in found}


async def test_verify_reports_an_account_that_could_not_be_compared(sandbox: Sandbox, settings: Settings) -> None:
    member = next(iter(sandbox.exchange.members.values()))
    sandbox.delete_key(member.credentials.api_key)
    _, uncompared = await verify_all(settings.database, settings.accounts, since(1).since_ms)
    assert list(uncompared) == [member.name]
    assert "50119" in uncompared[member.name]


async def test_verify_names_each_column_that_is_wrong(sandbox: Sandbox, settings: Settings) -> None:
    await backfill(settings.database, settings.accounts, since(2))
    uid, member = next(iter(sandbox.exchange.members.items()))
    db = pysqlite3.connect(settings.database)
    wrong = set()
    for subject in SUBJECTS:
        reported = {snake(name) for row in TRUTH[subject.table](sandbox.exchange, uid) for name in row}
        types = {name: kind for _, name, kind, *_ in db.execute(f"PRAGMA table_info({subject.table})")}
        columns = (reported & types.keys()) - subject.rules.moving - {*subject.key, "account", "source"}
        altered = sorted(columns - TIMES)
        for where in LISTED[subject.table]:
            ((row,),) = db.execute(
                f"SELECT max(rowid) FROM {subject.table} WHERE account = ? AND {where}", [member.name]
            ).fetchall()
            assert row is not None, (subject.table, where)
            kept = [name for name in altered if (subject.table, name) not in UNCOMPARED]
            changes = ", ".join(f'"{name}" = ?' for name in kept)
            values = [7 if types[name] == "INTEGER" else "77.7" for name in kept]
            with db:
                db.execute(f"UPDATE {subject.table} SET {changes} WHERE rowid = ?", [*values, row])
            wrong |= {(subject.table, name) for name in kept}
    db.close()
    found, _ = await verify_all(settings.database, settings.accounts, since(1).since_ms, again_s=0.0)
    assert {(one.table, one.column) for one in found} == wrong
    assert {one.account for one in found} == {member.name}


LISTED = {
    "orders": ("state = 'live'", "state = 'filled'"),
    "algo_orders": ("state = 'live'",),
    "positions": ("pos <> '0'",),
    "balances": ("cash_bal <> '0'",),
    "fills": ("bill_id IS NOT NULL",),
}
UNCOMPARED = {
    ("algo_orders", "state"),  # of what has ended another list would be read
    ("positions", "spot_in_use_ccy"),  # the currency of nothing
}
TIMES = {"fill_time", "c_time", "u_time", "acc_fill_sz"}  # they decide what is requested
