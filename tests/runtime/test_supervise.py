"""An unexpected error in one account's task is journalled, followed by a pause; anything else passes through."""

import logging
import re

import pytest
import trio
from trio.testing import MockClock

from okxsync.messages import Message, Note
from okxsync.runtime.logging import JsonLines
from okxsync.runtime.supervise import PAUSE_S, isolated, keep_running, supervised
from tests.support.outbox import queue, queued


class Failing:
    """Receives journal entries, and runs work that fails."""

    def __init__(self) -> None:
        self.send, self.receive = queue()

    async def do(self, *errors: BaseException) -> bool:
        async def fail(error: BaseException) -> None:
            await trio.lowlevel.checkpoint()
            raise error

        async def work() -> None:
            async with trio.open_nursery() as nursery:
                for error in errors:
                    nursery.start_soon(fail, error)

        return await supervised(self.send, "alpha", "alpha/private", work)

    @property
    def reported(self) -> list[Message]:
        return queued(self.receive)


async def test_work_that_succeeds_reports_nothing(autojump_clock: MockClock) -> None:
    failing = Failing()
    assert await failing.do()
    assert failing.reported == []


async def test_an_unexpected_error_is_reported_by_type_and_place_and_a_minute_passes(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    failing = Failing()
    assert not await failing.do(ValueError("canary"), ValueError("canary"))
    assert trio.current_time() == PAUSE_S
    (note,) = failing.reported
    assert isinstance(note, Note)
    assert (note.level, note.account, note.event) == ("error", "alpha", "internal-error")
    assert re.fullmatch(r"alpha/private: ValueError at /.*/tests/runtime/test_supervise\.py:\d+", note.detail)
    assert "canary" not in caplog.text


async def test_isolated_work_that_fails_is_reported_without_a_pause(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    failing = Failing()

    async def work(text: str) -> None:
        int(text)

    what = await isolated(failing.send, "alpha", "numbers", work, "canary", then="the others go on")
    assert what.startswith("ValueError at ")
    assert trio.current_time() == 0
    assert await isolated(failing.send, "alpha", "numbers", work, "1", then="") == ""
    (note,) = failing.reported
    assert isinstance(note, Note)
    assert note.detail == f"numbers: {what}"
    assert "the others go on" in caplog.text
    assert "canary" not in caplog.text


async def test_work_is_repeated_a_minute_after_each_error(autojump_clock: MockClock) -> None:
    texts = iter(["one", "two", "3"])
    began: list[float] = []

    async def work() -> None:
        began.append(trio.current_time())
        int(next(texts))

    await keep_running(Failing().send, None, "numbers", work)
    assert began == [0, PAUSE_S, 2 * PAUSE_S]


async def test_debug_shows_the_traceback(autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "okxsync.runtime.supervise")
    await Failing().do(ValueError("its text"))
    assert "its text" in "".join(map(JsonLines().format, caplog.records))


async def test_a_failure_is_reported_before_the_pause(autojump_clock: MockClock) -> None:
    failures: list[tuple[float, str]] = []

    async def report(why: str) -> None:
        failures.append((trio.current_time(), why))

    async def work(text: str) -> None:
        int(text)

    await supervised(Failing().send, None, "numbers", work, "one", on_failure=report)
    ((at, why),) = failures
    assert at == 0
    assert why.startswith("internal error (ValueError at ")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit()])
async def test_keyboard_interrupt_and_system_exit_pass_through(autojump_clock: MockClock, error: BaseException) -> None:
    async def work() -> None:
        await trio.lowlevel.checkpoint()
        raise BaseExceptionGroup("both at once", [error, ValueError()])

    with pytest.RaisesGroup(type(error)):
        await supervised(Failing().send, None, "work", work)


async def test_a_cancellation_passes_through_even_if_the_work_fails_during_it(autojump_clock: MockClock) -> None:
    failing = Failing()

    async def work() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            try:
                await trio.sleep_forever()
            finally:
                raise ValueError

    with trio.move_on_after(1) as scope:
        await supervised(failing.send, None, "work", work)
    assert scope.cancelled_caught
    assert trio.current_time() == 1


async def test_the_end_of_the_writer_passes_through(autojump_clock: MockClock) -> None:
    failing = Failing()
    failing.receive.close()
    with pytest.RaisesGroup(trio.BrokenResourceError, flatten_subgroups=True):
        await failing.do(trio.BrokenResourceError())


async def test_a_broken_stream_of_one_account_is_not_the_end_of_the_writer(autojump_clock: MockClock) -> None:
    assert not await Failing().do(trio.BrokenResourceError())
