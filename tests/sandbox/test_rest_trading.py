"""Orders out, over REST and over WebSocket."""

import time
from typing import Any

import pytest

from okxsync.sandbox.exchange.exchange import Exchange, Member
from okxsync.sandbox.server.server import Sandbox
from tests.support.sandbox_client import FAR_BUY, SPOT, SWAP, Caller, HeldClock, talk

BTC_SWAP = {"instId": "BTC-USDT-SWAP"}


async def done(caller: Caller, path: str, body: object) -> dict[str, Any]:
    """Post what must succeed; return its row."""
    answer = await caller.post(path, body)
    assert answer["code"] == "0", answer
    row = answer["data"][0]
    assert isinstance(row, dict)
    return row


async def test_place_amend_and_cancel(caller: Caller) -> None:
    answer = await caller.post("trade/order", {**SWAP, **FAR_BUY, "sz": "1", "clOrdId": "c1", "tag": "t"})
    assert set(answer) == {"code", "msg", "data", "inTime", "outTime"}
    (row,) = answer["data"]
    assert set(row) == {"ordId", "clOrdId", "tag", "ts", "sCode", "sMsg", "subCode"}
    assert (row["sCode"], row["clOrdId"], row["tag"]) == ("0", "c1", "t")
    request = {**BTC_SWAP, "ordId": row["ordId"]}
    amended = await done(caller, "trade/amend-order", {**request, "newSz": "2", "reqId": "r1"})
    assert (amended["ordId"], amended["reqId"]) == (row["ordId"], "r1")
    assert (await caller.rows("trade/order", **request))[0]["sz"] == "2"
    await done(caller, "trade/cancel-order", {**BTC_SWAP, "clOrdId": "c1"})
    assert (await caller.rows("trade/order", **request))[0]["state"] == "canceled"
    again = await caller.post("trade/cancel-order", request)
    assert (again["code"], again["data"][0]["sCode"], again["data"][0]["ordId"]) == ("1", "51400", row["ordId"])


async def test_a_client_id_is_free_again_when_its_order_is_finished(caller: Caller) -> None:
    body = {**SWAP, **FAR_BUY, "sz": "1", "clOrdId": "same"}
    first = await done(caller, "trade/order", body)
    answer = await caller.post("trade/order", body)
    assert (answer["code"], answer["data"][0]["sCode"]) == ("1", "51016")
    await done(caller, "trade/cancel-order", {**BTC_SWAP, "ordId": first["ordId"]})
    assert (await done(caller, "trade/order", body))["ordId"] != first["ordId"]


async def test_batches_report_each_result(caller: Caller) -> None:
    good, bad = {**SWAP, **FAR_BUY, "sz": "1"}, {**SWAP, **FAR_BUY, "sz": "0"}
    answer = await caller.post("trade/batch-orders", [good, bad, good])
    assert answer["code"] == "2"
    assert [row["sCode"] for row in answer["data"]] == ["0", "51000", "0"]
    ids = [{**BTC_SWAP, "ordId": row["ordId"]} for row in answer["data"] if row["sCode"] == "0"]
    amended = await caller.post("trade/amend-batch-orders", [{**each, "newSz": "3"} for each in ids])
    assert amended["code"] == "0"
    assert (await caller.post("trade/cancel-batch-orders", ids))["code"] == "0"
    assert await caller.rows("trade/orders-pending") == []
    assert (await caller.post("trade/batch-orders", [good] * 21))["code"] == "51111"
    assert (await caller.post("trade/batch-orders", [bad]))["code"] == "1"


async def test_algo_orders_and_close_position(caller: Caller) -> None:
    body = {**SWAP, "side": "buy", "sz": "1", "ordType": "trigger", "triggerPx": "70000", "orderPx": "-1"}
    algo = await done(caller, "trade/order-algo", body)
    assert set(algo) >= {"algoId", "algoClOrdId", "sCode", "sMsg"}
    await done(caller, "trade/cancel-algos", [{**BTC_SWAP, "algoId": algo["algoId"]}])
    close = {**BTC_SWAP, "mgnMode": "cross"}
    assert (await caller.post("trade/close-position", close))["code"] == "51023"
    await done(caller, "trade/order", {**SWAP, "side": "buy", "ordType": "market", "sz": "2"})
    closed = await caller.post("trade/close-position", close)
    assert closed["data"] == [{"clOrdId": "", "instId": "BTC-USDT-SWAP", "posSide": "net", "tag": ""}]
    assert await caller.rows("account/positions") == []


async def test_an_order_that_has_expired_is_not_placed(caller: Caller) -> None:
    body = {**SWAP, **FAR_BUY, "sz": "1"}
    past, future = str(int(time.time() * 1000) - 1), str(int(time.time() * 1000) + 10_000)
    assert (await caller.post("trade/order", body, expTime=past))["code"] == "50036"
    assert (await caller.post("trade/order", body, expTime=future))["code"] == "0"


async def test_what_rest_does_is_pushed_at_once(sandbox: Sandbox, caller: Caller, alpha: Member) -> None:
    async with talk(sandbox, member=alpha) as client:
        await client.subscribe({"channel": "orders", "instType": "ANY"})
        row = await done(caller, "trade/order", {**SWAP, **FAR_BUY, "sz": "1"})
        assert (await client.receive_matching(channel="orders", event=None))["data"][0]["ordId"] == row["ordId"]


# WebSocket


def code_of(exchange: Exchange, inst_id: str, demo: bool = True) -> int:
    return exchange.instruments[inst_id].inst_id_code(demo)


