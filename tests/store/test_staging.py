"""From frames to rows: each rule of the mirror, on a real database file."""

import tempfile
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from okxsync.messages import ConfiguredAccount, Frames, Message, Note, OrdersNotFound, Rows
from okxsync.store import decode
from okxsync.store.engines import open_database
from okxsync.store.writer import Writer
from tests.support.desk import MS, NOW, Desk, make_database, order


@pytest.fixture
def desk(desk: Desk) -> Desk:
    desk.begin("orders", "account", "positions", "balance_and_position")
    return desk


def test_an_order_is_a_row_with_every_value_as_sent(desk: Desk) -> None:
    desk.push("orders", order(px="30000.50", sz="0.10", tag="", reduceOnly="false"))
    assert desk.rows("SELECT px, sz, tag, source FROM orders") == [("30000.50", "0.10", None, "ws")]


def test_the_last_of_many_updates_stands_and_every_fill_is_kept(desk: Desk) -> None:
    desk.apply(
        desk.frame("orders", order()),
        desk.frame(
            "orders", order(state="partially_filled", accFillSz="4", fillSz="4", tradeId="1", uTime=str(MS + 1))
        ),
        desk.frame("orders", order(state="filled", accFillSz="10", fillSz="6", tradeId="2", uTime=str(MS + 2))),
    )
    assert desk.rows("SELECT state, acc_fill_sz FROM orders") == [("filled", "10")]
    assert desk.rows("SELECT trade_id, fill_sz, trade_id_made FROM fills ORDER BY trade_id") == [
        ("1", "4", 0),
        ("2", "6", 0),
    ]


def test_an_old_push_changes_nothing(desk: Desk) -> None:
    desk.push("orders", order(state="canceled", uTime=str(MS + 5)))
    desk.push("orders", order(state="live", uTime=str(MS)))
    assert desk.rows("SELECT state, u_time FROM orders") == [("canceled", MS + 5)]


def test_the_last_push_of_a_market_order_makes_no_fill(desk: Desk) -> None:
    desk.push("orders", order(state="partially_filled", accFillSz="10", fillSz="10", tradeId="7", fillTime=str(MS)))
    desk.push("orders", order(state="filled", accFillSz="10", fillSz="0", tradeId="", uTime=str(MS + 1)))
    assert desk.rows("SELECT trade_id FROM fills") == [("7",)]
    assert desk.rows("SELECT state FROM orders") == [("filled",)]


@pytest.mark.parametrize("trade_id", ["", "0"])
def test_a_fill_without_trade_id_gets_a_stable_one(desk: Desk, trade_id: str) -> None:
    fill = order(state="partially_filled", accFillSz="4", fillSz="4", tradeId=trade_id, fillTime=str(MS))
    desk.push("orders", fill)
    desk.push("orders", fill | {"uTime": str(MS + 9)})  # the same, reported again
    desk.push("orders", fill | {"accFillSz": "8", "uTime": str(MS + 10)})
    assert desk.rows("SELECT trade_id_made, fill_sz FROM fills") == [(1, "4"), (1, "4")]


def test_rest_adds_to_a_fill_what_only_it_knows(desk: Desk) -> None:
    pushed = order(state="filled", accFillSz="4", fillSz="4", tradeId="7", fillFee="-0.1", fillFeeCcy="USDT")
    by_rest = '[{"instId":"BTC-USDT-SWAP","ordId":"1","tradeId":"7","billId":"99","fillSz":"4","fee":"-0.1","ts":"5"}]'
    desk.push("orders", pushed)
    desk.apply(Rows("alpha", "fills", by_rest, NOW))
    desk.push("orders", pushed)
    assert desk.rows("SELECT bill_id, fee, fee_ccy, ts, source FROM fills") == [("99", "-0.1", "USDT", 5, "ws")]


def test_a_rest_row_does_not_clear_what_only_pushes_report(desk: Desk) -> None:
    desk.push("orders", order(state="partially_filled", accFillSz="4", fillSz="4", tradeId="7", execType="M"))
    desk.apply(Rows("alpha", "orders", f'[{{"ordId":"1","state":"filled","accFillSz":"10","uTime":"{MS + 5}"}}]', NOW))
    assert desk.rows("SELECT state, exec_type, source FROM orders") == [("filled", "M", "rest")]


def not_found(as_of_ms: int, channel: str = "orders", at: int = NOW) -> OrdersNotFound:
    return OrdersNotFound("alpha", channel, ["1"], at, as_of_ms)


def state(desk: Desk, table: str = "orders") -> str:
    ((found,),) = desk.rows(f"SELECT state FROM {table}")
    return str(found)


def test_an_order_that_is_not_found_changes_its_state_only(desk: Desk) -> None:
    row = order(state="partially_filled", accFillSz="5", fillSz="5", tradeId="7", px="10", clOrdId="c1")
    desk.push("orders", row)
    before = desk.rows("SELECT px, sz, acc_fill_sz, cl_ord_id, side, c_time, u_time, exec_type, raw FROM orders")
    desk.apply(not_found(MS + 5))
    assert state(desk) == "gone"
    after = desk.rows("SELECT px, sz, acc_fill_sz, cl_ord_id, side, c_time, u_time, exec_type, raw FROM orders")
    assert after == before


