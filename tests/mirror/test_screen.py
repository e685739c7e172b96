"""What the terminal reads: open rows as texts, and changes by an index."""

import pytest

from okxsync import Mirror
from okxsync.mirror import screen
from okxsync.mirror.screen import Records
from okxsync.store.engines import engine_of
from tests.support.desk import MS, Desk, order

COLUMNS = ("account", "kind", "id", "px", "c_time")
ALL = [one for one in vars(screen).values() if isinstance(one, Records)]


def test_open_orders_are_shown_and_changes_say_whether_they_are(desk: Desk) -> None:
    desk.push("orders", order(1, px="1e-9"), order(2, state="filled"))
    with Mirror(desk.path) as mirror, mirror.snapshot():
        reads = mirror.screen()
        revision = reads.revision()
        assert reads.rows(screen.ORDERS, COLUMNS) == [("alpha", "order", "1", "1e-9", MS * 1000, 1)]
        changed = reads.rows(screen.ORDERS, COLUMNS, revision - 1)
        assert sorted((row[2], row[-1]) for row in changed) == [("1", 1), ("2", 0)]
        assert reads.rows(screen.ORDERS, COLUMNS, revision) == []


@pytest.mark.parametrize("records", ALL, ids=lambda records: records.table)
def test_changes_are_found_by_an_index(desk: Desk, records: Records) -> None:
    sql = f"{screen.select(records, ['is_shown'])} WHERE revision > ?"
    (plan,) = desk.rows(f"EXPLAIN QUERY PLAN {sql}", 1)
    assert f"{records.table}_revision" in plan[3]


def test_another_database_in_the_same_place_has_another_identity(desk: Desk) -> None:
    engine = engine_of(desk.path)
    before = engine.identity()
    assert before == engine.identity()
    desk.path.rename(desk.path.with_name("old.db"))
    assert engine.identity() is None
    desk.path.write_bytes(b"")
    assert engine.identity() not in (None, before)
