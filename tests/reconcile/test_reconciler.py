"""The pool: work is done in turn, and a REST that does not answer piles up no tasks."""

from collections import Counter
from collections.abc import Callable, Iterator, Set
from contextlib import closing
from pathlib import Path

import httpx
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from okxsync.messages import Lost, Message, Subscribed, Verified
from okxsync.reconcile.gaps import GapSource
from okxsync.reconcile.held import Reads
from okxsync.reconcile.reconciler import Reconciler
from okxsync.reconcile.rest_only import RestOnlySource
from okxsync.reconcile.stalled import StalledSource
from okxsync.reconcile.timings import TIMINGS
from okxsync.reconcile.work import Report, Work
from okxsync.runtime.outbox import open_outbox
from tests.support.desk import MS, NOW, Desk, order
from tests.support.live_accounts import Exchange, LiveAccounts, nothing, silence, virtual_time
from tests.support.outbox import queued
from tests.support.reading import read_status
from tests.support.replies import reply

S = 1_000_000
ONE_REQUEST_S = 150.0
"""All attempts of a request that is not answered, and the pauses between them."""


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path / "okxsync.db")
    yield desk
    desk.database.close()


@pytest.fixture
def exchange() -> Exchange:
    return Exchange(nothing)


@pytest.fixture
async def live_accounts(
    tmp_path: Path, desk: Desk, exchange: Exchange, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> Callable[..., LiveAccounts]:
    """Returns what makes accounts whose exchange is asked in virtual time."""
    virtual_time(monkeypatch, autojump_clock)
    return lambda accounts, *channels: LiveAccounts(tmp_path, desk, exchange, accounts, *channels)


async def verifying(accounts: LiveAccounts, nursery: trio.Nursery) -> None:
    nursery.start_soon(accounts.write)
    nursery.start_soon(accounts.reconciler(accounts.stalled_source()).run)
    await trio.lowlevel.checkpoint()


# Verification


async def test_verifications_that_are_not_answered_for_hours_pile_up_no_tasks(
    live_accounts: Callable[..., LiveAccounts], exchange: Exchange, autojump_clock: MockClock
) -> None:
    exchange.answer = silence
    accounts = live_accounts(20, "orders", "orders-algo", "balance_and_position")
    async with trio.open_nursery() as nursery:
        await verifying(accounts, nursery)
        await trio.sleep(900)
        tasks = trio.lowlevel.current_statistics().tasks_living
        await trio.sleep(900)
        assert trio.lowlevel.current_statistics().tasks_living <= tasks + 4
        assert exchange.waiting <= StalledSource.at_once
        nursery.cancel_scope.cancel()


async def test_what_is_verified_after_a_long_silence_is_verified_up_to_now(
    live_accounts: Callable[..., LiveAccounts], exchange: Exchange, autojump_clock: MockClock
) -> None:
    exchange.answer = silence
    accounts = live_accounts(60, "orders")
    async with trio.open_nursery() as nursery:
        await verifying(accounts, nursery)
        await trio.sleep(1800)
        accounts.received()
        exchange.answer = nothing
        late_s = []
        for _ in range(40):
            await trio.sleep(TIMINGS.poll_s)
            verified_at = [one.at for one in accounts.received() if isinstance(one, Verified)]
            late_s += [(NOW - at) / S + trio.current_time() for at in verified_at]
        nursery.cancel_scope.cancel()
    assert len(late_s) >= 60
    assert max(late_s) < ONE_REQUEST_S + 2 * TIMINGS.push_lag_s + 2 * TIMINGS.poll_s
    assert accounts.stale == []


async def test_each_channel_is_verified_once_at_a_time_and_in_turn(
    live_accounts: Callable[..., LiveAccounts], autojump_clock: MockClock
) -> None:
    accounts = live_accounts(40, "balance_and_position")
    async with trio.open_nursery() as nursery:
        await verifying(accounts, nursery)
        await trio.sleep(500)
        count = Counter(one.listener for one in accounts.received() if isinstance(one, Verified))
        nursery.cancel_scope.cancel()
    assert count.keys() == set(accounts.names)
    assert max(count.values()) - min(count.values()) <= 1


@pytest.mark.parametrize("channel", ["orders", "balance_and_position"])
async def test_many_accounts_that_are_due_at_once_are_verified_one_after_the_other(
    live_accounts: Callable[..., LiveAccounts], exchange: Exchange, channel: str, autojump_clock: MockClock
) -> None:
    accounts = live_accounts(200, channel)
    async with trio.open_nursery() as nursery:
        await verifying(accounts, nursery)
        verified_at: list[float] = []
        while len(verified_at) < 200:
            await trio.sleep(TIMINGS.poll_s)
            verified_at += [trio.current_time() for one in accounts.received() if isinstance(one, Verified)]
        nursery.cancel_scope.cancel()
    most = TIMINGS.verifications_per_s(channel) * TIMINGS.poll_s
    first = "trade/orders-pending" if channel == "orders" else "account/bills"
    asked = Counter(at // TIMINGS.poll_s for at, request in exchange.asked if request.url.path.endswith(first))
    assert max(asked.values()) <= 2 * most


@pytest.mark.slow
async def test_status_shows_while_nothing_can_be_verified_and_no_longer(
    live_accounts: Callable[..., LiveAccounts], exchange: Exchange, autojump_clock: MockClock
) -> None:
    accounts = live_accounts(70, "orders")

    def now_us() -> int:
        accounts.received()
        at = NOW + int(trio.current_time() * S)
        accounts.desk.apply(accounts.desk.heartbeat(at))
        return at

    async with trio.open_nursery() as nursery:
        await verifying(accounts, nursery)
        await trio.sleep(200)
        assert read_status(accounts.desk.path, now_us()).gaps.open == 0
        exchange.answer = silence
        await trio.sleep(1200)
        assert read_status(accounts.desk.path, now_us()).gaps.open > 50
        exchange.answer = nothing
        per_s = TIMINGS.verifications_per_s("orders")
        await trio.sleep(ONE_REQUEST_S + len(accounts.names) / per_s + TIMINGS.push_lag_s + 3 * TIMINGS.poll_s)
        assert read_status(accounts.desk.path, now_us()).gaps.open == 0
        nursery.cancel_scope.cancel()


# What is not pushed


def change_cash(accounts: LiveAccounts) -> None:
    """Change the cash of every account."""
    at = str(MS + int(trio.current_time() * 1000))
    for name in accounts.names:
        frame = accounts.desk.frame("account", {"uTime": at, "details": [{"ccy": "BTC", "cashBal": at, "uTime": at}]})
        frame.listener = name
        accounts.desk.apply(frame)


async def test_bills_that_are_not_reported_for_hours_pile_up_no_tasks(
    live_accounts: Callable[..., LiveAccounts], exchange: Exchange, autojump_clock: MockClock
) -> None:
    exchange.answer = silence
    accounts = live_accounts(20, "account")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(accounts.reconciler(accounts.rest_only_source()).run)
        await trio.sleep(10)
        tasks = trio.lowlevel.current_statistics().tasks_living  # none of them fetches yet
        for _ in range(60):
            change_cash(accounts)
            await trio.sleep(60)
            assert trio.lowlevel.current_statistics().tasks_living <= tasks + len(accounts.names)
        assert exchange.waiting <= RestOnlySource.at_once
        nursery.cancel_scope.cancel()


async def test_what_happened_while_rest_did_not_answer_is_fetched_afterwards_by_each(
    live_accounts: Callable[..., LiveAccounts], exchange: Exchange, autojump_clock: MockClock
) -> None:
    accounts = live_accounts(20, "account")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(accounts.reconciler(accounts.rest_only_source()).run)
        await trio.sleep(10)
        exchange.answer = silence
        change_cash(accounts)
        await trio.sleep(3600)
        exchange.answer = nothing
        exchange.asked.clear()
        await trio.sleep(120)
        began = [int(request.url.params["begin"]) for _, request in exchange.asked if "begin" in request.url.params]
        nursery.cancel_scope.cancel()
    assert len(exchange.asked) >= 20
    assert all(at <= MS + 10_000 for at in began)


# Gaps


def interrupt(accounts: LiveAccounts, at_s: float, channel: str = "orders") -> None:
    """A channel of every account is lost for a second, and live again at ``at_s``."""
    at = NOW + int(at_s * S)
    for number, name in enumerate(accounts.names, 1):
        accounts.desk.apply(Lost(number, name, [channel], at - S, "reset"), Subscribed(number, name, [channel], at))


def open_gap_count(accounts: LiveAccounts) -> int:
    accounts.received()
    ((count,),) = accounts.desk.rows("SELECT count(*) FROM gaps WHERE outcome IS NULL")
    return int(count)


async def test_gaps_that_cannot_be_backfilled_for_hours_pile_up_no_tasks_and_are_filled_at_last(
    live_accounts: Callable[..., LiveAccounts], exchange: Exchange, autojump_clock: MockClock
) -> None:
    exchange.answer = silence
    accounts = live_accounts(50, "orders")
    interrupt(accounts, 1.0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(accounts.write)
        await trio.testing.wait_all_tasks_blocked()
        tasks = trio.lowlevel.current_statistics().tasks_living
        nursery.start_soon(accounts.reconciler(accounts.gap_source()).run)
        await trio.sleep(1200)
        # The reconciler and its search; of each backfill one task, and one for each of its two parts.
        assert trio.lowlevel.current_statistics().tasks_living <= tasks + 2 + 3 * GapSource.at_once
        attempts = accounts.desk.rows("SELECT attempts FROM gaps")
        assert min(attempts) >= (1,), "each account has its turn"
        exchange.answer = nothing
        await trio.sleep(2 * ONE_REQUEST_S)
        assert open_gap_count(accounts) == 0
        nursery.cancel_scope.cancel()


async def test_no_gap_is_filled_without_a_row_that_rest_shows_late(
    live_accounts: Callable[..., LiveAccounts], exchange: Exchange, autojump_clock: MockClock
) -> None:
    lag_s, happened_s = TIMINGS.rest_lag_s - 0.1, 0.9
    at = str(MS + int(happened_s * 1000))

    async def lagging(request: httpx.Request) -> httpx.Response:
        await trio.lowlevel.checkpoint()
        is_shown = request.url.path.endswith("/orders-history") and trio.current_time() >= happened_s + lag_s
        rows = (
            [order(77, state="canceled", cTime=at, uTime=at)] if is_shown and "after" not in request.url.params else []
        )
        return reply({"code": "0", "msg": "", "data": rows})

    exchange.answer = lagging
    accounts = live_accounts(1, "orders")
    interrupt(accounts, 1.0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(accounts.write)
        nursery.start_soon(accounts.reconciler(accounts.gap_source()).run)
        await trio.sleep(2 * TIMINGS.rest_lag_s)
        nursery.cancel_scope.cancel()
    assert accounts.desk.rows("SELECT outcome FROM gaps") == [("filled",)]
    assert accounts.desk.rows("SELECT ord_id FROM orders") == [("77",)]


async def test_a_backfill_that_fails_is_repeated_less_and_less_often(
    live_accounts: Callable[..., LiveAccounts], exchange: Exchange, autojump_clock: MockClock
) -> None:
    accounts = live_accounts(1, "orders")
    interrupt(accounts, 1.0)
    accounts.clients.configure([])  # so it fails at once
    async with trio.open_nursery() as nursery:
        nursery.start_soon(accounts.write)
        nursery.start_soon(accounts.reconciler(accounts.gap_source()).run)
        await trio.sleep(600)
        ((attempts, note),) = accounts.desk.rows("SELECT attempts, note FROM gaps")
        nursery.cancel_scope.cancel()
    assert 5 <= attempts <= 60
    assert "not identified yet" in note


async def test_verifications_that_are_not_answered_hold_up_no_gap(
    live_accounts: Callable[..., LiveAccounts], exchange: Exchange, autojump_clock: MockClock
) -> None:
    async def trade_is_silent(request: httpx.Request) -> httpx.Response:
        return await (silence if "/trade/" in request.url.path else nothing)(request)

    accounts = live_accounts(40, "orders", "deposit-info")
    exchange.answer = trade_is_silent
    async with trio.open_nursery() as nursery:
        nursery.start_soon(accounts.write)
        nursery.start_soon(accounts.reconciler(accounts.gap_source(), accounts.stalled_source()).run)
        await trio.sleep(300)
        interrupt(accounts, trio.current_time(), "deposit-info")
        await trio.sleep(TIMINGS.rest_lag_s + 8)
        assert exchange.waiting > 0
        assert open_gap_count(accounts) == 0
        nursery.cancel_scope.cancel()


# Sources


async def test_a_gap_is_not_backfilled_again_while_its_result_is_not_stored(
    live_accounts: Callable[..., LiveAccounts], autojump_clock: MockClock
) -> None:
    accounts = live_accounts(1, "orders")
    interrupt(accounts, 1.0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(accounts.reconciler(accounts.gap_source()).run)  # and nothing writes
        await trio.sleep(60)
        nursery.cancel_scope.cancel()
    assert [type(one).__name__ for one in queued(accounts.receive)] == ["GapResult"]


async def test_an_internal_error_of_a_search_ends_no_other_source(
    live_accounts: Callable[..., LiveAccounts], autojump_clock: MockClock
) -> None:
    class Broken(GapSource):
        async def search(self, busy: object) -> list[object]:  # type: ignore[override]
            raise ZeroDivisionError

    accounts = live_accounts(2, "orders")
    broken = Broken(accounts.reads, TIMINGS)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(accounts.write)
        nursery.start_soon(accounts.reconciler(broken, accounts.stalled_source()).run)  # type: ignore[arg-type]
        await trio.sleep(200)
        nursery.cancel_scope.cancel()
    found = accounts.received()
    assert {one.listener for one in found if isinstance(one, Verified)} == set(accounts.names)
    notes = accounts.desk.rows("SELECT detail FROM journal WHERE event = 'internal-error'")
    assert len(notes) >= 2, "it is tried again"


class Ready:
    """A source with one work that is done at once, again and again."""

    at_once = 1
    poll_s = 1.0

    def __init__(self, name: str, *, spread: bool) -> None:
        self.name, self.spread = name, spread
        self.done = 0

    async def search(self, busy: Set[object]) -> list[Work]:
        return [Work("a", self.name, "", [], self._finish)]

    def _finish(self, report: Report) -> list[Message]:
        self.done += 1
        return []


async def test_what_is_spread_waits_for_what_is_more_urgent_and_gaps_do_not(
    desk: Desk, autojump_clock: MockClock
) -> None:
    gap, verification = Ready("gap", spread=False), Ready("verification", spread=True)
    send, _receive = open_outbox(1000, 10**6)
    is_urgent = True
    with closing(Reads(desk.path, threads=False)) as reads:
        reconciler = Reconciler([gap, verification], reads, lambda _: None, send, lambda: is_urgent)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reconciler.run)
            await trio.sleep(5)
            assert (gap.done, verification.done) == (5, 0)
            is_urgent = False
            await trio.sleep(5)
            assert (gap.done, verification.done) == (10, 5)
            nursery.cancel_scope.cancel(reason="the test is over")


class Many:
    """A source with much work that is done at once; records when each begins."""

    name, at_once, spread, poll_s = "many", 100, True, 5.0

    def __init__(self, count: int) -> None:
        self.count = count
        self.began = Counter[float]()

    async def search(self, busy: Set[object]) -> list[Work]:
        return [Work("a", number, "", [], self._finish) for number in range(self.count)]

    def _finish(self, report: Report) -> list[Message]:
        self.began[trio.current_time()] += 1
        return []


@pytest.mark.parametrize(("count", "each"), [(2, [1, 1]), (10, [1] * 10), (34, [3, 3, 4, 3, 4, 3, 3, 4, 3, 4])])
async def test_what_is_spread_begins_evenly_and_not_more_often_than_twice_a_second(
    desk: Desk, autojump_clock: MockClock, count: int, each: list[int]
) -> None:
    many = Many(count)
    send, _receive = open_outbox(1000, 10**6)
    with closing(Reads(desk.path, threads=False)) as reads:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Reconciler([many], reads, lambda _: None, send).run)
            await trio.sleep(many.poll_s - 0.01)
            nursery.cancel_scope.cancel(reason="the test is over")
    assert [*many.began.values()] == each
    step_s = many.poll_s / len(each)
    assert [*many.began] == pytest.approx([step_s * number for number in range(len(each))])
