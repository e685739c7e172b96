"""The phases of one connection as they are reported, their deadlines, and the pause after each end."""

import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from okxsync.config.secret import Secret, SecretSource
from okxsync.feed.connection import FeedConnection
from okxsync.feed.reader import SocketReader
from okxsync.feed.spec import Keys
from okxsync.messages import Lost, Note, Phase, Subscribed
from okxsync.okx.control import read_event
from okxsync.okx.rate_limits import UNANSWERED_S, dial_slots
from okxsync.runtime.rate_limiter import RateLimiter
from tests.support.connections import CLIMB, kept
from tests.support.scripted_peer import CONN_ID, Exchange, FixedClock, Peer, Timeline, spec_of


def rejecting_login(*codes: str) -> Callable[[Peer], Awaitable[None]]:
    """Refuse one login after the other with these codes; take all that come after."""

    async def script(peer: Peer) -> None:
        if peer.number < len(codes):
            await peer.receive()
            await peer.reject(codes[peer.number])
            await peer.receive()
        else:
            await peer.go_live()
            await peer.answer_pings()

    return script


def delay_s(row: Phase) -> float:
    assert row.next_attempt_at
    return (row.next_attempt_at - row.since_at) / 1e6


# The phases


async def test_each_phase_is_reported_in_order_with_the_last_error_and_the_next_attempt(
    exchange: Exchange, autojump_clock: MockClock
) -> None:
    async def script(peer: Peer) -> None:
        await peer.go_live()
        if peer.number == 0:
            await trio.sleep(5)
            await peer.close(4004, "No data received in 30s.")
        await peer.answer_pings()

    exchange.script = script
    async with kept(spec_of()) as timeline:
        await timeline.reaches("live", 2)
        rows = timeline.of(Phase)
        assert [row.phase for row in rows] == [*CLIMB, "backing_off", *CLIMB]
        assert [row.reconnects for row in rows] == [0] * 10 + [1]
        reason = "closed with 4004: No data received in 30s."
        assert [row.last_error for row in rows] == [None] * 5 + [reason] * 6
        assert [row.phase for row in rows if row.next_attempt_at] == ["backing_off"]
        assert 0.5 <= delay_s(rows[5]) <= 1.5
        assert (rows[4].conn_id, rows[5].conn_id) == (CONN_ID, None)
        assert {(row.connection_id, row.listener, row.account, row.endpoint) for row in rows} == {
            (7, "alpha", "alpha", "private")
        }
        assert all(row.requires_auth and not row.demo and row.site == "global" for row in rows)


async def test_the_next_attempt_is_at_the_reported_time(exchange: Exchange, autojump_clock: MockClock) -> None:
    exchange.refuses_tcp = True
    async with kept(spec_of()) as timeline:
        for number in range(1, 30):
            row = await timeline.reaches("backing_off", number)
            entered = next(at for at, message in timeline.all if message is row)
            await timeline.reaches("connecting", number + 1)
            await trio.sleep(0.01)
            assert exchange.dials[number] - entered == pytest.approx(delay_s(row), abs=1e-3)
        assert row.last_error == "peer:80 TCP: connection refused"


async def test_a_connection_without_keys_does_not_log_in(exchange: Exchange, autojump_clock: MockClock) -> None:
    async def script(peer: Peer) -> None:
        await peer.subscribe()
        await peer.answer_pings()

    exchange.script = script
    async with kept(spec_of("status", keys=None, listener="market")) as timeline:
        row = await timeline.reaches("live")
        assert [row.phase for row in timeline.of(Phase)] == ["waiting", "connecting", "subscribing", "live"]
        assert (row.listener, row.account, row.requires_auth) == ("market", None, False)


