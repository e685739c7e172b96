"""A service upgrade is announced (64008): the successor is live before the old connection ends."""

from contextlib import suppress

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from okxsync.feed.connection import FeedConnection
from okxsync.feed.reader import SocketReader
from okxsync.messages import Frames, Lost, Message, Note, Phase, Pong, Subscribed
from okxsync.okx.rate_limits import dial_slots
from okxsync.runtime.rate_limiter import RateLimiter
from tests.support.accounts import account
from tests.support.connections import CLIMB, connected, kept, running
from tests.support.outbox import MAX_BYTES, queue, queued
from tests.support.scripted_peer import Exchange, FixedClock, Peer, spec_of


async def announce(peer: Peer) -> None:
    await peer.send({"event": "notice", "code": "64008", "msg": "The connection will soon be closed", "connId": "a"})


async def test_the_successor_is_live_before_the_old_session_ends(exchange: Exchange, autojump_clock: MockClock) -> None:
    open_while_subscribing: list[int] = []

    async def script(peer: Peer) -> None:
        await peer.log_in()
        await trio.sleep(1)
        open_while_subscribing.append(exchange.open)
        await peer.subscribe()
        if peer.number == 0:
            await trio.sleep(3)
            await announce(peer)
        await peer.answer_pings()

    exchange.script = script
    async with kept(spec_of()) as timeline:
        live = await timeline.reaches("live", 2)
        assert live.reconnects == 1
        await trio.sleep(200)
        assert open_while_subscribing == [1, 2]
        assert timeline.of(Lost) == []
        assert [row.phase for row in timeline.of(Phase)] == [*CLIMB, "live"]
        assert len(timeline.of(Subscribed)) == 2  # coverage goes on; nothing begins anew
        assert (len(exchange.dials), exchange.open) == (2, 1)


async def test_frames_name_the_socket_by_which_they_were_received(
    exchange: Exchange, autojump_clock: MockClock
) -> None:
    async def script(peer: Peer) -> None:
        await peer.go_live()
        if peer.number == 0:
            await announce(peer)
        await peer.answer_pings()

    exchange.script = script
    async with kept(spec_of()) as timeline:
        await timeline.reaches("live", 2)
        sockets = [frames.socket for frames in timeline.of(Frames)]
        assert len(set(sockets)) == 2
        assert sockets == sorted(sockets)


async def test_a_second_upgrade_replaces_the_successor(exchange: Exchange, autojump_clock: MockClock) -> None:
    async def script(peer: Peer) -> None:
        await peer.go_live()
        if peer.number < 5:
            await announce(peer)
            await announce(peer)  # twice is no more than once
        await peer.answer_pings()

    exchange.script = script
    async with kept(spec_of()) as timeline:
        await timeline.reaches("live", 6)
        await trio.sleep(100)
        assert timeline.of(Lost) == []
        assert (len(exchange.dials), exchange.open) == (6, 1)


async def test_an_old_session_that_ends_first_leaves_a_gap_and_one_successor(
    exchange: Exchange, autojump_clock: MockClock
) -> None:
    async def script(peer: Peer) -> None:
        if peer.number == 0:
            await peer.go_live()
            await announce(peer)
            await trio.sleep(2)
            await peer.close(1001, "Service upgrade")
        else:
            await trio.sleep(5)
            await peer.go_live()
            await peer.answer_pings()

    exchange.script = script
    async with kept(spec_of()) as timeline:
        await timeline.reaches("live", 2)
        await trio.sleep(100)
        (lost,) = timeline.of(Lost)
        assert (lost.channels, lost.reason) == (["orders", "account"], "closed with 1001: Service upgrade")
        assert len(timeline.of(Subscribed)) == 4
        assert (len(exchange.dials), exchange.open) == (2, 1)


