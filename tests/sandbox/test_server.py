"""The server as a whole: it starts, it is cut off, it ends."""

import gc
from pathlib import Path

import httpx
import pytest
import trio
from trio.testing import MockClock

from okxsync.config.settings import load
from okxsync.sandbox.exchange.exchange import Exchange, Member, Push
from okxsync.sandbox.faults.rules import Rule
from okxsync.sandbox.server.auth import sign
from okxsync.sandbox.server.server import Sandbox, serve_sandbox
from tests.support.replay import until
from tests.support.sandbox_client import FAR_BUY, SWAP, Caller, raw, signature, talk, upgrade

ORDERS = {"channel": "orders", "instType": "ANY"}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("2024-01-10T08:55:47.123ZGET/api/v5/account/balance", "yQZObouK2HefggFHCSwX1uiDC/5GHUrG0ynuGNPTymE="),
        (
            "2024-01-10T08:55:47.123ZGET/api/v5/account/balance?ccy=BTC%2CETH",
            "kd1QipriHsYztrLjrqhX8o0iXt2ZyHLCer/Wyrj9Bn8=",
        ),
        ("1704876947GET/users/self/verify", "ZuGLUUn1vPbzKSG4K5HzbiibZHAU3Qmy4PHIlAGhMok="),
    ],
)
def test_signatures_are_those_of_known_vectors(message: str, expected: str) -> None:
    secret = "0123456789ABCDEF0123456789ABCDEF"
    assert sign(secret, message.encode()) == signature(secret, message) == expected


async def test_accounts_toml_is_a_configuration_of_all_members(
    sandbox: Sandbox, tmp_path: Path, alpha: Member, beta: Member
) -> None:
    path = tmp_path / "accounts.toml"
    path.touch(mode=0o600)
    path.write_text(sandbox.accounts_toml())
    settings = load(path)
    assert [account.name for account in settings.accounts] == ["alpha", "beta"]
    assert settings.accounts[0].api_key.reveal() == alpha.credentials.api_key
    assert settings.accounts[0].demo
    assert settings.accounts[0].site.private == sandbox.url_ws("private")
    assert settings.market is not None
    assert {each.channel for each in settings.market.subscriptions} == {"mark-price"}
    assert settings.market.site.dials_per_second >= 1000
    sandbox.terms.dials_per_second = 3
    assert "dials_per_second = 3\n" in sandbox.accounts_toml()


async def test_connections_are_seen_with_what_they_are(sandbox: Sandbox, alpha: Member) -> None:
    async with talk(sandbox, member=alpha) as client, talk(sandbox, "public"):
        await client.subscribe(ORDERS, "account")
        one, other = sandbox.connections
        assert (one.uid, one.endpoint, one.channels) == (alpha.uid, "private", ["orders", "account"])
        assert (other.uid, other.endpoint, other.channels) == ("", "public", [])
        assert len({one.conn_id, other.conn_id}) == 2
    await gone(sandbox)


async def gone(sandbox: Sandbox) -> None:
    """Wait until nobody is connected."""
    await until(lambda: not sandbox.connections)


async def test_rst_resets_every_connection(sandbox: Sandbox, alpha: Member) -> None:
    streams = [await raw(sandbox) for _ in range(3)]
    sandbox.drop_all("rst")
    for stream in streams:
        with pytest.raises(trio.BrokenResourceError) as broken:
            await stream.receive_some()
        assert isinstance(broken.value.__cause__, ConnectionResetError)
        await stream.aclose()
    await gone(sandbox)
    async with talk(sandbox, member=alpha):
        assert len(sandbox.connections) == 1


@pytest.mark.parametrize("code", [4001, 4006, 4008])
async def test_connections_are_closed_with_a_code(sandbox: Sandbox, alpha: Member, code: int) -> None:
    async with talk(sandbox, member=alpha) as client:
        sandbox.drop_all(str(code))
        assert (await client.closed())[0] == code
    await gone(sandbox)


async def test_a_deleted_key_closes_its_connections_with_4007(sandbox: Sandbox, alpha: Member, beta: Member) -> None:
    async with talk(sandbox, member=alpha) as a, talk(sandbox, member=beta) as b:
        sandbox.delete_key(alpha.credentials.api_key)
        assert (await a.closed())[0] == 4007
        await b.send("ping")
        assert await b.text() == "pong"
    async with talk(sandbox) as client:
        assert (await client.log_in(alpha))["code"] == "60032"


