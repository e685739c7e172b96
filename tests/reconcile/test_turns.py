"""What REST is asked by itself is asked in turn, and a REST that does not answer piles up no tasks."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from okxsync.messages import Heartbeat, Verified
from okxsync.mirror.status import read_status
from okxsync.reconcile import probe, rest_only
from tests.support.asking import Asking, Exchange, nothing, silence, virtual_time
from tests.support.desk import MS, NOW, Desk

S = 1_000_000
ONE_QUESTION_S = 150.0
"""All attempts of a question that is not answered, and the pauses between them."""


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path / "okxsync.db")
    yield desk
    desk.database.close()


@pytest.fixture
def exchange() -> Exchange:
    return Exchange(nothing)


@pytest.fixture
async def asking(
    tmp_path: Path, desk: Desk, exchange: Exchange, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> Callable[..., Asking]:
    """Accounts whose exchange is asked in virtual time."""
    virtual_time(monkeypatch, autojump_clock)
    return lambda accounts, *channels: Asking(tmp_path, desk, exchange, accounts, *channels)


async def probed(asking: Asking, nursery: trio.Nursery) -> None:
    nursery.start_soon(asking.write)
    nursery.start_soon(probe.Probe(asking.desk.path, asking.clients.of, asking.send, asking.mark_stale).run)
    await trio.lowlevel.checkpoint()


async def test_probes_that_are_not_answered_for_hours_pile_up_no_tasks(
    asking: Callable[..., Asking], exchange: Exchange, autojump_clock: MockClock
) -> None:
    exchange.answer = silence
    accounts = asking(20, "orders", "orders-algo", "balance_and_position")
    async with trio.open_nursery() as nursery:
        await probed(accounts, nursery)
        await trio.sleep(900)
        tasks = trio.lowlevel.current_statistics().tasks_living
        await trio.sleep(900)
        assert trio.lowlevel.current_statistics().tasks_living <= tasks + 4
        assert exchange.waiting <= probe.AT_ONCE
        nursery.cancel_scope.cancel()


async def test_what_is_asked_after_a_long_silence_is_asked_up_to_now(
    asking: Callable[..., Asking], exchange: Exchange, autojump_clock: MockClock
) -> None:
    exchange.answer = silence
    accounts = asking(60, "orders")
    async with trio.open_nursery() as nursery:
        await probed(accounts, nursery)
        await trio.sleep(1800)
        accounts.heard()
        exchange.answer = nothing
        late_s = []
        for _ in range(40):
            await trio.sleep(probe.POLL_S)
            proved_at = [proof.at for proof in accounts.heard() if isinstance(proof, Verified)]
            late_s += [(NOW - at) / S + trio.current_time() for at in proved_at]
        nursery.cancel_scope.cancel()
    assert len(late_s) >= 60
    assert max(late_s) < ONE_QUESTION_S + 2 * probe.SETTLE_S + 2 * probe.POLL_S
    assert accounts.doubts == []


async def test_each_channel_is_asked_about_once_at_a_time_and_in_turn(
    asking: Callable[..., Asking], autojump_clock: MockClock
) -> None:
    accounts = asking(40, "balance_and_position")
    async with trio.open_nursery() as nursery:
        await probed(accounts, nursery)
        await trio.sleep(500)
        proofs = Counter(proof.listener for proof in accounts.heard() if isinstance(proof, Verified))
        nursery.cancel_scope.cancel()
    assert proofs.keys() == set(accounts.names)
    assert max(proofs.values()) - min(proofs.values()) <= 1


@pytest.mark.parametrize("channel", ["orders", "balance_and_position"])
async def test_many_accounts_that_are_due_at_once_are_asked_one_after_the_other(
    asking: Callable[..., Asking], exchange: Exchange, channel: str, autojump_clock: MockClock
) -> None:
    accounts = asking(200, channel)
    async with trio.open_nursery() as nursery:
        await probed(accounts, nursery)
        told: list[float] = []
        while len(told) < 200:
            await trio.sleep(probe.POLL_S)
            told += [trio.current_time() for proof in accounts.heard() if isinstance(proof, Verified)]
        nursery.cancel_scope.cancel()
    most = probe.PER_S.get(channel, probe.OTHERS_PER_S) * probe.POLL_S
    first = "trade/orders-pending" if channel == "orders" else "account/bills"
    asked = Counter(at // probe.POLL_S for at, request in exchange.asked if request.url.path.endswith(first))
    assert max(asked.values()) <= 2 * most


def change(accounts: Asking) -> None:
    """The cash of every account changes."""
    at = str(MS + int(trio.current_time() * 1000))
    for name in accounts.names:
        frame = accounts.desk.frame("account", {"uTime": at, "details": [{"ccy": "BTC", "cashBal": at, "uTime": at}]})
        frame.listener = name
        accounts.desk.apply(frame)


async def test_bills_that_are_not_told_for_hours_pile_up_no_tasks(
    asking: Callable[..., Asking], exchange: Exchange, autojump_clock: MockClock
) -> None:
    exchange.answer = silence
    accounts = asking(20, "account")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rest_only.RestOnlyPuller(accounts.desk.path, accounts.clients.of, accounts.send).run)
        for minute in range(60):
            await trio.sleep(60)
            change(accounts)
            if minute == 30:
                tasks = trio.lowlevel.current_statistics().tasks_living
        assert trio.lowlevel.current_statistics().tasks_living <= tasks + 4
        assert exchange.waiting <= rest_only.AT_ONCE
        nursery.cancel_scope.cancel()


async def test_what_happened_while_rest_did_not_answer_is_asked_for_afterwards_by_each(
    asking: Callable[..., Asking], exchange: Exchange, autojump_clock: MockClock
) -> None:
    accounts = asking(20, "account")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rest_only.RestOnlyPuller(accounts.desk.path, accounts.clients.of, accounts.send).run)
        await trio.sleep(10)
        exchange.answer = silence
        change(accounts)
        await trio.sleep(3600)
        exchange.answer = nothing
        exchange.asked.clear()
        await trio.sleep(120)
        began = [int(request.url.params["begin"]) for _, request in exchange.asked if "begin" in request.url.params]
        nursery.cancel_scope.cancel()
    assert len(exchange.asked) >= 20
    assert all(at <= MS + 10_000 - rest_only.OVERLAP_MS + rest_only.LAG_S * 1000 for at in began)


async def test_status_says_while_nothing_can_be_proved_and_no_longer(
    asking: Callable[..., Asking], exchange: Exchange, autojump_clock: MockClock
) -> None:
    accounts = asking(200, "orders")

    def now_us() -> int:
        accounts.heard()
        at = NOW + int(trio.current_time() * S)
        accounts.desk.apply(Heartbeat(os.getpid(), at, NOW, "0.1", 0))
        return at

    async with trio.open_nursery() as nursery:
        await probed(accounts, nursery)
        await trio.sleep(300)
        assert read_status(accounts.desk.path, now_us()).gaps.open == 0
        exchange.answer = silence
        await trio.sleep(1200)
        assert read_status(accounts.desk.path, now_us()).gaps.open > 50
        exchange.answer = nothing
        await trio.sleep(ONE_QUESTION_S + 200 / probe.PER_S["orders"] + probe.SETTLE_S + 3 * probe.POLL_S)
        assert read_status(accounts.desk.path, now_us()).gaps.open == 0
        nursery.cancel_scope.cancel()
