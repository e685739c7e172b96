"""A scripted exchange: real WebSocket frames over socket pairs, so that time can be virtual.

``Exchange`` replaces TCP. Each dial runs the test's script with a ``Peer``; ``Timeline`` and ``Received`` have what the
session under test reports. Nothing here waits in real time, and nothing leaves the process.
"""

import socket as stdlib_socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import trio
from trio_websocket import ConnectionClosed, HandshakeError, WebSocketConnection, wrap_server_stream
from wsproto.events import Ping, TextMessage

from okxsync.config.secret import Secret
from okxsync.feed.causes import first_error
from okxsync.feed.reader import SocketReader
from okxsync.feed.session import Session
from okxsync.feed.socket import Socket, SocketError
from okxsync.feed.spec import ConnectionSpec, Disconnected, Keys
from okxsync.feed.tcp import Tcp
from okxsync.messages import Message, Phase
from okxsync.okx.channels import subscription
from okxsync.runtime.outbox import Inbox, open_outbox
from tests.support.outbox import MAX_BYTES, queue, queued, received
from tests.support.sockets import open_socket

M = TypeVar("M", bound=Message)

KEYS = Keys(*(Secret(text, Path()) for text in ("key", "secret", "passphrase")))
START_NS = 1_700_000_000 * 10**9
"""What the wall clock says when a test begins."""
CONN_ID = "a4d3ae55"


def spec_of(*channels: str | Mapping[str, str], keys: Keys | None = KEYS, listener: str = "alpha") -> ConnectionSpec:
    """Return a spec for some channels of the private endpoint, or of the public one without keys."""
    endpoint = "private" if keys else "public"
    subscriptions = tuple(subscription(one) for one in channels or ("orders", "account"))
    account = listener if keys else None
    return ConnectionSpec(listener, account, endpoint, f"ws://peer/{endpoint}", "global", False, subscriptions, keys)


class FixedClock:
    """An exchange whose clock does not move; counts how often it was measured."""

    def __init__(self) -> None:
        self.measured = 0

    def now_s(self) -> float:
        return 1538054050.7

    async def measure(self) -> None:
        self.measured += 1
        await trio.lowlevel.checkpoint()


class Peer:
    """The exchange's side of one socket."""

    def __init__(self, connection: WebSocketConnection, number: int) -> None:
        self._connection = connection
        self.number = number  # of the dial, from 0

    async def receive(self) -> Any:
        """Return the next frame: decoded if it is JSON, else as it is."""
        frame = str(await self._connection.get_message())
        return msgspec.json.decode(frame) if frame.startswith("{") else frame

    async def send(self, frame: str | dict[str, object]) -> None:
        await self._connection.send_message(frame if isinstance(frame, str) else msgspec.json.encode(frame).decode())

    async def send_at_once(self, *frames: str) -> None:
        """Send frames in one piece, so that the other side reads them together."""
        data = b"".join(self._connection._wsproto.send(TextMessage(frame)) for frame in frames)
        await self._connection._stream.send_all(data)

    async def ping(self) -> None:
        """Send a ping of the protocol, which is no frame of the exchange, and do not wait for its answer."""
        await self._connection._stream.send_all(self._connection._wsproto.send(Ping(b"")))

    async def close(self, code: int = 1000, reason: str | None = None) -> None:
        await self._connection.aclose(code, reason)

    async def log_in(self) -> dict[str, str]:
        """Accept a login, and return its argument."""
        login = await self.receive()
        assert login["op"] == "login"
        await self.send({"event": "login", "code": "0", "msg": "", "connId": CONN_ID})
        return dict(login["args"][0])

    async def subscribe(self) -> None:
        """Acknowledge all channels of a subscribe request."""
        request = await self.receive()
        assert request["op"] == "subscribe"
        for arg in request["args"]:
            await self.send({"id": request["id"], "event": "subscribe", "arg": arg, "connId": CONN_ID})

    async def reject(self, code: str, **more: str) -> None:
        await self.send({"event": "error", "code": code, "msg": "as scripted", "connId": CONN_ID, **more})

    async def go_live(self) -> None:
        await self.log_in()
        await self.subscribe()

    async def answer_pings(self) -> None:
        """Answer every ping until the other side closes."""
        while True:
            if await self.receive() == "ping":
                await self.send("pong")


Script = Callable[[Peer], Awaitable[None]]


class Resolver(trio.abc.HostnameResolver):
    """Resolves every name without a thread: virtual time would jump while one works."""

    async def getaddrinfo(self, host, port, family=0, type=0, proto=0, flags=0):  # type: ignore[no-untyped-def]
        await trio.lowlevel.checkpoint()
        return stdlib_socket.getaddrinfo("127.0.0.1", port, family, type, proto, flags | stdlib_socket.AI_NUMERICHOST)

    async def getnameinfo(self, sockaddr, flags):  # type: ignore[no-untyped-def]
        raise NotImplementedError


