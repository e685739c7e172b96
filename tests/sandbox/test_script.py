"""Scripts of faults: what the file may say, and what each fault does to whom."""

import random
from pathlib import Path

import pytest
import trio
import trio.lowlevel

from okxsync.sandbox.command import faults_of
from okxsync.sandbox.exchange.exchange import Exchange, Member
from okxsync.sandbox.faults.rules import Rule
from okxsync.sandbox.faults.script import LASTING, SUDDEN, Fault, play, read_script, strike
from okxsync.sandbox.server.server import Sandbox
from okxsync.sandbox.server.websocket import CLOSE_WITHIN_S
from tests.support.replay import until
from tests.support.sandbox_client import Caller, talk, upgrade_status

SWAP = {"instId": "BTC-USDT-SWAP", "tdMode": "cross"}
FAR_BUY = {"side": "buy", "ordType": "limit", "px": "1"}
ORDERS = {"channel": "orders", "instType": "ANY"}


def written(folder: Path, text: str) -> Path:
    path = folder / "faults.toml"
    path.write_text(text)
    return path


def test_a_file_is_read(tmp_path: Path) -> None:
    text = '[[fault]]\nat = 10\nevery = 60\nfor = 5\ndo = "login-error"\ncode = "60009"\naccount = "alpha"\n'
    assert read_script(written(tmp_path, text)) == [
        Fault(do="login-error", at_s=10, every=60, for_s=5, code="60009", account="alpha")
    ]
    assert faults_of(str(tmp_path / "faults.toml")) == read_script(tmp_path / "faults.toml")
    assert read_script(written(tmp_path, "")) == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[fault]]", "missing required field `do`"),
        ('[[fault]]\ndo = "explode"', '"explode" is not one of'),
        ('[[fault]]\ndo = "close"', "close needs a code"),
        ('[[fault]]\ndo = "close"\ncode = "99999"', "close needs a code"),
        ('[[fault]]\ndo = "refuse"\ncode = "x"', 'code "x" is not a number'),
        ('[[fault]]\ndo = "rst"\nat = -1', "must not be negative"),
        ('[[fault]]\ndo = "rst"\nat = "soon"', "Expected `float`"),
        ('[[fault]]\ndo = "rst"\nwhere = "here"', "unknown field `where`"),
        ("[[fault", "Expected"),
    ],
)
def test_an_invalid_file_is_reported_in_one_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ValueError, match=r"faults\.toml") as caught:
        read_script(written(tmp_path, text))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_short_form_injects_its_faults_in_turn() -> None:
    found = faults_of("rst,4006,upgrade")
    assert [(one.do, one.code, one.at_s, one.every, one.any) for one in found] == [
        ("rst", "", 10.0, 30.0, True),
        ("close", "4006", 20.0, 30.0, True),
        ("upgrade", "", 30.0, 30.0, False),
    ]
    assert faults_of("") == []
    with pytest.raises(ValueError, match="fire is not a fault"):
        faults_of("rst,fire")
    with pytest.raises(ValueError, match=r"none\.toml: No such file"):
        faults_of("none.toml")


def test_every_kind_is_documented() -> None:
    for kind in LASTING:
        assert f"``{kind}``" in (Rule.__doc__ or "")
    assert len({*LASTING, *SUDDEN}) == len(LASTING) + len(SUDDEN)


async def test_faults_begin_at_their_time_and_end(sandbox: Sandbox, alpha: Member) -> None:
    rng = random.Random(1)
    async with trio.open_nursery() as nursery, talk(sandbox) as client:
        nursery.start_soon(play, sandbox, [Fault(do="login-error", code="63999", at_s=0.1, for_s=0.3)], rng)
        assert sandbox.faults.rules == []
        await until(lambda: bool(sandbox.faults.rules))
        await until(lambda: not sandbox.faults.rules)
        assert (await client.log_in(alpha))["code"] == "0"
        nursery.start_soon(play, sandbox, [Fault(do="rst", at_s=0.1)], rng)
        assert await client.closed() == (1006, "")


async def test_a_fault_of_one_account_or_endpoint_does_not_affect_others(
    sandbox: Sandbox, alpha: Member, beta: Member
) -> None:
    sandbox.faults.rules += [
        Rule("login-error", account="alpha", code="60009"),
        Rule("refuse", endpoint="business", code="503"),
    ]
    async with talk(sandbox) as one, talk(sandbox) as other:
        assert (await one.log_in(alpha))["code"] == "60009"
        assert (await other.log_in(beta))["code"] == "0"
    assert await upgrade_status(sandbox.url_rest, "business") == 503


async def test_login_may_be_delayed(sandbox: Sandbox, alpha: Member) -> None:
    sandbox.faults.rules.append(Rule("login-delay", account="alpha", seconds=0.2))
    async with talk(sandbox) as client:
        began = trio.current_time()
        assert (await client.log_in(alpha))["code"] == "0"
        assert trio.current_time() - began >= 0.2


async def test_a_subscription_may_be_rejected_or_over_the_connection_limit(
    sandbox: Sandbox, exchange: Exchange, alpha: Member
) -> None:
    sandbox.faults.rules += [
        Rule("subscribe-error", channel="account", code="60018"),
        Rule("crowded", channel="orders"),
    ]
    async with talk(sandbox, member=alpha) as client:
        await client.send({"op": "subscribe", "args": [{"channel": "account"}, ORDERS]})
        refusal, ack, crowded = [await client.receive() for _ in range(3)]
        assert (refusal["event"], refusal["code"], "arg" in refusal) == ("error", "60018", False)
        assert ack["event"] == "subscribe"
        assert crowded["event"] == "channel-conn-count-error"
        sandbox.operate(exchange.place_order, alpha.uid, {**SWAP, **FAR_BUY, "sz": "1"})
        assert await client.received() == []


