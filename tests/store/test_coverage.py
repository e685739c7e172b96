"""Coverage as a pure value, compared with a model that keeps the state of each second."""

from collections.abc import Callable
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from okxsync.store.coverage import FUTURE_US, MARGIN_US, Change, Coverage, Gap, first_rejected, first_subscribed

S: Final = 1_000_000
START: Final = 1_000
COVERED, GAP, PENDING, UNSUBSCRIBED = "covered", "gap", "pending", "unsubscribed"

Event = tuple[str, int, int]
"""Name, time since the event before, and a number that each event uses in its own way."""

NAMES: Final = (
    "subscribed", "pushed", "answered", "snapshot", "verified", "lost", "rejected", "unsubscribed"
)  # fmt: skip
EVENTS: Final = st.lists(st.tuples(st.sampled_from(NAMES), st.integers(1, 5), st.integers(0, 12)), max_size=40)


class Model:
    """What is true of each second from the first coverage until now."""

    def __init__(self, *, verified_over_rest: bool) -> None:
        self.proofs = ("snapshot", "verified", *(() if verified_over_rest else ("answered",)))
        self.seconds: dict[int, str] = {}
        self.state: str | None = None  # of the seconds to come

    def wait(self, now: int, seconds: int) -> None:
        if self.state is not None:
            self.seconds.update(dict.fromkeys(range(now, now + seconds), self.state))

    def mark(self, old: str, new: str, *, until: int) -> None:
        self.seconds.update({second: new for second, state in self.seconds.items() if state == old and second < until})

    def happen(self, name: str, now: int, at: int) -> None:
        """``at`` is the moment that the evidence is about. A push is no evidence."""
        live = self.state == PENDING
        if name == "subscribed":
            self.mark(PENDING, GAP, until=now)
            self.mark(UNSUBSCRIBED, GAP, until=now)
            self.state = PENDING
        elif name == "rejected" and not live:
            self.mark(UNSUBSCRIBED, GAP, until=now)
            self.state = GAP
        elif name in self.proofs and live:
            self.mark(PENDING, COVERED, until=at)
        elif name == "lost" and live:
            self.mark(PENDING, GAP, until=now)
            self.state = GAP
        elif name == "unsubscribed" and live:
            self.mark(PENDING, UNSUBSCRIBED, until=now)
            self.state = UNSUBSCRIBED