async def test_the_notice_and_the_end_may_come_at_once(exchange: Exchange, autojump_clock: MockClock) -> None:
    async def script(peer: Peer) -> None:
        await peer.go_live()
        if peer.number % 2 == 0:
            await announce(peer)
            await peer.close(1001)
        else:
            await trio.sleep(1)
            await announce(peer)
            await peer.answer_pings()

    exchange.script = script
    async with kept(spec_of()) as timeline:
        await timeline.reaches("live", 10)
        assert exchange.open <= 2
        assert timeline.of(Phase)[-1].phase == "live"


async def test_a_rejected_successor_is_reported_once_the_old_session_has_ended(
    exchange: Exchange, autojump_clock: MockClock
) -> None:
    async def script(peer: Peer) -> None:
        if peer.number == 0:
            await peer.go_live()
            await announce(peer)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(peer.answer_pings)
                await trio.sleep(60)
                await peer.close(1001)
        await peer.receive()
        await peer.reject("60032")
        await peer.receive()

    exchange.script = script
    async with kept(spec_of()) as timeline:
        row = await timeline.reaches("stopped")
        assert trio.current_time() == pytest.approx(60, abs=1)
        assert "60032" in (row.last_error or "")
        assert timeline.of(Phase)[-1] is row


async def test_a_failed_successor_is_retried_while_the_old_session_is_live(
    exchange: Exchange, autojump_clock: MockClock
) -> None:
    async def script(peer: Peer) -> None:
        if peer.number in (1, 2):
            await peer.log_in()
            await peer.close(4006)
            return
        await peer.go_live()
        if peer.number == 0:
            await announce(peer)
        await peer.answer_pings()

    exchange.script = script
    async with kept(spec_of()) as timeline:
        await timeline.reaches("live", 2)
        await trio.sleep(100)
        assert timeline.of(Lost) == []
        assert {row.phase for row in timeline.of(Phase)[5:]} == {"live"}
        assert (len(exchange.dials), exchange.open) == (4, 1)


async def test_an_old_session_that_had_failed_already_leaves_a_gap(
    exchange: Exchange, autojump_clock: MockClock
) -> None:
    """The successor must not cover the time in which the old one was silent."""

    async def script(peer: Peer) -> None:
        await peer.go_live()
        if peer.number == 0:
            await announce(peer)
            await trio.sleep_forever()
        await peer.answer_pings()

    exchange.script = script
    async with kept(spec_of()) as timeline:
        await timeline.reaches("live", 2)
        await trio.sleep(1)
        (lost,) = timeline.of(Lost)
        assert lost.channels == ["orders", "account"]
        subscribed = timeline.of(Subscribed)[2:]
        assert [one.channels for one in subscribed] == [["orders"], ["account"]]
        assert timeline.all.index(next(each for each in timeline.all if each[1] is lost)) < timeline.all.index(
            next(each for each in timeline.all if each[1] is subscribed[0])
        )
        assert (len(exchange.dials), exchange.open) == (2, 1)


async def test_a_channel_that_is_rejected_for_the_successor_is_lost(
    exchange: Exchange, autojump_clock: MockClock
) -> None:
    async def script(peer: Peer) -> None:
        if peer.number == 0:
            await peer.go_live()
            await announce(peer)
        else:
            await peer.log_in()
            request = await peer.receive()
            await peer.send({"id": request["id"], "event": "subscribe", "arg": request["args"][0]})
            await peer.reject("60018", id=request["id"])
        await peer.answer_pings()

    exchange.script = script
    async with kept(spec_of()) as timeline:
        await timeline.reaches("live", 2)
        await trio.sleep(100)
        assert [lost.channels for lost in timeline.of(Lost)] == [["account"]]


