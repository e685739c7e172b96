"""REST: what can be read, how deep, and in which pages."""

import time
from typing import Any

import httpx
import pytest

from okxsync.sandbox.exchange.exchange import Exchange, Member
from okxsync.sandbox.exchange.trader import Trader
from okxsync.sandbox.server.server import Sandbox, serve_sandbox
from tests.support.sandbox_client import FAR_BUY, SPOT, SWAP, Caller, body_of, talk

HOUR_S, DAY_S = 3600, 86400


def later(sandbox: Sandbox, caller: Caller, seconds: float) -> None:
    """Move the exchange's clock on, and the caller's with it."""
    sandbox.faults.clock_skew_ms = int(seconds * 1000)
    caller.ahead_s = seconds


async def public(client: httpx.AsyncClient, path: str, **query: str) -> list[dict[str, Any]]:
    answer = body_of(await client.get(f"/api/v5/{path}", params=query))
    assert answer["code"] == "0", answer
    rows = answer["data"]
    assert isinstance(rows, list)
    return rows


# Now


async def test_balance_config_and_positions(
    caller: Caller, sandbox: Sandbox, exchange: Exchange, alpha: Member
) -> None:
    sandbox.operate(exchange.place_order, alpha.uid, {**SPOT, "side": "buy", "ordType": "market", "sz": "600"})
    sandbox.operate(exchange.place_order, alpha.uid, {**SWAP, "side": "buy", "ordType": "market", "sz": "2"})
    (balance,) = await caller.rows("account/balance")
    assert {row["ccy"] for row in balance["details"]} == {"USDT", "BTC"}
    (one,) = await caller.rows("account/balance", ccy="BTC,ETH")
    assert {row["ccy"] for row in one["details"]} == {"BTC"}
    (position,) = await caller.rows("account/positions")
    assert (position["pos"], "pTime" in position) == ("2", False)
    assert await caller.rows("account/positions", instType="FUTURES") == []
    assert await caller.rows("asset/balances") == []
    assert await caller.rows("asset/currencies") == []


async def test_positions_without_inst_id_hide_pos_0(
    caller: Caller, sandbox: Sandbox, exchange: Exchange, alpha: Member
) -> None:
    sandbox.operate(exchange.place_order, alpha.uid, {**SWAP, "side": "buy", "ordType": "market", "sz": "2"})
    sandbox.operate(exchange.close_position, alpha.uid, {"instId": "BTC-USDT-SWAP", "mgnMode": "cross"})
    assert await caller.rows("account/positions") == []
    (closed,) = await caller.rows("account/positions", instId="BTC-USDT-SWAP")
    assert closed["pos"] == "0"
    (history,) = await caller.rows("account/positions-history")
    assert (history["posId"], history["type"]) == (closed["posId"], "2")