async def test_a_silent_channel_pushes_nothing_while_others_go_on(
    sandbox: Sandbox, exchange: Exchange, alpha: Member
) -> None:
    sandbox.faults.silent.add("orders")
    async with talk(sandbox, member=alpha) as client:
        await client.subscribe(ORDERS, "account")
        await client.receive_matching(eventType="snapshot")
        sandbox.operate(exchange.place_order, alpha.uid, {**SWAP, **FAR_BUY, "sz": "1"})
        frames = [frame for frame in await client.received() if "data" in frame]
        assert {frame["arg"]["channel"] for frame in frames} == {"account"}


async def test_a_half_open_connection_sends_nothing_and_stays_open(
    sandbox: Sandbox, exchange: Exchange, alpha: Member
) -> None:
    async with talk(sandbox, member=alpha) as client:
        await client.subscribe(ORDERS)
        await client.receive_matching(event="channel-conn-count")
        sandbox.drop_all("half-open")
        sandbox.connections[0].check_deadlines(trio.current_time() + 2 * sandbox.terms.idle_s)
        await client.send("ping")
        sandbox.operate(exchange.place_order, alpha.uid, {**SWAP, **FAR_BUY, "sz": "1"})
        with trio.move_on_after(0.3):
            pytest.fail(await client.text())
        assert len(sandbox.connections) == 1
        sandbox.drop_all("rst")
        assert await client.closed() == (1006, "")


@pytest.mark.parametrize("endpoint", ["public", "private", "business"])
async def test_an_upgrade_is_announced(sandbox: Sandbox, alpha: Member, endpoint: str) -> None:
    async with talk(sandbox, endpoint, alpha if endpoint != "public" else None) as client:
        sandbox.announce_upgrade(0.2)
        notice = await client.receive()
        assert (notice["event"], notice["code"]) == ("notice", "64008")
        assert len(notice["connId"]) == 8
        assert await client.closed() == (1001, "Service upgrade")


async def test_an_upgrade_may_come_unannounced(sandbox: Sandbox, alpha: Member) -> None:
    sandbox.faults.rules.append(Rule("unannounced", endpoint="business"))
    async with talk(sandbox, member=alpha) as private, talk(sandbox, "business", alpha) as business:
        sandbox.announce_upgrade(0.2)
        assert (await private.receive())["code"] == "64008"
        assert await business.closed() == (1001, "Service upgrade")


@pytest.mark.parametrize("later", [0, 7])
async def test_order_messages_may_be_repeated(sandbox: Sandbox, exchange: Exchange, alpha: Member, later: int) -> None:
    sandbox.faults.repeat_orders_ms = later
    async with talk(sandbox, member=alpha) as client:
        await client.subscribe(ORDERS)
        await client.receive_matching(event="channel-conn-count")
        sandbox.operate(exchange.place_order, alpha.uid, {**SWAP, **FAR_BUY, "sz": "1"})
        (once,), (again,) = [(await client.receive())["data"] for _ in range(2)]
        assert int(again.pop("uTime")) - int(once.pop("uTime")) == later
        assert again == once


async def test_fills_may_come_in_one_message(sandbox: Sandbox, exchange: Exchange, alpha: Member) -> None:
    sandbox.faults.join_orders = True
    async with talk(sandbox, member=alpha) as client:
        await client.subscribe(ORDERS)
        await client.receive_matching(event="channel-conn-count")
        body = {"instId": "BTC-USDT", "tdMode": "cash", "side": "buy", "ordType": "market", "sz": "600"}
        sandbox.operate(exchange.place_order, alpha.uid, body)
        (frame,) = await client.received()
        assert [row["state"] for row in frame["data"]][-1] == "filled"
        assert len(frame["data"]) > 1


async def test_a_slow_reader_is_closed_or_reset(sandbox: Sandbox, alpha: Member) -> None:
    sandbox.terms.frames_waiting = 50
    async with talk(sandbox, member=alpha) as client:
        await client.subscribe(ORDERS)
        row = {"ordId": "1", "instType": "SWAP", "tradeId": "", "padding": "x" * 100_000}
        for _ in range(60):
            sandbox.push(Push(alpha.uid, "orders", [row]))
        code, _ = await client.closed()
        assert code in (4005, 1006)
    await gone(sandbox)


