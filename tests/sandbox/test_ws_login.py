"""Connections: paths, pings, login and its errors, and the control frames."""

import json
import time

import pytest
import trio
from trio_websocket import open_websocket_url

from okxsync.sandbox.exchange.exchange import Exchange, Member
from okxsync.sandbox.server.server import Sandbox, serve_sandbox
from tests.support.sandbox_client import HeldClock, login_arg, talk, upgrade_status


@pytest.mark.parametrize("endpoint", ["public", "private", "business"])
async def test_every_path_is_served_and_its_query_ignored(sandbox: Sandbox, endpoint: str) -> None:
    async with open_websocket_url(sandbox.url_ws(endpoint) + "?brokerId=9999") as ws:
        await ws.send_message("ping")
        assert await ws.get_message() == "pong"


async def test_an_unknown_path_is_rejected(sandbox: Sandbox) -> None:
    assert await upgrade_status(sandbox.url_rest, "other") == 404


async def test_the_fourth_dial_within_a_second_is_rejected_with_429(exchange: Exchange, alpha: Member) -> None:
    async with serve_sandbox(exchange) as sandbox:
        sandbox.limits.clock = clock = HeldClock()
        async with talk(sandbox), talk(sandbox, "public"), talk(sandbox, "business"):
            assert await upgrade_status(sandbox.url_rest, "private") == 429
            assert len(sandbox.violations) == 1
            assert sandbox.violations[0].startswith("dials")
        clock.now += 1
        async with talk(sandbox, member=alpha):
            assert len(sandbox.violations) == 1


async def test_conn_id_has_8_digits_and_is_in_every_control_frame(sandbox: Sandbox, alpha: Member) -> None:
    async with talk(sandbox) as one, talk(sandbox) as other:
        frames = [await one.log_in(alpha), *await one.subscribe("account", "nothing")]
        named = {frame["connId"] for frame in frames if "event" in frame}
        assert {len(each) for each in named} == {8}
        assert len(named) == 1
        assert (await other.log_in(alpha))["connId"] not in named


async def test_text_ping_is_answered_before_login_and_json_ping_is_not(sandbox: Sandbox) -> None:
    async with talk(sandbox) as client:
        await client.send("ping")
        assert await client.text() == "pong"
        answer = await client.request({"op": "ping"})
        assert answer["event"] == "error"
        assert answer["code"] == "60012"


@pytest.mark.parametrize("number", [False, True])
async def test_login_with_timestamp_as_text_or_number(sandbox: Sandbox, alpha: Member, number: bool) -> None:
    now = int(time.time())
    async with talk(sandbox) as client:
        answer = await client.log_in(alpha, timestamp=now if number else str(now))
        assert answer == {"event": "login", "code": "0", "msg": "", "connId": answer["connId"]}
        assert [each.uid for each in sandbox.connections] == [alpha.uid]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"apiKey": "00000000-1111-2222-3333-444444444444"}, "60032"),
        ({"apiKey": "no key"}, "60005"),
        ({"sign": "bm8="}, "60007"),
        ({"secret_key": "wrong"}, "60007"),
        ({"passphrase": "wrong"}, "60024"),
        ({"timestamp": str(int(time.time()) - 3600)}, "60006"),
        ({"timestamp": str(int(time.time()) + 3600)}, "60006"),
        ({"timestamp": "soon"}, "60004"),
        ({"timestamp": None}, "60004"),
    ],
)
async def test_login_errors_have_their_codes(
    sandbox: Sandbox, alpha: Member, changes: dict[str, object], code: str
) -> None:
    async with talk(sandbox) as client:
        answer = await client.log_in(alpha, **changes)
        assert answer["event"] == "error"
        assert answer["code"] == code
        assert answer["msg"]


async def test_login_errors_of_place_environment_and_script(sandbox: Sandbox, alpha: Member, beta: Member) -> None:
    async with talk(sandbox) as client:
        sandbox.faults.environment = "live"
        assert (await client.log_in(alpha))["code"] == "50101"
        sandbox.faults.environment = "demo"
        sandbox.faults.login_errors.extend(["60009", "63999"])
        assert (await client.log_in(alpha))["code"] == "60009"
        assert (await client.log_in(alpha))["code"] == "63999"
        beta.ip = "10.0.0.1,10.0.0.2"
        assert (await client.log_in(beta))["code"] == "50110"
        beta.ip += ",127.0.0.1"
        assert (await client.log_in(beta))["event"] == "login"


