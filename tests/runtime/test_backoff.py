"""The delay before the next attempt."""

import random

from hypothesis import given
from hypothesis import strategies as st

from okxsync.runtime.backoff import BackOff


@given(st.integers(), st.lists(st.floats(0, 59), max_size=50))
def test_back_off_stays_between_first_and_cap(seed: int, lives: list[float]) -> None:
    back_off = BackOff(random.Random(seed))
    last = back_off.first_s
    for live_s in lives:
        delay = back_off.next_delay(live_s)
        assert back_off.first_s <= delay <= min(back_off.cap_s, last * 3)
        last = delay


@given(st.integers())
def test_back_off_resets_only_after_a_stable_while(seed: int) -> None:
    back_off = BackOff(random.Random(seed))
    for _ in range(100):
        back_off.next_delay(0.0)
    assert back_off.next_delay(back_off.stable_s) <= back_off.first_s * 3
