"""Common ticks, on virtual time."""

import pytest
import trio
from trio.testing import MockClock

from okxsync.runtime.ticks import next_tick, sleep_until_tick


@pytest.mark.parametrize(("now_s", "every_s", "tick_s"), [(0.0, 1.0, 1.0), (7.2, 0.5, 7.5), (7.5, 0.5, 8.0)])
def test_the_next_tick_is_the_next_multiple(now_s: float, every_s: float, tick_s: float) -> None:
    assert next_tick(now_s, every_s) == tick_s


async def test_what_has_the_same_period_wakes_up_at_the_same_time_whenever_it_began(autojump_clock: MockClock) -> None:
    woken = list[float]()

    async def recur(begins_s: float) -> None:
        await trio.sleep(begins_s)
        for _ in range(3):
            await sleep_until_tick(1.0)
            woken.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        for begins_s in (0.1, 0.2, 0.7):
            nursery.start_soon(recur, begins_s)
    assert woken == [1.0] * 3 + [2.0] * 3 + [3.0] * 3