AFTER_NOT_FOUND: dict[str, tuple[dict[str, str], str]] = {
    "a fill from before": ({"state": "partially_filled", "accFillSz": "6", "uTime": str(MS + 4)}, "gone"),
    "alive later": ({"state": "live", "uTime": str(MS + 6)}, "live"),
    "a fill later": ({"state": "partially_filled", "accFillSz": "6", "uTime": str(MS + 6)}, "partially_filled"),
    "an end from before": ({"state": "canceled", "uTime": str(MS + 1)}, "canceled"),
    "an end later": ({"state": "filled", "accFillSz": "10", "uTime": str(MS + 9)}, "filled"),
}


@pytest.mark.parametrize("case", AFTER_NOT_FOUND)
@pytest.mark.parametrize("not_found_first", [True, False])
@pytest.mark.parametrize("at_once", [True, False])
def test_not_found_and_reported_in_either_order_give_the_same_row(
    desk: Desk, case: str, not_found_first: bool, at_once: bool
) -> None:
    fields, expected = AFTER_NOT_FOUND[case]
    desk.push("orders", order())
    pushed = desk.frame("orders", order(1, **fields))
    messages: list[Message] = [not_found(MS + 5), pushed] if not_found_first else [pushed, not_found(MS + 5)]
    for part in [messages] if at_once else [[one] for one in messages]:
        desk.apply(*part)
    desk.apply(not_found(MS + 5))
    assert state(desk) == expected


def by_rest(rows: list[dict[str, str]], at: int, channel: str = "orders") -> Rows:
    return Rows("alpha", channel, text(rows), at)


def test_an_order_that_rest_reports_later_is_not_gone(desk: Desk) -> None:
    desk.push("orders", order())
    desk.apply(by_rest([order()], NOW - 1), not_found(MS + 5, at=NOW), by_rest([order()], NOW - 1))
    assert state(desk) == "gone"
    desk.apply(by_rest([order()], NOW + 1))
    assert state(desk) == "live"


def test_an_algo_order_that_is_not_found_follows_the_same_rules(desk: Desk) -> None:
    row = {"algoId": "1", "instId": "X", "ordType": "trigger", "state": "live", "uTime": str(MS), "sz": "3"}
    desk.push("orders-algo", row)
    desk.apply(not_found(MS + 5, "orders-algo"))
    desk.push("orders-algo", row | {"uTime": str(MS + 4)})
    assert desk.rows("SELECT state, sz FROM algo_orders") == [("gone", "3")]
    desk.push("orders-algo", row | {"uTime": str(MS + 6)})
    assert state(desk, "algo_orders") == "live"
    desk.apply(not_found(MS + 9, "orders-algo"), by_rest([row | {"uTime": str(MS + 6)}], NOW - 1, "orders-algo"))
    assert state(desk, "algo_orders") == "gone"
    desk.apply(by_rest([row | {"uTime": str(MS + 6)}], NOW + 1, "orders-algo"))
    assert state(desk, "algo_orders") == "live"
    desk.apply(not_found(MS + 12, "orders-algo"))
    desk.apply(by_rest([row | {"state": "canceled", "uTime": str(MS + 7)}], NOW - 1, "orders-algo"))
    assert state(desk, "algo_orders") == "canceled"
    desk.apply(not_found(MS + 20, "orders-algo"))
    assert state(desk, "algo_orders") == "canceled"


LIQUIDATED = {"ordId": "1", "instId": "BTC-USDT-SWAP", "fillPx": "9"}


def liquidation(filled: str, size: str, at: int) -> dict[str, str]:
    """A push: its trade id is 0."""
    fill = {"accFillSz": filled, "fillSz": size, "tradeId": "0", "fillTime": str(at), "uTime": str(at)}
    return order(1, state="partially_filled", category="full_liquidation", **fill)


@pytest.mark.parametrize("seed", range(12))
def test_a_synthetic_fill_is_replaced_when_rest_reports_it(desk: Desk, seed: int) -> None:
    pushes = [liquidation("3", "3", MS + 1), liquidation("8", "5", MS + 2), liquidation("10", "2", MS + 2)]
    reported = [("-1", "3", MS + 1), ("-2", "5", MS + 2), ("-3", "2", MS + 2)]
    messages: list[Message] = [desk.frame("orders", row) for row in pushes + pushes[1:]]
    for name, size, at in reported:
        fill = LIQUIDATED | {"tradeId": name, "billId": f"b{name}", "fillSz": size, "fillTime": str(at), "ts": str(at)}
        messages.append(by_rest([fill], NOW, "fills"))
    random = Random(seed)
    random.shuffle(messages)
    while messages:
        cut = random.randint(1, len(messages))
        desk.apply(*messages[:cut])
        messages = messages[cut:]
    assert desk.rows("SELECT trade_id, fill_sz, trade_id_made FROM fills ORDER BY 1") == [
        ("-1", "3", 0),
        ("-2", "5", 0),
        ("-3", "2", 0),
    ]


