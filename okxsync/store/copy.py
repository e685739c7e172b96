"""Copy a database to another one, of the same kind or of the other, and prove that both have the same content.

Rows go in batches in the order of their keys, each batch in one transaction. So a table has been copied up to its
largest key, and an interrupted copy goes on from there. Then all of both is read again, and compared by hash. Only what
differs, because the source was changed between two attempts, is copied anew.
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any, Final

import msgspec

from okxsync.config.location import Location
from okxsync.store.database import Connection, StoredTable, StoreError
from okxsync.store.engines import engine_of, reading
from okxsync.store.table import quoted

ROWS: Final = 500
"""Of a batch: few enough for rows of the raw log, which may have 100 KB each."""
MARK: Final = "copies"
"""This table of a destination says what fills it. It is not copied."""
NOT_EMPTY: Final = "counters"
"""This table has a row in a new database."""

Show = Callable[[str, str, int], None]
"""Is called with what is done, with which table, and to how many more of its rows."""


class Compared(msgspec.Struct, frozen=True):
    """A table on both sides: its number of rows, and the hash of its content."""

    table: str
    source_rows: int
    source_hash: str
    destination_rows: int
    destination_hash: str

    @property
    def identical(self) -> bool:
        return (self.source_rows, self.source_hash) == (self.destination_rows, self.destination_hash)


def copy(source: Location, destination: Location, show: Show = lambda action, table, rows: None) -> list[Compared]:
    """Copy all tables, and compare them. A copy that was completed before is only compared.

    No daemon can start on either of them meanwhile.

    Raises:
        AlreadyRunning: a daemon runs on one of them.
        StoreError: one of them cannot be used, or the destination contains other data.
        DatabaseError: the destination could not be written; the next copy goes on from there.
    """
    if source == destination:
        raise StoreError(f"{source}: cannot be copied to itself")
    if not engine_of(source).exists():
        raise StoreError(f"{source}: no such database")
    with engine_of(source).join(), engine_of(destination).join(), reading(source) as old:
        reject_unfinished(old, source)
        if engine_of(destination).exists():
            with reading(destination) as found:
                _reject_other_data(found, source, destination)
        with closing(engine_of(destination).writer()) as new, new.translated():
            tables = _tables(old, new)
            if _begin(new, source):
                return [_compare(old, new, table, show) for table in tables]
            for table in tables:
                _copy(old, new, table, show)
            compared = [_compare(old, new, table, show) for table in tables]
            for place, table in enumerate(tables):
                if not compared[place].identical:
                    with new.transaction():
                        new.execute(f"DELETE FROM {table.name}")
                    _copy(old, new, table, show)
                    compared[place] = _compare(old, new, table, show)
            if all(one.identical for one in compared):
                with new.transaction(durable=True):
                    new.execute(f"UPDATE {MARK} SET finished_at = ?", [time.time_ns() // 1000])
            return compared


def reject_unfinished(db: Connection, location: Location) -> None:
    """Refuse a database to which another one is still being copied.

    Raises:
        StoreError: it is one.
    """
    for row in db.query(f"SELECT source FROM {MARK} WHERE finished_at IS NULL"):
        raise StoreError(
            f"{location}: is not complete; repeat `okxsync copy` from {row['source']} until it says that it is"
        )


def _reject_other_data(db: Connection, source: Location, destination: Location) -> None:
    tables = [table.name for table in db.tables()]
    if MARK in tables:
        for row in db.query(f"SELECT source FROM {MARK}"):
            if row["source"] != str(source):
                raise StoreError(f"{destination}: is a copy of {row['source']}; copy to a new database")
            return
    filled = [name for name in tables if db.execute(f"SELECT 1 FROM {name} LIMIT 1").fetchone() and name != NOT_EMPTY]
    if filled:
        raise StoreError(f"{destination}: contains other data ({', '.join(filled)}); copy to a new database")


def _tables(old: Connection, new: Connection) -> list[StoredTable]:
    """Return the tables to copy; both sides have the same ones with the same columns.

    Raises:
        StoreError: the source has another schema.
    """
    ours, theirs = ({table.name: table for table in db.tables() if table.name != MARK} for db in (new, old))
    wrong = {name for name in ours.keys() | theirs.keys() if _columns(ours, name) != _columns(theirs, name)}
    if wrong:
        raise StoreError(
            f"the source was made by another version of okxsync (tables {', '.join(sorted(wrong))});"
            " start `okxsync run` on it once with this version"
        )
    return [ours[name] for name in sorted(ours)]


def _columns(tables: dict[str, StoredTable], name: str) -> set[str]:
    return set(tables[name].columns) if name in tables else set()


def _begin(new: Connection, source: Location) -> bool:
    """Note that the database is being filled; return whether it has been filled completely."""
    for row in new.query(f"SELECT finished_at FROM {MARK}"):
        return row["finished_at"] is not None
    with new.transaction(durable=True):
        new.execute(f"INSERT INTO {MARK} (source, started_at) VALUES (?, ?)", [str(source), time.time_ns() // 1000])
        new.execute(f"DELETE FROM {NOT_EMPTY}")
    return False


def _copy(old: Connection, new: Connection, table: StoredTable, show: Show) -> None:
    key = quoted(table.key)
    last = new.execute(
        f"SELECT {', '.join(key)} FROM {table.name} ORDER BY {', '.join(f'{one} DESC' for one in key)} LIMIT 1"
    ).fetchone()
    for rows in _batches(old, table, last):
        with new.transaction():
            new.load(table.name, table.columns, rows)
        show("copy", table.name, len(rows))


def _compare(old: Connection, new: Connection, table: StoredTable, show: Show) -> Compared:
    source_rows, source_hash = _digest(old, table, show)
    destination_rows, destination_hash = _digest(new, table, show)
    return Compared(table.name, source_rows, source_hash, destination_rows, destination_hash)


def _digest(db: Connection, table: StoredTable, show: Show) -> tuple[int, str]:
    """Return the number of rows, and a hash of all of them in the order of their keys."""
    digest, count = hashlib.blake2b(digest_size=16), 0
    for rows in _batches(db, table):
        for row in rows:
            digest.update(msgspec.msgpack.encode(row))
        count += len(rows)
        show("compare", table.name, len(rows))
    return count, digest.hexdigest()


def _batches(db: Connection, table: StoredTable, after: Sequence[object] | None = None) -> Iterator[list[list[Any]]]:
    """Yield all rows whose key is larger than ``after``, in the order of their keys, as both engines store them."""
    key, marks = ", ".join(quoted(table.key)), ", ".join("?" * len(table.key))
    places = [table.columns.index(column) for column in table.key]
    select = f"SELECT {', '.join(quoted(table.columns))} FROM {table.name}"
    while True:
        where = f"WHERE ({key}) > ({marks})" if after else ""
        rows = db.execute(f"{select} {where} ORDER BY {key} LIMIT {ROWS}", after or ()).fetchall()
        if not rows:
            return
        after = [rows[-1][place] for place in places]
        yield [[_storable(value) for value in row] for row in rows]


def _storable(value: Any) -> Any:
    """Return a value without U+0000, which PostgreSQL's text cannot have."""
    return value.replace("\0", "\ufffd") if isinstance(value, str) and "\0" in value else value
