"""REST: who is let in, and how often."""

import httpx
import pytest

from okxsync.sandbox.exchange.exchange import Exchange, Member
from okxsync.sandbox.faults.rules import ScriptedReply
from okxsync.sandbox.server.server import Sandbox
from tests.support.sandbox_client import SPOT, SWAP, Caller, HeldClock, body_of, now_iso


async def test_a_signed_request_is_answered(caller: Caller, alpha: Member) -> None:
    answer = await caller.get("account/config")
    assert list(answer) == ["code", "msg", "data"]
    assert answer["data"][0]["uid"] == alpha.uid


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"OK-ACCESS-KEY": None}, "50103"),
        ({"OK-ACCESS-PASSPHRASE": None}, "50104"),
        ({"OK-ACCESS-PASSPHRASE": "wrong"}, "50105"),
        ({"OK-ACCESS-SIGN": None}, "50106"),
        ({"OK-ACCESS-TIMESTAMP": ""}, "50107"),
        ({"OK-ACCESS-KEY": "no key"}, "50111"),
        ({"OK-ACCESS-SIGN": "bm8="}, "50113"),
        ({"OK-ACCESS-TIMESTAMP": now_iso(-3600)}, "50102"),
        ({"OK-ACCESS-TIMESTAMP": now_iso(3600)}, "50102"),
        ({"OK-ACCESS-TIMESTAMP": "1704876947"}, "50112"),
        ({"OK-ACCESS-TIMESTAMP": "2024-99-10T08:55:47.123Z"}, "50112"),
        ({"OK-ACCESS-KEY": "00000000-1111-2222-3333-444444444444"}, "50119"),
        ({"x-simulated-trading": "0"}, "50101"),
        ({"x-simulated-trading": None}, "50101"),
    ],
)
async def test_an_unauthenticated_request_gets_401_and_no_data(
    caller: Caller, headers: dict[str, str | None], code: str
) -> None:
    response = await caller.send("GET", "account/balance", headers=headers)
    body = body_of(response)
    assert response.status_code == 401
    assert (body["code"], "data" in body) == (code, False)


async def test_a_live_key_is_rejected_with_the_demo_header(client: httpx.AsyncClient, exchange: Exchange) -> None:
    live = Caller(client, exchange.add_member("live", demo=False))
    assert (await live.get("account/config"))["code"] == "0"
    demo = await live.send("GET", "account/config", headers={"x-simulated-trading": "1"})
    assert body_of(demo)["code"] == "50101"


async def test_a_key_bound_to_another_ip_is_rejected(caller: Caller, alpha: Member) -> None:
    alpha.ip = "10.1.2.3"
    assert (await caller.get("account/config"))["code"] == "50110"


async def test_the_signature_is_over_the_raw_target_and_body(caller: Caller) -> None:
    for target in ("/api/v5/account/balance?ccy=BTC,ETH", "/api/v5/account/balance?ccy=BTC%2CETH"):
        assert (await caller.send("GET", "", target=target)).status_code == 200
    body = '{"instId": "BTC-USDT",  "ordId": "1"}'
    assert body_of(await caller.send("POST", "trade/cancel-order", body=body))["data"][0]["sCode"] == "51400"
    tight = body.replace(" ", "")
    assert body_of(await caller.send("POST", "trade/cancel-order", body=body, sent_body=tight))["code"] == "50113"


async def test_a_key_without_permission_to_trade_can_only_read(caller: Caller, alpha: Member) -> None:
    alpha.perm = "read_only"
    assert (await caller.get("account/balance"))["code"] == "0"
    assert (await caller.post("trade/order", {}))["code"] == "50120"


async def test_a_deleted_key_is_unknown(sandbox: Sandbox, caller: Caller, alpha: Member) -> None:
    sandbox.delete_key(alpha.credentials.api_key)
    assert (await caller.get("account/config"))["code"] == "50119"


async def test_too_many_requests_get_429_and_50011_until_the_window_is_over(
    sandbox: Sandbox, caller: Caller, beta: Member, limits_clock: HeldClock
) -> None:
    for _ in range(5):
        await caller.rows("account/bills")
    response = await caller.send("GET", "account/bills")
    assert response.status_code == 429
    assert body_of(response) == {"msg": "Too Many Requests", "code": "50011"}
    assert len(sandbox.violations) == 1
    await Caller(caller.client, beta).rows("account/bills")  # another account has its own budget
    sandbox.faults.rate_limit_status = 200
    response = await caller.send("GET", "account/bills")
    assert (response.status_code, body_of(response)["code"]) == (200, "50011")
    limits_clock.now += 1
    await caller.rows("account/bills")


