"""TCP as trio opens it, read in a way of our own that is a fifth cheaper for each frame.

Frames mostly come one at a time. So a read that did not fill the buffer has emptied the socket, and the next one waits
first, where trio's own tries, fails, and waits then. And all sockets read into one buffer: nothing else runs between a
read and the copy of what it brought, and to make 64 KiB for each frame costs more than the frame.
"""

import os
from typing import Final

import trio

READ_BYTES: Final = 64 * 1024
_buffer: Final = memoryview(bytearray(READ_BYTES))


async def open_tcp(host: str, port: int) -> "Tcp":
    """Connect; the caller closes it.

    Raises:
        OSError: it cannot be had.
    """
    return Tcp(await trio.open_tcp_stream(host, port))


class Tcp(trio.abc.HalfCloseableStream):
    """A connected stream."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._emptied = True

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        room = _buffer[:max_bytes]
        socket = self._stream.socket
        while True:
            if self._emptied and socket.fileno() >= 0:
                await trio.lowlevel.wait_readable(socket)
            else:
                await trio.lowlevel.checkpoint()
            if socket.fileno() < 0:
                raise trio.ClosedResourceError
            try:
                size = os.readv(socket.fileno(), [room])
            except BlockingIOError:
                self._emptied = True
            except OSError as error:
                raise trio.BrokenResourceError(str(error)) from error
            else:
                self._emptied = size < len(room)
                return bytes(room[:size])

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def aclose(self) -> None:
        await self._stream.aclose()
