"""The past by the minute: the last equity and the candle of each, in any order of writing; and its thinning."""

import tempfile
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from okxsync.messages import Rows
from okxsync.store.engines import open_database
from okxsync.store.history import CANDLES_KEPT, DAY, HOUR, KEPT_AS, MINUTE, QUARTER, thin_history
from tests.store.test_schema import older_database
from tests.support.desk import MS, NOW, Desk

EQUITY = "SELECT at, total_eq FROM equity_history ORDER BY at"
CANDLES = "SELECT at, o, h, l, c, ticks FROM mark_candles ORDER BY at"


@pytest.fixture
def desk(desk: Desk) -> Desk:
    desk.begin("account", "mark-price")
    return desk


def equity(total: str, at_ms: int | str) -> dict[str, object]:
    return {"totalEq": total, "uTime": str(at_ms), "details": []}


def mark(price: str, at_ms: int | str, inst_id: str = "X") -> dict[str, str]:
    return {"instId": inst_id, "markPx": price, "ts": str(at_ms)}


def test_the_last_row_of_each_minute_is_kept_as_sent(desk: Desk) -> None:
    row = {"totalEq": "100.10", "adjEq": "90", "upl": "-0.0", "imr": "1", "mmr": "0.5", "mgnRatio": "180",
           "notionalUsd": "5e3", "uTime": str(MS), "details": []}  # fmt: skip
    desk.push("account", row)
    assert desk.rows("SELECT * FROM equity_history") == [
        ("alpha", NOW, "100.10", "90", "-0.0", "1", "0.5", "180", "5e3", MS)
    ]
    desk.push("account", equity("101", MS + 59_999))
    desk.push("account", equity("102", MS + 60_000))
    assert desk.rows(EQUITY) == [(NOW, "101"), (NOW + MINUTE, "102")]
    assert desk.rows("SELECT adj_eq FROM equity_history") == [(None,), (None,)]


def test_a_minute_without_a_row_has_none(desk: Desk) -> None:
    desk.push("account", equity("1", MS))
    desk.push("account", equity("2", MS + 180_000))
    assert [at for at, _ in desk.rows(EQUITY)] == [NOW, NOW + 3 * MINUTE]


def test_an_old_row_changes_its_own_minute_only_if_it_is_the_last_of_it(desk: Desk) -> None:
    for total, at_ms in (("3", MS + 60_000), ("1", MS + 10), ("0", MS + 9), ("4", "")):
        desk.push("account", equity(total, at_ms))
    assert desk.rows(EQUITY) == [(NOW, "1"), (NOW + MINUTE, "3")]


def test_a_batch_of_several_minutes_loses_none(desk: Desk) -> None:
    desk.apply(*(desk.frame("account", equity(str(number), MS + number * 20_000)) for number in range(9)))
    assert desk.rows(EQUITY) == [(NOW, "2"), (NOW + MINUTE, "5"), (NOW + 2 * MINUTE, "8")]


def test_rest_counts_as_of_its_request(desk: Desk) -> None:
    rows = msgspec.json.encode([equity("7", MS - 3_600_000)]).decode()
    desk.apply(Rows("alpha", "account", rows, NOW, as_of_ms=MS + 5, complete=True))
    assert desk.rows(EQUITY) == [(NOW, "7")]


def test_a_transaction_that_fails_leaves_no_minute(desk: Desk) -> None:
    def fail() -> None:
        with desk.writer.state.transaction():
            desk.writer._write([desk.frame("account", equity("1", MS))])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert desk.rows(EQUITY) == desk.rows("SELECT * FROM equity") == []


def test_a_candle_has_the_first_highest_lowest_and_last_price(desk: Desk) -> None:
    for price, at_ms in (("10.50", 1), ("9.5", 2), ("11.0", 3), ("10", 4), ("12", 60_000)):
        desk.push("mark-price", mark(price, MS + at_ms))
    assert desk.rows(CANDLES) == [(NOW, "10.50", "11.0", "9.5", "10", 4), (NOW + MINUTE, "12", "12", "12", "12", 1)]
    assert desk.rows("SELECT DISTINCT source FROM mark_candles") == [("ws",)]


def test_what_is_no_price_or_has_no_time_makes_no_candle(desk: Desk) -> None:
    for price, at in (("", MS), ("NaN", MS), ("x", MS), ("1e999", MS), ("1", ""), ("1", "soon")):
        desk.push("mark-price", mark(price, at))
    assert desk.rows(CANDLES) == []


TICKS = st.lists(
    st.tuples(st.integers(0, 180_000), st.decimals("0.000000001", "99999", places=9)), min_size=1, max_size=12,
    unique_by=lambda tick: tick[0],
)  # fmt: skip


