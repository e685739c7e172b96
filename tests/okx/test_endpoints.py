"""A walk returns every row of its window, or says that it may be incomplete, however the exchange divides its lists."""

from collections import Counter
from collections.abc import Mapping, Sequence
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from okxsync.okx.endpoints import (
    ALGO_HISTORY,
    ALGO_PENDING,
    BILLS,
    CLOSED_POSITIONS,
    DAY_MS,
    FILLS,
    FILLS_ARCHIVE,
    ORDERS,
    OVERLAP_MS,
    Endpoint,
    Walk,
    lists_since,
)
from okxsync.okx.rate_limits import Budget

T0 = 1_700_000_000_000
SECOND = 1000
Row = dict[str, str]


class Exchange(msgspec.Struct):
    """A list of rows, and how it is paged.

    Attributes:
        limit: The largest page.
        shortest: The smallest page, unless fewer rows are left.
        is_inclusive: Whether ``after`` includes its own value.
        keeps_together: Whether rows with the same cursor stay on one page, even beyond the limit.
    """

    rows: list[Row]
    endpoint: Endpoint
    limit: int
    shortest: int
    is_inclusive: bool = False
    keeps_together: bool = False
    seed: int = 0

    def page(self, params: Mapping[str, str]) -> list[Row]:
        name = self.endpoint.cursor
        after = int(params.get("after", 10**30)) + self.is_inclusive
        found = [row for row in self.rows if int(row[name]) < after]
        found.sort(key=lambda row: (int(row["ts"]), int(row["billId"])), reverse=True)
        size = Random(f"{self.seed} {params}").randint(self.shortest, self.limit)
        page, rest = found[:size], found[size:]
        while self.keeps_together and rest and rest[0][name] == page[-1][name]:
            page.append(rest.pop(0))
        return page


def walk(exchange: Exchange, since_ms: int) -> tuple[list[Row], str | None]:
    """Return what a walk reads, and whether it may be incomplete."""
    seen: list[Row] = []
    walking = Walk(exchange.endpoint, {}, since_ms)
    for _ in range(5 * len(exchange.rows) + 5):
        if walking.params is None:
            return seen, walking.incomplete
        page = exchange.page(walking.params)
        seen += page
        walking.take(page)
    raise AssertionError("the walk does not end")


def endpoint(cursor: str, limit: int) -> Endpoint:
    return Endpoint("x", "bills", cursor, "ts", Budget(1, 1), limit=limit)


def rows_at(seconds: Sequence[int]) -> list[Row]:
    return [
        {"billId": str(99_999_999_999_999_900 + number), "ts": str(T0 + second * SECOND)}
        for number, second in enumerate(sorted(seconds))
    ]


rows = st.lists(st.integers(0, 400), max_size=300).map(rows_at)
crowded = st.lists(st.integers(0, 8), max_size=120).map(rows_at)


@given(rows, st.integers(1, 40), st.integers(0, 400), st.data())
def test_by_id_every_row_of_the_window_is_returned(
    rows: list[Row], limit: int, since: int, data: st.DataObject
) -> None:
    shortest, is_inclusive = data.draw(st.integers(1, limit)), data.draw(st.booleans())
    exchange = Exchange(rows, endpoint("billId", limit), limit, shortest, is_inclusive, seed=data.draw(st.integers(0)))
    since_ms = T0 + since * SECOND
    seen, incomplete = walk(exchange, since_ms)
    assert incomplete is None
    assert {row["billId"] for row in rows if int(row["ts"]) >= since_ms - OVERLAP_MS} <= {row["billId"] for row in seen}
    if not is_inclusive:
        assert len(seen) == len({row["billId"] for row in seen})


