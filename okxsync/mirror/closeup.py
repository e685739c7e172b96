"""One account, or one order, with all that belongs to it: what the terminal shows beside a table.

Rows as texts and integers; nothing is converted. The caller reads within ``Mirror.snapshot``.
"""

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

from okxsync.mirror.screen import FILLS, Records, select
from okxsync.store.database import Connection

Texts: TypeAlias = tuple[Any, ...]
"""A row: texts, integers and None."""

_INTERNAL: Final = frozenset({"raw", "revision", "rank", "not_found_at"})
"""Columns of orders that are not the exchange's."""
_JOURNAL_READ: Final = 50_000
"""Entries: the journal has no index by account."""


class CloseUp:
    """Reads for the details of the terminal over the connection of a ``Mirror``."""

    def __init__(self, db: Connection) -> None:
        self._db = db

    def account(self, name: str) -> dict[str, Any] | None:
        """Return the columns of an account, with ``raw``, the last reply of ``account/config``."""
        found = self._db.query("SELECT * FROM accounts WHERE name = ?", [name])
        return found[0] if found else None

    def rows(self, records: Records, columns: Sequence[str], account: str, count: int) -> list[Texts]:
        """Return rows of an account that are shown."""
        sql = f"{select(records, columns)} WHERE account = ? AND {records.is_shown} LIMIT ?"
        return self._db.execute(sql, (account, count)).fetchall()

    def order(self, table: str, account: str, number: str) -> dict[str, Any] | None:
        """Return the columns of a row of ``orders`` or ``algo_orders``, in the order of the table."""
        key = {"orders": "ord_id", "algo_orders": "algo_id"}[table]
        found = self._db.query(f"SELECT * FROM {table} WHERE account = ? AND {key} = ?", (account, number))
        return found[0] if found else None

    def fills(
        self, columns: Sequence[str], account: str, inst_id: str, orders: Sequence[str], count: int
    ) -> list[Texts]:
        """Return the newest fills of some orders of an account in one instrument, the newest first."""
        marks = ", ".join("?" * len(orders)) or "NULL"
        sql = (
            f"{select(FILLS, columns)} WHERE account = ? AND inst_id = ? AND ord_id IN ({marks})"
            " ORDER BY coalesce(fill_time, ts, 0) DESC LIMIT ?"
        )
        return self._db.execute(sql, (account, inst_id, *orders, count)).fetchall()

    def journal(self, account: str, count: int) -> list[Texts]:
        """Return time, level, event and detail of the newest entries of an account, the newest first."""
        sql = (
            "SELECT at, level, event, detail FROM journal WHERE account = ?"
            " AND id > (SELECT coalesce(max(id), 0) FROM journal) - ? ORDER BY id DESC LIMIT ?"
        )
        return self._db.execute(sql, (account, _JOURNAL_READ, count)).fetchall()


def of_exchange(row: dict[str, Any]) -> dict[str, Any]:
    """Return the columns that the exchange has filled."""
    return {name: value for name, value in row.items() if name not in _INTERNAL and value not in (None, "")}
