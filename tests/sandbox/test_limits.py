"""Windows and dials."""

from okxsync.sandbox.server.limits import RequestLimits


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_window_admits_its_number_and_the_next_one_again() -> None:
    clock, violations = Clock(), list[str]()
    limits = RequestLimits(clock, violations)
    assert [limits.admit("a", 2, 2.0) for _ in range(3)] == [True, True, False]
    assert limits.admit("b", 2, 2.0)
    assert violations == ["a: more than 2 in 2 s"]
    clock.now += 1.99
    assert not limits.admit("a", 2, 2.0)
    clock.now += 0.01
    assert limits.admit("a", 2, 2.0)


def test_many_at_once_are_admitted_all_or_none() -> None:
    violations: list[str] = []
    limits = RequestLimits(Clock(), violations)
    assert limits.admit("a", 10, 2.0, 8)
    assert not limits.admit("a", 10, 2.0, 3)
    assert limits.admit("a", 10, 2.0, 2)
    assert len(violations) == 1


def test_dials_are_counted_by_ip_in_any_second() -> None:
    clock, violations = Clock(), list[str]()
    limits = RequestLimits(clock, violations)
    for _ in range(3):
        assert limits.admit_dial("ip", 3)
        clock.now += 0.3
    assert not limits.admit_dial("ip", 3)
    assert limits.admit_dial("other", 3)
    assert len(violations) == 1
    clock.now += 0.1  # the first is a second ago
    assert limits.admit_dial("ip", 3)


def test_evenly_paced_dials_pass_though_the_way_jitters() -> None:
    clock, violations = Clock(), list[str]()
    limits = RequestLimits(clock, violations)
    for number in range(30):
        clock.now = 100 + number / 3 + (0.02 if number % 2 else 0)
        assert limits.admit_dial("ip", 3)
    assert violations == []


def test_no_limit_of_dials() -> None:
    limits = RequestLimits(Clock(), [])
    assert all(limits.admit_dial("ip", 0) for _ in range(100))
