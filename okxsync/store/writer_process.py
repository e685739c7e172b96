"""The writer process: batches in, transactions out. Started by its name, and without trio."""

import select
import signal
import socket
import sys
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

import msgspec

from okxsync.messages import Message
from okxsync.store.checkpoint import checkpointing
from okxsync.store.database import DatabaseError, StoreError, open_database
from okxsync.store.pipe import LENGTH, receive
from okxsync.store.prune import Upkeep
from okxsync.store.writer import Writer, Written

AGAIN_S: Final = 1.0


def main(path: Path, parent: socket.socket) -> None:
    """The child: batches in, transactions out, until the parent's end closes."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # a Ctrl-C reaches the whole group, but the parent decides
    database = open_database(path)
    writer = Writer(database.conn)
    decode = msgspec.msgpack.Decoder(list[Message]).decode
    upkeep = Upkeep(database.conn)
    with closing(database), checkpointing(database.conn, path) as checkpoints:
        while (body := _receive_next(parent, upkeep, writer)) is not None:
            messages = decode(body)
            while True:
                try:
                    written = writer.apply(messages)
                except DatabaseError as error:
                    _answer(parent, Written(error=str(error)))
                    if _has_gone(parent, AGAIN_S):
                        return
                else:
                    _answer(parent, written)
                    break
            checkpoints.start_if_due()


def _receive_next(parent: socket.socket, upkeep: Upkeep, writer: Writer) -> bytes | None:
    """Return the next batch as ``receive`` does; until it comes, and once before it, prune what is due."""
    arrived = select.poll()
    arrived.register(parent, select.POLLIN)
    while True:
        with suppress(DatabaseError):  # the next batch will meet it too, and says so
            upkeep.run_due(writer.retention.keep_s, writer.retention.max_bytes, writer.now_us())
        if arrived.poll(upkeep.wait_s() * 1000):
            return receive(parent)


def _answer(parent: socket.socket, written: Written) -> None:
    body = msgspec.msgpack.encode(written)
    with suppress(BrokenPipeError, ConnectionResetError):  # the parent died; what it handed over is written
        parent.sendall(LENGTH.pack(len(body)) + body)


def _has_gone(parent: socket.socket, within_s: float) -> bool:
    """Wait, but not for a parent that is gone."""
    hung_up = select.poll()
    hung_up.register(parent, select.POLLHUP | select.POLLRDHUP)
    return bool(hung_up.poll(within_s * 1000))


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), socket.socket(fileno=int(sys.argv[2])))
    except StoreError as error:
        sys.exit(f"okxsync: {error}")