async def test_a_channel_dropped_from_the_old_session_is_the_last_error_until_the_successor_has_it(
    exchange: Exchange, autojump_clock: MockClock
) -> None:
    async def script(peer: Peer) -> None:
        await peer.log_in()
        await trio.sleep(5)
        await peer.subscribe()
        if peer.number == 0:
            await announce(peer)
            await peer.send({"event": "channel-conn-count-error", "channel": "orders", "connCount": "30"})
        await peer.answer_pings()

    exchange.script = script
    async with kept(spec_of()) as timeline:
        await timeline.reaches("live", 3)
        await trio.sleep(100)
        errors = [row.last_error for row in timeline.of(Phase) if row.phase == "live"]
        assert (errors[0], errors[-1]) == (None, None)
        assert [error for error in errors if error] == [
            "dropped: orders: over the connection limit (30 connections of this account)"
        ]
        assert [lost.channels for lost in timeline.of(Lost)] == [["orders"]]
        assert [one.channels for one in timeline.of(Subscribed)] == [["orders"], ["account"], ["orders"]]


@pytest.mark.parametrize(("count", "is_journalled"), [("2", False), ("3", True)])
async def test_our_own_successor_is_not_counted_as_another_program(
    exchange: Exchange, autojump_clock: MockClock, count: str, is_journalled: bool
) -> None:
    async def script(peer: Peer) -> None:
        await peer.go_live()
        if peer.number == 0:
            await announce(peer)
        else:
            await peer.send({"event": "channel-conn-count", "channel": "orders", "connCount": count})
        await peer.answer_pings()

    exchange.script = script
    async with kept(spec_of()) as timeline:
        await timeline.reaches("live", 2)
        await trio.sleep(1)
        assert any(note.event == "channel-conn-count" for note in timeline.of(Note)) is is_journalled


@pytest.mark.slow
async def test_a_hundred_and_fifty_connections_at_once_keep_the_dial_limit_and_lose_nothing(
    exchange: Exchange, autojump_clock: MockClock
) -> None:
    everyone = trio.Event()

    async def script(peer: Peer) -> None:
        await peer.go_live()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.answer_pings)
            if peer.number < 150:
                await everyone.wait()
                await announce(peer)
                await trio.sleep(60)
                await peer.close(1001)

    exchange.script = script
    async with running(exchange, *(account(f"a{number}") for number in range(150))) as feed:
        await feed.timeline.reaches("live", 150)
        dialled = len(exchange.dials)
        assert dialled == 150
        everyone.set()
        await feed.timeline.reaches("live", 300)
        await trio.sleep(100)
        assert feed.timeline.of(Lost) == []
        dials = exchange.dials[150:]
        assert len(dials) == 150
        assert all(beyond - first > 1.0 for beyond, first in zip(dials[3:], dials, strict=False))


async def test_cancelling_in_the_middle_leaves_no_socket(exchange: Exchange, autojump_clock: MockClock) -> None:
    async def script(peer: Peer) -> None:
        await peer.log_in()
        if peer.number == 0:
            await peer.subscribe()
            await announce(peer)
            await peer.answer_pings()
        await trio.sleep_forever()  # the successor never gets its subscription

    exchange.script = script
    async with kept(spec_of()) as timeline:
        await timeline.reaches("live")
        await trio.sleep(5)
        assert exchange.open == 2
    assert exchange.open == 0


async def test_a_channel_found_stalled_while_a_successor_is_prepared_is_lost_once(
    exchange: Exchange, autojump_clock: MockClock
) -> None:
    async def script(peer: Peer) -> None:
        await peer.log_in()
        if peer.number == 1:
            await trio.sleep(3)  # the successor is not live yet when the verdict is reached
        await peer.subscribe()
        if peer.number == 0:
            await announce(peer)
        await peer.answer_pings()

    exchange.script = script
    async with connected(spec_of("orders")) as (connection, timeline):
        await timeline.reaches("live")
        await trio.sleep(1)
        await connection.mark_stale("orders", "orders: channel stalled")
        await timeline.reaches("live", 2)
        await trio.sleep(60)
        assert [(lost.channels, lost.reason) for lost in timeline.of(Lost)] == [(["orders"], "orders: channel stalled")]
        (first, second) = timeline.of(Subscribed)
        assert first.at < timeline.of(Lost)[0].at <= second.at
        assert (len(exchange.dials), exchange.open) == (2, 1)


