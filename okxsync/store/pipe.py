"""Framing between the daemon and the writer process: each batch follows its length."""

import socket
import struct
from typing import Final

LENGTH: Final = struct.Struct("!I")


def receive(parent: socket.socket) -> bytes | None:
    """Return the next batch, or None at the end; an incomplete last batch is ignored."""
    head = _receive_exactly(parent, LENGTH.size)
    return _receive_exactly(parent, LENGTH.unpack(head)[0]) if head else None


def _receive_exactly(parent: socket.socket, size: int) -> bytes | None:
    parts = bytearray(size)
    view = memoryview(parts)
    got = 0
    while got < size:
        try:
            count = parent.recv_into(view[got:])
        except ConnectionResetError:  # the parent was killed before it read our last answers
            return None
        if not count:
            return None
        got += count
    return bytes(parts)
