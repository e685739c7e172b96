"""The journal: events that an operator may read later. And the counts of anomalies."""

from typing import Final

import msgspec

from okxsync.messages import Note
from okxsync.store.database import Connection


def note(db: Connection, message: Note) -> None:
    """Write one row of the journal."""
    db.execute(
        "INSERT INTO journal (at, level, account, event, detail) VALUES (?, ?, ?, ?, ?)",
        msgspec.structs.astuple(message),
    )


_MOST: Final = 500
"""How many anomalies of one kind are counted separately, so that a faulty exchange cannot fill the journal."""


def count_anomaly(db: Connection, at: int, kind: str, what: str, count: int) -> bool:
    """Count an anomaly; return whether it is the first of its kind."""
    counted = "UPDATE anomalies SET count = count + ?, last_at = ? WHERE kind = ? AND what = ?"
    if db.execute(counted, (count, at, kind, what)).rowcount:
        return False
    if db.execute("SELECT count(*) FROM anomalies WHERE kind = ?", [kind]).fetchone()[0] >= _MOST:
        what = "many more"
        if db.execute(counted, (count, at, kind, what)).rowcount:
            return False
    db.execute("INSERT INTO anomalies (kind, what, count, first_at, last_at) VALUES (?, ?, ?, ?, ?)",
               (kind, what, count, at, at))  # fmt: skip
    return True
