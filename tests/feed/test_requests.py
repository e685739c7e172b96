"""Order operations on a live session: each is written once, and its reply is found by its id."""

import os
import socket as stdlib_socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from msgspec.structs import replace
from trio.testing import MockClock, wait_all_tasks_blocked

from okxsync.feed.requests import NoReply, NotSent, Requests
from okxsync.messages import Frames, Lost
from okxsync.okx.control import MAX_REQUEST_BYTES
from tests.support.accounts import account
from tests.support.connections import connected, running
from tests.support.scripted_peer import Exchange, Peer, SessionRun, run_session, spec_of

ARG = b'{"instIdCode":7,"sz":"1","clOrdId":"P1"}'
Answer = Callable[[Peer, dict[str, Any]], Awaitable[None]]


def reply(request: dict[str, Any], code: str = "0") -> dict[str, object]:
    row = {"clOrdId": request["args"][0].get("clOrdId", ""), "ordId": "31", "sCode": code}
    return {"id": request["id"], "op": request["op"], "code": code, "msg": "", "data": [row]}


def answering(answer: Answer) -> Callable[[Peer], Awaitable[None]]:
    """Return a script that goes live and answers each operation."""

    async def script(peer: Peer) -> None:
        await peer.go_live()
        while True:
            found = await peer.receive()
            if found == "ping":
                await peer.send("pong")
            else:
                await answer(peer, found)

    return script


async def silence(peer: Peer, request: dict[str, Any]) -> None:
    await trio.lowlevel.checkpoint()


async def ask(run: SessionRun, arg: bytes = ARG, begin: Callable[[], None] = lambda: None) -> str:
    assert run.session
    return await run.session.ask("order", arg, 1_800_000_000_000, begin)


async def test_the_reply_is_found_by_its_id_and_stored_like_every_frame(
    exchange: Exchange, autojump_clock: MockClock
) -> None:
    requests = []

    async def answer(peer: Peer, request: dict[str, Any]) -> None:
        requests.append(request)
        await peer.send({"arg": {"channel": "orders"}, "data": [{"id": request["id"], "op": "order"}]})
        await peer.send({**reply(request), "id": "o0"})
        await peer.send({**reply(request), "op": "cancel-order"})
        await peer.send("{" + f'"id":"{request["id"]}",')
        await peer.send(reply(request))

    exchange.script = answering(answer)
    async with run_session(spec_of()) as run:
        await trio.sleep(1)
        assert '"ordId":"31"' in await ask(run)
        await wait_all_tasks_blocked()
        stored = [text for message in run.received.of(Frames) for _, text in message.frames]
        assert sum('"op":"order"' in text for text in stored) == 3
        assert run.received.of(Lost) == []
    (request,) = requests
    assert request.pop("id").isalnum()
    arg = {"instIdCode": 7, "sz": "1", "clOrdId": "P1"}
    assert request == {"op": "order", "expTime": "1800000000000", "args": [arg]}


async def test_replies_find_their_requests_in_any_order(exchange: Exchange, autojump_clock: MockClock) -> None:
    waiting: list[dict[str, Any]] = []

    async def answer(peer: Peer, request: dict[str, Any]) -> None:
        waiting.append(request)
        if len(waiting) == 3:
            for one in reversed(waiting):
                await peer.send(reply(one))

    exchange.script = answering(answer)
    found: dict[str, str] = {}
    async with run_session(spec_of()) as run:
        await trio.sleep(1)

        async def place(number: str) -> None:
            found[number] = await ask(run, b'{"clOrdId":"%s"}' % number.encode())

        async with trio.open_nursery() as nursery:
            for number in ("P1", "P2", "P3"):
                nursery.start_soon(place, number)
    assert all(f'"clOrdId":"{number}"' in text for number, text in found.items())
    assert len(found) == 3


