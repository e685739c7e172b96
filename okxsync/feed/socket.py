"""One WebSocket as a client: the only module that imports the WebSocket library.

``open_socket`` owns the TCP stream, the TLS handshake, the library's reader task and the close. So its deadline holds
whatever the peer does, and nothing is left open. Network errors are raised as ``SocketError``:

    SocketError         the connection has ended
      ConnectError      it could not be opened: host, port, the step that failed, and why
"""

import math
import os
import select
import socket as stdlib_socket
import ssl
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, Literal, NoReturn, TypeVar, cast
from urllib.parse import urlsplit

import h11
import trio
from trio_websocket import ConnectionClosed, ConnectionRejected, HandshakeError, WebSocketConnection, wrap_client_stream
from wsproto.utilities import LocalProtocolError, ProtocolError

from okxsync.feed.framing import Deframer, TooLarge, text_frame
from okxsync.feed.tcp import Tcp, open_tcp
from okxsync.feed.tls import Tls, open_tls
from okxsync.runtime.text import sanitize

E = TypeVar("E", bound=BaseException)

MAX_MESSAGE_BYTES = 16 * 2**20
"""No frame of OKX comes near this size. A larger one ends the connection."""

CLOSE_S = 1.0
MAX_UNPROCESSED: Final = 16
"""Pieces of data passed to the library that it has not processed yet."""


class SocketError(Exception):
    """The connection could not be opened, or has ended.

    ``code`` is the WebSocket close code (1006: no close frame came), or the HTTP status that rejected the upgrade.
    """

    def __init__(self, text: str, code: int | None = None) -> None:
        super().__init__(text)
        self.code = code


Step = Literal["resolve", "TCP", "TLS", "WebSocket handshake"]
"""The steps of connecting, in this order. ``ws://`` and ``http://`` have no TLS, REST has no WebSocket handshake."""


class ConnectError(SocketError):
    """The connection could not be opened: ``step`` failed.

    ``unanswered``: the peer's system has accepted the connection, and the peer may still count it, but it was given up.
    """

    def __init__(self, where: str, step: Step, cause: str, code: int | None = None, unanswered: bool = False) -> None:
        super().__init__(f"{where} {step}: {cause}", code)
        self.step = step
        self.unanswered = unanswered


class _Attempt:
    """An address, and the current step of connecting to it.

    Raises:
        ValueError: (by the constructor) the address is invalid.
    """

    def __init__(self, url: str, deadline: trio.CancelScope) -> None:
        parts = urlsplit(url)
        default = 443 if (secure := parts.scheme in ("wss", "https")) else 80
        name = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
        self.secure = secure
        self.host, self.port = parts.hostname or "", parts.port or default
        self.where = f"{name}:{self.port}"
        self.authority = name if self.port == default else self.where  # the header Host (RFC 6455, 4.1)
        self.target = parts.path + (f"?{parts.query}" if parts.query else "")
        self.step: Step | None = "resolve"  # in progress, if any
        self._deadline = deadline

    def succeed(self) -> None:
        """The connection is open: lift the deadline, which was for that."""
        self.step = None
        self._deadline.deadline = math.inf

    def failure(self, cause: str, code: int | None = None) -> SocketError:
        return ConnectError(self.where, self.step, cause, code) if self.step else SocketError(cause, code)

    def timeout(self, within_s: float) -> SocketError:
        cause = f"no answer within {within_s:g} s"
        if not self.step:
            return SocketError(cause)
        unanswered = self.step in ("TLS", "WebSocket handshake")
        return ConnectError(self.where, self.step, cause, unanswered=unanswered)


