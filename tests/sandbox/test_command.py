"""The command ``okxsync sandbox``: what it serves, and the accounts.toml that it writes."""

import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from okxsync.sandbox import command
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