async def test_positions_history_gives_all_rows_of_one_time() -> None:
    times = [time.time_ns() // 1_000_000]
    exchange = Exchange(lambda: times[-1])
    member = exchange.add_member("still")
    for inst_ids in (("BTC-USDT-SWAP",), ("BTC-USDT-SWAP", "ETH-USDT-SWAP")):
        times.append(times[-1] + 1)
        for inst_id in inst_ids:
            for side in ("buy", "sell"):
                body = {"instId": inst_id, "tdMode": "cross", "side": side, "ordType": "market", "sz": "1"}
                exchange.place_order(member.uid, body)
    async with serve_sandbox(exchange) as sandbox, httpx.AsyncClient(base_url=sandbox.url_rest) as client:
        caller = Caller(client, member)
        newest = await caller.rows("account/positions-history", limit="1")
        assert [row["uTime"] for row in newest] == [str(times[-1])] * 2
        older = await caller.rows("account/positions-history", after=newest[0]["uTime"])
        assert [row["uTime"] for row in older] == [str(times[-2])]


async def test_config_has_a_uid_of_its_own_and_two_keys_may_share_it(
    sandbox: Sandbox, client: httpx.AsyncClient, alpha: Member, beta: Member
) -> None:
    (a,), (b,) = [await Caller(client, each).rows("account/config") for each in (alpha, beta)]
    assert a["uid"] == a["mainUid"] == alpha.uid != b["uid"]
    again = Member("again", alpha.uid, alpha.uid, sandbox.add_key(alpha.uid, "again"))
    (same,) = await Caller(client, again).rows("account/config")
    assert same["uid"] == alpha.uid
    assert 'name = "again"' in sandbox.accounts_toml()


async def test_sub_accounts_are_listed_for_their_master_only(
    client: httpx.AsyncClient, caller: Caller, exchange: Exchange, alpha: Member
) -> None:
    sub = exchange.add_member("sub", main_uid=alpha.uid)
    assert [row["uid"] for row in await caller.rows("users/subaccount/list")] == [sub.uid]
    assert (await Caller(client, sub).get("users/subaccount/list"))["code"] == "59500"


# Orders


async def test_orders_pending_pages_by_ord_id_and_shows_only_waiting_ones(
    caller: Caller, sandbox: Sandbox, exchange: Exchange, alpha: Member
) -> None:
    placed = [
        sandbox.operate(exchange.place_order, alpha.uid, {**SWAP, **FAR_BUY, "sz": "0.1"}).ord_id for _ in range(7)
    ]
    sandbox.operate(exchange.cancel_order, alpha.uid, {"instId": "BTC-USDT-SWAP", "ordId": placed[3]})
    expected = [each for each in reversed(placed) if each != placed[3]]
    found: list[str] = []
    query = {"limit": "2"}
    while rows := await caller.rows("trade/orders-pending", **query):
        found += [row["ordId"] for row in rows]
        query["after"] = found[-1]
    assert found == expected
    assert [row["ordId"] for row in await caller.rows("trade/orders-pending", before=placed[5])] == [placed[6]]
    assert await caller.rows("trade/orders-pending", instType="SPOT") == []
    assert await caller.rows("trade/orders-pending", state="partially_filled") == []


async def test_history_needs_inst_type(caller: Caller) -> None:
    for path in ("trade/orders-history", "trade/orders-history-archive", "trade/fills-history"):
        assert (await caller.get(path))["code"] == "50014"
        assert (await caller.get(path, instType="NO"))["code"] == "51000"
        assert (await caller.get(path, instType="FUTURES"))["data"] == []


async def test_unfilled_cancels_are_hidden_after_2_h_and_never_archived(
    caller: Caller, sandbox: Sandbox, exchange: Exchange, alpha: Member
) -> None:
    canceled = sandbox.operate(exchange.place_order, alpha.uid, {**SWAP, **FAR_BUY, "sz": "1", "clOrdId": "c1"}).ord_id
    sandbox.operate(exchange.cancel_order, alpha.uid, {"instId": "BTC-USDT-SWAP", "ordId": canceled})
    body = {**SWAP, "side": "buy", "ordType": "market", "sz": "1"}
    filled = sandbox.operate(exchange.place_order, alpha.uid, body).ord_id

    async def shown(path: str) -> list[str]:
        return [row["ordId"] for row in await caller.rows(path, instType="SWAP")]

    query = {"instId": "BTC-USDT-SWAP", "clOrdId": "c1"}
    assert await shown("trade/orders-history") == [filled, canceled]
    assert await shown("trade/orders-history-archive") == [filled]
    assert [row["ordId"] for row in await caller.rows("trade/order", **query)] == [canceled]
    later(sandbox, caller, 2 * HOUR_S + 60)
    assert await shown("trade/orders-history") == [filled]
    assert (await caller.get("trade/order", **query))["code"] == "51603"
    later(sandbox, caller, 8 * DAY_S)
    assert await shown("trade/orders-history") == []
    assert await shown("trade/orders-history-archive") == [filled]
    later(sandbox, caller, 91 * DAY_S)
    assert await shown("trade/orders-history-archive") == []


async def test_orders_history_begin_and_end_filter_by_creation_time(
    caller: Caller, sandbox: Sandbox, exchange: Exchange
) -> None:
    uid = caller.member.uid
    order = sandbox.operate(exchange.place_order, uid, {**SWAP, **FAR_BUY, "sz": "1"})
    created = order.c_time
    order.c_time -= HOUR_S * 1000  # it waited for an hour
    sandbox.operate(exchange.cancel_order, uid, {"instId": "BTC-USDT-SWAP", "ordId": order.ord_id})
    assert await caller.rows("trade/orders-history", instType="SWAP", begin=str(created - 1000)) == []
    assert await caller.rows("trade/orders-history", instType="SWAP", end=str(created - 1000)) != []


async def test_order_rows_report_the_last_fill_and_no_average_without_fills(
    caller: Caller, sandbox: Sandbox, exchange: Exchange
) -> None:
    uid = caller.member.uid
    waiting = sandbox.operate(exchange.place_order, uid, {**SWAP, **FAR_BUY, "sz": "1"}).ord_id
    body = {**SPOT, "side": "buy", "ordType": "market", "sz": "600"}
    filled = sandbox.operate(exchange.place_order, uid, body).ord_id
    (row,) = await caller.rows("trade/order", instId="BTC-USDT-SWAP", ordId=waiting)
    assert (row["avgPx"], row["tradeId"], row["accFillSz"]) == ("", "", "0")
    (row,) = await caller.rows("trade/order", instId="BTC-USDT", ordId=filled)
    last, *_ = await caller.rows("trade/fills", ordId=filled)
    assert (row["tradeId"], row["fillSz"], row["fillPx"]) == (last["tradeId"], last["fillSz"], last["fillPx"])
    assert {"fillFee", "fillPnl", "execType", "amendResult", "reqId"}.isdisjoint(row)
    assert "cancelSourceReason" in row


async def test_order_by_client_id_is_the_newest_match(caller: Caller, sandbox: Sandbox, exchange: Exchange) -> None:
    body = {**SWAP, "side": "buy", "ordType": "market", "sz": "1", "clOrdId": "same"}
    ids = [sandbox.operate(exchange.place_order, caller.member.uid, body).ord_id for _ in range(2)]
    (row,) = await caller.rows("trade/order", instId="BTC-USDT-SWAP", clOrdId="same")
    assert row["ordId"] == ids[1]
    (row,) = await caller.rows("trade/order", instId="BTC-USDT-SWAP", clOrdId="same", ordId=ids[0])
    assert row["ordId"] == ids[0]
    assert (await caller.get("trade/order", instId="BTC-USDT-SWAP", clOrdId="none"))["code"] == "51603"
    assert (await caller.get("trade/order", instId="BTC-USDT-SWAP"))["code"] == "51003"
    assert (await caller.get("trade/order", ordId="1"))["code"] == "50014"


async def test_algo_lists_need_their_parameters(caller: Caller, sandbox: Sandbox, exchange: Exchange) -> None:
    assert (await caller.get("trade/orders-algo-pending"))["code"] == "50014"
    assert (await caller.get("trade/orders-algo-pending", ordType="trigger,oco"))["code"] == "51000"
    assert (await caller.get("trade/orders-algo-pending", ordType="no"))["code"] == "51000"
    body = {**SWAP, "side": "buy", "sz": "1", "ordType": "trigger", "triggerPx": "70000", "orderPx": "-1"}
    algo = sandbox.operate(exchange.place_algo, caller.member.uid, body).algo_id
    assert await caller.rows("trade/orders-algo-pending", ordType="conditional,oco") == []
    assert [row["algoId"] for row in await caller.rows("trade/orders-algo-pending", ordType="trigger")] == [algo]
    assert (await caller.get("trade/orders-algo-history", ordType="trigger"))["code"] == "50014"
    assert await caller.rows("trade/orders-algo-history", ordType="trigger", state="canceled") == []
    sandbox.operate(exchange.cancel_algo, caller.member.uid, {"algoId": algo, "instId": "BTC-USDT-SWAP"})
    (row,) = await caller.rows("trade/orders-algo-history", ordType="trigger", state="canceled")
    assert row["algoId"] == algo
    for path, more in (("trade/orders-algo-history", {"ordType": "trigger"}), ("trade/order-algo", {})):
        (again,) = await caller.rows(path, algoId=algo, **more)
        assert again | {"last": ""} == row | {"last": ""}  # prices go on
    assert (await caller.get("trade/order-algo", algoId="1"))["code"] == "51603"


# History


@pytest.mark.parametrize(
    ("path", "days", "query"),
    [
        ("trade/fills", 3, {}),
        ("trade/fills-history", 90, {"instType": "SWAP"}),
        ("account/bills", 7, {}),
        ("account/bills-archive", 90, {}),
    ],
)
async def test_depth_and_cursor_of_fills_and_bills(
    sandbox: Sandbox, exchange: Exchange, caller: Caller, path: str, days: int, query: dict[str, str]
) -> None:
    for side in ("buy", "sell", "buy"):
        body = {**SWAP, "side": side, "ordType": "market", "sz": "1"}
        sandbox.operate(exchange.place_order, caller.member.uid, body)
    rows = await caller.rows(path, **query)
    assert len(rows) >= 3
    ids = [int(row["billId"]) for row in rows]
    assert ids == sorted(ids, reverse=True)
    assert await caller.rows(path, **query, after=str(ids[1])) == rows[2:]
    assert await caller.rows(path, **query, before=str(ids[2]), limit="1") == rows[:1]
    later(sandbox, caller, days * DAY_S - 60)
    assert await caller.rows(path, **query) == rows
    later(sandbox, caller, days * DAY_S + 60)
    assert await caller.rows(path, **query) == []


async def test_deposits_and_withdrawals_are_listed(sandbox: Sandbox, exchange: Exchange, caller: Caller) -> None:
    sandbox.operate(exchange.deposit, caller.member.uid, "USDT", "7")
    sandbox.operate(exchange.withdraw, caller.member.uid, "USDT", "9")
    newest, *_ = await caller.rows("asset/deposit-history")
    assert newest["amt"] == "7"
    (out,) = await caller.rows("asset/withdrawal-history", ccy="USDT")
    assert out["amt"] == "9"
    assert len(await caller.rows("asset/bills", type="131")) >= 1


async def test_paging_finds_everything_that_a_trader_did(sandbox: Sandbox, exchange: Exchange, caller: Caller) -> None:
    uid, trader = caller.member.uid, Trader(exchange, 1)
    for _ in range(200):
        sandbox.operate(trader.step, uid)
    sandbox.terms.snapshot_s = 60
    truth = exchange.bill_rows(uid)
    found = await caller.rows("account/bills-archive")
    while len(found) < len(truth) and len(found) < 500:
        found += await caller.rows("account/bills-archive", after=found[-1]["billId"])
    known = {row["billId"] for row in found}
    assert {row["billId"] for row in truth} <= known
    assert len(known) == len(found)


# Public


async def test_time_is_the_skewable_clock(sandbox: Sandbox, client: httpx.AsyncClient) -> None:
    (now,) = await public(client, "public/time")
    assert abs(int(now["ts"]) - time.time() * 1000) < 1000
    sandbox.faults.clock_skew_ms = 45_000
    (ahead,) = await public(client, "public/time")
    assert 44_000 < int(ahead["ts"]) - int(now["ts"]) < 46_000


async def test_what_markets_load(client: httpx.AsyncClient) -> None:
    demo = {"x-simulated-trading": "1"}
    for inst_type, ids in (("SPOT", 2), ("SWAP", 2), ("FUTURES", 0), ("OPTION", 0), ("MARGIN", 0)):
        assert len(await public(client, "public/instruments", instType=inst_type)) == ids
    (live,) = await public(client, "public/instruments", instType="SWAP", instId="BTC-USDT-SWAP")
    answer = await client.get("/api/v5/public/instruments?instType=SWAP&instId=BTC-USDT-SWAP", headers=demo)
    assert body_of(answer)["data"][0]["instIdCode"] != live["instIdCode"]
    assert len(await public(client, "public/mark-price", instType="SWAP")) == 2
    assert len(await public(client, "public/funding-rate", instId="BTC-USDT-SWAP")) == 1
    assert len(await public(client, "public/funding-rate", instId="ANY")) == 2
    assert len(await public(client, "market/tickers", instType="SPOT")) == 2
    assert [row["instId"] for row in await public(client, "market/ticker", instId="BTC-USDT")] == ["BTC-USDT"]
    assert len(await public(client, "market/index-tickers", quoteCcy="USDT")) == 2
    assert body_of(await client.get("/api/v5/market/ticker?instId=NO"))["code"] == "51001"
    assert body_of(await client.get("/api/v5/public/instruments"))["code"] == "50014"


async def test_rest_shows_new_rows_later_if_it_lags(
    caller: Caller, sandbox: Sandbox, exchange: Exchange, alpha: Member
) -> None:
    sandbox.faults.rest_lags_ms = 60_000
    sandbox.operate(exchange.place_order, alpha.uid, {**SWAP, **FAR_BUY, "sz": "1"})
    sandbox.operate(exchange.place_order, alpha.uid, {**SWAP, "side": "buy", "ordType": "market", "sz": "2"})
    lists = ["trade/orders-pending", "trade/orders-history", "trade/fills", "account/bills"]
    assert [await caller.rows(path, instType="SWAP") for path in lists] == [[]] * 4
    later(sandbox, caller, 61)
    assert [len(await caller.rows(path, instType="SWAP")) for path in lists] == [1] * 4


async def test_pushes_and_rest_may_spell_equal_values_differently(
    sandbox: Sandbox, caller: Caller, exchange: Exchange
) -> None:
    sandbox.faults.spellings = True
    stop = {"slTriggerPx": "20000", "slOrdPx": "-1"}
    async with talk(sandbox, member=caller.member) as client:
        await client.subscribe({"channel": "orders", "instType": "ANY"})
        order = sandbox.operate(
            exchange.place_order, caller.member.uid, {**SPOT, **FAR_BUY, "sz": "0.01", "attachAlgoOrds": [stop]}
        )
        [pushed] = (await client.receive_matching(channel="orders", event=None))["data"]
    [pending] = await caller.rows("trade/orders-pending")
    sandbox.operate(exchange.cancel_order, caller.member.uid, {"instId": "BTC-USDT", "ordId": order.ord_id})
    [finished] = await caller.rows("trade/orders-history", instType="SPOT")
    assert [row["posSide"] for row in (pushed, pending, finished)] == ["", "net", ""]
    assert [row["lever"] for row in (pushed, pending, finished)] == ["0", "", ""]
    assert [row["slTriggerPxType"] for row in (pushed, pending, finished)] == ["last", "", ""]
    assert ["failCode" in row["attachAlgoOrds"][0] for row in (pushed, pending, finished)] == [False, True, True]
    [balance] = await caller.rows("account/balance", ccy="USDT")
    assert "maxSpotInUse" in balance["details"][0]