class Socket:
    """Text frames both ways. Reading never waits: wait until ``fileno`` is readable first.

    Attributes:
        messages: The frames that were read and not taken yet; invalid UTF-8 becomes replacement characters.
    """

    def __init__(self, connection: WebSocketConnection, transport: "_Transport") -> None:
        self._connection = connection
        self._transport = transport
        self._deframer = Deframer(MAX_MESSAGE_BYTES)
        self.messages: deque[str] = deque()
        self._parse(transport.early)
        self.read()  # TLS may have received more with the response, of which the descriptor says nothing any more

    def fileno(self) -> int:
        """Return the descriptor to wait for."""
        return self._transport.fileno()

    @property
    def ended(self) -> bool:
        """Whether no more messages will come; ``raise_closed`` says why."""
        return self._deframer.over or self._transport.ended

    def has_unread(self) -> bool:
        """Return whether something has arrived that was not read or taken yet: a frame, or the end."""
        if self.messages or self.ended:
            return True
        arrived = select.poll()
        arrived.register(self.fileno(), select.POLLIN)
        return bool(arrived.poll(0))

    def read(self) -> None:
        """Read once what has arrived.

        Raises:
            SocketError: a frame is too large, or the peer does not read our answers.
        """
        if data := self._transport.read():
            self._parse(data)

    def _parse(self, data: bytes | bytearray) -> None:
        try:
            self.messages.extend(self._deframer.feed(data))
        except TooLarge:
            raise SocketError(f"a frame of more than {MAX_MESSAGE_BYTES >> 20} MiB") from None
        if self._deframer.other:
            self._transport.pass_to_library(bytes(self._deframer.other))
            self._deframer.other.clear()

    async def raise_closed(self) -> NoReturn:
        """Raise what the library makes of the last bytes of the peer.

        Raises:
            SocketError: always.
        """
        self._transport.let_library_read()
        try:
            await self._connection.get_message()
        except ConnectionClosed as error:
            raise _closed(error) from None
        raise SocketError("a protocol error of the peer", 1006)

    async def send(self, text: str) -> None:
        """Send a frame.

        Raises:
            SocketError: the connection has ended.
        """
        try:
            await self._connection.send_message(text)
        except ConnectionClosed as error:
            raise _closed(error) from None
        except LocalProtocolError:  # the peer is closing
            raise SocketError("closing", 1006) from None

    def send_soon(self, text: str) -> bool:
        """Send a frame of at most 125 bytes without waiting; return whether it was sent. If not, call ``flush``.

        The library takes 0.2 ms and three switches of tasks for a frame, and a ping is sent on each connection.
        """
        return self._transport.send_soon(text_frame(text))

    async def flush(self) -> None:
        """Send what ``send_soon`` has left.

        Raises:
            SocketError: the connection has ended.
        """
        try:
            await self._transport.flush()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise SocketError("closed", 1006) from None


@asynccontextmanager
async def open_socket(url: str, within_s: float = math.inf) -> AsyncIterator[Socket]:
    """Connect to a ``wss://`` address (TLS, verified) or a ``ws://`` one, within ``within_s`` seconds.

    Raises:
        SocketError: alone or in exception groups, like every exception that leaves a nursery.
    """
    async with _attempted(url, within_s) as attempt, _dialled(attempt) as stream:
        attempt.step = "WebSocket handshake"
        transport = _Transport(stream)
        async with trio.open_nursery() as nursery:
            connection = await wrap_client_stream(
                nursery,
                cast("trio.SocketStream", transport),  # it uses only what every stream has
                attempt.authority,
                attempt.target,
                receive_buffer_size=None,
            )
            attempt.succeed()
            yield Socket(connection, transport)
            transport.let_library_read()
            with trio.move_on_after(CLOSE_S):
                await connection.aclose()
            nursery.cancel_scope.cancel(reason="connection closed")


async def reach(url: str, within_s: float) -> None:
    """Connect to an ``https://`` or ``http://`` address, as far as TLS, and close.

    Raises:
        SocketError: as ``open_socket`` does.
    """
    async with _attempted(url, within_s) as attempt, _dialled(attempt):
        attempt.succeed()


@asynccontextmanager
async def _attempted(url: str, within_s: float) -> AsyncIterator[_Attempt]:
    """Limit an attempt to its deadline, and name the failed step in every error."""
    with trio.move_on_after(within_s) as deadline:
        try:
            attempt = _Attempt(url, deadline)
        except ValueError as error:
            raise SocketError(f"cannot connect: {error}") from None
        try:
            yield attempt
        except* ConnectionRejected as group:
            status = first_error(group).status_code
            raise attempt.failure(f"rejected with HTTP status {status}", status) from None
        except* ConnectionClosed as group:
            closed = _closed(first_error(group))
            raise attempt.failure(str(closed), closed.code) from None
        except* (HandshakeError, ProtocolError, h11.ProtocolError, OSError) as group:
            raise attempt.failure(_cause(first_error(group))) from None
    if deadline.cancelled_caught:
        raise attempt.timeout(within_s)


