"""One task reads many sockets: real socket pairs, on virtual time."""

import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from okxsync.feed.liveness import STALL_S, Moment
from okxsync.feed.reader import MAX_PASS_S, PAUSES_S, SocketReader
from okxsync.messages import Frames, Message
from okxsync.runtime.outbox import open_outbox
from tests.support.outbox import MAX_BYTES, queue, queued

PAUSE_S = PAUSES_S["low"]


class Line:
    """A source that makes a message of whatever it reads."""

    def __init__(self, number: int, reader: SocketReader) -> None:
        self.number = number
        self.reader = reader
        self.ours, self.theirs = socket.socketpair()
        self.ours.setblocking(False)
        self.stalls: list[Moment] = []
        self.on_read: Callable[[], None] = lambda: None

    def fileno(self) -> int:
        return self.ours.fileno()

    def read(self) -> Sequence[Message]:
        self.on_read()
        return [message_of(self.number, self.ours.recv(100).decode())]

    def on_stall(self, began: Moment) -> None:
        self.stalls.append(began)


@contextmanager
def lines(count: int, reader: SocketReader) -> Iterator[list[Line]]:
    made = [Line(number, reader) for number in range(count)]
    try:
        yield made
    finally:
        for line in made:
            line.ours.close()
            line.theirs.close()


def message_of(number: int, text: str) -> Frames:
    return Frames(number, "alpha", [(0, text)])


async def test_each_source_is_read_while_it_is_registered(autojump_clock: MockClock) -> None:
    send, receive = queue()
    reader = SocketReader(send)
    with lines(2, reader) as (first, second):
        async with reader.running():
            async with reader.reading(first):
                first.theirs.send(b"a")
                second.theirs.send(b"not registered")
                await wait_all_tasks_blocked()
                assert queued(receive) == [message_of(0, "a")]
            first.theirs.send(b"not registered any more")
            async with reader.reading(second):
                await trio.sleep(PAUSE_S)
                await wait_all_tasks_blocked()
                assert queued(receive) == [message_of(1, "not registered")]


async def test_passes_keep_a_distance_and_the_first_frame_is_read_at_once(autojump_clock: MockClock) -> None:
    send, receive = queue()
    reader = SocketReader(send)
    with lines(2, reader) as (first, second):
        async with reader.running(), reader.reading(first), reader.reading(second):
            await trio.sleep(1)
            began = trio.current_time()
            first.theirs.send(b"a")
            await wait_all_tasks_blocked()
            assert (queued(receive), trio.current_time()) == ([message_of(0, "a")], began)
            first.theirs.send(b"b")
            second.theirs.send(b"c")
            await wait_all_tasks_blocked()
            assert queued(receive) == []
            await trio.sleep(PAUSE_S)
            await wait_all_tasks_blocked()
            assert sorted(queued(receive), key=lambda one: one.connection_id) == [  # type: ignore[union-attr]
                message_of(0, "b"),
                message_of(1, "c"),
            ]
            assert trio.current_time() == pytest.approx(began + PAUSE_S)


async def test_a_source_that_is_removed_during_a_pass_is_not_read_in_it(autojump_clock: MockClock) -> None:
    send, receive = queue()
    reader = SocketReader(send)
    with lines(2, reader) as (first, second):
        first.on_read = lambda: reader.remove(second)
        second.on_read = lambda: reader.remove(first)
        async with reader.running(), reader.reading(first), reader.reading(second):
            first.theirs.send(b"a")
            second.theirs.send(b"b")
            await trio.sleep(1)
            assert len(queued(receive)) == 1


