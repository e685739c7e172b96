"""Rows end as the exchange's history does, whatever the order in which pushes, REST rows and closings arrive."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from okxsync.messages import Message, OrdersNotFound, Rows
from okxsync.okx.models import AlgoOrder, Order
from okxsync.store.decode import Value, number
from okxsync.store.tables import ALGO_ORDERS, ENDED, ORDERS, algo_rank, order_rank
from tests.support.desk import MS, Desk, order


def push(state: str, filled: str, u_time: int, trade_id: str = "", source: str = "ws") -> tuple[Any, ...]:
    row = Order(state=state, acc_fill_sz=filled, u_time=str(u_time), trade_id=trade_id)
    values: dict[str, Value] = {
        **dict.fromkeys(ORDERS.columns, ""),
        "rank": order_rank(row, source), "acc_fill_sz": filled, "u_time": str(u_time), "source": source
    }  # fmt: skip
    return ORDERS.clocks(list(values.values()))


def rest(state: str, filled: str, u_time: int) -> tuple[Any, ...]:
    return push(state, filled, u_time, source="rest")


def test_orders_only_progress() -> None:
    history = [
        push("live", "0", 1000),
        push("live", "0", 1005),  # amended
        push("partially_filled", "9", 1005, "1"),
        push("partially_filled", "10", 1005, "2"),
        push("canceled", "10", 1006),
    ]
    assert history == sorted(history)
    assert len(set(history)) == len(history)


def test_an_end_that_is_reported_again_later_does_not_replace_the_first_report() -> None:
    assert push("canceled", "1", 2000) > push("canceled", "1", 2001)


def test_filled_without_a_fill_is_a_market_orders_last_push() -> None:
    assert push("filled", "5", 1001) > push("filled", "5", 1000, trade_id="77")


def test_a_push_beats_the_same_state_by_rest_but_not_a_later_one() -> None:
    assert push("live", "0", 1000) > rest("live", "0", 1000)
    assert push("filled", "5", 1000, "1") > rest("filled", "5", 1000)
    assert rest("filled", "5", 1002) > push("partially_filled", "5", 1001)
    assert rest("live", "0", 1001) > push("live", "0", 1000)


def test_algo_orders_are_compared_by_time_then_by_state() -> None:
    def clock(state: str, u_time: int, p_time: str = "") -> tuple[Any, ...]:
        rank = algo_rank(AlgoOrder(state=state))
        values: dict[str, Value] = {
            **dict.fromkeys(ALGO_ORDERS.columns, ""),
            "rank": rank,
            "u_time": str(u_time),
            "p_time": p_time,
        }
        return ALGO_ORDERS.clocks(list(values.values()))

    assert clock("live", 1000) < clock("effective", 1000) < clock("live", 1001)
    assert clock("live", 1000, "5") < clock("live", 1000, "60")
    assert algo_rank(AlgoOrder(state="canceled")) == algo_rank(AlgoOrder(state="not documented")) == ENDED


@given(st.text() | st.sampled_from(["NaN", "sNaN", "-Infinity", "1E+999999", "1E-999999"]))
def test_whatever_is_reported_as_a_number_can_be_calculated_with(text: str) -> None:
    found = number(text)
    assert found == found
    assert (found * found + 1).is_finite()


# Orders that REST did not find


def state_of(desk: Desk) -> str:
    return str(desk.rows("SELECT state FROM orders")[0][0])


def not_found(as_of_ms: int, at: int = MS * 1000) -> OrdersNotFound:
    return OrdersNotFound("alpha", "orders", ["1"], at, as_of_ms)


def by_rest(as_of_ms: int, *rows: object, channel: str = "orders", complete: bool = False, at: int = 0) -> Rows:
    text = msgspec.json.encode(rows).decode()
    return Rows("alpha", channel, text, at or as_of_ms * 1000, as_of_ms, complete)


def test_an_order_that_rest_did_not_find_is_replaced_by_an_end_and_by_what_happened_since(desk: Desk) -> None:
    desk.push("orders", order(uTime=str(MS)))
    desk.apply(not_found(MS))
    assert state_of(desk) == "live"  # it may have been placed just then
    desk.apply(not_found(MS + 10))
    assert state_of(desk) == "gone"
    desk.push("orders", order(uTime=str(MS + 9)))
    assert state_of(desk) == "gone"
    desk.push("orders", order(uTime=str(MS + 10)))
    assert state_of(desk) == "live"
    desk.apply(not_found(MS + 20))
    desk.push("orders", order(state="canceled", uTime=str(MS + 5)))
    assert state_of(desk) == "canceled"
    desk.apply(not_found(MS + 30))
    assert state_of(desk) == "canceled"


def test_an_order_that_rest_finds_later_is_not_gone(desk: Desk) -> None:
    desk.push("orders", order())
    desk.apply(not_found(MS + 10, at=MS * 1000))
    desk.apply(by_rest(MS + 9, order(), at=MS * 1000 + 1))
    assert state_of(desk) == "live"


# Who reported a state first


def source_of(desk: Desk, table: str = "orders") -> str:
    return str(desk.rows(f"SELECT source FROM {table}")[0][0])


def test_a_state_that_only_rest_has_reported_is_marked_until_it_is_pushed(desk: Desk) -> None:
    desk.push("orders", order(px="5"))
    desk.apply(by_rest(MS + 1, order(px="5.0")))
    assert source_of(desk) == "ws"
    amended = order(px="6", uTime=str(MS + 40))
    desk.apply(by_rest(MS + 50, amended))
    assert source_of(desk) == "rest"
    desk.push("orders", amended | {"uTime": str(MS + 37)})  # the push may have another time
    assert source_of(desk) == "ws"
    assert desk.rows("SELECT px, u_time FROM orders") == [("6", MS + 40)]


def test_a_state_that_rest_reports_with_a_later_time_was_pushed_if_nothing_else_differs(desk: Desk) -> None:
    desk.push("orders", order(state="filled", accFillSz="10", fillSz="10", tradeId="1"))
    desk.apply(by_rest(MS + 9, order(state="filled", accFillSz="10.0", uTime=str(MS + 3))))
    assert source_of(desk) == "ws"


def test_a_fill_is_pushed_whether_rest_reports_it_before_or_after(desk: Desk) -> None:
    fill = {"instId": "BTC-USDT-SWAP", "ordId": "1", "tradeId": "9", "billId": "3", "fillSz": "2", "ts": str(MS)}
    desk.apply(by_rest(MS, fill, channel="fills"))
    assert source_of(desk, "fills") == "rest"
    desk.push("orders", order(accFillSz="2", fillSz="2", tradeId="9"))
    assert desk.rows("SELECT source, bill_id FROM fills") == [("ws", "3")]
    desk.apply(by_rest(MS + 1, fill, channel="fills"))
    assert source_of(desk, "fills") == "ws"


def cash(amount: str, u_time: int) -> dict[str, object]:
    return {"ccy": "USDT", "cashBal": amount, "uTime": str(u_time)}


def test_a_change_of_cash_that_only_rest_has_reported_is_marked_until_it_is_pushed(desk: Desk) -> None:
    desk.push("account", {"uTime": str(MS), "details": [cash("5", MS)]})
    desk.apply(by_rest(MS + 8, {"details": [cash("5.00", MS + 3)]}, channel="account"))
    assert source_of(desk, "balances") == "ws"
    desk.apply(by_rest(MS + 90, {"details": [cash("7", MS + 50)]}, channel="account"))
    assert source_of(desk, "balances") == "rest"
    desk.push("account", {"uTime": str(MS + 70), "details": [cash("5", MS)]})
    assert source_of(desk, "balances") == "rest"
    change = {"pTime": str(MS + 60), "eventType": "transferred", "balData": [cash("7", MS + 49)], "posData": []}
    desk.push("balance_and_position", change)
    assert source_of(desk, "balances") == "ws"


# Balances and positions, in every order


class Report(msgspec.Struct, frozen=True):
    """One report of an amount: a change, a full row, or a snapshot that does not name it."""

    kind: str  # change, full, absent
    by_rest: bool
    amount: str
    changed_ms: int
    as_of_ms: int


SPACING_MS: Final = 1000


@st.composite
def histories(draw: st.DrawFn) -> list[Report]:
    """One amount changes, moves with the price, vanishes once and comes back; some of what is reported of it.

    Once, for a row that is closed is not closed again: regular snapshots would rewrite all that ever was.
    Two channels give the same change times that differ, by less than the changes are apart.
    """
    amount, changed_ms = "1", MS
    reports = [Report("full", False, amount, changed_ms, MS + 1)]
    for step in range(draw(st.integers(2, 7))):
        at = MS + SPACING_MS * (step + 1)
        present = amount != "0"
        match draw(st.sampled_from(["change", "price", "vanish"])):
            case "change":
                amount, changed_ms = str(step + 2), at
            case "vanish" if present and all(report.kind != "absent" for report in reports):
                amount, changed_ms = "0", at
                reports.append(Report("absent", draw(st.booleans()), "0", at, at + 400))
                continue
            case _ if not present:
                continue
        if changed_ms == at and draw(st.booleans()):
            reports.append(Report("change", False, amount, at + draw(st.integers(0, 300)), 0))
        for _ in range(draw(st.integers(1, 2))):
            as_of = at + 350 + draw(st.integers(0, 300))
            reports.append(Report("full", draw(st.booleans()), amount, changed_ms, as_of))
    return reports


def message(desk: Desk, report: Report, table: str) -> Message:
    changed, as_of = str(report.changed_ms), str(report.as_of_ms)
    if table == "balances":
        row: dict[str, object] = cash(report.amount, report.changed_ms) | {"eq": as_of}
        full: dict[str, object] = {"uTime": as_of, "details": [] if report.kind == "absent" else [row]}
        data = {
            "pTime": changed,
            "eventType": "filled",
            "balData": [cash(report.amount, report.changed_ms)],
            "posData": [],
        }
        channel = "account"
    else:
        row = {"posId": "1", "instId": "X", "pos": report.amount, "uTime": changed, "pTime": as_of, "upl": as_of}
        full = {**row, "posId": "2"} if report.kind == "absent" else row
        data = {"pTime": changed, "eventType": "filled", "balData": [], "posData": [row]}
        channel = "positions"
    if report.kind == "change":
        return desk.frame("balance_and_position", data)
    if report.by_rest:
        return by_rest(report.as_of_ms, full, channel=channel, complete=True)
    envelope = {"eventType": "snapshot", "curPage": 1, "lastPage": True}
    return desk.frame(channel, full, arg={"instType": "ANY"} if channel == "positions" else None, **envelope)


FINAL: Final = {
    "balances": "SELECT cash_bal, u_time, full_time, eq FROM balances WHERE ccy = 'USDT'",
    "positions": "SELECT pos, u_time, full_time, iif(pos = '0', NULL, upl) FROM positions WHERE pos_id = '1'",
}


@pytest.fixture(scope="module")
def shared_desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    desk = Desk(tmp_path_factory.mktemp("desk") / "okxsync.db")
    yield desk
    desk.database.close()


def final(desk: Desk, reports: Sequence[Report], sizes: Sequence[int], table: str) -> list[tuple[Any, ...]]:
    desk.db.execute(f"DELETE FROM {table}")
    messages = [message(desk, report, table) for report in reports]
    for size in sizes:
        desk.apply(*messages[:size])
        del messages[:size]
    desk.apply(*messages)
    assert desk.rows("SELECT kind, what FROM anomalies") == []
    return desk.rows(FINAL[table])


@settings(max_examples=100)
@given(st.data(), st.sampled_from(["balances", "positions"]))
def test_balances_and_positions_do_not_depend_on_the_order_of_reports(
    shared_desk: Desk, data: st.DataObject, table: str
) -> None:
    reports = data.draw(histories())
    shuffled = data.draw(st.permutations(reports[1:]))  # the row is there: what is not cannot be absent
    repeated = [reports[0], *shuffled, *data.draw(st.lists(st.sampled_from(reports), max_size=3))]
    sizes = data.draw(st.lists(st.integers(1, 4), max_size=4))
    expected = final(shared_desk, reports, [], table)
    assert final(shared_desk, repeated, sizes, table) == expected
    assert expected[0][0] == reports[-1].amount
    assert expected[0][2] == max(report.as_of_ms for report in reports)
