"""The checks before a send and the prices that they need, with few reads of the mirror and few requests."""

import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from trio.testing import MockClock

from okxsync.config.settings import Settings, load
from okxsync.plans.checker import READ_TOGETHER, Checker
from okxsync.plans.children import Child
from okxsync.plans.commands import ChildOrder, Shrunk, Withheld
from okxsync.plans.current_facts import CurrentFacts
from okxsync.plans.facts import AccountFacts
from okxsync.plans.gather import CONFIG_FRESH_S, FOLLOWED_S, Gatherer
from okxsync.plans.halt import HaltFile
from okxsync.plans.preview import Preview
from okxsync.plans.reasons import Reason
from okxsync.plans.running import Running
from okxsync.reconcile.held import Reads
from okxsync.rest.clients import Clients
from okxsync.runtime import clock
from okxsync.runtime.clock import steady_s
from okxsync.store.database import StoreError, Values
from okxsync.store.engines import Reader
from tests.plans.cases import BTC, NOW, PLAN_ID, account, plan, preview
from tests.support.desk import Desk
from tests.support.live_accounts import virtual_time
from tests.support.mock_http import MockHttp
from tests.support.replay import Replay, write_config
from tests.support.replies import reply


class CountingReader(Reader):
    """Counts its queries."""

    count = 0

    def query(self, sql: str, values: Values = ()) -> list[dict[str, Any]]:
        self.count += 1
        return super().query(sql, values)


class CountingReads(Reads):
    """Reads on the event loop, and with a reader that counts."""

    def __init__(self, reader: CountingReader) -> None:
        super().__init__(reader.location, threads=False)
        self._reader = reader


