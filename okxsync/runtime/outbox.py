"""The one queue between everything that reports and the writer, bounded in messages and in bytes.

``open_outbox`` returns its two ends. All senders share the ``Outbox``; the writer takes batches from the ``Inbox``.
Messages leave in the order in which they were sent. A full queue pushes back: ``send`` waits, ``send_nowait`` raises
``trio.WouldBlock``, and nothing is dropped. Waiting senders are admitted in order, so a large message is not overtaken
for ever by small ones.

A message that is larger than the bound is admitted once no other bytes are queued. So the queue holds at most its
bound, or one message.
"""

from collections import deque
from types import TracebackType
from typing import Final, NamedTuple

import trio

from okxsync.messages import ConfiguredAccount, Frames, Message, Rows


class OutboxStatistics(NamedTuple):
    """What is queued now.

    Attributes:
        messages: Queued messages.
        bytes: Their size, see ``size_of``.
        blocked: Senders that wait for room.
        receiver_open: Whether the receiving end is open, which the writer closes when it ends.
    """

    messages: int
    bytes: int
    blocked: int
    receiver_open: bool


def size_of(message: Message) -> int:
    """Return the size of a message in bytes, as far as the exchange decides it: 0 for all that is small anyway.

    Texts count as characters, because OKX sends ASCII.
    """
    if isinstance(message, Frames):
        frames = message.frames
        return len(frames[0][1]) if len(frames) == 1 else sum(len(frame) for _, frame in frames)
    if isinstance(message, Rows):
        return len(message.rows)
    return len(message.config or "") if isinstance(message, ConfiguredAccount) else 0


class _Blocked:
    """A message whose sender waits for room."""

    def __init__(self, message: Message, size: int) -> None:
        self.message = message
        self.size = size
        self.over = trio.Event()  # the message is admitted, or one end is closed
        self.error: type[trio.BrokenResourceError] | type[trio.ClosedResourceError] | None = None


class _Queue:
    """What both ends share."""

    def __init__(self, max_messages: int, max_bytes: int) -> None:
        self.max_messages = max_messages
        self.max_bytes = max_bytes
        self.messages: deque[tuple[Message, int]] = deque()  # with their sizes
        self.bytes = 0
        self.blocked: deque[_Blocked] = deque()  # in order of arrival
        self.receivers: Final = trio.lowlevel.ParkingLot()
        self.sender_open = True
        self.receiver_open = True

    def has_room(self, size: int) -> bool:
        return len(self.messages) < self.max_messages and (self.bytes + size <= self.max_bytes or not self.bytes)

    def put(self, message: Message, size: int) -> None:
        self.messages.append((message, size))
        self.bytes += size
        if self.receivers:
            self.receivers.unpark()

    def admit(self) -> None:
        """Admit blocked messages while there is room for the first."""
        while self.blocked and self.has_room(self.blocked[0].size):
            first = self.blocked.popleft()
            self.put(first.message, first.size)
            first.over.set()

    def fail_blocked(self, error: type[trio.BrokenResourceError] | type[trio.ClosedResourceError]) -> None:
        for one in self.blocked:
            one.error = error
            one.over.set()
        self.blocked.clear()


class Outbox:
    """The sending end, shared by all senders; closing it ends the queue once it is empty."""

    def __init__(self, queue: _Queue) -> None:
        self._queue = queue

    def send_nowait(self, message: Message) -> None:
        """Send without waiting.

        Raises:
            WouldBlock: there is no room, or others are waiting for it.
            BrokenResourceError: the receiving end is closed.
            ClosedResourceError: this end is closed.
        """
        self._send_nowait(message, size_of(message))

    async def send(self, message: Message) -> None:
        """Send; wait while there is no room. If it is cancelled, the message was not sent.

        Raises:
            BrokenResourceError: the receiving end is closed.
            ClosedResourceError: this end is closed.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        size = size_of(message)
        try:
            self._send_nowait(message, size)
        except trio.WouldBlock:
            await self._wait(_Blocked(message, size))
        else:
            await trio.lowlevel.cancel_shielded_checkpoint()

    def statistics(self) -> OutboxStatistics:
        queue = self._queue
        return OutboxStatistics(len(queue.messages), queue.bytes, len(queue.blocked), queue.receiver_open)

    def close(self) -> None:
        queue = self._queue
        if queue.sender_open:
            queue.sender_open = False
            queue.fail_blocked(trio.ClosedResourceError)
            queue.receivers.unpark_all()

    def __enter__(self) -> "Outbox":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _send_nowait(self, message: Message, size: int) -> None:
        queue = self._queue
        if not queue.sender_open:
            raise trio.ClosedResourceError
        if not queue.receiver_open:
            raise trio.BrokenResourceError
        if queue.blocked or not queue.has_room(size):
            raise trio.WouldBlock
        queue.put(message, size)

    async def _wait(self, blocked: _Blocked) -> None:
        queue = self._queue
        queue.blocked.append(blocked)
        try:
            await blocked.over.wait()
        finally:
            if not blocked.over.is_set():
                queue.blocked.remove(blocked)
                queue.admit()  # smaller messages behind it may fit
        if blocked.error:
            raise blocked.error


class Inbox:
    """The receiving end."""

    def __init__(self, queue: _Queue) -> None:
        self._queue = queue

    async def wait(self) -> None:
        """Wait until a message is queued.

        Raises:
            EndOfChannel: the sending end is closed, and all was received.
            ClosedResourceError: this end is closed.
        """
        if self._has_messages():
            await trio.lowlevel.checkpoint()
        while not self._has_messages():
            await self._queue.receivers.park()

    def receive_batch_nowait(self, max_messages: int, max_bytes: int) -> list[Message]:
        """Return what is queued, in order and at least one message, within both bounds.

        A message that is larger than ``max_bytes`` is a batch of its own.

        Raises:
            WouldBlock: nothing is queued.
            EndOfChannel: the sending end is closed, and all was received.
            ClosedResourceError: this end is closed.
        """
        if not self._has_messages():
            raise trio.WouldBlock
        queue = self._queue
        messages = queue.messages
        message, size = messages.popleft()
        batch = [message]
        while messages and len(batch) < max_messages and size + messages[0][1] <= max_bytes:
            message, message_size = messages.popleft()
            batch.append(message)
            size += message_size
        queue.bytes -= size
        queue.admit()
        return batch

    def _has_messages(self) -> bool:
        queue = self._queue
        if not queue.receiver_open:
            raise trio.ClosedResourceError
        if not queue.messages and not queue.sender_open:
            raise trio.EndOfChannel
        return bool(queue.messages)

    def close(self) -> None:
        queue = self._queue
        if queue.receiver_open:
            queue.receiver_open = False
            queue.messages.clear()
            queue.bytes = 0
            queue.fail_blocked(trio.BrokenResourceError)
            queue.receivers.unpark_all()

    def __enter__(self) -> "Inbox":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def open_outbox(max_messages: int, max_bytes: int) -> tuple[Outbox, Inbox]:
    """Return both ends of a queue that holds at most ``max_messages`` messages and ``max_bytes`` bytes."""
    queue = _Queue(max_messages, max_bytes)
    return Outbox(queue), Inbox(queue)
