"""Turns: what is ready at the same time goes on one after the other."""

import trio

from okxsync.runtime.turns import Turns


async def test_of_tasks_that_are_ready_together_one_goes_on_in_each_pass_of_the_event_loop() -> None:
    turns, ready, passes, seen = Turns(), trio.Event(), 0, list[int]()

    async def count_passes() -> None:
        nonlocal passes
        while True:
            passes += 1
            await trio.lowlevel.checkpoint()

    async def work() -> None:
        await ready.wait()
        await turns.take()
        seen.append(passes)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count_passes)
        for _ in range(20):
            nursery.start_soon(work)
        ready.set()
        with trio.fail_after(5):
            while len(seen) < 20:
                await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel(reason="the test is over")
    # The counter runs before or after a task of the same pass, so two of them may see one number.
    assert max(map(seen.count, seen)) <= 2


async def test_a_task_that_is_cancelled_while_it_waits_delays_no_other() -> None:
    turns = Turns()
    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            scope.cancel(reason="the test wants it")
            await turns.take()
        nursery.start_soon(turns.take)
        with trio.fail_after(5):
            await turns.take()
