"""The findings of ``check``, on the built-in exchange and for single values."""

import json
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import trio
import trustme
from typer.testing import CliRunner, Result

from okxsync.accounts.preflight import Finding, dialling, judge_key, skew
from okxsync.cli import app
from okxsync.config.settings import AccountSettings, load
from okxsync.okx.sites import ENDPOINTS, built_in_site
from okxsync.sandbox.exchange.exchange import Exchange
from okxsync.sandbox.server.server import serve_sandbox
from okxsync.store.engines import open_database
from tests.support.replay import WITHIN_S, Replay, write_config


async def check(config: Path, *arguments: str) -> Result:
    command = ["check", "--config", str(config), *arguments]
    return await trio.to_thread.run_sync(lambda: CliRunner().invoke(app, command))


def levels(result: Result) -> dict[str, str]:
    return {one["subject"]: one["level"] for one in json.loads(result.stdout)["findings"]}


async def test_valid_and_invalid_keys_on_an_exchange(tmp_path: Path) -> None:
    exchange = Exchange(lambda: time.time_ns() // 1_000_000, seed=1)
    exchange.add_member("reads", perm="read_only")
    exchange.add_member("trades", perm="read_only,trade")
    exchange.add_member("wrong", perm="read_only")
    async with serve_sandbox(exchange) as sandbox:
        config = write_config(tmp_path, sandbox.accounts_toml())
        text = config.read_text()
        secret = exchange.members[uid_of(exchange, "wrong")].credentials.passphrase
        config.write_text(text.replace(secret, "not-the-phrase"))
        result = await check(config, "--json")
        assert result.exit_code == 1
        found = levels(result)
        assert (found["account reads"], found["account trades"], found["account wrong"]) == ("ok", "warn", "fail")
        assert found["clock 127.0.0.1"] == found["disk"] == found["SQLite"] == "ok"
        assert [subject for subject in found if "://" in subject] == [
            sandbox.url_rest,
            sandbox.url_ws("business"),
            sandbox.url_ws("private"),
            sandbox.url_ws("public"),
        ]
        assert {level for subject, level in found.items() if "://" in subject} == {"ok"}
        fine = await check(config, "--account", "reads")
        assert fine.exit_code == 0
        assert "uid" in fine.stdout
        assert (await check(config, "--account", "nobody")).exit_code == 2
        assert "not-the-phrase" not in result.output + fine.output


Behave = Callable[[trio.SocketStream], Awaitable[None]]


@asynccontextmanager
async def peer(behave: Behave) -> AsyncIterator[str]:
    """Serve TCP; yields host and port."""
    with trio.fail_after(WITHIN_S):
        async with trio.open_nursery() as nursery:
            (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
            nursery.start_soon(trio.serve_listeners, behave, [listener])
            yield f"127.0.0.1:{listener.socket.getsockname()[1]}"
            nursery.cancel_scope.cancel()


async def addresses(folder: Path, where: str, secure: str = "") -> dict[str, dict[str, str]]:
    """Return what ``check`` finds of the addresses of a public connection, by scheme."""
    urls = [f'{name} = "ws{secure}://{where}/{name}"' for name in ENDPOINTS]
    site = ["[sites.local]", f'rest = "http{secure}://{where}"', *urls]
    market = ["[market]", 'site = "local"', 'channels = [{ channel = "mark-price", instId = "BTC-USDT-SWAP" }]']
    result = await check(write_config(folder, "\n".join([*site, *market])), "--json")
    found = [one for one in json.loads(result.stdout)["findings"] if "://" in one["subject"]]
    assert result.exit_code == any(one["level"] == "fail" for one in found)
    return {one["subject"].partition("://")[0]: one for one in found}


async def test_an_address_where_nothing_listens(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{unused.getsockname()[1]}"
        for one in (await addresses(tmp_path, where)).values():
            assert (one["level"], one["found"], one["step"]) == ("fail", f"{where} TCP: Connection refused", "TCP")
            assert "firewall" in one["todo"]


async def hang_up(stream: trio.SocketStream) -> None:
    await stream.receive_some()
    await stream.aclose()


async def self_signed(stream: trio.SocketStream) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with suppress(trio.BrokenResourceError):
        await trio.SSLStream(stream, context, server_side=True).do_handshake()


@pytest.mark.parametrize(
    ("behave", "cause"), [(hang_up, "the peer closed the connection"), (self_signed, "certificate verify failed: ")]
)
async def test_no_tls_and_an_untrusted_certificate(tmp_path: Path, behave: Behave, cause: str) -> None:
    async with peer(behave) as where:
        found = await addresses(tmp_path, where, "s")
    assert found.keys() == {"https", "wss"}
    for one in found.values():
        assert one["found"].startswith(f"{where} TLS: {cause}")
        assert (one["level"], one["step"]) == ("fail", "TLS")
        assert "certificates" in one["todo"]


async def test_no_websocket_server_and_too_many_connections(tmp_path: Path) -> None:
    answers = ["429 Too Many Requests", "404 Not Found"]

    async def refuse(stream: trio.SocketStream) -> None:
        async with stream:
            if await stream.receive_some():  # the check of REST only connects
                await stream.send_all(f"HTTP/1.1 {answers.pop(0)}\r\nContent-Length: 0\r\n\r\n".encode())

    async with peer(refuse) as where:
        found = await addresses(tmp_path, where)
    assert found["http"]["level"] == "ok"
    assert (found["ws"]["level"], found["ws"]["step"]) == ("fail", "WebSocket handshake")
    assert found["ws"]["found"] == f"{where} WebSocket handshake: rejected with HTTP status 404"
    assert "path" in found["ws"]["todo"]
    assert answers == []


async def test_keys_of_the_wrong_account(tmp_path: Path) -> None:
    exchange = Exchange(lambda: time.time_ns() // 1_000_000, seed=1)
    for name in ("one", "other"):
        exchange.add_member(name, perm="read_only")
    async with serve_sandbox(exchange) as sandbox:
        sandbox.add_key(uid_of(exchange, "one"), "twin")
        config = write_config(tmp_path, sandbox.accounts_toml())
        database = open_database(tmp_path / "okxsync.db")
        database.execute("INSERT INTO accounts (name, site, demo, first_seen_at, uid) VALUES ('other', 'x', 1, 0, '1')")
        database.close()
        result = await check(config, "--json")
        assert result.exit_code == 1
        failed = {one["subject"]: one for one in json.loads(result.stdout)["findings"] if one["level"] == "fail"}
        assert failed.keys() == {"account twin", "account other"}
        assert '"one" and "twin" are the same OKX account' in failed["account twin"]["found"]
        assert 'the data stored as "other" is for uid 1, demo' in failed["account other"]["found"]
        assert failed["account other"]["todo"] == "use a new name"


def uid_of(exchange: Exchange, name: str) -> str:
    return next(uid for uid, member in exchange.members.items() if member.name == name)


def account(tmp_path: Path, *channels: str) -> AccountSettings:
    return load(write_config(tmp_path, Replay(1, {}).accounts_toml(*channels))).accounts[0]


def levels_and_todos(findings: Sequence[Finding]) -> list[tuple[str, bool]]:
    return [(one.level, bool(one.todo)) for one in findings]


@pytest.mark.parametrize(
    ("perm", "ip", "level", "expected"),
    [
        ("read_only", "", "Lv1", [("ok", False)]),
        ("read_only,trade", "1.2.3.4", "Lv1", [("ok", False)]),
        ("read_only,trade", "", "Lv1", [("warn", True)]),
        ("read_only,withdraw", "", "VIP9", [("warn", True), ("warn", True)]),
    ],
)
def test_keys(tmp_path: Path, perm: str, ip: str, level: str, expected: list[tuple[str, bool]]) -> None:
    assert levels_and_todos(judge_key(account(tmp_path, "orders"), uid="1", perm=perm, ip=ip, level=level)) == expected


def test_an_account_that_trades_is_not_advised_to_use_a_read_only_key(tmp_path: Path) -> None:
    found = judge_key(
        account(tmp_path, "orders"), uid="1", perm="read_only,trade,withdraw", ip="", level="Lv1", trades=True
    )
    assert [one.level for one in found] == ["warn", "warn"]
    assert found[0].todo == "use a key with the permissions Read and Trade"
    assert found[1].todo.endswith("bind it to an IP")


@pytest.mark.parametrize(("level", "fine"), [("Lv1", False), ("VIP3", False), ("VIP4", True), ("", False)])
def test_fills_require_a_fee_tier(tmp_path: Path, level: str, fine: bool) -> None:
    (finding,) = judge_key(account(tmp_path, "fills"), uid="1", perm="read_only", ip="", level=level)
    assert (finding.level == "ok") is fine


def test_the_clock_is_judged_by_numbers() -> None:
    offsets = [None, 0.2, -2.0, 31.0]
    assert [skew("https://www.okx.com", offset).level for offset in offsets] == ["fail", "ok", "warn", "fail"]


def test_the_time_until_all_are_connected(tmp_path: Path) -> None:
    settings = load(write_config(tmp_path, Replay(1, {}).accounts_toml("orders", "orders-algo")))
    (short,) = dialling(settings, settings.accounts)
    assert (short.level, short.found) == ("ok", "2 connections, at least 1 s until all are live")
    (long,) = dialling(settings, settings.accounts * 150)
    assert (long.level, long.found) == ("warn", "300 connections, at least 100 s until all are live")
    assert built_in_site("global", demo=False).dials_per_second == 3