async def test_budgets_of_orders_are_by_instrument_and_a_batch_of_one_is_single(
    caller: Caller, limits_clock: HeldClock
) -> None:
    gone = {"instId": "BTC-USDT", "ordId": "1"}
    for _ in range(30):
        assert (await caller.post("trade/cancel-order", gone))["data"][0]["sCode"] == "51400"
        assert (await caller.post("trade/cancel-batch-orders", [gone]))["data"][0]["sCode"] == "51400"
    assert (await caller.post("trade/cancel-order", gone))["code"] == "50011"
    assert (await caller.post("trade/cancel-batch-orders", [gone, gone]))["code"] == "1"
    assert (await caller.post("trade/cancel-order", gone | {"instId": "ETH-USDT"}))["code"] == "1"


async def test_more_than_1000_orders_in_2_s_of_an_account(
    caller: Caller, sandbox: Sandbox, limits_clock: HeldClock
) -> None:
    bad = {**SWAP, "side": "buy", "ordType": "market", "sz": "nothing", "ordId": "1", "newSz": "1"}
    swaps = [bad, bad | {"instId": "ETH-USDT-SWAP"}]
    for path, times in (("trade/batch-orders", 15), ("trade/amend-batch-orders", 10)):
        await caller.post(path, [{**bad, **SPOT}] * 20)  # spot does not count
        for one in swaps:
            for _ in range(times):
                assert (await caller.post(path, [one] * 20))["code"] == "1"
    assert sandbox.violations == []
    assert (await caller.post("trade/amend-order", bad))["code"] == "50061"
    assert (await caller.post("trade/amend-order", {**bad, **SPOT}))["code"] == "1"


async def test_public_calls_are_counted_by_ip(client: httpx.AsyncClient, limits_clock: HeldClock) -> None:
    codes = [(await client.get("/api/v5/public/time")).status_code for _ in range(11)]
    assert codes == [200] * 10 + [429]


async def test_status_is_answered_once_in_5_s(
    sandbox: Sandbox, client: httpx.AsyncClient, limits_clock: HeldClock
) -> None:
    sandbox.faults.status.append({"title": "upgrade", "state": "ongoing", "begin": "1", "end": "2"})
    sandbox.faults.status.append({"title": "past", "state": "completed", "begin": "1", "end": "2"})
    answer = body_of(await client.get("/api/v5/system/status"))
    assert [row["title"] for row in answer["data"]] == ["upgrade"]
    assert (await client.get("/api/v5/system/status")).status_code == 429


@pytest.mark.parametrize(
    ("body", "content_type", "code"),
    [
        ("", "application/json", "50000"),
        ("{", "application/json", "50002"),
        ("[]", "application/json", "50002"),
        ('"x"', "application/json", "50002"),
        ("{}", "text/plain", "50006"),
    ],
)
async def test_bodies_that_are_no_request(caller: Caller, body: str, content_type: str, code: str) -> None:
    response = await caller.send("POST", "trade/order", body=body, headers={"Content-Type": content_type})
    assert (response.status_code, body_of(response)["code"]) == (400, code)


async def test_unknown_paths_and_methods(caller: Caller) -> None:
    assert (await caller.send("GET", "no/such")).status_code == 404
    wrong = await caller.send("GET", "trade/batch-orders")
    assert (wrong.status_code, body_of(wrong)["code"]) == (405, "50115")
    assert (await caller.send("POST", "account/balance", body="{}")).status_code == 405


async def test_a_scripted_reply_is_sent_once_and_the_request_may_be_executed(
    sandbox: Sandbox, exchange: Exchange, caller: Caller, alpha: Member
) -> None:
    lost = '{"code":"50004","msg":"API endpoint request timeout","data":[]}'
    sandbox.faults.replies.append(ScriptedReply("trade/order", 400, lost, after=True))
    sandbox.faults.replies.append(
        ScriptedReply("account/balance", 502, "<html>Bad Gateway</html>", media_type="text/html")
    )
    body = {**SPOT, "side": "buy", "ordType": "limit", "px": "30000", "sz": "0.01", "clOrdId": "lost1"}
    assert (await caller.post("trade/order", body))["code"] == "50004"
    assert exchange.order_rows(alpha.uid)[0]["clOrdId"] == "lost1"
    assert (await caller.send("GET", "account/balance")).text == "<html>Bad Gateway</html>"
    assert (await caller.get("account/balance"))["code"] == "0"
