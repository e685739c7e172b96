"""The terminal over real sockets: what its page gets, and what everybody else does not."""

import json
import os
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest
import trio

from okxsync.messages import ConfiguredAccount, Note
from okxsync.okx.channels import DEFAULT_CHANNELS
from okxsync.terminal import reader, streams, topics
from okxsync.terminal.access import TRIES
from okxsync.terminal.book import Diff
from okxsync.terminal.ring import Encoded, encode
from okxsync.terminal.server import BROWSERS, MAX_BODY, read_page, serve_terminal
from okxsync.terminal.streams import MAX_MESSAGE
from tests.support.desk import NOW, Desk, order
from tests.support.terminal import WITHIN_S, View, Visitor

ESTABLISHED = 1
"""The state of a TCP connection, first byte of TCP_INFO."""


@pytest.fixture
def desk(desk: Desk) -> Desk:
    desk.apply(ConfiguredAccount("alpha", "sandbox", True, NOW, None))
    desk.begin(*DEFAULT_CHANNELS, pid=os.getpid())
    desk.push("orders", order(1))
    return desk


@pytest.fixture
async def visitor(desk: Desk) -> AsyncIterator[Visitor]:
    """A browser of a running terminal that has not logged in."""
    async with serve_terminal(desk.path) as (address, token):
        yield Visitor(address, token)


async def test_a_page_logs_in_and_follows_the_database(desk: Desk, visitor: Visitor) -> None:
    answer = await visitor.login()
    assert answer.status_code == 200
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith(f"okxsync-{visitor.address.port}=")
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= {part.strip() for part in cookie.split(";")}
    assert visitor.key not in cookie
    async with visitor.view() as view:
        while view.rows.keys() != topics.TOPICS.keys():
            await view.take()
        assert [*view.rows["orders"]] == [("alpha", "order", "1")]
        desk.push("orders", order(2))
        while len(view.rows["orders"]) < 2:
            await view.take()
        while not view.now.get("daemon"):
            await view.take()
        assert view.now["daemon"]["state"] == "stopped"  # its last heartbeat is of the test's time
        assert view.now["error"] is None


async def test_a_page_that_comes_back_gets_what_it_lacks(visitor: Visitor) -> None:
    await visitor.login()
    async with visitor.view("orders") as view:
        while not (view.now and view.rows):
            await view.take()
    async with visitor.socket() as ws:
        known = {"epoch": view.now["epoch"], "sub": {"orders": view.numbers["orders"]}}
        await ws.send_message(json.dumps({"key": visitor.key, **known}))
        (heartbeat,) = json.loads(await ws.get_message())
        (part, *_) = json.loads(await ws.get_message())
    assert heartbeat["t"] == "now"  # it says how much there is to read
    assert (part["t"], part["put"], part["del"]) == ("orders", [], [])


async def test_every_answer_has_the_security_headers(visitor: Visitor) -> None:
    for method, path in (("GET", "/"), ("GET", "/nothing"), ("POST", "/session"), ("PUT", "/"), ("POST", "/")):
        answer = await visitor.request(method, path)
        policy = answer.headers["Content-Security-Policy"]
        assert f"connect-src 'self' ws://{visitor.host};" in policy
        for rule in ("default-src 'none'", "frame-ancestors 'none'", "require-trusted-types-for 'script'"):
            assert rule in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert answer.headers["Cache-Control"] == "no-store"
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert "Server" not in answer.headers


async def test_dns_rebinding_gets_nothing(visitor: Visitor) -> None:
    await visitor.login()
    for host in ("evil.example", "127.0.0.1", "127.0.0.1:1", "localhost.evil.example"):
        visitor.host, visitor.origin = host, f"http://{host}"
        for method, path in (("GET", "/"), ("GET", "/page/app.js"), ("POST", "/session")):
            answer = await visitor.request(method, path)
            assert answer.status_code == 421
            assert host not in str(answer.headers)
        assert (await visitor.handshake()).startswith(b"HTTP/1.1 421 ")


async def test_a_page_of_another_origin_opens_no_socket_and_does_not_log_in(visitor: Visitor) -> None:
    await visitor.login()
    port = visitor.address.port
    others = (None, "null", "http://evil.example", f"http://127.0.0.1:{port + 1}", f"http://localhost:{port}")
    for visitor.origin in others:
        assert (await visitor.handshake()).startswith(b"HTTP/1.1 403 ")
        assert (await visitor.request("POST", "/session", json={"token": visitor.token})).status_code == 403


