"""The clock of a process: it follows the exchange, believes no single wrong answer, and never goes back once pinned."""

import time
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from okxsync.runtime import clock
from okxsync.runtime.clock import CONFIRM_US, CONFIRMATIONS, FAR_US, STANDSTILL_US, Clock

START_S = 1_800_000_000.0
HOUR_S = 3600.0
CONFIRM_S = CONFIRM_US / 1e6


@dataclass
class Machine:
    """Its clocks, and an exchange whose clock is ``ahead_s`` ahead of the steady one plus ``START_S``."""

    steady_s: float = 1000.0
    wall_s: float = START_S + 1000.0
    ahead_s: float = 0.0

    def passes(self, seconds: float) -> None:
        self.steady_s += seconds
        self.wall_s += seconds

    @property
    def exchange_s(self) -> float:
        return START_S + self.steady_s + self.ahead_s

    def measure(self, clock: Clock, answers_s: float | None = None, rtt_s: float = 0.1) -> None:
        """Ask the exchange; it answers its time, or ``answers_s``, in the middle of the round trip."""
        before = self.steady_s
        self.passes(rtt_s / 2)
        theirs = self.exchange_s if answers_s is None else answers_s
        self.passes(rtt_s / 2)
        clock.measured(theirs - self.steady_s, theirs - before)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return patched(monkeypatch)


def patched(monkeypatch: pytest.MonkeyPatch, wall_ahead_s: float = 0.0) -> Machine:
    machine = Machine(wall_s=START_S + 1000.0 + wall_ahead_s)
    monkeypatch.setattr(time, "time_ns", lambda: round(machine.wall_s * 1e9))
    monkeypatch.setattr(time, "clock_gettime", lambda which: machine.steady_s)
    return machine


def delayed(machine: Machine, clock: Clock, out_s: float, back_s: float) -> None:
    """Ask the exchange, with these delays each way."""
    before_s = machine.steady_s
    machine.passes(out_s)
    theirs_s = machine.exchange_s
    machine.passes(back_s)
    clock.measured(theirs_s - machine.steady_s, theirs_s - before_s)


def off_s(clock: Clock, machine: Machine) -> float:
    """Return by how much the clock is ahead of the exchange's."""
    return clock.now_us() / 1e6 - machine.exchange_s


def pinned(machine: Machine) -> Clock:
    """Return a clock that was measured once and is right."""
    clock = Clock()
    machine.measure(clock)
    clock.pin()
    assert abs(off_s(clock, machine)) < 0.001
    return clock


def test_it_begins_as_the_wall_clock(machine: Machine) -> None:
    assert Clock().now_us() == round(machine.wall_s * 1e6)


@pytest.mark.parametrize("step_s", [-2 * HOUR_S, 2 * HOUR_S])
def test_a_step_of_the_wall_clock_changes_nothing(machine: Machine, step_s: float) -> None:
    clock = pinned(machine)
    machine.wall_s += step_s
    assert abs(off_s(clock, machine)) < 0.001
    assert clock.ahead_us() == pytest.approx(-step_s * 1e6, abs=1000)


@pytest.mark.parametrize("wall_ahead_s", [-2 * HOUR_S, 2 * HOUR_S])
def test_a_wrong_wall_clock_is_corrected_before_anything_is_recorded(
    monkeypatch: pytest.MonkeyPatch, wall_ahead_s: float
) -> None:
    machine = patched(monkeypatch, wall_ahead_s)
    clock = Clock()
    began_s = machine.steady_s
    for count in range(1, CONFIRMATIONS + 1):
        assert abs(off_s(clock, machine) - wall_ahead_s) < 0.001, "not believed yet"
        machine.measure(clock)
        assert clock.is_in_doubt == (count < CONFIRMATIONS)
    assert abs(off_s(clock, machine)) < 0.1
    assert clock.at_us(began_s) == pytest.approx((START_S + began_s) * 1e6, abs=1e5)


@pytest.mark.parametrize("wall_ahead_s", [-7.0, 7.0, -2 * HOUR_S])
@pytest.mark.parametrize("delays_s", [(0.0, 4.5), (4.5, 0.0)])
def test_a_slow_answer_and_quick_ones_confirm_each_other(
    monkeypatch: pytest.MonkeyPatch, wall_ahead_s: float, delays_s: tuple[float, float]
) -> None:
    """The middle of a round trip of 4.5 s is 2.2 s off: what counts is that one offset fits all answers."""
    machine = patched(monkeypatch, wall_ahead_s)
    clock = Clock()
    delayed(machine, clock, *delays_s)
    for _ in range(CONFIRMATIONS - 1):
        machine.measure(clock)
    assert not clock.is_in_doubt
    assert abs(off_s(clock, machine)) < 0.1


