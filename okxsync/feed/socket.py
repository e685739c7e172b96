"""One WebSocket as a client: the only module that imports the WebSocket libraries.

trio-websocket does the opening handshake, and nothing of it remains afterwards: its task, parser and channel would take
10 KB for each connection. ``feed.framing`` parses what follows, and wsproto its end: a close frame or a protocol error.
Network errors are raised as ``SocketError``:

    SocketError         the connection has ended
      ConnectError      it could not be opened: host, port, the step that failed, and why
"""

import math
import re
import select
import socket as stdlib_socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Final, Literal, cast
from urllib.parse import urlsplit

import h11
import trio
from trio_websocket import ConnectionClosed, ConnectionRejected, HandshakeError, wrap_client_stream
from wsproto.frame_protocol import CloseReason, FrameProtocol, Opcode, ParseFailed
from wsproto.utilities import ProtocolError

from okxsync.feed.causes import cause_of, first_error
from okxsync.feed.framing import CLOSE, PONG, TEXT, Deframer, client_frame
from okxsync.feed.tcp import Tcp, open_tcp
from okxsync.feed.tls import Tls, open_tls
from okxsync.runtime.text import sanitize

_STATUS: Final = re.compile(rb"HTTP/1\.[01] (\d{3})\b")

MAX_MESSAGE_BYTES = 16 * 2**20
"""No frame of OKX comes near this size. A larger one ends the connection."""

CLOSE_S = 1.0
MAX_UNANSWERED: Final = 16
"""Answers to the peer's own pings that it does not receive. A peer that reads nothing needs no more."""


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

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        default = 443 if (secure := parts.scheme in ("wss", "https")) else 80
        name = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
        self.secure = secure
        self.host, self.port = parts.hostname or "", parts.port or default
        self.where = f"{name}:{self.port}"
        self.authority = name if self.port == default else self.where  # the header Host (RFC 6455, 4.1)
        self.target = parts.path + (f"?{parts.query}" if parts.query else "")
        self.step: Step = "resolve"  # in progress

    def failure(self, cause: str, code: int | None = None) -> ConnectError:
        return ConnectError(self.where, self.step, cause, code)

    def timeout(self, within_s: float) -> ConnectError:
        unanswered = self.step in ("TLS", "WebSocket handshake")
        return ConnectError(self.where, self.step, f"no answer within {within_s:g} s", unanswered=unanswered)


