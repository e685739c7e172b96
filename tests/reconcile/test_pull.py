"""What REST reports becomes the state: what has ended, what is not found, what is closed because it is not listed."""

import gc
import time
import weakref
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from trio.testing import MockClock

from okxsync.messages import OrdersNotFound, Rows
from okxsync.reconcile.held import AccountReads, Gap, Reads
from okxsync.reconcile.pull import Pulled, Puller, Window
from okxsync.reconcile.subjects import outcome_of
from okxsync.reconcile.timings import TIMINGS
from okxsync.reconcile.work import Part, Report, Work, gap_results, perform
from okxsync.rest.client import RestError
from tests.support.desk import Desk, order
from tests.support.outbox import queue, queued
from tests.support.scripted_rest import Exchange, page

HOUR_MS = 3_600_000


def now_ms() -> int:
    return time.time_ns() // 1_000_000


async def pull(exchange: Exchange, desk: Desk, subject: str, since_ms: int | None = None) -> Pulled:
    """Pull a subject, and write the rows."""
    send, receive = queue()
    with send, closing(Reads(desk.path, threads=False)) as reads:
        held = AccountReads(reads, "alpha")
        pulled = await Puller(exchange.client, send, held).pull(subject, Window(since_ms or now_ms() - 60_000))
    desk.apply(*queued(receive))
    return pulled


def push(desk: Desk, channel: str, row: object, ago_us: int = 2 * TIMINGS.rest_lag_us) -> None:
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
    exchange = Exchange(
        {
            "trade/orders-algo-history": lambda params: page(newer, params, "algoId"),
            "trade/order-algo": [algo(1, "canceled", uTime=str(now_ms()))],
        }
    )
    assert await pull(exchange, desk, "algo orders") == Pulled()
    assert desk.rows("SELECT state FROM algo_orders WHERE algo_id = '1'") == [("canceled",)]
    assert exchange.paths().count("trade/order-algo") == 1


@pytest.mark.parametrize("channel", ["orders", "orders-algo"])
async def test_an_order_that_was_pushed_late_and_has_ended_since_is_found(
    desk: Desk, autojump_clock: MockClock, channel: str
) -> None:
    """It changed before the time as of which the reply is true, so the reply would list it if it were pending."""
    changed = str(now_ms() - int(TIMINGS.rest_lag_s * 1000) - 500)
    row = old(uTime=changed) if channel == "orders" else algo(1, uTime=changed)
    push(desk, channel, row, ago_us=0)
    ended = row | {"state": "canceled", "uTime": str(int(changed) + 200)}
    exchange = Exchange({"trade/order": [ended], "trade/order-algo": [ended]})
    await pull(exchange, desk, "orders" if channel == "orders" else "algo orders")
    assert desk.rows("SELECT state FROM orders UNION ALL SELECT state FROM algo_orders") == [("canceled",)]


async def test_an_algo_order_that_is_not_found_is_gone_and_keeps_its_columns(
    desk: Desk, autojump_clock: MockClock
) -> None:
    push(desk, "orders-algo", algo(1, triggerPx="100"))
    pulled = await pull(Exchange({"trade/order-algo": "51603"}), desk, "algo orders")
    assert pulled == Pulled(unknown="1 algo order was not found: its end is unknown (1)")
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
    assert await pull(exchange, desk, "orders") == Pulled(unknown="1 order was not found: its end is unknown (1)")
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


@pytest.mark.parametrize("subject", ["orders", "algo orders"])
async def test_an_order_in_a_state_that_is_not_documented_is_looked_up(
    desk: Desk, autojump_clock: MockClock, subject: str
) -> None:
    """Whether it has ended is unknown, and if it has meanwhile, the lists may have it behind a page of newer ones."""
    push(desk, "orders", old(state="canceling"))
    push(desk, "orders-algo", algo(1) | {"state": "canceling"})
    ended = {"state": "canceled", "uTime": str(now_ms() - 60_000)}
    exchange = Exchange({"trade/order": [old() | ended], "trade/order-algo": [algo(1) | ended]})
    assert await pull(exchange, desk, subject) == Pulled()
    table = "orders" if subject == "orders" else "algo_orders"
    assert desk.rows(f"SELECT state FROM {table}") == [("canceled",)]