# How wrong it can be


@given(st.lists(st.tuples(st.floats(0, 3), st.floats(0, 3), st.floats(0, 100)), min_size=1, max_size=8),
       st.floats(-HOUR_S, HOUR_S))  # fmt: skip
def test_the_exchanges_clock_is_within_the_bounds_however_asymmetric_the_delays_are(
    delays_s: list[tuple[float, float, float]], wall_ahead_s: float
) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        machine = patched(monkeypatch, wall_ahead_s)
        clock = Clock()
        for _ in range(CONFIRMATIONS):
            machine.measure(clock)
        clock.pin()
        passed_us = 0
        for out_s, back_s, pause_s in delays_s:
            delayed(machine, clock, out_s, back_s)
            machine.passes(pause_s)
            earliest_us, exchange_us, latest_us = clock.earliest_us(), machine.exchange_s * 1e6, clock.latest_us()
            assert passed_us <= earliest_us <= exchange_us + 2
            assert exchange_us <= latest_us + 2
            assert earliest_us <= clock.now_us() <= latest_us
            assert latest_us - earliest_us <= (out_s + back_s) * 1e6 + 2 or clock.now_us() == latest_us
            passed_us = earliest_us


@given(st.floats(-25, HOUR_S), st.lists(st.tuples(st.floats(0, 3), st.floats(0, 3)), min_size=1, max_size=4))
def test_the_exchanges_clock_is_within_the_bounds_before_the_first_measurement_is_confirmed(
    wall_ahead_s: float, delays_s: list[tuple[float, float]]
) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        machine = patched(monkeypatch, wall_ahead_s)
        clock = Clock()
        assert clock.earliest_us() == clock.now_us()
        out_s, back_s = delays_s[0]
        delayed(machine, clock, out_s, back_s)
        clock.pin()
        for out_s, back_s in delays_s[1:]:
            assert clock.earliest_us() <= machine.exchange_s * 1e6 + 2 <= clock.latest_us() + 4
            machine.passes(CONFIRM_S)
            delayed(machine, clock, out_s, back_s)
        assert clock.earliest_us() <= machine.exchange_s * 1e6 + 2 <= clock.latest_us() + 4


def test_an_answer_that_is_not_believed_does_not_move_the_bounds(machine: Machine) -> None:
    clock = pinned(machine)
    machine.measure(clock, machine.exchange_s - HOUR_S)
    assert clock.earliest_us() / 1e6 == pytest.approx(machine.exchange_s, abs=0.1)
    assert clock.latest_us() / 1e6 == pytest.approx(machine.exchange_s, abs=0.1)


def test_until_it_is_measured_the_bounds_are_its_own_time(machine: Machine) -> None:
    clock = Clock()
    assert clock.earliest_us() == clock.now_us() == clock.latest_us()


@pytest.mark.parametrize("wrong_s", [-HOUR_S, HOUR_S])
def test_one_wrong_answer_does_not_move_it(machine: Machine, wrong_s: float) -> None:
    clock = pinned(machine)
    for _ in range(20):
        for _ in range(CONFIRMATIONS - 1):
            machine.passes(CONFIRM_S)
            machine.measure(clock, machine.exchange_s + wrong_s)
        machine.measure(clock)
        assert abs(off_s(clock, machine)) < 0.1


def test_answers_that_differ_confirm_nothing(machine: Machine) -> None:
    clock = pinned(machine)
    for number in range(1, 20):
        machine.passes(CONFIRM_S)
        machine.measure(clock, machine.exchange_s + number * HOUR_S)
    assert abs(off_s(clock, machine)) < 0.1


def test_quick_answers_do_not_confirm_once_coverage_is_recorded(machine: Machine) -> None:
    clock = pinned(machine)
    machine.ahead_s = HOUR_S
    for _ in range(2 * CONFIRMATIONS):
        machine.measure(clock)
    assert off_s(clock, machine) == pytest.approx(-HOUR_S, abs=0.1)
    machine.passes(CONFIRM_S)
    machine.measure(clock)
    assert abs(off_s(clock, machine)) < 0.1


def test_it_stands_still_until_time_has_caught_up_and_no_longer(machine: Machine) -> None:
    clock = pinned(machine)
    stood_us = clock.now_us()
    back_s = STANDSTILL_US / 1e6 - 1
    machine.ahead_s = -back_s
    while machine.steady_s < 1000 + CONFIRM_S + 1:
        machine.measure(clock, rtt_s=1.0)
    assert clock.now_us() >= stood_us
    now_us = clock.now_us()
    machine.passes(back_s + 1)
    assert clock.now_us() > now_us
    assert abs(off_s(clock, machine)) < 1.5


