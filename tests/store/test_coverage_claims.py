"""No event lies in a covered interval without being stored: with any delays, stalls, skewed clocks and crashes."""

import tempfile
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support.slow_network import Fault, Plan, live_through

LASTS_S = 150.0
SECONDS = st.sampled_from([0.0, 0.3, 1.0, 1.5, 3.0])
DELAYS = st.tuples(SECONDS, SECONDS).map(lambda ends: (min(ends), max(ends)))
FAULTS = st.builds(
    Fault,
    kind=st.sampled_from(["orders", "account", "losses", "reader", "writer", "socket", "process"]),
    begin_s=st.floats(1, LASTS_S - 30, allow_nan=False),
    lasts_s=st.sampled_from([0.5, 3.0, 12.0, 60.0, 1000.0]),
)
PLANS = st.builds(
    Plan,
    out_s=DELAYS,
    back_s=DELAYS,
    skew_s=st.sampled_from([0.0, 0.9, -0.9, 5.0, -5.0, 3600.0, -3600.0]),
    initial_s=st.sampled_from([0.0, 20.0]),
    faults=st.lists(FAULTS, max_size=5).map(tuple),
    seed=st.integers(0, 10_000),
)


def lived(plan: Plan) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        return live_through(plan, Path(folder), LASTS_S)


@settings(max_examples=30)
@given(PLANS)
@example(Plan((0.3, 0.3), (3.0, 3.0), 0.0, 0.0, (Fault("orders", 60.0, 1000.0),), 1))  # stalls for good
@example(Plan((3.0, 3.0), (0.3, 0.3), 0.0, 0.0, (Fault("account", 60.0, 12.0),), 2))  # stalls and recovers
@example(Plan((0.0, 3.0), (0.3, 3.0), -5.0, 0.0, (Fault("reader", 40.0, 12.0), Fault("process", 53.0, 0.0)), 3))
@example(Plan((0.3, 1.5), (0.3, 3.0), 0.9, 0.0, (Fault("writer", 40.0, 60.0), Fault("socket", 45.0, 0.0)), 4))
@example(Plan((0.0, 3.0), (0.3, 1.0), 3600.0, 0.0, (Fault("losses", 5.0, 1000.0),), 5))  # our clock is ahead at first
@example(Plan((0.0, 0.3), (0.0, 0.3), 0.0, 0.0, (Fault("losses", 5.0, 1000.0),), 20))  # a snapshot is sent late
@example(Plan((0.0, 9.0), (0.0, 0.3), 5.0, 0.0, (), 0))  # requests are too slow to confirm the clock at first
def test_no_event_is_missing_from_a_covered_interval(plan: Plan) -> None:
    lived(plan)  # checks after every transaction


def test_coverage_follows_by_some_seconds_where_nothing_is_wrong() -> None:
    behind_s = lived(Plan((0.0, 0.3), (0.0, 0.3), 0.0, 20.0, (), 5))
    assert 1 < behind_s["deposit-info"] < 9  # a ping interval, a round trip, the margin, a commit
    assert behind_s["account"] < 22  # its snapshots come every five seconds, and take up to seven
    assert behind_s["orders"] < 22  # it is verified ten seconds after the last time