async def test_websocket_operations(sandbox: Sandbox, exchange: Exchange, alpha: Member) -> None:
    code = {"instIdCode": code_of(exchange, "BTC-USDT-SWAP")}
    body = {**code, "tdMode": "cross", **FAR_BUY, "sz": "1"}
    async with talk(sandbox, member=alpha) as client:
        answer = await client.request({"id": "r1", "op": "order", "args": [{**body, "clOrdId": "c1"}]})
        assert list(answer) == ["id", "op", "code", "msg", "data", "inTime", "outTime"]
        assert (answer["id"], answer["op"], answer["code"]) == ("r1", "order", "0")
        ord_id = answer["data"][0]["ordId"]
        amend = {**code, "ordId": ord_id, "newSz": "2", "reqId": "q1"}
        answer = await client.request({"id": "r2", "op": "amend-order", "args": [amend]})
        assert answer["data"][0]["reqId"] == "q1"
        answer = await client.request({"id": "r3", "op": "cancel-order", "args": [{**code, "clOrdId": "c1"}]})
        assert answer["data"][0]["ordId"] == ord_id
        answer = await client.request({"id": "r4", "op": "batch-orders", "args": [body, {**body, "sz": "0"}]})
        assert (answer["code"], [row["sCode"] for row in answer["data"]]) == ("2", ["0", "51000"])
        ids = [{**code, "ordId": row["ordId"]} for row in answer["data"][:1]]
        answer = await client.request({"id": "r7", "op": "batch-orders", "args": [{**body, "instIdCode": ""}, body]})
        assert (answer["code"], [row["sCode"] for row in answer["data"]]) == ("2", ["51000", "0"])
        amends = [{**each, "newSz": "3"} for each in ids]
        assert (await client.request({"id": "r5", "op": "batch-amend-orders", "args": amends}))["code"] == "0"
        assert (await client.request({"id": "r6", "op": "batch-cancel-orders", "args": ids}))["code"] == "0"


@pytest.mark.parametrize("op", ["order", "cancel-order", "amend-order"])
async def test_websocket_operations_need_the_right_inst_id_code(
    sandbox: Sandbox, exchange: Exchange, alpha: Member, op: str
) -> None:
    body = {
        "order": {**SWAP, **FAR_BUY, "sz": "1"},
        "cancel-order": {**BTC_SWAP, "ordId": "1"},
        "amend-order": {**BTC_SWAP, "ordId": "1", "newSz": "2"},
    }[op]
    async with talk(sandbox, member=alpha) as client:
        answer = await client.request({"id": "r1", "op": op, "args": [body]})
        assert (answer["code"], answer["data"][0]["sCode"]) == ("1", "51000")
        assert "instIdCode" in answer["data"][0]["sMsg"]
        live = {**body, "instIdCode": code_of(exchange, "BTC-USDT-SWAP", demo=False)}
        answer = await client.request({"id": "r2", "op": op, "args": [live]})
        assert answer["data"][0]["sCode"] == "51001"


@pytest.mark.parametrize(
    "request_",
    [
        {"id": "r1", "op": "order"},
        {"id": "r1", "op": "order", "args": []},
        {"id": "r1", "op": "order", "args": {"sz": "1"}},
        {"id": "r1", "op": "order", "args": [{}, {}]},
        {"id": "r 1", "op": "order", "args": [{}]},
        {"op": "order", "args": [{}]},
    ],
)
async def test_malformed_operations_get_60013_and_no_rows(
    sandbox: Sandbox, alpha: Member, request_: dict[str, object]
) -> None:
    async with talk(sandbox, member=alpha) as client:
        answer = await client.request(request_)
        assert (answer["op"], answer["code"], answer["data"]) == ("order", "60013", [])


async def test_operations_are_on_private_only(sandbox: Sandbox, alpha: Member) -> None:
    for endpoint in ("public", "business"):
        async with talk(sandbox, endpoint, alpha) as client:
            assert (await client.request({"id": "r1", "op": "order", "args": [{}]}))["code"] == "60028"


async def test_the_reply_comes_before_the_push_unless_switched(
    sandbox: Sandbox, exchange: Exchange, alpha: Member
) -> None:
    order = {"instIdCode": code_of(exchange, "BTC-USDT"), "tdMode": "cash", **FAR_BUY, "sz": "0.01"}
    async with talk(sandbox, member=alpha) as client:
        await client.subscribe({"channel": "orders", "instType": "ANY"})
        await client.receive_matching(event="channel-conn-count")
        for push_first in (False, True):
            sandbox.faults.push_first = push_first
            await client.send({"id": "r1", "op": "order", "args": [order]})
            assert ["op" in await client.receive() for _ in range(2)] == [not push_first, push_first]


async def test_rest_and_websocket_share_a_budget(
    sandbox: Sandbox, exchange: Exchange, caller: Caller, alpha: Member, limits_clock: HeldClock
) -> None:
    gone = {"instIdCode": code_of(exchange, "BTC-USDT"), "ordId": "1"}
    async with talk(sandbox, member=alpha) as client:
        for _ in range(60):
            answer = await client.request({"id": "r1", "op": "cancel-order", "args": [gone]})
            assert answer["data"][0]["sCode"] == "51400"
        answer = await client.request({"id": "r1", "op": "cancel-order", "args": [gone]})
        assert (answer["code"], answer["data"][0]["sCode"]) == ("1", "50011")
        assert (await caller.post("trade/cancel-order", {**SPOT, "ordId": "1"}))["code"] == "50011"
        limits_clock.now += 2
        assert (await caller.post("trade/cancel-order", {**SPOT, "ordId": "1"}))["code"] == "1"
