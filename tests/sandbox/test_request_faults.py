"""Replies that are lost, late or wrong, requests that wait in a queue, and the log that says what was sent."""

import json
import time
from typing import Any

import httpx
import pytest

from okxsync.sandbox.exchange.exchange import Exchange, Member
from okxsync.sandbox.faults.requests import HOW, RequestFault
from okxsync.sandbox.server import trade
from okxsync.sandbox.server.limits import RequestLimits
from okxsync.sandbox.server.server import Sandbox
from tests.sandbox.worlds import World
from tests.support.sandbox_client import FAR_BUY, SWAP, Caller, HeldClock, talk

ORDER = {**SWAP, **FAR_BUY, "sz": "1", "clOrdId": "c1"}


def set_fault(sandbox: Sandbox, **fields: Any) -> None:
    sandbox.faults.requests.append(RequestFault(**fields))


async def sent(caller: Caller, how: str) -> httpx.Response | None:
    """Send an order; return the response, None if the connection ends or nothing comes."""
    try:
        return await caller.send("POST", "trade/order", body=json.dumps(ORDER))
    except (httpx.RemoteProtocolError, httpx.ReadError, httpx.ReadTimeout):
        assert how in ("lost", "reset")
        return None


@pytest.mark.parametrize("acts", [True, False])
@pytest.mark.parametrize("how", [each for each in HOW if each != "own"])
async def test_a_distorted_reply_does_not_say_whether_the_order_exists(
    sandbox: Sandbox, exchange: Exchange, caller: Caller, how: str, *, acts: bool
) -> None:
    caller.client.timeout = httpx.Timeout(0.5 if how == "lost" else 30)
    set_fault(sandbox, how=how, acts=acts, path="trade/order", account="alpha")
    response = await sent(caller, how)
    assert exchange.order_counts() == ({("alpha", "c1"): 1} if acts else {})
    if how in ("lost", "reset"):
        assert response is None
    elif how == "truncated":
        assert response is not None
        with pytest.raises(json.JSONDecodeError):
            response.json()
    elif how.startswith("http-"):
        assert response is not None
        assert (response.status_code, response.headers["content-type"].split(";")[0]) == (int(how[5:]), "text/html")
    else:
        assert response is not None
        assert response.json()["code"] == how
    caller.client.timeout = httpx.Timeout(30)
    answer = await caller.get("trade/order", instId="BTC-USDT-SWAP", clOrdId="c1")
    assert answer["code"] == ("0" if acts else "51603")
    assert (await caller.post("trade/order", {**ORDER, "clOrdId": "c2"}))["code"] == "0"  # once


async def test_a_fault_concerns_the_order_and_account_that_it_names(
    sandbox: Sandbox, exchange: Exchange, caller: Caller, client: httpx.AsyncClient, beta: Member
) -> None:
    set_fault(sandbox, how="50004", cl_ord_id="c2", account="beta", times=0)
    other = Caller(client, beta)
    assert (await caller.post("trade/order", {**ORDER, "clOrdId": "c2"}))["code"] == "0"
    assert (await other.post("trade/order", ORDER))["code"] == "0"
    for _ in range(2):
        assert (await other.post("trade/order", {**ORDER, "clOrdId": "c2"}))["code"] == "50004"


async def test_a_request_expires_in_the_queue_unless_that_is_ignored(
    sandbox: Sandbox, exchange: Exchange, caller: Caller
) -> None:
    def soon() -> str:
        """Return a time before which the request arrives, on a busy machine too."""
        return str(int(time.time() * 1000) + 2000)

    set_fault(sandbox, queue_s=2.1)
    assert (await caller.post("trade/order", ORDER, expTime=soon()))["code"] == "50037"
    assert exchange.order_counts() == {}
    set_fault(sandbox, queue_s=2.1, ignores_exp_time=True)
    assert (await caller.post("trade/order", ORDER, expTime=soon()))["code"] == "0"
    late = {"instId": "BTC-USDT-SWAP", "clOrdId": "c1"}
    past = str(int(time.time() * 1000) - 1)
    canceled = await caller.post("trade/cancel-order", late, expTime=past)
    assert canceled["code"] == "0"  # expTime does not apply to cancels