@pytest.mark.parametrize("waits_s", [STALL_S / 2, STALL_S * 2])
async def test_a_full_queue_stops_all_reading_and_a_long_wait_is_a_stall(
    autojump_clock: MockClock, waits_s: float
) -> None:
    send, receive = open_outbox(1, MAX_BYTES)
    reader = SocketReader(send)
    with lines(2, reader) as (first, second):
        async with reader.running(), reader.reading(first), reader.reading(second):
            for line in (first, second):
                line.theirs.send(b"1")
            await trio.sleep(PAUSE_S)
            assert reader.stalled_since
            began_s = reader.stalled_since.s
            first.theirs.send(b"2")
            await trio.sleep(waits_s)
            assert reader.stalled_since.s == began_s
            received: list[Message] = []
            while len(received) < 3:
                received += queued(receive)
                await trio.sleep(PAUSE_S)
            assert reader.stalled_since is None
            texts = [one.frames[0][1] for one in received if isinstance(one, Frames)]
            assert texts == ["1", "1", "2"]
            stalls = [[round(stall.s - began_s, 3) for stall in line.stalls] for line in (first, second)]
            assert stalls == ([[0.0], [0.0]] if waits_s > STALL_S else [[], []])


async def test_a_source_sends_nothing_before_what_was_read_of_it_is_sent(autojump_clock: MockClock) -> None:
    """A report about a control frame must not overtake the frames before it while the queue is full."""
    send, receive = open_outbox(1, MAX_BYTES)
    reader = SocketReader(send)
    over = trio.Event()

    async def read_once(line: Line) -> None:
        async with reader.reading(line):
            await over.wait()
        await send.send(message_of(0, "report"))

    with lines(1, reader) as (line,):
        line.read = lambda: [message_of(0, text) for text in (line.ours.recv(100).decode(), "b", "c")]  # type: ignore[method-assign]
        async with reader.running(), trio.open_nursery() as nursery:
            nursery.start_soon(read_once, line)
            line.theirs.send(b"a")
            await wait_all_tasks_blocked()
            over.set()
            texts: list[str] = []
            while len(texts) < 4:
                await receive.wait()
                texts += [one.frames[0][1] for one in queued(receive) if isinstance(one, Frames)]
    assert texts == ["a", "b", "c", "report"]


async def test_a_flood_on_one_source_delays_the_others_by_no_pass(autojump_clock: MockClock) -> None:
    send, receive = open_outbox(1000, MAX_BYTES)
    reader = SocketReader(send)
    with lines(2, reader) as (flooded, other):
        flooded.theirs.send(b"x" * 10_000)  # a read takes 100 bytes of it
        other.theirs.send(b"y")
        async with reader.running(), reader.reading(flooded), reader.reading(other):
            await wait_all_tasks_blocked()
            assert len(queued(receive)) == 2
            await trio.sleep(1)
            assert len(queued(receive)) == 99


async def test_a_long_pass_lets_other_tasks_run(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    send, _ = queue()
    reader = SocketReader(send)
    elapsed_s, order, first_read = 0.0, list[str](), trio.Event()
    monkeypatch.setattr(time, "monotonic", lambda: elapsed_s)

    def read() -> None:
        nonlocal elapsed_s
        elapsed_s += 2 * MAX_PASS_S
        order.append("read")
        first_read.set()

    async def other() -> None:
        await first_read.wait()
        order.append("other")

    with lines(3, reader) as sources:
        for line in sources:
            line.on_read = read
            line.theirs.send(b"a")
        async with reader.running(), trio.open_nursery() as nursery:
            nursery.start_soon(other)
            for line in sources:
                reader.add(line)
            await trio.sleep(1)
            for line in sources:
                reader.remove(line)
    assert len(order) == 4
    assert order[-1] == "read"


async def test_the_reader_s_end_releases_a_source_whose_messages_wait(autojump_clock: MockClock) -> None:
    send, _ = open_outbox(1, MAX_BYTES)
    send.send_nowait(message_of(1, "full"))
    reader = SocketReader(send)
    with trio.fail_after(10), lines(1, reader) as (line,):
        line.theirs.send(b"a")
        with trio.move_on_after(1):
            async with reader.running(), reader.reading(line):
                await trio.sleep_forever()