async def test_a_verdict_about_a_channel_that_has_reconnected_opens_a_gap_again(
    exchange: Exchange, autojump_clock: MockClock
) -> None:
    """The writer may be behind: the verdict can be about the session before."""

    async def script(peer: Peer) -> None:
        await peer.go_live()
        if peer.number == 0:
            await peer.close(1001)
        await peer.answer_pings()

    exchange.script = script
    async with connected(spec_of("orders")) as (connection, timeline):
        await timeline.reaches("live", 2)
        await connection.mark_stale("orders", "orders: channel stalled")
        await timeline.reaches("live", 3)
        assert [lost.reason for lost in timeline.of(Lost)] == ["closed with 1001", "orders: channel stalled"]
        assert len(timeline.of(Subscribed)) == 3


async def test_a_verdict_about_a_channel_that_is_not_live_changes_nothing(
    exchange: Exchange, autojump_clock: MockClock
) -> None:
    """Its gap is open already, and is backfilled."""

    async def script(peer: Peer) -> None:
        await peer.go_live()
        await peer.close(1001)

    exchange.script = script
    async with connected(spec_of("orders")) as (connection, timeline):
        await timeline.reaches("backing_off")
        await connection.mark_stale("orders", "orders: channel stalled")
        assert [lost.reason for lost in timeline.of(Lost)] == ["closed with 1001"]


@pytest.mark.parametrize("control", [[], ['{"event":"notice","code":"1","msg":"another"}']])
async def test_what_the_old_session_has_read_is_reported_before_its_successor_takes_over(
    exchange: Exchange, autojump_clock: MockClock, control: list[str]
) -> None:
    """Our queue is full, with others waiting for room, when the old session answers its last ping."""
    push = '{"arg":{"channel":"deposit-info"},"data":[{"depId":"77"}]}'
    dropped = '{"event":"channel-conn-count-error","channel":"orders","connCount":"30"}'
    last_ping = trio.Event()

    async def script(peer: Peer) -> None:
        await peer.go_live()
        if peer.number == 0:
            await peer.send(dropped)
            await announce(peer)
            for answer in (["pong"], [*control, push, "pong"]):
                while await peer.receive() != "ping":
                    pass
                if len(answer) > 1:
                    last_ping.set()
                    await wait_all_tasks_blocked()
                await peer.send_at_once(*answer)
        await peer.answer_pings()

    async def compete() -> None:
        await last_ping.wait()
        for _ in range(100):
            await send.send(note)

    note = Note(0, "info", None, "other", "another account")
    exchange.script = script
    send, receive = queue(10)
    reader = SocketReader(send)
    found: list[Message] = []
    async with reader.running(), trio.open_nursery() as nursery:
        spec = spec_of("orders", "deposit-info")
        connection = FeedConnection(7, spec, send, reader, RateLimiter(dial_slots(3)), FixedClock())
        nursery.start_soon(connection.run)
        for _ in range(3):
            nursery.start_soon(compete)
        while not last_ping.is_set():
            found += queued(receive)
            await trio.sleep(0.01)
        for _ in range(400):
            with suppress(trio.WouldBlock):
                found += receive.receive_batch_nowait(1, MAX_BYTES)
            await trio.sleep(0.02)
        nursery.cancel_scope.cancel()
    pushed = next(at for at, one in enumerate(found) if isinstance(one, Frames) and push in frames_of(one))
    again = [at for at, one in enumerate(found) if isinstance(one, Subscribed) and one.channels == ["orders"]][1]
    assert pushed < again
    # The old session's answer proves nothing about a channel that its successor alone has.
    since = found[again].at  # type: ignore[union-attr]
    assert all(one.at > since for one in found[again:] if isinstance(one, Pong))
    assert [one.channels for one in found if isinstance(one, Lost)] == [["orders"]]


def frames_of(message: Frames) -> list[str]:
    return [frame for _, frame in message.frames]