async def test_a_late_reply_is_the_right_one(sandbox: Sandbox, caller: Caller) -> None:
    set_fault(sandbox, delay_s=0.2)
    began = time.monotonic()
    assert (await caller.post("trade/order", ORDER))["code"] == "0"
    assert time.monotonic() - began >= 0.2


async def test_all_replies_may_be_late(sandbox: Sandbox, caller: Caller) -> None:
    sandbox.faults.rest_delay_s = 0.1
    for request in (caller.get("public/time"), caller.post("trade/order", ORDER)):
        began = time.monotonic()
        assert (await request)["code"] == "0"
        assert time.monotonic() - began >= 0.1


@pytest.mark.parametrize("acts", [True, False])
@pytest.mark.parametrize("how", ["lost", "reset", "50026"])
async def test_replies_over_websocket_can_be_lost_too(
    sandbox: Sandbox, exchange: Exchange, alpha: Member, how: str, *, acts: bool
) -> None:
    code = exchange.instruments["BTC-USDT-SWAP"].inst_id_code(demo=True)
    args = [{**FAR_BUY, "instIdCode": code, "tdMode": "cross", "sz": "1", "clOrdId": "c1"}]
    set_fault(sandbox, how=how, acts=acts, transport="ws")
    async with talk(sandbox, member=alpha) as client:
        await client.send({"id": "1", "op": "order", "args": args})
        if how == "reset":
            assert (await client.closed())[0] == 1006
        elif how == "lost":
            assert await client.received() == []
        else:
            assert (await client.receive())["code"] == "50026"
    assert exchange.order_counts() == ({("alpha", "c1"): 1} if acts else {})


async def test_an_operation_of_websocket_expires_in_the_queue(
    sandbox: Sandbox, exchange: Exchange, alpha: Member
) -> None:
    code = exchange.instruments["BTC-USDT-SWAP"].inst_id_code(demo=True)
    args = [{**FAR_BUY, "instIdCode": code, "tdMode": "cross", "sz": "1"}]
    set_fault(sandbox, queue_s=0.2)
    async with talk(sandbox, member=alpha) as client:
        soon = str(int(time.time() * 1000) + 150)
        answer = await client.request({"id": "1", "op": "order", "args": args, "expTime": soon})
        assert answer["data"][0]["sCode"] == "50037"


async def test_every_request_is_logged_with_its_arrival_and_outcome(
    sandbox: Sandbox, exchange: Exchange, caller: Caller, client: httpx.AsyncClient
) -> None:
    before = time.time_ns() // 1000
    set_fault(sandbox, how="50004", acts=False)
    await caller.post("trade/order", ORDER, expTime="99999999999999")
    await caller.post("trade/batch-orders", [ORDER, {**ORDER, "clOrdId": "c2", "sz": "0"}])
    await caller.post("account/set-leverage", {"instId": "BTC-USDT-SWAP", "lever": "3", "mgnMode": "isolated"})
    lost, batch, setting = sandbox.requests
    assert before <= lost.at_us <= batch.at_us <= setting.at_us <= time.time_ns() // 1000
    assert (lost.account, lost.path, lost.fault, lost.executed) == ("alpha", "trade/order", "50004", False)
    assert (lost.exp_time, lost.codes) == ("99999999999999", [])
    assert (batch.executed, batch.codes) == (True, ["0", "51000"])
    assert setting.codes == ["0"]
    assert sandbox.requests.placements() == {("alpha", "c1"): 2, ("alpha", "c2"): 1}
    assert exchange.order_counts() == {("alpha", "c1"): 1}
    assert sandbox.requests.of("beta") == []
    listed = (await client.get("/api/v5/admin/requests")).json()["data"]
    assert [each["path"] for each in listed] == ["trade/order", "trade/batch-orders", "account/set-leverage"]
    orders = (await client.get("/api/v5/admin/orders")).json()["data"]
    assert ([each["clOrdId"] for each in orders["alpha"]], orders["beta"]) == (["c1"], [])