def test_a_synthetic_fill_stays_while_rest_reports_others(desk: Desk) -> None:
    desk.push("orders", liquidation("3", "3", MS + 1), liquidation("8", "5", MS + 2))
    fill = LIQUIDATED | {"tradeId": "-1", "billId": "1", "fillSz": "3", "fillTime": str(MS + 1)}
    later = LIQUIDATED | {"tradeId": "-3", "billId": "3", "fillSz": "9", "fillTime": str(MS + 3)}
    desk.apply(by_rest([later, fill], NOW, "fills"))
    assert desk.rows("SELECT trade_id_made, fill_sz FROM fills ORDER BY fill_time") == [(0, "3"), (1, "5"), (0, "9")]
    other = LIQUIDATED | {"ordId": "2", "tradeId": "-7", "billId": "7", "fillSz": "9", "fillTime": str(MS)}
    desk.apply(by_rest([other], NOW, "fills"))
    assert desk.rows("SELECT count(*) FROM fills WHERE trade_id_made = 1") == [(1,)]


def balance(ccy: str, amount: str, u_time: int = MS) -> dict[str, str]:
    return {"ccy": ccy, "eq": amount, "cashBal": amount, "availBal": amount, "uTime": str(u_time)}


def account(u_time: int, *details: dict[str, str]) -> dict[str, Any]:
    return {"uTime": str(u_time), "totalEq": "5", "details": list(details)}


def snapshot(page: int = 1, last: bool = True) -> dict[str, Any]:
    return {"eventType": "snapshot", "curPage": page, "lastPage": last}


def balances(desk: Desk) -> dict[str, str]:
    return dict(desk.rows("SELECT ccy, eq FROM balances"))


BORROWED = {
    "ccy": "BTC", "eq": "-0.5001", "cashBal": "-0.5", "availBal": "0", "liab": "0.5", "crossLiab": "0.5",
    "interest": "0.0001", "borrowFroz": "100", "imr": "12", "mmr": "5", "ordFrozen": "1", "fixedBal": "2",
    "stgyEq": "3", "uplLiab": "4", "mgnRatio": "7", "maxLoan": "8", "accAvgPx": "9", "collateralEnabled": True,
    "uTime": str(MS),
}  # fmt: skip


@pytest.mark.parametrize("by_rest", [False, True])
def test_a_currency_that_a_complete_list_does_not_name_has_no_amount_and_no_debt(desk: Desk, by_rest: bool) -> None:
    desk.push("account", {"uTime": str(MS), "details": [BORROWED, balance("USDT", "5")]}, **snapshot())
    later = account(MS + 5000, balance("USDT", "5"))
    if by_rest:
        desk.apply(Rows("alpha", "account", text([later]), NOW, MS + 5000, True))
    else:
        desk.push("account", later, **snapshot())
    (row,) = list(desk.database.query("SELECT * FROM balances WHERE ccy = 'BTC'"))
    left = {name for name in decode.BALANCE.columns if row[name] not in (None, "0")}
    assert left == {"ccy", "u_time", "collateral_enabled"}
    assert row["liab"] == row["eq"] == "0"
    assert (row["mgn_ratio"], row["max_loan"], row["acc_avg_px"]) == (None, None, None)
    revision = row["revision"]
    desk.push("account", account(MS + 9000, balance("USDT", "5")), **snapshot())
    assert desk.rows("SELECT revision FROM balances WHERE ccy = 'BTC'") == [(revision,)], "it is closed once"
    assert desk.rows("SELECT liab, eq FROM balances WHERE ccy = 'USDT'") == [(None, "5")]


def test_a_debt_that_an_earlier_version_left_behind_is_reset(desk: Desk) -> None:
    desk.push("account", {"uTime": str(MS), "details": [BORROWED | {"eq": "0", "cashBal": "0"}]}, **snapshot())
    desk.push("account", account(MS + 5000), **snapshot())
    assert desk.rows("SELECT liab, interest, imr FROM balances") == [("0", "0", "0")]


def test_a_complete_snapshot_zeroes_what_it_does_not_name(desk: Desk) -> None:
    desk.push("account", account(MS, balance("USDT", "5"), balance("BTC", "1")), **snapshot())
    desk.push("account", account(MS + 5, balance("USDT", "4", MS + 3)), **snapshot())
    assert balances(desk) == {"USDT": "4", "BTC": "0"}


def test_a_currency_that_another_row_of_the_same_page_names_is_not_zeroed(desk: Desk) -> None:
    rows = account(MS, balance("USDT", "5")), account(MS, balance("BTC", "1"))
    desk.push("account", *rows, **snapshot())
    assert balances(desk) == {"USDT": "5", "BTC": "1"}
    later = [account(MS + 5000, balance("USDT", "6")), account(MS + 5000, balance("BTC", "2"))]
    desk.apply(Rows("alpha", "account", text(later), NOW, MS + 5000, True))
    assert balances(desk) == {"USDT": "6", "BTC": "2"}
    desk.push("account", account(MS + 9000, balance("BTC", "2")), None, **snapshot())
    assert balances(desk) == {"USDT": "6", "BTC": "2"}, "a row that cannot be read may name it"