def test_it_goes_far_back_only_once_nothing_is_covered(machine: Machine) -> None:
    clock = pinned(machine)
    machine.ahead_s = -HOUR_S
    for _ in range(10):
        machine.passes(CONFIRM_S)
        machine.measure(clock)
    assert off_s(clock, machine) == pytest.approx(HOUR_S, abs=0.1)
    assert clock.must_go_back
    before_us = clock.now_us()
    machine.passes(1.0)
    assert clock.now_us() - before_us == pytest.approx(1e6, abs=2)
    clock.unpin()
    for _ in range(CONFIRMATIONS):
        machine.measure(clock)
    assert abs(off_s(clock, machine)) < 0.1


def test_an_exchange_that_comes_forward_again_need_not_be_followed_back(machine: Machine) -> None:
    clock = pinned(machine)
    machine.ahead_s = -HOUR_S
    for _ in range(CONFIRMATIONS):
        machine.measure(clock)
        machine.passes(CONFIRM_S)
    assert clock.must_go_back
    machine.ahead_s = 0.0
    machine.measure(clock)
    assert not clock.must_go_back


def test_time_goes_on_in_a_suspend(machine: Machine) -> None:
    clock = pinned(machine)
    machine.passes(8 * HOUR_S)
    assert abs(off_s(clock, machine)) < 0.001


def test_a_slow_answer_that_may_be_right_moves_nothing(machine: Machine) -> None:
    clock = pinned(machine)
    before_us = clock.now_us()
    before_s = machine.steady_s
    machine.measure(clock, machine.exchange_s, rtt_s=5.0)  # read at the very beginning of the round trip
    assert clock.now_us() - before_us == pytest.approx((machine.steady_s - before_s) * 1e6, abs=2)


ASKED = st.tuples(st.floats(0, 120), st.floats(-0.9, 0.9), st.floats(0.001, 2))


@given(st.floats(-HOUR_S, HOUR_S), st.lists(ASKED, min_size=CONFIRMATIONS, max_size=30))
def test_it_is_right_to_within_the_round_trip(wall_ahead_s: float, asked: list[tuple[float, float, float]]) -> None:
    """Whatever the wall clock says and however the steady clock drifts between the measurements."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        machine = patched(monkeypatch, wall_ahead_s)
        clock = Clock()
        for _ in range(CONFIRMATIONS):
            machine.measure(clock)
        clock.pin()
        for pause_s, drift_s, rtt_s in asked:
            machine.passes(pause_s)
            machine.ahead_s += drift_s * 0.4
            machine.measure(clock, rtt_s=rtt_s)
            machine.passes(1.0)  # longer than the longest standstill of these
            assert abs(off_s(clock, machine)) <= max(rtt_s, 0.1) + FAR_US / 1e6 + 0.001
        machine.measure(clock, rtt_s=0.002)
        machine.passes(FAR_US / 1e6)
        machine.measure(clock, rtt_s=0.002)
        assert abs(off_s(clock, machine)) <= 0.002 + 0.001 or abs(off_s(clock, machine)) <= FAR_US / 1e6


ANSWERS = st.tuples(st.floats(0, 90), st.sampled_from([0.0, 0.3, -0.3, 20.0, -20.0, HOUR_S, -HOUR_S]))


@given(st.lists(ANSWERS, max_size=60))
def test_it_never_goes_back_and_no_answer_alone_moves_it_far(answers: list[tuple[float, float]]) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        machine = patched(monkeypatch)
        clock = pinned(machine)
        latest_us = clock.now_us()
        offset_ns = clock.offset_ns
        in_a_row = 0
        said_s = 0.0
        for pause_s, wrong_s in answers:
            machine.passes(pause_s)
            in_a_row = in_a_row + 1 if abs(wrong_s - said_s) <= 1 else 1
            said_s = wrong_s
            machine.measure(clock, machine.exchange_s + wrong_s)
            assert clock.now_us() >= latest_us
            latest_us = clock.now_us()
            if in_a_row < CONFIRMATIONS:
                assert abs(clock.offset_ns - offset_ns) <= FAR_US * 1000
            offset_ns = clock.offset_ns


def test_another_process_of_the_machine_follows_it(machine: Machine) -> None:
    leader, follower = pinned(machine), Clock()
    machine.wall_s -= HOUR_S
    follower.follow(leader.offset_ns)
    assert follower.now_us() == leader.now_us()


def test_now_us_is_of_the_process_s_clock(machine: Machine) -> None:
    clock.current.follow(5_000_000_000 - round(machine.steady_s * 1e9))
    assert clock.now_us() == 5_000_000
