"""What nobody expected of one account's work is a line of the journal and a pause; all else goes through."""

import logging
import re

import pytest
import trio
from trio.testing import MockClock

from okxsync.messages import Message, Note
from okxsync.runtime.logging import JsonLines
from okxsync.runtime.supervise import PAUSE_S, supervised


class Desk:
    """Where journal lines arrive, and work that goes wrong."""

    def __init__(self) -> None:
        self.send, self.receive = trio.open_memory_channel[Message](10)

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
    def told(self) -> list[Message]:
        told = []
        while self.receive.statistics().current_buffer_used:
            told.append(self.receive.receive_nowait())
        return told


async def test_what_ends_well_says_nothing(autojump_clock: MockClock) -> None:
    desk = Desk()
    assert await desk.do()
    assert desk.told == []


async def test_what_nobody_expected_is_told_by_type_and_place_and_a_minute_passes(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    desk = Desk()
    assert not await desk.do(ValueError("canary"), ValueError("canary"))
    assert trio.current_time() == PAUSE_S
    (note,) = desk.told
    assert isinstance(note, Note)
    assert (note.level, note.account, note.event) == ("error", "alpha", "internal-error")
    assert re.fullmatch(r"alpha/private: ValueError at /.*/tests/runtime/test_supervise\.py:\d+", note.detail)
    assert "canary" not in caplog.text


async def test_debug_shows_the_traceback(autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "okxsync.runtime.supervise")
    await Desk().do(ValueError("what it says"))
    assert "what it says" in "".join(map(JsonLines().format, caplog.records))


async def test_what_must_be_known_is_told_before_the_pause(autojump_clock: MockClock) -> None:
    fallen: list[tuple[float, str]] = []

    async def fall(why: str) -> None:
        fallen.append((trio.current_time(), why))

    async def work(text: str) -> None:
        int(text)

    await supervised(Desk().send, None, "numbers", work, "one", on_failure=fall)
    ((at, why),) = fallen
    assert at == 0
    assert why.startswith("internal error (ValueError at ")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit()])
async def test_what_is_to_end_us_ends_us(autojump_clock: MockClock, error: BaseException) -> None:
    async def work() -> None:
        await trio.lowlevel.checkpoint()
        raise BaseExceptionGroup("both at once", [error, ValueError()])

    with pytest.RaisesGroup(type(error)):
        await supervised(Desk().send, None, "work", work)


async def test_a_cancellation_goes_through_even_if_the_work_fails_at_its_end(autojump_clock: MockClock) -> None:
    desk = Desk()

    async def work() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            try:
                await trio.sleep_forever()
            finally:
                raise ValueError

    with trio.move_on_after(1) as scope:
        await supervised(desk.send, None, "work", work)
    assert scope.cancelled_caught
    assert trio.current_time() == 1


async def test_the_end_of_the_writer_is_everybody_s(autojump_clock: MockClock) -> None:
    desk = Desk()
    desk.receive.close()
    with pytest.RaisesGroup(trio.BrokenResourceError, flatten_subgroups=True):
        await desk.do(trio.BrokenResourceError())


async def test_a_broken_stream_of_one_account_is_not_the_writer_s(autojump_clock: MockClock) -> None:
    assert not await Desk().do(trio.BrokenResourceError())
