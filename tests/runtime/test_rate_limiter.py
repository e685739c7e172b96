"""The rate limiter on virtual time."""

from collections import Counter

import pytest
import trio
from trio.testing import MockClock

from okxsync.okx.rate_limits import DIALS_AT_ONCE, UNANSWERED_S, Budget, dial_slots
from okxsync.runtime.rate_limiter import RateLimiter, RateLimiters


async def dial(
    dialer: RateLimiter, priority: int, name: str, seen: list[tuple[float, str]], takes_s: float = 0.0
) -> None:
    async with dialer.acquire(priority) as permit:
        seen.append((trio.current_time(), name))
        await trio.sleep(takes_s)
        permit.release()
        permit.release()  # again, to no effect
        await trio.sleep(100)  # the connection stays open; the permit is released


async def test_three_per_second_in_order_of_arrival(autojump_clock: MockClock) -> None:
    dialer, seen = RateLimiter(dial_slots(3)), list[tuple[float, str]]()
    async with trio.open_nursery() as nursery:
        for number in range(30):
            nursery.start_soon(dial, dialer, 1, f"{number:02}", seen)
            await trio.testing.wait_all_tasks_blocked()
        await trio.sleep(20)
        nursery.cancel_scope.cancel()
    assert [name for _, name in seen] == [f"{number:02}" for number in range(30)]
    times = [at for at, _ in seen]
    assert times[-1] - times[0] == pytest.approx(9.0, rel=0.02)  # what the limit requires for 30, and not much more
    assert all(beyond - first > 1.0 for first, beyond in zip(times, times[3:], strict=False))


async def test_a_lower_priority_number_overtakes_the_first_in_the_queue(autojump_clock: MockClock) -> None:
    dialer, seen = RateLimiter(dial_slots(1)), list[tuple[float, str]]()
    async with trio.open_nursery() as nursery:
        for priority, name in ((1, "first"), (1, "patient"), (1, "last"), (0, "urgent"), (0, "urgent too")):
            nursery.start_soon(dial, dialer, priority, name, seen)
            await trio.testing.wait_all_tasks_blocked()
        await trio.sleep(20)
        nursery.cancel_scope.cancel()
    assert [name for _, name in seen] == ["first", "urgent", "urgent too", "patient", "last"]


async def test_a_cancelled_waiter_does_not_delay_the_others(autojump_clock: MockClock) -> None:
    dialer, seen = RateLimiter(dial_slots(1)), list[tuple[float, str]]()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(dial, dialer, 1, "first", seen)
        await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(0.5):
            await dial(dialer, 0, "cancelled", seen)
        await dial(dialer, 1, "second", seen)
        nursery.cancel_scope.cancel()
    assert [name for _, name in seen] == ["first", "second"]
    assert seen[1][0] == pytest.approx(1.005)


async def test_a_handshake_counts_until_its_answer(autojump_clock: MockClock) -> None:
    """A busy exchange counts it at any time before."""
    dialer, seen = RateLimiter(dial_slots(1)), list[tuple[float, str]]()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(dial, dialer, 1, "slow", seen, 9.0)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(dial, dialer, 1, "next", seen)
        await trio.sleep(20)
        nursery.cancel_scope.cancel()
    assert seen == [(0.0, "slow"), (pytest.approx(9.0 + 1.005), "next")]


async def test_only_so_many_handshakes_are_under_way_whatever_the_limit(autojump_clock: MockClock) -> None:
    """The memory of hundreds at once would stay with the process."""
    dialer, seen = RateLimiter(dial_slots(1000)), list[tuple[float, str]]()
    async with trio.open_nursery() as nursery:
        for number in range(3 * DIALS_AT_ONCE):
            nursery.start_soon(dial, dialer, 1, str(number), seen, 2.0)
        await trio.sleep(20)
        nursery.cancel_scope.cancel()
    assert Counter(at for at, _ in seen) == {0.0: DIALS_AT_ONCE, 2.0: DIALS_AT_ONCE, 4.0: DIALS_AT_ONCE}


async def test_a_dial_that_is_cancelled_before_its_answer_counts_for_longer(autojump_clock: MockClock) -> None:
    """The exchange may have it in its queue."""
    dialer, seen = RateLimiter(dial_slots(1)), list[tuple[float, str]]()
    with trio.move_on_after(0.5):
        await dial(dialer, 1, "cancelled", seen, 9.0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(dial, dialer, 1, "next", seen)
        await trio.sleep(20)
        nursery.cancel_scope.cancel()
    assert seen == [(0.0, "cancelled"), (pytest.approx(0.5 + UNANSWERED_S + 1.005), "next")]


async def test_a_higher_limit_admits_who_waits(autojump_clock: MockClock) -> None:
    dialer, seen = RateLimiter(dial_slots(1)), list[tuple[float, str]]()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(dial, dialer, 1, "hangs", seen, 60.0)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(dial, dialer, 1, "next", seen)
        await trio.sleep(5)
        dialer.limit(2)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert seen == [(0.0, "hangs"), (5.0, "next")]


async def test_it_says_until_when_its_requests_count_before_and_after_each(autojump_clock: MockClock) -> None:
    reports: list[tuple[float, float]] = []
    limiter = RateLimiter(dial_slots(3), lambda: reports.append((trio.current_time(), limiter.counted_until())))
    async with limiter.acquire(1) as permit:
        await trio.sleep(2)
        permit.release()
    with trio.move_on_after(1):
        async with limiter.acquire(1):
            await trio.sleep_forever()
    unanswered = UNANSWERED_S + 1.005
    expected = [(0.0, unanswered), (2.0, 3.005), (2.0, 2 + unanswered), (3.0, 3 + unanswered)]
    assert reports == [pytest.approx(one) for one in expected]


async def test_limiters_are_kept_while_a_request_waits_or_counts_and_dropped_then(autojump_clock: MockClock) -> None:
    limiters, budget, sent = RateLimiters(), Budget(1, 2.0), list[tuple[float, str]]()

    async def request(account: str) -> None:
        async with limiters.of((account, "path"), budget).acquire(1) as permit:
            sent.append((trio.current_time(), account))
            permit.release()

    async with trio.open_nursery() as nursery:
        for account in ("a", "b", "a"):  # the last waits for the first
            nursery.start_soon(request, account)
            await trio.testing.wait_all_tasks_blocked()
        assert len(limiters) == 2
        await trio.sleep(1.9)
        await request("c")
        assert len(limiters) == 3  # the limits of two still count
    assert [account for _, account in sent] == ["a", "b", "c", "a"]
    assert sent[3][0] - sent[0][0] == pytest.approx(2.0, abs=0.01)
    await trio.sleep(2.1)
    await request("d")
    assert len(limiters) == 1