async def test_a_second_login_is_rejected(sandbox: Sandbox, alpha: Member, beta: Member) -> None:
    async with talk(sandbox, member=alpha) as client:
        assert (await client.log_in(beta))["code"] == "60031"
        assert [each.uid for each in sandbox.connections] == [alpha.uid]


async def test_nothing_private_before_the_login_ack(sandbox: Sandbox, alpha: Member) -> None:
    sandbox.faults.login_delay_s = 0.1
    async with talk(sandbox) as client, talk(sandbox, "business") as business:
        await client.send({"op": "login", "args": [login_arg(alpha.credentials)]})
        early = await client.request({"id": "s1", "op": "subscribe", "args": [{"channel": "account"}]})
        assert (early["code"], early["id"]) == ("60011", "s1")
        assert (await client.request({"id": "o1", "op": "order", "args": [{}]}))["code"] == "60011"
        assert (await client.receive())["event"] == "login"
        assert (await client.subscribe("account"))[0]["event"] == "subscribe"
        algos = {"channel": "orders-algo", "instType": "ANY"}
        assert (await business.subscribe(algos))[0]["code"] == "60011"


async def test_requests_are_counted_by_the_hour(sandbox: Sandbox, alpha: Member) -> None:
    async with talk(sandbox, member=alpha) as client:
        request = json.dumps({"op": "unsubscribe", "args": [{"channel": "account"}]})
        for _ in range(479):  # and one was the login
            assert (await client.request(request))["event"] == "unsubscribe"
        assert sandbox.violations == []
        assert (await client.request(request))["code"] == "60014"
        assert len(sandbox.violations) == 1
        await client.send("ping")  # pings do not count
        assert await client.text() == "pong"


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("{no json", "60012"),
        ("[]", "60012"),
        ({"op": "dance"}, "60019"),
        ({"op": "subscribe", "args": []}, "60012"),
        ({"op": "subscribe", "args": ["account"]}, "60012"),
        ({"op": "login", "args": [{}, {}]}, "60026"),
    ],
)
async def test_an_invalid_request_is_rejected_with_its_code(sandbox: Sandbox, said: object, code: str) -> None:
    async with talk(sandbox) as client:
        answer = await client.request(said)
        assert answer["code"] == code
        if isinstance(said, str):
            assert said in answer["msg"]


async def test_a_message_over_64_kb_closes_with_1009(sandbox: Sandbox) -> None:
    async with talk(sandbox) as client:
        await client.send("x" * (64 * 1024))
        assert (await client.receive())["code"] == "60012"
    async with talk(sandbox) as client:
        await client.send("x" * (64 * 1024 + 1))
        assert (await client.closed())[0] == 1009


def end_silence_since(sandbox: Sandbox, at_s: float) -> None:
    """End the connections that were silent since then, as if that were too long."""
    usual_s, now = sandbox.terms.idle_s, trio.current_time()
    sandbox.terms.idle_s = now - at_s
    for connection in sandbox.connections:
        connection.check_deadlines(now)
    sandbox.terms.idle_s = usual_s


async def test_silence_closes_with_4004(sandbox: Sandbox, alpha: Member) -> None:
    async with talk(sandbox, member=alpha) as silent, talk(sandbox, member=alpha) as lively:
        heard_s = trio.current_time()
        await lively.send("ping")
        assert await lively.text() == "pong"
        end_silence_since(sandbox, heard_s)
        code, reason = await silent.closed()
        assert code == 4004
        assert "No data received in" in reason
        await lively.send("ping")
        assert await lively.text() == "pong"


async def test_pushes_keep_a_connection_unless_only_clients_count(sandbox: Sandbox) -> None:
    async with talk(sandbox, "public") as client:
        await client.subscribe({"channel": "tickers", "instId": "BTC-USDT"})
        subscribed_s = trio.current_time()
        for _ in range(2):  # the first may have been sent before
            await client.text()
        end_silence_since(sandbox, subscribed_s)
        await client.text()
        sandbox.terms.idle_counts_pushes = False
        end_silence_since(sandbox, subscribed_s)
        assert (await client.closed())[0] == 4004