@asynccontextmanager
async def _dialled(attempt: _Attempt) -> AsyncIterator[Tcp | Tls]:
    """Resolve the name, connect over TCP, and do the TLS handshake if the address requires one."""
    try:
        # Trio resolves again when it connects, but its errors do not say which of the two failed.
        await trio.socket.getaddrinfo(attempt.host, attempt.port, type=stdlib_socket.SOCK_STREAM)
    except UnicodeError as error:
        raise attempt.failure(f"invalid host name: {error}") from None
    attempt.step = "TCP"
    tcp = await open_tcp(attempt.host, attempt.port)
    try:
        if attempt.secure:
            attempt.step = "TLS"
            yield await open_tls(tcp, attempt.host)
        else:
            yield tcp
    finally:
        # After a remote close or a failed handshake the library leaves the socket open.
        await trio.aclose_forcefully(tcp)


class _Transport(trio.abc.Stream):
    """The stream that the library uses: fully during the opening and closing handshakes, partly between them.

    After the opening handshake ``Socket`` reads, and passes to the library what it does not parse itself. If the peer
    closes within that handshake, an error is raised; the library alone would wait for an answer.
    """

    def __init__(self, stream: Tcp | Tls) -> None:
        self._stream = stream
        self._head: bytearray | None = bytearray()  # of the response to the upgrade, until it is complete
        self.early: bytes | bytearray = b""  # bytes that arrived with it
        self._to_library, self._from_socket = trio.open_memory_channel[bytes](MAX_UNPROCESSED)
        self.ended = False

    def fileno(self) -> int:
        return self._stream.fileno()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Read for the library."""
        if self._head is not None:
            return await self._read_head(self._head)
        try:
            return await self._from_socket.receive()
        except trio.EndOfChannel:
            return b"" if self.ended else await self._stream.receive_some(max_bytes)

    async def _read_head(self, head: bytearray) -> bytes | bytearray:
        try:
            data = await self._stream.receive_some()
        except trio.BrokenResourceError:
            data = b""
        if not data:
            raise ConnectionResetError("the peer closed the connection")
        head += data
        if (ends := head.find(b"\r\n\r\n") + 4) >= 4:
            self._head = None
            if head.startswith(b"HTTP/1.1 101"):
                self.early = head[ends:]
                return data[: len(data) - len(self.early)]
            self.let_library_read()
        return data

    def read(self) -> bytes | None:
        """Read for ``Socket``, after the handshake; see ``Tcp.read``. At the end set ``ended``."""
        try:
            data = self._stream.read()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            data = b""
        self.ended = data == b""
        return data

    def pass_to_library(self, data: bytes) -> None:
        """Pass bytes that were read to the library."""
        try:
            self._to_library.send_nowait(data)
        except trio.WouldBlock:  # it is blocked: the peer does not read our pongs
            raise SocketError(f"more than {MAX_UNPROCESSED} pings unanswered", 1006) from None
        except trio.BrokenResourceError:
            self.ended = True

    def let_library_read(self) -> None:
        """Let the library read the stream itself from now on."""
        self._to_library.close()

    def send_soon(self, data: bytes) -> bool:
        """Send without waiting; see ``Tcp.send_soon``."""
        try:
            return self._stream.send_soon(data)
        except trio.BrokenResourceError:
            return False  # OpenSSL has failed, and the next read shows why

    async def flush(self) -> None:
        await self._stream.flush()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        self._from_socket.close()
        await self._stream.aclose()


def _closed(error: ConnectionClosed) -> SocketError:
    if error.reason is None:
        return SocketError("closed", 1006)
    code, reason = error.reason.code, error.reason.reason
    return SocketError(f"closed with {code}{': ' + sanitize(reason) if reason else ''}", code)


def _cause(error: BaseException) -> str:
    """Return why an operation failed, as briefly as possible."""
    behind = error.__cause__  # of trio's "all attempts to connect failed": take the reason of the first attempt
    if isinstance(behind, BaseExceptionGroup):
        behind = first_error(behind)
    match behind or error:
        case ssl.SSLCertVerificationError(verify_message=str(why)):
            return f"certificate verify failed: {why}"
        case ssl.SSLEOFError():
            return "the peer closed the connection"
        case ssl.SSLError(reason=str(why)):
            return why.replace("_", " ").lower()
        case stdlib_socket.gaierror(strerror=str(why)):
            return why
        case OSError(errno=int(number)):  # trio's text repeats the address
            return os.strerror(number)
        case other:
            return str(other)


def first_error(group: BaseExceptionGroup[E]) -> E:
    """Return the first exception of a group, at any depth."""
    error = group.exceptions[0]
    return first_error(error) if isinstance(error, BaseExceptionGroup) else error
