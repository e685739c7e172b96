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
ACK_BATCHES: Final = 8
"""So many batches are acknowledged together; the parent may have twice as many in flight (see ``handover``)."""
ACK_S: Final = 0.02
"""Fewer are acknowledged when no batch has followed for so long."""
MAX_MERGED_BYTES: Final = 2**20
"""Batches that have arrived together become one transaction, up to this size."""


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
    inlet = _Inlet(parent, upkeep, writer)
    while bodies := inlet.receive():
        messages = [message for body in bodies for message in decode(body)]
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
                inlet.acknowledge(written, len(bodies), at_once=failed is not None)
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


class _Inlet:
    """Receives batches, and acknowledges them when that is needed.

    A wake-up costs the parent as much as sending a batch. So in a steady stream it gets one acknowledgement for several
    batches, and one alone if it waits for a receipt, or if no batch follows.
    """

    def __init__(self, parent: socket.socket, upkeep: Upkeep, writer: Writer) -> None:
        self._parent = parent
        self._upkeep = upkeep
        self._writer = writer
        self._stored = Written()  # not acknowledged yet
        self._arrived = select.poll()
        self._arrived.register(parent, select.POLLIN)

    def receive(self) -> list[bytes]:
        """Return all batches that have arrived, at least one, for one transaction; none at the end of the stream.

        Flush and prune what is due once before, and while none arrives.
        """
        self._wait()
        bodies: list[bytes] = []
        size = 0
        while size < MAX_MERGED_BYTES and (not bodies or self._arrived.poll(0)):
            if (body := receive(self._parent)) is None:
                break
            bodies.append(body)
            size += len(body)
        return bodies

    def acknowledge(self, written: Written, batches: int, at_once: bool) -> None:
        """Acknowledge batches that are stored, now or later."""
        before = self._stored
        self._stored = Written(before.rows + written.rows, before.frames + written.frames, receipts=written.receipts,
                               batches=before.batches + batches)  # fmt: skip
        if at_once or written.receipts or self._stored.batches >= ACK_BATCHES:
            self._send()

    def _wait(self) -> None:
        writer, upkeep, state = self._writer, self._upkeep, self._writer.state
        while True:
            if not writer.wait_s():
                with suppress(TransientError):  # the next batch reports it
                    writer.flush()
            upkeep.run_due(state.retention.keep_s, state.retention.max_bytes, state.now_us())
            wait_s = min(upkeep.wait_s(), writer.wait_s())
            if self._stored.batches:
                if self._arrived.poll(min(ACK_S, wait_s) * 1000):
                    return
                self._send()
            elif self._arrived.poll(wait_s * 1000):
                return

    def _send(self) -> None:
        _answer(self._parent, self._stored)
        self._stored = Written()


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