async def test_what_begin_forbids_does_not_leave(exchange: Exchange, autojump_clock: MockClock) -> None:
    class Forbidden(Exception):
        pass

    def forbid() -> None:
        raise Forbidden

    requests = []

    async def answer(peer: Peer, request: dict[str, Any]) -> None:
        requests.append(request["args"][0]["clOrdId"])
        await peer.send(reply(request))

    exchange.script = answering(answer)
    async with run_session(spec_of()) as run:
        await trio.sleep(1)
        with pytest.raises(Forbidden):
            await ask(run, begin=forbid)
        await ask(run, b'{"clOrdId":"P2"}')
    assert requests == ["P2"]


async def test_nothing_runs_between_begin_and_the_write(exchange: Exchange, autojump_clock: MockClock) -> None:
    """A cancellation takes effect where other tasks run: here it comes with ``begin``, and the request leaves."""
    requests = []

    async def answer(peer: Peer, request: dict[str, Any]) -> None:
        requests.append(request)

    exchange.script = answering(answer)
    async with run_session(spec_of()) as run:
        await trio.sleep(1)
        with trio.CancelScope() as scope:
            await ask(run, begin=scope.cancel)
        assert scope.cancelled_caught
        await wait_all_tasks_blocked()
        assert len(requests) == 1


@pytest.mark.parametrize("code", [1001, 1006])
async def test_without_a_reply_the_end_of_the_connection_is_one(
    code: int, exchange: Exchange, autojump_clock: MockClock
) -> None:
    async def answer(peer: Peer, request: dict[str, Any]) -> None:
        if code == 1006:
            await peer._connection._stream.aclose()
        else:
            await peer.close(code)

    exchange.script = answering(answer)
    async with connected(spec_of()) as (connection, timeline):
        await timeline.reaches("live")
        with pytest.raises(NoReply):
            await connection.ask("order", ARG, 0, lambda: None)


async def test_before_it_is_live_and_after_its_end_nothing_is_sent(
    exchange: Exchange, autojump_clock: MockClock
) -> None:
    async def script(peer: Peer) -> None:
        await peer.log_in()
        await trio.sleep(5)
        await peer.close()

    exchange.script = script
    async with connected(spec_of()) as (connection, timeline):
        for phase in ("waiting", "subscribing", "backing_off"):
            await timeline.reaches(phase)
            assert not connection.takes_requests
            with pytest.raises(NotSent, match="not live"):
                await connection.ask("order", ARG, 0, pytest.fail)


async def test_a_connection_that_takes_no_more_data_sends_nothing(
    exchange: Exchange, autojump_clock: MockClock
) -> None:
    exchange.script = answering(silence)
    async with run_session(spec_of()) as run:
        await trio.sleep(1)
        exchange.reads = False
        with pytest.raises(NotSent, match="no more data"):
            await ask(run, begin=pytest.fail)


async def test_a_full_send_buffer_takes_nothing_and_a_small_one_takes_the_rest_later(
    exchange: Exchange, autojump_clock: MockClock
) -> None:
    """The peer reads again after a while: the request has arrived in one piece, once."""
    reads = trio.Event()
    requests = []

    async def answer(peer: Peer, request: dict[str, Any]) -> None:
        requests.append(request)
        await peer.send(reply(request))
        if len(requests) == 1:
            await reads.wait()

    exchange.script = answering(answer)
    begun = []
    async with run_session(spec_of()) as run:
        await trio.sleep(0.5)
        assert run.session
        with stdlib_socket.socket(fileno=os.dup(run.session.fileno())) as end:
            end.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_SNDBUF, 4096)
        await ask(run)  # from now on nothing is read
        async with trio.open_nursery() as nursery:
            large = b'{"clOrdId":"P2","x":"%s"}' % (b"x" * 30_000)
            nursery.start_soon(ask, run, large, lambda: begun.append("P2"))
            await wait_all_tasks_blocked()
            assert begun == ["P2"]
            with pytest.raises(NotSent, match="no more data"):
                await ask(run, begin=pytest.fail)
            reads.set()
    assert [len(one["args"][0].get("x", "")) for one in requests] == [0, 30_000]