async def test_a_refused_request_is_logged_too(sandbox: Sandbox, caller: Caller, alpha: Member) -> None:
    alpha.perm = "read_only"
    assert (await caller.post("trade/order", ORDER))["code"] == "50120"
    [logged] = sandbox.requests
    assert (logged.executed, logged.codes) == (False, ["50120"])


async def test_a_portfolio_margin_batch_is_accepted_completely_or_not_at_all(
    sandbox: Sandbox, exchange: Exchange, client: httpx.AsyncClient
) -> None:
    member = exchange.add_member("pm", acct_lv="4")
    caller, bad = Caller(client, member), {**ORDER, "clOrdId": "c2", "sz": "0"}
    answer = await caller.post("trade/batch-orders", [ORDER, bad])
    assert (answer["code"], [row["sCode"] for row in answer["data"]]) == ("1", ["54004", "51000"])
    assert exchange.order_rows(member.uid) == []
    exchange.rules.atomic_batches = False
    assert (await caller.post("trade/batch-orders", [ORDER, bad]))["code"] == "2"


async def test_what_a_client_reads_before_it_trades(caller: Caller) -> None:
    inst = {"instId": "BTC-USDT-SWAP"}
    assert [row["lever"] for row in await caller.rows("account/leverage-info", mgnMode="cross", **inst)] == ["10"]
    answer = await caller.post("account/set-leverage", {**inst, "lever": "5", "mgnMode": "cross"})
    assert answer["data"] == [{**inst, "lever": "5", "mgnMode": "cross", "posSide": ""}]
    for path, query in (
        ("account/instruments", {"instType": "SWAP", **inst}),
        ("account/max-size", {"tdMode": "cross", **inst}),
        ("account/max-avail-size", {"tdMode": "cross", **inst}),
        ("account/trade-fee", {"instType": "SWAP", "instFamily": "BTC-USDT"}),
        ("account/account-position-risk", {}),
        ("trade/account-rate-limit", {}),
        ("public/price-limit", inst),
        ("public/mark-price", {"instType": "SWAP", **inst}),
        ("public/position-tiers", {"instType": "SWAP", "tdMode": "cross", "instFamily": "BTC-USDT"}),
        ("market/ticker", inst),
    ):
        assert await caller.rows(path, **query), path


async def test_an_ip_may_have_a_ceiling_that_the_edge_enforces(sandbox: Sandbox, caller: Caller) -> None:
    sandbox.limits.clock = HeldClock()
    sandbox.terms.rest_per_second = 2
    assert [(await caller.get("public/time"))["code"] for _ in range(2)] == ["0", "0"]
    response = await caller.send("POST", "trade/order", body=json.dumps(ORDER))
    assert (response.status_code, response.headers["content-type"].split(";")[0]) == (429, "text/html")
    assert list(sandbox.requests) == []


async def test_an_order_is_amended_once_in_a_batch(caller: Caller) -> None:
    await caller.post("trade/order", ORDER)
    change = {"instId": "BTC-USDT-SWAP", "clOrdId": "c1"}
    answer = await caller.post("trade/amend-batch-orders", [{**change, "newSz": "2"}, {**change, "newSz": "3"}])
    assert [row["sCode"] for row in answer["data"]] == ["0", "51512"]


def test_options_of_one_family_share_a_limit() -> None:
    world = World()
    uid, limits = world.member("2").uid, RequestLimits(lambda: 0.0, [])
    call, put = (each.inst_id for each in world.exchange.listed if each.is_option)
    orders = [{"instId": call}] * 60
    assert trade.over_budget(world.exchange, limits, uid, trade.BY_PATH["trade/order"], orders) == ""
    assert trade.over_budget(world.exchange, limits, uid, trade.BY_PATH["trade/order"], [{"instId": put}]) == "50011"
