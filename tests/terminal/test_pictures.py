"""History down to pixels: no time is lost or counted twice, and no gap is lost."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from okxsync.mirror.past import Channel, GapSpan
from okxsync.terminal import pictures
from okxsync.terminal.pictures import (
    COVERED,
    FILLED,
    NONE,
    OPEN,
    PARTIAL,
    PENDING,
    Gap,
    Lane,
    Point,
    Window,
    candles,
    combined,
    coverage,
    equity,
    lane,
    segments,
    worst_first,
)

WINDOW = Window(1000, 2000, 100, 1950)
LIVE = Channel("a", "orders", 0, 1900, True)


def gap(begin: int, end: int | None, outcome: str | None = "filled") -> Gap:
    return begin, end, outcome


def spread(runs: list[int], width: int) -> list[int]:
    """Return the state of each pixel."""
    ends = [*runs[2::2], width]
    return [state for first, state, end in zip(runs[::2], runs[1::2], ends, strict=True) for _ in range(first, end)]


def test_a_live_channel_is_covered_then_pending_and_has_no_future() -> None:
    assert segments(LIVE, [], WINDOW) == [(1000, 1900, COVERED), (1900, 1950, PENDING), (1950, 2000, NONE)]
    assert lane(LIVE, [], WINDOW) == Lane("orders", [0, COVERED, 90, PENDING, 95, NONE], (50, 900, 50, 0, 0, 0), None)


def test_each_outcome_is_a_state_and_the_time_before_the_beginning_is_none() -> None:
    channel = LIVE._replace(covered_since=1200, covered_until=1700, live=False)
    gaps = [gap(1100, 1200), gap(1300, 1310, "partial"), gap(1400, 1420, None), gap(1700, None, None)]
    assert segments(channel, gaps, WINDOW) == [
        (1000, 1100, NONE),
        (1100, 1200, FILLED),
        (1200, 1300, COVERED),
        (1300, 1310, PARTIAL),
        (1310, 1400, COVERED),
        (1400, 1420, OPEN),
        (1420, 1700, COVERED),
        (1700, 1950, OPEN),
        (1950, 2000, NONE),
    ]
    found = lane(channel, gaps, WINDOW)
    assert (found.covered, found.wanted, found.open_since) == (570, 850, 1400)


def test_a_gap_is_never_thinner_than_a_pixel() -> None:
    window = Window(0, 10**12, 50, 10**12)
    channel = LIVE._replace(covered_until=10**12)
    for at in (0, 1, 10**12 // 2, 10**12 - 1):
        for length in (0, 1):
            found = lane(channel, [gap(at, at + length)], window)
            assert spread(found.runs, 50).count(FILLED) == 1


def test_without_a_daemon_what_was_live_is_open_since_it_was_proved() -> None:
    for channel, why in ((LIVE, "no daemon is running"), (LIVE._replace(unverified="REST answers 503"), None)):
        ((one,),) = coverage([channel], [], why, WINDOW).values()
        assert one.open_since == 1900
        assert one.times[OPEN] == 50
        assert one.times[PENDING] == 0


def test_the_account_with_the_longest_open_gap_is_the_first() -> None:
    channels = [LIVE._replace(account=name) for name in "edcba"]
    gaps: list[GapSpan] = [
        ("c", "orders", 1500, None, None),
        ("d", "orders", 1200, 1300, None),
        ("e", "orders", 1100, 1400, "partial"),
    ]
    lanes = coverage(channels, gaps, None, WINDOW) | {"never": []}
    assert worst_first(lanes) == ["d", "c", "never", "e", "a", "b"]


def test_a_bar_of_several_channels_shows_the_worst() -> None:
    lanes = [lane(LIVE, [gap(1000, 1100)], WINDOW), lane(LIVE, [gap(1050, 1200, "partial")], WINDOW)]
    assert combined(lanes, 100) == [0, FILLED, 5, PARTIAL, 20, COVERED, 90, PENDING, 95, NONE]


MOMENT = st.integers(900, 2100)
GAPS = st.lists(
    st.builds(
        lambda begin, end, outcome: gap(min(begin, end), max(begin, end), outcome),
        MOMENT,
        MOMENT,
        st.sampled_from(["filled", "partial", None]),
    )
    | st.builds(lambda begin: gap(begin, None, None), st.integers(900, 1950)),
    max_size=8,
)
CHANNELS = st.builds(
    lambda since, until, live: Channel("a", "orders", min(since, until), max(since, until), live),
    st.integers(900, 1950),
    st.integers(900, 1950),
    st.booleans(),
)


def state_of(outcome: str | None) -> int:
    return {None: OPEN, "filled": FILLED}.get(outcome, PARTIAL)


def worst_at(channel: Channel, gaps: list[Gap], at: int) -> int:
    """Return the state of one moment, found the slow way."""
    states = [NONE]
    if channel.covered_since <= at < channel.covered_until:
        states.append(COVERED)
    if channel.live and channel.covered_until <= at < WINDOW.now:
        states.append(PENDING)
    states += [state_of(outcome) for begin, end, outcome in gaps if begin <= at < (WINDOW.now if end is None else end)]
    return max(states)


@given(CHANNELS, GAPS)
def test_time_is_divided_among_the_states_without_a_rest(channel: Channel, gaps: list[Gap]) -> None:
    parts = segments(channel, gaps, WINDOW)
    assert [parts[0].begin, *(one.end for one in parts)] == [*(one.begin for one in parts), WINDOW.end]
    assert parts[0].begin == WINDOW.begin
    every = [worst_at(channel, gaps, at) for at in range(WINDOW.begin, WINDOW.end)]
    assert [state for begin, end, state in parts for _ in range(begin, end)] == every
    times = lane(channel, gaps, WINDOW).times
    assert times == tuple(every.count(state) for state in range(len(pictures.STATES)))


@given(CHANNELS, GAPS, st.integers(1, 300))
def test_a_pixel_shows_the_worst_of_its_time_and_every_gap_has_one(
    channel: Channel, gaps: list[Gap], width: int
) -> None:
    window = WINDOW._replace(width=width)
    pixels = spread(lane(channel, gaps, window).runs, width)
    assert len(pixels) == width
    for at in range(window.begin, window.end):
        assert pixels[window.first_pixel(at)] >= worst_at(channel, gaps, at)
    for begin, until, outcome in gaps:
        end = window.now if until is None else until
        if window.begin <= begin < window.end or (begin < window.begin < end):
            assert pixels[window.first_pixel(begin)] >= state_of(outcome)
    span = window.end - window.begin
    for pixel, state in enumerate(pixels):  # and nothing is shown that is not there
        first, last = window.begin + pixel * span // width, window.begin + -(-(pixel + 1) * span // width)
        there = {worst_at(channel, gaps, at) for at in range(first, min(last + 1, window.end))}
        marks = {state_of(outcome) for begin, end, outcome in gaps if end in (begin, window.begin)}
        assert state in there | marks


def test_candles_of_a_longer_time_keep_every_extreme_as_text() -> None:
    minutes = [
        (0, "1.0", "2", "0.9", "1.50", 3),
        (60, "1.5", "10.00", "1.2", "9", 2),
        (120, "9", "9.5", "0.10", "5", 1),
    ]
    assert candles(minutes, 120) == [(0, "1.0", "10.00", "0.9", "9", 5), (120, "9", "9.5", "0.10", "5", 1)]
    assert candles(minutes, 60) == minutes
    assert candles([], 60) == []


def test_the_sum_is_of_those_who_are_known_and_the_others_are_held() -> None:
    rows = [(1, [("a", "1.10"), ("b", "2")]), (2, [("a", "1.2")]), (3, []), (4, [("a", "3"), ("b", "4"), ("x", "9")])]
    assert equity(rows, frozenset("abc"), {"c": "100.05", "x": "7"}) == [
        Point(1, "3.10", 2, "100.05", 1),
        Point(2, "1.2", 1, "102.05", 2),
        Point(3, None, 0, "103.25", 3),
        Point(4, "7", 2, "100.05", 1),
    ]


def test_a_value_that_is_no_number_makes_its_sum_unknown_and_not_smaller() -> None:
    assert equity([(1, [("a", "1"), ("b", None)])], frozenset("ab"), {}) == [Point(1, None, 2, None, 0)]
    assert equity([(1, [("a", "x")])], frozenset("ab"), {"b": "5"}) == [Point(1, None, 1, "5", 1)]


@given(
    st.lists(st.dictionaries(st.sampled_from("abc"), st.decimals(-1000, 1000, places=3).map(str)), max_size=6),
)
def test_known_and_held_together_are_all_that_was_ever_known(found: list[dict[str, str]]) -> None:
    last: dict[str, str] = {}
    for (_, known, accounts, held, missing), values in zip(
        equity([(at, list(values.items())) for at, values in enumerate(found)], frozenset("abc"), {}),
        found,
        strict=True,
    ):
        last |= values
        assert (accounts, missing) == (len(values), len(last) - len(values))
        assert sum(map(Decimal, filter(None, (known, held))), Decimal(0)) == sum(
            map(Decimal, last.values()), Decimal(0)
        )