@pytest.mark.parametrize(
    ("do", "expected"),
    [("double", ["1", "1", "2", "2", "3", "3"]), ("reorder", ["2", "1"]), ("silent", [])],
)
async def test_pushes_may_come_twice_late_or_not_at_all(
    sandbox: Sandbox, exchange: Exchange, alpha: Member, do: str, expected: list[str]
) -> None:
    rule = Rule(do, account="alpha", channel="orders")
    async with talk(sandbox, member=alpha) as client:
        await client.subscribe(ORDERS)
        await client.receive_matching(event="channel-conn-count")
        sandbox.faults.rules.append(rule)
        for size in ("1", "2", "3"):
            sandbox.operate(exchange.place_order, alpha.uid, {**SWAP, **FAR_BUY, "sz": size})
        frames = [frame for frame in await client.received() if "data" in frame]
        assert [frame["data"][0]["sz"] for frame in frames] == expected
        sandbox.faults.rules.clear()
        if do == "reorder":  # the last one is sent with the next tick
            assert (await client.receive())["data"][0]["sz"] == "3"
        assert await client.received() == []


async def test_delayed_frames_arrive_late_and_in_order(sandbox: Sandbox, exchange: Exchange, alpha: Member) -> None:
    delay = Rule("delay", account="alpha", endpoint="private", seconds=0.3)
    async with talk(sandbox, member=alpha) as client:
        await client.subscribe(ORDERS)
        await client.receive_matching(event="channel-conn-count")
        sandbox.faults.rules.append(delay)
        began = trio.current_time()
        await client.send("ping")
        assert await client.text() == "pong"
        assert trio.current_time() - began >= 0.3
        began = trio.current_time()
        sandbox.operate(exchange.place_order, alpha.uid, {**SWAP, **FAR_BUY, "sz": "1"})
        sandbox.faults.rules.remove(delay)
        sandbox.operate(exchange.place_order, alpha.uid, {**SWAP, **FAR_BUY, "sz": "2"})  # waits behind the first
        assert [(await client.receive())["data"][0]["sz"] for _ in range(2)] == ["1", "2"]
        assert trio.current_time() - began >= 0.3


async def test_delayed_frames_are_sent_before_the_close(sandbox: Sandbox, alpha: Member) -> None:
    sandbox.faults.rules.append(Rule("delay", seconds=CLOSE_WITHIN_S + 0.5))
    async with talk(sandbox) as client:
        strike(sandbox, Fault(do="frame", text='{"event":"party"}'), random.Random(1))
        strike(sandbox, Fault(do="close", code="4006"), random.Random(1))
        assert (await client.receive())["event"] == "party"
        assert (await client.closed())[0] == 4006


async def test_rest_may_answer_anything_to_one_account(sandbox: Sandbox, caller: Caller) -> None:
    sandbox.faults.rules.append(Rule("rest", account="alpha", path="account/balance", code="502", text="<html>"))
    answer = await caller.send("GET", "account/balance")
    assert (answer.status_code, answer.text) == (502, "<html>")
    assert (await caller.send("GET", "account/positions")).status_code == 200
    sandbox.faults.rules.clear()
    assert (await caller.send("GET", "account/balance")).status_code == 200


async def test_sudden_faults(sandbox: Sandbox, alpha: Member, beta: Member) -> None:
    rng = random.Random(1)
    async with talk(sandbox, member=alpha) as one, talk(sandbox, member=beta) as other:
        strike(sandbox, Fault(do="frame", account="alpha", text='{"event":"party"}'), rng)
        assert (await one.receive())["event"] == "party"
        strike(sandbox, Fault(do="upgrade", account="alpha", seconds=9), rng)
        assert (await one.receive())["code"] == "64008"
        strike(sandbox, Fault(do="close", account="alpha", code="4008"), rng)
        assert (await one.closed())[0] == 4008
        strike(sandbox, Fault(do="delete-key", account="beta"), rng)
        assert (await other.closed())[0] == 4007
    strike(sandbox, Fault(do="skew", seconds=3600), rng)
    assert sandbox.faults.clock_skew_ms == 3_600_000


async def test_requests_that_trade_have_faults_for_a_time(
    sandbox: Sandbox, exchange: Exchange, caller: Caller, tmp_path: Path
) -> None:
    file = tmp_path / "faults.toml"
    file.write_text('[[fault]]\ndo = "request"\nhow = "50004"\nacts = false\naccount = "alpha"\nfor = 600\n')
    async with trio.open_nursery() as nursery:
        nursery.start_soon(play, sandbox, read_script(file), random.Random(1))
        while not sandbox.faults.requests:
            await trio.lowlevel.checkpoint()
        for _ in range(2):
            assert (await caller.post("trade/order", {**SWAP, **FAR_BUY, "sz": "1"}))["code"] == "50004"
        nursery.cancel_scope.cancel()
    assert exchange.order_counts() == {}
    assert (await caller.post("trade/order", {**SWAP, **FAR_BUY, "sz": "1"}))["code"] == "0"


def test_a_fault_of_requests_needs_a_known_reply(tmp_path: Path) -> None:
    file = tmp_path / "faults.toml"
    file.write_text('[[fault]]\ndo = "request"\nhow = "no-such"\n')
    with pytest.raises(ValueError, match="no-such"):
        read_script(file)
