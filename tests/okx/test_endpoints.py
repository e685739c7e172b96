"""A walk returns every row of its window at least once, for any page size and any number of rows with the same time."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from okxsync.okx.endpoints import BILLS, DAY_MS, FILLS, FILLS_ARCHIVE, OVERLAP_MS, Endpoint, Walk, reaching
from okxsync.okx.rate_limits import Budget

T0 = 1_700_000_000_000
SECOND = 1000


def page_of(endpoint: Endpoint, rows: list[dict[str, str]], params: Mapping[str, str]) -> list[dict[str, str]]:
    """Return the exchange's page: newest first, strictly older than ``after``, at most ``limit`` rows."""
    after = int(params.get("after", 10**30))
    found = [row for row in rows if int(row[endpoint.cursor]) < after]
    found.sort(key=lambda row: (int(row["ts"]), int(row["billId"])), reverse=True)
    return found[: int(params["limit"])]


def walk(endpoint: Endpoint, rows: list[dict[str, str]], since_ms: int) -> list[dict[str, str]]:
    seen, walking = [], Walk(endpoint, {}, since_ms)
    while walking.params is not None:
        page = page_of(endpoint, rows, walking.params)
        seen += page
        walking.take(page)
    return seen


rows = st.lists(st.integers(0, 400), max_size=300).map(
    lambda seconds: [
        {"billId": str(99_999_999_999_999_900 + number), "ts": str(T0 + second * SECOND)}
        for number, second in enumerate(sorted(seconds))
    ]
)


@given(rows, st.integers(1, 40), st.integers(0, 400))
def test_by_id_every_row_of_the_window_is_returned_once(rows: list[dict[str, str]], limit: int, since: int) -> None:
    endpoint = Endpoint("x", "bills", "billId", "ts", Budget(1, 1), limit=limit)
    since_ms = T0 + since * SECOND
    seen = [row["billId"] for row in walk(endpoint, rows, since_ms)]
    assert len(seen) == len(set(seen))
    assert {row["billId"] for row in rows if int(row["ts"]) >= since_ms - OVERLAP_MS} <= set(seen)


@given(rows, st.integers(0, 400))
def test_by_time_every_row_of_the_window_is_returned(rows: list[dict[str, str]], since: int) -> None:
    limit = 1 + max((sum(one["ts"] == other["ts"] for other in rows) for one in rows), default=0)
    endpoint = Endpoint("x", "deposit-info", "ts", "ts", Budget(1, 1), limit=limit)
    since_ms = T0 + since * SECOND
    seen = {row["billId"] for row in walk(endpoint, rows, since_ms)}
    assert {row["billId"] for row in rows if int(row["ts"]) >= since_ms} <= seen


def test_a_repeated_page_does_not_cause_an_endless_walk() -> None:
    endpoint = Endpoint("x", "bills", "billId", "ts", Budget(1, 1), limit=1)
    walking = Walk(endpoint, {}, 0)
    walking.take([{"billId": "5", "ts": str(T0)}])
    with pytest.raises(ValueError, match="not older"):
        walking.take([{"billId": "5", "ts": str(T0)}])


def test_a_row_without_its_cursor_is_an_error_and_not_the_end() -> None:
    with pytest.raises(ValueError, match="billId"):
        Walk(Endpoint("x", "bills", "billId", "ts", Budget(1, 1), limit=1), {}, 0).take([{"ts": str(T0)}])


def test_the_archive_is_used_only_beyond_the_retention_of_the_near_endpoint() -> None:
    assert reaching(FILLS, FILLS_ARCHIVE, T0 - 2 * DAY_MS, T0) is FILLS
    assert reaching(FILLS, FILLS_ARCHIVE, T0 - 3 * DAY_MS, T0) is FILLS_ARCHIVE
    assert reaching(BILLS, None, T0 - 30 * DAY_MS, T0) is BILLS


def test_a_walk_reads_two_and_a_half_minutes_more_than_its_window() -> None:
    """A channel may have been stalled for two verifications when a crash kept the daemon from noticing."""
    endpoint = Endpoint("x", "bills", "billId", "ts", Budget(1, 1), limit=1)
    rows = [{"billId": str(number), "ts": str(T0 + number * SECOND)} for number in range(1000)]
    seen = {int(row["billId"]) for row in walk(endpoint, rows, T0 + 900 * SECOND)}
    assert set(range(750, 1000)) <= seen
    assert min(seen) >= 749
