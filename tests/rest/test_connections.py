"""Connections are kept and taken again, over real sockets."""

import cProfile
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import h11
import httpx
import pytest
import trio
import trustme
from trio.testing import MockClock

from okxsync.feed.tcp import Tcp
from okxsync.rest.connections import WARMED_AT_ONCE, Connections, Origin
from okxsync.rest.http import Http, fetch

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
        self.reply = REPLY
        self._scopes: list[trio.CancelScope] = []
        self._changed = trio.Condition()

    async def serve(self, stream: trio.abc.Stream) -> None:
        self.opened += 1
        self.open += 1
        with trio.CancelScope() as scope:
            self._scopes.append(scope)
            await self._notify()
            async with stream:
                await self._answer(stream)
        self.open -= 1
        await self._notify()

    async def _answer(self, stream: trio.abc.Stream) -> None:
        while await stream.receive_some():
            self.requests += 1
            await self._notify()
            await self.answers.wait()
            await stream.send_all(self.reply)
            if self.closes_after_reply:
                break

    def close_all(self) -> None:
        for scope in self._scopes:
            scope.cancel()

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
async def client(at_once: int, idle_s: float = 60.0) -> AsyncIterator[Http]:
    async with Connections(at_once, idle_s) as connections:
        yield Http(connections)


async def at_the_same_time(http: Http, server: Server, count: int) -> None:
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


async def test_idle_connections_are_closed_though_no_request_follows(server: Server) -> None:
    async with client(10, idle_s=0.1) as http, trio.open_nursery() as nursery:
        nursery.start_soon(http.close_idle)
        await at_the_same_time(http, server, 5)
        await server.wait(lambda: server.open == 0)
        nursery.cancel_scope.cancel()


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


async def test_a_refused_connection_makes_room_and_says_why(server: Server) -> None:
    async with client(1) as http:
        for _ in range(2):
            with pytest.raises(httpx.ConnectError, match=r"^Connection refused$"):
                await fetch(http, "http://127.0.0.1:1/")
        assert await fetch(http, server.url) == (200, b"{}")


async def test_idle_connections_are_closed(server: Server) -> None:
    async with client(10, idle_s=0.0) as http:
        await at_the_same_time(http, server, 5)
        await fetch(http, server.url)
        await server.wait(lambda: server.open <= 1)


async def test_a_program_that_is_cancelled_closes_all_its_idle_connections(server: Server) -> None:
    transport = Connections(10, 60.0)
    with trio.CancelScope() as program:
        async with transport:
            await at_the_same_time(Http(transport), server, 3)
            program.cancel()
    await server.wait(lambda: server.open == 0)
    assert transport


async def test_a_request_that_is_forbidden_at_the_last_moment_sends_nothing_and_makes_room(server: Server) -> None:
    origin, head = Origin.of(httpx.URL(server.url)), h11.Request(method="GET", target="/", headers=[("Host", "x")])

    def forbid() -> None:
        raise KeyError

    async with Connections(1, 60.0) as connections:
        for _ in range(2):
            with pytest.raises(KeyError):
                await connections.request(origin, head, before=forbid)
        reply = await connections.request(origin, head)
        assert (reply.status, [part async for part in reply]) == (200, [b"{}"])
        await reply.aclose()
    assert server.requests == 1


async def test_connections_are_opened_before_they_are_needed(server: Server) -> None:
    origin = Origin.of(httpx.URL(server.url))
    async with Connections(3, 60.0) as transport:
        http = Http(transport)
        await transport.warm(origin, 2)
        await server.wait(lambda: server.open == 2)
        await transport.warm(origin, 2)
        await at_the_same_time(http, server, 2)
        assert server.opened == 2
        await transport.warm(origin, 100)  # as many as there is room for
        await server.wait(lambda: server.open == 3)
        assert server.opened == 3
        await transport.warm(Origin(secure=False, host="127.0.0.1", port=1), 2)  # the requests will report it