class Exchange:
    """Accepts every dial. ``nursery`` runs the scripts, so an assertion in one fails the test."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self.script: Script = Peer.answer_pings
        self.upgrades = True  # False: accept TCP and stay silent
        self.refuses_tcp = False  # True: connection refused
        self.rejects: int | None = None  # the HTTP status that answers the upgrade
        self.reads = True  # False: the peer reads nothing more, so a send never returns
        self.dials: list[float] = []  # times
        self.count_after: Callable[[], float] = lambda: 0.0  # seconds from a dial until the exchange counts it
        self.answer_after: Callable[[], float] = lambda: 0.0  # seconds from there until it answers
        self.counted: list[float] = []  # times
        self.open = 0  # sockets that the daemon's half has not closed

    async def dial(self, host: str, port: int) -> Tcp:
        """Replace ``open_tcp``."""
        await trio.lowlevel.checkpoint()
        self.dials.append(trio.current_time())
        if self.refuses_tcp:
            raise OSError("connection refused")
        ours, theirs = (trio.SocketStream(trio.socket.from_stdlib_socket(end)) for end in stdlib_socket.socketpair())
        self.open += 1
        self._nursery.start_soon(self._serve, ours, len(self.dials) - 1)
        return _Dialled(theirs, self)

    async def _serve(self, stream: trio.abc.Stream, number: int) -> None:
        if (delay_s := self.count_after()) > 0:
            await trio.sleep(delay_s)
        self.counted.append(trio.current_time())
        if (delay_s := self.answer_after()) > 0:
            await trio.sleep(delay_s)
        try:
            if not self.upgrades:
                await trio.sleep_forever()
            async with trio.open_nursery() as nursery:
                request = await wrap_server_stream(nursery, stream)
                if self.rejects:
                    await request.reject(self.rejects)
                else:
                    await self.script(Peer(await request.accept(), number))
                nursery.cancel_scope.cancel()
        except* (ConnectionClosed, HandshakeError, trio.BrokenResourceError):
            pass  # the client has left
        finally:
            await trio.aclose_forcefully(stream)


class _Dialled(Tcp):
    """The client's half of a connection."""

    def __init__(self, stream: trio.SocketStream, exchange: Exchange) -> None:
        super().__init__(stream)
        self._exchange = exchange

    def send_soon(self, data: bytes) -> bool:
        return self._exchange.reads and super().send_soon(data)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if not self._exchange.reads:
            await trio.sleep_forever()
        await super().send_all(data)

    async def aclose(self) -> None:
        self._exchange.open -= self.fileno() >= 0
        await super().aclose()


async def receive(opened: Socket) -> str:
    """Return the next frame.

    Raises:
        SocketError: the connection has ended.
    """
    while not opened.messages:
        if opened.ended:
            raise opened.ended
        await trio.lowlevel.wait_readable(opened.fileno())
        opened.read()
    return opened.messages.pop(0)


class Timeline:
    """The messages to the writer, in order, each with its virtual time."""

    def __init__(self) -> None:
        self.all: list[tuple[float, Message]] = []
        self._news = trio.Event()
        self.send, self._receive = queue()

    async def collect(self) -> None:
        async for message in received(self._receive):
            self.all.append((trio.current_time(), message))
            self._news.set()
            self._news = trio.Event()

    def of(self, kind: type[M]) -> list[M]:
        return [message for _, message in self.all if isinstance(message, kind)]

    def phases(self) -> list[tuple[float, str]]:
        return [(round(at, 1), message.phase) for at, message in self.all if isinstance(message, Phase)]

    async def reaches(self, phase: str, times: int = 1) -> Phase:
        """Wait until connections have entered ``phase`` this many times, and return the row."""
        while True:
            found = [row for row in self.of(Phase) if row.phase == phase]
            if len(found) >= times:
                return found[times - 1]
            await self._news.wait()


class Received:
    """The messages to the writer, in order."""

    def __init__(self, receive: Inbox) -> None:
        self._receive = receive
        self._all: list[Message] = []

    @property
    def all(self) -> list[Message]:
        self._all += queued(self._receive)
        return self._all

    def of(self, kind: type[M]) -> list[M]:
        return [message for message in self.all if isinstance(message, kind)]


class SessionRun:
    """One session under test: its phases, its messages, and how it ends."""

    def __init__(self, capacity: int, max_bytes: int, succeeds: bool) -> None:
        self._succeeds = succeeds
        self.send, self.receive = open_outbox(capacity, max_bytes)
        self.received = Received(self.receive)
        self.reader = SocketReader(self.send)
        self.phases: list[str] = []
        self.session: Session | None = None
        self._end: Disconnected | SocketError | None = None
        self._has_ended = trio.Event()

    async def enter(self, phase: str) -> None:
        self.phases.append(phase)

    async def run(self, spec: ConnectionSpec) -> None:
        try:
            async with open_socket(spec.url) as opened, self.reader.running():
                self.session = Session(
                    7,
                    spec,
                    opened,
                    self.reader,
                    self.send,
                    FixedClock(),
                    self.enter,
                    trio.lowlevel.checkpoint,
                    succeeds=self._succeeds,
                )
                await self.session.run()
        except* (Disconnected, SocketError) as group:
            self._end = first_error(group)
        self._has_ended.set()

    @property
    def has_ended(self) -> bool:
        return self._has_ended.is_set()

    async def end(self) -> Disconnected | SocketError:
        """Wait for the end, and return what was raised."""
        await self._has_ended.wait()
        assert self._end
        return self._end

    async def ended(self) -> Disconnected:
        end = await self.end()
        assert isinstance(end, Disconnected), end
        return end


@asynccontextmanager
async def run_session(
    spec: ConnectionSpec, *, capacity: int = 10_000, max_bytes: int = MAX_BYTES, succeeds: bool = False
) -> AsyncIterator[SessionRun]:
    """Run a session; cancel it in the end."""
    run = SessionRun(capacity, max_bytes, succeeds)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run.run, spec)
        yield run
        nursery.cancel_scope.cancel()
