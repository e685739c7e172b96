"""Changes since a revision are exactly the rows whose content changed; a watch waits for them and misses nothing."""

import asyncio
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from okxsync import Changes, FillKey, Mirror, open_mirror
from okxsync.messages import ConfiguredAccount, Message, OrdersNotFound, Rows
from okxsync.mirror.kinds import KINDS
from tests.support.desk import MS, NOW, Desk, order

REPORT: Final = frozenset(
    "received_at raw revision source pushed_sz rank full_time absent_time as_of p_time not_found_at".split()
)
"""Columns that say when and how a row was reported."""
KEYS: Final = {
    "orders": ("ord_id",),
    "algo_orders": ("algo_id",),
    "fills": ("inst_id", "ord_id", "trade_id"),
    "positions": ("pos_id",),
    "positions_history": ("pos_id", "c_time", "direction"),
    "balances": ("ccy",),
    "equity": (),
    "bills": ("bill_id",),
    "deposits": ("dep_id",),
    "withdrawals": ("wd_id",),
}
Content: TypeAlias = dict[tuple[str, ...], dict[str, Any]]
"""What the tables hold, by table and key."""


@pytest.fixture
def desk(desk: Desk) -> Desk:
    desk.apply(ConfiguredAccount("alpha", "sandbox", True, NOW, None))
    desk.begin("account", "orders")
    return desk


@pytest.fixture
def mirror(desk: Desk) -> Iterator[Mirror]:
    with open_mirror(desk.path) as opened:
        yield opened


def content(desk: Desk) -> Content:
    found: Content = {}
    for table, key in KEYS.items():
        hidden = REPORT | ({"u_time"} if table == "equity" else set())
        for row in desk.database.query(f"SELECT * FROM {table}"):
            named = (table, *(str(row[column]) for column in key))
            found[named] = {column: value for column, value in row.items() if column not in hidden}
    return found


def reported(changes: Changes) -> set[tuple[str, ...]]:
    rows = {
        (kind.table, *(_stored(getattr(row, column)) for column in KEYS[kind.table]))
        for kind in KINDS
        for row in getattr(changes, kind.name)
    }
    return rows | {("fills", *key[1:]) for key in changes.replaced_fills}


def _stored(value: object) -> str:
    return str(int(value.timestamp() * 1000)) if isinstance(value, datetime) else str(value)


def by_rest(channel: str, *rows: object, as_of_ms: int = 0, complete: bool = False) -> Rows:
    return Rows("alpha", channel, msgspec.json.encode(rows).decode(), NOW, as_of_ms, complete)


# Random batches

times: Final = st.integers(0, 3).map(lambda later: str(MS + later))
amounts: Final = st.sampled_from(["0", "1", "2", "2.0", ""])
names: Final = st.sampled_from(["1", "2"])
Make: TypeAlias = Callable[[Desk], Message]


@st.composite
def order_rows(draw: st.DrawFn) -> dict[str, str]:
    state = draw(st.sampled_from(["live", "partially_filled", "filled", "canceled"]))
    filled = draw(amounts)
    fill = {"fillSz": filled, "fillTime": draw(times), "tradeId": draw(st.sampled_from(["0", "7", ""]))}
    return order(int(draw(names)), state=state, accFillSz=filled, px=draw(amounts), uTime=draw(times), **fill)


def _name(row: dict[str, Any]) -> object:
    return row.get("posId") or row.get("ccy") or "the account"