async def test_an_order_whose_look_up_is_rejected_keeps_no_gap_open(desk: Desk, autojump_clock: MockClock) -> None:
    push(desk, "orders", old() | {"instId": ""})
    pulled = await pull(Exchange({"trade/order": "50014"}), desk, "orders")
    assert "the end of order 1: trade/order: 50014" in str(pulled.unknown)
    assert desk.rows("SELECT state FROM orders") == [("gone",)]


async def test_the_orders_that_were_not_found_are_counted(desk: Desk, autojump_clock: MockClock) -> None:
    for ord_id in ("10", "9", "11"):
        push(desk, "orders", old() | {"ordId": ord_id})
    pulled = await pull(Exchange({"trade/order": "51603"}), desk, "orders")
    assert pulled == Pulled(unknown="3 orders were not found: their ends are unknown (the first is 9)")


@pytest.mark.parametrize("subject", ["orders", "algo orders"])
async def test_an_order_that_was_not_found_is_unknown_in_each_attempt_of_its_window(
    desk: Desk, autojump_clock: MockClock, subject: str
) -> None:
    """Else a second attempt, after another request has failed, closes the gap as filled."""
    push(desk, "orders", old())
    push(desk, "orders-algo", algo(1))
    exchange = Exchange({"trade/order": "51603", "trade/order-algo": "51603"})
    since_ms = now_ms() - 60_000
    first = await pull(exchange, desk, subject, since_ms)
    not_found = desk.rows("SELECT not_found_at FROM orders UNION ALL SELECT not_found_at FROM algo_orders")
    assert await pull(exchange, desk, subject, since_ms) == first != Pulled()
    assert not_found == desk.rows("SELECT not_found_at FROM orders UNION ALL SELECT not_found_at FROM algo_orders")
    assert await pull(exchange, desk, subject, now_ms() + 60_000) == Pulled()  # what happened later is not about it


async def test_an_order_that_is_found_in_a_later_attempt_is_not_unknown(desk: Desk, autojump_clock: MockClock) -> None:
    push(desk, "orders", old())
    exchange = Exchange({"trade/order": "51603"})
    since_ms = now_ms() - 60_000
    await pull(exchange, desk, "orders", since_ms)
    exchange.replies["trade/order"] = [old(state="canceled", uTime=str(now_ms()))]
    assert await pull(exchange, desk, "orders", since_ms) == Pulled()
    assert desk.rows("SELECT state FROM orders") == [("canceled",)]


@pytest.mark.parametrize("code", ["51527", "99999", "51400"])
async def test_a_look_up_with_an_unlisted_error_is_rejected_after_a_few_attempts(
    desk: Desk, autojump_clock: MockClock, code: str
) -> None:
    push(desk, "orders-algo", algo(1))
    exchange = Exchange({"trade/order-algo": code})
    pulled = await pull(exchange, desk, "algo orders")
    assert str(pulled.unknown).startswith(f"the end of algo order 1: trade/order-algo: {code}")
    assert desk.rows("SELECT state FROM algo_orders") == [("gone",)]
    assert exchange.paths().count("trade/order-algo") <= 6


async def test_after_a_failed_look_up_the_subject_is_not_complete(desk: Desk, autojump_clock: MockClock) -> None:
    push(desk, "orders", old())
    with pytest.raises(RestError, match="50001"):
        await pull(Exchange({"trade/order": "50001"}), desk, "orders")
    assert desk.rows("SELECT state FROM orders") == [("live",)]


# Types of instruments that are not offered everywhere


async def test_events_are_requested_where_they_are_offered(desk: Desk, autojump_clock: MockClock) -> None:
    exchange = Exchange()
    assert await pull(exchange, desk, "orders") == Pulled()
    asked = {params.get("instType") for path, params in exchange.asked if path == "trade/orders-history"}
    assert asked == {"SPOT", "MARGIN", "SWAP", "FUTURES", "OPTION", "EVENTS"}
    exchange.replies["trade/orders-history"] = lambda params: "51000" if params["instType"] == "EVENTS" else []
    assert await pull(exchange, desk, "orders") == Pulled()  # an account without this type has no orders of it


