"""A REST reply as it comes from a network: its body is there to be read once, and was not read before."""

import json
from collections.abc import AsyncIterator

import httpx


class Body(httpx.AsyncByteStream):
    def __init__(self, body: bytes) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._body


def reply(document: object) -> httpx.Response:
    return httpx.Response(200, stream=Body(json.dumps(document).encode()))
