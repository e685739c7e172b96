"""History down to pixels: lanes of coverage, sums of equity, candles. Pure.

A lane is what a channel was at each moment of a window. The states, each worse than the one before:

    none        before the channel was first covered, or in the future
    covered     received
    pending     live, and not proved yet: the proof is still to come
    filled      a gap that REST has filled
    partial     a gap of which OKX no longer had everything
    open        a gap that is not closed, or that is not stored yet because no daemon runs

Of several states in one pixel the worst is shown, so that no gap is lost, whatever the zoom. Times are microseconds.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from operator import itemgetter
from typing import Final, NamedTuple, TypeAlias

from okxsync.mirror.past import Channel, GapSpan
from okxsync.terminal.exact import number, total

STATES: Final = ("none", "covered", "pending", "filled", "partial", "open")
NONE, COVERED, PENDING, FILLED, PARTIAL, OPEN = range(len(STATES))
_OUTCOMES: Final = {None: OPEN, "filled": FILLED}
_RUN: Final = re.compile(b"|".join(re.escape(bytes([state])) + b"+" for state in range(len(STATES))))
"""Repeats of one byte are found many times faster than those of a group."""


_FILLED_PIXEL: Final = bytes([FILLED])

Gap: TypeAlias = tuple[int, int | None, str | None]
"""Begin, end (None: it lasts until now) and outcome of a gap."""


class Window(NamedTuple):
    """What a picture shows: [begin, end), so many pixels wide, at the present ``now``."""

    begin: int
    end: int
    width: int
    now: int

    def first_pixel(self, at: int) -> int:
        return max(0, min(self.width - 1, (at - self.begin) * self.width // (self.end - self.begin)))

    def end_pixel(self, at: int) -> int:
        """Return the pixel behind the last one that a moment before ``at`` lies in."""
        return max(0, min(self.width, -(-(at - self.begin) * self.width // (self.end - self.begin))))


class Segment(NamedTuple):
    begin: int
    end: int
    state: int


class Lane(NamedTuple):
    """A channel in a window.

    Attributes:
        runs: The first pixel of each run and its state, one after the other; a run ends where the next one begins.
        times: Microseconds in each state; they add up to the window.
        open_since: The begin of the earliest gap that is open now.
    """

    channel: str
    runs: list[int]
    times: tuple[int, ...]
    open_since: int | None

    @property
    def covered(self) -> int:
        return self.times[COVERED] + self.times[FILLED]

    @property
    def wanted(self) -> int:
        """Return the time that is decided: what is pending counts neither way."""
        return self.covered + self.times[PARTIAL] + self.times[OPEN]


def why_open(channel: Channel, not_stored: str | None) -> str | None:
    """Return why a live channel is open since it was proved last: no daemon stores it, or REST could not verify it."""
    return (not_stored or channel.unverified) if channel.live else None


def segments(channel: Channel, gaps: Iterable[Gap], window: Window) -> list[Segment]:
    """Return what a channel was in each part of a window: the parts follow each other and fill it."""
    spans = [*_base(channel, window), *_clipped(gaps, window)]
    edges = [edge for begin, end, state in spans for edge in ((begin, state, 1), (end, state, -1)) if begin < end]
    edges.sort(key=itemgetter(0))
    found: list[Segment] = []
    counts = [0] * len(STATES)
    at = window.begin
    for moment, state, change in edges:
        if moment > at:
            _append(found, Segment(at, moment, _worst(counts)))
            at = moment
        counts[state] += change
    if at < window.end:
        _append(found, Segment(at, window.end, NONE))
    return found


def _base(channel: Channel, window: Window) -> list[Segment]:
    """Return what a channel would be without gaps, within the window."""
    return [
        Segment(max(begin, window.begin), min(end, window.end), state)
        for begin, end, state in (
            (channel.covered_since, channel.covered_until, COVERED),
            (channel.covered_until, window.now if channel.live else channel.covered_until, PENDING),
        )
        if begin < window.end and end > window.begin and begin < end
    ]


def _clipped(gaps: Iterable[Gap], window: Window) -> list[Segment]:
    """Return the gaps within the window; one that lasted no time is kept."""
    begin, end, now = window.begin, window.end, window.now
    return [
        Segment(max(since, begin), min(now if until is None else until, end), _OUTCOMES.get(outcome, PARTIAL))
        for since, until, outcome in gaps
        if since < end and (now if until is None else until) >= begin
    ]


def _append(found: list[Segment], one: Segment) -> None:
    if found and found[-1].state == one.state:
        found[-1] = Segment(found[-1].begin, one.end, one.state)
    else:
        found.append(one)


def _worst(counts: Sequence[int]) -> int:
    return max((state for state, count in enumerate(counts) if count), default=NONE)


def lane(channel: Channel, gaps: Sequence[Gap], window: Window) -> Lane:
    """Return the lane of a channel with its gaps, the earliest first.

    A gap takes its time from what the channel would be without it, and has a pixel at least, also one that lasted no
    time. There may be tens of thousands of them in a picture, so this is one pass over plain numbers.
    """
    begin, end, width, now = window
    span = end - begin
    base = _base(channel, window)
    pixels = bytearray(width)
    times = [0] * len(STATES)
    for since, until, state in base:
        _paint(pixels, window, since, until, state)
        times[state] += until - since
    worse: list[Segment] = []
    last, overlaps, open_since = begin, False, None
    for gap_since, gap_until, outcome in gaps:
        since = gap_since if gap_since > begin else begin
        until = now if gap_until is None else gap_until
        until = until if until < end else end
        if outcome is None and (open_since is None or gap_since < open_since):
            open_since = gap_since
        if gap_since >= end or since > until:
            continue
        overlaps = overlaps or since < last
        last = until if until > last else last
        state = _OUTCOMES.get(outcome, PARTIAL)
        if state == FILLED:
            first = (since - begin) * width // span
            after = -((begin - until) * width // span)
            if first >= width:
                first = width - 1
            if after <= first:
                after = first + 1
            pixels[first:after] = _FILLED_PIXEL * (after - first)
        else:
            worse.append(Segment(since, until, state))
        times[state] += until - since
        for from_at, to_at, without in base:
            if since < to_at and from_at < until:
                times[without] -= (until if until < to_at else to_at) - (since if since > from_at else from_at)
    for since, until, state in sorted(worse, key=itemgetter(2)):
        _paint(pixels, window, since, until, state)
    if overlaps:  # seldom: the general way
        times = [0] * len(STATES)
        for since, until, state in segments(channel, gaps, window):
            times[state] += until - since
    times[NONE] += span - sum(times)
    return Lane(channel.channel, encode(pixels), tuple(times), open_since)


def _paint(pixels: bytearray, window: Window, begin: int, end: int, state: int) -> None:
    first = window.first_pixel(begin)
    after = max(window.end_pixel(end), first + 1)
    pixels[first:after] = bytes([state]) * (after - first)


def encode(pixels: bytearray) -> list[int]:
    """Return the runs of pixels, see ``Lane``."""
    found: list[int] = []
    for run in _RUN.finditer(pixels):
        first = run.start()
        found += (first, pixels[first])
    return found


def coverage(
    channels: Iterable[Channel], gaps: Iterable[GapSpan], not_stored: str | None, window: Window
) -> dict[str, list[Lane]]:
    """Return the lanes of each account.

    Args:
        gaps: Those that touch the window, also of other channels.
        not_stored: Why no daemon stores what it receives; None if one does.
    """
    by_channel: dict[tuple[str, str], list[Gap]] = {}
    for account, name, begin, end, outcome in gaps:
        by_channel.setdefault((account, name), []).append((begin, end, outcome))
    lanes: dict[str, list[Lane]] = {}
    for channel in channels:
        of_channel = by_channel.get((channel.account, channel.channel), [])
        if why_open(channel, not_stored):
            of_channel = sorted([*of_channel, (channel.covered_until, None, None)], key=itemgetter(0))
        lanes.setdefault(channel.account, []).append(lane(channel, of_channel, window))
    return lanes


def worst_first(lanes: Mapping[str, Sequence[Lane]]) -> list[str]:
    """Return the accounts: the longest open gap, then those never covered, then the most time missing, then by name."""

    def rank(account: str) -> tuple[int, int, int, str]:
        of_account = lanes[account]
        opened = [one.open_since for one in of_account if one.open_since is not None]
        missing = sum(one.wanted - one.covered for one in of_account)
        kind = 0 if opened else 2 if of_account else 1
        return kind, min(opened, default=0), -missing, account

    return sorted(lanes, key=rank)


def combined(lanes: Sequence[Lane], width: int) -> list[int]:
    """Return the runs of several lanes in one: the worst state of each pixel."""
    pixels = bytearray(width)
    for one in lanes:
        for index in range(0, len(one.runs), 2):
            first, state = one.runs[index], one.runs[index + 1]
            after = one.runs[index + 2] if index + 2 < len(one.runs) else width
            for pixel in range(first, after):
                pixels[pixel] = max(pixels[pixel], state)
    return encode(pixels)


# Candles

Candle = tuple[int, str, str, str, str, int]
"""``at``, ``o``, ``h``, ``l``, ``c`` and ``ticks``."""


def candles(minutes: Iterable[Candle], step: int) -> list[Candle]:
    """Return the candles of a longer time, made of those of minutes; the prices stay texts."""
    found: list[Candle] = []
    for at, o, h, low, c, ticks in minutes:
        begin = at // step * step
        if not found or found[-1][0] != begin:
            found.append((begin, o, h, low, c, ticks))
            continue
        _, first, highest, lowest, _, count = found[-1]
        found[-1] = (begin, first, max(highest, h, key=_decimal), min(lowest, low, key=_decimal), c, count + ticks)
    return found


def _decimal(text: str) -> Decimal:
    return number(text) or Decimal(0)


# Equity


class Point(NamedTuple):
    """The equity of the accounts that were known at a moment, and of the others as it was last known.

    Attributes:
        known: The exact sum of so many ``accounts``; None if no account is known, or a value is no number.
        held: The exact sum of what the others had; None if there is none, or a value is no number.
    """

    at: int
    known: str | None
    accounts: int
    held: str | None
    missing: int


def equity(
    rows: Iterable[tuple[int, Sequence[tuple[str, str | None]]]],
    accounts: frozenset[str],
    last: Mapping[str, str | None],
) -> list[Point]:
    """Return a point for each moment.

    Args:
        rows: Each moment, the earliest first, with account and equity of those that are known then.
        accounts: Those that are chosen.
        last: The last known equity of accounts that are not in the first moment. What was not known before its first
            moment is not missing.
    """
    held = {name: value for name, value in last.items() if name in accounts}
    points = []
    for at, found in rows:
        known = {name: value for name, value in found if name in accounts}
        held.update(known)
        others = [value for name, value in held.items() if name not in known]
        points.append(Point(at, _sum(known.values()), len(known), _sum(others), len(others)))
    return points


def _sum(values: Iterable[str | None]) -> str | None:
    texts = list(values)
    return None if not texts or None in texts else total(text for text in texts if text is not None)
