"""HTTP as all REST clients share it: connections that are kept, and replies that cannot grow without end."""

from typing import Final

import httpx
import msgspec
import trio

AT_ONCE: Final = 40
"""Connections to all sites together: enough for every account's budget at a tenth of a second per call."""
MAX_REPLY_BYTES: Final = 16 * 2**20
"""No reply of OKX comes near this."""
UNREADABLE: Final = (msgspec.DecodeError, UnicodeError, RecursionError)
"""What decoding raises of a reply that is not what it should be."""


def open_http() -> httpx.AsyncClient:
    """Return what all accounts ask through; each request has a deadline of its own, and a connection is kept."""
    return httpx.AsyncClient(timeout=None, limits=httpx.Limits(max_connections=AT_ONCE))


async def fetch(
    http: httpx.AsyncClient, url: str, params: dict[str, str] | None = None, auth: httpx.Auth | None = None
) -> tuple[int, bytes]:
    """Return status and body of a GET.

    Raises:
        httpx.HTTPError: the exchange cannot be reached, or breaks the protocol.
        ValueError: the body is too long.
    """
    body = bytearray()
    with trio.CancelScope() as scope:
        async with http.stream("GET", url, params=params, auth=auth) as response:
            async for part in response.aiter_bytes():
                body += part
                if len(body) > MAX_REPLY_BYTES:
                    scope.cancel(reason="the reply is too long")  # from within, so that every generator is left
    if len(body) > MAX_REPLY_BYTES:
        raise ValueError(f"a reply of more than {MAX_REPLY_BYTES >> 20} MiB")
    return response.status_code, bytes(body)
