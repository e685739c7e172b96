"""Subscriptions and what they push."""

import json
from collections import Counter
from contextlib import AsyncExitStack
from decimal import Decimal
from typing import Any

import pytest
import trio

from okxsync.sandbox.exchange.exchange import Exchange, Member, Push
from okxsync.sandbox.server.channels import ARGS, CHANNELS, BadArg, channel_of
from okxsync.sandbox.server.server import Sandbox
from tests.support.sandbox_client import FAR_BUY, SPOT, SWAP, talk

ORDERS = {"channel": "orders", "instType": "ANY"}
POSITIONS = {"channel": "positions", "instType": "ANY"}
ALGOS = {"channel": "orders-algo", "instType": "ANY"}


def details(frame: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {each["ccy"]: each for each in frame["data"][0]["details"]}


# Subscribing


async def test_one_ack_per_arg_in_order_with_id_and_arg(sandbox: Sandbox, alpha: Member) -> None:
    args = [ORDERS, {"channel": "fills"}, {"channel": "orders", "instType": "SWAP"}]
    alpha.vip = 5
    async with talk(sandbox, member=alpha) as client:
        acks = await client.subscribe(*args, id="s1")
        assert [ack["arg"] for ack in acks] == args
        assert {ack["id"] for ack in acks} == {"s1"}
        again = await client.subscribe(ORDERS)
        assert again[0]["event"] == "subscribe"
        assert "id" not in again[0]


async def test_a_bad_arg_has_an_error_without_arg_and_the_others_succeed(sandbox: Sandbox, alpha: Member) -> None:
    bad = {"channel": "orders", "instType": "ANY", "instId": "NO-SUCH"}
    async with talk(sandbox, member=alpha) as client:
        answers = await client.subscribe(ORDERS, {"channel": "nothing"}, bad, POSITIONS, id="s2")
        assert [frame["event"] for frame in answers] == ["subscribe", "error", "error", "subscribe"]
        for error in answers[1:3]:
            assert (error["code"], error["id"], "arg" in error) == ("60018", "s2", False)
        assert "nothing" in answers[1]["msg"]


@pytest.mark.parametrize(
    ("endpoint", "arg", "code"),
    [
        ("private", ALGOS, "64001"),
        ("private", {"channel": "deposit-info"}, "64001"),
        ("business", {"channel": "account"}, "64002"),
        ("business", {"channel": "tickers", "instId": "BTC-USDT"}, "64002"),
        ("private", {"channel": "tickers", "instId": "BTC-USDT"}, "60018"),
        ("private", {"channel": "orders", "instType": "SWAP", "uly": "BTC-USDT"}, "64000"),
        ("private", {"channel": "orders"}, "60027"),
        ("private", {"channel": "orders", "instType": "FOO"}, "60018"),
        ("private", {"channel": "positions", "instType": "SPOT"}, "60018"),
        ("private", {"channel": "fills"}, "64003"),
        ("private", {"channel": "account", "extraParams": {"updateInterval": "0"}}, "60012"),
        ("private", {"channel": "account", "extraParams": "0"}, "60012"),
        ("private", {"channel": "account", "extraParams": "[]"}, "60012"),
    ],
)
async def test_channel_errors(
    sandbox: Sandbox, alpha: Member, endpoint: str, arg: dict[str, object], code: str
) -> None:
    async with talk(sandbox, endpoint, alpha) as client:
        (error,) = await client.subscribe(arg)
        assert error["code"] == code
        assert sandbox.connections[0].channels == []


async def test_fills_of_a_vip_report_each_fill(sandbox: Sandbox, exchange: Exchange, alpha: Member) -> None:
    alpha.vip = 4
    async with talk(sandbox, member=alpha) as client:
        await client.subscribe("fills")
        sandbox.operate(exchange.place_order, alpha.uid, {**SWAP, "side": "buy", "ordType": "market", "sz": "1"})
        frame = await client.receive()
        assert frame["arg"] == {"channel": "fills", "uid": alpha.uid}
        assert frame["data"][0]["tradeId"] in {row["tradeId"] for row in exchange.fill_rows(alpha.uid)}


async def test_conn_count_of_the_counted_channels(sandbox: Sandbox, alpha: Member, beta: Member) -> None:
    async with talk(sandbox, member=alpha) as one, talk(sandbox, member=alpha) as two, talk(sandbox, member=beta) as b:
        for client, count in ((one, "1"), (two, "2"), (b, "1")):
            await client.send({"op": "subscribe", "args": [ORDERS]})
            ack, counted = await client.receive(), await client.receive()
            assert ack["event"] == "subscribe"
            assert counted == {
                "event": "channel-conn-count",
                "channel": "orders",
                "connCount": count,
                "connId": ack["connId"],
            }
        await two.subscribe({"channel": "orders", "instType": "SWAP"})  # the same channel counts once
        assert (await two.receive())["connCount"] == "2"


async def test_the_connection_above_30_is_acked_and_gets_nothing(
    sandbox: Sandbox, exchange: Exchange, alpha: Member
) -> None:
    async with AsyncExitStack() as others:
        for _ in range(30):
            other = await others.enter_async_context(talk(sandbox, member=alpha))
            await other.subscribe(ORDERS)
        async with talk(sandbox, member=alpha) as client:
            (ack,) = await client.subscribe(ORDERS)
            error = await client.receive()
            assert ack["event"] == "subscribe"
            assert error["event"] == "channel-conn-count-error"
            assert error["connCount"] == "30"
            sandbox.operate(exchange.place_order, alpha.uid, {**SWAP, **FAR_BUY, "sz": "1"})
            assert await client.received() == []
            assert len(sandbox.violations) == 1


async def test_unsubscribe_stops_pushes_and_acks(sandbox: Sandbox, exchange: Exchange, alpha: Member) -> None:
    async with talk(sandbox, member=alpha) as client:
        await client.subscribe(ORDERS, {"channel": "orders", "instType": "SPOT"})
        answer = {"event": "unsubscribe", "arg": ORDERS, "id": "u1"}
        await client.send({"id": "u1", "op": "unsubscribe", "args": [ORDERS]})
        assert (await client.receive_matching(event="unsubscribe")).items() >= answer.items()
        sandbox.operate(exchange.place_order, alpha.uid, {**SWAP, **FAR_BUY, "sz": "1"})
        assert await client.received() == []
        assert sandbox.connections[0].channels == ["orders"]


# account


async def test_account_begins_with_a_snapshot_and_reports_changed_currencies(
    sandbox: Sandbox, exchange: Exchange, alpha: Member
) -> None:
    async with talk(sandbox, member=alpha) as client:
        await client.subscribe("account")
        snapshot = await client.receive_matching(channel="account", eventType="snapshot")
        assert snapshot["arg"] == {"channel": "account", "uid": alpha.uid}
        assert (snapshot["curPage"], snapshot["lastPage"]) == (1, True)
        assert list(snapshot) == ["arg", "eventType", "curPage", "lastPage", "data"]
        assert set(details(snapshot)) == {"USDT"}
        body = {**SPOT, "side": "buy", "ordType": "market", "sz": "600"}
        sandbox.operate(exchange.place_order, alpha.uid, body)
        event = await client.receive()
        assert list(event) == ["arg", "eventType", "data"]
        assert event["eventType"] == "event_update"
        assert set(details(event)) == {"USDT", "BTC"}
        sandbox.operate(exchange.place_order, alpha.uid, {**SWAP, **FAR_BUY, "sz": "1"})
        assert set(details(await client.receive())) == {"USDT"}


async def test_account_details_come_in_pages(sandbox: Sandbox, exchange: Exchange, alpha: Member) -> None:
    sandbox.terms.details_per_page = 1
    for pair in ("BTC-USDT", "ETH-USDT"):
        body = {"instId": pair, "tdMode": "cash", "side": "buy", "ordType": "market", "sz": "600"}
        sandbox.operate(exchange.place_order, alpha.uid, body)
    async with talk(sandbox, member=alpha) as client:
        await client.subscribe("account")
        pages = [await client.receive_matching(eventType="snapshot") for _ in range(3)]
        assert [(page["curPage"], page["lastPage"]) for page in pages] == [(1, False), (2, False), (3, True)]
        assert set().union(*map(details, pages)) == {"USDT", "BTC", "ETH"}


async def test_an_account_without_anything_has_no_details(sandbox: Sandbox, exchange: Exchange) -> None:
    empty = exchange.add_member("empty", deposit={}, acct_lv="1")
    async with talk(sandbox, member=empty) as client:
        await client.subscribe("account", POSITIONS, {"channel": "account", "ccy": "BTC"})
        (row,) = (await client.receive_matching(eventType="snapshot"))["data"]
        positions = await client.receive_matching(eventType="snapshot")
        assert (positions["arg"]["channel"], positions["data"]) == ("positions", [])
        assert row["details"] == []
        assert (row["isoEq"], row["adjEq"], row["mgnRatio"]) == ("", "0", "")
        assert all(isinstance(value, str) for name, value in row.items() if name != "details")


async def test_regular_snapshots_come_unless_update_interval_is_0(sandbox: Sandbox, alpha: Member) -> None:
    sandbox.terms.snapshot_s = 0.2
    none = json.dumps({"updateInterval": "0"})
    async with talk(sandbox, member=alpha) as regular, talk(sandbox, member=alpha) as events_only:
        began, counts = trio.current_time(), Counter[str]()
        await regular.subscribe("account", POSITIONS)
        await events_only.subscribe({"channel": "account", "extraParams": none}, {**POSITIONS, "extraParams": none})
        while min(counts["account"], counts["positions"]) < 4:
            frame = await regular.receive()
            counts[frame.get("arg", {}).get("channel")] += "eventType" in frame
        assert trio.current_time() - began >= 2 * sandbox.terms.snapshot_s  # the first one comes at once
        rest = [frame for frame in await events_only.received() if frame.get("eventType")]
        assert [frame["arg"] for frame in rest] == [
            {"channel": "account", "uid": alpha.uid},
            {**POSITIONS, "uid": alpha.uid},
        ]


# positions


async def test_positions_regular_pushes_keep_u_time_and_raise_p_time(
    sandbox: Sandbox, exchange: Exchange, alpha: Member
) -> None:
    sandbox.terms.snapshot_s = 0.1
    sandbox.operate(exchange.place_order, alpha.uid, {**SWAP, "side": "buy", "ordType": "market", "sz": "2"})
    async with talk(sandbox, member=alpha) as client:
        await client.subscribe(POSITIONS)
        first, *_, last = [(await client.receive_matching(eventType="snapshot"))["data"][0] for _ in range(5)]
        assert last["uTime"] == first["uTime"]
        assert int(last["pTime"]) > int(first["pTime"])
        assert last["markPx"] != first["markPx"]
        assert last["upl"] != first["upl"]
        assert last["pos"] == first["pos"] == "2"


async def test_a_close_is_one_row_with_pos_0_and_then_absent(
    sandbox: Sandbox, exchange: Exchange, alpha: Member
) -> None:
    sandbox.terms.snapshot_s = 0.2
    sandbox.operate(exchange.place_order, alpha.uid, {**SWAP, "side": "buy", "ordType": "market", "sz": "2"})
    async with talk(sandbox, member=alpha) as client:
        await client.subscribe(POSITIONS)
        held = (await client.receive_matching(eventType="snapshot"))["data"]
        body = {"instId": "BTC-USDT-SWAP", "mgnMode": "cross"}
        sandbox.operate(exchange.close_position, alpha.uid, body)
        closed = await client.receive_matching(eventType="event_update")
        assert [(row["posId"], row["pos"]) for row in closed["data"]] == [(held[0]["posId"], "0")]
        assert (await client.receive_matching(eventType="snapshot"))["data"] == []
        assert [f for f in await client.received() if f["eventType"] == "event_update"] == []


async def test_positions_of_one_type_get_no_others(sandbox: Sandbox, exchange: Exchange, alpha: Member) -> None:
    sandbox.terms.snapshot_s = 3600.0
    async with talk(sandbox, member=alpha) as client:
        eth = {"channel": "positions", "instType": "SWAP", "instId": "ETH-USDT-SWAP"}
        await client.subscribe(eth, {"channel": "positions", "instType": "FUTURES"})
        await client.received()
        sandbox.operate(exchange.place_order, alpha.uid, {**SWAP, "side": "buy", "ordType": "market", "sz": "2"})
        body = {**SWAP, "instId": "ETH-USDT-SWAP", "side": "buy", "ordType": "market", "sz": "2"}
        sandbox.operate(exchange.place_order, alpha.uid, body)
        frames = await client.received()
        assert {frame["arg"]["instId"] for frame in frames} == {"ETH-USDT-SWAP"}
        assert {row["instId"] for frame in frames for row in frame["data"]} == {"ETH-USDT-SWAP"}


# balance_and_position


async def test_balance_and_position_has_its_event_type_inside(
    sandbox: Sandbox, exchange: Exchange, alpha: Member
) -> None:
    async with talk(sandbox, member=alpha) as client:
        await client.subscribe("balance_and_position")
        snapshot = await client.receive_matching(channel="balance_and_position", event=None)
        assert list(snapshot) == ["arg", "data"]
        assert snapshot["data"][0]["eventType"] == "snapshot"
        assert [row["ccy"] for row in snapshot["data"][0]["balData"]] == ["USDT"]
        body = {**SPOT, "side": "buy", "ordType": "market", "sz": "600"}
        sandbox.operate(exchange.place_order, alpha.uid, body)
        (event,) = (await client.receive())["data"]
        assert event["eventType"] == "filled"
        assert {row["ccy"] for row in event["balData"]} == {"USDT", "BTC"}
        assert event["posData"] == []
        assert event["trades"]


# orders


async def test_orders_push_nothing_on_subscribe_then_each_change(
    sandbox: Sandbox, exchange: Exchange, alpha: Member
) -> None:
    sandbox.operate(exchange.place_order, alpha.uid, {**SWAP, **FAR_BUY, "sz": "1"})
    async with talk(sandbox, member=alpha) as client:
        await client.subscribe(ORDERS)
        assert (await client.receive())["event"] == "channel-conn-count"
        assert await client.received() == []
        body = {**SWAP, **FAR_BUY, "sz": "2", "clOrdId": "c1"}
        order = sandbox.operate(exchange.place_order, alpha.uid, body)
        frame = await client.receive()
        assert list(frame) == ["arg", "data"]
        assert frame["arg"] == {**ORDERS, "uid": alpha.uid}
        (live,) = frame["data"]
        assert (live["state"], live["ordId"], live["clOrdId"]) == ("live", order.ord_id, "c1")
        amend = {"instId": "BTC-USDT-SWAP", "ordId": order.ord_id, "newSz": "3", "reqId": "r1"}
        sandbox.operate(exchange.amend_order, alpha.uid, amend)
        (amended,) = (await client.receive())["data"]
        assert (amended["ordId"], amended["sz"]) == (order.ord_id, "3")
        assert (amended["reqId"], amended["amendResult"]) == ("r1", "0")
        sandbox.operate(exchange.cancel_order, alpha.uid, {"instId": "BTC-USDT-SWAP", "ordId": order.ord_id})
        (canceled,) = (await client.receive())["data"]
        assert (canceled["state"], canceled["cancelSource"]) == ("canceled", "1")


async def test_partial_fills_report_this_fill(sandbox: Sandbox, exchange: Exchange, alpha: Member) -> None:
    async with talk(sandbox, member=alpha) as client:
        await client.subscribe(ORDERS)
        assert (await client.receive())["event"] == "channel-conn-count"
        body = {**SWAP, "side": "buy", "ordType": "limit", "px": "55000", "sz": "40"}
        sandbox.operate(exchange.place_order, alpha.uid, body)
        filled = Decimal(0)
        rows = (await client.receive())["data"]
        while rows[-1]["state"] != "filled":
            sandbox.operate(exchange.set_mark, "BTC-USDT-SWAP", "54000")
            rows = (await client.receive())["data"]
            filled += Decimal(rows[-1]["fillSz"])
            assert Decimal(rows[-1]["accFillSz"]) == filled
            assert rows[-1]["tradeId"]
        assert filled == 40


async def test_a_spot_market_order_ends_with_filled_and_no_fill(
    sandbox: Sandbox, exchange: Exchange, alpha: Member
) -> None:
    async with talk(sandbox, member=alpha) as client:
        await client.subscribe(ORDERS)
        body = {**SPOT, "side": "buy", "ordType": "market", "sz": "600"}
        sandbox.operate(exchange.place_order, alpha.uid, body)
        frames = [frame for frame in await client.received() if "data" in frame]
        last = frames[-1]["data"][-1]
        assert (last["state"], last["fillSz"], last["tradeId"]) == ("filled", "0", "")
        assert any(row["tradeId"] for frame in frames[:-1] for row in frame["data"])


async def test_algo_orders_are_pushed_on_business(sandbox: Sandbox, exchange: Exchange, alpha: Member) -> None:
    async with talk(sandbox, "business", alpha) as business, talk(sandbox, member=alpha) as private:
        await business.subscribe(ALGOS)
        await private.subscribe(ORDERS)
        assert await business.received() == []
        body = {**SWAP, "side": "buy", "sz": "1", "ordType": "trigger", "triggerPx": "70000", "orderPx": "-1"}
        algo = sandbox.operate(exchange.place_algo, alpha.uid, body)
        (live,) = (await business.receive())["data"]
        assert (live["algoId"], live["state"]) == (algo.algo_id, "live")
        sandbox.operate(exchange.set_mark, "BTC-USDT-SWAP", "71000")
        (effective,) = (await business.receive())["data"]
        assert effective["state"] == "effective"
        child = (await private.receive_matching(channel="orders", event=None))["data"][0]
        assert [child["ordId"]] == effective["ordIdList"]
        assert child["algoId"] == algo.algo_id


async def test_deposits_of_a_sub_account_are_pushed_to_its_master_too(
    sandbox: Sandbox, exchange: Exchange, alpha: Member, beta: Member
) -> None:
    sub = exchange.add_member("sub", main_uid=alpha.uid)
    async with talk(sandbox, "business", alpha) as a, talk(sandbox, "business", beta) as b:
        for client in (a, b):
            await client.subscribe("deposit-info", "withdrawal-info")
        sandbox.operate(exchange.deposit, sub.uid, "USDT", "7")
        rows = [(await a.receive())["data"][0] for _ in range(3)]
        assert [row["state"] for row in rows] == ["0", "1", "2"]
        assert {(row["uid"], row["subAcct"]) for row in rows} == {(sub.uid, "sub")}
        assert await b.received() == []


async def test_what_happens_while_nobody_is_subscribed_is_never_pushed(
    sandbox: Sandbox, exchange: Exchange, alpha: Member
) -> None:
    async with talk(sandbox, member=alpha) as client:
        await client.subscribe(ORDERS)
    order = sandbox.operate(exchange.place_order, alpha.uid, {**SWAP, **FAR_BUY, "sz": "1"})
    async with talk(sandbox, member=alpha) as client:
        await client.subscribe(ORDERS)
        assert (await client.receive())["event"] == "channel-conn-count"
        assert await client.received() == []
    assert exchange.order_rows(alpha.uid)[0]["ordId"] == order.ord_id


async def test_all_numbers_are_text(sandbox: Sandbox, exchange: Exchange, alpha: Member) -> None:
    bools = {"collateralEnabled", "collateralRestrict"}
    lists = {"details", "closeOrderAlgo", "attachAlgoOrds", "linkedAlgoOrd", "balData", "posData", "trades"}
    async with talk(sandbox, member=alpha) as client:
        await client.subscribe(ORDERS, "account", POSITIONS, "balance_and_position")
        sandbox.operate(exchange.place_order, alpha.uid, {**SWAP, "side": "buy", "ordType": "market", "sz": "1"})
        rows = [row for frame in await client.received() if "data" in frame for row in frame["data"]]
        rows += [each for row in rows for each in row.get("details", [])]
        assert len(rows) > 6
        for row in rows:
            assert {name for name, value in row.items() if not isinstance(value, str)} <= bools | lists


async def test_a_scripted_push_may_say_anything(sandbox: Sandbox, alpha: Member) -> None:
    async with talk(sandbox, member=alpha) as client:
        await client.subscribe(ORDERS)
        await client.receive_matching(event="channel-conn-count")
        row = {"ordId": "1", "instType": "NEW", "state": "dreaming", "tradeId": "", "extra": {"new": [1]}}
        sandbox.push(Push(alpha.uid, "orders", [row]))
        assert (await client.receive())["data"] == [row]


# Public


async def test_mark_price_every_200_ms_and_tickers_not_faster_than_100_ms(sandbox: Sandbox) -> None:
    async with talk(sandbox, "public") as client:
        args = [{"channel": name, "instId": "BTC-USDT-SWAP"} for name in ("mark-price", "tickers", "funding-rate")]
        await client.subscribe(*args, {"channel": "index-tickers", "instId": "BTC-USDT"})
        rows_of: dict[str, list[dict[str, Any]]] = {
            "mark-price": [],
            "tickers": [],
            "funding-rate": [],
            "index-tickers": [],
        }
        while min(map(len, rows_of.values())) < 1 or min(len(rows_of["mark-price"]), len(rows_of["tickers"])) < 4:
            frame = await client.receive()
            if "data" in frame:
                assert list(frame) == ["arg", "data"]
                assert "uid" not in frame["arg"]
                rows_of[frame["arg"]["channel"]] += frame["data"]
    times = {channel: [int(row["ts"]) for row in rows[1:]] for channel, rows in rows_of.items()}  # from the second on
    for channel, least in (("mark-price", 200), ("tickers", 100)):
        gaps = [after - before for before, after in zip(times[channel], times[channel][1:], strict=False)]
        assert gaps
        assert min(gaps) >= least
    assert set(rows_of["mark-price"][0]) == {"instType", "instId", "markPx", "ts"}


@pytest.mark.parametrize("name", CHANNELS)
def test_a_subscription_with_an_argument_without_effect_is_rejected(exchange: Exchange, name: str) -> None:
    member = exchange.add_member("vip", vip=5)
    inst_id = "BTC-USDT" if name == "index-tickers" else "BTC-USDT-SWAP"
    values = {"instType": "SWAP", "instFamily": "BTC-USDT", "instId": inst_id, "extraParams": "", "ccy": "BTC"}
    known = {each: values.get(each, "1") for each in ARGS[name].split()}
    endpoint = CHANNELS[name].endpoint
    assert channel_of({"channel": name, **known}, endpoint, member, exchange).name == name
    for unknown in ({"ccy": "BTC"} if "ccy" not in known else {"instId": "BTC-USDT"}, {"noSuchName": "1"}):
        with pytest.raises(BadArg) as caught:
            channel_of({"channel": name, **known, **unknown}, endpoint, member, exchange)
        assert caught.value.code == "60018"
