"""What REST is asked finds out whether a channel has told us everything, and is not upset by what it should not say."""

import time
from pathlib import Path

import pytest
from trio.testing import MockClock

from okxsync.rest import questions
from okxsync.rest.client import RestError
from okxsync.store import batch, queries
from okxsync.store.database import open_reader
from okxsync.store.tables import ALGO_PENDING, PENDING
from tests.rest.scripted import Exchange, Row
from tests.store.desk import Desk, order

MINUTE_MS = 60_000


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@pytest.fixture
def desk(desk: Desk) -> Desk:
    """We have listened for ten minutes."""
    desk.at = (now_ms() - 10 * MINUTE_MS) * 1000
    desk.begin("orders", "orders-algo", "account", "positions")
    return desk


def window() -> tuple[int, int, dict[str, str]]:
    """Since a minute ago, up to what cannot be on its way any more."""
    now_us = time.time_ns() // 1000
    return now_us - MINUTE_MS * 1000, now_us - 5_000_000, {}


def filled(acc: str, size: str, trade_id: str, ago_ms: int, state: str = "partially_filled") -> dict[str, str]:
    at = str(now_ms() - ago_ms)
    placed = str(now_ms() - 5 * MINUTE_MS)
    return order(state=state, accFillSz=acc, fillSz=size, tradeId=trade_id, fillTime=at, uTime=at, cTime=placed)


# Orders and their fills


async def test_a_fill_that_was_lost_is_missed_though_the_order_was_told_of_again(
    desk: Desk, autojump_clock: MockClock
) -> None:
    desk.push("orders", filled("3", "3", "7", 4 * MINUTE_MS))
    row = filled("6", "1", "9", 30_000)
    desk.push("orders", row)  # 8, of 2, was not pushed
    exchange = Exchange({"trade/orders-pending": [row]})
    assert await questions.orders(desk.path, exchange.client, *window()) == "a fill of order 1 was not pushed"
    desk.push("orders", filled("5", "2", "8", 40_000))
    assert await questions.orders(desk.path, exchange.client, *window()) is None


async def test_a_fill_is_missed_of_an_order_that_ended_behind_many_newer_ones(
    desk: Desk, autojump_clock: MockClock
) -> None:
    """No list names it any more but that of the fills."""
    desk.push("orders", filled("3", "3", "7", 4 * MINUTE_MS))
    desk.push("orders", filled("10", "1", "9", 30_000, "filled"))
    fills: list[Row] = [{"ordId": "1", "tradeId": "9", "billId": "3", "ts": str(now_ms() - 30_000)}]
    exchange = Exchange({"trade/fills": fills})
    assert await questions.orders(desk.path, exchange.client, *window()) == "a fill of order 1 was not pushed"


async def test_fills_from_before_we_listened_are_not_missed(desk: Desk, autojump_clock: MockClock) -> None:
    old = filled("6", "1", "9", 30_000) | {"cTime": str(now_ms() - 20 * MINUTE_MS)}
    desk.push("orders", old)
    exchange = Exchange({"trade/orders-pending": [old]})
    assert await questions.orders(desk.path, exchange.client, *window()) is None


async def test_fills_whose_ids_are_made_or_told_by_rest_count(desk: Desk, autojump_clock: MockClock) -> None:
    desk.push("orders", filled("3", "3", "0", 4 * MINUTE_MS))
    row = filled("6", "3", "0", 30_000)
    desk.push("orders", row)
    exchange = Exchange({"trade/orders-pending": [row]})
    assert await questions.orders(desk.path, exchange.client, *window()) is None


async def test_an_order_that_is_pending_but_gone_here_is_found(desk: Desk, autojump_clock: MockClock) -> None:
    row = filled("0", "0", "", 4 * MINUTE_MS, "live")
    desk.push("orders", row)
    exchange = Exchange({"trade/orders-pending": [row]})
    assert await questions.orders(desk.path, exchange.client, *window()) is None
    desk.apply(batch.Gone("alpha", "orders", ["1"], desk.at, now_ms()))
    found = await questions.orders(desk.path, exchange.client, *window())
    assert found == "order 1 is pending, and here it is gone"


async def test_events_that_are_not_offered_leave_the_rest_to_be_proved(desk: Desk, autojump_clock: MockClock) -> None:
    exchange = Exchange({"trade/orders-history": lambda asked: "51000" if asked["instType"] == "EVENTS" else []})
    assert await questions.orders(desk.path, exchange.client, *window()) is None
    exchange.replies["trade/orders-history"] = lambda asked: "51000" if asked["instType"] == "SWAP" else []
    with pytest.raises(RestError, match="51000"):
        await questions.orders(desk.path, exchange.client, *window())


# Amounts


@pytest.mark.parametrize("amount", ["NaN", "sNaN", "-sNaN", "Infinity", "1E+999999", "many"])
async def test_an_amount_that_is_no_number_proves_nothing(desk: Desk, autojump_clock: MockClock, amount: str) -> None:
    exchange = Exchange({"account/balance": [{"details": [{"ccy": "USDT", "cashBal": amount}]}]})
    exchange.replies["account/positions"] = [{"posId": "1", "pos": amount}]
    for ask in (questions.balances, questions.positions):
        with pytest.raises(RestError, match="not a number"):
            await ask(desk.path, exchange.client, *window())