async def test_only_so_many_connections_are_opened_at_the_same_time(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = 0

    async def slow(host: str, port: int) -> Tcp:
        nonlocal begun
        begun += 1
        await trio.sleep(1)
        raise OSError

    monkeypatch.setattr("okxsync.rest.connections.open_tcp", slow)
    async with Connections(100, 60.0) as transport:
        with trio.move_on_after(0.5):
            await transport.warm(Origin(secure=False, host="127.0.0.1", port=1), 3 * WARMED_AT_ONCE)
    assert begun == WARMED_AT_ONCE


async def warm_and_close(transport: Connections, server: Server, count: int) -> None:
    """Warm connections that the server then closes."""
    await transport.warm(Origin.of(httpx.URL(server.url)), count)
    await server.wait(lambda: server.open == count)
    server.close_all()
    await server.wait(lambda: server.open == 0)


async def test_connections_that_the_server_has_closed_are_opened_again(server: Server) -> None:
    origin = Origin.of(httpx.URL(server.url))
    async with Connections(2, 60.0) as transport:
        http = Http(transport)
        await warm_and_close(transport, server, 2)
        await transport.warm(origin, 2)
        await server.wait(lambda: server.open == 2)
        await at_the_same_time(http, server, 2)
        assert server.opened == 4


async def test_an_informational_reply_is_not_the_reply(server: Server) -> None:
    server.reply = b"HTTP/1.1 100 Continue\r\n\r\n" + REPLY
    async with client(1) as http:
        for _ in range(2):
            assert await fetch(http, server.url) == (200, b"{}")
    assert server.opened == 1


async def test_a_reply_that_is_longer_than_it_says_ends_the_connection(server: Server) -> None:
    server.reply = REPLY + b"HTTP/1.1 200 OK\r\n"
    async with client(1) as http:
        for _ in range(2):
            assert await fetch(http, server.url) == (200, b"{}")
    assert server.opened == 2


@pytest.mark.parametrize("trusted", [True, False])
async def test_over_tls_the_certificate_is_verified(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trusted: bool
) -> None:
    authority, other = trustme.CA(), trustme.CA()
    (authority if trusted else other).cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)

    async def serve(stream: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError):
            await server.serve(trio.SSLStream(stream, context, server_side=True))

    async with trio.open_nursery() as nursery:
        [listener] = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        url = f"https://localhost:{listener.socket.getsockname()[1]}/"
        async with client(2) as http:
            if trusted:
                for _ in range(2):
                    assert await fetch(http, url) == (200, b"{}")
                assert server.opened == 1
            else:
                with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
                    await fetch(http, url)
        nursery.cancel_scope.cancel(reason="the test is over")
    assert server.requests == (2 if trusted else 0)


async def test_what_a_request_costs_does_not_depend_on_how_many_connections_there_are(server: Server) -> None:
    async def calls(connections: int) -> int:
        async with client(connections) as http:
            await at_the_same_time(http, server, connections)
            with cProfile.Profile() as profile:
                await fetch(http, server.url)
            return sum(one.callcount for one in profile.getstats())

    assert await calls(60) < 1.5 * await calls(2)


async def test_a_request_costs_half_of_one_through_httpx(server: Server) -> None:
    async def calls(get: Callable[[], Awaitable[object]]) -> int:
        await get()
        with cProfile.Profile() as profile:
            await get()
        return sum(one.callcount for one in profile.getstats())

    async with client(1) as ours, httpx.AsyncClient() as theirs:
        assert await calls(lambda: fetch(ours, server.url)) < await calls(lambda: theirs.get(server.url)) / 2


async def test_a_host_that_does_not_answer_delays_no_request_to_another(server: Server) -> None:
    server.answers, other = trio.Event(), Server()
    async with client(2) as http, trio.open_nursery() as nursery:
        [listener] = await nursery.start(partial(trio.serve_tcp, other.serve, 0, host="127.0.0.1"))
        for _ in range(3):
            nursery.start_soon(fetch, http, server.url)
        await server.wait(lambda: server.requests == 2)
        with trio.fail_after(20):
            assert await fetch(http, f"http://127.0.0.1:{listener.socket.getsockname()[1]}/") == (200, b"{}")
        assert server.requests == 2
        nursery.cancel_scope.cancel()


async def test_a_request_to_a_new_host_may_come_while_idle_connections_are_closed(server: Server) -> None:
    async def refused(http: Http, host: str) -> None:
        with pytest.raises(httpx.ConnectError):
            await fetch(http, f"http://{host}:1/")

    for _ in range(5):  # which task runs first is random
        async with client(20, idle_s=0.0) as http:
            await at_the_same_time(http, server, 10)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(fetch, http, server.url)
                for number in range(2, 10):
                    nursery.start_soon(refused, http, f"127.0.0.{number}")


async def test_a_request_may_take_a_closed_connection_while_others_are_opened(server: Server) -> None:
    origin = Origin.of(httpx.URL(server.url))
    async with Connections(10, 60.0) as transport:
        http = Http(transport)
        await warm_and_close(transport, server, 5)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(transport.warm, origin, 2)
            for _ in range(2):
                nursery.start_soon(fetch, http, server.url)
    assert server.requests == 2
