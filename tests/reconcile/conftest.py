import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from okxsync.config.settings import Settings, load
from okxsync.sandbox.exchange.exchange import Exchange
from okxsync.sandbox.exchange.trader import Trader
from okxsync.sandbox.server.server import Sandbox, serve_sandbox
from tests.support.desk import make_database
from tests.support.replay import write_config


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """Three accounts that have traded for a quarter of a minute; prices stand still."""
    past_ms = [time.time_ns() // 1_000_000 - 20_000]
    exchange = Exchange(lambda: past_ms[0] if past_ms else time.time_ns() // 1_000_000, seed=11)
    for number in range(3):
        exchange.add_member(f"a{number}")
    trader = Trader(exchange, 5)
    for step in range(300):
        trader.step()
        past_ms[0] += 50
        if step % 10 == 0:
            exchange.tick()
    past_ms.clear()
    for _ in range(5):
        exchange.tick()
    async with serve_sandbox(exchange, tick_s=3600) as sandbox:
        yield sandbox


@pytest.fixture
def settings(sandbox: Sandbox, tmp_path: Path) -> Settings:
    """The settings for it, with a new database."""
    settings = load(write_config(tmp_path, sandbox.accounts_toml()))
    make_database(settings.database)
    return settings
