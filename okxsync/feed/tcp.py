"""TCP opened by trio, with a read that never waits: whoever calls it knows that bytes have arrived.

All sockets read into one shared buffer. That is safe, because nothing else runs between a read and the copy of its
data. Allocating 64 KiB for each frame costs more than the frame.
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


class Tcp(trio.abc.Stream):
    """A connected stream."""

    is_over: Final = False
    """See ``Tls.is_over``; of TCP the socket says it."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._number = stream.socket.fileno()  # -1 once we have closed it
        self._unsent = b""
        self._sending = trio.Lock()

    def fileno(self) -> int:
        """Return the descriptor to wait for."""
        return self._number

    def read(self, max_bytes: int | None = None) -> bytes | None:
        """Return what has arrived, at most 64 KiB; no bytes at the end, None if nothing has arrived.

        Raises:
            trio.ClosedResourceError: we have closed it.
            trio.BrokenResourceError: the connection is broken.
        """
        if self._number < 0:
            raise trio.ClosedResourceError
        try:
            return bytes(_buffer[: os.readv(self._number, [_buffer[:max_bytes]])])
        except BlockingIOError:
            return None
        except OSError as error:
            raise trio.BrokenResourceError(str(error)) from error

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        while True:
            if self._number < 0:
                raise trio.ClosedResourceError
            await trio.lowlevel.wait_readable(self._stream.socket)
            if (data := self.read(max_bytes)) is not None:
                return data

    def send_soon(self, data: bytes) -> bool:
        """Send without waiting; return whether all was sent. The rest is sent before whatever is sent next.

        Raises:
            trio.BrokenResourceError: the connection is broken; what arrived before can still be read.
        """
        self._unsent += data
        if self._unsent and not self._sending.locked() and self._number >= 0:
            try:
                self._unsent = self._unsent[os.write(self._number, self._unsent) :]
            except BlockingIOError:
                pass  # the buffer is full
            except OSError as error:
                raise trio.BrokenResourceError(str(error)) from error
        return not (self._unsent or self._sending.locked())

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self._unsent += data
        async with self._sending:
            while self._unsent:
                data, self._unsent = self._unsent, b""
                await self._stream.send_all(data)

    async def flush(self) -> None:
        """Send what ``send_soon`` has left."""
        await self.send_all(b"")

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        self._number = -1
        await self._stream.aclose()
