"""The queue to the writer: its order, its two bounds, cancellation and closing."""

from collections.abc import Callable

import pytest
import trio
from hypothesis import example, given
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from okxsync.messages import ConfiguredAccount, Frames, Message, Note, Pong, Rows
from okxsync.runtime.outbox import Inbox, Outbox, open_outbox, size_of
from tests.support.outbox import queued

MAX_MESSAGES, MAX_BYTES = 5, 100


def frame(number: int, size: int = 0) -> Frames:
    return Frames(number, "alpha", [(0, "x" * size)])


def numbers(messages: list[Message]) -> list[int]:
    return [message.connection_id for message in messages if isinstance(message, Frames)]


@pytest.mark.parametrize(
    ("message", "size"),
    [
        (frame(1, 1000), 1000),
        (Frames(1, "alpha", [(0, "abc"), (0, "de")]), 5),
        (Frames(1, "alpha", []), 0),
        (Rows("alpha", "orders", "[{}]", 0), 4),
        (ConfiguredAccount("alpha", "global", False, 0, "{}"), 2),
        (ConfiguredAccount("alpha", "global", False, 0, None), 0),
        (Pong(1, "alpha", 0, 0), 0),
        (Note(0, "info", None, "event", "detail"), 0),
    ],
)
def test_the_size_of_a_message_is_that_of_what_the_exchange_sent(message: Message, size: int) -> None:
    assert size_of(message) == size


# Property: any order of sends, cancellations and batches

Sends = st.tuples(st.just("send"), st.integers(0, 2 * MAX_BYTES))
Tries = st.tuples(st.just("try"), st.integers(0, 2 * MAX_BYTES))
Cancels = st.tuples(st.just("cancel"), st.integers(0, 9))
Batches = st.tuples(st.just("batch"), st.tuples(st.integers(1, 8), st.integers(1, 2 * MAX_BYTES)))
Steps = st.lists(st.one_of(Sends, Tries, Cancels, Batches), max_size=40)