async def test_requests_of_another_site_are_refused_whatever_their_origin(visitor: Visitor) -> None:
    await visitor.login()
    for site in ("cross-site", "same-site", "none"):
        headers = {"Sec-Fetch-Site": site}
        assert (await visitor.handshake(headers)).startswith(b"HTTP/1.1 403 ")
        answer = await visitor.request("POST", "/session", json={"token": visitor.token}, headers=headers)
        assert answer.status_code == 403


async def test_half_a_session_is_none(visitor: Visitor) -> None:
    await visitor.login()
    cookie, key = visitor.cookie, visitor.key
    name = cookie.partition("=")[0]
    for visitor.cookie, visitor.key in (
        (cookie, ""),
        ("", key),
        (cookie, "x"),
        (f"{name}={key}", key),
        (f"x{cookie}", key),
    ):
        async with visitor.view() as view:
            assert await view.closing_code() == 4401
            assert view.rows == {}


async def test_guessing_tokens_ends_after_five(visitor: Visitor) -> None:
    codes = [(await visitor.login(f"guess {number}")).status_code for number in range(TRIES + 1)]
    assert codes == [403] * TRIES + [429]
    assert (await visitor.login()).status_code == 429


async def test_logins_that_are_not_understood(visitor: Visitor) -> None:
    for body in (b"", b"[]", b"{}", b'{"token": 1}', b'{"token": null}', b"\xff", b"{" * 4000):
        assert (await visitor.request("POST", "/session", content=body)).status_code == 400


async def test_a_login_is_short(visitor: Visitor) -> None:
    assert (await visitor.request("POST", "/session", content=b"x" * (MAX_BODY + 1))).status_code == 413


async def test_no_route_changes_anything_but_the_login(visitor: Visitor) -> None:
    await visitor.login()
    for path in ("/", "/ws", "/page/app.js", "/session"):
        for method in ("PUT", "DELETE", "PATCH", "POST"):
            if (path, method) != ("/session", "POST"):
                answer = await visitor.request(method, path, headers={"Cookie": visitor.cookie})
                assert answer.status_code in (404, 405)


ELSEWHERE = (
    *("/page/../server.py", "/page/%2e%2e/server.py", "/page/..%2fserver.py", "/page/..%5cserver.py"),
    *("/page//etc/passwd", "/page/%2fetc%2fpasswd", "/page/....//server.py", "/page/%00", "/page/app.js%00.html"),
    *("/../server.py", "/page/.", "/page/", "/page/vendor", "/page/app.js/", "/page/./app.js"),
)


async def test_no_other_file_can_be_asked_for(visitor: Visitor) -> None:
    for path in ELSEWHERE:
        request = f"GET {path} HTTP/1.1\r\nHost: {visitor.host}\r\nConnection: close\r\n\r\n".encode()
        async with await trio.open_tcp_stream("127.0.0.1", visitor.address.port) as stream:
            await stream.send_all(request)
            with trio.fail_after(WITHIN_S):
                answer = b"".join([part async for part in stream])
        assert answer.startswith(b"HTTP/1.1 404 "), path


def test_only_the_page_s_own_types_of_files_are_served(tmp_path: Path) -> None:
    (tmp_path / "vendor").mkdir()
    for name in ("app.js", "vendor/x.woff2", "secret.toml", "notes.py", ".hidden"):
        (tmp_path / name).write_text(name)
    assert {*read_page(tmp_path)} == {"app.js", "vendor/x.woff2"}


FIRST = (
    "",
    "[]",
    "{}",
    '{"key": 1}',
    '{"key": "x"}',
    '{"key": "x", "sub": [1]}',
    "\x00",
    '{"key": "x", "sub": {"a": "1"}}',
)
LATER = ('{"ack": {"orders": null}}', '{"sub": "orders"}', "nonsense", "[" * 10_000)


async def test_messages_that_are_not_understood(visitor: Visitor) -> None:
    await visitor.login()
    for text in FIRST:
        async with visitor.socket() as ws:
            await ws.send_message(text)
            assert await View(ws).closing_code() == 4400, text
    for text in LATER:
        async with visitor.view("orders") as view:
            await view.take()
            await view.ws.send_message(text)
            assert await view.closing_code() == 4400, text


