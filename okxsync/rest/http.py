"""HTTP as all REST clients share it: persistent connections, and replies of limited size.

Neither the environment nor an earlier reply changes a request: there is no proxy (the WebSockets use none either), and
there are no cookies.
"""

import zlib
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Final

import httpx
import msgspec
import trio

from okxsync.rest.connections import Connections
from okxsync.runtime.text import sanitize

AT_ONCE: Final = 64
"""Connections to all sites together: enough for the rate limits of every account at a tenth of a second per call, and
for the preview of a plan."""
IDLE_S: Final = 60.0
"""A TCP and TLS handshake costs more time than a request."""
MAX_REPLY_BYTES: Final = 16 * 2**20
"""No reply of OKX comes near this size."""
UNREADABLE: Final = (msgspec.DecodeError, UnicodeError, RecursionError)
"""What decoding an invalid reply raises."""


def open_http(at_once: int = AT_ONCE, idle_s: float = IDLE_S) -> httpx.AsyncClient:
    """Return the HTTP client that all accounts share; each request has a deadline of its own.

    Args:
        at_once: The number of connections; as many are kept.
        idle_s: For how long a connection is kept without a request.
    """
    return httpx.AsyncClient(
        timeout=None,
        transport=Connections(at_once, idle_s),
        trust_env=False,
        headers={"accept-encoding": "gzip"},  # ``fetch`` can decompress it within a limit
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
    )


async def fetch(
    http: httpx.AsyncClient, url: str, params: dict[str, str] | None = None, auth: httpx.Auth | None = None
) -> tuple[int, bytes]:
    """Return status and body of a GET request; errors as ``read_reply``."""
    return await read_reply(http.stream("GET", url, params=params, auth=auth))


async def read_reply(responding: AbstractAsyncContextManager[httpx.Response]) -> tuple[int, bytes]:
    """Send a request, and return status and body of the reply.

    Args:
        responding: What ``httpx.AsyncClient.stream`` returns.

    Raises:
        httpx.HTTPError: the exchange cannot be reached, or violates HTTP.
        ValueError: the body is too large, or of an unexpected content encoding.
    """
    async with responding as response:
        encoding = response.headers.get("content-encoding", "identity")
        return response.status_code, await read_body(response.aiter_raw(), encoding)


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
