"""Times of which everything is stored: covered or backfilled, and in no open gap."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from okxsync.messages import Fetched, GapResult, Lost, Subscribed
from okxsync.mirror.kinds import BILLS, FILLS, ORDERS, moment
from okxsync.mirror.known import END, KEPT, Span, joined, read_known, without
from okxsync.reconcile.subjects import outcome_of
from tests.support.desk import MS, NOW, Desk

S = 1_000_000
DAY_MS = 86_400_000
SWAP = {"instType": "SWAP", "instId": "BTC-USDT-SWAP"}
BEGIN = datetime(2027, 1, 1, tzinfo=UTC)

spans = st.builds(
    lambda at, length: Span(BEGIN + timedelta(days=at), BEGIN + timedelta(days=at + length)),
    st.integers(0, 20),
    st.integers(0, 6),
)


def days(of: list[Span] | tuple[Span, ...]) -> set[int]:
    every = range(30)
    return {day for day in every if any(s.begin <= BEGIN + timedelta(days=day) < s.end for s in of)}


@given(st.lists(spans), spans)
def test_spans_are_sets_of_times(several: list[Span], hole: Span) -> None:
    union = joined(several)
    assert days(union) == days(several)
    assert all(one.end < other.begin for one, other in pairwise(union))
    assert days(without(union, hole)) == days(union) - days([hole])


def test_an_open_gap_is_not_known_and_a_closed_one_is(desk: Desk) -> None:
    desk.begin("orders")
    assert read_known(desk.db, "alpha").spans(ORDERS, SWAP) == (Span(moment(NOW), END),)
    desk.apply(Lost(1, "alpha", ["orders"], NOW, "reset"))
    assert read_known(desk.db, "alpha").spans(ORDERS, SWAP) == ()
    desk.apply(Subscribed(1, "alpha", ["orders"], NOW + S))
    assert read_known(desk.db, "alpha").spans(ORDERS, SWAP) == (Span(moment(NOW + S), END),)
    outcome, note = outcome_of("orders", MS - DAY_MS, MS)
    assert outcome == "partial"
    desk.apply(GapResult(1, NOW + S, outcome, 0, note))
    assert read_known(desk.db, "alpha").spans(FILLS, SWAP) == (Span(moment(NOW), END),)


def test_a_gap_is_known_as_far_back_as_okx_keeps_data(desk: Desk) -> None:
    desk.apply(Subscribed(1, "alpha", ["orders"], NOW, 200 * DAY_MS * 1000))
    outcome, note = outcome_of("orders", MS - 200 * DAY_MS, MS)
    desk.apply(GapResult(1, NOW + S, outcome, 0, note))
    assert read_known(desk.db, "alpha").spans(ORDERS, SWAP) == (Span(moment(NOW + S) - KEPT, END),)


def test_a_gap_with_rows_that_are_missing_is_not_known(desk: Desk) -> None:
    desk.apply(Subscribed(1, "alpha", ["orders"], NOW, DAY_MS * 1000))
    desk.apply(GapResult(1, NOW + S, "partial", 0, "1 row cannot be stored"))
    assert read_known(desk.db, "alpha").spans(ORDERS, SWAP) == (Span(moment(NOW), END),)


def test_a_channel_with_arguments_makes_only_its_rows_known(desk: Desk) -> None:
    desk.begin("orders:instType=SWAP")
    known = read_known(desk.db, "alpha")
    assert known.spans(ORDERS, SWAP)
    assert known.spans(ORDERS, {"instType": "SPOT", "instId": "BTC-USDT"}) == ()


def test_bills_are_fetched_up_to_the_end_of_the_last_closed_gap(desk: Desk) -> None:
    desk.apply(Subscribed(1, "alpha", ["account"], NOW, S))
    assert read_known(desk.db, "alpha").spans(BILLS, {"ccy": "BTC"}, fetched=True) == ()
    desk.apply(GapResult(1, NOW + S, "filled", 0, None))
    known = read_known(desk.db, "alpha")
    assert known.spans(BILLS, {"ccy": "BTC"}, fetched=True) == (Span(moment(NOW - S), moment(NOW)),)
    assert known.spans(BILLS, {"ccy": "BTC"}) == (Span(moment(NOW - S), END),)


def test_windows_that_touch_become_one(desk: Desk) -> None:
    for since, until in ((0, 10), (20, 30), (10, 15), (25, 40), (50, 60)):
        desk.apply(Fetched("alpha", "bills", MS + since, MS + until), Fetched("beta", "bills", MS, MS + 99))
    assert desk.rows("SELECT since_ms - ?, until_ms - ? FROM fetched WHERE account = 'alpha' ORDER BY 1", MS, MS) == [
        (0, 15),
        (20, 40),
        (50, 60),
    ]
