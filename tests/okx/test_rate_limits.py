"""OKX's rate limits hold in every window."""

import random

from hypothesis import given
from hypothesis import strategies as st

from okxsync.okx.rate_limits import RequestBudget, dial_slots

handshakes = st.lists(
    st.tuples(
        st.floats(0, 0.5),  # idle time before the handshake
        st.floats(0, 1.9),  # how long the handshake takes
        st.floats(0, 1),  # when the exchange counts it: 0 at its start, 1 at its end
    ),
    min_size=4,
    max_size=40,
)


@given(handshakes, st.integers(1, 5))
def test_no_second_contains_more_handshakes_than_allowed(
    plan: list[tuple[float, float, float]], per_second: int
) -> None:
    slots = dial_slots(per_second)
    now = 1000.0
    seen: list[float] = []
    ends: list[tuple[float, int]] = []
    for idle, takes, where in plan:
        now += idle
        # Handshakes overlap: free the places of those that have ended when the next one may start.
        while True:
            start = max(now, slots.opens_at())
            ended = [(end, place) for end, place in ends if end <= start]
            if not ended:
                break
            for end, place in sorted(ended):
                slots.finish(place, end)
                ends.remove((end, place))
        now = start
        ends.append((start + takes, slots.take(start)))
        seen.append(start + takes * where)
    seen.sort()
    for first, beyond in zip(seen, seen[per_second:], strict=False):
        assert beyond - first > 1.0


def test_a_hanging_handshake_frees_its_place() -> None:
    slots = dial_slots(1)
    slots.take(100.0)
    assert 100.0 < slots.opens_at() < 105.0


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