@pytest.mark.parametrize("amount", ["NaN", "sNaN", "many"])
async def test_an_amount_here_that_is_no_number_differs_from_theirs(
    desk: Desk, autojump_clock: MockClock, amount: str
) -> None:
    at = str(now_ms() - 30_000)
    desk.push("account", {"uTime": at, "details": [{"ccy": "USDT", "cashBal": amount, "eq": "5", "uTime": at}]})
    exchange = Exchange({"account/balance": [{"details": [{"ccy": "USDT", "cashBal": "5"}]}]})
    found = await questions.balances(desk.path, exchange.client, *window())
    assert found == "balance of USDT has changed and was not pushed"


# Algo orders


def algo(number: int, state: str) -> dict[str, str]:
    at = str(now_ms() - 30_000)
    return {"algoId": str(number), "ordType": "trigger", "state": state, "cTime": at, "uTime": at, "instId": "X"}


async def test_algo_orders_that_began_and_ended_unheard_are_missed(desk: Desk, autojump_clock: MockClock) -> None:
    desk.push("orders-algo", algo(1, "canceled"))
    exchange = Exchange({"trade/orders-algo-history": [algo(1, "canceled")]})
    assert await questions.algo_orders(desk.path, exchange.client, *window()) is None
    exchange.replies["trade/orders-algo-history"] = [algo(2, "canceled"), algo(1, "canceled")]
    assert await questions.algo_orders(desk.path, exchange.client, *window()) == "algo order 2 was not pushed"


PLANS = {
    f"SELECT algo_id FROM algo_orders WHERE state IN ({ALGO_PENDING}) AND account = 'a'": "algo_orders_open",
    f"SELECT ord_id FROM orders WHERE state IN ({PENDING}) AND account = 'a'": "orders_open",
    "SELECT 1 FROM fills WHERE account = 'a' AND inst_id = 'b' AND ord_id = 'c' AND trade_id_made = 1": "fills_made",
}


@pytest.mark.parametrize("sql", PLANS)
def test_what_is_pending_is_found_without_reading_what_has_ended(desk: Desk, sql: str) -> None:
    assert PLANS[sql] in plan_of(desk.path, sql)


def plan_of(path: Path, sql: str) -> str:
    reader = open_reader(path)
    try:
        return "; ".join(str(row[3]) for row in reader.execute(f"EXPLAIN QUERY PLAN {sql}"))
    finally:
        reader.close()


def test_of_many_algo_orders_only_those_asked_for_are_read(desk: Desk) -> None:
    ended = desk.frame("orders-algo", *(algo(number, "canceled") for number in range(5000)))
    desk.apply(ended)
    assert queries.unknown_algo_orders(desk.path, "alpha", ["3", "4999", "5000"]) == ["5000"]
    sql = "SELECT value FROM json_each('[]') LEFT JOIN algo_orders ON account = 'a' AND algo_id = value"
    sql += " WHERE algo_id IS NULL"
    assert "SEARCH algo_orders USING" in plan_of(desk.path, sql)


async def test_an_algo_order_that_was_amended_unheard_is_missed(desk: Desk, autojump_clock: MockClock) -> None:
    ours = algo(1, "live")
    desk.push("orders-algo", ours)
    pending: list[Row] = [ours]
    exchange = Exchange({"trade/orders-algo-pending": lambda asked: pending if asked["ordType"] == "trigger" else []})
    assert await questions.algo_orders(desk.path, exchange.client, *window()) is None
    for u_time, missed in ((str(int(ours["uTime"]) + 1), True), (str(int(ours["uTime"]) - 1), False), ("", False)):
        pending.clear()
        pending.append(ours | {"uTime": u_time})
        found = await questions.algo_orders(desk.path, exchange.client, *window())
        assert found == ("algo order 1 has changed and was not pushed" if missed else None)


# Channels whose tables others bring up to date


@pytest.mark.parametrize(("inst_type", "change"), [("SWAP", "-0.1"), ("SWAP", "0"), ("SPOT", "-1"), ("", "5")])
async def test_a_change_after_which_a_channel_said_nothing_shows_that_it_is_dead(
    desk: Desk, autojump_clock: MockClock, inst_type: str, change: str
) -> None:
    exchange = Exchange({"account/balance": [{"details": []}]})

    async def dead(ago_ms: int) -> list[bool]:
        told = {"ordId": "1" if inst_type else "", "billId": "3", "instType": inst_type, "ts": str(now_ms() - ago_ms)}
        exchange.replies["account/bills"] = [told | {"balChg": change}]
        exchange.replies["trade/fills"] = [told | {"tradeId": "9"}] if inst_type else []
        asked = (questions.balances, questions.positions, questions.balances_and_positions)
        return [await ask(desk.path, exchange.client, *window()) is not None for ask in asked]

    cash, position = change != "0", inst_type == "SWAP"
    assert await dead(30_000) == [cash, position, cash or position]
    assert await dead(2_000) == [False, False, False]  # its push may be on its way
    assert await dead(58_000) == [False, False, False]  # or was the last one that we heard


async def test_a_channel_that_is_asked_about_although_it_speaks_is_not_dead(
    desk: Desk, autojump_clock: MockClock
) -> None:
    """``balance_and_position`` is: its pushes since the last question are no part of the silence."""
    desk.begin("balance_and_position")
    told = {"ordId": "1", "billId": "3", "instType": "SWAP", "ts": str(now_ms() - 30_000), "balChg": "1"}
    exchange = Exchange({"account/balance": [{"details": []}], "account/bills": [told], "trade/fills": [told]})
    dead = "what order 1 has changed was not pushed"
    assert await questions.balances_and_positions(desk.path, exchange.client, *window()) == dead
    desk.at = (now_ms() - 30_000) * 1000
    desk.push("balance_and_position", {"pTime": told["ts"], "eventType": "filled", "balData": [], "posData": []})
    assert await questions.balances_and_positions(desk.path, exchange.client, *window()) is None
