"""OKX's rate limits hold in every window."""

import bisect
import math
import random
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from okxsync.okx.rate_limits import UNANSWERED_S, RequestBudget, dial_slots


class Dial(NamedTuple):
    """What happens to one connection attempt."""

    idle_s: float  # before it
    takes_s: float  # until its answer, or until it is given up
    answered: bool
    counted: float  # when the exchange counts it: 0 at its start, 1 at the latest possible moment


dials = st.lists(
    st.builds(Dial, st.floats(0, 0.5), st.floats(0, 12), st.booleans(), st.floats(0, 1)), min_size=4, max_size=40
)


@given(dials, st.integers(1, 5))
def test_no_second_contains_more_dials_than_allowed_whenever_the_exchange_counts_them(
    plan: list[Dial], per_second: int
) -> None:
    slots = dial_slots(per_second)
    now = 1000.0
    counted: list[float] = []
    under_way: list[tuple[float, int, bool]] = []  # sorted by their ends

    def end_dials(until: float) -> None:
        while under_way and under_way[0][0] <= until:
            end, number, answered = under_way.pop(0)
            slots.end(number, end, answered=answered)

    for one in plan:
        now += one.idle_s
        end_dials(now)
        while (opens_at := slots.opens_at(now)) > now:
            now = min([opens_at, *(end for end, _, _ in under_way[:1])])
            end_dials(now)
        bisect.insort(under_way, (now + one.takes_s, slots.start(), one.answered))
        latest = one.takes_s + (0.0 if one.answered else UNANSWERED_S)
        counted.append(now + one.counted * latest)
    restart = slots.counted_until(now)  # of a process that is killed now: what is under way is never answered
    killed_at = now + UNANSWERED_S
    assert all(at < restart - 1.0 for at in counted if at <= killed_at)
    counted.sort()
    for first, beyond in zip(counted, counted[per_second:], strict=False):
        assert beyond - first > 1.0


def test_a_dial_under_way_occupies_its_place() -> None:
    slots = dial_slots(1)
    number = slots.start()
    assert slots.opens_at(1e9) == math.inf
    slots.end(number, 100.0, answered=True)
    assert 101.0 < slots.opens_at(100.0) < 101.1


def test_a_dial_that_was_given_up_frees_its_place_later() -> None:
    slots = dial_slots(1)
    slots.end(slots.start(), 100.0, answered=False)
    assert 101.0 + UNANSWERED_S < slots.opens_at(100.0) < 101.1 + UNANSWERED_S


def test_a_changed_limit_counts_the_earlier_requests() -> None:
    slots = dial_slots(3)
    for at in (100.0, 100.1, 100.2):
        slots.end(slots.start(), at, answered=True)
    slots.places = 4
    assert slots.opens_at(100.2) == 100.2
    slots.places = 1
    assert 101.2 < slots.opens_at(100.2) < 101.3


@given(st.integers(), st.floats(0.001, 30))
def test_request_budget_holds_in_every_hour(seed: int, pause: float) -> None:
    budget, rng = RequestBudget(), random.Random(seed)
    now, sent = 0.0, []
    for _ in range(RequestBudget.LIMIT * 2):
        now = budget.opens_at(now + rng.uniform(0, pause))
        budget.take(now)
        sent.append(now)
    for first, beyond in zip(sent, sent[RequestBudget.LIMIT :], strict=False):
        assert beyond - first > RequestBudget.WINDOW_S - 1e-6  # the sum of two floats is rounded
