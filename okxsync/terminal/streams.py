"""Hypercorn's server on streams that we accept, so that a browser which does not read can be cut.

Hypercorn shields its sends, so they cannot be cancelled: a connection ends when its socket is closed here.
"""

import contextlib
import logging
import math
import socket
import ssl
import struct
from functools import partial
from typing import Any, Final, cast

import msgspec
import trio
from hypercorn.config import Config
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper, ASGIFramework, ConnectionState
from hypercorn.utils import wrap_app

log = logging.getLogger("okxsync.terminal")

Peer = tuple[str, int]

MAX_MESSAGE: Final = 64 * 1024
"""Characters of a message from a page; a longer one closes its connection with 1009."""
MAX_STREAMS: Final = 200
"""Four connections a browser. One more is closed at once."""
SEND_BUFFER: Final = 256 * 1024
"""Bytes that the system keeps for a browser which does not read; by default it takes some megabytes for each."""
IDLE_S: Final = 5.0
"""A connection without a request is closed after this time."""
STRANGER_S: Final = 15.0
"""Any connection is cut after this time, unless its browser has logged in: no request takes so long."""


class _Accepted(msgspec.Struct):
    """``until_s``: on trio's clock, when the connection is cut."""

    stream: trio.SocketStream
    until_s: float


class Streams:
    """The accepted streams of one server, by the address of their peer.

    Args:
        tls: None: plain HTTP.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._config = _config()
        self._context = WorkerContext(None)
        self._accepted: dict[Peer, _Accepted] = {}

    async def serve(self, app: ASGIFramework, listeners: list[trio.SocketListener]) -> None:
        """Accept and serve until cancelled. No client can end it."""
        wrapped = wrap_app(app, MAX_MESSAGE, "asgi")
        async with trio.open_nursery() as handlers:
            try:
                await trio.serve_listeners(partial(self._serve_stream, wrapped), listeners, handler_nursery=handlers)
            finally:
                for one in self._accepted.values():
                    one.stream.socket.close()

    def keep(self, peer: Peer) -> None:
        """Let a connection live on: its user has logged in."""
        if one := self._accepted.get(peer):
            one.until_s = math.inf

    def cut_strangers(self) -> None:
        """Cut the connections that have lived for long enough, whatever they are doing."""
        now_s = trio.current_time()
        for peer in [peer for peer, one in self._accepted.items() if one.until_s < now_s]:
            self.cut(peer)

    def cut(self, peer: Peer) -> None:
        """Reset a connection, so that the system keeps nothing for it; no effect if it has ended."""
        if one := self._accepted.get(peer):
            with contextlib.suppress(OSError):  # closed already
                one.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            one.stream.socket.close()

    async def _serve_stream(self, app: AppWrapper, stream: trio.SocketStream) -> None:
        try:
            peer: Peer = stream.socket.getpeername()[:2]
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        except OSError:  # it has ended already
            stream.socket.close()
            return
        if len(self._accepted) >= MAX_STREAMS:
            stream.socket.close()
            return
        self._accepted[peer] = _Accepted(stream, trio.current_time() + STRANGER_S)
        carrier = trio.SSLStream(stream, self._tls, server_side=True, https_compatible=True) if self._tls else stream
        server = TCPServer(app, self._config, self._context, ConnectionState({}), cast("Any", carrier))
        try:
            await server
        except* Exception as group:  # a client violates the protocol in a way that hypercorn does not expect
            log.debug("a connection has ended: %r", group.exceptions)
        finally:
            stream.socket.close()
            self._accepted.pop(peer, None)


def _config() -> Config:
    config = Config()
    config.accesslog = None
    config.errorlog = log
    config.include_server_header = False
    config.keep_alive_timeout = IDLE_S
    config.websocket_max_message_size = MAX_MESSAGE
    return config
