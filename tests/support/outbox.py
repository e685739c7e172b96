"""The writer's queue in tests: what was sent, without a writer."""

from collections.abc import AsyncIterator

import trio

from okxsync.messages import Message
from okxsync.runtime.outbox import Inbox, Outbox, open_outbox

MAX_BYTES = 2**30


def queue(max_messages: int = 10_000) -> tuple[Outbox, Inbox]:
    """Return both ends of a queue without a bound in bytes that a test could reach."""
    return open_outbox(max_messages, MAX_BYTES)


def queued(inbox: Inbox) -> list[Message]:
    """Take what was sent, including the messages of senders that wait for room."""
    messages: list[Message] = []
    try:
        while True:
            messages += inbox.receive_batch_nowait(10_000, MAX_BYTES)
    except (trio.WouldBlock, trio.EndOfChannel):
        return messages


async def received(inbox: Inbox) -> AsyncIterator[Message]:
    """Yield messages as they arrive, one at a time, until the sending end is closed."""
    try:
        while True:
            await inbox.wait()
            for message in inbox.receive_batch_nowait(1, MAX_BYTES):
                yield message
    except trio.EndOfChannel:
        return
