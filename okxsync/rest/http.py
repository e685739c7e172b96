"""HTTP as all REST clients share it: persistent connections, and replies of limited size.

Neither the environment nor an earlier reply changes a request: there is no proxy (the WebSockets use none either), and
there are no cookies and no redirects.
"""

import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Final, NamedTuple, Protocol
from urllib.parse import urlencode

import h11
import httpx
import msgspec
import trio

from okxsync import __version__
from okxsync.rest.connections import Connections, Origin, protocol_errors
from okxsync.runtime.text import sanitize

AT_ONCE: Final = 64
"""Connections to each site: enough for the rate limits of every account at a tenth of a second per call, and
for the preview of a plan."""
IDLE_S: Final = 15.0
"""A TCP and TLS handshake costs more time than a request, and an idle connection 40 KB: at its start a daemon has
as many as may be, and later one or two."""
MAX_REPLY_BYTES: Final = 16 * 2**20
"""No reply of OKX comes near this size."""
_HEADERS: Final = (("Accept", "*/*"), ("Accept-Encoding", "gzip"), ("User-Agent", f"okxsync/{__version__}"))
"""Of every request; ``_Body`` can decompress gzip within a limit."""
UNREADABLE: Final = (msgspec.DecodeError, UnicodeError, RecursionError)
"""What decoding an invalid reply raises."""


class Address(NamedTuple):
    """The parts of an address without a query: ``host`` is the header of that name."""

    origin: Origin
    host: str
    path: str


@lru_cache(maxsize=256)
def address_of(url: str) -> Address:
    """Return the parts of an address; to parse it takes a tenth of what a request costs."""
    parsed = httpx.URL(url)
    return Address(Origin.of(parsed), parsed.netloc.decode("ascii"), parsed.raw_path.decode("ascii"))


class Auth(Protocol):
    """Adds headers to a request."""

    async def headers(self, method: str, target: bytes, content: bytes) -> Mapping[str, str]:
        """Return the headers for the bytes that are sent.

        Raises:
            ConfigError: a secret is missing.
        """


class Http:
    """The HTTP client that all accounts share.

    The requests of many accounts are most of an idle daemon's CPU time: ``httpx.AsyncClient`` would double it.
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def close_idle(self) -> None:
        """Close the connections that are idle for too long, also while there are no requests; never returns."""
        await self._connections.close_idle()

    async def exchange(
        self,
        method: str,
        address: Address,
        target: str,
        headers: Mapping[str, str],
        content: bytes = b"",
        before: Callable[[], None] = lambda: None,
    ) -> tuple[int, bytes]:
        """Send a request once, and return status and body of the reply.

        Args:
            address: Where to; ``target`` has its path.
            target: Path and query, as they are sent.
            headers: In addition to those of every request.
            before: Called directly before the only write. If it raises, nothing is sent.

        Raises:
            httpx.HTTPError: the exchange cannot be reached, or violates HTTP.
            ValueError: the body is too large, or of an unexpected content encoding.
        """
        size = [("Content-Length", str(len(content)))] if content else []
        with protocol_errors():
            head = h11.Request(
                method=method, target=target, headers=[("Host", address.host), *_HEADERS, *size, *headers.items()]
            )
        reply = await self._connections.request(address.origin, head, content, before)
        try:
            return reply.status, await read_body(reply.__aiter__(), reply.encoding)
        finally:
            await reply.aclose()


@asynccontextmanager
async def open_http() -> AsyncIterator[Http]:
    """Open the client that all accounts share; each request has a deadline of its own."""
    async with Connections(AT_ONCE, IDLE_S) as connections:
        yield Http(connections)


async def fetch(
    http: Http, url: str, params: Mapping[str, str] | None = None, auth: Auth | None = None
) -> tuple[int, bytes]:
    """Return status and body of the reply to a GET request; errors as ``Http.exchange``."""
    address = address_of(url)
    target = f"{address.path}?{urlencode(params)}" if params else address.path
    return await http.exchange("GET", address, target, await auth.headers("GET", target.encode(), b"") if auth else {})


async def post(http: Http, url: str, content: bytes, auth: Auth) -> tuple[int, bytes]:
    """Return status and body of the reply to a POST request with a JSON document; errors as ``Http.exchange``."""
    address = address_of(url)
    headers = {"Content-Type": "application/json", **await auth.headers("POST", address.path.encode(), content)}
    return await http.exchange("POST", address, address.path, headers, content)


async def read_body(parts: AsyncIterator[bytes], encoding: str) -> bytes:
    """Return a body, decompressed.

    Raises:
        httpx.HTTPError: the connection has failed.
        ValueError: the body is too large, or of an unexpected content encoding.
    """
    body = _Body(encoding)
    with trio.CancelScope() as scope:
        async for part in parts:
            body.take(part)
            if body.rejected:
                scope.cancel(reason=body.rejected)  # from within, so that every generator is closed
    if body.rejected:
        raise ValueError(body.rejected)
    return bytes(body.bytes)


class _Body:
    """What was received of a body, decompressed up to a limit, and why the rest is rejected."""

    def __init__(self, encoding: str) -> None:
        self.bytes = bytearray()
        self._gunzip = zlib.decompressobj(zlib.MAX_WBITS | 16) if encoding == "gzip" else None
        accepted = encoding in ("gzip", "identity")
        self.rejected = "" if accepted else f"unexpected content encoding: {sanitize(encoding)}"

    def take(self, part: bytes) -> None:
        if self.rejected:
            return
        room = MAX_REPLY_BYTES + 1 - len(self.bytes)
        try:
            self.bytes += self._gunzip.decompress(part, room) if self._gunzip else part[:room]
        except zlib.error:
            self.rejected = "invalid gzip data"
        if len(self.bytes) > MAX_REPLY_BYTES:
            self.rejected = f"reply larger than {MAX_REPLY_BYTES >> 20} MiB"