async def test_where_events_are_disabled_the_result_is_partial_for_they_may_have_been_enabled(
    desk: Desk, autojump_clock: MockClock
) -> None:
    exchange = Exchange({"trade/orders-history": lambda params: "50046" if params["instType"] == "EVENTS" else []})
    unknown = (await pull(exchange, desk, "orders")).unknown
    assert str(unknown).startswith("EVENTS: trade/orders-history: 50046")
    assert outcome_of("orders", now_ms() - 60_000, now_ms(), unknown) == ("partial", unknown)


async def test_after_any_other_rejection_of_events_the_subject_is_not_complete(
    desk: Desk, autojump_clock: MockClock
) -> None:
    exchange = Exchange({"trade/orders-history": lambda params: "50030" if params["instType"] == "EVENTS" else []})
    with pytest.raises(RestError, match="50030"):
        await pull(exchange, desk, "orders")
    exchange = Exchange({"trade/orders-history": lambda params: "51000" if params["instType"] == "SPOT" else []})
    assert str((await pull(exchange, desk, "orders")).rejected).startswith("SPOT: trade/orders-history: 51000")


@pytest.mark.parametrize("inst_type", ["OPTION", "FUTURES", "SWAP", "MARGIN"])
async def test_a_region_that_does_not_offer_a_type_has_no_orders_of_it(
    desk: Desk, autojump_clock: MockClock, inst_type: str
) -> None:
    exchange = Exchange({"trade/orders-history": lambda params: "51000" if params["instType"] == inst_type else []})
    assert await pull(exchange, desk, "orders") == Pulled()


async def test_an_unlisted_error_rejects_one_list_and_the_others_are_read(
    desk: Desk, autojump_clock: MockClock
) -> None:
    row = old(ordId="5", instType="SWAP", state="filled")

    def answer(params: dict[str, str]) -> Any:
        return {"SPOT": "59999", "OPTION": "59998", "SWAP": page([row], params, "ordId")}.get(params["instType"], [])

    pulled = await pull(Exchange({"trade/orders-history": answer}), desk, "orders")
    assert str(pulled.rejected).startswith("SPOT: trade/orders-history: 59999")
    assert str(pulled.unknown).startswith("OPTION: trade/orders-history: 59998")
    assert desk.rows("SELECT ord_id FROM orders") == [("5",)]


@pytest.mark.parametrize("code", ["51000", "50062", "59998"])
@pytest.mark.parametrize("is_stored", [True, False], ids=["stored", "listed as pending"])
async def test_a_type_that_the_account_trades_is_offered_and_its_rejection_is_not_passed_over(
    desk: Desk, autojump_clock: MockClock, code: str, is_stored: bool
) -> None:
    """A live channel must not count as verified: an order of this type may have ended without a push."""
    exchange = Exchange({"trade/orders-history": lambda params: code if params["instType"] == "SWAP" else []})
    if is_stored:
        push(desk, "orders", old(instType="SWAP"))
        exchange.replies["trade/order"] = [old(instType="SWAP")]
    else:
        exchange.replies["trade/orders-pending"] = lambda params: page([old(instType="SWAP")], params, "ordId")
    assert str((await pull(exchange, desk, "orders")).rejected).startswith(f"SWAP: trade/orders-history: {code}")


async def test_types_of_instruments_that_okxsync_does_not_know_are_requested_once_reported(
    desk: Desk, autojump_clock: MockClock
) -> None:
    exchange = Exchange({"trade/orders-pending": lambda params: page([old(instType="BONDS")], params, "ordId")})
    await pull(exchange, desk, "orders")
    assert "BONDS" in {params.get("instType") for path, params in exchange.asked if path == "trade/orders-history"}


