"""Takes whole messages out of what a server sends over a WebSocket (RFC 6455, section 5). No I/O.

All that a mirror reads is data, and there is little to a server's data frame: it is not masked, and a message is one
frame, or rarely several. So data is taken here, and the rest - pings, closing, whatever breaks the rules - is left to
the WebSocket library. A frame of 1.2 KB that need not go through its reader task, its parser and its channel costs half
as much to read.
"""

from typing import Final

_LAST: Final = 0x80
_CONTINUED, _TEXT, _BINARY, _PING, _PONG = 0x0, 0x1, 0x2, 0x9, 0xA
_TWO_BYTES, _EIGHT_BYTES, _MASKED = 126, 127, 128


class TooLarge(Exception):
    """A message has more bytes than are allowed."""


class Deframer:
    """Feed it what was read: it returns messages, and puts what is not its own into ``other``.

    Once ``over``, there are no more messages: all from there on is for the library to judge.
    """

    def __init__(self, most_bytes: int) -> None:
        self._max_bytes = most_bytes
        self._partial = bytearray()  # of a frame that is not all there
        self._wanted = 0  # bytes of it, at least
        self._parts: bytearray | None = None  # of a message in several frames
        self.other = bytearray()
        self.over = False

    def feed(self, data: bytes | bytearray) -> list[str]:
        """Return the messages that are whole now; bytes that are no text arrive with replacement characters.

        Raises:
            TooLarge: of a message.
        """
        if self._partial:
            self._partial += data
            if len(self._partial) < self._wanted:
                return []
            data, self._partial = self._partial, bytearray()
        messages: list[str] = []
        at = 0
        while at < len(data) and not self.over:
            start, stop = self._extent(data, at)
            if stop > len(data):
                self._partial += data[at:]
                self._wanted = stop - at
                break
            if data[at] == _LAST | _TEXT and data[at + 1] < _MASKED and self._parts is None:  # as good as always
                messages.append(str(data[start:stop], "utf-8", "replace"))
            elif (message := self._take(data[at], data[at:stop], data[start:stop])) is not None:
                messages.append(message)
            at = stop
        if self.over:
            self.other += data[at:]
        return messages

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
            size = 0  # only clients may; the library will say so
        if size > self._max_bytes:
            raise TooLarge
        return start, start + size

    def _take(self, head: int, frame: bytes | bytearray, payload: bytes | bytearray) -> str | None:
        """Take a frame that is no message in one piece of text; return the message that it ends, if it ends one."""
        kind, parts = head & ~_LAST, self._parts
        if kind in (_PING, _PONG):
            self.other += frame
            return None
        begins, goes_on = kind in (_TEXT, _BINARY) and parts is None, kind == _CONTINUED and parts is not None
        if frame[1] >= _MASKED or not (begins or goes_on):
            self.other += frame
            self.over = True
            return None
        if parts is None:
            parts = bytearray()
        parts += payload
        if len(parts) > self._max_bytes:
            raise TooLarge
        self._parts = None if head & _LAST else parts
        return str(parts, "utf-8", "replace") if head & _LAST else None
