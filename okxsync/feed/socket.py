"""One WebSocket as a client: the only module that knows the WebSocket library.

``open_socket`` owns the TCP stream, the TLS handshake, the library's reader task and the closing. So a deadline around
it is obeyed whatever the peer does, and nothing stays open behind it. What the network does ends as ``SocketError``.
"""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar, cast
from urllib.parse import urlsplit

import h11
import trio
from trio_websocket import ConnectionClosed, ConnectionRejected, HandshakeError, WebSocketConnection, wrap_client_stream
from wsproto.utilities import LocalProtocolError, ProtocolError

from okxsync.feed.tcp import open_tcp
from okxsync.okx.frames import said

E = TypeVar("E", bound=BaseException)

MAX_MESSAGE_BYTES = 16 * 2**20
"""No frame of OKX comes near this; a peer that sends more is closed with 1009."""

CLOSE_S = 1.0


class SocketError(Exception):
    """The connection could not be made, or has ended.

    ``code`` is the WebSocket close code (1006: no close frame came), or the HTTP status that refused the upgrade.
    """

    def __init__(self, text: str, code: int | None = None) -> None:
        super().__init__(text)
        self.code = code


class Socket:
    """Text frames both ways. Both methods raise SocketError once the connection has ended."""

    def __init__(self, connection: WebSocketConnection) -> None:
        self._connection = connection

    async def receive(self) -> str:
        """Return the next frame; bytes that are no text arrive with replacement characters."""
        try:
            message = await self._connection.get_message()
        except ConnectionClosed as error:
            raise _closed(error) from None
        return message if isinstance(message, str) else message.decode(errors="replace")

    async def send(self, text: str) -> None:
        try:
            await self._connection.send_message(text)
        except ConnectionClosed as error:
            raise _closed(error) from None
        except LocalProtocolError:  # the peer is closing
            raise SocketError("closing", 1006) from None


@asynccontextmanager
async def open_socket(url: str) -> AsyncIterator[Socket]:
    """Connect to a ``wss://`` address (TLS, verified) or a ``ws://`` one; a cancel scope around it is the deadline.

    Raises:
        SocketError: in an exception group, like everything that leaves a nursery.
    """
    try:
        async with _open(url) as socket:
            yield socket
    except* ConnectionRejected as group:
        status = first_error(group).status_code
        raise SocketError(f"connection refused with HTTP status {status}", status) from None
    except* ConnectionClosed as group:
        raise _closed(first_error(group)) from None
    except* (HandshakeError, ProtocolError, h11.ProtocolError, OSError) as group:
        raise SocketError(f"cannot connect: {_root(first_error(group))}") from None


@asynccontextmanager
async def _open(url: str) -> AsyncIterator[Socket]:
    parts = urlsplit(url)
    secure = parts.scheme == "wss"
    host, port = parts.hostname or "", parts.port or (443 if secure else 80)
    transport = _Transport(await open_tcp(host, port))
    try:
        stream = await _shake_hands(transport, host) if secure else transport
        async with trio.open_nursery() as nursery:
            connection = await wrap_client_stream(
                nursery,
                cast("trio.SocketStream", stream),  # any stream will do
                f"{host}:{port}",
                parts.path + (f"?{parts.query}" if parts.query else ""),
                max_message_size=MAX_MESSAGE_BYTES,
                receive_buffer_size=None,  # as much as trio reads; the library's 4 KiB cost a third of the throughput
            )
            transport.open = True
            yield Socket(connection)
            with trio.move_on_after(CLOSE_S):
                await connection.aclose()
            nursery.cancel_scope.cancel(reason="connection closed")
    finally:
        # After a remote close or a failed handshake the library leaves the socket open.
        await trio.aclose_forcefully(transport)


class _Transport(trio.abc.HalfCloseableStream):
    """A TCP stream that reports an end before the handshake is through; the library would wait on for an answer."""

    def __init__(self, stream: trio.abc.HalfCloseableStream) -> None:
        self._stream = stream
        self.open = False

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        if self.open:
            return await self._stream.receive_some(max_bytes)
        try:
            data = await self._stream.receive_some(max_bytes)
        except trio.BrokenResourceError:
            data = b""
        if not data:
            raise SocketError("the peer closed the connection during the handshake", 1006)
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def aclose(self) -> None:
        await self._stream.aclose()


async def _shake_hands(transport: _Transport, host: str) -> trio.SSLStream[_Transport]:
    stream = trio.SSLStream(transport, ssl.create_default_context(), server_hostname=host, https_compatible=True)
    try:
        await stream.do_handshake()
    except trio.BrokenResourceError as error:
        raise SocketError(f"TLS handshake failed: {error.__cause__ or error}") from None
    return stream


def _closed(error: ConnectionClosed) -> SocketError:
    if error.reason is None:
        return SocketError("closed", 1006)
    code, reason = error.reason.code, error.reason.reason
    if code == 1009 and (reason or "").startswith("Exceeded maximum message size"):  # it is the library that says so
        return SocketError(f"a frame of more than {MAX_MESSAGE_BYTES >> 20} MiB")
    return SocketError(f"closed with {code}{': ' + said(reason) if reason else ''}", code)


def _root(error: BaseException) -> str:
    """Return what is behind "all attempts to connect failed": the first attempt's own reason."""
    cause = error.__cause__
    if isinstance(cause, BaseExceptionGroup):
        cause = first_error(cause)
    return f"{error}: {cause.strerror}" if isinstance(cause, OSError) and cause.strerror else str(error)


def first_error(group: BaseExceptionGroup[E]) -> E:
    """Return the first exception of a group, however deep it lies."""
    error = group.exceptions[0]
    return first_error(error) if isinstance(error, BaseExceptionGroup) else error
