"""Collections stay short, and no garbage is kept for ever."""

import gc
import weakref

import trio
from trio.testing import MockClock

from okxsync.runtime.garbage import COLLECT_ALL_S, FREEZE_S, keep_collections_short


class Cycle:
    """Garbage that only a collection finds, once nothing else refers to it."""

    def __init__(self) -> None:
        self.itself = self


async def test_what_has_survived_is_left_out_for_some_hours(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    nursery.start_soon(keep_collections_short)
    cycle = Cycle()
    seen = weakref.ref(cycle)
    await trio.sleep(FREEZE_S + 1)
    assert gc.get_freeze_count()
    del cycle
    gc.collect()
    assert seen()
    await trio.sleep(3 * COLLECT_ALL_S)
    assert seen() is None


async def test_garbage_of_the_last_seconds_is_collected(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    nursery.start_soon(keep_collections_short)
    await trio.sleep(1)
    seen = weakref.ref(Cycle())
    await trio.sleep(FREEZE_S)
    assert seen() is None


async def test_afterwards_everything_is_collected_again(autojump_clock: MockClock) -> None:
    with trio.move_on_after(1):
        await keep_collections_short()
    assert not gc.get_freeze_count()
