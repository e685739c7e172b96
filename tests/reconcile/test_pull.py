"""What REST reports becomes the state: what has ended, what is not found, what is closed because it is not listed."""

import time
from contextlib import closing
from typing import Any

import pytest
from trio.testing import MockClock

from okxsync.messages import OrdersNotFound, Rows
from okxsync.reconcile.held import Held
from okxsync.reconcile.pull import RECEIVED_US, Puller, Window, outcome_of
from okxsync.rest.client import RestError
from okxsync.store.database import Reader
from tests.support.desk import Desk, order
from tests.support.outbox import queue, queued
from tests.support.scripted_rest import Exchange

HOUR_MS = 3_600_000


def now_ms() -> int:
    return time.time_ns() // 1_000_000


async def pull(exchange: Exchange, desk: Desk, subject: str, since_ms: int | None = None) -> str | None:
    """Pull a subject, and write the rows."""
    send, receive = queue()
    with send, closing(Reader(desk.path)) as reader:
        held = Held(reader, "alpha", time.time_ns() // 1000)
        unknown = await Puller(exchange.client, send, held).pull(subject, Window(since_ms or now_ms() - 60_000))
    desk.apply(*queued(receive))
    return unknown


def push(desk: Desk, channel: str, row: object, ago_us: int = 2 * RECEIVED_US) -> None:
    """Push a row as of a while ago."""
    desk.at = time.time_ns() // 1000 - ago_us
    desk.push(channel, row)


def algo(number: int, state: str = "live", c_time: int | None = None, **fields: str) -> dict[str, str]:
    at = str(c_time or now_ms() - 3 * 24 * HOUR_MS)
    row = {"algoId": str(number), "instId": "BTC-USDT-SWAP", "instType": "SWAP", "ordType": "trigger", "state": state}
    return row | {"cTime": at, "uTime": at} | fields


def old(**fields: str) -> dict[str, str]:
    at = str(now_ms() - 3 * HOUR_MS)
    return order(1, cTime=at, uTime=at, px="30000", clOrdId="c1") | fields


# Algo orders


async def test_an_algo_order_that_ended_behind_a_page_of_newer_ones_is_found(
    desk: Desk, autojump_clock: MockClock
) -> None:
    push(desk, "orders-algo", algo(1))
    newer = [algo(9000 - n, "canceled", now_ms() - HOUR_MS - n) for n in range(100)]
    exchange = Exchange({"trade/orders-algo-history": newer, "trade/order-algo": [algo(1, "canceled", uTime="99")]})
    exchange.replies["trade/order-algo"] = [algo(1, "canceled", uTime=str(now_ms()))]
    assert await pull(exchange, desk, "algo orders") is None
    assert desk.rows("SELECT state FROM algo_orders WHERE algo_id = '1'") == [("canceled",)]
    assert exchange.paths().count("trade/order-algo") == 1


async def test_an_algo_order_that_is_not_found_is_gone_and_keeps_its_columns(
    desk: Desk, autojump_clock: MockClock
) -> None:
    push(desk, "orders-algo", algo(1, triggerPx="100"))
    assert await pull(Exchange({"trade/order-algo": "51603"}), desk, "algo orders") is None
    assert desk.rows("SELECT state, trigger_px, source FROM algo_orders") == [("gone", "100", "rest")]


async def test_a_pending_algo_order_that_is_listed_is_not_looked_up(desk: Desk, autojump_clock: MockClock) -> None:
    push(desk, "orders-algo", algo(1))
    exchange = Exchange(
        {"trade/orders-algo-pending": lambda params: [algo(1)] if params["ordType"] == "trigger" else []}
    )
    await pull(exchange, desk, "algo orders")
    assert "trade/order-algo" not in exchange.paths()
    assert desk.rows("SELECT state FROM algo_orders") == [("live",)]


# Orders


async def test_an_order_that_is_not_found_is_gone_and_keeps_its_columns(desk: Desk, autojump_clock: MockClock) -> None:
    row = old(state="partially_filled", accFillSz="5", fillSz="5", tradeId="7", fillTime="1")
    push(desk, "orders", row)
    exchange = Exchange({"trade/order": "51603"})
    assert await pull(exchange, desk, "orders") is None
    assert exchange.paths().count("trade/order") == 2
    columns = "state, px, sz, acc_fill_sz, cl_ord_id, c_time, inst_type, raw IS NOT NULL"
    expected = ("gone", "30000", "10", "5", "c1", int(row["cTime"]), "SWAP", 1)
    assert desk.rows(f"SELECT {columns} FROM orders") == [expected]
    assert desk.rows("SELECT * FROM anomalies") == []


async def test_an_order_that_is_found_the_second_time_is_not_gone(desk: Desk, autojump_clock: MockClock) -> None:
    push(desk, "orders", old())
    answers: list[Any] = ["51603", [old()]]
    await pull(Exchange({"trade/order": lambda params: answers.pop(0)}), desk, "orders")
    assert (answers, desk.rows("SELECT state FROM orders")) == ([], [("live",)])


async def test_an_order_that_was_just_received_may_be_unknown_to_rest(desk: Desk, autojump_clock: MockClock) -> None:
    push(desk, "orders", order(uTime=str(now_ms() - 3000)), ago_us=3_000_000)
    exchange = Exchange({"trade/order": "51603"})
    await pull(exchange, desk, "orders")
    assert "trade/order" not in exchange.paths()
    assert desk.rows("SELECT state FROM orders") == [("live",)]


async def test_an_order_whose_look_up_is_rejected_keeps_no_gap_open(desk: Desk, autojump_clock: MockClock) -> None:
    push(desk, "orders", old() | {"instId": ""})
    unknown = await pull(Exchange({"trade/order": "50014"}), desk, "orders")
    assert unknown is not None
    assert "the end of order 1: trade/order: 50014" in unknown
    assert desk.rows("SELECT state FROM orders") == [("gone",)]


async def test_after_a_failed_look_up_the_subject_is_not_complete(desk: Desk, autojump_clock: MockClock) -> None:
    push(desk, "orders", old())
    with pytest.raises(RestError, match="50001"):
        await pull(Exchange({"trade/order": "50001"}), desk, "orders")
    assert desk.rows("SELECT state FROM orders") == [("live",)]


# Types of instruments that are not offered everywhere


async def test_events_are_requested_where_they_are_offered(desk: Desk, autojump_clock: MockClock) -> None:
    exchange = Exchange()
    assert await pull(exchange, desk, "orders") is None
    asked = {params.get("instType") for path, params in exchange.asked if path == "trade/orders-history"}
    assert asked == {"SPOT", "MARGIN", "SWAP", "FUTURES", "OPTION", "EVENTS"}
    exchange.replies["trade/orders-history"] = lambda params: "51000" if params["instType"] == "EVENTS" else []
    assert await pull(exchange, desk, "orders") is None  # an account without this type has no orders of it


async def test_where_events_are_disabled_the_result_is_partial_for_they_may_have_been_enabled(
    desk: Desk, autojump_clock: MockClock
) -> None:
    exchange = Exchange({"trade/orders-history": lambda params: "50046" if params["instType"] == "EVENTS" else []})
    unknown = await pull(exchange, desk, "orders")
    assert str(unknown).startswith("EVENTS: trade/orders-history: 50046")
    assert outcome_of("orders", now_ms() - 60_000, now_ms(), unknown) == ("partial", unknown)


async def test_after_any_other_rejection_of_events_the_subject_is_not_complete(
    desk: Desk, autojump_clock: MockClock
) -> None:
    exchange = Exchange({"trade/orders-history": lambda params: "50030" if params["instType"] == "EVENTS" else []})
    with pytest.raises(RestError, match="50030"):
        await pull(exchange, desk, "orders")
    exchange = Exchange({"trade/orders-history": lambda params: "51000" if params["instType"] == "SPOT" else []})
    with pytest.raises(RestError, match="51000"):
        await pull(exchange, desk, "orders")


# Complete states


def position(number: int, at_ms: int) -> dict[str, str]:
    row = {"posId": str(number), "instId": "BTC-USDT-SWAP", "instType": "SWAP", "pos": "3"}
    return row | {"uTime": str(at_ms)}


def cash_and_positions(at_ms: int, *positions: object, **cash: str) -> dict[str, object]:
    """Return a push of ``balance_and_position``."""
    held = [{"ccy": ccy, "cashBal": amount, "uTime": str(at_ms)} for ccy, amount in cash.items()]
    return {"pTime": str(at_ms), "eventType": "snapshot", "balData": held, "posData": positions}


async def test_what_was_closed_in_a_gap_is_closed_though_no_channel_reports_the_complete_state(
    desk: Desk, autojump_clock: MockClock
) -> None:
    before = now_ms() - 10_000
    push(
        desk,
        "balance_and_position",
        cash_and_positions(before, position(1, before), position(2, before), USDT="5", BTC="1"),
    )
    details = [{"ccy": "USDT", "cashBal": "6", "eq": "6", "uTime": str(now_ms() - 5000)}]
    replies: dict[str, Any] = {"account/positions": [position(2, before)]}
    replies["account/balance"] = [{"uTime": str(now_ms() - 4000), "totalEq": "6", "details": details}]
    exchange = Exchange(replies)
    for subject in ("balances", "positions"):
        assert await pull(exchange, desk, subject) is None
    assert desk.rows("SELECT pos_id, pos FROM positions ORDER BY 1") == [("1", "0"), ("2", "3")]
    assert desk.rows("SELECT ccy, cash_bal FROM balances ORDER BY 1") == [("BTC", "0"), ("USDT", "6")]
    exchange.replies |= {"account/positions": [], "account/balance": [{"uTime": str(now_ms()), "details": []}]}
    for subject in ("balances", "positions"):
        assert await pull(exchange, desk, subject) is None
    assert set(desk.rows("SELECT pos FROM positions")) == {("0",)}
    assert set(desk.rows("SELECT cash_bal FROM balances")) == {("0",)}


async def test_what_is_younger_than_rest_may_know_is_not_closed(desk: Desk, autojump_clock: MockClock) -> None:
    now = now_ms() - 500
    push(desk, "balance_and_position", cash_and_positions(now, position(1, now), USDT="5"), ago_us=500_000)
    exchange = Exchange({"account/balance": [{"uTime": str(now_ms()), "details": []}]})
    for subject in ("balances", "positions"):
        await pull(exchange, desk, subject)
    assert desk.rows("SELECT pos FROM positions") == [("3",)]
    assert desk.rows("SELECT cash_bal FROM balances") == [("5",)]


async def test_a_page_of_a_list_is_not_the_complete_state(
    desk: Desk, reader: Reader, autojump_clock: MockClock
) -> None:
    send, receive = queue()
    held = Held(reader, "alpha", time.time_ns() // 1000)
    exchange = Exchange({"trade/orders-pending": [old()], "account/positions-history": [{"posId": "1", "cTime": "1"}]})
    with send:
        for subject in ("orders", "positions", "deposits"):
            await Puller(exchange.client, send, held).pull(subject, Window(now_ms()))
    messages = queued(receive)
    complete = {message.channel for message in messages if isinstance(message, Rows) and message.complete}
    assert complete == {"positions"}
    assert not [message for message in messages if isinstance(message, OrdersNotFound)]


@pytest.mark.parametrize("ahead_ms", [60_000, -120_000])
async def test_a_withdrawal_goes_forward_by_the_exchanges_clock_alone(
    desk: Desk, autojump_clock: MockClock, ahead_ms: int
) -> None:
    """This machine's clock does not matter."""
    theirs_ms = now_ms() + ahead_ms
    exchange = Exchange({"public/time": [{"ts": str(theirs_ms)}]})
    await exchange.clock.measure()
    row = {"wdId": "1", "ccy": "BTC", "amt": "1"}
    push(desk, "withdrawal-info", row | {"state": "0", "pTime": str(theirs_ms - 30_000)})
    exchange.replies["asset/withdrawal-history"] = [row | {"state": "1", "ts": str(theirs_ms - 30_000)}]
    await pull(exchange, desk, "withdrawals")
    assert desk.rows("SELECT state FROM withdrawals") == [("1",)]
    desk.push("withdrawal-info", row | {"state": "2", "pTime": str(theirs_ms)})
    await pull(exchange, desk, "withdrawals")
    assert desk.rows("SELECT state FROM withdrawals") == [("2",)]


def test_orders_not_found_reach_the_writer(desk: Desk) -> None:
    desk.push("orders", order(1), order(2))
    desk.apply(OrdersNotFound("alpha", "orders", ["1"], desk.at + 1, desk.at // 1000 + 9))
    assert desk.rows("SELECT ord_id, state FROM orders ORDER BY 1") == [("1", "gone"), ("2", "live")]
