"""One task calls all members on every tick, on virtual time."""

from collections.abc import Callable

import trio
from trio.testing import MockClock

from okxsync.feed.beats import AT_ONCE, TICK_S, Beats


def every_tick(call: Callable[[], object]) -> Callable[[], float]:
    """Return a member that is due on every tick."""

    def on_tick() -> float:
        call()
        return 0.0

    return on_tick


async def test_all_members_are_called_on_the_same_ticks(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    beats, calls = Beats(), list[float]()
    nursery.start_soon(beats.run)
    await trio.sleep(0.1)
    with beats.calling(every_tick(lambda: calls.append(trio.current_time()))):
        await trio.sleep(0.1)
        with beats.calling(every_tick(lambda: calls.append(trio.current_time()))):
            await trio.sleep(2 * TICK_S)
    await trio.sleep(TICK_S)
    first, second = calls[0], calls[2]
    assert calls == [first, first, second, second]
    assert (first % TICK_S, second - first) == (0, TICK_S)


async def test_a_member_that_leaves_during_a_tick_is_not_called_in_it(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    beats, calls = Beats(), list[int]()
    nursery.start_soon(beats.run)
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as members:

            async def member(number: int) -> None:
                with beats.calling(every_tick(lambda: calls.append(number))):
                    await trio.sleep_forever()

            for number in range(2 * AT_ONCE):
                await trio.lowlevel.checkpoint()
                members.start_soon(member, number)
            with beats.calling(every_tick(members.cancel_scope.cancel)):
                await trio.sleep_forever()
        scope.cancel()
    await trio.sleep(2 * TICK_S)
    assert len(calls) <= 2 * AT_ONCE
    called = len(calls)
    await trio.sleep(2 * TICK_S)
    assert len(calls) == called


async def test_a_member_is_not_called_before_it_is_due(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    beats, calls = Beats(), list[float]()
    nursery.start_soon(beats.run)

    def on_tick() -> float:
        calls.append(trio.current_time())
        return calls[-1] + 3 * TICK_S

    with beats.calling(on_tick):
        await trio.sleep(7.5 * TICK_S)
    assert [at / TICK_S for at in calls] == [1, 4, 7]
