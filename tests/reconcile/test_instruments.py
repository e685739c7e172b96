"""The list of instruments is loaded with the subscription, after each push, and daily."""

import re
import time
from collections import Counter
from pathlib import Path

import httpx
import msgspec
import pytest
import trio
from trio.testing import MockClock

from okxsync import daemon
from okxsync.config.settings import MarketSettings, load
from okxsync.messages import MARKET, Frames, Subscribed
from okxsync.reconcile.held import Reads
from okxsync.reconcile.instruments import CURRENT_US, DAY_US, PAUSE_US, InstrumentLoader, Listing
from okxsync.rest.client import MarketClient
from okxsync.rest.clock import SiteClock
from okxsync.runtime.clock import now_us
from okxsync.sandbox.exchange.exchange import Exchange as Sandbox
from okxsync.sandbox.server.server import serve_sandbox
from okxsync.store.database import StoreError
from tests.support.accounts import SITE, channels
from tests.support.desk import NOW, Desk, phase
from tests.support.live_accounts import virtual_time
from tests.support.mock_http import MockHttp
from tests.support.outbox import queue, queued
from tests.support.replay import until, write_config
from tests.support.replies import reply
from tests.support.truth import rows

Row = dict[str, str]


class Market:
    """An exchange whose instruments a test changes, and a loader of them."""

    def __init__(self, desk: Desk, *, demo: bool = False) -> None:
        self.desk = desk
        self.rows: list[Row] = []
        self.requests: list[httpx.Request] = []
        self.fails = False
        http = MockHttp(self._answer)
        settings = MarketSettings("peer", SITE, demo, channels("instruments"))
        self.client: MarketClient | None = MarketClient(http, settings, SiteClock(http, SITE.rest))
        self.send, self.receive = queue()
        self.loader = InstrumentLoader(Reads(desk.path, threads=False), lambda: self.client, self.send)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        params = request.url.params
        if self.fails or (params["instType"] == "OPTION" and "instFamily" not in params):
            return reply({"code": "51000" if self.fails else "50014", "msg": "", "data": []})
        found = [row for row in self.rows if all(row.get(name) == value for name, value in params.items())]
        return reply({"code": "0", "msg": "", "data": found})

    def subscribe(self, *keys: str) -> None:
        self.desk.apply(phase(now_us(), listener=MARKET), Subscribed(1, MARKET, list(keys), now_us()))

    def push(self, inst_type: str, *rows: Row) -> None:
        body = {"arg": {"channel": "instruments", "instType": inst_type}, "data": rows}
        self.desk.apply(Frames(1, MARKET, [(now_us(), msgspec.json.encode(body).decode())]))

    async def after(self, seconds: float) -> Counter[str]:
        """Return the types that were requested within some seconds, and write what was received."""
        self.requests.clear()
        await trio.sleep(seconds)
        self.desk.apply(*queued(self.receive))
        return Counter(request.url.params["instType"] for request in self.requests)

    def state(self) -> dict[str, str]:
        return dict(self.desk.rows("SELECT inst_type, state FROM instruments"))


@pytest.fixture
async def market(desk: Desk, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock) -> Market:
    virtual_time(monkeypatch, autojump_clock)
    desk.apply(desk.start(NOW))
    return Market(desk)


def row(inst_type: str, state: str = "live", inst_id: str = "BTC-USDT", **fields: str) -> Row:
    return {"instType": inst_type, "instId": inst_id, "state": state, "tickSz": "0.1"} | fields


