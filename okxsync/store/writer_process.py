"""The writer process: receives batches, and writes each in one transaction. It is a module to run, without trio."""

import select
import signal
import socket
import sys
import time
from contextlib import closing, suppress
from datetime import UTC, datetime
from typing import Final

import msgspec

from okxsync import events
from okxsync.config.location import Location, location_of
from okxsync.messages import Message, Note
from okxsync.store.database import DatabaseError, StoreError, TransientError, Upkeep
from okxsync.store.engines import engine_of
from okxsync.store.pipe import LENGTH, receive
from okxsync.store.transaction import Written
from okxsync.store.writer import Writer

RETRY_S: Final = 1.0


def main(location: Location, parent: socket.socket) -> int:
    """Write batches until the parent's end closes; return the exit code.

    A transient error costs time: the batch is kept and retried. A permanent one ends the process with exit code 1, and
    the parent reports it.

    Raises:
        StoreError: the database cannot be opened.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # Ctrl-C reaches the process group, but the parent decides
    engine = engine_of(location)
    with closing(engine.writer()) as db, engine.upkeep(db) as upkeep:
        try:
            _write_batches(parent, Writer(db), upkeep)
        except DatabaseError as error:
            _answer(parent, Written(error=f"{error}; {error.remedy}", permanent=True))
            return 1
    return 0


def _write_batches(parent: socket.socket, writer: Writer, upkeep: Upkeep) -> None:
    """Write batches until the parent's end closes; the first one after a failure is written with a journal entry.

    Raises:
        DatabaseError: the error is permanent.
    """
    decode = msgspec.msgpack.Decoder(list[Message]).decode
    while (body := _receive_next(parent, upkeep, writer)) is not None:
        messages = decode(body)
        failed: tuple[int, str] | None = None  # since when, and why at first
        while True:
            try:
                written = writer.apply([*messages, _failure(*failed, writer.state.now_us())] if failed else messages)
            except TransientError as error:
                failed = failed or (writer.state.now_us(), str(error))
                _answer(parent, Written(error=str(error)))
                if _has_hung_up(parent, RETRY_S):
                    return
            else:
                _answer(parent, written)
                break
        upkeep.committed()
    with suppress(TransientError):
        writer.flush()


def _failure(since_us: int, why: str, now_us: int) -> Note:
    """Return the journal entry about a time in which nothing could be written."""
    since, until = (
        datetime.fromtimestamp(at / 1e6, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        for at in (since_us, now_us)
    )
    return events.WRITE_FAILED.note(now_us, None, f"from {since} to {until}: {why}")


def _receive_next(parent: socket.socket, upkeep: Upkeep, writer: Writer) -> bytes | None:
    """Return the next batch as ``receive`` does; flush and prune what is due once before, and while none arrives."""
    state = writer.state
    arrived = select.poll()
    arrived.register(parent, select.POLLIN)
    while True:
        if not writer.wait_s():
            with suppress(TransientError):  # the next batch reports it
                writer.flush()
        upkeep.run_due(state.retention.keep_s, state.retention.max_bytes, state.now_us())
        if arrived.poll(min(upkeep.wait_s(), writer.wait_s()) * 1000):
            return receive(parent)


def _answer(parent: socket.socket, written: Written) -> None:
    body = msgspec.msgpack.encode(written)
    with suppress(BrokenPipeError, ConnectionResetError):  # the parent died; its batch is written
        parent.sendall(LENGTH.pack(len(body)) + body)


def _has_hung_up(parent: socket.socket, within_s: float) -> bool:
    """Wait, and return whether the parent has died; with batches still unread the stream does not show its end."""
    time.sleep(within_s)
    hung_up = select.poll()
    hung_up.register(parent, select.POLLHUP)  # POLLRDHUP is Linux's alone
    return bool(hung_up.poll(0))


if __name__ == "__main__":
    try:
        sys.exit(main(location_of(sys.argv[1]), socket.socket(fileno=int(sys.argv[2]))))
    except StoreError as error:
        sys.exit(f"okxsync: {error}")
