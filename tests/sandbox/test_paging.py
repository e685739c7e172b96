"""Pages: strict cursors, newest first."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from okxsync.sandbox.exchange.orders import OrderRejected
from okxsync.sandbox.server.paging import MAX_ROWS, Paging, page

ROWS = [{"id": str(number), "ts": str(number * 10)} for number in range(12, 0, -1)]
BY_ID = Paging("id", "ts")


def ids(**query: str) -> list[int]:
    return [int(row["id"]) for row in page(ROWS, BY_ID, query)]


def test_after_is_strictly_older() -> None:
    assert ids(after="4") == [3, 2, 1]
    assert ids(after="1") == []


def test_before_is_strictly_newer_and_alone_gives_the_newest() -> None:
    assert ids(before="9") == [12, 11, 10]
    assert ids(before="1", limit="2") == [12, 11]


def test_both_make_a_window() -> None:
    assert ids(after="9", before="5") == [8, 7, 6]
    assert ids(after="5", before="9") == []


def test_cursors_are_compared_as_numbers() -> None:
    assert ids(after="10") == [9, 8, 7, 6, 5, 4, 3, 2, 1]


def test_begin_and_end_filter_on_the_moment_and_include_it() -> None:
    assert ids(begin="30", end="50") == [5, 4, 3]
    assert [row["id"] for row in page(ROWS, Paging("id"), {"begin": "110"})] == [row["id"] for row in ROWS]


def test_limit_is_at_most_100() -> None:
    rows = [{"id": str(number)} for number in range(300, 0, -1)]
    assert len(page(rows, Paging("id"), {})) == MAX_ROWS == 100
    assert len(page(rows, Paging("id"), {"limit": "200"})) == 100
    assert len(page(rows, Paging("id"), {"limit": "7"})) == 7


@pytest.mark.parametrize("name", ["after", "before", "limit", "begin", "end"])
@pytest.mark.parametrize("value", ["x", "-1", "1.5"])
def test_an_invalid_number_is_rejected(name: str, value: str) -> None:
    with pytest.raises(OrderRejected, match="51000"):
        ids(**{name: value})


def test_rows_of_one_time_are_not_parted() -> None:
    rows = [{"uTime": "3"}, {"uTime": "2"}, {"uTime": "2"}, {"uTime": "2"}, {"uTime": "1"}]
    assert len(page(rows, Paging("uTime", whole_times=True), {"limit": "2"})) == 4
    assert len(page(rows, Paging("uTime"), {"limit": "2"})) == 2


@given(st.sets(st.integers(1, 10**18)), st.integers(1, 10))
def test_walking_down_by_after_finds_every_row_once(numbers: set[int], limit: int) -> None:
    rows = [{"id": str(number)} for number in sorted(numbers, reverse=True)]
    found: list[dict[str, str]] = []
    query = {"limit": str(limit)}
    while got := page(rows, Paging("id"), query):
        found += got
        query["after"] = got[-1]["id"]
    assert found == rows