class Exchange(httpx.AsyncBaseTransport):
    """Answers with prices after a tenth of a second, and counts the requests by path."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked[request.url.path.removeprefix("/api/v5/")] += 1
        await trio.sleep(0.1)
        row = {"markPx": "100", "last": "100", "buyLmt": "110", "sellLmt": "90", "ts": str(time.time_ns() // 1_000_000)}
        return reply({"code": "0", "msg": "", "data": [row]})


@pytest.fixture
async def exchange(monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock) -> Exchange:
    virtual_time(monkeypatch, autojump_clock)
    return Exchange()


def settings_of(folder: Path, names: list[str]) -> Settings:
    text = Replay(1, {}).accounts_toml()
    head, _, one = text.partition("[[accounts]]")
    accounts = "".join("[[accounts]]" + one.replace("alpha", name) for name in names)
    return load(write_config(folder, head + accounts))


@asynccontextmanager
async def checking(
    folder: Path, exchange: Exchange, names: list[str]
) -> AsyncIterator[tuple[Checker, CurrentFacts, CountingReader, Preview]]:
    """A plan on accounts that okxsync may not connect."""
    settings = settings_of(folder, names)
    of = plan()
    found = preview(of, *(account(name) for name in names))
    running = {PLAN_ID: Running(of, list(found.children), NOW + 60_000, {}, resumed=False)}
    desk = Desk(folder / "okxsync.db")
    reader = CountingReader(desk.path)
    http = MockHttp(exchange)
    clients = Clients(http, settings.accounts)
    gatherer = Gatherer(http, clients)
    halt = HaltFile(desk.path)
    reads = CountingReads(reader)
    facts = CurrentFacts(settings, desk.path, clients, gatherer, reader, reads, halt, lambda name: "another's", running)
    yield Checker(facts, gatherer, running), facts, reader, found
    reader.close()
    desk.database.close()


def order_of(child: Child) -> ChildOrder:
    return ChildOrder(
        account=child.account,
        inst_id=child.inst_id,
        side=child.side,
        pos_side="",
        ord_type=child.ord_type,
        sz=str(child.sz),
        px=str(child.px),
        cl_ord_id=child.cl_ord_id,
        number=child.number,
        position=child.number,
        phase=1,
        body=child.body,
    )


async def queries(folder: Path, exchange: Exchange, names: list[str]) -> int:
    """Return how many queries the checks of an order of each account make."""
    found: dict[str, Withheld | Shrunk | None] = {}
    async with checking(folder, exchange, names) as (checker, _, reader, previewed):

        async def check(child: Child) -> None:
            found[child.account] = await checker.check(order_of(child))

        async with trio.open_nursery() as nursery:
            for child in previewed.children:
                nursery.start_soon(check, child)
    assert found.keys() == set(names)
    return reader.count


async def test_the_accounts_that_are_checked_at_the_time_are_read_together(
    tmp_path: Path, exchange: Exchange, autojump_clock: MockClock
) -> None:
    alone = await queries(tmp_path, exchange, ["a0"])
    assert alone
    assert await queries(tmp_path, exchange, [f"a{number}" for number in range(20)]) == alone


async def test_the_mirror_of_many_accounts_is_read_in_parts_so_that_the_first_orders_leave_early(
    tmp_path: Path, exchange: Exchange, autojump_clock: MockClock
) -> None:
    alone = await queries(tmp_path, exchange, ["a0"])
    assert await queries(tmp_path, exchange, [f"a{number:02}" for number in range(2 * READ_TOGETHER + 1)]) == 3 * alone


async def test_an_order_whose_mirror_cannot_be_read_is_withheld(
    tmp_path: Path, exchange: Exchange, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise StoreError("the disk is gone")

    monkeypatch.setattr("okxsync.plans.current_facts.read_facts", fail)
    async with checking(tmp_path, exchange, ["a0", "a1"]) as (checker, _, _, previewed):
        found: list[Withheld | Shrunk | None] = []

        async def check(child: Child) -> None:
            found.append(await checker.check(order_of(child)))

        async with trio.open_nursery() as nursery:
            for child in previewed.children:
                nursery.start_soon(check, child)
    assert found == [Withheld(Reason.STORE_BLOCKED, "the disk is gone")] * 2


async def test_the_prices_of_a_preview_are_kept_fresh_while_it_may_be_approved(
    tmp_path: Path, exchange: Exchange, autojump_clock: MockClock
) -> None:
    settings = settings_of(tmp_path, ["a0", "a1"])
    of = plan(more="")
    http = MockHttp(exchange)
    async with trio.open_nursery() as nursery:
        gatherer = Gatherer(http, Clients(http, settings.accounts))
        await gatherer.quotes(of, settings.accounts)
        nursery.start_soon(gatherer.follow_quotes, of, settings.accounts)
        for _ in range(10):
            await trio.sleep(min(of.valid_for, FOLLOWED_S) / 11)
            before = trio.current_time()
            ((_, _, instrument),) = await gatherer.quotes(of, settings.accounts)
            assert instrument == BTC
            assert trio.current_time() == before, "it has waited for the exchange"
    asked = exchange.asked["public/mark-price"]
    await trio.sleep(100)
    assert exchange.asked["public/mark-price"] == asked


async def test_the_first_accounts_of_a_preview_are_kept_fresh_while_it_may_be_approved(
    tmp_path: Path, exchange: Exchange, autojump_clock: MockClock
) -> None:
    settings = settings_of(tmp_path, ["a0", "a1", "a2"])
    of = plan(more="[failure]\ncanary = 2")
    async with trio.open_nursery() as nursery:
        gatherer = Gatherer(MockHttp(exchange), Clients(MockHttp(exchange), settings.accounts))
        nursery.start_soon(gatherer.follow_first, of, settings.accounts)
        await trio.sleep(0.8 * CONFIG_FRESH_S)  # they were asked after half of it
        for name, waits in (("a0", False), ("a1", False), ("a2", True)):
            before, asked = trio.current_time(), exchange.asked["account/config"]
            await gatherer.refresh(of, AccountFacts(name=name))
            assert (exchange.asked["account/config"] > asked) is waits
            assert trio.current_time() < before + CONFIG_FRESH_S / 10
    asked = exchange.asked["account/config"]
    assert asked >= 2 * (of.valid_for // CONFIG_FRESH_S)
    await trio.sleep(100)
    assert exchange.asked["account/config"] == asked


async def test_a_clock_that_was_measured_badly_is_measured_again(
    tmp_path: Path, exchange: Exchange, autojump_clock: MockClock
) -> None:
    async with checking(tmp_path, exchange, ["a0"]) as (_, facts, _, _):
        ahead_s = clock.now_us() / 1e6 - steady_s()
        clock.current.measured(ahead_s - 0.4, ahead_s + 0.4)
        system = await facts.of_system(plan(), [])
    assert system.clock_error_ms < 60, "half of the round trip"
    assert exchange.asked["public/time"] == 1
