"""HTTP as all REST clients share it: connections that are kept, and replies that cannot grow without end.

Nothing of the environment and nothing of an earlier reply changes a request: no proxy (the WebSockets go without one
too), no cookies.
"""

import ssl
import zlib
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Final

import httpx
import msgspec
import trio

from okxsync.runtime.text import sanitize

AT_ONCE: Final = 40
"""Connections to all sites together: enough for every account's budget at a tenth of a second per call."""
MAX_REPLY_BYTES: Final = 16 * 2**20
"""No reply of OKX comes near this."""
UNREADABLE: Final = (msgspec.DecodeError, UnicodeError, RecursionError)
"""What decoding raises of a reply that is not what it should be."""


def open_http() -> httpx.AsyncClient:
    """Return what all accounts ask through; each request has a deadline of its own, and a connection is kept."""
    return httpx.AsyncClient(
        timeout=None,
        limits=httpx.Limits(max_connections=AT_ONCE),
        verify=ssl.create_default_context(),  # as the WebSockets do: what SSL_CERT_FILE names still counts
        trust_env=False,
        headers={"accept-encoding": "gzip"},  # what ``fetch`` can unpack within bounds
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
    )


async def fetch(
    http: httpx.AsyncClient, url: str, params: dict[str, str] | None = None, auth: httpx.Auth | None = None
) -> tuple[int, bytes]:
    """Return status and body of a GET.

    Raises:
        httpx.HTTPError: the exchange cannot be reached, or breaks the protocol.
        ValueError: the body is too long, or packed in a way that was not asked for.
    """
    with trio.CancelScope() as scope:
        async with http.stream("GET", url, params=params, auth=auth) as response:
            body = _Body(response.headers.get("content-encoding", "identity"))
            async for part in response.aiter_raw():
                body.take(part)
                if body.refused:
                    scope.cancel(reason=body.refused)  # from within, so that every generator is left
    if body.refused:
        raise ValueError(body.refused)
    return response.status_code, bytes(body.bytes)


class _Body:
    """What has come of a body, unpacked up to a limit (a little may unpack to a lot), and why no more is taken."""

    def __init__(self, encoding: str) -> None:
        self.bytes = bytearray()
        self._gunzip = zlib.decompressobj(zlib.MAX_WBITS | 16) if encoding == "gzip" else None
        asked_for = encoding in ("gzip", "identity")
        self.refused = "" if asked_for else f"a reply packed as {sanitize(encoding)}, which was not asked for"

    def take(self, part: bytes) -> None:
        if self.refused:
            return
        room = MAX_REPLY_BYTES + 1 - len(self.bytes)
        try:
            self.bytes += self._gunzip.decompress(part, room) if self._gunzip else part[:room]
        except zlib.error:
            self.refused = "a reply that says that it is gzip, and is not"
        if len(self.bytes) > MAX_REPLY_BYTES:
            self.refused = f"a reply of more than {MAX_REPLY_BYTES >> 20} MiB"