@settings(max_examples=25)
@given(TICKS, st.randoms(use_true_random=False))
def test_the_order_of_ticks_changes_no_price_and_repetition_nothing(
    ticks: list[tuple[int, Decimal]], random: Random
) -> None:
    expected: dict[int, list[tuple[int, Decimal]]] = {}
    for at, price in sorted(ticks):
        expected.setdefault(NOW + at // 60_000 * MINUTE, []).append((at, price))
    shuffled = random.sample(ticks, len(ticks))
    with tempfile.TemporaryDirectory() as folder:
        desk = Desk(Path(folder) / "okxsync.db")
        desk.begin("mark-price")
        frames = [desk.frame("mark-price", mark(format(price, "f"), MS + at)) for at, price in shuffled]
        desk.apply(*frames[::2])
        desk.apply(*frames)
        found = desk.rows(CANDLES)
        desk.apply(*frames)
        assert desk.rows(CANDLES) == found
        desk.database.close()
    assert {at: tuple(map(Decimal, prices)) for at, *prices, _ in found} == {
        at: (of[0][1], max(price for _, price in of), min(price for _, price in of), of[-1][1])
        for at, of in expected.items()
    }
    assert all(1 <= count <= len(expected[at]) for at, *_, count in found)


def minutes(desk: Desk, account: str = "alpha") -> list[int]:
    return [at for (at,) in desk.rows("SELECT at FROM equity_history WHERE account = ? ORDER BY at", account)]


def fill_with_minutes(desk: Desk, begin: int, end: int, account: str = "alpha", every: int = MINUTE) -> None:
    desk.db.executemany(
        "INSERT INTO equity_history (account, at, total_eq, as_of) VALUES (?, ?, '1', ?)",
        [(account, at, at // 1000) for at in range(begin, end, every)],
    )


def thin(desk: Desk, now: int) -> None:
    while thin_history(desk.db, now):
        pass


def test_old_minutes_become_quarters_and_old_quarters_hours(desk: Desk) -> None:
    now = NOW // HOUR * HOUR
    (fresh, *_), (old, *_) = KEPT_AS
    fill_with_minutes(desk, now - fresh - 3 * HOUR, now - fresh + 3 * HOUR)
    fill_with_minutes(desk, now - old - 3 * HOUR, now - old + 3 * HOUR)
    fill_with_minutes(desk, now - old - HOUR, now - old - HOUR + 20 * MINUTE, "beta")
    thin(desk, now)
    left = minutes(desk)

    def steps(begin: int, end: int) -> set[int]:
        return {later - at for at, later in pairwise(left) if begin <= at and later < end}

    assert steps(now - old - 3 * HOUR, now - old) == {HOUR}
    assert steps(now - old, now - old + 3 * HOUR) == {QUARTER}
    assert steps(now - fresh - 3 * HOUR, now - fresh) == {QUARTER}
    assert steps(now - fresh, now) == {MINUTE}
    assert left[0] == now - old - 2 * HOUR - MINUTE  # the last minute of each hour
    assert minutes(desk, "beta") == [now - old - HOUR + 19 * MINUTE]
    assert not thin_history(desk.db, now)


def test_thinning_goes_on_where_it_ended(desk: Desk) -> None:
    begin = NOW // HOUR * HOUR
    fill_with_minutes(desk, begin, begin + 2 * HOUR)
    thin(desk, begin + 2 * DAY + HOUR)
    assert len(minutes(desk)) == 4 + 60
    assert thin_history(desk.db, begin + 2 * DAY + HOUR + QUARTER)
    thin(desk, begin + 2 * DAY + 2 * HOUR)
    assert len(minutes(desk)) == 8


def test_each_step_of_thinning_is_a_small_transaction(desk: Desk) -> None:
    begin = NOW // HOUR * HOUR
    for number in range(3):
        fill_with_minutes(desk, begin, begin + QUARTER, f"desk{number}")
    assert thin_history(desk.db, begin + 3 * DAY)
    assert desk.rows("SELECT count(*), min(at) FROM equity_history") == [(42, begin + MINUTE)]


def test_candles_are_deleted_after_their_time(desk: Desk) -> None:
    desk.push("mark-price", mark("1", MS), mark("1", MS, "Y"))
    now = NOW + CANDLES_KEPT
    for inst_id, begin in (("X", NOW - 20 * HOUR), ("Y", NOW - 2 * HOUR)):
        desk.db.executemany(
            "INSERT INTO mark_candles (inst_id, at, o, h, l, c, ticks, source, first_ts, last_ts)"
            " VALUES (?, ?, '1', '1', '1', '1', 1, 'ws', 0, 0)",
            [(inst_id, at) for at in range(begin, NOW, MINUTE)],
        )
    thin(desk, now)
    assert desk.rows("SELECT inst_id, min(at) FROM mark_candles GROUP BY inst_id ORDER BY 1") == [
        ("X", NOW),
        ("Y", NOW),
    ]


def test_an_older_database_begins_its_history_empty(tmp_path: Path) -> None:
    path = tmp_path / "okxsync.db"
    older = older_database(path, "m023_history")
    older.execute("INSERT INTO equity (account, total_eq, as_of, u_time, received_at) VALUES ('a', '1', 5, 5, 5)")
    older.close()
    now = open_database(path)
    assert now.execute("SELECT count(*) FROM equity_history").fetchone() == (0,)
    indexes = {name for (name,) in now.execute("SELECT name FROM sqlite_schema WHERE type = 'index'").fetchall()}
    assert {"gaps_ended", "fills_by_instrument", "bills_transfers"} <= indexes
    now.close()