def test_an_event_or_a_frame_without_marks_zeroes_nothing(desk: Desk) -> None:
    desk.push("account", account(MS, balance("USDT", "5"), balance("BTC", "1")), **snapshot())
    desk.push("account", account(MS + 5, balance("USDT", "4", MS + 3)), eventType="event_update")
    desk.push("account", account(MS + 9, balance("USDT", "3", MS + 8)))
    assert balances(desk) == {"USDT": "3", "BTC": "1"}


def test_only_the_last_page_completes_a_snapshot(desk: Desk) -> None:
    desk.push("account", account(MS, balance("USDT", "5"), balance("BTC", "1"), balance("ETH", "2")), **snapshot())
    desk.push("account", account(MS + 5, balance("USDT", "4", MS + 3)), **snapshot(1, last=False))
    assert balances(desk) == {"USDT": "4", "BTC": "1", "ETH": "2"}
    desk.push("account", account(MS + 5, balance("ETH", "2")), **snapshot(2))
    assert balances(desk) == {"USDT": "4", "BTC": "0", "ETH": "2"}


def test_an_interrupted_run_of_pages_proves_nothing(desk: Desk) -> None:
    desk.push("account", account(MS, balance("USDT", "5"), balance("BTC", "1")), **snapshot())
    desk.push("account", account(MS + 5, balance("USDT", "5")), **snapshot(1, last=False))
    desk.push("account", account(MS + 5), **snapshot(3))
    desk.push("account", account(MS + 5), **snapshot(2))
    assert balances(desk) == {"USDT": "5", "BTC": "1"}


def test_a_snapshot_does_not_zero_what_is_newer(desk: Desk) -> None:
    desk.push("account", account(MS + 9, balance("BTC", "1", MS + 8)), eventType="event_update")
    desk.push("account", account(MS + 5, balance("USDT", "5")), **snapshot())
    assert balances(desk) == {"BTC": "1", "USDT": "5"}


def test_a_currency_comes_back_after_it_was_zero(desk: Desk) -> None:
    btc = balance("BTC", "1")
    desk.push("account", account(MS, btc), **snapshot())
    desk.push("account", account(MS + 5), **snapshot())
    desk.push("account", account(MS + 9, btc | {"uTime": str(MS + 7)}), **snapshot())
    assert balances(desk) == {"BTC": "1"}


def test_balance_and_position_reports_cash_first(desk: Desk) -> None:
    desk.push("account", account(MS, balance("USDT", "5")), **snapshot())
    cash = {"ccy": "USDT", "cashBal": "4", "uTime": str(MS + 3)}
    desk.push("balance_and_position", {"pTime": str(MS + 4), "eventType": "filled", "balData": [cash], "posData": []})
    assert desk.rows("SELECT cash_bal, eq, u_time FROM balances") == [("4", "5", MS + 3)]
    desk.push("account", account(MS + 5, balance("USDT", "4", MS + 3)), eventType="event_update")
    assert desk.rows("SELECT cash_bal, eq FROM balances") == [("4", "4")]


def test_a_full_row_after_a_change_counts_although_its_time_is_slightly_earlier(desk: Desk) -> None:
    cash = {"ccy": "USDT", "cashBal": "4", "uTime": str(MS + 3)}
    change = {"pTime": str(MS + 4), "balData": [cash], "posData": [position(1, "6", MS + 3)]}
    desk.push("balance_and_position", change)
    desk.push("account", account(MS + 1, balance("USDT", "9", MS + 1)), eventType="event_update")
    desk.push("positions", position(1, "9", MS + 1, MS + 1), eventType="event_update")
    assert desk.rows("SELECT cash_bal, eq FROM balances") == [("4", "9")], "the full row is older than the change"
    assert desk.rows("SELECT pos, lever FROM positions") == [("6", None)]
    desk.push("account", account(MS + 5, balance("USDT", "4", MS + 2)), eventType="event_update")
    desk.push("positions", position(1, "6", MS + 2, MS + 5, lever="3"), eventType="event_update")
    assert desk.rows("SELECT cash_bal, eq FROM balances") == [("4", "4")]
    assert desk.rows("SELECT pos, lever FROM positions") == [("6", "3")]


def test_what_was_true_long_before_a_change_does_not_undo_it(desk: Desk) -> None:
    desk.push("positions", position(1, "5", MS - 60_000), **snapshot())
    cash = {"ccy": "USDT", "cashBal": "4", "uTime": str(MS)}
    desk.push("balance_and_position", {"pTime": str(MS), "balData": [cash], "posData": [position(1, "0", MS)]})
    desk.push("positions", position(1, "5", MS - 60_000, MS + 3), eventType="event_update")
    desk.push("account", account(MS + 3, balance("USDT", "9", MS - 60_000)), eventType="event_update")
    assert positions(desk) == {"1": "0"}
    assert desk.rows("SELECT cash_bal FROM balances") == [("4",)]


