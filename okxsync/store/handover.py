"""Hand batches to the writer process, so that decoding and SQL do not wait for the reader's interpreter lock.

    parent (trio)                                     child (no loop)
    queue -> all that is queued -> one batch    ---->  one transaction
              at most sixteen batches in flight  <----  acknowledgements of several batches
                                                  a thread: checkpoints

The child lives as long as the parent's end of the socket pair is open: it ignores signals, writes each batch that it
received completely, and ends at the end of the stream. A failing disk loses nothing: the child keeps the batch, reports
the error and retries; the parent waits, its queue fills, and TCP pushes back to the exchange.

Measured with order frames of 1.2 KB on two cores: SQL in a thread beside the reader halves the throughput
(``executemany`` takes the interpreter lock for each row), a separate process does not.
"""

import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import msgspec
import trio

from okxsync.config.location import Location, Url
from okxsync.config.secret import ConfigError
from okxsync.runtime.outbox import Inbox
from okxsync.store.database import StoreError
from okxsync.store.pipe import LENGTH
from okxsync.store.transaction import Written

log = logging.getLogger("okxsync.store")

MOST_AT_ONCE: Final = 500
"""Messages per transaction: enough to make the commit cheap, few enough that readers see rows soon."""
MOST_BYTES_AT_ONCE: Final = 16 * 2**20
"""The same in bytes, unless one message is larger."""
IN_FLIGHT: Final = 16
"""Unacknowledged batches: twice as many as are acknowledged together. The buffer of the socket limits their size."""


class WriterDied(StoreError):
    """The writer process has ended; the next run backfills what it had not acknowledged."""


async def run_writer(
    location: Location,
    inbox: Inbox,
    *,
    lock_fd: int | None = None,
    on_written: Callable[[Written], None] = lambda written: None,
) -> None:
    """Write all messages in batches of those queued; return when the sending end is closed and all is stored.

    Args:
        location: The database; it exists and has this version's schema.
        inbox: Where the messages arrive; closed at the end.
        lock_fd: Inherited by the writer process, so that the lock is held until writing has ended.
        on_written: Called with every acknowledgement, and with every error.

    Raises:
        WriterDied: the process has ended, by a permanent error or by a signal.
        StoreError: the password of the database cannot be read.
    """
    environment = _environment(location)
    ours, theirs = socket.socketpair()
    died = False
    last = Written()

    def take(written: Written) -> None:
        nonlocal last
        last = written
        on_written(written)

    with inbox, theirs:
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
        async with stream, trio.open_nursery() as nursery:
            command = [sys.executable, "-m", "okxsync.store.writer_process", str(location), str(theirs.fileno())]
            fds = (theirs.fileno(), *([lock_fd] if lock_fd is not None else []))
            process: trio.Process = await nursery.start(_run_process, command, fds, environment)
            theirs.close()
            try:
                await _hand_over(stream, inbox, take)
                await stream.send_eof()  # and the nursery waits for its end
            except* (trio.BrokenResourceError, EOFError):
                died = True
    if died or process.returncode:
        why = last.error if last.permanent else f"the writer process has died ({_how(process.returncode)})"
        raise WriterDied(f"{location}: {why}")


async def _run_process(
    command: list[str],
    fds: tuple[int, ...],
    environment: dict[str, str],
    *,
    task_status: trio.TaskStatus[trio.Process] = trio.TASK_STATUS_IGNORED,
) -> None:
    async def kill(process: trio.Process) -> None:
        process.kill()  # it ignores SIGTERM; SQLite rolls back what is not committed

    await trio.run_process(
        command,
        stdin=subprocess.DEVNULL,
        pass_fds=fds,
        env=environment,
        check=False,
        deliver_cancel=kill,
        task_status=task_status,
    )


def _environment(location: Location) -> dict[str, str]:
    """Return the environment of the writer process, with the database's password: arguments are visible to all users.

    Raises:
        StoreError: the password cannot be read.
    """
    try:
        password = location.reveal() if isinstance(location, Url) else None  # a keyring is unlocked: others came before
    except ConfigError as error:
        raise StoreError(f"{location}: {error}") from None
    return {**os.environ, "PGPASSWORD": password} if password else {**os.environ}


async def _hand_over(stream: trio.SocketStream, inbox: Inbox, on_written: Callable[[Written], None]) -> None:
    encode = msgspec.msgpack.Encoder().encode
    flights = trio.Semaphore(IN_FLIGHT)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_take_answers, stream, flights, on_written)
        with suppress(trio.EndOfChannel):
            while True:
                await inbox.wait()
                try:
                    flights.acquire_nowait()
                except trio.WouldBlock:
                    await flights.acquire()
                body = encode(inbox.receive_batch_nowait(MOST_AT_ONCE, MOST_BYTES_AT_ONCE))
                await _send(stream, LENGTH.pack(len(body)) + body)
        for _ in range(IN_FLIGHT):  # all is acknowledged
            await flights.acquire()
        nursery.cancel_scope.cancel(reason="all is written")


async def _send(stream: trio.SocketStream, data: bytes) -> None:
    """Send; first without the stream, which switches tasks twice even if the whole of a small batch fits."""
    try:
        sent = os.write(stream.socket.fileno(), data)
    except BlockingIOError:
        sent = 0
    except OSError as error:
        raise trio.BrokenResourceError from error
    if sent < len(data):
        await stream.send_all(memoryview(data)[sent:])


async def _take_answers(
    stream: trio.SocketStream, flights: trio.Semaphore, on_written: Callable[[Written], None]
) -> None:
    decode = msgspec.msgpack.Decoder(Written).decode
    buffer = bytearray()
    failing = False
    while True:
        while len(buffer) >= LENGTH.size and len(buffer) >= (end := LENGTH.size + LENGTH.unpack_from(buffer)[0]):
            written = decode(bytes(buffer[LENGTH.size : end]))
            del buffer[:end]
            if not written.error:
                for _ in range(written.batches):
                    flights.release()
                if failing:
                    log.info("the database can be written again")
            elif not written.permanent:
                log.error("the database cannot be written, retrying: %s", written.error)
            failing = bool(written.error)
            on_written(written)
        received = await stream.receive_some()
        if not received:
            raise EOFError
        buffer += received


def _how(returncode: int | None) -> str:
    if returncode is None:
        return "no exit code"
    return f"signal {signal.Signals(-returncode).name}" if returncode < 0 else f"exit code {returncode}"
