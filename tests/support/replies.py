"""A REST reply as a network delivers it: its body can be read once, and was not read before."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import trio


class Body(httpx.AsyncByteStream):
    def __init__(self, body: bytes) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._body


def reply(document: object) -> httpx.Response:
    return httpx.Response(200, stream=Body(json.dumps(document).encode()))


@asynccontextmanager
async def serve_reply(
    *parts: bytes, endless: bool = False, silent: bool = False, requests: list[bytes] | None = None
) -> AsyncIterator[str]:
    """Serve one answer to each client: these parts, then the last one endlessly, or silence."""

    async def serve(stream: trio.SocketStream) -> None:
        request = await stream.receive_some()
        if requests is not None:
            requests.append(bytes(request))
        try:
            for part in parts:
                await stream.send_all(part)
            while endless:
                await stream.send_all(parts[-1])
            if silent:
                await trio.sleep_forever()
        except trio.BrokenResourceError:  # the client has closed
            pass

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, serve, 0)
        port = listeners[0].socket.getsockname()[1]
        yield f"http://127.0.0.1:{port}/"
        nursery.cancel_scope.cancel(reason="the test is over")
