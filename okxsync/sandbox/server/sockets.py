"""Hypercorn's TCP server on streams that we own, so that a connection can be reset with RST.

Hypercorn handles HTTP and WebSocket on each accepted stream. We accept the streams and close them.
"""

import contextlib
import logging
import socket
import struct
from typing import Any, cast

import h11
import trio
import wsproto.utilities
from hypercorn.config import Config
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ASGIFramework, ConnectionState
from hypercorn.utils import wrap_app

MAX_MESSAGE = 64 * 1024
"""The longest WebSocket message that is accepted, in bytes; a longer one closes the connection with 1009."""
PROTOCOL_ERRORS = (h11.ProtocolError, wsproto.utilities.ProtocolError)
"""Errors that hypercorn does not handle: a client violates the protocol, or sends after the close."""
Peer = tuple[str, int]


class Sockets:
    """The accepted streams of one server, by the address of their peer."""

    def __init__(self, app: ASGIFramework) -> None:
        self._streams: dict[Peer, trio.SocketStream] = {}
        self._context = WorkerContext(None)
        self._config = _config()
        self._app = wrap_app(app, MAX_MESSAGE, "asgi")

    async def serve(self, listeners: list[trio.SocketListener]) -> None:
        """Accept and serve until cancelled. No client can end it."""
        async with trio.open_nursery() as handlers:
            try:
                await trio.serve_listeners(self._serve_stream, listeners, handler_nursery=handlers)
            finally:
                # Hypercorn shields its sends: a client that does not read would delay the shutdown.
                for stream in self._streams.values():
                    stream.socket.close()

    def reset(self, peer: Peer) -> None:
        """Reset a connection with RST; no effect if it has ended."""
        if stream := self._streams.get(peer):
            with contextlib.suppress(OSError):  # closed already
                stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            stream.socket.close()

    async def _serve_stream(self, stream: trio.SocketStream) -> None:
        try:
            peer: Peer = stream.socket.getpeername()[:2]
        except OSError:  # reset already
            stream.socket.close()
            return
        self._streams[peer] = stream
        server = TCPServer(self._app, self._config, self._context, ConnectionState({}), cast("Any", stream))
        try:
            await server
        except* PROTOCOL_ERRORS:
            pass
        finally:
            stream.socket.close()
            self._streams.pop(peer, None)


def _config() -> Config:
    config = Config()
    config.accesslog = None
    config.errorlog = logging.getLogger("okxsync.sandbox")
    config.include_server_header = False
    config.keep_alive_timeout = 75.0
    config.keep_alive_max_requests = 10**9
    config.websocket_max_message_size = MAX_MESSAGE
    return config
