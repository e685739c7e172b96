"""What a piece of work has achieved for the gaps that it was about."""

import pytest

from okxsync.messages import Subscribed
from okxsync.mirror.kinds import moment
from okxsync.mirror.known import read_known
from okxsync.reconcile.held import Gap
from okxsync.reconcile.pull import Window
from okxsync.reconcile.work import Part, Report, fetched_windows, gap_results
from tests.support.desk import Desk

S = 1_000_000
BEGAN, ENDED = 1_800_000_100 * S, 1_800_000_110 * S
GAP = Gap(7, "alpha", "deposit-info", BEGAN - 60 * S, BEGAN - 30 * S)


def report(*parts: Part) -> Report:
    return Report(parts, BEGAN, BEGAN // 1000, ENDED, ENDED // 1000)


def pulled(gap: Gap, window: Window, error: str | None = None) -> list[str | None]:
    part = Part("alpha", "deposits", window, rows=3, done=error is None, error=error)
    return [result.outcome for result in gap_results([gap], report(part))]


def test_a_gap_that_was_pulled_since_it_began_is_filled() -> None:
    assert pulled(GAP, Window(GAP.from_at // 1000)) == ["filled"]


def test_a_gap_that_is_still_open_at_the_front_is_not_closed() -> None:
    """What happens until the channel is live again has not been requested yet."""
    assert pulled(Gap(7, "alpha", "deposit-info", GAP.from_at, None), Window(GAP.from_at // 1000)) == []


@pytest.mark.parametrize("window", [Window(GAP.from_at // 1000 + 1), Window(0, (GAP.to_at or 0) // 1000 - 1)])
def test_a_gap_that_the_window_does_not_span_is_not_closed(window: Window) -> None:
    assert pulled(GAP, window) == []


def test_a_gap_whose_pull_failed_stays_open_with_the_reason() -> None:
    assert pulled(GAP, Window(0), "HTTP status 503") == [None]


def test_a_gap_with_a_rejected_request_ends_as_partial_and_is_not_retried() -> None:
    part = Part("alpha", "deposits", Window(0), error="asset/deposit-history: 59999", rejected=True, unknown="one more")
    (result,) = gap_results([GAP], report(part))
    assert (result.outcome, result.note) == ("partial", "asset/deposit-history: 59999; one more")
    assert report(part).failed is part  # a channel is not verified by it
    assert report(part).unfinished is None


def test_a_gap_with_a_failed_request_stays_open_though_another_one_was_rejected() -> None:
    orders = Gap(8, "alpha", "orders", GAP.from_at, GAP.to_at)
    parts = [
        Part("alpha", "orders", Window(0), error="HTTP status 503", rest_failed=True),
        Part("alpha", "fills", Window(0), error="trade/fills: 59999", rest_failed=True, rejected=True),
    ]
    (result,) = gap_results([orders], report(*parts))
    assert (result.outcome, result.note) == (None, "HTTP status 503")
    assert report(*parts).unfinished is parts[0]


@pytest.mark.parametrize(
    ("unknown", "is_known"), [(None, True), ("1 order was not found: its end is unknown (7)", False)]
)
def test_a_window_and_a_gap_with_the_same_result_are_both_known_or_both_not(
    desk: Desk, unknown: str | None, is_known: bool
) -> None:
    """``--ledger`` relies on both."""
    desk.apply(Subscribed(1, "alpha", ["deposit-info"], GAP.to_at or 0, 30 * S))
    part = Part("alpha", "deposits", Window(GAP.from_at // 1000), rows=3, done=True, unknown=unknown)
    windows = fetched_windows(report(part), 0.0)
    assert bool(windows) == is_known
    gap = Gap(1, GAP.account, GAP.channel, GAP.from_at, GAP.to_at)
    desk.apply(*gap_results([gap], report(part)))
    at = moment(GAP.from_at + 10 * S)
    pushed = read_known(desk.db, "alpha").channels["deposit-info"].pushed
    assert any(span.contains(at, at) for span in pushed) == is_known