@pytest.mark.parametrize("kind", ["smart_iceberg", "of next year"])
async def test_types_of_algo_orders_that_were_pushed_are_requested(
    desk: Desk, autojump_clock: MockClock, kind: str
) -> None:
    push(desk, "algo-advance", algo(1, ordType=kind))

    def answer(params: dict[str, str]) -> list[dict[str, str]]:
        rows = [algo(2, ordType=kind), algo(1, ordType=kind)]
        return page([row for row in rows if row["ordType"] == params["ordType"]], params, "algoId")

    exchange = Exchange({"trade/orders-algo-pending": answer})
    assert await pull(exchange, desk, "algo orders") == Pulled()
    assert desk.rows("SELECT algo_id FROM algo_orders ORDER BY 1") == [("1",), ("2",)]
    assert {"ordType": kind, "state": "canceled", "limit": "100"} in [params for _, params in exchange.asked]


@pytest.mark.parametrize("kind", ["smart_iceberg", "twap", "chase"])
async def test_a_site_without_a_type_of_algo_order_has_none(desk: Desk, autojump_clock: MockClock, kind: str) -> None:
    answer: dict[str, Any] = {kind: "51000"}
    exchange = Exchange({"trade/orders-algo-pending": lambda params: answer.get(params["ordType"], [])})
    assert await pull(exchange, desk, "algo orders") == Pulled()
    answer[kind] = "58999"
    unlisted = await pull(exchange, desk, "algo orders")
    assert unlisted.rejected is unlisted.unstored is None, "the other types are verified"
    assert unlisted.unknown is not None
    assert kind in unlisted.unknown


# Orders from before the window


def order_lists(*rows: dict[str, str]) -> dict[str, Any]:
    """Return the list of ended orders, sorted by creation; begin and end are about creation too."""
    return {
        "trade/orders-history": lambda params: page(
            [
                row
                for row in rows
                if row["instType"] == params["instType"] and int(row["cTime"]) <= int(params.get("end", 1e15))
            ],
            params,
            "ordId",
        )
    }


async def test_an_empty_database_gets_the_orders_that_were_created_before_the_window(
    desk: Desk, autojump_clock: MockClock
) -> None:
    rows = [old(ordId=str(number), cTime=str(now_ms() - number * HOUR_MS), state="canceled") for number in range(1, 99)]
    exchange = Exchange(order_lists(*rows))
    assert await pull(exchange, desk, "orders", now_ms() - 1000) == Pulled()
    assert desk.rows("SELECT count(*) FROM orders") == [(98,)]


@pytest.mark.parametrize("is_mirrored", [False, True])
async def test_an_empty_database_gets_the_algo_orders_that_were_created_before_the_window(
    desk: Desk, autojump_clock: MockClock, is_mirrored: bool
) -> None:
    if is_mirrored:
        desk.at = time.time_ns() // 1000 - HOUR_MS * 1000
        desk.begin("orders-algo")
    rows = [algo(number, "canceled") for number in range(1, 151)]

    def answer(params: dict[str, str]) -> list[dict[str, str]]:
        return page(rows, params, "algoId") if (params["ordType"], params["state"]) == ("trigger", "canceled") else []

    exchange = Exchange({"trade/orders-algo-history": answer})
    assert await pull(exchange, desk, "algo orders", now_ms() - 1000) == Pulled()
    assert desk.rows("SELECT count(*) FROM algo_orders") == [(100 if is_mirrored else 150,)]


@pytest.mark.parametrize(("days", "is_read"), [(7.01, False), (8, True)])
async def test_the_archive_is_read_to_its_end_if_the_window_reaches_beyond_the_recent_list(
    desk: Desk, autojump_clock: MockClock, days: float, is_read: bool
) -> None:
    at = str(now_ms() - 60 * 24 * HOUR_MS)
    rows = [old(ordId=str(number), cTime=at, state="filled") for number in range(1, 151)]

    def answer(params: dict[str, str]) -> list[dict[str, str]]:
        return page(rows, params, "ordId") if params["instType"] == "SWAP" else []

    exchange = Exchange({"trade/orders-history-archive": answer})
    assert await pull(exchange, desk, "orders", now_ms() - int(days * 24 * HOUR_MS)) == Pulled()
    assert desk.rows("SELECT count(*) FROM orders") == [(150 if is_read else 100,)]