async def test_a_client_that_never_reads_is_reset(sandbox: Sandbox, alpha: Member) -> None:
    sandbox.terms.frames_waiting = 200
    async with await raw(sandbox):
        connection = sandbox.connections[0]
        for _ in range(150):
            connection.send("x" * 100_000)
        await trio.sleep(0.1)  # the writer is stuck now
        for _ in range(200):
            connection.send("x")
        await gone(sandbox)


async def test_clients_that_vanish_or_send_nonsense_do_not_affect_others(sandbox: Sandbox, alpha: Member) -> None:
    start = upgrade("private")
    for said in (b"", b"GET", b"nonsense\r\n\r\n", start, start + b"\xff\xff\xff", start + b"\x81\x84abcdping"):
        stream = await trio.open_tcp_stream("127.0.0.1", sandbox.port)
        if said:
            await stream.send_all(said)
        await trio.sleep(0.01)
        stream.socket.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        stream.socket.close()
    async with talk(sandbox, member=alpha) as client:
        await client.send("ping")
        assert await client.text() == "pong"
        await until(lambda: len(sandbox.connections) == 1)


async def test_it_ends_while_connections_are_open(
    exchange: Exchange, alpha: Member, capfd: pytest.CaptureFixture[str]
) -> None:
    """Hypercorn shields what it sends, so a client that does not read could delay the end for ever."""
    with trio.CancelScope() as scope:
        async with serve_sandbox(exchange, dials_per_second=0, rate=50, tick_s=0.01) as sandbox:
            streams = [await raw(sandbox, endpoint) for endpoint in ("public", "private", "business")]
            async with httpx.AsyncClient(base_url=sandbox.url_rest) as client:
                await Caller(client, alpha).rows("account/config")
                for _ in range(150):  # one of them does not read
                    sandbox.connections[0].send("x" * 100_000)
                await trio.sleep(0.1)
                scope.cancel()
                await trio.lowlevel.checkpoint()
    for stream in streams:
        await stream.aclose()
    gc.collect()  # reports what was left open
    assert capfd.readouterr() == ("", "")


async def test_the_trader_keeps_its_rate_and_can_be_paused(
    exchange: Exchange, alpha: Member, autojump_clock: MockClock
) -> None:
    async with serve_sandbox(exchange, rate=100, tick_s=60) as sandbox:
        await trio.sleep(0.5)
        sandbox.pause_trading()
        await trio.sleep(0.05)

        def traces() -> tuple[int, int, int]:
            account = exchange.account(alpha.uid)
            return len(account.orders), len(account.algos), len(account.bills)

        before = traces()
        assert 20 <= before[0] <= 50
        await trio.sleep(0.1)
        assert traces() == before
        sandbox.resume_trading()
        await trio.sleep(0.2)
        assert traces() > before


async def test_a_port_may_be_chosen(exchange: Exchange) -> None:
    async with serve_sandbox(exchange) as one:
        port = one.port
    async with serve_sandbox(exchange, port=port) as again:
        assert again.url_rest == f"http://127.0.0.1:{port}"


async def test_many_connections_are_served_while_accounts_trade(exchange: Exchange) -> None:
    members = [exchange.add_member(f"m{number}") for number in range(100)]
    channels: dict[str, list[dict[str, str]]] = {
        "private": [{"channel": "account"}, {"channel": "positions", "instType": "ANY"}, ORDERS],
        "business": [{"channel": "orders-algo", "instType": "ANY"}],
    }
    async with serve_sandbox(exchange, dials_per_second=0, rate=50) as sandbox, trio.open_nursery() as nursery:
        sandbox.terms.idle_s = 3600.0  # these clients send no pings, and a busy machine takes long to connect all
        received = [0]

        async def listen(member: Member, endpoint: str, *, task_status: trio.TaskStatus[None]) -> None:
            async with talk(sandbox, endpoint, member) as client:
                await client.subscribe(*channels[endpoint])
                task_status.started()
                while True:
                    await client.ws.get_message()
                    received[0] += 1

        for member in members:
            for endpoint in channels:
                await nursery.start(listen, member, endpoint)
        assert len(sandbox.connections) == 200
        before = received[0]
        await until(lambda: received[0] - before > 1000)
        assert sandbox.violations == []
        nursery.cancel_scope.cancel()