def snapshots(channel: str, row: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[Make]:
    event = st.sampled_from(["snapshot", "event_update"])
    return st.builds(
        lambda rows, kind: lambda desk: desk.frame(channel, *rows, eventType=kind, curPage=1, lastPage=True),
        st.lists(row, max_size=2, unique_by=_name),
        event,
    )


balances: Final = st.fixed_dictionaries({"ccy": names, "cashBal": amounts, "eq": amounts, "uTime": times})
positions: Final = st.fixed_dictionaries(
    {"posId": names, "instId": st.just("X"), "pos": amounts, "markPx": amounts, "uTime": times, "pTime": times}
)
changes_pushed: Final = st.fixed_dictionaries(
    {
        "pTime": times,
        "eventType": st.just("filled"),
        "balData": st.lists(st.fixed_dictionaries({"ccy": names, "cashBal": amounts, "uTime": times}), max_size=1),
        "posData": st.lists(positions, max_size=1),
    }
)
fills: Final = st.fixed_dictionaries(
    {"instId": st.just("BTC-USDT-SWAP"), "ordId": names, "tradeId": st.sampled_from(["-5", "7"]),
     "billId": st.just("9"), "fillSz": amounts, "fillTime": times}
)  # fmt: skip
closed: Final = st.fixed_dictionaries(
    {"posId": names, "cTime": st.just("7"), "uTime": times, "pnl": amounts,
     "direction": st.sampled_from(["long", "short", ""])}
)  # fmt: skip
deposits: Final = st.fixed_dictionaries({"depId": names, "state": names, "pTime": times})
makers: Final[st.SearchStrategy[Make]] = st.one_of(
    order_rows().map(lambda row: lambda desk: desk.frame("orders", row)),
    order_rows().map(lambda row: lambda desk: by_rest("orders", row, as_of_ms=int(row["uTime"]))),
    names.map(lambda name: lambda desk: OrdersNotFound("alpha", "orders", [name], NOW, MS + 2)),
    snapshots(
        "account",
        st.builds(lambda at, total, of: {"uTime": at, "totalEq": total, "details": of},
                  times, amounts, st.lists(balances, min_size=1, max_size=2, unique_by=_name)),
    ),
    snapshots("positions", positions),
    changes_pushed.map(lambda row: lambda desk: desk.frame("balance_and_position", row)),
    st.lists(positions, max_size=2, unique_by=_name).map(
        lambda rows: lambda desk: by_rest("positions", *rows, as_of_ms=MS + 1, complete=True)
    ),
    fills.map(lambda row: lambda desk: by_rest("fills", row)),
    amounts.map(lambda amount: lambda desk: by_rest("bills", {"billId": f"b{amount}", "balChg": amount})),
    closed.map(lambda row: lambda desk: by_rest("positions-history", row)),
    deposits.map(lambda row: lambda desk: desk.frame("deposit-info", row)),
)  # fmt: skip


@contextmanager
def fresh_desk() -> Iterator[Desk]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "okxsync.db"
        desk = Desk(path)
        desk.begin("account", "orders")
        yield desk
        desk.database.close()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.lists(makers, min_size=1, max_size=4), st.booleans()), min_size=1, max_size=8))
def test_changes_are_exactly_the_rows_whose_content_changed(batches: list[tuple[list[Make], bool]]) -> None:
    with fresh_desk() as desk, open_mirror(desk.path) as reader:
        history = [(reader.revision(), content(desk))]
        for makes, restart in batches:
            if restart:
                desk.database.close()
                at, desk = desk.at, Desk(desk.path)
                desk.at = at
            desk.apply(*(make(desk) for make in makes))
            before, now = history[-1][1], content(desk)
            found = reader.changes(history[-1][0])
            changed = {key for key in before.keys() | now.keys() if before.get(key) != now.get(key)}
            assert changed <= reported(found)
            if len(makes) == 1:  # several messages of one transaction may change a row there and back again
                assert changed == reported(found)
            history.append((found.revision, now))
        for since, before in history:  # after any revision, nothing is missed
            missed = {key for key in before.keys() | now.keys() if before.get(key) != now.get(key)}
            assert missed <= reported(reader.changes(since))
        desk.database.close()


def test_a_snapshot_that_repeats_the_state_changes_no_revision(desk: Desk, mirror: Mirror) -> None:
    def snapshot(at: int) -> None:
        details = [{"ccy": "USDT", "cashBal": "1", "eq": "1", "uTime": str(MS)}]
        account = {"uTime": str(MS + at), "totalEq": "1", "details": details}
        position = {"posId": "1", "instId": "X", "pos": "1", "markPx": "5", "uTime": str(MS), "pTime": str(MS + at)}
        pages: dict[str, Any] = {"eventType": "snapshot", "curPage": 1, "lastPage": True}
        desk.push("account", account, **pages)
        desk.push("positions", position, **pages)
        desk.push("orders", order())

    snapshot(1)
    (before,) = mirror.positions()
    since = mirror.revision()
    snapshot(2)
    (after,) = mirror.positions()
    assert not mirror.changes(since)
    assert after == before
    assert after.received_at > before.received_at


def test_an_order_that_is_not_found_is_a_change_once(desk: Desk, mirror: Mirror) -> None:
    desk.push("orders", order())
    since = mirror.revision()
    desk.apply(OrdersNotFound("alpha", "orders", ["1"], NOW, MS + 10))
    found = mirror.changes(since)
    assert [row.state for row in found.orders] == ["gone"]
    desk.apply(OrdersNotFound("alpha", "orders", ["1"], NOW, MS + 20))
    assert not mirror.changes(found.revision)