async def test_where_orders_were_mirrored_before_the_window_only_its_own_are_listed(
    desk: Desk, autojump_clock: MockClock
) -> None:
    desk.at = time.time_ns() // 1000 - HOUR_MS * 1000
    desk.begin("orders")
    pages = [
        [old(ordId=str(900 - number), cTime=str(now_ms() - HOUR_MS), state="canceled") for number in range(100)]
    ] * 9
    exchange = Exchange({"trade/orders-history": lambda params: pages.pop() if params["instType"] == "SWAP" else []})
    await pull(exchange, desk, "orders", now_ms() - 1000)
    assert len(pages) == 8


@pytest.mark.parametrize(("days", "is_stored"), [(3, False), (30, True)])
async def test_a_deposit_of_before_the_window_that_was_credited_in_it_is_read(
    desk: Desk, autojump_clock: MockClock, days: int, is_stored: bool
) -> None:
    row = {"depId": "1", "ccy": "BTC", "amt": "1", "state": "0", "ts": str(now_ms() - days * 24 * HOUR_MS)}
    if is_stored:
        push(desk, "deposit-info", row | {"pTime": row["ts"]})
    newer = [{"depId": str(9 + n), "ts": str(now_ms() - HOUR_MS - n), "state": "2"} for n in range(150)]
    exchange = Exchange({"asset/deposit-history": lambda params: page([*newer, row | {"state": "2"}], params, "ts")})
    assert await pull(exchange, desk, "deposits") == Pulled()
    assert desk.rows("SELECT state FROM deposits WHERE dep_id = '1'") == [("2",)]


async def pull_work(exchange: Exchange, desk: Desk, *subjects: str, since_ms: int | None = None) -> list[Part]:
    """Pull several subjects as one piece of work, and write the rows."""
    window = Window(since_ms or now_ms() - 60_000)
    parts = [Part("alpha", subject, window) for subject in subjects]
    work = Work("alpha", "alpha", "a test", parts, lambda report: [], side_by_side=True)
    send, receive = queue()
    with send, closing(Reads(desk.path, threads=False)) as reads:
        await perform(work, exchange.client, reads, send)
    desk.apply(*queued(receive))
    return parts


def fill(number: int, ord_id: str, **fields: str) -> dict[str, str]:
    at = str(now_ms() - 5000)
    row = {"instId": "BTC-USDT-SWAP", "instType": "SWAP", "ordId": ord_id, "tradeId": str(number), "fillSz": "1"}
    return row | {"billId": str(1000 + number), "ts": at, "fillTime": at} | fields


async def test_the_order_of_a_fill_is_looked_up_if_nothing_has_it(desk: Desk, autojump_clock: MockClock) -> None:
    push(desk, "orders", old(ordId="7", state="filled"))
    listed = old(ordId="8", state="filled", cTime=str(now_ms()))
    before = fill(4, "6", ts=str(now_ms() - HOUR_MS))
    fills = [fill(3, "9"), fill(2, "8"), fill(1, "7"), before, fill(0, "")]
    replies = order_lists(listed) | {
        "trade/fills": lambda params: page(fills, params, "billId"),
        "trade/order": lambda params: [old(ordId=params["ordId"], state="filled", instId=params["instId"])],
    }
    exchange = Exchange(replies)
    parts = await pull_work(exchange, desk, "orders", "fills")
    looked_up = [params for path, params in exchange.asked if path == "trade/order"]
    assert looked_up == [{"instId": "BTC-USDT-SWAP", "ordId": "9"}]
    assert [(part.done, part.error, part.unknown) for part in parts] == [(True, None, None)] * 2
    assert desk.rows("SELECT ord_id FROM orders ORDER BY 1") == [("7",), ("8",), ("9",)]


async def test_a_fill_whose_order_is_not_found_makes_the_result_partial(desk: Desk, autojump_clock: MockClock) -> None:
    fills = [fill(3, "9"), fill(2, "8")]
    exchange = Exchange({"trade/fills": lambda params: page(fills, params, "billId"), "trade/order": "51603"})
    _, of_fills = await pull_work(exchange, desk, "orders", "fills")
    assert of_fills.done
    assert of_fills.unknown == "2 orders with a fill were not found (the first is 8)"