def test_a_full_row_counts_whatever_time_another_channel_gives_the_same_change(desk: Desk) -> None:
    """Full rows once stood still for ever when ``balance_and_position`` had reported a slightly later uTime."""
    aside = MS + 10_000
    cash = {"ccy": "USDT", "cashBal": "4", "uTime": str(aside)}
    change = {"pTime": str(aside), "balData": [cash], "posData": [position(1, "6", aside)]}
    desk.push("balance_and_position", change)
    for seconds in range(60):
        at = MS + 10_000 + 5000 * seconds
        desk.push("account", account(at, balance("USDT", "4", MS + 9850) | {"eq": str(seconds)}), **snapshot())
        desk.push("positions", position(1, "6", MS + 9850, at, markPx=str(100 + seconds)), **snapshot())
    assert desk.rows("SELECT cash_bal, eq, u_time FROM balances") == [("4", "59", aside)]
    assert desk.rows("SELECT pos, mark_px, u_time FROM positions") == [("6", "159", aside)]


def position(number: int, pos: str, u_time: int = MS, p_time: int = MS, **fields: str) -> dict[str, str]:
    row = {"posId": str(number), "instId": "BTC-USDT-SWAP", "instType": "SWAP", "pos": pos, "avgPx": "100"}
    return row | {"uTime": str(u_time), "pTime": str(p_time)} | fields


def positions(desk: Desk) -> dict[str, str]:
    return dict(desk.rows("SELECT pos_id, pos FROM positions"))


def test_a_complete_snapshot_closes_what_it_does_not_name(desk: Desk) -> None:
    desk.push("positions", position(1, "5"), position(2, "-3"), **snapshot())
    desk.push("positions", position(2, "-3", p_time=MS + 5000), **snapshot())
    assert positions(desk) == {"1": "0", "2": "-3"}
    desk.push("positions", **snapshot())  # all is closed: nothing names a time
    assert positions(desk) == {"1": "0", "2": "0"}


def test_pages_of_two_sockets_do_not_make_one_snapshot(desk: Desk) -> None:
    """While one takes over from the other, both receive pages, and the pages of each are cut differently."""

    def page(socket: int, number: int, last: bool, *pos_ids: int, p_time: int = MS + 5000) -> Frames:
        rows = [position(pos_id, "1", p_time=p_time) for pos_id in pos_ids]
        return msgspec.structs.replace(desk.frame("positions", *rows, **snapshot(number, last)), socket=socket)

    desk.push("positions", *(position(pos_id, "1") for pos_id in range(1, 6)), **snapshot())
    desk.apply(
        page(2, 1, False, 2, 3, 4, p_time=MS + 5500),
        page(1, 1, False, 1, 2, 3),
        page(2, 2, True, 5, p_time=MS + 5500),
    )
    assert positions(desk) == {"1": "0", "2": "1", "3": "1", "4": "1", "5": "1"}
    desk.apply(page(2, 1, False, 2, 3, 4, p_time=MS + 9500))
    desk.apply(page(1, 2, True, 4, 5))  # of a run that the newer socket's snapshot has ended: it proves nothing
    desk.apply(page(2, 2, True, p_time=MS + 9500))
    assert positions(desk) == {"1": "0", "2": "1", "3": "1", "4": "1", "5": "0"}


def test_a_snapshot_of_one_kind_of_instrument_closes_only_that_kind(desk: Desk) -> None:
    desk.push(
        "positions", position(1, "5"), position(2, "1", instType="FUTURES"), arg={"instType": "ANY"}, **snapshot()
    )
    desk.push("positions", arg={"instType": "SWAP"}, **snapshot())
    assert positions(desk) == {"1": "0", "2": "1"}


def test_a_position_that_is_closed_opens_again_under_its_id(desk: Desk) -> None:
    desk.push("positions", position(1, "5"), **snapshot())
    desk.push("positions", position(1, "0", MS + 1, MS + 1), eventType="event_update")
    desk.push("positions", **snapshot())
    desk.push("positions", position(1, "7", MS + 9, MS + 9), eventType="event_update")
    assert positions(desk) == {"1": "7"}


def test_what_was_closed_by_absence_comes_back_with_the_same_row(desk: Desk) -> None:
    row = position(1, "5")
    desk.push("positions", row, **snapshot())
    desk.push("positions", **snapshot())
    desk.push("positions", row, **snapshot())
    assert positions(desk) == {"1": "5"}


def complete(channel: str, as_of_ms: int, *rows: object, is_complete: bool = True) -> Rows:
    return Rows("alpha", channel, text(rows), NOW, as_of_ms, is_complete)


def test_a_complete_rest_reply_closes_what_it_does_not_name(desk: Desk) -> None:
    desk.push("positions", position(1, "5"), position(2, "-3"), position(3, "1", MS + 8), eventType="event_update")
    row = {"posId": "2", "instId": "BTC-USDT-SWAP", "pos": "-3", "uTime": str(MS)}
    desk.apply(complete("positions", MS + 5, row, is_complete=False))
    desk.apply(complete("positions", 0, row))
    desk.apply(complete("positions", MS + 5, row, "unreadable"))
    assert positions(desk) == {"1": "5", "2": "-3", "3": "1"}
    desk.apply(complete("positions", MS + 5, row))
    assert positions(desk) == {"1": "0", "2": "-3", "3": "1"}  # the last is newer
    desk.apply(complete("positions", MS + 9))
    assert positions(desk) == {"1": "0", "2": "0", "3": "0"}


