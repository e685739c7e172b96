"""Data that is not pushed arrives in time: after the push that calls for it, or because it is fetched regularly."""

import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec
import pytest
import trio
from trio.testing import MockClock

from okxsync import daemon
from okxsync.config.location import Location
from okxsync.config.settings import load
from okxsync.messages import WantedChannels
from okxsync.reconcile.rest_only import RestOnlySource
from okxsync.reconcile.timings import TIMINGS, Timings
from okxsync.sandbox.exchange.exchange import Exchange
from okxsync.sandbox.exchange.trader import Trader
from okxsync.sandbox.server.server import serve_sandbox
from okxsync.store.database import StoreError
from tests.support import live_accounts
from tests.support.desk import MS, Desk
from tests.support.live_accounts import LiveAccounts, virtual_time
from tests.support.replay import until, write_config
from tests.support.replies import reply
from tests.support.truth import of_mirror, rows, status_of, truth_of

LATE_S: Final = TIMINGS.rest_lag_s - 1
"""How long after a change REST reports it."""
PROMISED_S: Final = 30.0
"""For bills and closed positions, after what calls for them (docs/limits.md)."""
FILLS_PROMISED_S: Final = 90.0
PING_EVERY: Final = 10
"""Writes of half a second: a connection is pinged every five seconds."""


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path / "okxsync.db")
    yield desk
    desk.database.close()


class Accounts:
    """Accounts that are live, and an exchange whose REST reports each row late."""

    def __init__(self, folder: Path, desk: Desk, accounts: int, *channels: str) -> None:
        self.desk = desk
        self._rows: dict[str, list[tuple[float, dict[str, Any]]]] = {}  # by path: when REST reports it, and the row
        self.exchange = live_accounts.Exchange(self._answer)
        self.accounts = LiveAccounts(folder, desk, self.exchange, accounts, *channels)

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        await trio.sleep(0.2)
        reported = self._rows.get(request.url.path.removeprefix("/api/v5/"), [])
        found = [row for at, row in reported if at <= trio.current_time()]
        return reply({"code": "0", "data": found if "after" not in request.url.params else []})

    def report(self, path: str, row: dict[str, Any]) -> None:
        self._rows.setdefault(path, []).insert(0, (trio.current_time() + LATE_S, row))

    def push(self, channel: str, *data: object, account: str = "a0", **envelope: Any) -> None:
        frame = self.desk.frame(channel, *data, **envelope)
        number = self.accounts.names.index(account) + 1
        ((_, text),) = frame.frames
        self.accounts.send.send_nowait(
            msgspec.structs.replace(frame, connection_id=number, listener=account, frames=[(now_ms() * 1000, text)])
        )

    def asked(self) -> Counter[str]:
        return Counter(request.url.path.removeprefix("/api/v5/") for _, request in self.exchange.asked)

    async def stored(self, sql: str, wanted: int = 1) -> float:
        """Wait until the query has so many rows; return for how long, in seconds."""
        began = trio.current_time()
        with trio.move_on_after(200):
            while len(self.desk.rows(sql)) < wanted:  # noqa: ASYNC110 - virtual time
                await trio.sleep(0.1)
        return trio.current_time() - began


Start = Callable[..., Any]


@pytest.fixture
async def start(tmp_path: Path, desk: Desk, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock) -> Start:
    """Returns what starts the search for data that is not pushed, in virtual time."""
    virtual_time(monkeypatch, autojump_clock)

    @asynccontextmanager
    async def started(*channels: str, accounts: int = 1) -> AsyncIterator[Accounts]:
        found = Accounts(tmp_path, desk, accounts, *channels)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(found.accounts.write, 0.5, PING_EVERY)
            nursery.start_soon(found.accounts.reconciler(found.accounts.rest_only_source()).run)
            await trio.sleep(20)
            yield found
            nursery.cancel_scope.cancel()

    return started


