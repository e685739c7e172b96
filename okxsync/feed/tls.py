"""TLS as a client over a TCP stream, with a read that never waits (see ``feed.tcp``).

``trio.SSLStream`` only reads by waiting, and costs several calls for each record. Here OpenSSL works on two buffers:
one takes what TCP has read, and the other holds what TCP must send.
"""

import os
import ssl
from functools import lru_cache
from typing import Final

import trio

from okxsync.feed.tcp import READ_BYTES, Tcp

FEED_BYTES: Final = 16 * 1024
"""A buffer of OpenSSL keeps the size that it once had, on each connection."""


async def open_tls(tcp: Tcp, host: str) -> "Tls":
    """Do the handshake as a client, and verify the certificate of ``host``. The caller closes ``tcp``.

    Raises:
        OSError: the handshake or the verification failed; ``ssl.SSLError`` is one.
    """
    stream = Tls(tcp, host)
    try:
        await stream.do_handshake()
    except trio.BrokenResourceError as error:
        raise error.__cause__ if isinstance(error.__cause__, OSError) else OSError(str(error)) from None
    return stream


class Tls(trio.abc.Stream):
    """An encrypted stream. It ends with TCP, without a close of its own: a WebSocket has its close frame."""

    def __init__(self, tcp: Tcp, host: str) -> None:
        self._tcp = tcp
        self._received, self._to_send = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = _context(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))
        self._tls = context.wrap_bio(self._received, self._to_send, server_hostname=host)
        self.is_over = False
        """The end has arrived, of which the socket may say nothing more, behind the data that was read last."""

    def fileno(self) -> int:
        return self._tcp.fileno()

    async def do_handshake(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self.flush()
                self._feed(await self._tcp.receive_some())
            else:
                break
        await self.flush()

    def read(self) -> bytes | None:
        """Return all that has arrived, so that the socket alone says when there is more; see ``Tcp.read``.

        Raises:
            trio.ClosedResourceError: we have closed it.
            trio.BrokenResourceError: the connection is broken, or what arrived is not valid.
        """
        data = self._tcp.read()
        parts: list[bytes] = []
        for at in range(0, len(data or b"") or 1, FEED_BYTES):
            if data is not None:
                self._feed(data[at : at + FEED_BYTES])
            while self._undecrypted and (part := self._decrypt_after(parts)) is not None:
                if not part:
                    self.is_over = True
                    return b"".join(parts)
                parts.append(part)
        return b"".join(parts) or None

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        while (data := self._decrypt(max_bytes or READ_BYTES)) is None:
            self._feed(await self._tcp.receive_some())
        return data

    def send_soon(self, data: bytes) -> bool:
        """Send without waiting; see ``Tcp.send_soon``."""
        if data:
            self._encrypt(data)
        return self._tcp.send_soon(self._to_send.read())

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self._encrypt(data)
        await self.flush()

    async def wait_send_all_might_not_block(self) -> None:
        await self._tcp.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._tcp.aclose()

    async def flush(self) -> None:
        """Send what ``send_soon`` has left, and what TLS itself must send, as after a key update of the peer."""
        await self._tcp.send_all(self._to_send.read())

    def _feed(self, data: bytes) -> None:
        if data:
            self._received.write(data)
        else:
            self._received.write_eof()

    def _encrypt(self, data: bytes | bytearray | memoryview) -> None:
        try:
            self._tls.write(data)
        except ssl.SSLError as error:
            raise trio.BrokenResourceError(str(error)) from error

    @property
    def _undecrypted(self) -> bool:
        """Whether OpenSSL may return more: to ask in vain costs an exception, which is more than decrypting a frame."""
        return bool(self._received.pending or self._received.eof or self._tls.pending())

    def _decrypt_after(self, parts: list[bytes]) -> bytes | None:
        """Return the next part; what is invalid is an end, behind the valid parts before it."""
        try:
            return self._decrypt()
        except trio.BrokenResourceError:
            if parts:
                return b""
            raise

    def _decrypt(self, max_bytes: int = READ_BYTES) -> bytes | None:
        """Return the next part of what was fed; no bytes at the end, None if nothing more was fed."""
        try:
            return self._tls.read(max_bytes)
        except ssl.SSLWantReadError:
            return None
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""
        except ssl.SSLError as error:
            raise trio.BrokenResourceError(str(error)) from error


@lru_cache(maxsize=1)
def _context(cert_file: str | None, cert_dir: str | None) -> ssl.SSLContext:
    """Return the context of all connections: each of its own would read the certificates of all authorities again.

    The arguments are what OpenSSL itself reads, so that a change of them counts.
    """
    context = ssl.create_default_context()
    context.options |= ssl.OP_NO_RENEGOTIATION  # a write never has to wait for a read
    return context
