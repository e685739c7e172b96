"""The command ``okxsync sandbox``: what it serves, and the accounts.toml that it writes."""

import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from typer.testing import CliRunner

from okxsync.cli import app
from okxsync.sandbox import accounts, command
from okxsync.sandbox.exchange.exchange import Exchange
from okxsync.sandbox.server.server import NO_LIMIT
from tests.support.replay import until
from tests.support.sandbox_client import upgrade_status


@asynccontextmanager
async def served(folder: Path, dials_per_second: int) -> AsyncIterator[dict[str, object]]:
    """Serve one account; yield the site of the accounts.toml that was written."""
    config = folder / "accounts.toml"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(command.serve, 0, 1, 0.0, 1, [], dials_per_second, config)
        await until(lambda: config.exists() and config.stat().st_size > 0)
        yield tomllib.loads(config.read_text())["sites"]["sandbox"]
        nursery.cancel_scope.cancel(reason="the test is over")


async def test_more_dials_than_the_limit_are_rejected(tmp_path: Path) -> None:
    async with served(tmp_path, 2) as site:
        assert site["dials_per_second"] == 2
        statuses: list[int] = []
        while 429 not in statuses:  # on a slow machine two of them may be more than a second apart
            statuses.append(await upgrade_status(str(site["rest"]), "public"))
        assert statuses[:2] == [101, 101]


async def test_without_a_limit_no_dial_is_rejected(tmp_path: Path) -> None:
    async with served(tmp_path, 0) as site:
        assert site["dials_per_second"] == NO_LIMIT
        statuses = [await upgrade_status(str(site["rest"]), "public") for _ in range(20)]
        assert statuses == [101] * 20


def test_accounts_get_the_modes_in_turn_and_money_for_the_instruments() -> None:
    exchange = Exchange(lambda: 1_700_000_000_000, types=accounts.types_of("option,futures"))
    accounts.open_accounts(exchange, ("a", "b", "c"), accounts.modes_of("2-long-short,4"))
    members = list(exchange.members.values())
    assert [(each.acct_lv, each.pos_mode) for each in members] == [
        ("2", "long_short_mode"),
        ("4", "net_mode"),
        ("2", "long_short_mode"),
    ]
    assert {each.inst_type for each in exchange.listed} == {"SPOT", "FUTURES", "OPTION"}
    assert {row["ccy"] for row in exchange.account_row(members[0].uid)["details"]} == {"BTC", "ETH", "USDT"}


def test_by_default_there_are_futures_mode_accounts_with_spot_and_swaps() -> None:
    exchange = Exchange(lambda: 1_700_000_000_000, types=accounts.types_of(""))
    accounts.open_accounts(exchange, ("a",), accounts.modes_of(""))
    [member] = exchange.members.values()
    assert (member.acct_lv, member.pos_mode) == ("2", "net_mode")
    assert {each.inst_type for each in exchange.listed} == {"SPOT", "SWAP"}


def test_all_means_every_type_and_every_mode() -> None:
    assert len(accounts.types_of("all")) == 5
    assert [acct_lv for acct_lv, _ in accounts.modes_of("all")] == ["1", "2", "2", "3", "3", "4"]


@pytest.mark.parametrize(("read", "text"), [(accounts.types_of, "spot,odd"), (accounts.modes_of, "1,odd")])
def test_an_unknown_type_or_mode_is_rejected_with_the_known_ones(read: object, text: str) -> None:
    with pytest.raises(ValueError, match=r"(?i)odd is not a .*: use .*, or all"):
        read(text)  # type: ignore[operator]


@pytest.mark.parametrize("option", ["--instruments", "--modes"])
def test_a_wrong_option_is_one_line_and_exit_code_2(option: str) -> None:
    result = CliRunner().invoke(app, ["sandbox", option, "odd"])
    assert result.exit_code == 2
    assert f"{option}: " in result.stderr
    assert len(result.stderr.splitlines()) == 1