class Model:
    """Applies steps to a queue, and checks after each what must always hold."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.outbox, self.inbox = open_outbox(MAX_MESSAGES, MAX_BYTES)
        self.sizes: dict[int, int] = {}  # of the messages that are not received and not cancelled, in order
        self.scopes: dict[int, trio.CancelScope] = {}  # of the senders that wait
        self._nursery = nursery
        self._next = 0

    async def send(self, size: int) -> None:
        number = self._number(size)
        scope = self.scopes[number] = trio.CancelScope()

        async def send() -> None:
            with scope:
                await self.outbox.send(frame(number, size))
            del self.scopes[number]

        self._nursery.start_soon(send)
        await wait_all_tasks_blocked()

    async def try_to_send(self, size: int) -> None:
        number = self._number(size)
        before = self.outbox.statistics()
        fits = before.bytes + size <= MAX_BYTES or not before.bytes
        try:
            self.outbox.send_nowait(frame(number, size))
        except trio.WouldBlock:
            del self.sizes[number]
            assert before.blocked or before.messages == MAX_MESSAGES or not fits
        else:
            assert not before.blocked
            assert before.messages < MAX_MESSAGES
            assert fits

    async def cancel(self, index: int) -> None:
        """Cancel one of the senders that wait, if there is one."""
        if number := dict(enumerate(self.scopes)).get(index):
            self.scopes[number].cancel()
            await wait_all_tasks_blocked()
            del self.sizes[number]

    async def batch(self, bounds: tuple[int, int]) -> None:
        max_messages, max_bytes = bounds
        before = self.outbox.statistics().messages
        try:
            messages = self.inbox.receive_batch_nowait(max_messages, max_bytes)
        except trio.WouldBlock:
            assert before == 0
            return
        size = sum(map(size_of, messages))
        assert 1 <= len(messages) <= max_messages
        assert size <= max_bytes or len(messages) == 1
        following = list(self.sizes)[len(messages) : before]
        complete = len(messages) == max_messages or not following or size + self.sizes[following[0]] > max_bytes
        assert complete, "a batch takes all that fits"
        for number in numbers(messages):
            self._receive(number)
        await wait_all_tasks_blocked()

    def check(self) -> None:
        """Check the bounds, and that nobody waits for room that is there."""
        now = self.outbox.statistics()
        queued, waiting = list(self.sizes)[: now.messages], list(self.sizes)[now.messages :]
        assert waiting == list(self.scopes)
        assert now.blocked == len(waiting)
        assert now.bytes == sum(self.sizes[number] for number in queued)
        assert now.messages <= MAX_MESSAGES
        assert now.bytes <= max([MAX_BYTES, *(self.sizes[number] for number in queued)])
        assert now.bytes <= MAX_BYTES or sum(self.sizes[number] > 0 for number in queued) == 1
        if waiting:
            fits = now.bytes + self.sizes[waiting[0]] <= MAX_BYTES or not now.bytes
            assert now.messages == MAX_MESSAGES or not fits

    def _number(self, size: int) -> int:
        self._next += 1
        self.sizes[self._next] = size
        return self._next

    def _receive(self, number: int) -> None:
        assert number == next(iter(self.sizes)), "messages leave in the order in which they were sent"
        del self.sizes[number]


@given(Steps)
@example([("send", 60), ("send", 60), ("send", 40), ("cancel", 0)])  # what follows the large one fits
def test_nothing_is_lost_reordered_or_beyond_the_bounds(steps: list[tuple[str, object]]) -> None:
    async def run() -> None:
        async with trio.open_nursery() as nursery:
            model = Model(nursery)
            do: dict[str, Callable[..., object]] = {
                "send": model.send,
                "try": model.try_to_send,
                "cancel": model.cancel,
                "batch": model.batch,
            }
            for name, argument in steps:
                await do[name](argument)  # type: ignore[misc]
                model.check()
            while model.sizes:
                await model.batch((8, 2 * MAX_BYTES))
                model.check()

    trio.run(run)


# Waiting


async def test_a_batch_is_received_as_soon_as_something_is_sent() -> None:
    outbox, inbox = open_outbox(MAX_MESSAGES, MAX_BYTES)
    received: list[int] = []

    async def receive() -> None:
        await inbox.wait()
        received.extend(numbers(inbox.receive_batch_nowait(10, 1000)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        for number in (1, 2, 3):
            outbox.send_nowait(frame(number))
    assert received == [1, 2, 3]


async def test_a_receiver_that_is_cancelled_takes_nothing() -> None:
    outbox, inbox = open_outbox(MAX_MESSAGES, MAX_BYTES)
    with trio.CancelScope() as scope:
        scope.cancel()
        outbox.send_nowait(frame(1))
        await inbox.wait()
    assert scope.cancelled_caught
    assert numbers(queued(inbox)) == [1]


async def test_a_sender_that_is_cancelled_before_it_waits_sends_nothing() -> None:
    outbox, inbox = open_outbox(MAX_MESSAGES, MAX_BYTES)
    with trio.CancelScope() as scope:
        scope.cancel()
        await outbox.send(frame(1))
    assert scope.cancelled_caught
    assert queued(inbox) == []


async def test_a_sender_that_is_admitted_and_cancelled_at_once_has_sent() -> None:
    """The message is in the queue, so the sender must not believe that it is not."""
    outbox, inbox = open_outbox(1, MAX_BYTES)
    outbox.send_nowait(frame(1))
    scope = trio.CancelScope()

    async def send() -> None:
        with scope:
            await outbox.send(frame(2))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        await wait_all_tasks_blocked()
        assert numbers(inbox.receive_batch_nowait(1, MAX_BYTES)) == [1]
        scope.cancel()
    assert not scope.cancelled_caught
    assert numbers(queued(inbox)) == [2]


# Closing


async def test_what_is_queued_is_received_after_the_sending_end_was_closed() -> None:
    outbox, inbox = open_outbox(MAX_MESSAGES, MAX_BYTES)
    with outbox:
        outbox.send_nowait(frame(1))
    await inbox.wait()
    assert numbers(inbox.receive_batch_nowait(10, MAX_BYTES)) == [1]
    with pytest.raises(trio.EndOfChannel):
        await inbox.wait()
    with pytest.raises(trio.ClosedResourceError):
        outbox.send_nowait(frame(2))


async def ends_while_waiting(end: Outbox | Inbox, wait: Callable[[], object], error: type[Exception]) -> None:
    async def waits() -> None:
        with pytest.raises(error):
            await wait()  # type: ignore[misc]

    async with trio.open_nursery() as nursery:
        nursery.start_soon(waits)
        await wait_all_tasks_blocked()
        end.close()
        end.close()  # again, to no effect


async def test_a_receiver_that_waits_learns_of_the_end() -> None:
    outbox, inbox = open_outbox(MAX_MESSAGES, MAX_BYTES)
    await ends_while_waiting(outbox, inbox.wait, trio.EndOfChannel)
    outbox, inbox = open_outbox(MAX_MESSAGES, MAX_BYTES)
    await ends_while_waiting(inbox, inbox.wait, trio.ClosedResourceError)


async def test_a_sender_that_waits_learns_that_the_writer_has_ended() -> None:
    outbox, inbox = open_outbox(1, MAX_BYTES)
    outbox.send_nowait(frame(1))
    await ends_while_waiting(inbox, lambda: outbox.send(frame(2)), trio.BrokenResourceError)
    assert outbox.statistics() == (0, 0, 0, False)
    with pytest.raises(trio.BrokenResourceError):
        await outbox.send(frame(3))
    with pytest.raises(trio.ClosedResourceError):
        inbox.receive_batch_nowait(1, MAX_BYTES)


async def test_a_sender_that_waits_learns_that_its_end_is_closed() -> None:
    outbox, inbox = open_outbox(1, MAX_BYTES)
    outbox.send_nowait(frame(1))
    await ends_while_waiting(outbox, lambda: outbox.send(frame(2)), trio.ClosedResourceError)
    assert numbers(queued(inbox)) == [1]
