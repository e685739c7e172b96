"""Replies that do not end, or end too early, over real sockets: an error in time, and nothing left open."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
import trio

from okxsync.rest.http import MAX_REPLY_BYTES, fetch, open_http


@asynccontextmanager
async def saying(*parts: bytes, endless: bool = False, silent: bool = False) -> AsyncIterator[str]:
    """Serve one answer to whoever asks: these parts, the last one again and again, or nothing more."""

    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        try:
            for part in parts:
                await stream.send_all(part)
            while endless:
                await stream.send_all(parts[-1])
            if silent:
                await trio.sleep_forever()
        except trio.BrokenResourceError:  # the client has heard enough
            pass

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, serve, 0)
        port = listeners[0].socket.getsockname()[1]
        yield f"http://127.0.0.1:{port}/"
        nursery.cancel_scope.cancel(reason="the test is over")


HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"


async def test_a_body_without_an_end_is_not_taken() -> None:
    async with saying(HEAD + b"\r\n", b"x" * 2**20, endless=True) as url, open_http() as http:
        with pytest.raises(ValueError, match="more than 16 MiB"), trio.fail_after(20):
            await fetch(http, url)


async def test_a_body_that_stops_in_the_middle_is_an_error() -> None:
    async with saying(HEAD + b"content-length: 100\r\n\r\n{}") as url, open_http() as http:
        with pytest.raises(httpx.HTTPError), trio.fail_after(20):
            await fetch(http, url)


async def test_a_deadline_in_the_middle_of_a_body_leaves_nothing_behind() -> None:
    async with saying(HEAD + b"content-length: 100\r\n\r\n{}", silent=True) as url, open_http() as http:
        with trio.move_on_after(0.1) as scope:
            await fetch(http, url)
        assert scope.cancelled_caught


async def test_a_body_is_returned_whole() -> None:
    body = b"[" + b" " * (MAX_REPLY_BYTES - 2) + b"]"
    async with saying(HEAD + f"content-length: {len(body)}\r\n\r\n".encode(), body) as url, open_http() as http:
        assert await fetch(http, url) == (200, body)
