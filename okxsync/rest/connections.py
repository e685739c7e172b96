"""Persistent HTTP/1.1 connections, of which each carries one request at a time.

A request is written at once, headers and body together, and nothing else runs between the last question whether it may
be sent and that write. ``h11`` knows the protocol, ``feed.tcp`` and ``feed.tls`` the socket. The usual pool of httpx,
httpcore, costs more: 1.3 ms of CPU time per request over TLS instead of 0.3 ms, and with 100 connections 20 ms, because
it compares all its connections with each other (measured on httpcore 1.0.9).

Nothing is repeated and no redirect is followed. Of the idle connections a request takes the one that was used last.
"""

from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final, NamedTuple, TypeAlias

import h11
import httpx
import trio

from okxsync.feed.causes import cause_of
from okxsync.feed.tcp import Tcp, open_tcp
from okxsync.feed.tls import Tls, open_tls

MAX_HEAD_BYTES: Final = 100 * 1024
"""Of a reply; no exchange sends as much."""
WARMED_AT_ONCE: Final = 8
"""TLS handshakes at the same time: each costs as much as some orders, and everything else goes on meanwhile."""
Header: TypeAlias = tuple[bytes, bytes]


class Origin(NamedTuple):
    """What a connection leads to."""

    secure: bool
    host: str
    port: int

    @classmethod
    def of(cls, url: httpx.URL) -> "Origin":
        secure = url.scheme == "https"
        return cls(secure, url.raw_host.decode("ascii"), url.port or (443 if secure else 80))


class _Connection:
    """A connection; ``since`` is when it was used last, in seconds of trio's clock."""

    def __init__(self, stream: Tcp | Tls) -> None:
        self.stream = stream
        self.http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)
        self.since = trio.current_time()

    def is_usable(self) -> bool:
        """Whether an idle connection can carry a request: the peer has neither closed it nor sent a byte."""
        try:
            return self.stream.read() is None
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return False

    async def close(self) -> None:
        with trio.CancelScope(shield=True):  # it waits for nothing, and the next one must be closed too
            await trio.aclose_forcefully(self.stream)


class Reply:
    """The reply to one request: status and headers are known, the body is read from the connection.

    Args:
        end: Called once with the connection when the reply is closed.
    """

    def __init__(self, connection: _Connection, head: h11.Response, end: Callable[[_Connection], None]) -> None:
        self.status: Final = head.status_code
        self.headers: Final[Sequence[Header]] = list(head.headers)
        self._connection = connection
        self._end: Callable[[_Connection], None] | None = end

    @property
    def encoding(self) -> str:
        """The content encoding."""
        found = (value for name, value in self.headers if name == b"content-encoding")
        return next(found, b"identity").decode("latin-1").lower()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while isinstance(event := await _next_event(self._connection), h11.Data):
            yield bytes(event.data)

    async def aclose(self) -> None:
        """End the reply; the connection is kept if the body was read completely and the peer keeps it too."""
        if (end := self._end) is None:
            return
        self._end = None
        http = self._connection.http
        try:
            if http.our_state is http.their_state is h11.DONE and http.trailing_data == (b"", False):
                http.start_next_cycle()
                self._connection.since = trio.current_time()
            else:
                await self._connection.close()
        finally:
            end(self._connection)


