"""What OKX reports in two ways is identical; and each side must have the rows that the other one has."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest
from trio.testing import MockClock

from okxsync.messages import Rows
from okxsync.okx.channels import subscription
from okxsync.reconcile.side_by_side import STABLE_ROUNDS
from okxsync.reconcile.verify import verify
from tests.support.desk import MS, Desk, order
from tests.support.scripted_rest import Exchange, Reply, Row

CHANNELS = ("account", "positions", "balance_and_position", "orders", "orders-algo")


@pytest.fixture
def desk(desk: Desk) -> Desk:
    desk.begin(*CHANNELS)
    return desk


async def differences(
    desk: Desk, replies: Mapping[str, Reply], channels: Sequence[str] = CHANNELS, since_ms: int = MS - 3_600_000
) -> list[tuple[str, str, str]]:
    exchange = Exchange({"account/balance": [{"details": []}], **replies})
    found, _ = await verify(desk.path, exchange.client, [subscription(one) for one in channels], since_ms, 0.0)
    return [(one.table, one.key, one.column) for one in found]


def now_kept(row: Row) -> dict[str, Any]:
    """Return an order whose time does not matter: it has a fill."""
    return {**row, "accFillSz": "10", "state": "filled"}


# One value, two spellings

PUSHED = order(1, px="100.0", posSide="", lever="0", feeCcy="", slTriggerPxType="last", reduceOnly="false")
SPOT = {"instId": "BTC-USDT", "instType": "SPOT"}
LEG = {"attachAlgoId": "5", "tpTriggerPx": "150", "tpTriggerPxType": "last", "tpOrdPx": "-1", "sz": ""}
OTHER = {"attachAlgoId": "6", "tpTriggerPx": "160", "tpTriggerPxType": "mark", "tpOrdPx": "-1", "sz": "1"}
SPELLINGS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "the side of a spot position": ({"posSide": ""}, {"posSide": "net"}),
    "the side of a net position": ({"posSide": "net"}, {"posSide": ""}),
    "a leverage of nothing": ({"lever": "0"}, {"lever": ""}),
    "the type of no trigger price": ({"slTriggerPxType": "last", "slTriggerPx": ""}, {"slTriggerPxType": ""}),
    "the default type of a trigger price": (
        {"tpTriggerPxType": "last", "tpTriggerPx": "9"},
        {"tpTriggerPxType": "", "tpTriggerPx": "9.0"},
    ),
    "zeros behind a price": ({"px": "100.10"}, {"px": "100.1"}),
    "an exponent": ({"sz": "1E+1"}, {"sz": "10"}),
    "a flag": ({"reduceOnly": "false"}, {"reduceOnly": ""}),
    "the currency of no fee": ({"fee": "0", "feeCcy": ""}, {"fee": "", "feeCcy": "USDT"}),
    "no average price": ({"avgPx": "0"}, {"avgPx": ""}),
    "the order of a list": ({"attachAlgoOrds": [LEG, OTHER]}, {"attachAlgoOrds": [OTHER, LEG]}),
    "numbers inside": ({"attachAlgoOrds": [OTHER]}, {"attachAlgoOrds": [{**OTHER, "sz": "1.0", "tpOrdPx": -1}]}),
    "fields of REST alone, inside": (
        {"attachAlgoOrds": [LEG, OTHER]},
        {"attachAlgoOrds": [{**one, "failCode": "51008", "failReason": "x"} for one in (LEG, OTHER)]},
    ),
    "an empty object": ({"linkedAlgoOrd": {"algoId": ""}}, {"linkedAlgoOrd": {}}),
    "a field of REST alone": ({}, {"tradeQuoteCcy": "USDT"}),
    "a change some milliseconds later": ({"uTime": str(MS)}, {"uTime": str(MS + 400)}),
}


@pytest.mark.parametrize("name", SPELLINGS)
@pytest.mark.parametrize("state", ["live", "filled"])
@pytest.mark.parametrize("inst", [{}, SPOT], ids=["swap", "spot"])
async def test_two_spellings_of_one_value_are_identical(
    desk: Desk, autojump_clock: MockClock, name: str, state: str, inst: dict[str, str]
) -> None:
    pushed, by_rest = ({**order(1), **inst, "state": state, **fields} for fields in SPELLINGS[name])
    path = "trade/orders-pending"
    if state == "filled":
        path = "trade/orders-history"
        pushed, by_rest = now_kept(pushed), now_kept(by_rest)
    desk.push("orders", pushed)
    assert await differences(desk, {path: [by_rest]}) == []


async def test_an_end_that_is_reported_again_is_the_same_end(desk: Desk, autojump_clock: MockClock) -> None:
    ended = order(1, state="filled", accFillSz="10", fillSz="10", tradeId="91")
    again = {**ended, "uTime": str(MS + 60_000)}
    desk.push("orders", ended, again)
    desk.apply(Rows("alpha", "orders", msgspec.json.encode([again]).decode(), (MS + 90_000) * 1000, MS + 90_000))
    assert desk.rows("SELECT u_time, source FROM orders") == [(MS, "ws")], "no lost push"
    fill = {"instId": "BTC-USDT-SWAP", "instType": "SWAP", "ordId": "1", "tradeId": "91", "billId": "7",
            "fillSz": "10.0", "fillTime": str(MS), "ts": str(MS)}  # fmt: skip
    desk.push("orders", {**ended, "fillTime": str(MS)})
    assert await differences(desk, {"trade/orders-history": [again], "trade/fills": [fill]}) == []


DIFFERENT: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "another side": ({"posSide": "long"}, {"posSide": "net"}, "pos_side"),
    "another type of a trigger price": (
        {"slTriggerPxType": "index", "slTriggerPx": "9"},
        {"slTriggerPxType": "", "slTriggerPx": "9"},
        "sl_trigger_px_type",
    ),
    "a missing leg": ({"attachAlgoOrds": [LEG]}, {"attachAlgoOrds": [LEG, OTHER]}, "attach_algo_ords"),
    "another price inside": (
        {"attachAlgoOrds": [LEG]},
        {"attachAlgoOrds": [{**LEG, "tpTriggerPx": "151"}]},
        "attach_algo_ords",
    ),
    "a value that is empty here": ({"tag": ""}, {"tag": "x"}, "tag"),
    "a change that is not stored": ({"uTime": str(MS)}, {"uTime": str(MS + 5000)}, "u_time"),
}


@pytest.mark.parametrize("name", DIFFERENT)
async def test_two_values_are_not_identical(desk: Desk, autojump_clock: MockClock, name: str) -> None:
    ours, theirs, column = DIFFERENT[name]
    desk.push("orders", {**order(1), **ours})
    assert await differences(desk, {"trade/orders-pending": [{**order(1), **theirs}]}) == [("orders", "1", column)]


async def test_a_balance_whose_change_another_channel_reported_later_is_identical(
    desk: Desk, autojump_clock: MockClock
) -> None:
    row = {"ccy": "USDT", "cashBal": "5", "eq": "5", "uTime": str(MS)}
    desk.push("account", {"uTime": str(MS), "details": [row]})
    cash = {"ccy": "USDT", "cashBal": "5.00", "uTime": str(MS + 20_000)}
    desk.push("balance_and_position", {"pTime": str(MS + 20_000), "eventType": "filled", "balData": [cash]})
    assert await differences(desk, {"account/balance": [{"details": [row]}]}) == []


# The same condition on both sides

EMPTY_BALANCE = {"ccy": "BTC", "eq": "0.00", "cashBal": "0", "availBal": "", "uTime": str(MS)}
EMPTY_POSITION = {"posId": "9", "instId": "BTC-USDT", "instType": "MARGIN", "pos": "0.0", "uTime": str(MS)}
LISTED: dict[str, tuple[str, Any, str]] = {
    "a currency of zero": ("account", EMPTY_BALANCE, ""),
    "a currency with a debt alone": ("account", {**EMPTY_BALANCE, "liab": "0.5"}, "BTC"),
    "a currency with an available balance alone": ("account", {**EMPTY_BALANCE, "availBal": "0.1"}, "BTC"),
    "a position of zero": ("positions", EMPTY_POSITION, ""),
    "a position": ("positions", {**EMPTY_POSITION, "pos": "-1.0"}, "9"),
}


@pytest.mark.parametrize("name", LISTED)
@pytest.mark.parametrize("is_ours", [True, False])
async def test_a_row_that_one_side_need_not_list_is_missing_on_neither(
    desk: Desk, autojump_clock: MockClock, name: str, is_ours: bool
) -> None:
    channel, row, missing = LISTED[name]
    path = "account/balance" if channel == "account" else "account/positions"
    content = {"uTime": str(MS), "details": [row]} if channel == "account" else row
    if is_ours:
        desk.push(channel, content)
    found = await differences(desk, {} if is_ours else {path: [content]})
    table = "balances" if channel == "account" else "positions"
    assert found == ([(table, missing, "")] if missing else [])


@pytest.mark.parametrize("u_time", [MS, MS - 10 * 3_600_000])
async def test_an_order_that_ended_here_and_is_pending_there_differs_in_its_state(
    desk: Desk, autojump_clock: MockClock, u_time: int
) -> None:
    created = {"cTime": str(MS - 86_400_000)}
    desk.push("orders", {**order(1, state="canceled", uTime=str(u_time)), **created})
    pending = {**order(1, uTime=str(u_time)), **created}
    found = await differences(desk, {"trade/orders-pending": [pending]})
    assert found == [("orders", "1", "state" if u_time == MS else "")]


@pytest.mark.parametrize("accFillSz", ["0", "0.00", ""])
async def test_an_order_that_was_cancelled_unfilled_long_ago_need_not_be_listed(
    desk: Desk, autojump_clock: MockClock, accFillSz: str
) -> None:
    """OKX keeps it for two hours."""
    times = {"cTime": str(LONG_AGO_MS), "uTime": str(LONG_AGO_MS)}
    desk.push("orders", order(1, state="canceled", accFillSz=accFillSz) | times)
    assert await differences(desk, {}, since_ms=0) == []
    desk.push("orders", order(2, state="canceled", accFillSz="0.1") | times)
    assert await differences(desk, {}, since_ms=0) == [("orders", "2", "")]


LONG_AGO_MS = 1_700_000_000_000


async def test_an_order_that_ends_between_the_lists_counts_as_ended(desk: Desk, autojump_clock: MockClock) -> None:
    ended = order(1, state="filled", accFillSz="10")
    desk.push("orders", ended)
    replies = {"trade/orders-pending": [order(1)], "trade/orders-history": [ended]}
    assert await differences(desk, replies) == []


# Fills


def fill(trade_id: str = "91", **fields: str) -> dict[str, str]:
    row = {"instId": "BTC-USDT-SWAP", "instType": "SWAP", "ordId": "1", "tradeId": trade_id, "billId": "7"}
    return row | {"fillSz": "1", "fillTime": str(MS), "ts": str(MS)} | fields


def by_rest(channel: str, *rows: object) -> Rows:
    return Rows("alpha", channel, msgspec.json.encode(rows).decode(), MS * 1000, MS)


async def test_a_fill_without_its_order_is_reported(desk: Desk, autojump_clock: MockClock) -> None:
    desk.apply(by_rest("fills", fill()))
    assert await differences(desk, {"trade/fills": [fill()]}) == [("orders", "1", "")]
    assert await differences(desk, {"trade/fills": [fill()]}, ["fills"]) == [], "no channel reports its order"
    desk.push("orders", order(1, cTime=str(MS - 86_400_000 * 9), state="filled", accFillSz="1", uTime=str(MS - 5)))
    assert await differences(desk, {"trade/fills": [fill()]}) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"ordId": "", "subType": "204"},
        {"ordId": "0", "subType": "237", "tradeId": "0"},
        {"ordId": "77001", "subType": "210"},
        {"ordId": "", "subType": "112", "tradeId": ""},
        {"ordId": "", "subType": "112", "tradeId": "", "fillTime": ""},
    ],
    ids=["block trade", "conversion", "leg of a spread", "delivery", "a delivery without a time"],
)
async def test_a_fill_that_has_no_order_lacks_none(
    desk: Desk, autojump_clock: MockClock, fields: dict[str, str]
) -> None:
    """OKX docs: GET trade/fills."""
    row = fill(**fields)
    desk.apply(by_rest("fills", row))
    assert await differences(desk, {"trade/fills": [row]}) == []
    assert {(table, column) for table, _, column in await differences(desk, {})} == {("fills", "")}


async def test_a_fill_whose_execution_has_no_time_is_compared_by_the_time_of_its_record(
    desk: Desk, autojump_clock: MockClock
) -> None:
    row = fill()
    del row["fillTime"]
    desk.push("orders", order(1, state="filled", accFillSz="1"))
    desk.apply(by_rest("fills", row))
    for fields in ({}, {"fillTime": ""}):
        assert await differences(desk, {"trade/fills": [row | fields], "trade/orders-history": [now_filled()]}) == []
    assert await differences(desk, {"trade/fills": [], "trade/orders-history": [now_filled()]}) == [
        ("fills", "BTC-USDT-SWAP/1/91", "")
    ]


def now_filled() -> dict[str, str]:
    return order(1, state="filled", accFillSz="1")


# Types of algo orders that are new

NEW = {"algoId": "4", "instId": "BTC-USDT-SWAP", "instType": "SWAP", "ordType": "brand_new", "state": "live",
       "sz": "1", "cTime": str(MS), "uTime": str(MS)}  # fmt: skip


@pytest.mark.parametrize("channel", ["orders-algo", "algo-advance"])
@pytest.mark.parametrize("rejects", [False, True], ids=["listed", "looked up"])
async def test_an_algo_order_of_an_unknown_type_is_compared(
    desk: Desk, autojump_clock: MockClock, channel: str, rejects: bool
) -> None:
    def pending(params: dict[str, str]) -> Reply:
        if params["ordType"] != "brand_new":
            return []
        return "51000" if rejects else listed

    listed = [NEW]
    desk.push(channel, NEW)
    replies: dict[str, Reply] = {"trade/orders-algo-pending": pending, "trade/order-algo": lambda params: listed}
    assert await differences(desk, replies, [channel]) == []
    listed = [{**NEW, "sz": "2"}]
    assert await differences(desk, replies, [channel]) == [("algo_orders", "4", "sz")]
    listed = []
    assert await differences(desk, replies, [channel]) == [("algo_orders", "4", "")]
    replies["trade/order-algo"] = "51603"
    assert await differences(desk, replies, [channel]) == [("algo_orders", "4", "")]


def test_a_difference_must_last() -> None:
    assert STABLE_ROUNDS > 1


# What OKX rejects


async def test_what_okx_rejects_is_named_and_all_else_is_compared(desk: Desk, autojump_clock: MockClock) -> None:
    option = now_kept(order(1, instType="OPTION", instId="BTC-USD-261225-50000-C"))
    balance = {"uTime": str(MS), "details": [{"ccy": "USDT", "cashBal": "5", "uTime": str(MS)}]}
    desk.apply(*(desk.frame("orders", one) for one in (option, now_kept(order(2)))), desk.frame("account", balance))

    later: dict[str, Reply] = {"OPTION": "59999", "EVENTS": [now_kept(order(3, instType="EVENTS"))]}

    def of_type(params: dict[str, str]) -> Reply:
        return later.get(params["instType"], [])

    exchange = Exchange(
        {"trade/orders-history": of_type, "account/positions": "59999", "account/balance": [{"details": []}]}
    )
    channels = [subscription(one) for one in ("orders", "positions", "account")]
    found, notes = await verify(desk.path, exchange.client, channels, MS - 3_600_000, 0.0)
    assert {(one.table, one.key) for one in found} == {("orders", "2"), ("orders", "3"), ("balances", "USDT")}
    assert [note.partition(":")[0] for note in notes] == ["orders OPTION not compared", "positions not compared"]