async def test_a_request_that_is_too_large_is_not_sent(exchange: Exchange, autojump_clock: MockClock) -> None:
    exchange.script = answering(silence)
    async with run_session(spec_of()) as run:
        await trio.sleep(1)
        with pytest.raises(NotSent, match="larger than 32 KiB"):
            await ask(run, b'"%s"' % (b"x" * MAX_REQUEST_BYTES), pytest.fail)


@pytest.mark.parametrize(("code", "stays"), [("60013", True), ("60012", True), ("60011", False)])
async def test_an_error_with_the_id_of_a_request_is_its_reply(
    code: str, stays: bool, exchange: Exchange, autojump_clock: MockClock
) -> None:
    """One about the request alone leaves the mirror as it is."""

    async def answer(peer: Peer, request: dict[str, Any]) -> None:
        await peer.reject(code, id=request["id"])

    exchange.script = answering(answer)
    async with connected(spec_of()) as (connection, timeline):
        await timeline.reaches("live")
        assert f'"code":"{code}"' in await connection.ask("order", ARG, 0, lambda: None)
        await wait_all_tasks_blocked()
        assert connection.takes_requests is stays
        assert (timeline.of(Lost) == []) is stays


async def test_during_a_handover_requests_go_over_the_successor_and_what_is_open_on_the_old_one_is_unknown(
    exchange: Exchange, autojump_clock: MockClock
) -> None:
    asked: list[int] = []

    async def answer(peer: Peer, request: dict[str, Any]) -> None:
        asked.append(peer.number)
        if peer.number == 0:  # the order that comes is not answered any more
            await peer.send({"event": "notice", "code": "64008", "msg": "soon closed", "connId": "a"})
        else:
            await peer.send(reply(request))

    exchange.script = answering(answer)
    async with connected(spec_of()) as (connection, timeline):
        await timeline.reaches("live")
        with pytest.raises(NoReply):
            await connection.ask("order", ARG, 0, lambda: None)
        await timeline.reaches("live", 2)
        assert '"ordId":"31"' in await connection.ask("order", ARG, 0, lambda: None)
        assert timeline.of(Lost) == []
    assert asked == [0, 1]


async def test_a_request_goes_only_over_a_connection_with_the_settings_of_its_account(
    exchange: Exchange, autojump_clock: MockClock
) -> None:
    """While changed settings are applied, the connection of a name may still be that of another account."""

    async def answer(peer: Peer, request: dict[str, Any]) -> None:
        await peer.send(reply(request))

    exchange.script = answering(answer)
    alpha = account("alpha")
    others = [account("beta"), account("alpha", key="other"), replace(alpha, demo=True)]
    async with running(exchange, alpha) as found:
        await found.timeline.reaches("live")
        assert found.pool.takes_requests(alpha)
        assert '"ordId":"31"' in await found.pool.ask(alpha, "order", ARG, 0, lambda: None)
        for other in others:
            assert not found.pool.takes_requests(other)
            with pytest.raises(NotSent):
                await found.pool.ask(other, "order", ARG, 0, pytest.fail)


async def test_a_frame_with_the_id_of_a_request_but_of_another_operation_does_not_answer_it() -> None:
    requests = Requests()
    with requests.waiting("order") as request:
        requests.take(f'{{"id":"{request.id}","op":"cancel-order","code":"0","data":[]}}')
        answer = f'{{"id":"{request.id}","op":"order","code":"0","data":[]}}'
        requests.take(answer)
        requests.end("the connection ended")  # before the task that waits has run
        assert await request.reply() == answer
    with requests.waiting("order") as request:
        requests.take(f'{{"id":"{request.id}","op":"cancel-order","code":"0","data":[]}}')
        requests.end("the connection ended")
        with pytest.raises(NoReply):
            await request.reply()