async def test_a_fill_that_needs_no_order_does_not_make_the_result_partial(
    desk: Desk, autojump_clock: MockClock
) -> None:
    fills = [fill(3, "9", subType="210"), fill(2, "0", subType="237", tradeId="0"), fill(1, "", subType="204")]
    exchange = Exchange({"trade/fills": lambda params: page(fills, params, "billId"), "trade/order": "51603"})
    _, of_fills = await pull_work(exchange, desk, "orders", "fills")
    assert (of_fills.done, of_fills.unknown) == (True, None)
    assert {params["ordId"] for path, params in exchange.asked if path == "trade/order"} == {"9"}


# Rows that cannot be stored


async def test_fills_without_a_trade_id_are_stored_each_once(desk: Desk, autojump_clock: MockClock) -> None:
    rows = [
        fill(1, "", tradeId="", subType="112"),
        fill(2, "", tradeId="0", instId="SHIB-USDT", subType="237"),
        fill(3, "", tradeId="0", instId="SHIB-USDT", subType="237"),
        fill(4, "5", tradeId="0"),
    ]
    exchange = Exchange({"trade/fills": lambda params: page(rows, params, "billId")})
    for _ in range(2):
        assert await pull(exchange, desk, "fills") == Pulled()
    found = desk.rows("SELECT bill_id, trade_id, trade_id_made FROM fills ORDER BY 1")
    assert found == [(f"100{number}", f"bill-100{number}", 1) for number in range(1, 5)]
    assert desk.rows("SELECT * FROM anomalies") == []


BROKEN: list[tuple[str, str, object]] = [
    ("fills", "trade/fills", fill(1, "", tradeId="", billId="", ts="0")),
    ("fills", "trade/fills", fill(1, "", tradeId="0", billId="0")),
    ("fills", "trade/fills", None),
    ("bills", "account/bills", {"billId": "", "ts": "1"}),
    ("orders", "trade/orders-pending", {"state": "live"}),
    ("algo orders", "trade/orders-algo-pending", {"algoId": None, "cTime": "1"}),
    ("closed positions", "account/positions-history", {"posId": "1", "cTime": "soon", "uTime": "1"}),
    ("deposits", "asset/deposit-history", {"ts": "1"}),
    ("withdrawals", "asset/withdrawal-history", {"wdId": "", "ts": "1"}),
    ("positions", "account/positions", {"pos": "1"}),
    ("balances", "account/balance", {"details": [{"ccy": ""}]}),
]


@pytest.mark.parametrize(("subject", "path", "row"), BROKEN)
async def test_a_row_that_cannot_be_stored_makes_the_result_partial(
    desk: Desk, autojump_clock: MockClock, subject: str, path: str, row: Any
) -> None:
    pulled = await pull(Exchange({path: [row]}), desk, subject)
    assert f"{path}: a row cannot be stored" in str(pulled.unstored)
    assert desk.rows("SELECT count(*) > 0 FROM anomalies WHERE kind = 'invalid-row'") == [(1,)]


async def test_a_gap_with_a_row_that_cannot_be_stored_ends_as_partial(desk: Desk, autojump_clock: MockClock) -> None:
    exchange = Exchange({"asset/deposit-history": [{"ts": "1"}]})
    parts = await pull_work(exchange, desk, "deposits")
    now = now_ms()
    (result,) = gap_results(
        [Gap(7, "alpha", "deposit-info", now * 1000, now * 1000)], Report(parts, now * 1000, now, now * 1000, now)
    )
    assert (result.outcome, "a row cannot be stored" in str(result.note)) == ("partial", True)


@pytest.mark.parametrize("rows_per_page", [1, 2])
async def test_rows_that_overwrite_each_other_make_the_result_partial(
    desk: Desk, autojump_clock: MockClock, rows_per_page: int
) -> None:
    """Both legs of a trade with oneself have the same trade id, and no order tells them apart."""
    legs = [fill(3, "", side="buy"), fill(3, "", side="sell", billId="1002")]
    exchange = Exchange({"trade/fills": lambda params: page(legs, params, "billId")[:rows_per_page]})
    pulled = await pull(exchange, desk, "fills")
    assert "trade/fills: a row cannot be stored" in str(pulled.unstored)