def test_a_complete_rest_reply_zeroes_what_it_does_not_name(desk: Desk) -> None:
    held = [balance("USDT", "5"), balance("BTC", "1"), balance("ETH", "2", MS + 8)]
    desk.push("account", account(MS, *held), eventType="event_update")
    desk.apply(complete("account", MS + 5))  # no account at all
    desk.apply(complete("account", MS + 5, {"uTime": str(MS + 4)}))  # no list
    assert balances(desk) == {"USDT": "5", "BTC": "1", "ETH": "2"}
    desk.apply(complete("account", MS + 5, account(MS + 4, balance("USDT", "5"))))
    assert balances(desk) == {"USDT": "5", "BTC": "0", "ETH": "2"}
    desk.apply(complete("account", MS + 9, account(MS + 8)))
    assert balances(desk) == {"USDT": "0", "BTC": "0", "ETH": "0"}


def test_an_empty_snapshot_without_a_time_zeroes_whatever_our_clock_says(desk: Desk) -> None:
    desk.at = NOW + 600_000_000  # our clock is ahead
    desk.push("account", account(MS, balance("BTC", "1")), eventType="event_update")
    desk.push("account", {"uTime": "", "details": []}, **snapshot())
    assert balances(desk) == {"BTC": "0"}
    desk.push("account", account(MS + 9, balance("BTC", "2", MS + 9)), eventType="event_update")
    assert balances(desk) == {"BTC": "2"}


def test_an_absence_holds_for_the_time_of_its_snapshot(desk: Desk) -> None:
    """What is older changes nothing any more; what names it later was right, and the absence was not."""
    desk.push("positions", position(1, "5"), eventType="event_update")
    desk.push("account", account(MS, balance("BTC", "1")), eventType="event_update")
    for _ in range(2):
        desk.apply(complete("positions", MS + 5), complete("account", MS + 5, account(MS + 5)))
        desk.push("positions", position(1, "4", MS + 3, MS + 3), eventType="event_update")
        desk.push("account", account(MS + 3, balance("BTC", "2", MS + 3)), eventType="event_update")
        assert (positions(desk), balances(desk)) == ({"1": "0"}, {"BTC": "0"})
    desk.apply(
        complete("positions", MS + 7, position(1, "5", p_time=0)),
        complete("account", MS + 7, account(MS + 3, balance("BTC", "1"))),
        complete("positions", MS + 6),
        complete("account", MS + 6, account(MS + 6)),
    )
    assert (positions(desk), balances(desk)) == ({"1": "5"}, {"BTC": "1"})


def test_a_complete_reply_closes_although_something_else_cannot_be_stored(desk: Desk) -> None:
    desk.push("positions", *(position(number, "5") for number in (1, 2, 3)), eventType="event_update")
    rows = [{"posId": name, "instId": "BTC-USDT-SWAP", "pos": "5", "uTime": str(MS)} for name in "23"]
    desk.apply(complete("positions", MS + 5, *rows), Note(NOW, "info", None, "\ud800", ""))
    assert positions(desk) == {"1": "0", "2": "5", "3": "5"}


def test_a_value_that_empties_is_null_again(desk: Desk) -> None:
    desk.push("positions", position(1, "5", liqPx="80"), **snapshot())
    desk.push("positions", position(1, "5", p_time=MS + 1, liqPx=""), **snapshot())
    assert desk.rows("SELECT liq_px FROM positions") == [(None,)]


def test_positions_reported_by_balance_and_position_keep_their_other_columns(desk: Desk) -> None:
    desk.push("positions", position(1, "5", lever="3"), **snapshot())
    change = {"pTime": str(MS + 4), "eventType": "filled", "balData": [], "posData": [position(1, "6", MS + 3)]}
    desk.push("balance_and_position", change)
    assert desk.rows("SELECT pos, lever FROM positions") == [("6", "3")]


def test_deposits_belong_to_the_account_of_their_uid(desk: Desk) -> None:
    desk.apply(
        ConfiguredAccount("alpha", "sandbox", True, NOW, '{"uid":"7001","mainUid":"7001"}'),
        ConfiguredAccount("beta", "sandbox", True, NOW, '{"uid":"7002","mainUid":"7001"}'),
    )
    desk.push("deposit-info", {"depId": "1", "uid": "7002", "subAcct": "b", "state": "0", "amt": "5", "pTime": str(MS)})
    desk.push("deposit-info", {"depId": "1", "uid": "7002", "state": "2", "amt": "5", "pTime": str(MS + 1)})
    desk.push("deposit-info", {"depId": "2", "uid": "9", "state": "0", "amt": "5", "pTime": str(MS)})
    assert desk.rows("SELECT account, dep_id, state FROM deposits") == [("beta", "1", "2"), ("alpha", "2", "0")]


