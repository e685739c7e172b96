"""TCP opened by trio, with a read of our own that costs a fifth less for each frame.

Frames mostly arrive one at a time. A read that did not fill the buffer has emptied the socket, so the next read waits
at once; trio's own would try, fail, and then wait. All sockets read into one shared buffer. That is safe, because
nothing else runs between a read and the copy of its data. Allocating 64 KiB for each frame costs more than the frame.
"""

import os
from typing import Final

import trio

READ_BYTES: Final = 64 * 1024
NEXT_ADDRESS_S: Final = 2.0
"""When the next address of a host is tried beside the first. Each attempt may count as a connection (OKX limits them
per second), so this is longer than a slow network takes; trio's own 0.25 s is not."""
_buffer: Final = memoryview(bytearray(READ_BYTES))


async def open_tcp(host: str, port: int) -> "Tcp":
    """Connect; the caller closes it.

    Raises:
        OSError: the connection failed.
    """
    return Tcp(await trio.open_tcp_stream(host, port, happy_eyeballs_delay=NEXT_ADDRESS_S))


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
