"""REST clients whose replies a test makes: httpx's transports in place of connections."""

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import httpx

from okxsync.rest.http import Address, Http, read_body

Answer = Callable[[httpx.Request], httpx.Response] | Callable[[httpx.Request], Coroutine[Any, Any, httpx.Response]]


class MockHttp(Http):
    """Passes each request to ``transport``, or to the function that answers it."""

    def __init__(self, transport: httpx.AsyncBaseTransport | Answer) -> None:
        if not isinstance(transport, httpx.AsyncBaseTransport):
            transport = httpx.MockTransport(transport)
        self._client = httpx.AsyncClient(transport=transport)

    async def exchange(
        self,
        method: str,
        address: Address,
        target: str,
        headers: Mapping[str, str],
        content: bytes = b"",
        before: Callable[[], None] = lambda: None,
    ) -> tuple[int, bytes]:
        before()
        url = f"http{'s' if address.origin.secure else ''}://{address.host}{target}"
        async with self._client.stream(method, url, headers=headers, content=content) as response:
            encoding = response.headers.get("content-encoding", "identity")
            return response.status_code, await read_body(response.aiter_raw(), encoding)