@pytest.mark.parametrize("pages_apart", [1, 2])
async def test_two_lives_of_a_position_that_have_one_id_and_one_time_make_the_result_partial(
    desk: Desk, autojump_clock: MockClock, pages_apart: int
) -> None:
    """OKX uses the id of a closed position again, and does not say whether ``cTime`` is renewed then."""
    now = now_ms()
    lives = [{"posId": "7", "cTime": "1", "uTime": str(now - number), "pnl": str(number)} for number in (0, 9)]
    others = [{"posId": "8", "cTime": str(number), "uTime": str(now - number)} for number in range(1, pages_apart)]
    rows = [lives[0], *others, lives[1]]
    exchange = Exchange({"account/positions-history": lambda params: page(rows, params, "uTime")[:1]})
    pulled = await pull(exchange, desk, "closed positions")
    assert "account/positions-history: a row cannot be stored" in str(pulled.unstored)


async def test_bills_of_one_id_on_two_pages_make_the_result_partial(desk: Desk, autojump_clock: MockClock) -> None:
    answers: list[Any] = [[{"billId": "5", "ccy": ccy, "ts": str(now_ms())}] for ccy in ("USDT", "BTC")] + [[]]
    pulled = await pull(Exchange({"account/bills": lambda params: answers.pop(0)}), desk, "bills")
    assert "account/bills: a row cannot be stored" in str(pulled.unstored)


async def test_a_bill_that_the_archive_spells_differently_is_the_same_bill(
    desk: Desk, autojump_clock: MockClock
) -> None:
    bill = {"billId": "5", "bal": "1.0", "ts": str(now_ms() - 9 * 24 * HOUR_MS)}
    replies: dict[str, Any] = {
        "account/bills": lambda params: page([bill], params, "billId"),
        "account/bills-archive": lambda params: page([bill | {"bal": "1"}], params, "billId"),
    }
    assert await pull(Exchange(replies), desk, "bills", now_ms() - 8 * 24 * HOUR_MS) == Pulled()


async def test_positions_of_one_millisecond_are_told_apart_by_their_direction(
    desk: Desk, autojump_clock: MockClock
) -> None:
    """Opened, reversed and closed within one millisecond; OKX need not say in which direction."""
    record = {"posId": "7", "cTime": "1", "uTime": "1"}
    lives = [record | {"direction": "long", "pnl": "1"}, record | {"direction": "short", "pnl": "2"}, record]
    for _ in range(2):
        assert await pull(Exchange({"account/positions-history": lives}), desk, "closed positions") == Pulled()
    found = desk.rows("SELECT direction, pnl FROM positions_history ORDER BY 1")
    assert found == [("", None), ("long", "1"), ("short", "2")]
    pulled = await pull(
        Exchange({"account/positions-history": [record, record | {"pnl": "3"}]}), desk, "closed positions"
    )
    assert "a row cannot be stored" in str(pulled.unstored)


async def test_a_row_that_two_pages_have_is_stored(desk: Desk, autojump_clock: MockClock) -> None:
    row = {"depId": "1", "ccy": "BTC", "amt": "1", "ts": "7"}
    answers: list[Any] = [[row | {"state": "1"}], [row | {"state": "2"}], []]
    exchange = Exchange({"asset/deposit-history": lambda params: answers.pop(0)})
    assert await pull(exchange, desk, "deposits", 1) == Pulled()


async def test_more_deposits_of_one_time_than_fit_on_a_page_make_the_result_partial(
    desk: Desk, autojump_clock: MockClock
) -> None:
    at = now_ms() - 1000
    rows = [{"depId": str(number), "ts": str(at)} for number in range(130)] + [{"depId": "999", "ts": str(at - 1)}]
    exchange = Exchange({"asset/deposit-history": lambda params: page(rows, params, "ts")})
    pulled = await pull(exchange, desk, "deposits", at - 10)
    assert pulled.unstored == f"asset/deposit-history: more rows at {at} ms than fit on a page"
    assert desk.rows("SELECT count(*) FROM deposits") == [(101,)]


