"""Liveness alone: no socket, and a clock that the test moves."""

from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from okxsync.feed.liveness import ANSWER_S, PING_S, STALL_S, Liveness, Moment, Proof

START_US = 1_700_000_000_000_000


def moment(s: float, *, suspended_s: float = 0.0) -> Moment:
    """Return the moment ``s`` seconds after the start, after a suspend."""
    return Moment(round(START_US + (s + suspended_s) * 1e6), s, s + suspended_s)


def local_us(s: float) -> int:
    return moment(s).local_us


# Pings and pongs


def test_a_pong_proves_the_time_up_to_its_own_ping() -> None:
    liveness = Liveness()
    liveness.on_ping(moment(0))
    liveness.on_ping(moment(5))
    assert liveness.on_pong(moment(7)) == Proof(local_us(0), 7_000_000)
    assert liveness.on_pong(moment(7.5)) == Proof(local_us(5), 2_500_000)


def test_what_follows_a_pong_was_sent_after_its_ping() -> None:
    liveness = Liveness()
    liveness.on_ping(moment(0))
    liveness.on_ping(moment(5))
    assert liveness.answered_us == 0
    liveness.on_pong(moment(7))
    assert liveness.answered_us == local_us(0)
    liveness.on_pong(moment(7))
    assert liveness.answered_us == local_us(5)


def test_a_pong_without_a_ping_proves_nothing() -> None:
    assert Liveness().on_pong(moment(1)) is None


def test_a_ping_is_answered_by_the_pong_of_its_own_number() -> None:
    liveness = Liveness()
    first, second = liveness.on_ping(moment(0)), liveness.on_ping(moment(1))
    assert not liveness.is_answered(first)
    liveness.on_pong(moment(2))
    assert (liveness.is_answered(first), liveness.is_answered(second)) == (True, False)
    liveness.on_pong(moment(2))
    assert liveness.is_answered(second)


def test_a_beat_is_due_five_seconds_after_the_last_one_or_when_its_answer_is_overdue() -> None:
    liveness = Liveness()
    assert liveness.is_beat_due(moment(0))
    liveness.on_beat(moment(0))
    assert not liveness.is_beat_due(moment(PING_S))
    assert liveness.is_beat_due(moment(ANSWER_S))
    liveness.on_frame()
    assert not liveness.is_beat_due(moment(PING_S - 0.1))
    assert liveness.is_beat_due(moment(PING_S))


# Silence


def test_no_frame_for_ten_seconds_after_a_beat_is_silence() -> None:
    liveness = Liveness()
    assert liveness.verdict(moment(1000)) is None  # no beat yet
    due = liveness.on_beat(moment(5))
    liveness.on_ping(moment(5))
    assert due == 5 + ANSWER_S
    assert liveness.verdict(moment(14.9)) is None
    assert liveness.verdict(moment(due)) == "silent: no frame within 10 s after a ping"


def test_any_frame_after_a_beat_is_an_answer_and_a_frame_before_it_is_none() -> None:
    liveness = Liveness()
    liveness.on_frame()
    liveness.on_beat(moment(0))
    assert liveness.verdict(moment(10))
    liveness.on_frame()
    assert liveness.verdict(moment(10)) is None
    liveness.on_beat(moment(10))
    assert liveness.verdict(moment(20))


def test_silence_while_our_own_channel_is_full_is_not_the_peers() -> None:
    liveness = Liveness()
    liveness.on_beat(moment(0))
    liveness.on_stall(moment(1))
    assert liveness.verdict(moment(100)) is None
    liveness.on_resume(moment(100))
    assert liveness.verdict(moment(100))


# Stalls


def test_a_short_wait_is_not_a_stall() -> None:
    liveness = Liveness()
    liveness.on_stall(moment(0))
    assert not liveness.on_resume(moment(STALL_S))
    assert liveness.stamp(local_us(2)) == local_us(2)


def test_frames_have_the_beginning_of_the_stall_until_a_ping_sent_after_it_is_answered() -> None:
    liveness = Liveness()
    liveness.on_ping(moment(3))
    liveness.on_stall(moment(4))
    liveness.on_ping(moment(8))
    assert liveness.on_resume(moment(10))
    liveness.on_ping(moment(10))
    assert liveness.stamp(local_us(10)) == local_us(4)
    liveness.on_pong(moment(10))  # of the ping at 3: earlier than the stall, so nothing is known anew
    assert liveness.stamp(local_us(10)) == local_us(4)
    liveness.on_pong(moment(10))
    assert liveness.stamp(local_us(10)) == local_us(8)
    liveness.on_pong(moment(11))
    assert liveness.stamp(local_us(11)) == local_us(11)