def test_a_deposit_of_a_sub_account_that_is_not_mirrored_is_not_the_master_accounts(desk: Desk) -> None:
    desk.apply(ConfiguredAccount("alpha", "sandbox", True, NOW, '{"uid":"7001","mainUid":"7001"}'))
    row = {"ccy": "USDT", "state": "2", "pTime": str(MS)}
    desk.push("deposit-info", row | {"depId": "1", "uid": "7001", "subAcct": "", "amt": "5"})
    desk.push("deposit-info", row | {"depId": "2", "uid": "9", "subAcct": "sub1", "amt": "700"})
    desk.push("withdrawal-info", row | {"wdId": "3", "uid": "9", "subAcct": "sub1", "amt": "7"})
    assert desk.rows("SELECT account, dep_id FROM deposits") == [("alpha", "1")]
    assert desk.rows("SELECT * FROM withdrawals") == []
    assert desk.rows("SELECT event, level FROM journal") == [("other-account", "warning")] * 2
    assert desk.rows("SELECT count(*) FROM messages") == [(3,)]  # what is not stored is in the raw log


def test_a_sub_accounts_own_deposit_is_stored_before_its_uid_is_known(desk: Desk) -> None:
    desk.push("deposit-info", {"depId": "2", "uid": "9", "subAcct": "alpha", "state": "2", "pTime": str(MS)})
    assert desk.rows("SELECT account, sub_acct FROM deposits") == [("alpha", "alpha")]


def test_a_fill_without_fill_time_has_the_time_of_its_record(desk: Desk) -> None:
    row = {"instId": "BTC-USDT", "ordId": "1", "tradeId": "7", "billId": "9", "fillSz": "1", "ts": str(MS)}
    desk.apply(Rows("alpha", "fills", msgspec.json.encode([row | {"fillTime": ""}]).decode(), NOW))
    assert desk.rows("SELECT fill_time, ts FROM fills") == [(MS, MS)]


def test_of_two_mark_prices_of_one_time_the_later_received_wins(desk: Desk) -> None:
    for price, ts in (("100", MS), ("101", MS), ("99", MS - 1)):
        desk.push("mark-price", {"instId": "BTC-USDT-SWAP", "instType": "SWAP", "markPx": price, "ts": str(ts)})
    assert desk.rows("SELECT mark_px, ts FROM mark_prices") == [("101", MS)]


def instrument(inst_type: str, **fields: object) -> dict[str, object]:
    return {"instId": "BTC-USDT", "instType": inst_type, "tickSz": "0.1", "state": "live", "lotSz": "1"} | fields


def instruments(*rows: object, as_of_ms: int) -> Rows:
    return Rows("market", "instruments", text(rows), as_of_ms * 1000, as_of_ms)


def test_an_instrument_push_names_only_what_has_changed(desk: Desk) -> None:
    desk.apply(instruments(instrument("SPOT", instIdCode=7), as_of_ms=MS - 5000))
    desk.push("instruments", {"instId": "BTC-USDT", "state": "suspend"}, arg={"instType": "SPOT"})
    assert desk.rows("SELECT tick_sz, state, inst_id_code FROM instruments") == [("0.1", "suspend", "7")]


def test_an_instrument_that_is_listed_as_spot_and_as_margin_has_two_rows(desk: Desk) -> None:
    rows = [instrument("SPOT", lever=""), instrument("MARGIN", lever="10", tickSz="0.2")]
    desk.apply(instruments(*rows, as_of_ms=MS - 5000))
    desk.push("instruments", {"instId": "BTC-USDT", "instType": "MARGIN", "lotSz": "3"})
    desk.push("instruments", {"instId": "BTC-USDT", "state": "suspend"}, arg={"instType": "SPOT"})
    found = desk.rows("SELECT inst_type, lever, tick_sz, lot_sz, state FROM instruments ORDER BY 1")
    assert found == [("MARGIN", "10", "0.2", "3", "live"), ("SPOT", None, "0.1", "1", "suspend")]


def test_a_push_of_an_instrument_without_its_type_is_not_dropped_in_silence(desk: Desk) -> None:
    desk.push("instruments", {"instId": "BTC-USDT", "state": "suspend"})
    assert desk.rows("SELECT kind, what FROM anomalies") == [("invalid-row", "instruments: instrument")]


def test_a_list_of_instruments_that_is_older_than_a_push_adds_only_what_is_not_known(desk: Desk) -> None:
    desk.push("instruments", {"instId": "BTC-USDT", "instType": "SPOT", "state": "suspend", "lotSz": "2"})
    desk.apply(instruments(instrument("SPOT", alias="x"), as_of_ms=MS - 5000))
    found = "SELECT state, lot_sz, tick_sz, alias FROM instruments"
    assert desk.rows(found) == [("suspend", "2", "0.1", "x")]
    desk.apply(instruments(instrument("SPOT", tickSz="0.3"), as_of_ms=MS + 5000))
    assert desk.rows(found) == [("live", "1", "0.3", None)], "a later list is complete"
    desk.apply(instruments(instrument("SPOT", tickSz="0.1"), as_of_ms=MS + 4000))
    assert desk.rows(found) == [("live", "1", "0.3", None)]


