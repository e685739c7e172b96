"""TLS on real loopback sockets; the peer is trio's own implementation."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trustme

from okxsync.feed.tcp import open_tcp
from okxsync.feed.tls import Tls, open_tls


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    """An authority that the client trusts."""
    found = trustme.CA()
    found.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    return found


@asynccontextmanager
async def connected(authority: trustme.CA) -> AsyncIterator[tuple[Tls, "trio.SSLStream[trio.SocketStream]"]]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener, await open_tcp("127.0.0.1", listener.socket.getsockname()[1]) as tcp:
        theirs = trio.SSLStream(await listener.accept(), context, server_side=True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(theirs.do_handshake)
            ours = await open_tls(tcp, "127.0.0.1")
        yield ours, theirs
        await trio.aclose_forcefully(theirs)


async def readable(stream: Tls) -> bytes | None:
    await trio.lowlevel.wait_readable(stream.fileno())
    return stream.read()


async def test_both_directions_carry_data(authority: trustme.CA) -> None:
    async with connected(authority) as (ours, theirs):
        await ours.send_all(b"ping")
        assert await theirs.receive_some() == b"ping"
        await theirs.send_all(b"pong")
        received = b""
        while not received:  # first the tickets of TLS 1.3 arrive, which carry no data
            received = await readable(ours) or b""
        assert received == b"pong"


async def test_data_can_be_sent_without_waiting(authority: trustme.CA) -> None:
    async with connected(authority) as (ours, theirs):
        assert ours.send_soon(b"ping")
        await ours.send_all(b", pong")
        assert await theirs.receive_some() == b"ping"
        assert await theirs.receive_some() == b", pong"


async def test_a_read_returns_all_records_that_have_arrived(authority: trustme.CA) -> None:
    """The socket says nothing of what is left in OpenSSL's buffers."""
    sent = bytes(range(256)) * 4096  # a megabyte: records have 16 KiB at most
    async with connected(authority) as (ours, theirs), trio.open_nursery() as nursery:
        nursery.start_soon(theirs.send_all, sent)
        received = bytearray()
        while len(received) < len(sent):
            received += await readable(ours) or b""
        assert received == sent
        await theirs.send_all(b"x" * 10_000)
        first = b""
        while not first:
            await trio.lowlevel.wait_readable(ours.fileno())
            first = await ours.receive_some(100)
        assert len(first) == 100
        rest = bytearray()
        while len(rest) < 9_900:
            rest += ours.read() or b""
        assert rest == b"x" * 9_900


async def test_nothing_has_arrived(authority: trustme.CA) -> None:
    async with connected(authority) as (ours, _):
        with trio.move_on_after(0.05):
            while True:
                assert await readable(ours) is None  # the tickets
        assert ours.read() is None


@pytest.mark.parametrize("politely", [True, False])
async def test_the_end_is_an_empty_read(authority: trustme.CA, politely: bool) -> None:
    async with connected(authority) as (ours, theirs):
        await theirs.send_all(b"last")
        await (theirs.aclose() if politely else theirs.transport_stream.aclose())
        received: list[bytes] = []
        while b"" not in received:
            if (data := await readable(ours)) is not None:
                received.append(data)
        assert b"".join(received) == b"last"


async def test_what_is_not_tls_is_broken(authority: trustme.CA) -> None:
    async with connected(authority) as (ours, theirs):
        await theirs.transport_stream.send_all(b"\x17\x03\x03\x00\x20" + bytes(32))
        with pytest.raises(trio.BrokenResourceError):
            await _read_on(ours)


async def _read_on(stream: Tls) -> None:
    while True:
        await readable(stream)
