"""One WebSocket as a client: the only module that knows the WebSocket library.

``open_socket`` owns the TCP stream, the TLS handshake, the library's reader task and the closing. So a deadline around
it is obeyed whatever the peer does, and nothing stays open behind it. What the network does ends as ``SocketError``.
"""

import ssl
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, NoReturn, TypeVar, cast
from urllib.parse import urlsplit

import h11
import trio
from trio_websocket import ConnectionClosed, ConnectionRejected, HandshakeError, WebSocketConnection, wrap_client_stream
from wsproto.utilities import LocalProtocolError, ProtocolError

from okxsync.feed.deframer import Deframer, TooLarge
from okxsync.feed.tcp import open_tcp
from okxsync.okx.frames import said

E = TypeVar("E", bound=BaseException)
T = TypeVar("T", bound=trio.abc.Stream)

MAX_MESSAGE_BYTES = 16 * 2**20
"""No frame of OKX comes near this; a peer that sends more is closed with 1009."""

CLOSE_S = 1.0
MOST_HANDED_ON: Final = 16
"""Reads that hold something for the library, and that it has not come to yet."""


class SocketError(Exception):
    """The connection could not be made, or has ended.

    ``code`` is the WebSocket close code (1006: no close frame came), or the HTTP status that refused the upgrade.
    """

    def __init__(self, text: str, code: int | None = None) -> None:
        super().__init__(text)
        self.code = code


class Socket:
    """Text frames both ways. Both methods raise SocketError once the connection has ended."""

    def __init__(self, connection: WebSocketConnection, transport: "_Transport") -> None:
        self._connection = connection
        self._transport = transport
        self._deframer = Deframer(MAX_MESSAGE_BYTES)
        self._messages: deque[str] = deque()

    async def receive(self) -> str:
        """Return the next frame; bytes that are no text arrive with replacement characters."""
        while not self._messages:
            if self._deframer.over or self._transport.ended:
                await self._hear_the_end()
            data = await self._transport.read()
            try:
                self._messages.extend(self._deframer.feed(data))
            except TooLarge:
                raise SocketError(f"a frame of more than {MAX_MESSAGE_BYTES >> 20} MiB") from None
            if self._deframer.other:
                self._transport.hand_on(bytes(self._deframer.other))
                self._deframer.other.clear()
        return self._messages.popleft()

    async def _hear_the_end(self) -> NoReturn:
        """The library has been handed the peer's last words, and says what they mean."""
        self._transport.hand_back()
        try:
            await self._connection.get_message()
        except ConnectionClosed as error:
            raise _closed(error) from None
        raise SocketError("the peer broke the protocol", 1006)

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
    try:
        parts = urlsplit(url)
        secure = parts.scheme == "wss"
        host, port = parts.hostname or "", parts.port or (443 if secure else 80)
        tcp = await open_tcp(host, port)
    except ValueError as error:  # no such host or port can be
        raise SocketError(f"cannot connect: {error}") from None
    try:
        transport = _Transport(await _shake_hands(tcp, host) if secure else tcp)
        async with trio.open_nursery() as nursery:
            connection = await wrap_client_stream(
                nursery,
                cast("trio.SocketStream", transport),  # any stream will do
                f"{host}:{port}",
                parts.path + (f"?{parts.query}" if parts.query else ""),
                receive_buffer_size=None,
            )
            yield Socket(connection, transport)
            transport.hand_back()
            with trio.move_on_after(CLOSE_S):
                await connection.aclose()
            nursery.cancel_scope.cancel(reason="connection closed")
    finally:
        # After a remote close or a failed handshake the library leaves the socket open.
        await trio.aclose_forcefully(tcp)


class _Transport(trio.abc.Stream):
    """The stream that the library gets: for the opening and the closing handshake all of it, between them only a part.

    What follows the opening handshake is read by ``Socket``, which hands on what it does not take itself. An end
    within that handshake is reported; the library would wait on for an answer.
    """

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._head: bytearray | None = bytearray()  # of the answer to the upgrade, until it is all there
        self._early: bytes | bytearray = b""  # what came right behind it
        self._hand_on, self._handed_on = trio.open_memory_channel[bytes](MOST_HANDED_ON)
        self.ended = False

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """For the library."""
        if self._head is not None:
            return await self._read_head(self._head)
        try:
            return await self._handed_on.receive()
        except trio.EndOfChannel:
            return b"" if self.ended else await self._stream.receive_some(max_bytes)

    async def _read_head(self, head: bytearray) -> bytes | bytearray:
        try:
            data = await self._stream.receive_some()
        except trio.BrokenResourceError:
            data = b""
        if not data:
            raise SocketError("the peer closed the connection during the handshake", 1006)
        head += data
        if (ends := head.find(b"\r\n\r\n") + 4) >= 4:
            self._head = None
            if head.startswith(b"HTTP/1.1 101"):
                self._early = head[ends:]
                return data[: len(data) - len(self._early)]
            self.hand_back()
        return data

    async def read(self) -> bytes | bytearray:
        """For the Socket: what comes after the handshake; nothing at the end, and ``ended`` says so."""
        if self._early:
            data, self._early = self._early, b""
            return data
        try:
            data = await self._stream.receive_some()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            data = b""
        self.ended = not data
        return data

    def hand_on(self, data: bytes) -> None:
        """What was read is for the library."""
        try:
            self._hand_on.send_nowait(data)
        except trio.WouldBlock:  # it is busy answering pings, and the peer does not read the answers
            raise SocketError(f"more than {MOST_HANDED_ON} pings unanswered", 1006) from None
        except trio.BrokenResourceError:
            self.ended = True

    def hand_back(self) -> None:
        """From now on the library reads for itself."""
        self._hand_on.close()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        self._handed_on.close()
        await self._stream.aclose()


async def _shake_hands(tcp: T, host: str) -> trio.SSLStream[T]:
    stream = trio.SSLStream(tcp, ssl.create_default_context(), server_hostname=host, https_compatible=True)
    try:
        await stream.do_handshake()
    except trio.BrokenResourceError as error:
        raise SocketError(f"TLS handshake failed: {error.__cause__ or error}") from None
    return stream


def _closed(error: ConnectionClosed) -> SocketError:
    if error.reason is None:
        return SocketError("closed", 1006)
    code, reason = error.reason.code, error.reason.reason
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
