"""The built-in exchange behind a server that costs little, over TLS: it shares the machine with what it measures.

Hypercorn and Starlette need four fifths of the CPU time of a reply, and more than the daemon needs for its request. So
requests are parsed here, just as far as okxsync writes them, and handed to the same functions; all of the exchange's
rules, pushes and faults are those of ``okxsync.sandbox``.
"""

import os
import ssl
import struct
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import trio
import trustme
from starlette.requests import Request
from wsproto import ConnectionType
from wsproto.connection import Connection
from wsproto.events import CloseConnection, TextMessage
from wsproto.utilities import generate_accept_token

from okxsync.sandbox.exchange.exchange import Exchange
from okxsync.sandbox.faults.rules import Terms
from okxsync.sandbox.server.hub import Hub
from okxsync.sandbox.server.rest import RestServer
from okxsync.sandbox.server.server import Sandbox
from okxsync.sandbox.server.websocket import ClientConnection

if TYPE_CHECKING:
    from starlette.websockets import WebSocket

END = b"\r\n\r\n"
Head = tuple[str, str, list[tuple[bytes, bytes]]]


class _Stream:
    """A stream of which parts can be read."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self._data = bytearray()

    async def until(self, end: bytes) -> bytes:
        """Return what comes before ``end``; nothing if the stream ends."""
        while (at := self._data.find(end)) < 0:
            if not (more := await self.stream.receive_some()):
                return b""
            self._data += more
        found = bytes(self._data[:at])
        del self._data[: at + len(end)]
        return found

    async def exactly(self, count: int) -> bytes:
        while len(self._data) < count:
            self._data += await self.stream.receive_some()
        found = bytes(self._data[:count])
        del self._data[:count]
        return found

    def rest(self) -> bytes:
        found = bytes(self._data)
        self._data.clear()
        return found


class _Socket:
    """The part of Starlette's ``WebSocket`` that a connection of the exchange uses."""

    client = None

    def __init__(self, stream: _Stream) -> None:
        self._stream = stream
        self._protocol = Connection(ConnectionType.SERVER)
        self._messages: list[str] = []

    async def send_text(self, text: str) -> None:
        data = text.encode()
        size = (
            struct.pack("!BBH", 0x81, 126, len(data))
            if len(data) < 1 << 16
            else struct.pack("!BBQ", 0x81, 127, len(data))
        )
        await self._stream.stream.send_all(size + data)

    async def receive(self) -> dict[str, Any]:
        while not self._messages:
            data = self._stream.rest() or await self._stream.stream.receive_some()
            if not data:
                return {"type": "websocket.disconnect"}
            self._protocol.receive_data(bytes(data))
            for event in self._protocol.events():
                if isinstance(event, TextMessage):
                    self._messages.append(event.data)
                elif isinstance(event, CloseConnection):
                    return {"type": "websocket.disconnect"}
        return {"type": "websocket.receive", "text": self._messages.pop(0)}

    async def close(self, code: int, reason: str = "") -> None:
        await self._stream.stream.send_all(self._protocol.send(CloseConnection(code, reason)))


class _Server:
    """Takes the place of ``okxsync.sandbox.server.sockets.Sockets``."""

    def __init__(self, hub: Hub, connections: dict[ClientConnection, None], context: ssl.SSLContext) -> None:
        self._hub = hub
        self._rest = RestServer(hub, lambda peer: None)
        self._connections = connections
        self._context = context

    async def serve(self, listeners: list[trio.SocketListener]) -> None:
        await trio.serve_listeners(self._serve, listeners)

    async def _serve(self, raw: trio.SocketStream) -> None:
        try:
            async with trio.SSLStream(raw, self._context, server_side=True, https_compatible=True) as secure:
                stream = _Stream(secure)
                while head := await stream.until(END):
                    method, target, headers = _parsed(head)
                    if target.startswith("/ws/"):
                        await self._talk(stream, target.rpartition("/")[2], dict(headers))
                        break
                    await secure.send_all(await self._answer(stream, method, target, headers))
        except* (trio.BrokenResourceError, trio.ClosedResourceError):  # the client has gone
            pass

    async def _answer(self, stream: _Stream, method: str, target: str, headers: list[tuple[bytes, bytes]]) -> bytes:
        body = await stream.exactly(int(dict(headers).get(b"content-length", 0)))
        path, _, query = target.partition("?")

        async def receive() -> MutableMapping[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        scope = {
            "type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": query.encode(),
            "headers": headers, "client": ("127.0.0.1", 0), "path_params": {"path": path.removeprefix("/api/v5/")},
        }  # fmt: skip
        reply = await self._rest.answer(Request(scope, receive))
        shown = (
            f"HTTP/1.1 {reply.status_code} X\r\ncontent-type: {reply.media_type}\r\ncontent-length: {len(reply.body)}"
        )
        return shown.encode() + END + bytes(reply.body)

    async def _talk(self, stream: _Stream, endpoint: str, headers: dict[bytes, bytes]) -> None:
        token = generate_accept_token(headers[b"sec-websocket-key"]).decode()
        upgraded = f"HTTP/1.1 101 X\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: {token}"
        await stream.stream.send_all(upgraded.encode() + END)
        socket = cast("WebSocket", _Socket(stream))
        connection = ClientConnection(self._hub, socket, endpoint, lambda: None)
        self._connections[connection] = None
        try:
            await connection.run()
        finally:
            del self._connections[connection]


def _parsed(head: bytes) -> Head:
    first, *lines = head.split(b"\r\n")
    method, target, _ = first.decode().split(" ")
    pairs = (line.split(b": ", 1) for line in lines)
    return method, target, [(name.lower(), value) for name, value in pairs]


@asynccontextmanager
async def serve_venue(exchange: Exchange, folder: Path) -> AsyncIterator[Sandbox]:
    """Serve an exchange over TLS; the certificate is trusted by processes that are started meanwhile."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    os.environ["SSL_CERT_FILE"] = str(folder / "authority.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    exchange.take_pushes()
    terms = Terms()
    terms.dials_per_second = 0
    sandbox = Sandbox(Hub(exchange, terms, 0))
    sandbox._sockets = cast("Any", _Server(sandbox._hub, sandbox._connections, context))
    async with trio.open_nursery() as nursery:
        await sandbox._serve(nursery, 0)
        nursery.start_soon(sandbox._tick, 1.0)
        try:
            yield sandbox
        finally:
            del os.environ["SSL_CERT_FILE"]
        nursery.cancel_scope.cancel(reason="the venue closes")
