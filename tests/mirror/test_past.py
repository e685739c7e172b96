"""What pictures read: each query has its index, for a table may have a million rows."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from okxsync.mirror.past import Past
from okxsync.store.database import Connection, Cursor, Values
from tests.support.desk import NOW, Desk

DAY = 86_400_000_000


class Spy:
    """Passes statements on, and keeps them."""

    def __init__(self, db: Connection) -> None:
        self._db = db
        self.statements: list[tuple[str, Values]] = []

    def execute(self, sql: str, values: Values = ()) -> Cursor:
        self.statements.append((sql, values))
        return self._db.execute(sql, values)


def plans(desk: Desk, read: Callable[[Past], Any]) -> str:
    """Return how the database answers what ``read`` asks."""
    desk.db.execute(
        "INSERT INTO mark_candles (inst_id, at, o, h, l, c, ticks, source, first_ts, last_ts)"
        " VALUES ('Y', 0, '1', '1', '1', '1', 1, 'ws', 0, 0)"
    )
    spy = Spy(desk.db)
    found = read(Past(spy))  # type: ignore[arg-type]  # it needs no more of a connection
    if isinstance(found, Iterator):
        list(found)
    return "\n".join(
        str(step[-1]) for sql, values in spy.statements for step in desk.rows(f"EXPLAIN QUERY PLAN {sql}", *values)
    )


@pytest.mark.parametrize(
    ("read", "index"),
    [
        (lambda past: past.gap_spans(NOW - DAY, NOW), "gaps USING INDEX gaps_ended (to_at>?)"),
        (lambda past: past.gap_spans(NOW - DAY, NOW), "gaps USING INDEX gaps_open"),
        (lambda past: past.gaps(NOW - DAY, NOW, "alpha"), "gaps USING INDEX gaps_open (account=?)"),
        (lambda past: past.fills("X", NOW - DAY, NOW, 10), "fills USING INDEX fills_by_instrument (inst_id=? AND"),
        (lambda past: past.candles("X", NOW - DAY, NOW), "SEARCH mark_candles USING PRIMARY KEY (at=? AND inst_id=?"),
        (lambda past: past.candles_since("X"), "SEARCH mark_candles USING PRIMARY KEY (at=? AND inst_id=?"),
        (lambda past: past.minutes(NOW - DAY, NOW), "SEARCH equity_history USING PRIMARY KEY (at>?"),
        (lambda past: past.equity_at(NOW), "equity_history USING PRIMARY KEY (at=?"),
        (lambda past: past.equity_between(NOW - DAY, NOW), "equity_history USING PRIMARY KEY (at>?"),
        (lambda past: past.transfers(NOW, NOW + DAY), "bills USING INDEX bills_transfers (ts>?"),
    ],
)
def test_a_question_about_the_past_has_an_index(desk: Desk, read: Callable[[Past], Any], index: str) -> None:
    assert index in plans(desk, read)
