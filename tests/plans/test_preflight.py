"""The findings of ``check --trading``: on the built-in exchange, and for single accounts."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
import trio
from msgspec.structs import replace
from typer.testing import CliRunner

from okxsync.cli import app
from okxsync.config.trading import Limits
from okxsync.okx.channels import subscription
from okxsync.plans.checks import CLOCK_ERROR_MS
from okxsync.plans.facts import AccountFacts
from okxsync.plans.preflight import judge_account, judge_clock
from okxsync.sandbox.exchange.exchange import Exchange
from okxsync.sandbox.server.server import serve_sandbox
from tests.plans import cases
from tests.plans.cases import BTC, NOW, SPOT, SWAP, account, trading
from tests.support.accounts import account as settings_of
from tests.support.desk import make_database
from tests.support.replay import write_config

TRADING = f"""[trading]
enabled = true
max_order_usd = 1000
instruments = ["{BTC}"]
"""


async def check(config: Path) -> tuple[int, dict[str, set[tuple[str, str]]]]:
    """Return the exit code, and level and finding by subject."""
    command = ["check", "--trading", "--json", "--config", str(config)]
    result = await trio.to_thread.run_sync(lambda: CliRunner().invoke(app, command))
    found: dict[str, set[tuple[str, str]]] = {}
    for one in json.loads(result.stdout)["findings"]:
        found.setdefault(one["subject"], set()).add((one["level"], one["found"]))
    return result.exit_code, found


async def test_accounts_that_can_trade_and_others_on_an_exchange(tmp_path: Path) -> None:
    exchange = Exchange(lambda: time.time_ns() // 1_000_000, seed=1)
    for name, more in {
        "good": {"ip": "127.0.0.1"},
        "long": {"ip": "127.0.0.1", "pos_mode": "long_short_mode"},
        "reads": {"perm": "read_only"},
        "unbound": {"perm": "read_only,trade,withdraw"},
        "region": {"ip": "127.0.0.1"},
        "spot": {"ip": "127.0.0.1", "acct_lv": "1"},
    }.items():
        exchange.add_member(name, **more)  # type: ignore[arg-type]
    next(one for one in exchange.members.values() if one.name == "region").hidden.add(BTC)
    make_database(tmp_path / "okxsync.db")
    async with serve_sandbox(exchange) as sandbox:
        accounts = sandbox.accounts_toml().replace("demo = true\napi_key", "demo = true\ntrading = true\napi_key")
        config = write_config(tmp_path, TRADING + accounts)
        code, found = await check(config)
        assert code == 1
        assert ("ok", "may trade: Futures mode, net positions, 1 of 1 instruments") in found["account good"]
        assert ("ok", "may trade: Futures mode, long and short positions, 1 of 1 instruments") in found["account long"]
        assert ("fail", "the key has no permission to trade") in found["account reads"]
        assert {level for level, _ in found["account unbound"]} == {"ok", "warn"}
        assert ("warn", "the key can withdraw") in found["account unbound"]
        assert any("not bound to an IP" in text for _, text in found["account unbound"])
        assert ("fail", f"{BTC}: not-offered") in found["account region"]
        assert ("fail", f"{BTC}: mode: SWAP cross is not possible in Spot mode") in found["account spot"]
        assert found["trading"] == {
            ("ok", "6 accounts may trade"),
            ("warn", "no limit max_plan_usd"),
            ("warn", "no limit max_day_usd"),
        }
        assert found["database file"] == {("ok", "belongs to this user alone")}
        assert {level for level, _ in found["clock"]} == {"ok"}
        (tmp_path / "okxsync.db").chmod(0o644)
        config.write_text(sandbox.accounts_toml())
        code, found = await check(config)
        assert code == 1
        assert ("fail", "trading is switched off for all accounts") in found["trading"]
        assert ("fail", "no account may trade") in found["trading"]
        assert {level for level, _ in found["database file"]} == {"fail"}


def judge(facts: AccountFacts, kyc: str = "2", **settings: Any) -> list[tuple[str, str]]:
    of = replace(settings_of("alpha", "orders", "positions", "account"), **settings)
    rails = trading("alpha", own=Limits(instruments=frozenset({BTC, SPOT})))
    return [(one.level, one.found) for one in judge_account(of, rails, facts, kyc, NOW)]


def test_one_of_two_instruments_is_a_warning() -> None:
    facts = account(instruments={SPOT: cases.SPOT_PAIR, BTC: replace(SWAP, state="suspend")})
    assert judge(facts, demo=True) == [
        ("warn", f"{BTC}: not-trading: state suspend"),
        ("ok", "may trade: Futures mode, net positions, 1 of 2 instruments"),
    ]


@pytest.mark.parametrize(
    ("changes", "settings", "kyc", "expected"),
    [
        ({}, {"demo": False}, "2", ("fail", "the account is a live one, and only demo accounts may trade")),
        ({}, {"demo": False}, "1", ("warn", "identity verification is at level 1")),
        ({"mode": "7"}, {"demo": True}, "2", ("fail", 'account mode "7" is not known')),
        ({"pos_mode": ""}, {"demo": True}, "2", ("fail", 'position mode "" is not known')),
        (
            {},
            {"demo": True, "subscriptions": (subscription("orders"),)},
            "2",
            ("fail", "not mirrored: positions, account"),
        ),
    ],
)
def test_what_keeps_an_account_from_trading(
    changes: dict[str, Any], settings: dict[str, Any], kyc: str, expected: tuple[str, str]
) -> None:
    found = judge(account(**changes), kyc, **settings)
    assert expected in found
    assert ("ok" in {level for level, _ in found}) is (expected[0] == "warn" and settings["demo"])


def test_a_clock_that_is_not_known_well_enough() -> None:
    assert judge_clock(CLOCK_ERROR_MS).level == "ok"
    assert judge_clock(CLOCK_ERROR_MS + 1).level == "fail"