async def test_messages_have_a_longest_length(visitor: Visitor) -> None:
    await visitor.login()
    async with visitor.view("orders") as view:
        await view.ws.send_message(json.dumps({"key": "x" * MAX_MESSAGE}))
        assert await view.closing_code() == 1009


async def test_unknown_topics_and_numbers_do_no_harm(visitor: Visitor) -> None:
    await visitor.login()
    async with visitor.socket() as ws:
        sub = {"orders": 2**53, "__proto__": 1, "nothing": None, "now": 5}
        await ws.send_message(json.dumps({"key": visitor.key, "sub": sub, "more": [1]}))
        await ws.send_message(json.dumps({"ack": {"orders": 2**60, "x": -1}}))
        parts = [json.loads(await ws.get_message())[0] for _ in range(2)]
    (orders,) = [part for part in parts if part["t"] == "orders"]
    assert len(orders["rows"]) == 1


@pytest.mark.slow
async def test_a_browser_that_acknowledges_nothing_is_cut_and_others_are_not(desk: Desk) -> None:
    codes: list[int] = []
    async with serve_terminal(desk.path, cut_s=2.0) as (address, token):
        visitor = Visitor(address, token)
        await visitor.login()

        async def say_nothing() -> None:
            async with visitor.view() as view:
                codes.append(await view.closing_code())

        async with trio.open_nursery() as nursery, visitor.view() as good:
            for _ in range(5):
                nursery.start_soon(say_nothing)
            while len(codes) < 5:
                await good.take()
            await good.take()
    assert codes == [4408] * 5


@pytest.fixture
def large(desk: Desk) -> Desk:
    """More rows than a socket takes that is not read."""
    desk.push("orders", *(order(number, tag="x" * 2000) for number in range(2, 600)))
    return desk


@pytest.mark.slow
async def test_tabs_that_never_read_are_cut(large: Desk) -> None:
    """Sends to them do not return, and cannot be cancelled."""
    async with serve_terminal(large.path, cut_s=0.5) as (address, token), trio.open_nursery() as nursery:
        visitor = Visitor(address, token)
        await visitor.login()
        for _ in range(5):
            nursery.start_soon(is_cut, await deaf(visitor))


async def test_fifty_tabs_that_never_read_do_not_delay_the_end(large: Desk) -> None:
    async with AsyncExitStack() as stack, serve_terminal(large.path) as (address, token):
        visitor = Visitor(address, token)
        await visitor.login()
        for _ in range(BROWSERS):
            await stack.enter_async_context(await deaf(visitor))
        async with visitor.view() as refused:
            assert await refused.closing_code() == 4429
        assert (await visitor.request("GET", "/nothing")).status_code == 404