async def test_the_newest_fills_are_read_from_the_recent_list_as_well_as_from_the_archive(
    desk: Desk, autojump_clock: MockClock
) -> None:
    archived = fill(1, "5", ts=str(now_ms() - 4 * 24 * HOUR_MS))
    exchange = Exchange(
        {
            "trade/fills": lambda params: page([fill(2, "5")], params, "billId"),
            "trade/fills-history": lambda params: (
                page([archived], params, "billId") if params["instType"] == "SWAP" else []
            ),
        }
    )
    assert await pull(exchange, desk, "fills", now_ms() - 5 * 24 * HOUR_MS) == Pulled()
    assert desk.rows("SELECT trade_id FROM fills ORDER BY 1") == [("1",), ("2",)]


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
    before = now_ms() - 30_000
    push(
        desk,
        "balance_and_position",
        cash_and_positions(before, position(1, before), position(2, before), USDT="5", BTC="1"),
    )
    details = [{"ccy": "USDT", "cashBal": "6", "eq": "6", "uTime": str(now_ms() - 20_000)}]
    replies: dict[str, Any] = {"account/positions": [position(2, before)]}
    replies["account/balance"] = [{"uTime": str(now_ms() - 15_000), "totalEq": "6", "details": details}]
    exchange = Exchange(replies)
    for subject in ("balances", "positions"):
        assert await pull(exchange, desk, subject) == Pulled()
    assert desk.rows("SELECT pos_id, pos FROM positions ORDER BY 1") == [("1", "0"), ("2", "3")]
    assert desk.rows("SELECT ccy, cash_bal FROM balances ORDER BY 1") == [("BTC", "0"), ("USDT", "6")]
    exchange.replies |= {"account/positions": [], "account/balance": [{"uTime": str(now_ms()), "details": []}]}
    for subject in ("balances", "positions"):
        assert await pull(exchange, desk, subject) == Pulled()
    assert set(desk.rows("SELECT pos FROM positions")) == {("0",)}
    assert set(desk.rows("SELECT cash_bal FROM balances")) == {("0",)}


async def test_a_reply_without_an_account_proves_nothing_about_its_balances(
    desk: Desk, autojump_clock: MockClock
) -> None:
    before = now_ms() - 30_000
    push(desk, "balance_and_position", cash_and_positions(before, USDT="5"))
    pulled = await pull(Exchange({"account/balance": []}), desk, "balances")
    assert pulled == Pulled(unstored="account/balance: the reply has no account")
    assert desk.rows("SELECT cash_bal FROM balances") == [("5",)]


async def test_what_is_younger_than_rest_may_know_is_not_closed(desk: Desk, autojump_clock: MockClock) -> None:
    now = now_ms() - 500
    push(desk, "balance_and_position", cash_and_positions(now, position(1, now), USDT="5"), ago_us=500_000)
    exchange = Exchange({"account/balance": [{"uTime": str(now_ms()), "details": []}]})
    for subject in ("balances", "positions"):
        await pull(exchange, desk, subject)
    assert desk.rows("SELECT pos FROM positions") == [("3",)]
    assert desk.rows("SELECT cash_bal FROM balances") == [("5",)]


async def test_a_page_of_a_list_is_not_the_complete_state(desk: Desk, autojump_clock: MockClock) -> None:
    send, receive = queue()
    exchange = Exchange({"trade/orders-pending": [old()], "account/positions-history": [{"posId": "1", "cTime": "1"}]})
    with send, closing(Reads(desk.path, threads=False)) as reads:
        held = AccountReads(reads, "alpha")
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


def test_a_puller_leaves_no_garbage() -> None:
    """There is one for each fetch, and garbage waits for a collection."""
    send, _ = queue()
    with closing(Reads(Path("unused.db"), threads=False)) as reads:
        puller = Puller(Exchange().client, send, AccountReads(reads, "alpha"))
        seen = weakref.ref(puller)
        gc.disable()
        try:
            del puller
            assert seen() is None
        finally:
            gc.enable()