async def test_nothing_is_fetched_while_something_more_urgent_needs_the_machine(
    tmp_path: Path, desk: Desk, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    virtual_time(monkeypatch, autojump_clock)
    found = Accounts(tmp_path, desk, 1, "account")
    urgent = False
    source = RestOnlySource(found.accounts.reads, found.accounts.clients.of, TIMINGS, lambda: urgent)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(found.accounts.write, 0.5)
        nursery.start_soon(found.accounts.reconciler(source).run)
        await trio.sleep(20)
        urgent = True
        transfer(found)
        await trio.sleep(20)
        assert not found.asked()["account/bills"]
        urgent = False
        await trio.sleep(TIMINGS.poll_s + TIMINGS.rest_lag_s)
        assert found.asked()["account/bills"]
        nursery.cancel_scope.cancel()


def now_ms() -> int:
    return MS + int(trio.current_time() * 1000)


# Bills and closed positions


def position(amount: str, u_time: int, **more: str) -> dict[str, Any]:
    row = {"posId": "3", "instId": "X-SWAP", "instType": "SWAP", "mgnMode": "isolated", "pos": amount}
    return row | {"cTime": str(MS), "uTime": str(u_time)} | more


def snapshot(accounts: Accounts, channel: str, *data: object) -> None:
    accounts.push(channel, *data, eventType="snapshot", curPage=1, lastPage=True)


def cash(amount: str, at_ms: int) -> dict[str, Any]:
    return {"uTime": str(at_ms), "details": [{"ccy": "USDT", "cashBal": amount, "uTime": str(at_ms)}]}


def transfer(accounts: Accounts) -> None:
    accounts.push("account", cash("7", now_ms()), eventType="event_update")


def currency_disappears(accounts: Accounts) -> None:
    snapshot(accounts, "account", {"uTime": str(now_ms()), "details": []})


def funding_of_an_isolated_position(accounts: Accounts) -> None:
    accounts.push("positions", position("5", now_ms(), margin="2.7", fundingFee="-0.2"), eventType="event_update")


def event_that_changes_no_row(accounts: Accounts) -> None:
    event = {"pTime": str(now_ms()), "eventType": "interest_deduction", "balData": [], "posData": [], "trades": []}
    accounts.push("balance_and_position", event)


def settlement(accounts: Accounts) -> None:
    changed = {"posId": "3", "instId": "X-SWAP", "instType": "SWAP", "pos": "5", "uTime": str(now_ms())}
    event = {"pTime": str(now_ms()), "eventType": "settlement", "balData": [], "posData": [changed], "trades": []}
    accounts.push("balance_and_position", event)


def close(accounts: Accounts) -> None:
    accounts.push("positions", position("0", now_ms(), pTime=str(now_ms())), eventType="event_update")


def position_disappears(accounts: Accounts) -> None:
    """As an option does that expires: no push names it, and a snapshot without rows has no time."""
    snapshot(accounts, "positions")


OF_BILLS = [
    transfer,
    currency_disappears,
    funding_of_an_isolated_position,
    event_that_changes_no_row,
    settlement,
    close,
    position_disappears,
]
ALL = ("account", "positions", "balance_and_position")


@pytest.mark.parametrize("happens", OF_BILLS)
async def test_a_bill_is_stored_soon_after_what_calls_for_it(
    start: Start, autojump_clock: MockClock, happens: Callable[[Accounts], None]
) -> None:
    async with start(*ALL) as accounts:
        accounts.push("positions", position("5", MS))
        accounts.push("account", cash("5", MS))
        await trio.sleep(120)
        happens(accounts)
        accounts.report("account/bills", {"billId": "1", "ts": str(now_ms()), "ccy": "USDT", "type": "8"})
        assert await accounts.stored("SELECT * FROM bills") < PROMISED_S


@pytest.mark.parametrize("happens", [close, position_disappears])
async def test_a_closed_position_is_stored_soon_after_it_was_closed(
    start: Start, autojump_clock: MockClock, happens: Callable[[Accounts], None]
) -> None:
    async with start("positions") as accounts:
        accounts.push("positions", position("5", MS))
        await trio.sleep(120)
        happens(accounts)
        accounts.report("account/positions-history", position("0", now_ms()))
        assert await accounts.stored("SELECT * FROM positions_history") < PROMISED_S


async def test_nothing_calls_for_the_bills_of_an_account_that_does_not_change(
    start: Start, autojump_clock: MockClock
) -> None:
    async with start(*ALL) as accounts:
        accounts.push("account", cash("5", now_ms()))
        accounts.push("positions", position("5", now_ms()))
        await trio.sleep(60)
        accounts.exchange.asked.clear()
        for _ in range(100):
            snapshot(accounts, "account", cash("5", MS) | {"uTime": str(now_ms())})
            snapshot(accounts, "positions", position("5", MS, pTime=str(now_ms())))
            await trio.sleep(5)
        assert accounts.asked() == {}


MANY: Final = 300


async def test_hundreds_of_accounts_that_change_at_once_are_fetched_in_time(
    start: Start, autojump_clock: MockClock
) -> None:
    """As all do at the time of funding."""
    async with start("account", accounts=MANY) as accounts:
        at = now_ms()
        for name in accounts.accounts.names:
            accounts.push("account", cash("7", at), account=name)
        accounts.report("account/bills", {"billId": "1", "ts": str(at), "ccy": "USDT", "type": "8"})
        assert await accounts.stored("SELECT * FROM bills", MANY) < PROMISED_S + TIMINGS.poll_s


async def test_one_changed_account_among_many_does_not_wait_for_the_others(
    start: Start, autojump_clock: MockClock
) -> None:
    async with start("account", accounts=MANY) as accounts:
        for name in accounts.accounts.names:
            accounts.push("account", cash("5", now_ms()), account=name)
        await trio.sleep(120)
        accounts.push("account", cash("7", now_ms()))
        accounts.report("account/bills", {"billId": "1", "ts": str(now_ms()), "ccy": "USDT", "type": "8"})
        assert await accounts.stored("SELECT * FROM bills") < PROMISED_S


async def test_what_is_due_at_once_is_requested_evenly(start: Start, autojump_clock: MockClock) -> None:
    """A hundred requests at once would delay pushes by a second."""
    async with start("orders", accounts=100) as accounts:
        await trio.sleep(TIMINGS.fills_s + 2 * TIMINGS.poll_s)
        asked = Counter(int(at) for at, request in accounts.exchange.asked if request.url.path.endswith("trade/fills"))
    assert asked.total() >= 100
    assert max(asked.values()) < 1.5 * TIMINGS.refetch_per_s


# Fills


BLOCK_TRADE: Final = {"instId": "X-SWAP", "instType": "SWAP", "ordId": "", "subType": "204", "fillSz": "10"}


@pytest.mark.parametrize("channel", ["orders", "fills"])
@pytest.mark.parametrize("accounts", [1, 20, pytest.param(1000, marks=pytest.mark.slow)])
async def test_fills_that_no_push_reports_are_stored_in_time(
    start: Start, autojump_clock: MockClock, channel: str, accounts: int
) -> None:
    if accounts == 1000 and channel == "fills":
        pytest.skip("the same as with orders")
    async with start(channel, accounts=accounts) as found:
        for number in range(3):
            await trio.sleep(37)
            fill = {"tradeId": f"7{number}", "billId": f"1{number}", "ts": str(now_ms()), "fillTime": str(now_ms())}
            found.report("trade/fills", BLOCK_TRADE | fill)
            wanted = f"SELECT * FROM fills WHERE trade_id = '7{number}'"
            assert await found.stored(wanted, accounts) < FILLS_PROMISED_S


async def test_newest_fills_are_fetched_once_a_minute_and_only_with_a_channel_that_has_them(
    start: Start, autojump_clock: MockClock
) -> None:
    async with start("orders", "account") as accounts:
        accounts.exchange.asked.clear()
        await trio.sleep(600)
        assert 9 <= accounts.asked()["trade/fills"] <= 10
        assert accounts.asked().keys() == {"trade/fills"}


@pytest.mark.parametrize("channels", [["account", "positions"], ["account", "orders"]])
async def test_an_account_without_orders_and_fills_is_not_asked_for_fills(
    start: Start, autojump_clock: MockClock, channels: list[str]
) -> None:
    """Also if it had one of them, and the configuration does not name it any more."""
    async with start(*channels) as accounts:
        accounts.desk.apply(WantedChannels([("a0", "account")]))
        await trio.sleep(600)
        assert accounts.asked() == {}


async def test_a_push_of_the_channel_fills_fetches_them_soon_unless_orders_reports_them(
    start: Start, autojump_clock: MockClock
) -> None:
    async with start("fills") as accounts:
        await trio.sleep(TIMINGS.fills_s)
        accounts.push("fills", {"instId": "X-SWAP", "tradeId": "7", "fillSz": "10"})
        fill = {"tradeId": "7", "billId": "1", "ts": str(now_ms()), "fillTime": str(now_ms())}
        accounts.report("trade/fills", BLOCK_TRADE | {"ordId": "1"} | fill)
        assert await accounts.stored("SELECT * FROM fills") < PROMISED_S


async def test_pages_are_read_back_to_the_last_fetch_and_no_further(start: Start, autojump_clock: MockClock) -> None:
    """What REST did not report then must be found, and an account with many fills must not be read again and again."""
    async with start("orders") as accounts:
        pages: list[tuple[float, int]] = []  # when it was requested, and the time of its newest fill

        async def endless(request: httpx.Request) -> httpx.Response:
            """Five fills a second, for ever."""
            await trio.lowlevel.checkpoint()
            before = int(request.url.params.get("after", now_ms() // 200 * 200))
            times = range(before - 200, before - 200 * 101, -200)
            pages.append((trio.current_time(), times[0]))
            fills = [{"tradeId": str(at), "billId": str(at), "ts": str(at)} for at in times]
            return reply({"code": "0", "data": [BLOCK_TRADE | fill for fill in fills]})

        await trio.sleep(200)
        accounts.exchange.answer = endless
        await trio.sleep(150)
        newest: dict[float, list[int]] = {}
        for at_s, newest_ms in pages:
            newest.setdefault(at_s, []).append(newest_ms)
        first, second, *_ = sorted(newest)
        page_ms, last_ms = 100 * 200, MS + first * 1000
        assert min(newest[second]) - page_ms <= last_ms - TIMINGS.rest_lag_s * 1000
        assert min(newest[second]) >= last_ms - TIMINGS.overlap_ms - 200


async def test_an_account_with_the_channel_fills_alone_has_all_fills(tmp_path: Path) -> None:
    """The channel aggregates several executions, so its pushes only show that there is something to fetch."""
    exchange = Exchange(lambda: time.time_ns() // 1_000_000, seed=7)
    exchange.add_member("alpha", vip=5)
    async with serve_sandbox(exchange, seed=7) as sandbox:
        text = sandbox.accounts_toml().replace('name = "alpha"', 'name = "alpha"\nchannels = ["fills"]')
        settings = load(write_config(tmp_path, text))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(daemon.run, settings, settings.database, timings=Timings(poll_s=0.2)))
            await until(lambda: is_covered(settings.database))
            assert truth_of(exchange, "fills") == set()
            trader = Trader(exchange, 3)
            for _ in range(60):
                sandbox.operate(trader.step)
            assert len(truth_of(exchange, "fills")) > 10
            await until(lambda: of_mirror(settings.database, "fills") == truth_of(exchange, "fills"))
            nursery.cancel_scope.cancel(reason="the test is over")


def is_covered(database: Location) -> bool:
    try:
        live = rows(database, "SELECT * FROM coverage WHERE channel = 'fills' AND live = 1")
        return bool(live) and not status_of(database).gaps.open
    except StoreError:  # not made yet
        return False
