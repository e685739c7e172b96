"""What other clients get wrong: each test is a peer that behaves badly, on a real socket.

Rules: loopback only, port 0, one side decides who closes first, and an absolute limit on each test.
"""

import base64
import gc
import hashlib
import math
import socket as stdlib_socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trio
import trustme
from trio.testing import MockClock
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, serve_websocket

from okxsync.feed.causes import first_error
from okxsync.feed.socket import MAX_UNANSWERED, SocketError, connect, reach
from tests.support.scripted_peer import Resolver, receive
from tests.support.sockets import open_socket

LIMIT_S = 5.0


@asynccontextmanager
async def tcp_peer(behave: Callable[[trio.SocketStream], Awaitable[None]]) -> AsyncIterator[str]:
    """A TCP server that runs a script; yields its ws:// address."""
    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
            nursery.start_soon(trio.serve_listeners, behave, [listener])
            yield f"ws://127.0.0.1:{listener.socket.getsockname()[1]}/ws"
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def websocket_peer(behave: Callable[[WebSocketRequest], Awaitable[None]]) -> AsyncIterator[str]:
    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            server = await nursery.start(serve_websocket, behave, "127.0.0.1", 0, None)
            yield f"ws://127.0.0.1:{server.port}/ws"
            nursery.cancel_scope.cancel()


def reset(stream: trio.SocketStream) -> None:
    """Make the next close of ``stream`` send RST."""
    stream.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_LINGER, struct.pack("ii", 1, 0))


async def end_of(url: str, within_s: float = math.inf) -> SocketError:
    """Open a socket and read until it ends."""
    with pytest.RaisesGroup(SocketError, flatten_subgroups=True, allow_unwrapped=True) as caught:
        async with open_socket(url, within_s) as socket:
            while True:
                await receive(socket)
    error = caught.value
    return first_error(error) if isinstance(error, BaseExceptionGroup) else error


def frame(text: bytes) -> bytes:
    """A server's text frame, of less than 126 bytes (RFC 6455, 5.2)."""
    return bytes([0x81, len(text)]) + text