def test_a_second_stall_before_we_have_caught_up_does_not_move_the_stamp() -> None:
    liveness = Liveness()
    liveness.on_stall(moment(4))
    liveness.on_resume(moment(10))
    liveness.on_ping(moment(10))
    liveness.on_stall(moment(10))
    assert liveness.on_resume(moment(20))
    liveness.on_ping(moment(20))
    assert liveness.stamp(local_us(20)) == local_us(4)
    liveness.on_pong(moment(20))  # of the ping at 10, before the end of the second stall
    assert liveness.stamp(local_us(20)) == local_us(10)
    liveness.on_pong(moment(20))
    assert liveness.stamp(local_us(20)) == local_us(20)


# Suspension


def test_a_suspend_is_seen_until_a_ping_sent_after_it_is_answered() -> None:
    liveness = Liveness()
    assert liveness.suspended_s(moment(100)) == 0  # no beat yet
    liveness.on_beat(moment(5))
    liveness.on_ping(moment(5))
    assert liveness.suspended_s(moment(7, suspended_s=60)) == 62
    liveness.on_beat(moment(10, suspended_s=60))
    liveness.on_ping(moment(10, suspended_s=60))
    liveness.on_pong(moment(10, suspended_s=60))  # of the ping before the suspend
    assert liveness.suspended_s(moment(11, suspended_s=60)) == 65
    liveness.on_pong(moment(11, suspended_s=60))
    assert liveness.suspended_s(moment(12, suspended_s=60)) == 0


def test_a_late_beat_is_not_a_suspend() -> None:
    liveness = Liveness()
    liveness.on_beat(moment(0))
    assert liveness.suspended_s(moment(PING_S + ANSWER_S)) == 0


# Any order of events


class Wire:
    """A peer that pushes and answers pings in order, and a reader that reads at once unless it is stalled."""

    def __init__(self) -> None:
        self.liveness = Liveness()
        self.s = 0.0
        self.sent: deque[tuple[str, float]] = deque()  # by the peer and not read yet, each with its time
        self.pings: deque[float] = deque()  # that the peer has not answered
        self.answered: deque[float] = deque()  # pings whose pongs are not read yet
        self.stalled = False

    def ping(self) -> None:
        self.liveness.on_ping(moment(self.s))
        self.pings.append(self.s)

    def push(self) -> None:
        self.sent.append(("frame", self.s))
        self.read()

    def answer(self) -> None:
        if self.pings:
            self.answered.append(self.pings.popleft())
            self.sent.append(("pong", self.s))
            self.read()

    def stall(self) -> None:
        if not self.stalled:
            self.stalled = True
            self.liveness.on_stall(moment(self.s))

    def resume(self, frames: int) -> None:
        """Read this many frames, and stall again if there are more."""
        if self.stalled:
            self.stalled = False
            if self.liveness.on_resume(moment(self.s)):
                self.ping()
            self.read(frames)
            if self.sent:
                self.stall()

    def read(self, most: int = 1000) -> None:
        while self.sent and most and not self.stalled:
            most -= 1
            kind, sent_s = self.sent.popleft()
            self.liveness.on_frame()
            assert self.liveness.answered_us <= local_us(sent_s)
            if kind == "frame":
                assert self.liveness.stamp(local_us(self.s)) <= local_us(sent_s)
            else:
                pinged_s = self.answered.popleft()
                proof = self.liveness.on_pong(moment(self.s))
                assert proof == Proof(local_us(pinged_s), round((self.s - pinged_s) * 1e6))
                assert all(unread_s >= pinged_s for _, unread_s in self.sent)


STEPS = st.one_of(st.sampled_from(["push", "ping", "answer", "stall"]), st.integers(0, 4))


@given(st.lists(st.tuples(STEPS, st.sampled_from([0.0, 2.0, 7.0])), max_size=60))
def test_no_stamp_is_later_than_the_frame_and_no_proof_later_than_its_ping(
    steps: list[tuple[str | int, float]],
) -> None:
    wire = Wire()
    for step, pause_s in steps:
        if isinstance(step, int):
            wire.resume(step)
        else:
            getattr(wire, step)()
        wire.s += pause_s
    wire.resume(1000)
    wire.ping()
    while wire.pings:
        wire.answer()
    assert not wire.stalled
    assert wire.liveness.stamp(local_us(wire.s)) == local_us(wire.s)  # and in the end we have caught up