async def deaf(visitor: Visitor) -> trio.SocketStream:
    """Open a socket that takes almost nothing, log in, and wait for the first bytes."""
    sock = trio.socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    await sock.connect(("127.0.0.1", visitor.address.port))
    stream = trio.SocketStream(sock)
    first = json.dumps({"key": visitor.key, "sub": {"orders": None}}).encode()
    lines = [
        *("GET /ws HTTP/1.1", f"Host: {visitor.host}", f"Origin: {visitor.origin}", f"Cookie: {visitor.cookie}"),
        *("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"),
        *("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "", ""),
    ]
    await stream.send_all("\r\n".join(lines).encode())
    await receive_through(stream, b"\r\n\r\n")
    await stream.send_all(bytes([0x81, 0x80 | len(first)]) + bytes(4) + first)
    await receive_through(stream, b'{"t":"orders"')
    return stream


async def receive_through(stream: trio.SocketStream, end: bytes) -> None:
    found = b""
    with trio.fail_after(WITHIN_S):
        while not found.endswith(end):
            part = await stream.receive_some(1)
            assert part, found
            found += part


async def exhaust(stream: trio.SocketStream) -> None:
    while await stream.receive_some():
        pass


async def is_cut(stream: trio.SocketStream) -> None:
    """Wait until the server has reset a connection, without reading."""
    async with stream:
        with trio.fail_after(WITHIN_S):
            while stream.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == ESTABLISHED:  # noqa: ASYNC110
                await trio.sleep(0.05)
        with pytest.raises(trio.BrokenResourceError):
            await exhaust(stream)


NONSENSE = {
    "nothing": b"",
    "half": b"GET / HTT",
    "tls": b"\x16\x03\x01" + bytes(200),
    "upgrade": b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    "http2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(100),
    "h2c": b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    b"HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
    "hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "long": b"GET / HTTP/1.1\r\nX: " + b"x" * 100_000,
}


async def test_nonsense_ends_its_own_connection_alone(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "IDLE_S", 0.2)
    monkeypatch.setattr(streams, "STRANGER_S", 0.5)
    async with serve_terminal(desk.path) as (address, token):

        async def ends(sent: bytes) -> None:
            async with await trio.open_tcp_stream("127.0.0.1", address.port) as stream:
                with trio.fail_after(WITHIN_S), suppress(trio.BrokenResourceError):
                    await stream.send_all(sent or b" ")
                    await exhaust(stream)

        async with trio.open_nursery() as nursery:
            for sent in NONSENSE.values():
                nursery.start_soon(ends, sent)
        assert (await Visitor(address, token).login()).status_code == 200


async def test_a_browser_that_has_logged_in_stays(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "STRANGER_S", 0.5)
    async with serve_terminal(desk.path) as (address, token):
        visitor = Visitor(address, token)
        await visitor.login()
        async with visitor.view("orders") as view:
            while view.numbers.get("now", 0) < 4:
                await view.take()


async def test_the_port_is_taken(desk: Desk, visitor: Visitor) -> None:
    with pytest.raises(OSError, match="in use"):
        async with serve_terminal(desk.path, port=visitor.address.port):
            raise AssertionError


async def test_twenty_pages_cost_one_encoded_diff(
    desk: Desk, visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows are encoded once for all pages; and each page has all of them."""
    encoded: list[str] = []

    def counting(diff: Diff, at: int) -> Encoded:
        encoded.extend([diff.topic.name] * len(diff.put))
        return encode(diff, at)

    await visitor.login()
    async with AsyncExitStack() as stack:
        views = [await stack.enter_async_context(visitor.view("orders")) for _ in range(20)]
        for view in views:
            while not view.rows.get("orders"):
                await view.take()
        monkeypatch.setattr(reader, "encode", counting)
        desk.push("orders", *(order(number) for number in range(2, 52)))
        for view in views:
            while len(view.rows["orders"]) < 51:
                await view.take()
        assert encoded.count("orders") == 50
        async with visitor.view("orders") as late:  # a page that comes later costs none
            while not late.rows.get("orders"):
                await late.take()
        assert len(late.rows["orders"]) == 51
        assert encoded.count("orders") == 50


async def test_a_page_that_is_hidden_is_said_to_be(visitor: Visitor) -> None:
    await visitor.login()
    async with visitor.view("orders") as view:
        await view.send({"hidden": True})
        while not view.now or view.now["screens"] != [None]:
            await view.take()
        await view.send({"hidden": False})
        while view.now["screens"] == [None]:
            await view.take()
        assert view.now["screens"][0] >= 0
        assert view.now["rows"]["orders"] == 1


async def test_health_says_what_is_stored(desk: Desk, visitor: Visitor) -> None:
    desk.apply(Note(NOW, "warning", "alpha", "disconnected", "reset"), Note(NOW, "info", None, "unknown-here", "x"))
    await visitor.login()
    async with visitor.view("connections", "journal") as view:
        while not (view.now.get("health") and view.rows.get("journal") and view.rows.get("connections")):
            await view.take()
        desk.apply(Note(NOW + 1, "error", "alpha", "stopped", "key rejected"))
        while len(view.rows["journal"]) < 3:
            await view.take()
    (connection,) = view.rows["connections"].values()
    assert (connection["listener"], connection["phase"]) == ("alpha", "live")
    assert connection["channels"] == len(DEFAULT_CHANNELS)
    entries = {one["event"]: one for one in view.rows["journal"].values()}
    assert entries["disconnected"]["meaning"].startswith("a connection ended")
    assert (entries["unknown-here"]["meaning"], entries["unknown-here"]["remedy"]) == (None, None)
    health = view.now["health"]
    assert health["database_bytes"] > 0
    assert {"wal_bytes", "free_bytes", "log_since", "messages", "rows", "turns_s", "turn_us"} <= health.keys()