async def test_each_subscribed_type_is_loaded_once_and_again_every_day(
    market: Market, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    market.rows = [row("SPOT"), row("MARGIN"), row("SWAP"), row("FUTURES")]
    market.subscribe("instruments", "instruments:instType=SPOT", "instruments:instType=MARGIN")
    nursery.start_soon(market.loader.run)
    assert await market.after(60) == {"SWAP": 1, "SPOT": 1, "MARGIN": 1}
    assert market.state() == {"SWAP": "live", "SPOT": "live", "MARGIN": "live"}
    assert await market.after(23 * 3600) == {}
    market.rows[0] = row("SPOT", "suspend")
    assert await market.after(2 * 3600) == {"SWAP": 1, "SPOT": 1, "MARGIN": 1}
    assert market.state() == {"SWAP": "live", "SPOT": "suspend", "MARGIN": "live"}
    nursery.cancel_scope.cancel()


async def test_a_push_is_applied_at_once_and_the_list_is_loaded_after_it(
    market: Market, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    market.rows = [row("SPOT")]
    market.subscribe("instruments:instType=SPOT")
    nursery.start_soon(market.loader.run)
    await market.after(3600)
    market.push("SPOT", {"instId": "BTC-USDT", "instType": "SPOT", "state": "suspend"})
    assert market.state() == {"SPOT": "suspend"}
    market.rows[0] = row("SPOT", "suspend", tickSz="0.2")
    assert await market.after(120) == {"SPOT": 1}
    assert market.desk.rows("SELECT state, tick_sz FROM instruments") == [("suspend", "0.2")]
    assert await market.after(3600) == {}
    nursery.cancel_scope.cancel()


async def test_the_list_is_loaded_with_each_subscription(
    market: Market, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    market.subscribe("instruments")
    nursery.start_soon(market.loader.run)
    assert await market.after(3600) == {"SWAP": 1}
    market.desk.apply(phase(now_us(), "backing_off", listener=MARKET))
    market.client = Market(market.desk).client
    assert await market.after(60) == {}, "the requests go to the other exchange"
    nursery.cancel_scope.cancel()


async def test_a_request_that_fails_is_repeated_and_a_list_without_market_is_not_loaded(
    market: Market, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    market.subscribe("instruments:instType=SPOT")
    market.fails, market.rows = True, [row("SPOT")]
    nursery.start_soon(market.loader.run)
    assert await market.after(170) == {"SPOT": 3}
    market.fails = False
    assert await market.after(120) == {"SPOT": 1}
    assert market.state() == {"SPOT": "live"}
    market.client = None
    assert await market.after(2 * 86_400) == {}
    nursery.cancel_scope.cancel()


async def test_options_are_loaded_by_family(market: Market, nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    market.rows = [
        row("SWAP", inst_id="BTC-USD-SWAP", instFamily="BTC-USD"),
        row("OPTION", inst_id="BTC-USD-C", instFamily="BTC-USD"),
    ]
    market.subscribe("instruments", "instruments:instType=OPTION")
    nursery.start_soon(market.loader.run)
    assert await market.after(60) == {"SWAP": 1}, "no family is known yet"
    assert await market.after(120) == {"OPTION": 1}
    assert market.state() == {"SWAP": "live", "OPTION": "live"}
    nursery.cancel_scope.cancel()


async def test_requests_have_no_key_and_demo_trading_has_instruments_of_its_own(desk: Desk) -> None:
    for demo in (False, True):
        market = Market(desk, demo=demo)
        assert market.client is not None
        await market.client.get("public/instruments", {"instType": "SPOT"})
        (request,) = market.requests
        assert not [name for name in request.headers if name.startswith("ok-access")]
        assert request.headers.get("x-simulated-trading") == ("1" if demo else None)


@pytest.mark.parametrize(
    ("key", "listing"),
    [
        ("instruments", Listing("SWAP")),
        ("instruments:instType=MARGIN", Listing("MARGIN")),
        ("instruments:instFamily=BTC-USD,instType=OPTION", Listing("OPTION", "BTC-USD")),
    ],
)
def test_a_channel_has_the_list_of_its_arguments(key: str, listing: Listing) -> None:
    assert Listing.of(key) == listing


def test_a_channel_that_pushes_all_the_time_is_loaded_once_a_minute(desk: Desk) -> None:
    loader = Market(desk).loader
    begun = 0
    for now in range(NOW, NOW + 10 * PAUSE_US, 1_000_000):
        if loader.due({"instruments": now - CURRENT_US}, now):
            begun += 1
            loader._requested_us["instruments"] = loader._loaded_us["instruments"] = last = now
    assert 9 <= begun <= 11
    assert loader.due({"instruments": NOW}, last + DAY_US - 1) == []
    assert loader.due({"instruments": NOW}, last + DAY_US) == ["instruments"]


TYPES = ("SPOT", "MARGIN", "SWAP", "FUTURES", "OPTION")


@pytest.mark.slow
async def test_a_daemon_loads_what_it_subscribes(tmp_path: Path) -> None:
    exchange = Sandbox(lambda: time.time_ns() // 1_000_000, seed=7, types=TYPES)
    channels = ", ".join(f'{{ channel = "instruments", instType = "{one}" }}' for one in TYPES)
    async with serve_sandbox(exchange, seed=7) as sandbox:
        text = re.sub(r"channels = \[.*?\]", f"channels = [{channels}]", sandbox.accounts_toml(), flags=re.DOTALL)
        settings = load(write_config(tmp_path, text))
        expected = {(row["instType"], row["instId"]) for one in TYPES for row in exchange.instrument_rows(one)}
        assert {inst_type for inst_type, inst_id in expected if inst_id == "BTC-USDT"} == {"SPOT", "MARGIN"}

        def stored() -> set[tuple[str, str]]:
            try:
                found = rows(settings.database, "SELECT inst_type, inst_id FROM instruments WHERE tick_sz IS NOT NULL")
            except StoreError:  # not made yet
                return set()
            return {(one["inst_type"], one["inst_id"]) for one in found}

        async with trio.open_nursery() as nursery:
            nursery.start_soon(daemon.run, settings, settings.database)
            await until(lambda: stored() == expected, within_s=60)
            nursery.cancel_scope.cancel()