@given(st.one_of(rows, crowded), st.integers(2, 40), st.integers(0, 400), st.data())
def test_by_time_every_row_of_the_window_is_returned_or_the_walk_is_incomplete(
    rows: list[Row], limit: int, since: int, data: st.DataObject
) -> None:
    shortest = data.draw(st.integers(max(1, limit // 2), limit))
    is_inclusive, keeps_together = data.draw(st.booleans()), data.draw(st.booleans())
    seed = data.draw(st.integers(0))
    exchange = Exchange(rows, endpoint("ts", limit), limit, shortest, is_inclusive, keeps_together, seed)
    since_ms = T0 + since * SECOND
    seen, incomplete = walk(exchange, since_ms)
    missing = {row["billId"] for row in rows if int(row["ts"]) >= since_ms} - {row["billId"] for row in seen}
    assert not missing or incomplete
    largest = max(Counter(row["ts"] for row in rows).values(), default=0)
    if largest < limit // 2:
        assert (missing, incomplete) == (set(), None)


def test_more_rows_of_one_time_than_fit_on_a_page_are_not_passed_over_in_silence() -> None:
    rows = rows_at([*[7] * 130, *range(5)])
    exchange = Exchange(rows, endpoint("ts", 100), 100, 100)
    seen, incomplete = walk(exchange, T0)
    assert incomplete == f"x: more rows at {T0 + 7 * SECOND} ms than fit on a page"
    assert {row["billId"] for row in rows[:5]} <= {row["billId"] for row in seen}


@pytest.mark.parametrize("others", [range(5), range(8, 40)], ids=["with older rows", "with newer rows"])
def test_rows_of_one_time_on_a_page_that_is_cut_far_below_the_limit_are_not_passed_over_in_silence(
    others: Sequence[int],
) -> None:
    rows = rows_at([*[7] * 60, *others])
    _, incomplete = walk(Exchange(rows, endpoint("ts", 100), 20, 20), T0)
    assert incomplete == f"x: more rows at {T0 + 7 * SECOND} ms than fit on a page"


def test_an_exchange_that_keeps_rows_of_one_time_together_has_returned_them_all() -> None:
    rows = rows_at([*[7] * 130, *range(5)])
    exchange = Exchange(rows, endpoint("ts", 100), 100, 100, keeps_together=True)
    seen, incomplete = walk(exchange, T0)
    assert incomplete is None
    assert {row["billId"] for row in rows} == {row["billId"] for row in seen}


def test_a_page_that_is_not_full_is_not_the_last_one() -> None:
    rows = rows_at(range(180))
    seen, incomplete = walk(Exchange(rows, endpoint("billId", 100), limit=99, shortest=99), T0)
    assert (len(seen), incomplete) == (180, None)


def test_a_repeated_full_page_does_not_cause_an_endless_walk() -> None:
    walking = Walk(endpoint("billId", 1), {}, 0)
    walking.take([{"billId": "5", "ts": str(T0)}])
    walking.take([{"billId": "5", "ts": str(T0)}])  # ``after`` may include its own value
    assert walking.params == {"limit": "1", "after": "4"}
    with pytest.raises(ValueError, match="not older"):
        walking.take([{"billId": "5", "ts": str(T0)}])


def test_a_list_that_ignores_the_cursor_was_complete_if_it_fitted_on_a_page() -> None:
    walking = Walk(endpoint("billId", 100), {}, 0)
    page = [{"billId": "5", "ts": str(T0)}, {"billId": "4", "ts": str(T0)}]
    walking.take(page)
    walking.take(page)
    assert (walking.params, walking.incomplete) == (None, None)


@pytest.mark.parametrize(
    "row",
    [
        {"ts": str(T0)},
        {"ts": str(T0), "billId": ""},
        {"ts": str(T0), "billId": "0"},
        {"billId": "7"},
        {"billId": "7", "ts": "0"},
        None,
    ],
)
def test_a_page_without_cursors_or_times_is_not_the_end(row: object) -> None:
    walking = Walk(endpoint("billId", 100), {}, 0)
    walking.take([row])
    assert walking.params is None
    assert "cannot be continued" in str(walking.incomplete)


def test_one_row_without_a_cursor_does_not_stop_a_walk() -> None:
    walking = Walk(endpoint("billId", 100), {}, 0)
    walking.take([{"billId": "9", "ts": str(T0)}, {"billId": "8", "ts": ""}, {"billId": "", "ts": str(T0)}])
    assert (walking.params, walking.incomplete) == ({"limit": "100", "after": "8"}, None)


@pytest.mark.parametrize("row", [{"billId": "0", "ts": str(T0)}, {"billId": "7", "ts": "0"}])
def test_a_row_whose_id_or_time_is_zero_does_not_end_a_walk(row: Row) -> None:
    walking = Walk(endpoint("billId", 100), {}, T0)
    walking.take([{"billId": "9", "ts": str(T0)}, row])
    assert (walking.params is not None, walking.incomplete) == (True, None)


def test_the_newest_rows_are_read_from_the_recent_list_as_well_as_from_the_archive() -> None:
    """The archive lags behind (a day of overlap, for it is not documented how far)."""
    assert lists_since(FILLS, FILLS_ARCHIVE, T0 - 2 * DAY_MS, None, T0) == [(FILLS, None)]
    archived = FILLS_ARCHIVE, T0 - 2 * DAY_MS
    assert lists_since(FILLS, FILLS_ARCHIVE, T0 - 3 * DAY_MS, None, T0) == [(FILLS, None), archived]
    assert lists_since(FILLS, FILLS_ARCHIVE, T0 - 9 * DAY_MS, T0, T0) == [(FILLS, T0), archived]
    until_ms = T0 - 5 * DAY_MS
    both = [(FILLS, until_ms), (FILLS_ARCHIVE, until_ms)]
    assert lists_since(FILLS, FILLS_ARCHIVE, T0 - 9 * DAY_MS, until_ms, T0) == both


def test_types_that_the_exchange_has_reported_are_requested_too() -> None:
    assert ALGO_PENDING.sweeps_of({"conditional", "twap", ""}) == ALGO_PENDING.sweeps
    assert ALGO_PENDING.sweeps_of({"newest"})[len(ALGO_PENDING.sweeps) :] == ({"ordType": "newest"},)
    assert [sweep["state"] for sweep in ALGO_HISTORY.sweeps_of({"newest"}) if sweep["ordType"] == "newest"] == [
        "effective",
        "canceled",
        "order_failed",
    ]
    assert {"instType": "BONDS"} in ORDERS.sweeps_of({"BONDS"})
    assert BILLS.sweeps_of({"BONDS"}) == CLOSED_POSITIONS.sweeps_of({"BONDS"}) == ({},)


def test_a_walk_reads_two_and_a_half_minutes_more_than_its_window() -> None:
    """A channel may have been stalled for two verifications when a crash kept the daemon from noticing."""
    rows = [{"billId": str(number), "ts": str(T0 + number * SECOND)} for number in range(1000)]
    seen, _ = walk(Exchange(rows, endpoint("billId", 1), 1, 1), T0 + 900 * SECOND)
    numbers = {int(row["billId"]) for row in seen}
    assert set(range(750, 1000)) <= numbers
    assert min(numbers) >= 749