async def upgrade(stream: trio.abc.Stream, and_then: bytes = b"") -> None:
    """Answer the upgrade, and send more in the same segment."""
    key = next(
        line[19:] for line in (await stream.receive_some()).split(b"\r\n") if line.startswith(b"Sec-WebSocket-Key:")
    )
    accept = base64.b64encode(hashlib.sha1(key.strip() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    await stream.send_all(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n" + and_then
    )


async def test_a_peer_that_accepts_and_stays_silent_is_given_up_at_the_deadline() -> None:
    gone = trio.Event()

    async def silent(stream: trio.SocketStream) -> None:
        while await stream.receive_some():
            pass
        gone.set()

    async with tcp_peer(silent) as url:
        with trio.move_on_after(0.2) as deadline:
            async with open_socket(url):
                pytest.fail("the peer never answered")
        assert deadline.cancelled_caught
        await gone.wait()  # our side of the socket is closed


def where(url: str) -> str:
    return urlsplit(url).netloc


async def hang_up(stream: trio.SocketStream) -> None:
    await stream.receive_some()
    await stream.aclose()


async def rst(stream: trio.SocketStream) -> None:
    await stream.receive_some()
    reset(stream)
    await stream.aclose()


@pytest.mark.parametrize("leave", [hang_up, rst])
async def test_a_peer_that_closes_during_the_handshake_is_noticed_at_once(
    leave: Callable[[trio.SocketStream], Awaitable[None]],
) -> None:
    async with tcp_peer(leave) as url:
        error = await end_of(url)
        assert str(error) == f"{where(url)} WebSocket handshake: the peer closed the connection"


async def test_a_peer_that_does_not_answer_in_http_is_a_socket_error() -> None:
    async def babble(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"\x00\xff" * 100)
        await stream.aclose()

    async with tcp_peer(babble) as url:
        await end_of(url)


@pytest.mark.parametrize("status", ["404 Not Found", "429 Too Many Requests"])
async def test_a_rejected_upgrade_reports_its_status(status: str) -> None:
    async def reject(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(f"HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nno".encode())
        await stream.aclose()

    async with tcp_peer(reject) as url:
        error = await end_of(url)
        assert str(error) == f"{where(url)} WebSocket handshake: rejected with HTTP status {status[:3]}"
        assert error.code == int(status[:3])


@pytest.mark.parametrize(
    ("reply", "closes"),
    [
        (b"HTTP/1.1 429 Too Many Requests\r\n\r\nslow", False),
        (b"HTTP/1.0 429 Too Many Requests\r\n\r\nslow", True),
        (b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 100\r\n\r\nslow", True),
        (b"HTTP/1.1 429 Too Many Requests\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nslow", False),
    ],
)
async def test_a_rejected_upgrade_reports_its_status_wherever_its_body_ends(reply: bytes, closes: bool) -> None:
    async def reject(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(reply)
        if not closes:
            await stream.receive_some()
        await stream.aclose()

    async with tcp_peer(reject) as url:
        assert (await end_of(url)).code == 429


async def test_an_invalid_acceptance_says_what_is_wrong() -> None:
    async def accept(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: AAAA\r\n\r\n"
        )
        await stream.receive_some()

    async with tcp_peer(accept) as url:
        assert str(await end_of(url)) == f"{where(url)} WebSocket handshake: Bad accept token"


async def test_a_refused_connection_is_a_failure_of_tcp() -> None:
    with stdlib_socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"ws://127.0.0.1:{unused.getsockname()[1]}/"
        error = await end_of(url)
    assert str(error) == f"{where(url)} TCP: Connection refused"


async def test_an_unknown_host_name_is_a_failure_to_resolve() -> None:
    class Nameless(Resolver):
        async def getaddrinfo(self, host, port, family=0, type=0, proto=0, flags=0):  # type: ignore[no-untyped-def]
            raise stdlib_socket.gaierror(stdlib_socket.EAI_NONAME, "Name or service not known")

    trio.socket.set_custom_hostname_resolver(Nameless())
    error = await end_of("wss://ws.example/ws/v5/private")
    assert str(error) == "ws.example:443 resolve: Name or service not known"


async def test_a_name_without_an_answer_is_given_up_in_time(autojump_clock: MockClock) -> None:
    class Silent(Resolver):
        async def getaddrinfo(self, host, port, family=0, type=0, proto=0, flags=0):  # type: ignore[no-untyped-def]
            await trio.sleep_forever()

    trio.socket.set_custom_hostname_resolver(Silent())
    with pytest.raises(SocketError, match=r"^ws\.example:443 resolve: no answer within 10 s$"):
        async with open_socket("wss://ws.example/ws/v5/private", 10):
            pytest.fail("no answer")


@pytest.mark.parametrize("url", ["ws://127.0.0.1:99999/", "ws://a..example/", "ws://[::1/"])
async def test_an_invalid_address_is_a_socket_error(url: str) -> None:
    assert str(await end_of(url)).startswith(("cannot connect", "a..example:80 resolve: invalid host name"))


@pytest.mark.parametrize(("scheme", "step"), [("ws", "WebSocket handshake"), ("wss", "TLS")])
async def test_a_peer_that_accepts_tcp_and_sends_nothing_is_given_up_in_time(
    mock_clock: MockClock, scheme: str, step: str
) -> None:
    received = trio.Event()

    async def silent(stream: trio.SocketStream) -> None:
        while await stream.receive_some():
            received.set()

    async def let_time_pass() -> None:
        await received.wait()
        mock_clock.jump(3)

    async with tcp_peer(silent) as url, trio.open_nursery() as nursery:
        nursery.start_soon(let_time_pass)
        error = await end_of(f"{scheme}://{where(url)}/", 3)
        assert str(error) == f"{where(url)} {step}: no answer within 3 s"


async def test_a_remote_close_reports_code_and_reason_and_leaves_no_socket_open() -> None:
    gone = trio.Event()

    async def close(request: WebSocketRequest) -> None:
        connection = await request.accept()
        await connection.send_message("last words")
        await connection.aclose(4004, "No data received in 30s.")
        gone.set()

    async with websocket_peer(close) as url:
        error = await end_of(url)
        await gone.wait()
    assert (error.code, str(error)) == (4004, "closed with 4004: No data received in 30s.")


async def test_the_reason_of_a_close_is_shown_without_secrets_and_control_characters() -> None:
    async def close(request: WebSocketRequest) -> None:
        connection = await request.accept()
        await connection.aclose(4002, '\x1b[31m {"apiKey":"the-key"}')

    async with websocket_peer(close) as url:
        text = str(await end_of(url))
    assert text.startswith("closed with 4002: ")
    assert "\x1b" not in text
    assert "the-key" not in text


async def test_a_reset_while_live_is_code_1006() -> None:
    async def rst(request: WebSocketRequest) -> None:
        connection = await request.accept()
        await connection.send_message("hello")
        assert isinstance(connection._stream, trio.SocketStream)
        reset(connection._stream)
        await connection._stream.aclose()

    async with websocket_peer(rst) as url:
        assert (await end_of(url)).code == 1006


async def test_a_frame_that_is_too_large_ends_the_connection() -> None:
    async def flood(request: WebSocketRequest) -> None:
        connection = await request.accept()
        try:
            await connection.send_message("x" * (17 * 2**20))
            await connection.get_message()
        except ConnectionClosed:
            pass

    async with websocket_peer(flood) as url:
        end = await end_of(url)
        assert (str(end), end.code) == ("a frame of more than 16 MiB", None)  # the peer's fault: 1009 would be ours


async def test_leaving_takes_a_second_at_most_even_if_the_peer_ignores_the_close() -> None:
    async def deaf(stream: trio.SocketStream) -> None:
        await upgrade(stream)
        while await stream.receive_some():
            pass

    async with tcp_peer(deaf) as url:
        started = trio.current_time()
        async with open_socket(url) as socket:
            await socket.send("hello")
        assert 0.9 < trio.current_time() - started < 3


async def test_a_failed_tls_handshake_is_noticed_at_once() -> None:
    async def not_tls(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await stream.aclose()

    for behave, cause in [
        (not_tls, "wrong version number"),
        (hang_up, "the peer closed the connection"),
        (rst, "Connection reset by peer"),
    ]:
        async with tcp_peer(behave) as url:
            error = await end_of(url.replace("ws://", "wss://"))
            assert str(error) == f"{where(url)} TLS: {cause}"


@pytest.mark.parametrize(("trusted", "name"), [(True, "127.0.0.1"), (True, "ws.example"), (False, "127.0.0.1")])
async def test_only_a_certificate_of_that_host_by_a_known_authority_is_accepted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, trusted: bool, name: str
) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    if trusted:
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))

    async def secure(stream: trio.SocketStream) -> None:
        tls = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
        with suppress(trio.BrokenResourceError):
            await upgrade(tls, frame(b"secret"))
            await trio.sleep_forever()

    async with tcp_peer(secure) as url:
        url = url.replace("ws://", "wss://")
        if trusted and name == "127.0.0.1":
            async with open_socket(url) as socket:
                assert await receive(socket) == "secret"
            await reach(url.replace("wss://", "https://"), LIMIT_S)
        else:
            assert str(await end_of(url)).startswith(f"{where(url)} TLS: certificate verify failed: ")


@pytest.fixture
def context(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ssl.SSLContext:
    """The TLS context of a server whose certificate is trusted."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    return context


@pytest.mark.skipif(not hasattr(stdlib_socket, "TCP_CORK"), reason="Linux alone can hold segments back")
async def test_a_frame_in_a_record_of_its_own_that_arrives_with_the_handshake_is_read_at_once(
    context: ssl.SSLContext,
) -> None:
    """It is in OpenSSL's buffer, and the descriptor says nothing of it. A frame may be divided between two records."""

    async def secure(stream: trio.SocketStream) -> None:
        tls = trio.SSLStream(stream, context, server_side=True)
        await tls.do_handshake()
        stream.setsockopt(stdlib_socket.IPPROTO_TCP, stdlib_socket.TCP_CORK, 1)
        await upgrade(tls, frame(b"first") + frame(b"second")[:5])
        await tls.send_all(frame(b"second")[5:] + frame(b"third" * 20))
        stream.setsockopt(stdlib_socket.IPPROTO_TCP, stdlib_socket.TCP_CORK, 0)
        sent.append(unmasked(bytes(await tls.receive_some())))

    sent = list[bytes]()
    async with tcp_peer(secure) as url, open_socket(url.replace("ws://", "wss://")) as socket:
        assert [*socket.messages] == ["first", "second", "third" * 20]
        assert not socket.ended
    assert sent == [struct.pack("!H", 1000)]  # our close, and nothing of the library before it


@pytest.mark.parametrize("ends_with", ["a close", "invalid data"])
async def test_the_end_of_tls_in_one_segment_with_frames_is_noticed_and_no_frame_is_lost(
    context: ssl.SSLContext, ends_with: str
) -> None:
    """The peer does not close TCP, so the descriptor says nothing of the end."""
    opened = trio.Event()

    async def secure(stream: trio.SocketStream) -> None:
        tls = trio.SSLStream(stream, context, server_side=True)
        await upgrade(tls)
        await opened.wait()
        tls._ssl_object.write(frame(b"first"))
        if ends_with == "a close":
            with suppress(ssl.SSLWantReadError):
                tls._ssl_object.unwrap()
        end = b"" if ends_with == "a close" else b"\x17\x03\x03\x00\x20" + bytes(32)
        await stream.send_all(tls._outgoing.read() + end)
        await trio.sleep_forever()

    async with tcp_peer(secure) as url:
        socket = await connect(url.replace("ws://", "wss://"))
        opened.set()
        assert await receive(socket) == "first"
        assert str(socket.ended) == "closed"
        await socket.drop()


async def test_of_many_pings_at_once_the_last_is_answered() -> None:
    answers = bytearray()

    async def pinging(stream: trio.SocketStream) -> None:
        await upgrade(stream, b"".join(b"\x89\x03%03d" % number for number in range(1000)))
        answers.extend(await stream.receive_some())
        await stream.send_all(frame(b"answered"))
        while data := await stream.receive_some():
            answers.extend(data)

    async with tcp_peer(pinging) as url, open_socket(url) as socket:
        assert await receive(socket) == "answered"
    assert (answers[0], unmasked(bytes(answers))) == (0x8A, b"999")
    assert answers[9] == 0x88  # behind it only our close


async def test_frames_in_one_segment_with_the_handshake_or_the_close_are_not_lost() -> None:
    closing = b"\x88\x06" + struct.pack("!H", 4006) + b"bye!"

    async def hasty(stream: trio.SocketStream) -> None:
        await upgrade(stream, frame(b"first") + frame(b"second")[:3])
        await stream.send_all(frame(b"second")[3:] + b"\x89\x02hi" + frame(b"third") + closing)
        while await stream.receive_some():
            pass

    async with tcp_peer(hasty) as url:
        received = []
        with pytest.RaisesGroup(SocketError, flatten_subgroups=True, allow_unwrapped=True) as caught:
            async with open_socket(url) as socket:
                while True:
                    received.append(await receive(socket))
        assert received == ["first", "second", "third"]
        error = first_error(caught.value) if isinstance(caught.value, BaseExceptionGroup) else caught.value
        assert (error.code, str(error)) == (4006, "closed with 4006: bye!")


async def test_a_control_ping_is_answered_while_data_flows() -> None:
    async def pinging(stream: trio.SocketStream) -> None:
        await upgrade(stream, b"\x89\x02hi" + frame(b"data"))
        answer = await stream.receive_some()
        assert (answer[0], unmasked(answer)) == (0x8A, b"hi")  # a pong
        await stream.send_all(frame(b"answered"))
        await trio.sleep_forever()

    async with tcp_peer(pinging) as url, open_socket(url) as socket:
        assert [await receive(socket), await receive(socket)] == ["data", "answered"]


def unmasked(sent: bytes) -> bytes:
    """Return the payload of a client's frame of less than 126 bytes."""
    return bytes(byte ^ sent[2 + place % 4] for place, byte in enumerate(sent[6 : 6 + (sent[1] & 0x7F)]))


async def test_nothing_of_the_handshake_remains_while_a_socket_is_open() -> None:
    async def idle(stream: trio.SocketStream) -> None:
        await upgrade(stream)
        while await stream.receive_some():
            pass

    async with tcp_peer(idle) as url:
        nurseries = len(trio.lowlevel.current_task().child_nurseries)
        socket = await connect(url)
        assert len(trio.lowlevel.current_task().child_nurseries) == nurseries  # no task of the library
        gc.collect()
        assert not [one for one in gc.get_objects() if isinstance(one, WebSocketConnection)]
        await socket.drop()


@pytest.mark.parametrize(
    ("theirs", "code"),
    [(b"\x88\x02" + struct.pack("!H", 4004), 4004), (b"\x88\x00", 1005)],
    ids=["with a code", "without one"],
)
async def test_the_close_of_the_peer_is_answered_with_its_code(theirs: bytes, code: int) -> None:
    answers = list[bytes]()

    async def close(stream: trio.SocketStream) -> None:
        await upgrade(stream, theirs)
        answers.append(await stream.receive_some())
        assert await stream.receive_some() == b""

    async with tcp_peer(close) as url:
        assert (await end_of(url)).code == code
    [answer] = answers
    assert (answer[0], unmasked(answer)) == (0x88, theirs[2:])


async def test_leaving_sends_a_close_and_waits_for_the_peer_s() -> None:
    async def close(stream: trio.SocketStream) -> None:
        await upgrade(stream)
        sent = await stream.receive_some()
        assert (sent[0], unmasked(sent)) == (0x88, struct.pack("!H", 1000))
        await stream.send_all(frame(b"on its way") + b"\x88\x02" + struct.pack("!H", 1000))
        closed.set()
        assert await stream.receive_some() == b""

    closed = trio.Event()
    async with tcp_peer(close) as url:
        async with open_socket(url) as socket:
            pass
        assert closed.is_set()
        assert socket.ended


async def test_a_dropped_socket_tells_the_peer_and_waits_for_nothing() -> None:
    sent = list[bytes]()

    async def deaf(stream: trio.SocketStream) -> None:
        await upgrade(stream)
        sent.append(await stream.receive_some())
        assert await stream.receive_some() == b""

    async with tcp_peer(deaf) as url:
        socket = await connect(url)
        with trio.CancelScope() as cancelled:
            cancelled.cancel()
            await socket.drop()
    assert (sent[0][0], unmasked(sent[0])) == (0x88, struct.pack("!H", 1001))


async def test_answers_that_could_not_be_sent_at_once_are_sent_later_in_order() -> None:
    """The peer pings more than it reads; the answers follow what was sent before them."""
    sent = bytearray()

    async def slow(stream: trio.SocketStream) -> None:
        stream.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_RCVBUF, 4096)
        await upgrade(stream)
        await full.wait()
        await stream.send_all(b"\x89\x01p")
        await answered.wait()
        while data := await stream.receive_some():
            sent.extend(data)

    full, answered = trio.Event(), trio.Event()
    async with tcp_peer(slow) as url:
        socket = await connect(url)
        while socket.send_soon("x" * 60_000):
            pass
        full.set()
        await trio.lowlevel.wait_readable(socket.fileno())
        socket.read()
        assert not socket.flush_soon()
        answered.set()
        while not socket.flush_soon():
            await trio.lowlevel.checkpoint()
        await socket.drop()
        while sent[-8:-7] != b"\x88":
            await trio.lowlevel.checkpoint()
    assert (sent[-15], unmasked(bytes(sent[-15:-8]))) == (0x8A, b"p")


@pytest.mark.parametrize("error", [b"\x81\x81\0\0\0\0x", b"\x09\x01x"], ids=["masked", "a ping in parts"])
async def test_a_protocol_error_of_the_peer_ends_the_connection(error: bytes) -> None:
    gone = trio.Event()

    async def masking(stream: trio.SocketStream) -> None:
        await upgrade(stream, frame(b"good") + error)
        while await stream.receive_some():
            pass
        gone.set()

    async with tcp_peer(masking) as url:
        assert (await end_of(url)).code == 1002
        await gone.wait()


async def test_a_peer_that_keeps_pinging_and_reads_no_answer_ends_the_connection() -> None:
    async def flooding(stream: trio.SocketStream) -> None:
        stream.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_RCVBUF, 4096)
        await upgrade(stream)
        while True:
            await stream.send_all((b"\x89\x7d" + b"p" * 125) * 5000)

    async with tcp_peer(flooding) as url:
        socket = await connect(url)
        while not socket.ended:
            socket.send_soon("x" * 60_000)  # so that no buffer has room for an answer
            await trio.lowlevel.wait_readable(socket.fileno())
            socket.read()
        assert str(socket.ended) == f"more than {MAX_UNANSWERED} pings unanswered"
        await socket.drop()


async def test_a_peer_that_vanishes_in_the_middle_of_a_frame_is_code_1006() -> None:
    async def half(stream: trio.SocketStream) -> None:
        await upgrade(stream, frame(b"whole") + frame(b"half")[:4])
        await stream.aclose()

    async with tcp_peer(half) as url:
        assert (await end_of(url)).code == 1006