class Socket:
    """Text frames both ways. Reading never waits: wait until ``fileno`` is readable first.

    Attributes:
        messages: The frames that were read and not taken yet; invalid UTF-8 becomes replacement characters.
        ended: Why no more messages will come.
    """

    def __init__(self, stream: Tcp | Tls, early: bytes) -> None:
        self._stream = stream
        self._deframer = Deframer(MAX_MESSAGE_BYTES)
        self._is_left = False  # something that could not be sent at once
        self._unanswered = 0  # answers to pings that could not be sent
        self.messages: list[str] = []  # an empty deque takes 0.6 KB
        self.ended: SocketError | None = None
        self._parse(early)
        self.read()  # TLS may have received more with the response, of which the descriptor says nothing any more

    def fileno(self) -> int:
        """Return the descriptor to wait for."""
        return self._stream.fileno()

    def has_unread(self) -> bool:
        """Return whether something has arrived that was not read or taken yet: a frame, or the end."""
        if self.messages or self.ended:
            return True
        arrived = select.poll()
        arrived.register(self.fileno(), select.POLLIN)
        return bool(arrived.poll(0))

    def read(self) -> None:
        """Read once what has arrived; it may be the end. The peer's own pings are answered, and so is its close."""
        try:
            data = self._stream.read()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            data = b""
        if data == b"":
            self.ended = self.ended or SocketError("closed", 1006)
        elif data and not self.ended:
            self._parse(data)
            if self._stream.is_over and not self.ended:
                self.ended = SocketError("closed", 1006)

    async def send(self, text: str) -> None:
        """Send a frame.

        Raises:
            SocketError: the connection has ended.
        """
        if self.ended:
            raise self.ended
        try:
            await self._stream.send_all(client_frame(TEXT, text.encode()))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise SocketError("closed", 1006) from None

    def send_soon(self, text: str) -> bool:
        """Send a frame without waiting; return whether it was sent. If not, call ``flush_soon`` from time to time."""
        return self._send_soon(client_frame(TEXT, text.encode()))

    def flush_soon(self) -> bool:
        """Try to send what ``send_soon`` has left, and return whether nothing is left."""
        return not self._is_left or self._send_soon(b"")

    def can_send(self) -> bool:
        """Return whether a small frame would be sent at once: none waits, and the system has room for it."""
        if self.ended or self.fileno() < 0 or not self._send_soon(b""):
            return False
        ready = select.poll()
        ready.register(self.fileno(), select.POLLOUT)
        return ready.poll(0) == [(self.fileno(), select.POLLOUT)]

    async def aclose(self) -> None:
        """Close, with the closing handshake, for which it waits a second at most."""
        if not self.ended:
            self._send_close(CloseReason.NORMAL_CLOSURE)
        try:
            with trio.move_on_after(CLOSE_S):
                while not self.ended:
                    await trio.lowlevel.wait_readable(self.fileno())
                    self.read()
        finally:
            await trio.aclose_forcefully(self._stream)

    async def drop(self) -> None:
        """Close at once; the peer learns that we do."""
        if not self.ended:
            self._send_close(CloseReason.GOING_AWAY)
        await trio.aclose_forcefully(self._stream)

    def _parse(self, data: bytes | bytearray) -> None:
        deframer = self._deframer
        self.messages += deframer.feed(data)
        if deframer.ping is not None:
            self._answer(deframer.ping)
            deframer.ping = None
        if deframer.is_too_large:
            self.ended = SocketError(f"a frame of more than {MAX_MESSAGE_BYTES >> 20} MiB")
            self._send_close(CloseReason.MESSAGE_TOO_BIG)
        elif deframer.over:
            self._parse_end(bytes(deframer.other))

    def _parse_end(self, data: bytes) -> None:
        """Handle a close frame, or a protocol error, which ends the connection as the peer's close does."""
        protocol = FrameProtocol(client=True, extensions=[])
        protocol.receive_bytes(data)
        try:
            for frame in protocol.received_frames():
                match frame.opcode, frame.payload:
                    case Opcode.CLOSE, (int(code), str(reason)):
                        self.ended = _closed(code, reason)
                        self._send_close(code)
                        return
            raise ParseFailed("a message within another")  # a frame that is valid by itself
        except ParseFailed as error:
            self.ended = SocketError(f"a protocol error of the peer: {error}", int(error.code))
            self._send_close(error.code)

    def _answer(self, payload: bytes) -> None:
        if self._send_soon(client_frame(PONG, payload)):
            self._unanswered = 0
            return
        self._unanswered += 1
        if self._unanswered > MAX_UNANSWERED:
            self.ended = SocketError(f"more than {MAX_UNANSWERED} pings unanswered", 1006)

    def _send_close(self, code: int) -> None:
        """Send a close frame; without a code if the peer's has none (RFC 6455, 5.5.1 and 7.4.1)."""
        payload = b"" if code == CloseReason.NO_STATUS_RCVD else struct.pack("!H", code)
        self._send_soon(client_frame(CLOSE, payload))

    def _send_soon(self, data: bytes) -> bool:
        try:
            sent = self._stream.send_soon(data)
        except trio.BrokenResourceError:
            sent = True  # nothing is left that could be sent; reading shows the end, behind what arrived before it
        self._is_left = not sent
        return sent


async def connect(url: str, within_s: float = math.inf) -> Socket:
    """Connect to a ``wss://`` address (TLS, verified) or a ``ws://`` one, within ``within_s`` seconds.

    The caller closes the socket.

    Raises:
        SocketError: alone or in exception groups, like every exception that leaves a nursery.
    """
    async with _attempted(url, within_s) as attempt:
        stream = await _dial(attempt)
        try:
            attempt.step = "WebSocket handshake"
            socket = Socket(stream, await _upgrade(stream, attempt))
        except BaseException:  # cancelled too: the stream has no other owner yet
            await trio.aclose_forcefully(stream)
            raise
    return socket


