"""Extracts complete messages from the bytes that a server sends over a WebSocket (RFC 6455, section 5). No I/O.

A mirror reads almost only data, and a server's data frame is simple: it is not masked, and a message is one frame, or
rarely several. So data frames are parsed here, and so are pings, of which a peer can send thousands in one read. The
end is left to wsproto: close frames and protocol errors. A frame of 1.2 KB that bypasses the library's reader task,
parser and channel costs half as much.
"""

import os
import struct
from typing import Final

_LAST: Final = 0x80
_CONTINUED, _BINARY = 0x0, 0x2
TEXT, CLOSE, PING, PONG = 0x1, 0x8, 0x9, 0xA
_TWO_BYTES, _EIGHT_BYTES, _MASKED = 126, 127, 128


def client_frame(kind: int, payload: bytes) -> bytes:
    """Return a complete message or a control frame as a client sends it: masked (RFC 6455, 5.2 and 5.3)."""
    size, mask = len(payload), os.urandom(4)
    if size < _TWO_BYTES:
        head = bytes((_LAST | kind, _MASKED | size))
    elif size < 1 << 16:
        head = struct.pack("!BBH", _LAST | kind, _MASKED | _TWO_BYTES, size)
    else:
        head = struct.pack("!BBQ", _LAST | kind, _MASKED | _EIGHT_BYTES, size)
    keys = (mask * (size // 4 + 1))[:size]
    return head + mask + (int.from_bytes(payload) ^ int.from_bytes(keys)).to_bytes(size)


class _TooLarge(Exception):
    """A message has more bytes than are allowed."""


class Deframer:
    """Returns the messages in the bytes that it is fed.

    Attributes:
        ping: The payload of the peer's last ping, if it is to be answered (of several only the last must be: RFC 6455,
            5.5.3). Whoever answers it sets it to None.
        over: There are no more messages, because of a close frame or a protocol error.
        other: The bytes from there on, for wsproto to parse.
        is_too_large: There are no more messages, because one has more bytes than are allowed.
    """

    def __init__(self, most_bytes: int) -> None:
        self._max_bytes = most_bytes
        self._partial = bytearray()  # of an incomplete frame
        self._wanted = 0  # the size of that frame, as far as it is known
        self._parts: bytearray | None = None  # of a fragmented message
        self.ping: bytes | None = None
        self.over = False
        self.other = bytearray()
        self.is_too_large = False

    def feed(self, data: bytes | bytearray) -> list[str]:
        """Return the messages that are complete now; invalid UTF-8 becomes replacement characters."""
        if self._partial:
            self._partial += data
            if len(self._partial) < self._wanted:
                return []
            data, self._partial = self._partial, bytearray()
        messages: list[str] = []
        try:
            self._read(data, messages)
        except _TooLarge:
            self.is_too_large = True
        return messages

    def _read(self, data: bytes | bytearray, messages: list[str]) -> None:
        """Append the messages in ``data``, which begins with a frame.

        Raises:
            _TooLarge: a message exceeds the limit; those before it were appended.
        """
        at = 0
        while at < len(data) and not self.over:
            start, stop = self._extent(data, at)
            if stop > len(data):
                self._partial += data[at:]
                self._wanted = stop - at
                break
            if data[at] == _LAST | TEXT and data[at + 1] < _MASKED and self._parts is None:  # the usual case
                messages.append(str(data[start:stop], "utf-8", "replace"))
            elif (message := self._read_other(data[at], data[at:stop], data[start:stop])) is not None:
                messages.append(message)
            at = stop
        if self.over:
            self.other += data[at:]

    def _extent(self, data: bytes | bytearray, at: int) -> tuple[int, int]:
        """Return where the payload of the frame at ``at`` begins and ends; of half a header, where that ends."""
        size = data[at + 1] if at + 1 < len(data) else 0
        start = at + 2
        if size in (_TWO_BYTES, _EIGHT_BYTES):
            begins, start = start, start + (2 if size == _TWO_BYTES else 8)
            size = int.from_bytes(data[begins:start], "big")
            if start > len(data):
                return start, start
        elif size >= _MASKED:
            size = 0  # only clients mask; wsproto reports the error
        if size > self._max_bytes:
            raise _TooLarge
        return start, start + size

    def _read_other(self, head: int, frame: bytes | bytearray, payload: bytes | bytearray) -> str | None:
        """Handle a frame that is not a text message in one piece; return the message that it completes, if any."""
        kind, parts = head & ~_LAST, self._parts
        if kind in (PING, PONG) and head & _LAST and frame[1] < _TWO_BYTES:  # a valid control frame
            if kind == PING:
                self.ping = bytes(payload)
            return None
        begins, goes_on = kind in (TEXT, _BINARY) and parts is None, kind == _CONTINUED and parts is not None
        if frame[1] >= _MASKED or not (begins or goes_on):
            self.other += frame
            self.over = True
            return None
        if parts is None:
            parts = bytearray()
        parts += payload
        if len(parts) > self._max_bytes:
            raise _TooLarge
        self._parts = None if head & _LAST else parts
        return str(parts, "utf-8", "replace") if head & _LAST else None