class Connections(trio.abc.AsyncResource):
    """Carries at most ``at_once`` requests to each host; more wait in order of arrival.

    The limit is not shared: a host that does not answer must not delay the requests to others.

    Args:
        idle_s: For how long a connection is kept without a request.
    """

    def __init__(self, at_once: int, idle_s: float) -> None:
        self._rooms: defaultdict[Origin, trio.Semaphore] = defaultdict(lambda: trio.Semaphore(at_once))
        self._idle_s: Final = idle_s
        self._idle: defaultdict[Origin, deque[_Connection]] = defaultdict(deque)  # the one used last is at the end
        self._warming = trio.Lock()

    async def request(
        self, origin: Origin, head: h11.Request, body: bytes = b"", before: Callable[[], None] = lambda: None
    ) -> Reply:
        """Send a request and return its reply, which the caller closes.

        Args:
            before: Called directly before the only write. If it raises, nothing is sent.

        Raises:
            httpx.TransportError: the connection could not be opened or has failed, or HTTP was violated.
        """
        room = self._rooms[origin]
        await room.acquire()
        connection: _Connection | None = None
        try:
            await self._close_expired()
            connection = await self._take_idle(origin) or await self._open(origin)
            with protocol_errors():
                http = connection.http
                parts = [http.send(head), http.send(h11.Data(body)) if body else b"", http.send(h11.EndOfMessage())]
                data = b"".join(part for part in parts if part)
            before()
            with protocol_errors():
                if not connection.stream.send_soon(data):
                    await connection.stream.flush()
            event = await _next_event(connection)
            while isinstance(event, h11.InformationalResponse):
                event = await _next_event(connection)
            assert isinstance(event, h11.Response)  # h11 returns nothing else
        except BaseException:
            room.release()
            if connection:
                await connection.close()
            raise
        return Reply(connection, event, lambda one: self._ended(origin, one))

    async def warm(self, origin: Origin, count: int) -> None:
        """Have this many connections ready, as far as there is room: TCP and TLS cost more time than a request.

        What cannot be opened is left to the requests, which report it.
        """
        async with self._warming:
            await self._close_expired()
            idle = self._idle[origin]
            unusable = [one for one in idle if not one.is_usable()]
            for connection in unusable:  # before the first close: meanwhile requests take connections too
                idle.remove(connection)
            for connection in unusable:
                await connection.close()
            missing = min(count, self._rooms[origin].value) - len(idle)
            places = trio.CapacityLimiter(WARMED_AT_ONCE)

            async def open_one() -> None:
                async with places:
                    with suppress(httpx.TransportError):
                        idle.appendleft(await self._open(origin))

            async with trio.open_nursery() as nursery:
                for _ in range(missing):
                    nursery.start_soon(open_one)

    async def close_idle(self) -> None:
        """Close what is idle for too long, also while there are no requests; never returns."""
        while True:
            await trio.sleep(self._idle_s / 4)
            await self._close_expired()

    async def aclose(self) -> None:
        """Close the idle connections; a request under way closes its own."""
        with trio.CancelScope(shield=True):  # each close is a checkpoint: a cancelled one would leave the others open
            for idle in list(self._idle.values()):
                while idle:
                    await idle.pop().close()

    def _ended(self, origin: Origin, connection: _Connection) -> None:
        if connection.http.our_state is h11.IDLE:
            self._idle[origin].append(connection)
        self._rooms[origin].release()

    async def _take_idle(self, origin: Origin) -> _Connection | None:
        idle = self._idle[origin]
        while idle:
            connection = idle.pop()
            if connection.is_usable():
                return connection
            await connection.close()
        return None

    async def _open(self, origin: Origin) -> _Connection:
        try:
            tcp = await open_tcp(origin.host, origin.port)
            try:
                return _Connection(await open_tls(tcp, origin.host) if origin.secure else tcp)
            except BaseException:
                await trio.aclose_forcefully(tcp)
                raise
        except OSError as error:
            raise httpx.ConnectError(cause_of(error)) from error

    async def _close_expired(self) -> None:
        expired = trio.current_time() - self._idle_s
        for idle in list(self._idle.values()):  # while one is closed, a request may add another host
            while idle and idle[0].since < expired:
                await idle.popleft().close()


async def _next_event(connection: _Connection) -> h11.Event:
    """Return the next event of a reply; an ``EndOfMessage`` ends it."""
    http = connection.http
    with protocol_errors():
        while (event := http.next_event()) is h11.NEED_DATA:
            http.receive_data(await connection.stream.receive_some())
    if not isinstance(event, (h11.InformationalResponse, h11.Response, h11.Data, h11.EndOfMessage)):
        raise httpx.RemoteProtocolError("the exchange closed the connection without a reply")
    return event


@contextmanager
def protocol_errors() -> Iterator[None]:
    """Raise the errors of sockets and of h11 as httpx's, which every caller knows."""
    try:
        yield
    except h11.LocalProtocolError as error:
        raise httpx.LocalProtocolError(str(error)) from error
    except h11.RemoteProtocolError as error:
        raise httpx.RemoteProtocolError(str(error)) from error
    except (trio.BrokenResourceError, trio.ClosedResourceError, OSError) as error:
        raise httpx.ReadError(str(error)) from error