def test_a_fill_whose_made_id_is_replaced_is_named(desk: Desk, mirror: Mirror) -> None:
    desk.push("orders", order(accFillSz="2", fillSz="2", tradeId="0", fillTime=str(MS), state="filled"))
    since = mirror.revision()
    (made,) = mirror.fills()
    real = {"instId": "BTC-USDT-SWAP", "ordId": "1", "tradeId": "-5", "billId": "9", "fillSz": "2", "fillTime": str(MS)}
    desk.apply(by_rest("fills", real))
    found = mirror.changes(since)
    assert [fill.trade_id for fill in found.fills] == ["-5"]
    assert found.replaced_fills == (FillKey("alpha", "BTC-USDT-SWAP", "1", made.trade_id),)


def test_a_fill_that_is_replaced_in_the_transaction_that_adds_it_is_not_named(desk: Desk, mirror: Mirror) -> None:
    def push() -> Message:
        row = order(accFillSz="2", fillSz="2", tradeId="0", fillTime=str(MS), state="filled")
        return desk.frame("orders", row)

    real = {"instId": "BTC-USDT-SWAP", "ordId": "1", "tradeId": "-5", "billId": "9", "fillSz": "2", "fillTime": str(MS)}
    desk.apply(push(), by_rest("fills", real))
    found = mirror.changes(0)
    assert [fill.trade_id for fill in found.fills] == ["-5"]
    assert not found.replaced_fills
    desk.apply(push())  # repeated: it is the same fill, and no second one
    assert [fill.trade_id for fill in mirror.fills()] == ["-5"]
    assert not mirror.changes(0).replaced_fills


def test_a_transaction_that_fails_leaves_no_revision_behind(desk: Desk, mirror: Mirror) -> None:
    desk.push("orders", order(1))
    since = mirror.revision()
    # The second row cannot be stored: each message is then written alone, and the first one counts.
    desk.apply(desk.frame("orders", order(2)), OrdersNotFound("alpha", "orders", [object()], NOW, MS))  # type: ignore[list-item]
    assert [row.ord_id for row in mirror.changes(since).orders] == ["2"]
    assert mirror.changes(mirror.revision()).orders == ()


def test_a_revision_of_another_database_is_an_error(mirror: Mirror) -> None:
    with pytest.raises(ValueError, match="of another database"):
        mirror.changes(mirror.revision() + 1)


def test_only_of_one_account(desk: Desk, mirror: Mirror) -> None:
    desk.apply(ConfiguredAccount("beta", "sandbox", True, NOW, None))
    desk.push("orders", order())
    assert mirror.changes(0)
    assert not mirror.changes(0, account="beta")
    with pytest.raises(LookupError, match='did you mean "beta"'):
        mirror.changes(0, account="bet")


# Waiting


def test_waiting_in_a_thread(desk: Desk, mirror: Mirror) -> None:
    watch = mirror.watch()
    writer = threading.Thread(target=desk.push, args=("orders", order()))
    writer.start()
    assert [row.ord_id for row in next(watch).orders] == ["1"]
    writer.join()


async def test_waiting_in_trio(desk: Desk, mirror: Mirror, autojump_clock: trio.testing.MockClock) -> None:
    seen: list[str] = []

    async def follow() -> None:
        async for changes in mirror.watch():
            seen.extend(row.ord_id for row in changes.orders)
            if "3" in seen:
                break

    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow)
        for number in (1, 2, 3):
            await trio.sleep(1)
            desk.push("orders", order(number))
    assert seen == ["1", "2", "3"]


def test_waiting_in_asyncio(desk: Desk, mirror: Mirror) -> None:
    async def follow() -> list[str]:
        watch = mirror.watch()
        first = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(0)
        desk.push("orders", order(1))
        changes = await first
        return [row.ord_id for row in changes.orders]

    assert asyncio.run(follow()) == ["1"]


async def test_a_cancelled_wait_can_go_on(desk: Desk, mirror: Mirror, autojump_clock: trio.testing.MockClock) -> None:
    watch = mirror.watch()
    with trio.move_on_after(1):
        await anext(watch)
    with trio.CancelScope() as scope:
        scope.cancel()
        desk.push("orders", order())
        await anext(watch)
    assert scope.cancelled_caught
    assert [row.ord_id for row in (await anext(watch)).orders] == ["1"]
    tasks = trio.lowlevel.current_statistics().tasks_living
    with trio.move_on_after(1):
        await anext(watch)
    assert trio.lowlevel.current_statistics().tasks_living == tasks


def test_a_watch_of_a_quiet_account_does_not_read_the_changes_of_others_again(desk: Desk, mirror: Mirror) -> None:
    desk.apply(ConfiguredAccount("beta", "sandbox", True, NOW, None))
    watch = mirror.watch(account="beta")
    desk.push("orders", order())
    assert watch._look() is None
    assert watch.revision == mirror.revision()
