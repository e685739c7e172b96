"""A running exchange with two accounts, and clients of it."""

import logging
import time
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from okxsync.sandbox.exchange.exchange import Exchange, Member
from okxsync.sandbox.server.server import Sandbox, serve_sandbox
from tests.support.sandbox_client import Caller, HeldClock


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@pytest.fixture
def exchange() -> Exchange:
    return Exchange(now_ms, seed=5)


@pytest.fixture
def alpha(exchange: Exchange) -> Member:
    return exchange.add_member("alpha")


@pytest.fixture
def beta(exchange: Exchange) -> Member:
    return exchange.add_member("beta")


@pytest.fixture
def no_errors(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """The server reports a failure of its own by the log only: the client sees a mere 500 or 1011."""
    yield
    assert [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING] == []


@pytest.fixture
async def sandbox(exchange: Exchange, alpha: Member, beta: Member, no_errors: None) -> AsyncIterator[Sandbox]:
    async with serve_sandbox(exchange, dials_per_second=0, tick_s=0.02) as running:
        yield running


@pytest.fixture
def limits_clock(sandbox: Sandbox) -> HeldClock:
    """Let no window of a rate limit end by itself, however slow the machine is."""
    sandbox.limits.clock = clock = HeldClock()
    return clock


@pytest.fixture
async def client(sandbox: Sandbox) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=sandbox.url_rest) as opened:
        yield opened


@pytest.fixture
def caller(client: httpx.AsyncClient, alpha: Member) -> Caller:
    return Caller(client, alpha)