@pytest.mark.parametrize(
    ("closes_after_s", "reason"),
    [(0.1, "this machine or process was suspended for 62 s: closed with 4004"), (20, "closed with 4004")],
)
async def test_a_loss_after_a_suspend_names_it_unless_a_ping_was_answered_since(
    exchange: Exchange,
    autojump_clock: MockClock,
    monkeypatch: pytest.MonkeyPatch,
    closes_after_s: float,
    reason: str,
) -> None:
    async def script(peer: Peer) -> None:
        await peer.go_live()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.answer_pings)
            await trio.sleep(7)
            awake_s = time.clock_gettime
            # Trio's clock stands still in a suspend.
            monkeypatch.setattr(time, "clock_gettime", lambda clock: awake_s(clock) + 60)
            await trio.sleep(closes_after_s)
            await peer.close(4004)

    exchange.script = script
    async with kept(spec_of()) as timeline:
        row = await timeline.reaches("backing_off")
        assert row.last_error == reason
        (lost,) = timeline.of(Lost)
        assert lost.reason == reason


async def test_a_bug_while_a_frame_is_read_ends_only_its_session(
    exchange: Exchange, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It happens in the task that reads all sockets."""

    async def script(peer: Peer) -> None:
        await peer.go_live()
        if peer.number == 0:
            await peer.send("bug")
        await peer.answer_pings()

    def read(frame: str) -> object:
        if frame == "bug":
            raise ZeroDivisionError
        return read_event(frame)

    monkeypatch.setattr("okxsync.feed.session.read_event", read)
    exchange.script = script
    async with kept(spec_of()) as timeline:
        await timeline.reaches("live", 2)
        assert "internal-error" in {note.event for note in timeline.of(Note)}


# The deadline of each phase


async def test_a_peer_that_accepts_tcp_and_stays_silent_is_given_up_after_ten_seconds(
    exchange: Exchange, autojump_clock: MockClock
) -> None:
    exchange.upgrades = False
    async with kept(spec_of()) as timeline:
        row = await timeline.reaches("backing_off")
        assert row.last_error == "peer:80 WebSocket handshake: no answer within 10 s"
        assert timeline.phases() == [(0, "waiting"), (0, "connecting"), (10, "backing_off")]
        assert exchange.open == 0


@pytest.mark.parametrize(
    ("silent_after", "phase", "reason", "ends_at"),
    [
        (0, "logging_in", "login: no answer within 10 s", 10),
        (1, "subscribing", "subscribe: no acknowledgement within 10 s for orders, account", 10),
        (2, "live", "silent: no frame within 10 s after a ping", 10),
    ],
)
async def test_a_silent_peer_ends_each_phase_after_its_deadline(
    exchange: Exchange, autojump_clock: MockClock, silent_after: int, phase: str, reason: str, ends_at: float
) -> None:
    async def script(peer: Peer) -> None:
        for step in (peer.log_in, peer.subscribe)[:silent_after]:
            await step()
        while True:
            await peer.receive()

    exchange.script = script
    async with kept(spec_of()) as timeline:
        row = await timeline.reaches("backing_off")
        assert row.last_error == reason
        assert timeline.phases()[-2:] == [(0, phase), (ends_at, "backing_off")]
        assert exchange.open == 0


# Losses


async def test_live_channels_are_reported_lost_before_anything_else(
    exchange: Exchange, autojump_clock: MockClock
) -> None:
    async def script(peer: Peer) -> None:
        await peer.go_live()
        await trio.sleep(3)
        await peer.close(1001)

    exchange.script = script
    async with kept(spec_of()) as timeline:
        await timeline.reaches("live", 3)
        reported = [
            message.phase if isinstance(message, Phase) else message.channels
            for _, message in timeline.all
            if isinstance(message, Lost | Subscribed | Phase)
        ]
        live = ["waiting", "connecting", "logging_in", "subscribing", ["orders"], ["account"], "live"]
        lost = [["orders", "account"], "backing_off"]
        assert reported == [*live, *lost, *live, *lost, *live]
        assert {lost.reason for lost in timeline.of(Lost)} == {"closed with 1001"}
        notes = timeline.of(Note)
        assert [(note.level, note.event) for note in notes] == [("warning", "disconnected")] * 2
        assert notes[0].detail == "private: closed with 1001"


async def test_acknowledged_channels_are_reported_lost_even_if_the_connection_was_never_live(
    exchange: Exchange, autojump_clock: MockClock
) -> None:
    async def script(peer: Peer) -> None:
        await peer.log_in()
        request = await peer.receive()
        await peer.send({"id": request["id"], "event": "subscribe", "arg": request["args"][0]})
        await peer.receive()

    exchange.script = script
    async with kept(spec_of()) as timeline:
        row = await timeline.reaches("backing_off")
        assert [lost.channels for lost in timeline.of(Lost)] == [["orders"]]
        assert row.reconnects == 0


async def test_a_dropped_channel_is_not_reported_lost_again(exchange: Exchange, autojump_clock: MockClock) -> None:
    async def script(peer: Peer) -> None:
        await peer.go_live()
        await peer.send({"event": "channel-conn-count-error", "channel": "orders", "connCount": "30"})
        await trio.sleep(1)
        await peer.close(1001)

    exchange.script = script
    async with kept(spec_of()) as timeline:
        await timeline.reaches("backing_off")
        assert [lost.channels for lost in timeline.of(Lost)] == [["orders"], ["account"]]


async def test_a_dropped_channel_is_the_last_error_of_its_live_connection_until_it_is_live_again(
    exchange: Exchange, autojump_clock: MockClock
) -> None:
    async def script(peer: Peer) -> None:
        await peer.go_live()
        if peer.number == 0:
            await peer.close(1001)
        await trio.sleep(5)
        await peer.send({"event": "channel-conn-count-error", "channel": "orders", "connCount": "30"})
        while True:
            match await peer.receive():
                case "ping":
                    await peer.send("pong")
                case {"op": "subscribe", "id": id, "args": [arg]}:
                    await peer.send({"id": id, "event": "subscribe", "arg": arg})

    exchange.script = script
    async with kept(spec_of()) as timeline:
        await timeline.reaches("live", 2)
        await trio.sleep(1000)
        live, dropped, again = timeline.of(Phase)[-3:]
        assert [row.last_error for row in (live, dropped, again)] == [
            "closed with 1001",
            "dropped: orders: over the connection limit (30 connections of this account)",
            "closed with 1001",
        ]
        assert msgspec.structs.replace(dropped, last_error=live.last_error) == live == again  # nothing else changes


async def test_a_rejected_channel_is_the_last_error_of_its_live_connection_until_it_is_live(
    exchange: Exchange, autojump_clock: MockClock
) -> None:
    async def script(peer: Peer) -> None:
        await peer.log_in()
        request = await peer.receive()
        await peer.send({"id": request["id"], "event": "subscribe", "arg": request["args"][0]})
        await peer.reject("64003", id=request["id"])
        while True:
            match await peer.receive():
                case "ping":
                    await peer.send("pong")
                case {"op": "subscribe", "id": id, "args": [arg]}:
                    await peer.send({"id": id, "event": "subscribe", "arg": arg})

    exchange.script = script
    async with kept(spec_of()) as timeline:
        await timeline.reaches("live")
        await trio.sleep(1000)
        rejected, again = timeline.of(Phase)[-2:]
        assert (rejected.phase, again.phase) == ("live", "live")
        assert (rejected.last_error or "").startswith("rejected: subscribe account: 64003 ")
        assert again.last_error is None


async def test_a_channel_that_is_dropped_before_live_is_the_last_error_too(
    exchange: Exchange, autojump_clock: MockClock
) -> None:
    async def script(peer: Peer) -> None:
        await peer.log_in()
        request = await peer.receive()
        await peer.send({"id": request["id"], "event": "subscribe", "arg": request["args"][0]})
        await peer.send({"event": "channel-conn-count-error", "channel": "orders", "connCount": "30"})
        await peer.send({"id": request["id"], "event": "subscribe", "arg": request["args"][1]})
        await trio.sleep(1)
        await peer.close(1001)

    exchange.script = script
    async with kept(spec_of()) as timeline:
        row = await timeline.reaches("live")
        assert (row.last_error or "").startswith("dropped: orders: ")
        ended = await timeline.reaches("backing_off")
        assert ended.last_error == "closed with 1001"


# The pause after each end


@pytest.mark.parametrize("code", ["60009", "63999", "99999"])
async def test_a_transient_rejection_is_retried_soon(exchange: Exchange, autojump_clock: MockClock, code: str) -> None:
    exchange.script = rejecting_login(code)
    async with kept(spec_of()) as timeline:
        row = await timeline.reaches("backing_off")
        assert 0.5 <= delay_s(row) <= 1.5
        assert code in (row.last_error or "")
        await timeline.reaches("live")


async def test_too_many_requests_are_followed_by_a_long_pause(exchange: Exchange, autojump_clock: MockClock) -> None:
    exchange.script = rejecting_login("60014")
    async with kept(spec_of()) as timeline:
        assert 150 <= delay_s(await timeline.reaches("backing_off")) <= 225
        await timeline.reaches("live")
        assert 150 <= exchange.dials[1] <= 226


@pytest.mark.parametrize("code", ["60005", "60024", "60032", "50101", "60012"])
async def test_a_rejected_key_stops_the_connection_and_is_retried_after_half_an_hour(
    exchange: Exchange, autojump_clock: MockClock, code: str
) -> None:
    exchange.script = rejecting_login(code, code)
    async with kept(spec_of()) as timeline:
        row = await timeline.reaches("stopped")
        assert delay_s(row) == 1800
        assert f"login: {code}" in (row.last_error or "")
        (note,) = timeline.of(Note)
        assert (note.level, note.event) == ("error", "stopped")
        await timeline.reaches("live")
        assert exchange.dials == pytest.approx([0, 1800, 3600], abs=1)
        assert timeline.of(Lost) == []


async def test_a_missing_secret_stops_the_connection_and_names_its_place(
    exchange: Exchange, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ALPHA_KEY", raising=False)
    secret = Secret(SecretSource(env="ALPHA_KEY"), Path())
    exchange.script = rejecting_login()
    async with kept(spec_of(keys=Keys(secret, secret, secret))) as timeline:
        row = await timeline.reaches("stopped")
        assert row.last_error == "environment variable ALPHA_KEY is not set"
        monkeypatch.setenv("ALPHA_KEY", "here it is")
        await timeline.reaches("live")
        assert exchange.open == 1


@pytest.mark.parametrize(
    ("code", "phase"),
    [(1000, "backing_off"), (4001, "backing_off"), (4007, "backing_off"), (4002, "stopped"), (4008, "stopped")],
)
async def test_a_close_code_has_the_action_of_the_table(
    exchange: Exchange, autojump_clock: MockClock, code: int, phase: str
) -> None:
    async def script(peer: Peer) -> None:
        await peer.log_in()
        await peer.close(code)

    exchange.script = script
    async with kept(spec_of()) as timeline:
        row = await timeline.reaches(phase)
        assert row.last_error == f"closed with {code}"


@pytest.mark.parametrize("code", [1009, 4002, 4003, 4008, 4009])
async def test_a_live_connection_that_is_closed_for_an_error_of_ours_reconnects(
    exchange: Exchange, autojump_clock: MockClock, code: int
) -> None:
    """Our requests were valid when they were sent: one stray close must not stop an account for half an hour."""

    async def script(peer: Peer) -> None:
        await peer.go_live()
        if peer.number == 0:
            await trio.sleep(5)
            await peer.close(code)
        await peer.answer_pings()

    exchange.script = script
    async with kept(spec_of()) as timeline:
        row = await timeline.reaches("backing_off")
        assert delay_s(row) <= 1.5
        await timeline.reaches("live", 2)


async def test_a_rejected_upgrade_is_retried(exchange: Exchange, autojump_clock: MockClock) -> None:
    exchange.rejects = 429
    async with kept(spec_of()) as timeline:
        row = await timeline.reaches("backing_off")
        assert "HTTP status 429 (too many connections per second" in (row.last_error or "")
        assert delay_s(row) <= 1.5


async def test_the_back_off_grows_with_each_failure_and_is_reset_after_a_minute_live(
    exchange: Exchange, autojump_clock: MockClock
) -> None:
    lives_s = 0.0

    async def script(peer: Peer) -> None:
        await peer.go_live()
        with trio.move_on_after(lives_s):
            await peer.answer_pings()
        await peer.close(1001)

    exchange.script = script
    async with kept(spec_of()) as timeline:
        number, delays = 0, [0.5]
        while delays[-1] <= 20:  # live for a moment each time: that resets nothing
            number += 1
            delays.append(delay_s(await timeline.reaches("backing_off", number)))
            assert 0.5 <= delays[-1] <= min(60.0, 3 * delays[-2]) + 1e-3
        lives_s = 61.0
        assert delay_s(await timeline.reaches("backing_off", number + 1)) <= 1.5


# A login that should pass, and does not


async def test_a_login_rejected_for_its_time_is_signed_again_after_measuring_the_clock(
    exchange: Exchange, autojump_clock: MockClock
) -> None:
    exchange.script = rejecting_login("60006", "60007")
    clock = FixedClock()
    async with kept(spec_of(), clock) as timeline:
        await timeline.reaches("live")
        assert clock.measured == 2
        assert exchange.dials[-1] < 10


async def test_a_rejected_signature_is_tried_twice_and_again_after_the_connection_was_live(
    exchange: Exchange, autojump_clock: MockClock
) -> None:
    async def script(peer: Peer) -> None:
        if peer.number == 3:
            await peer.go_live()
            await peer.close(1001)
        else:
            await peer.receive()
            await peer.reject("60007")
            await peer.receive()

    exchange.script = script
    clock = FixedClock()
    async with kept(spec_of(), clock) as timeline:
        await timeline.reaches("stopped", 3)
        ends = [row.phase for row in timeline.of(Phase) if row.phase in ("backing_off", "stopped", "live")]
        before, after = ["backing_off", "stopped", "stopped"], ["live", "backing_off", "backing_off", "stopped"]
        assert ends == before + after
        assert clock.measured == 5


async def test_another_failure_does_not_make_a_rejected_signature_the_first_again(
    exchange: Exchange, autojump_clock: MockClock
) -> None:
    exchange.script = rejecting_login("60007", "63999", "60007", "60007")
    async with kept(spec_of()) as timeline:
        row = await timeline.reaches("stopped")
        assert delay_s(row) == 1800
        assert len(exchange.dials) == 3


async def test_a_login_rejected_for_its_time_is_never_given_up(exchange: Exchange, autojump_clock: MockClock) -> None:
    exchange.script = rejecting_login(*["60006"] * 7)
    clock = FixedClock()
    async with kept(spec_of(), clock) as timeline:
        await timeline.reaches("live")
        pauses = [delay_s(row) for row in timeline.of(Phase) if row.phase == "backing_off"]
        assert "stopped" not in {row.phase for row in timeline.of(Phase)}
        assert max(pauses[:4]) <= 60
        assert min(pauses[4:]) >= 150
        assert clock.measured == 7


async def test_a_connection_whose_every_channel_is_rejected_is_stopped_after_five_attempts(
    exchange: Exchange, autojump_clock: MockClock
) -> None:
    async def script(peer: Peer) -> None:
        await peer.log_in()
        request = await peer.receive()
        for _ in request["args"]:
            await peer.reject("60018", id=request["id"])
        await peer.receive()

    exchange.script = script
    async with kept(spec_of()) as timeline:
        row = await timeline.reaches("stopped")
        assert (delay_s(row), row.last_error) == (1800, "no channel is left")
        ends = [row.phase for row in timeline.of(Phase) if row.phase in ("backing_off", "stopped")]
        assert ends == ["backing_off"] * 4 + ["stopped"]


async def test_a_rejected_time_after_another_failure_is_the_first_again(
    exchange: Exchange, autojump_clock: MockClock
) -> None:
    exchange.script = rejecting_login(*["60006"] * 4, "63999", *["60006"] * 4)
    async with kept(spec_of()) as timeline:
        await timeline.reaches("live")
        pauses = [delay_s(row) for row in timeline.of(Phase) if row.phase == "backing_off"]
        assert max(pauses) <= 60


async def test_a_clock_that_cannot_be_measured_delays_a_login_by_ten_seconds_at_most(
    exchange: Exchange, autojump_clock: MockClock
) -> None:
    class Stuck(FixedClock):
        async def measure(self) -> None:
            await trio.sleep_forever()

    exchange.script = rejecting_login("60006")
    async with kept(spec_of(), Stuck()) as timeline:
        await timeline.reaches("live")
        assert 10 < exchange.dials[1] < 12


# Cancellation


@pytest.mark.parametrize("phase", ["waiting", "connecting", "logging_in", "subscribing", "live", "backing_off"])
async def test_cancellation_in_any_phase_leaves_no_socket(
    exchange: Exchange, autojump_clock: MockClock, phase: str
) -> None:
    steps = {"logging_in": 0, "subscribing": 1, "live": 2, "backing_off": 1}.get(phase, 0)

    async def script(peer: Peer) -> None:
        for step in (peer.log_in, peer.subscribe)[:steps]:
            await step()
        if phase == "backing_off":
            await peer.close(4008)
        await trio.sleep_forever()

    exchange.script = script
    exchange.upgrades = phase != "connecting"
    timeline, dialer = Timeline(), RateLimiter(dial_slots(1))
    reader = SocketReader(timeline.send)
    if phase == "waiting":
        async with dialer.acquire(0) as permit:
            permit.release()  # the place of this second is taken
    async with reader.running(), trio.open_nursery() as nursery:
        nursery.start_soon(timeline.collect)
        with trio.move_on_after(0.9 if phase == "waiting" else 2) as scope:
            await FeedConnection(7, spec_of(), timeline.send, reader, dialer, FixedClock()).run()
        assert scope.cancelled_caught
        now = trio.current_time()
        await wait_all_tasks_blocked()
        assert exchange.open == 0
        assert timeline.of(Phase)[-1].phase == ("stopped" if phase == "backing_off" else phase)
        counted_s = UNANSWERED_S if phase == "connecting" else 0.0  # the exchange may count the dial later
        async with dialer.acquire(0):
            assert trio.current_time() - now < counted_s + 1.01
        nursery.cancel_scope.cancel()


async def test_a_connection_that_was_live_dials_before_those_that_never_were(
    exchange: Exchange, autojump_clock: MockClock
) -> None:
    async def script(peer: Peer) -> None:
        await peer.go_live()
        if peer.number == 0:
            await peer.close(1001)
        await peer.answer_pings()

    exchange.script = script
    timeline, dialer = Timeline(), RateLimiter(dial_slots(1))
    reader = SocketReader(timeline.send)
    async with reader.running(), trio.open_nursery() as nursery:
        nursery.start_soon(timeline.collect)
        for number in range(20):
            spec = spec_of(listener=f"a{number:02}")
            nursery.start_soon(FeedConnection(number, spec, timeline.send, reader, dialer, FixedClock()).run)
            await wait_all_tasks_blocked()
        await timeline.reaches("live", 5)
        live = [row.listener for row in timeline.of(Phase) if row.phase == "live"]
        assert live.count("a00") == 2
        nursery.cancel_scope.cancel()