async def reach(url: str, within_s: float) -> None:
    """Connect to an ``https://`` or ``http://`` address, as far as TLS, and close.

    Raises:
        SocketError: as ``connect`` does.
    """
    async with _attempted(url, within_s) as attempt:
        await trio.aclose_forcefully(await _dial(attempt))


@asynccontextmanager
async def _attempted(url: str, within_s: float) -> AsyncIterator[_Attempt]:
    """Limit an attempt to its deadline, and name the failed step in every error."""
    with trio.move_on_after(within_s) as deadline:
        try:
            attempt = _Attempt(url)
        except ValueError as error:
            raise SocketError(f"cannot connect: {error}") from None
        try:
            yield attempt
        except* ConnectionRejected as group:
            status = first_error(group).status_code
            raise attempt.failure(f"rejected with HTTP status {status}", status) from None
        except* (HandshakeError, ConnectionClosed, ProtocolError, h11.ProtocolError, OSError) as group:
            raise attempt.failure(_cause(first_error(group))) from None
    if deadline.cancelled_caught:
        raise attempt.timeout(within_s)


async def _dial(attempt: _Attempt) -> Tcp | Tls:
    """Resolve the name, connect over TCP, and do the TLS handshake if the address requires one."""
    try:
        # Trio resolves again when it connects, but its errors do not say which of the two failed.
        await trio.socket.getaddrinfo(attempt.host, attempt.port, type=stdlib_socket.SOCK_STREAM)
    except UnicodeError as error:
        raise attempt.failure(f"invalid host name: {error}") from None
    attempt.step = "TCP"
    tcp = await open_tcp(attempt.host, attempt.port)
    if not attempt.secure:
        return tcp
    attempt.step = "TLS"
    try:
        return await open_tls(tcp, attempt.host)
    except BaseException:  # cancelled too
        await trio.aclose_forcefully(tcp)
        raise


async def _upgrade(stream: Tcp | Tls, attempt: _Attempt) -> bytes:
    """Do the opening handshake; return what has arrived behind the response."""
    opening = _Opening(stream)
    async with trio.open_nursery() as nursery:
        await wrap_client_stream(
            nursery,
            cast("trio.SocketStream", opening),  # it uses only what every stream has
            attempt.authority,
            attempt.target,
            receive_buffer_size=None,
        )
        nursery.cancel_scope.cancel(reason="the opening handshake is over")
    return opening.early


class _Opening(trio.abc.Stream):
    """The stream that the library uses for the opening handshake.

    If the peer closes meanwhile, an error is raised; the library alone would wait for an answer. Any status but 101 is
    a rejection at once; the library alone would read the body to its end, however far that is.
    """

    def __init__(self, stream: Tcp | Tls) -> None:
        self._stream = stream
        self._head = bytearray()  # of the response
        self._is_over = False
        self.early = b""

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if self._is_over:
            await trio.sleep_forever()  # what follows the response is not the library's
        try:
            data = await self._stream.receive_some()
        except trio.BrokenResourceError:
            data = b""
        if not data:
            raise ConnectionResetError("the peer closed the connection")
        self._head += data
        if (ends := self._head.find(b"\r\n\r\n") + 4) >= 4:
            if (found := _STATUS.match(self._head)) and (status := int(found[1])) != HTTPStatus.SWITCHING_PROTOCOLS:
                raise ConnectionRejected(status, (), b"")
            self._is_over = True
            self.early = bytes(self._head[ends:])
            return data[: len(data) - len(self.early)]
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._stream.aclose()


def _closed(code: int, reason: str) -> SocketError:
    code = int(code)
    return SocketError(f"closed with {code}{': ' + sanitize(reason) if reason else ''}", code)


def _cause(error: BaseException) -> str:
    """Return why an operation failed, as briefly as possible."""
    if isinstance(error, OSError):
        return cause_of(error)
    if isinstance(error, h11.LocalProtocolError):  # the library could not report to the peer what it did wrong
        return str(_protocol_error(error) or error)
    return str(error)


def _protocol_error(error: BaseException) -> ProtocolError | None:
    """Return the violation of the protocol during whose handling ``error`` was raised, if there is one."""
    context = error.__context__
    if context is None or isinstance(context, ProtocolError):
        return context
    return _protocol_error(context)
