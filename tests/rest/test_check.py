"""What ``check`` finds, on the built-in exchange and in its judgements."""

import json
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio
from typer.testing import CliRunner, Result

from okxsync.cli import app
from okxsync.config import Account, load
from okxsync.okx.sites import built_in_site
from okxsync.rest.check import Finding, dialling, disk, judge_key, skew, sqlite_version
from okxsync.sandbox.exchange import Exchange
from okxsync.sandbox.server import serve_sandbox
from okxsync.store.database import open_database
from tests.replay import Replay, write_config


async def check(config: Path, *arguments: str) -> Result:
    command = ["check", "--config", str(config), *arguments]
    return await trio.to_thread.run_sync(lambda: CliRunner().invoke(app, command))


def levels(result: Result) -> dict[str, str]:
    return {one["subject"]: one["level"] for one in json.loads(result.stdout)["findings"]}


async def test_good_keys_and_bad_ones_on_an_exchange(tmp_path: Path) -> None:
    exchange = Exchange(lambda: time.time_ns() // 1_000_000, seed=1)
    exchange.add_member("reads", perm="read_only")
    exchange.add_member("trades", perm="read_only,trade")
    exchange.add_member("wrong", perm="read_only")
    async with serve_sandbox(exchange) as sandbox:
        config = write_config(tmp_path, sandbox.accounts_toml())
        text = config.read_text()
        secret = exchange.members[uid_of(exchange, "wrong")].credentials.passphrase
        config.write_text(text.replace(secret, "not it"))
        result = await check(config, "--json")
        assert result.exit_code == 1
        found = levels(result)
        assert (found["account reads"], found["account trades"], found["account wrong"]) == ("ok", "warn", "fail")
        assert found["clock 127.0.0.1"] == found["host 127.0.0.1"] == found["disk"] == found["SQLite"] == "ok"
        fine = await check(config, "--account", "reads")
        assert fine.exit_code == 0
        assert "uid" in fine.stdout
        assert (await check(config, "--account", "nobody")).exit_code == 2
        assert "not it" not in result.output + fine.output


async def test_whose_key_it_is(tmp_path: Path) -> None:
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
        assert '"one" and "twin" are one account of OKX' in failed["account twin"]["found"]
        assert "than its rows here (uid 1, demo)" in failed["account other"]["found"]
        assert failed["account other"]["todo"] == "give that account a name of its own"


def uid_of(exchange: Exchange, name: str) -> str:
    return next(uid for uid, member in exchange.members.items() if member.name == name)


def account(tmp_path: Path, *channels: str) -> Account:
    return load(write_config(tmp_path, Replay(1, {}).accounts_toml(*channels))).accounts[0]


def words(findings: Sequence[Finding]) -> list[tuple[str, bool]]:
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
    assert words(judge_key(account(tmp_path, "orders"), uid="1", perm=perm, ip=ip, level=level)) == expected


@pytest.mark.parametrize(("level", "fine"), [("Lv1", False), ("VIP3", False), ("VIP4", True), ("", False)])
def test_fills_need_a_tier(tmp_path: Path, level: str, fine: bool) -> None:
    (finding,) = judge_key(account(tmp_path, "fills"), uid="1", perm="read_only", ip="", level=level)
    assert (finding.level == "ok") is fine


def test_the_rest_is_judged_by_numbers(tmp_path: Path) -> None:
    offsets = [None, 0.2, -2.0, 31.0]
    assert [skew("https://www.okx.com", offset).level for offset in offsets] == ["fail", "ok", "warn", "fail"]
    assert [sqlite_version(version).level for version in ((3, 40, 1), (3, 53, 0))] == ["fail", "ok"]
    assert disk(tmp_path / "none" / "okxsync.db", None).level == "fail"
    assert disk(tmp_path / "okxsync.db", 10**18).level == "warn"


def test_how_long_connecting_takes(tmp_path: Path) -> None:
    settings = load(write_config(tmp_path, Replay(1, {}).accounts_toml("orders", "orders-algo")))
    (short,) = dialling(settings, settings.accounts)
    assert (short.level, short.found) == ("ok", "2 connections, at least 1 s until all are live")
    (long,) = dialling(settings, settings.accounts * 150)
    assert (long.level, long.found) == ("warn", "300 connections, at least 100 s until all are live")
    assert built_in_site("global", demo=False).dials_per_second == 3