class Channel:
    """A coverage with the rows of its gaps, as the table keeps them."""

    def __init__(self, *, verified_over_rest: bool) -> None:
        self.verified_over_rest = verified_over_rest
        self.coverage: Coverage | None = None
        self.gaps: dict[int, Gap] = {}

    def save(self, change: Change) -> None:
        """Store the change; a gap that has ended never changes again."""
        self.coverage = change.coverage
        for gap in change.gaps:
            if gap.id is None:
                number = len(self.gaps) + 1
                gap = Gap(gap.since, gap.until, gap.reason, gap.note, number)
            else:
                assert self.gaps[gap.id].until is None
                number = gap.id
            self.gaps[number] = gap
        still_open = [gap for gap in self.gaps.values() if gap.until is None]
        assert len(still_open) <= 1
        if self.coverage.gap:
            (open_gap,) = still_open
            new = change.coverage
            self.coverage = Coverage(
                new.since, new.until, new.live, new.connection_id, new.last_push_at, open_gap
            )  # with its id, as loaded
        else:
            assert still_open == []

    def happen(self, name: str, now: int, at: int) -> None:
        known = self.coverage
        if known is None:
            if name == "subscribed":
                self.save(first_subscribed(1, now * S, 0))
            elif name == "rejected":
                self.save(first_rejected(now * S, "rejected", 0))
        elif name == "subscribed":
            self.save(known.subscribed(1, now * S))
        elif name == "rejected":
            self.save(known.rejected("rejected"))
        elif name == "pushed":
            self.save(Change(known.pushed(now * S)))
        elif name == "answered":
            if not self.verified_over_rest:
                self.save(Change(known.answered(at * S + MARGIN_US)))
        elif name == "snapshot":
            self.save(Change(known.snapshot(at * S + MARGIN_US)))
        elif name == "verified":
            self.save(Change(known.verified(at * S)))
        elif name == "unsubscribed":
            self.save(Change(known.unsubscribed()))
        else:
            self.save(known.lost(name))

    def seconds(self, now: int) -> dict[int, str]:
        """Return the state of each second since the first coverage."""
        found: dict[int, str] = {}
        known = self.coverage
        for second in range(known.since // S, now) if known else ():
            assert known
            at = second * S
            if any(gap.since <= at < (now * S if gap.until is None else gap.until) for gap in self.gaps.values()):
                found[second] = GAP
            elif at < known.until:
                found[second] = COVERED
            else:
                found[second] = PENDING if known.live else UNSUBSCRIBED
        return found


def play(events: list[Event], *, verified_over_rest: bool) -> tuple[Channel, int]:
    """Let events happen to a channel and to the model, and compare them after each."""
    channel, model, now = (
        Channel(verified_over_rest=verified_over_rest),
        Model(verified_over_rest=verified_over_rest),
        START,
    )
    proofs = [0]
    for name, wait_s, number in events:
        model.wait(now, wait_s)
        now += wait_s
        at = now - number
        if model.state is None and name not in ("subscribed", "rejected"):
            continue
        model.happen(name, now, at)
        channel.happen(name, now, at)
        if name == "subscribed" or (name == "rejected" and len(proofs) == 1):
            proofs.append(now)
        elif name in ("answered", "snapshot", "verified"):
            proofs.append(at)
        assert channel.seconds(now) == model.seconds
        assert channel.coverage
        assert channel.coverage.since <= channel.coverage.until <= max(proofs) * S
        assert not (channel.coverage.live and channel.coverage.gap)
    return channel, now


@given(EVENTS, st.booleans())
def test_each_second_is_covered_or_missing_and_never_both(events: list[Event], verified_over_rest: bool) -> None:
    play(events, verified_over_rest=verified_over_rest)


@given(EVENTS, st.integers(1, 20), st.integers(1, 20))
def test_a_loss_and_a_new_subscription_leave_one_gap_with_exact_bounds(
    events: list[Event], wait_s: int, down_s: int
) -> None:
    channel, now = play([*events, ("subscribed", 1, 0)], verified_over_rest=False)
    before, live = dict(channel.gaps), channel.coverage
    assert live
    now += wait_s
    channel.save(live.lost("reset"))
    assert channel.coverage
    channel.save(channel.coverage.lost("again"))  # changes nothing: it is already lost
    channel.save(channel.coverage.subscribed(2, (now + down_s) * S))
    (gap,) = (gap for number, gap in channel.gaps.items() if number not in before)
    assert (gap.since, gap.until, gap.reason) == (live.until, (now + down_s) * S, "reset")
    assert {number: channel.gaps[number] for number in before} == before
    assert channel.coverage.until == (now + down_s) * S


@pytest.mark.parametrize(
    "down",
    [
        lambda known: known.lost("crash"),
        lambda known: Change(known.unsubscribed()),
    ],
)  # fmt: skip
def test_coverage_ahead_of_the_clock_is_withdrawn_completely(down: Callable[[Coverage], Change]) -> None:
    """The clock of an earlier process was ahead: where its coverage ended on this clock is unknown."""
    hour, now = 3_600_000_000, 1_800_000_000_000_000
    known = down(Coverage(now - hour, now, live=True, connection_id=1, last_push_at=now)).coverage
    change = known.subscribed(2, now - FUTURE_US - 1)
    (gap,) = change.gaps
    assert gap.since < now - hour
    assert gap.until == change.coverage.until == now - FUTURE_US - 1
    assert gap.reason.endswith("; the clock was ahead before")
    (gap,) = known.subscribed(2, now - FUTURE_US).gaps  # an acknowledgement may be recorded this much ahead
    assert (gap.since, gap.until) == (now, now)


def test_a_first_subscription_leaves_the_time_before_it_as_a_gap() -> None:
    assert first_subscribed(1, 500, 100).gaps == (Gap(400, 500, "initial backfill"),)
    assert first_subscribed(1, 500, 0).gaps == ()


def test_a_rejected_first_subscription_is_one_gap_until_it_succeeds() -> None:
    change = first_rejected(500, "60018", 100)
    assert change.gaps == (Gap(400, None, "60018", "60018"),)
    (gap,) = change.coverage.rejected("60012").gaps
    assert gap == Gap(400, None, "60018", "60012")
    (gap,) = change.coverage.subscribed(1, 600).gaps
    assert (gap.since, gap.until) == (400, 600)


def test_a_push_proves_nothing() -> None:
    live = Coverage(1, 2, live=True, connection_id=1)
    assert live.pushed(500) == Coverage(1, 2, live=True, connection_id=1, last_push_at=500)


def test_a_new_subscription_of_a_live_channel_leaves_a_gap_where_nothing_is_proved() -> None:
    change = Coverage(1, 2, live=True, connection_id=1).subscribed(2, 500)
    assert change.gaps == (Gap(2, 500, "subscribed anew"),)
    assert (change.coverage.until, change.coverage.live, change.coverage.connection_id) == (500, True, 2)


def test_a_rejection_does_not_end_what_another_connection_holds() -> None:
    live = Coverage(1, 2, live=True, connection_id=1)
    assert live.rejected("60018") == Change(live)
