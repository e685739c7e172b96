"""Real loopback sockets; the peer is plain trio."""

import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from okxsync.feed.tcp import READ_BYTES, Tcp, open_tcp


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[Tcp, trio.SocketStream]]:
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        ours = await open_tcp("127.0.0.1", listener.socket.getsockname()[1])
        async with ours, await listener.accept() as theirs:
            yield ours, theirs


async def test_data_that_arrives_in_pieces_is_read_in_order() -> None:
    sent = bytes(range(256)) * 4096  # a megabyte: many reads fill the buffer, and the last ones do not
    async with connected() as (ours, theirs), trio.open_nursery() as nursery:
        nursery.start_soon(theirs.send_all, sent)
        received = bytearray()
        while len(received) < len(sent):
            data = await ours.receive_some()
            assert 0 < len(data) <= READ_BYTES
            received += data
        assert received == sent


async def test_a_read_waits_for_data() -> None:
    got: list[bytes] = []
    async with connected() as (ours, theirs), trio.open_nursery() as nursery:

        async def read() -> None:
            got.append(await ours.receive_some())

        for text in (b"one", b"two"):
            nursery.start_soon(read)
            await wait_all_tasks_blocked()
            await theirs.send_all(text)
            with trio.fail_after(5):
                while not got or got[-1] != text:
                    await trio.lowlevel.checkpoint()
    assert got == [b"one", b"two"]


async def test_no_more_is_read_than_requested() -> None:
    async with connected() as (ours, theirs):
        await theirs.send_all(b"abcdef")
        assert [await ours.receive_some(4), await ours.receive_some(4)] == [b"abcd", b"ef"]


async def test_the_peers_end_is_an_empty_read() -> None:
    async with connected() as (ours, theirs):
        await theirs.send_eof()
        assert await ours.receive_some() == b""


async def test_a_reset_is_broken() -> None:
    async with connected() as (ours, theirs):
        theirs.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await theirs.aclose()
        with pytest.raises(trio.BrokenResourceError):
            await ours.receive_some()


async def test_a_read_ends_when_the_stream_is_closed_and_none_begins_after() -> None:
    async with connected() as (ours, _), trio.open_nursery() as nursery:

        async def read() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await ours.receive_some()

        nursery.start_soon(read)
        await wait_all_tasks_blocked()
        await ours.aclose()
        with pytest.raises(trio.ClosedResourceError):
            await ours.receive_some()


async def test_a_cancelled_read_loses_nothing() -> None:
    async with connected() as (ours, theirs):
        with trio.move_on_after(0):
            await ours.receive_some()
        await theirs.send_all(b"kept")
        assert await ours.receive_some() == b"kept"


async def test_a_refused_connection_is_an_os_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(OSError, match="all attempts to connect"):
        await open_tcp("127.0.0.1", port)


async def test_it_is_a_stream() -> None:
    async with connected() as (ours, theirs):
        await ours.wait_send_all_might_not_block()
        await ours.send_all(b"there")
        await ours.aclose()
        assert [await theirs.receive_some(), await theirs.receive_some()] == [b"there", b""]


async def test_what_cannot_be_sent_at_once_is_sent_before_what_follows() -> None:
    async with connected() as (ours, theirs), trio.open_nursery() as nursery:
        sent = bytearray()
        while True:
            part = bytes([len(sent) % 251]) * 30_000
            sent += part
            if not ours.send_soon(part):
                break
        assert not ours.send_soon(b"later")
        nursery.start_soon(ours.send_all, b"last")
        await wait_all_tasks_blocked()
        assert not ours.send_soon(b", and after it")
        expected = sent + b"laterlast, and after it"
        received = bytearray()
        while len(received) < len(expected):
            received += await theirs.receive_some()
        assert received == expected
        await ours.flush()  # the task above may not have ended yet
        assert ours.send_soon(b"again without waiting")


async def test_sending_over_a_broken_connection_fails_and_what_arrived_before_can_be_read() -> None:
    async with connected() as (ours, theirs):
        await theirs.send_all(b"last words")
        await trio.lowlevel.wait_readable(ours.fileno())
        theirs.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await theirs.aclose()
        with pytest.raises(trio.BrokenResourceError):  # noqa: PT012  # the reset may arrive later than the first
            while True:
                ours.send_soon(b"ping")
                await trio.lowlevel.checkpoint()
        with pytest.raises(trio.BrokenResourceError):
            await ours.flush()
        assert ours.read() == b"last words"
        with suppress(trio.BrokenResourceError):
            assert ours.read() == b""