# OKX docs: GET public/instruments and account/instruments; okx-v5 changelog
ADDED = {
    "instruments": "upcChg rpi elp method freq seriesId category posLmtAmt posLmtPct maxPlatOILmt maxPlatOICoinLmt"
    " longPosRemainingQuota shortPosRemainingQuota initPxLmtPct floatPxLmtPct maxPxLmtPct tradeQuoteCcyList"
    " auctionEndTime preMktSwTime",
    "orders-algo": "quickMgnType advChaseParams lmtOrderNumber aggressiveness triggerParams",
}


@pytest.mark.parametrize("channel", ADDED)
def test_each_field_that_okx_has_added_has_a_column(desk: Desk, channel: str) -> None:
    lists = ("upcChg", "tradeQuoteCcyList", "advChaseParams", "triggerParams")
    fields = {name: ["7"] if name in lists else "7" for name in ADDED[channel].split()}
    key = {} if channel == "instruments" else {"algoId": "1"}
    desk.push(channel, {"instId": "X", "instType": "SWAP"} | key | fields)
    assert desk.rows("SELECT what FROM anomalies") == []
    table = "instruments" if channel == "instruments" else "algo_orders"
    columns = {"".join(word.capitalize() for word in one.split("_")).lower(): one
               for (one,) in desk.rows(f"SELECT name FROM pragma_table_info('{table}')")}  # fmt: skip
    for name in fields:
        ((value,),) = desk.rows(f"SELECT {columns[name.lower()]} FROM {table}")
        assert str(value) == ('["7"]' if name in lists else "7"), name


def test_the_limit_of_spot_in_use_has_another_name_over_rest(desk: Desk) -> None:
    desk.push("account", account(MS, balance("BTC", "1") | {"maxSpotInUseAmt": "5"}))
    assert desk.rows("SELECT max_spot_in_use_amt FROM balances") == [("5",)]
    row = account(MS + 9, balance("BTC", "1") | {"maxSpotInUse": "6"})
    desk.apply(Rows("alpha", "account", text([row]), NOW, MS + 9))
    assert desk.rows("SELECT max_spot_in_use_amt FROM balances") == [("6",)]
    assert desk.rows("SELECT what FROM anomalies") == []


def test_equal_snapshots_are_not_rewritten(desk: Desk) -> None:
    desk.push("account", account(MS, balance("USDT", "5")), **snapshot())
    desk.push("account", account(MS + 5000, balance("USDT", "5")), **snapshot())
    assert desk.rows("SELECT received_at FROM balances") == [(NOW + 1000,)]


LIFE = [
    order(),
    order(uTime=str(MS + 1), px="2", reqId="r1", amendResult="0"),
    order(state="partially_filled", accFillSz="4", fillSz="4", tradeId="1", fillTime=str(MS + 1), uTime=str(MS + 1)),
    order(
        state="partially_filled", accFillSz="9.5", fillSz="5.5", tradeId="2", fillTime=str(MS + 2), uTime=str(MS + 2)
    ),
    order(state="partially_filled", accFillSz="10", fillSz="0.5", tradeId="0", fillTime=str(MS + 3), uTime=str(MS + 3)),
    order(state="filled", accFillSz="10", uTime=str(MS + 3)),
]
REST = [
    {**LIFE[2], "px": "2"},
    {**LIFE[4], "state": "filled"},
]


def text(value: object) -> str:
    return msgspec.json.encode(value).decode()


@pytest.mark.slow
@settings(max_examples=60)
@given(st.randoms(use_true_random=False))
def test_the_result_does_not_depend_on_the_order(random: Random) -> None:
    """Pushes, repeated pushes, and REST rows, shuffled and cut into batches anywhere: one final row, all fills."""
    messages: list[Message] = []
    for number, row in enumerate(LIFE + random.sample(LIFE, 3)):
        body = text({"arg": {"channel": "orders"}, "data": [row]})
        messages.append(Frames(1, "alpha", [(NOW + number, body)]))
    messages += [Rows("alpha", "orders", text([row]), NOW) for row in REST]
    random.shuffle(messages)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "okxsync.db"
        make_database(path)
        database = open_database(path)
        writer = Writer(database)
        while messages:
            cut = random.randint(1, len(messages))
            writer.apply(messages[:cut])
            messages = messages[cut:]
        orders = database.execute("SELECT state, acc_fill_sz, u_time, source, fill_sz FROM orders").fetchall()
        fills = [Decimal(size) for (size,) in database.execute("SELECT fill_sz FROM fills")]
        database.close()
    assert orders == [("filled", "10", MS + 3, "ws", "0")]
    assert (len(fills), sum(fills)) == (3, 10)


def test_a_position_that_a_snapshot_does_not_name_has_changed_then(desk: Desk) -> None:
    """Options expire without a push; the record of the closed position is fetched when a position has changed."""
    one, two = ({"posId": name, "pos": "3", "uTime": str(MS), "pTime": str(MS + 1)} for name in "12")
    desk.push("positions", one, two)
    desk.push("positions", two | {"pTime": str(MS + 900)}, **snapshot())
    expected = [("1", "0", MS + 900), ("2", "3", MS)]
    assert desk.rows("SELECT pos_id, pos, u_time FROM positions ORDER BY pos_id") == expected
