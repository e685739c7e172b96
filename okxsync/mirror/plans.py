"""Plans as the terminal shows them: the newest ones, the orders of some, and who asked the daemon for what.

The caller reads within ``Mirror.snapshot``, so that all rows are of one moment.
"""

from collections.abc import Collection
from typing import Any, TypeAlias

from okxsync.store.database import Connection

Record: TypeAlias = dict[str, Any]

_COLUMNS = (
    "plan_id, title, kind, parent_id, site_modes, state, outcome, preview_at, preview_hash, approved_at, approved_by,"
    " valid_until, started_at, ended_at, accounts, ready, skipped, accepted, rejected, unknown, planned_usd,"
    " filled_usd, note, pause_reason, CASE WHEN state = 'previewed' THEN doc END AS doc"
)


class Plans:
    """Reads plans over the connection of a ``Mirror``."""

    def __init__(self, db: Connection) -> None:
        self._db = db

    def plans(self, limit: int, also: Collection[str] = ()) -> list[Record]:
        """Return the newest plans, and those of these ids; ``doc`` only of one that may still be approved."""
        newest = f"SELECT {_COLUMNS} FROM plans ORDER BY preview_at DESC, plan_id LIMIT ?"
        found = self._db.query(newest, [limit])
        if missing := [*{*also} - {one["plan_id"] for one in found}]:
            marks = ", ".join("?" * len(missing))
            found += self._db.query(f"SELECT {_COLUMNS} FROM plans WHERE plan_id IN ({marks})", missing)
        return found

    def document(self, plan_id: str) -> str:
        found = self._db.execute("SELECT doc FROM plans WHERE plan_id = ?", [plan_id]).fetchone()
        return str(found[0]) if found else ""

    def orders(self, plan_id: str) -> list[Record]:
        return self._db.query("SELECT * FROM plan_orders WHERE plan_id = ? ORDER BY child", [plan_id])

    def order(self, plan_id: str, child: int) -> Record | None:
        found = self._db.query("SELECT * FROM plan_orders WHERE plan_id = ? AND child = ?", [plan_id, child])
        return found[0] if found else None

    def attempts(self, plan_id: str, child: int) -> list[Record]:
        """Return every attempt to send an order, the first one first; times are the exchange's milliseconds."""
        sql = "SELECT * FROM plan_attempts WHERE plan_id = ? AND child = ? ORDER BY attempt"
        return self._db.query(sql, [plan_id, child])

    def cancels(self, plan_id: str, child: int) -> list[Record]:
        """Return the requests that cancel an order, likewise."""
        sql = "SELECT * FROM plan_cancels WHERE plan_id = ? AND child = ? ORDER BY sent_at, attempt"
        return self._db.query(sql, [plan_id, child])

    def requests(self, limit: int) -> list[Record]:
        """Return the newest requests, with their answers; ``at`` and ``expires_at`` are of this machine's clock."""
        sql = (
            "SELECT r.id, r.at, r.kind, r.plan_id, r.by, r.expires_at, a.outcome, a.detail, a.at AS answered_at"
            " FROM requests AS r LEFT JOIN answers AS a ON a.request_id = r.id ORDER BY r.id DESC LIMIT ?"
        )
        return self._db.query(sql, [limit])

    def halt(self) -> Record | None:
        """Return since when, by whom and why trading is halted, as far as the daemon has recorded it."""
        sql = "SELECT at, by, reason FROM halts WHERE lifted_at IS NULL ORDER BY id DESC LIMIT 1"
        return next(iter(self._db.query(sql)), None)
