"""Replies that do not end, or end too early, over real sockets: an error in time, and nothing stays open."""

import gzip
import tracemalloc

import httpx
import pytest
import trio

from okxsync.rest.http import MAX_REPLY_BYTES, fetch, open_http, post
from tests.support.replies import serve_reply

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"


async def test_a_body_without_an_end_is_rejected() -> None:
    async with serve_reply(HEAD + b"\r\n", b"x" * 2**20, endless=True) as url, open_http() as http:
        with pytest.raises(ValueError, match="larger than 16 MiB"), trio.fail_after(20):
            await fetch(http, url)


async def test_headers_without_an_end_are_rejected() -> None:
    async with serve_reply(HEAD, b"x-padding: " + b"x" * 10_000 + b"\r\n", endless=True) as url, open_http() as http:
        with pytest.raises(httpx.RemoteProtocolError), trio.fail_after(3):
            await fetch(http, url)


async def test_a_body_that_stops_in_the_middle_is_an_error() -> None:
    async with serve_reply(HEAD + b"content-length: 100\r\n\r\n{}") as url, open_http() as http:
        with pytest.raises(httpx.HTTPError), trio.fail_after(20):
            await fetch(http, url)


async def test_a_deadline_in_the_middle_of_a_body_leaves_nothing_open() -> None:
    async with serve_reply(HEAD + b"content-length: 100\r\n\r\n{}", silent=True) as url, open_http() as http:
        with trio.move_on_after(0.1) as scope:
            await fetch(http, url)
        assert scope.cancelled_caught


async def test_a_body_is_returned_completely() -> None:
    body = b"[" + b" " * (MAX_REPLY_BYTES - 2) + b"]"
    async with serve_reply(HEAD + f"content-length: {len(body)}\r\n\r\n".encode(), body) as url, open_http() as http:
        assert await fetch(http, url) == (200, body)


@pytest.mark.parametrize("chunk", [1, 1000, 10**9])
async def test_a_compressed_body_is_decompressed(chunk: int) -> None:
    body = b'{"code":"0","data":[' + b"1," * 50_000 + b"1]}"
    compressed = gzip.compress(body)
    parts = [compressed[at : at + chunk] for at in range(0, len(compressed), chunk)]
    head = HEAD + b"content-encoding: gzip\r\n" + f"content-length: {len(compressed)}\r\n\r\n".encode()
    async with serve_reply(head, *parts) as url, open_http() as http:
        assert await fetch(http, url) == (200, body)


async def test_little_data_that_decompresses_to_much_takes_no_memory() -> None:
    bomb = gzip.compress(bytes(200 * 2**20), compresslevel=9)
    head = HEAD + b"content-encoding: gzip\r\n" + f"content-length: {len(bomb)}\r\n\r\n".encode()
    async with serve_reply(head, bomb) as url, open_http() as http:
        tracemalloc.start()
        with pytest.raises(ValueError, match="larger than 16 MiB"), trio.fail_after(20):
            await fetch(http, url)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 4 * MAX_REPLY_BYTES


@pytest.mark.parametrize(
    ("encoding", "body", "expected"), [("zstd", b"", "content encoding: zstd"), ("gzip", b"{}", "invalid gzip data")]
)
async def test_a_body_of_an_unexpected_encoding_is_an_error(encoding: str, body: bytes, expected: str) -> None:
    head = HEAD + f"content-encoding: {encoding}\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    async with serve_reply(head + body) as url, open_http() as http:
        with pytest.raises(ValueError, match=expected):
            await fetch(http, url)


async def test_neither_cookies_nor_the_environment_change_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "socks5://127.0.0.1:1")
    received: list[bytes] = []
    answer = HEAD + b"set-cookie: who=alpha; Path=/\r\ncontent-length: 2\r\n\r\n{}"
    async with serve_reply(answer, requests=received) as url, open_http() as http:
        for _ in range(2):
            assert await fetch(http, url) == (200, b"{}")
    assert len(received) == 2
    for request in received:
        assert b"accept-encoding: gzip\r\n" in request.lower()
        assert b"cookie" not in request.lower()


async def test_an_invalid_header_is_an_error_that_says_so() -> None:
    class Auth:
        async def headers(self, method: str, target: bytes, content: bytes) -> dict[str, str]:
            return {"OK-ACCESS-PASSPHRASE": "canary\n"}

    async with serve_reply(HEAD + b"content-length: 2\r\n\r\n{}") as url, open_http() as http:
        with pytest.raises(httpx.LocalProtocolError):
            await fetch(http, url, auth=Auth())


async def test_what_is_signed_is_what_is_sent() -> None:
    signed: list[tuple[str, bytes, bytes]] = []
    received: list[bytes] = []

    class Auth:
        async def headers(self, method: str, target: bytes, content: bytes) -> dict[str, str]:
            signed.append((method, target, content))
            return {"OK-ACCESS-SIGN": "s"}

    async with serve_reply(HEAD + b"content-length: 2\r\n\r\n{}", requests=received) as url, open_http() as http:
        await fetch(http, f"{url}api/v5/trade/fills", {"ordType": "a,b", "uly": "X&Y"}, Auth())
        await post(http, f"{url}api/v5/trade/order", b'{"sz":"1"}', Auth())
    for (method, target, content), request in zip(signed, received, strict=True):
        head, _, body = request.partition(b"\r\n\r\n")
        assert head.split(b"\r\n")[0] == b"%s %s HTTP/1.1" % (method.encode(), target)
        assert b"ok-access-sign: s" in head.lower().split(b"\r\n")
        assert body == content
