"""Connections are kept and taken again, over real sockets."""

import cProfile
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import httpx
import pytest
import trio

from okxsync.rest.connections import Connections
from okxsync.rest.http import fetch

REPLY = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


class Server:
    """Answers each request when ``answers`` is set; it counts connections and requests."""

    def __init__(self) -> None:
        self.url = ""
        self.requests = 0
        self.opened = 0
        self.open = 0
        self.closes_after_reply = False
        self.answers = trio.Event()
        self.answers.set()
        self._changed = trio.Condition()

    async def serve(self, stream: trio.SocketStream) -> None:
        self.opened += 1
        self.open += 1
        async with stream:
            while await stream.receive_some():
                self.requests += 1
                await self._notify()
                await self.answers.wait()
                await stream.send_all(REPLY)
                if self.closes_after_reply:
                    break
        self.open -= 1
        await self._notify()

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def wait(self, condition: Callable[[], bool]) -> None:
        with trio.fail_after(20):
            async with self._changed:
                while not condition():
                    await self._changed.wait()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    async with trio.open_nursery() as nursery:
        [listener] = await nursery.start(partial(trio.serve_tcp, server.serve, 0, host="127.0.0.1"))
        server.url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}/"
        yield server
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def client(at_once: int, idle_s: float = 60.0) -> AsyncIterator[httpx.AsyncClient]:
    transport = Connections(at_once, idle_s, ssl.create_default_context())
    async with httpx.AsyncClient(timeout=None, transport=transport) as http:
        yield http


async def at_the_same_time(http: httpx.AsyncClient, server: Server, count: int) -> None:
    """Send some requests, of which the first is answered when the last has arrived."""
    server.answers, wanted = trio.Event(), server.requests + count
    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(fetch, http, server.url)
        await server.wait(lambda: server.requests == wanted)
        server.answers.set()


async def test_requests_one_after_the_other_share_a_connection(server: Server) -> None:
    async with client(10) as http:
        for _ in range(3):
            assert await fetch(http, server.url) == (200, b"{}")
        assert (server.requests, server.opened) == (3, 1)


async def test_requests_at_the_same_time_have_connections_of_their_own_which_are_kept(server: Server) -> None:
    async with client(10) as http:
        await at_the_same_time(http, server, 5)
        await at_the_same_time(http, server, 5)
        assert server.opened == 5
    await server.wait(lambda: server.open == 0)


async def test_a_request_beyond_the_limit_waits_for_the_end_of_another(server: Server) -> None:
    server.answers = trio.Event()
    async with client(2) as http, trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(fetch, http, server.url)
        await server.wait(lambda: server.requests == 2)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert (server.requests, server.opened) == (2, 2)
        server.answers.set()
    assert (server.requests, server.opened) == (3, 2)


async def test_a_request_that_is_given_up_makes_room_and_its_connection_is_not_taken_again(server: Server) -> None:
    server.answers = trio.Event()
    async with client(1) as http:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fetch, http, server.url)
            await server.wait(lambda: server.requests == 1)
            nursery.cancel_scope.cancel()
        server.answers.set()
        assert await fetch(http, server.url) == (200, b"{}")
        assert (server.requests, server.opened) == (2, 2)


async def test_a_connection_that_the_server_has_closed_is_replaced(server: Server) -> None:
    server.closes_after_reply = True
    async with client(10) as http:
        await fetch(http, server.url)
        await server.wait(lambda: server.open == 0)
        assert await fetch(http, server.url) == (200, b"{}")
        assert (server.requests, server.opened) == (2, 2)


async def test_a_refused_connection_makes_room(server: Server) -> None:
    async with client(1) as http:
        for _ in range(2):
            with pytest.raises(httpx.ConnectError):
                await fetch(http, "http://127.0.0.1:1/")
        assert await fetch(http, server.url) == (200, b"{}")


async def test_idle_connections_are_closed(server: Server) -> None:
    async with client(10, idle_s=0.0) as http:
        await at_the_same_time(http, server, 5)
        await fetch(http, server.url)
        await server.wait(lambda: server.open <= 1)


async def test_what_a_request_costs_does_not_depend_on_how_many_connections_there_are(server: Server) -> None:
    async def calls(connections: int) -> int:
        async with client(connections) as http:
            await at_the_same_time(http, server, connections)
            with cProfile.Profile() as profile:
                await fetch(http, server.url)
            return sum(one.callcount for one in profile.getstats())

    assert await calls(60) < 1.5 * await calls(2)
