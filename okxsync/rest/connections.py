"""Persistent HTTP connections, of which each carries one request at a time.

httpcore's pool compares all its connections with each other for every request: with 100 connections a request costs
20 ms of CPU time, with 200 it costs 65 ms (measured on httpcore 1.0.9). So each connection here is a pool of its own,
and a request takes the one that was used last.
"""

import ssl
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable
from typing import Final, NamedTuple

import httpx
import trio


class _Idle(NamedTuple):
    connection: httpx.AsyncHTTPTransport
    since: float  # trio's clock


class Connections(httpx.AsyncBaseTransport):
    """A transport of at most ``at_once`` connections to all hosts together; more requests wait in order of arrival.

    Args:
        idle_s: For how long a connection is kept without a request.
        tls: How certificates are checked.
    """

    def __init__(self, at_once: int, idle_s: float, tls: ssl.SSLContext) -> None:
        self._room = trio.Semaphore(at_once)
        self._idle_s: Final = idle_s
        self._tls: Final = tls
        self._idle: defaultdict[tuple[str, bytes], deque[_Idle]] = defaultdict(deque)  # the one used last is at the end

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await self._room.acquire()
        idle = self._idle[request.url.scheme, request.url.netloc]
        connection = idle.pop().connection if idle else self._open()
        try:
            await self._close_expired()
            response = await connection.handle_async_request(request)
        except BaseException:
            self._room.release()
            await connection.aclose()
            raise
        assert isinstance(response.stream, httpx.AsyncByteStream)

        def release() -> None:
            idle.append(_Idle(connection, trio.current_time()))
            self._room.release()

        response.stream = _Body(response.stream, release)
        return response

    async def aclose(self) -> None:
        """Close the idle connections; a request under way closes its own."""
        for idle in self._idle.values():
            while idle:
                await idle.pop().connection.aclose()

    def _open(self) -> httpx.AsyncHTTPTransport:
        limits = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=self._idle_s)
        return httpx.AsyncHTTPTransport(verify=self._tls, trust_env=False, limits=limits)

    async def _close_expired(self) -> None:
        expired = trio.current_time() - self._idle_s
        for idle in self._idle.values():
            while idle and idle[0].since < expired:
                await idle.popleft().connection.aclose()


class _Body(httpx.AsyncByteStream):
    """The body of a response; closing it releases the connection, which httpcore has closed if it cannot be reused."""

    def __init__(self, stream: httpx.AsyncByteStream, release: Callable[[], None]) -> None:
        self._stream = stream
        self._release: Callable[[], None] | None = release

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._stream:
            yield part

    async def aclose(self) -> None:
        try:
            await self._stream.aclose()
        finally:
            if release := self._release:
                self._release = None
                release()
