"""Connections to a SQLite file, with the SQLite of pysqlite3, for the one writer and for readers.

Python's own SQLite may carry the WAL-reset bug (3.7.0 to 3.51.2), which corrupts a database that two connections
write to or checkpoint at once. One process must never open a file through both libraries.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, Final, Self

import pysqlite3 as sqlite3

from okxsync.store.database import (
    LOG_COLUMNS,
    DatabaseError,
    RejectedValueError,
    StoredTable,
    StoreError,
    TransientError,
    Values,
)
from okxsync.store.sqlite.files import keep_private, make_private
from okxsync.store.table import Table, quoted

_TRANSIENT: Final = frozenset(
    {
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_PROTOCOL,  # a race for the lock of the write-ahead log
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_NOMEM,
    }
)
"""Primary result codes of the disk, of memory and of other programs' locks (https://sqlite.org/rescode.html)."""
_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_REJECTED: Final = (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.InterfaceError, sqlite3.ProgrammingError)
"""What pysqlite3 raises for a value that a column cannot hold."""
_RESTORE: Final = "restore a backup, or move the file away and start with a new one"
_BUG: Final = "another program changed the database, or this is a bug: report it"
REQUESTS: Final = "requests"
"""The one table that other programs than the daemon write."""
_HARMLESS: Final = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_TRANSACTION})
WAL_BYTES: Final = 64 * 2**20
"""Size of the write-ahead log when no reader blocks checkpoints."""
APPLICATION_ID: Final = 0x6F6B7873  # "okxs"
VERSION: Final[tuple[int, ...]] = sqlite3.sqlite_version_info
SAFE_SQLITE: Final = (3, 51, 3)
"""The first release without the WAL-reset bug (https://sqlite.org/wal.html)."""
_FIXED_IN: Final[dict[tuple[int, ...], int]] = {(3, 50): 7, (3, 44): 6}
"""Older branches whose later patches have the fix too."""


def unsafe_sqlite(version: tuple[int, ...]) -> str:
    """Return what is wrong with a version of SQLite and what to do, or "" if nothing is."""
    patch = _FIXED_IN.get(version[:2])
    if version >= SAFE_SQLITE or (patch is not None and version[2] >= patch):
        return ""
    return (
        f"SQLite {'.'.join(map(str, version))} can corrupt a database that two programs write (WAL-reset bug);"
        f" install SQLite {'.'.join(map(str, SAFE_SQLITE))} or later and reinstall pysqlite3"
    )


class SqliteConnection(sqlite3.Connection):  # type: ignore[misc]  # pysqlite3 has no types
    """A connection for writing; see ``store.database.Connection``."""

    path: Path
    """As its user named it, for messages."""

    @classmethod
    def connect(cls, path: Path, where: Path | str, **options: Any) -> Self:
        try:
            connection: Self = sqlite3.connect(where, factory=cls, check_same_thread=False, **options)
        except sqlite3.Error as error:
            raise StoreError(f"{path}: cannot be opened ({error})") from None
        connection.path = path
        return connection

    def query(self, sql: str, values: Values = ()) -> list[dict[str, Any]]:
        found = self.execute(sql, values)
        names = [name for name, *_ in found.description]
        return [dict(zip(names, row, strict=True)) for row in found]

    def upsert(self, table: Table, rows: Iterable[Sequence[object]]) -> None:
        self.executemany(_upsert(table), rows)

    def log(self, frames: Iterable[Sequence[object]]) -> None:
        self.executemany(_LOG, frames)

    def tables(self) -> list[StoredTable]:
        return [StoredTable(name, *self._columns(name)) for (name,) in self.execute(_TABLES).fetchall()]

    def _columns(self, table: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        found = self.execute("SELECT name, pk FROM pragma_table_info(?) ORDER BY cid", [table]).fetchall()
        key = sorted((place, name) for name, place in found if place)
        return tuple(name for name, _ in found), tuple(name for _, name in key)

    def load(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        marks = ", ".join("?" * len(columns))
        self.executemany(f"INSERT INTO {table} ({', '.join(quoted(columns))}) VALUES ({marks})", rows)

    @contextmanager
    def transaction(self, *, durable: bool = False) -> Iterator[None]:
        if durable and not self.in_transaction:
            with self.translated(), self._synchronous_commits(), self.transaction():
                yield
            return
        begin, commit, *undo = _PART if self.in_transaction else _ALL
        with self.translated():
            self.execute(begin)
            try:
                yield
                self.execute(commit)
            except BaseException:
                if self.in_transaction:  # some errors of the disk have rolled back all of it already
                    for statement in undo:
                        self.execute(statement)
                raise

    @contextmanager
    def _synchronous_commits(self) -> Iterator[None]:
        """Let each commit of the block wait for the disk: it syncs the write-ahead log, and all earlier commits in it.

        Otherwise a power cut undoes the last commits.
        """
        self.execute("PRAGMA synchronous = FULL")
        try:
            yield
        finally:
            self.execute("PRAGMA synchronous = NORMAL")

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        with self.translated():
            self.execute("BEGIN")
            try:
                yield
            finally:
                self.rollback()

    @contextmanager
    def translated(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, MemoryError) as error:
            raise _translated(error) from error

    def version(self) -> int:
        return int(self.execute("PRAGMA data_version").fetchone()[0])


_TABLES: Final = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE '%sqlite\\_%' ESCAPE '\\'"
_ALL: Final = ("BEGIN IMMEDIATE", "COMMIT", "ROLLBACK")
_PART: Final = ("SAVEPOINT part", "RELEASE part", "ROLLBACK TO part", "RELEASE part")
"""Rolled back, a savepoint still exists: without its release each failed row would nest the next ones deeper."""


class SqliteReader(SqliteConnection):
    """A connection that only reads: errors of the file or the disk are ``StoreError``, all others are bugs."""

    @contextmanager
    def translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            if str(error).startswith(("no such table", "no such column")) and self._is_older():
                raise StoreError(f"{self.path}: made by an older okxsync; `okxsync run` brings it up to date") from None
            raise StoreError(f"{self.path}: cannot be read ({error})") from None
        except sqlite3.DatabaseError as error:
            if _code(error) in _DAMAGED:
                raise StoreError(f"{self.path}: cannot be read ({error}); {_RESTORE}") from None
            raise

    def _is_older(self) -> bool:
        """Whether migrations are pending, so that this version's queries may fail."""
        from sqlite_utils import Database  # to import it takes longer than to read the whole status

        from okxsync.store.schema import migrations

        with suppress(sqlite3.DatabaseError):
            return bool(migrations.pending(Database(self, execute_plugins=False)))
        return False


def open_writer(path: Path) -> SqliteConnection:
    """Open the database for writing; create it or migrate it to this version's schema.

    Raises:
        StoreError: it is not an okxsync database, its schema is newer, it cannot be written, or SQLite is unsafe.
    """
    if problem := unsafe_sqlite(VERSION):
        raise StoreError(problem)
    try:
        make_private(path)
    except OSError as error:
        raise StoreError(f"{path}: cannot be opened ({error.strerror})") from None
    db = SqliteConnection.connect(path, path, isolation_level=None, cached_statements=256)
    with _closed_unless_usable(db, "cannot be used ({}); is it an okxsync database?"):
        db.execute("PRAGMA busy_timeout = 10000")
        if _is_new(db):
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")  # only before the first table; locks
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute(f"PRAGMA journal_size_limit = {WAL_BYTES}")  # shrinks after a long reader
        db.execute("PRAGMA foreign_keys = ON")
        _migrate(db)
        keep_private(path)
    return db


def open_reader(path: Path) -> SqliteReader:
    """Open the database for reading, with or without a running writer.

    Raises:
        StoreError: it does not exist, or is not an okxsync database.
    """
    if not path.exists():
        raise StoreError(f"{path}: no such database; `okxsync run` makes it")
    if path.is_dir():
        raise StoreError(f"{path}: a folder, not a database; give its path with --db")
    db = SqliteReader.connect(path, f"{path.absolute().as_uri()}?mode=ro", uri=True)
    with _closed_unless_usable(db, "cannot be read ({})"):
        db.execute("PRAGMA busy_timeout = 10000")
        if not _is_ours(db):
            raise StoreError(f"{path}: not an okxsync database")
    return db


def open_requester(path: Path) -> SqliteConnection:
    """Open the database for inserting into ``requests``; SQLite itself refuses any other change.

    Raises:
        StoreError: it does not exist, is not an okxsync database, or SQLite is unsafe.
    """
    if problem := unsafe_sqlite(VERSION):
        raise StoreError(problem)
    if not path.exists():
        raise StoreError(f"{path}: no such database; `okxsync run` makes it")
    db = SqliteConnection.connect(path, f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None)
    with _closed_unless_usable(db, "cannot be used ({})"):
        db.execute("PRAGMA busy_timeout = 10000")
        if not _is_ours(db):
            raise StoreError(f"{path}: not an okxsync database")
        db.set_authorizer(_only_requests)
    return db


def _only_requests(action: int, table: str | None, *_: object) -> int:
    """Tell SQLite whether a statement may be prepared (https://sqlite.org/c3ref/set_authorizer.html)."""
    inserts = action == sqlite3.SQLITE_INSERT and table == REQUESTS
    return int(sqlite3.SQLITE_OK if inserts or action in _HARMLESS else sqlite3.SQLITE_DENY)


@contextmanager
def _closed_unless_usable(db: SqliteConnection, problem: str) -> Iterator[None]:
    """Close a new connection if the block fails; raise SQLite's error as the ``problem`` that names it."""
    try:
        yield
    except sqlite3.Error as error:
        db.close()
        raise StoreError(f"{db.path}: {problem.format(error)}") from None
    except BaseException:
        db.close()
        raise


@cache
def _upsert(table: Table) -> str:
    # Half of an order is absent. To bind None costs pysqlite3 0.8 us (it looks for an adapter), "" 0.03 us.
    marks = ["?" if column in table.required else "nullif(?, '')" for column in table.columns]
    return (
        f"INSERT INTO {table.name} ({', '.join(quoted(table.columns))}, revision) VALUES ({', '.join(marks)}, ?)"
        f" {table.on_conflict}"
    )


_LOG: Final = f"INSERT INTO messages ({', '.join(LOG_COLUMNS)}) VALUES ({', '.join('?' * len(LOG_COLUMNS))})"


def _translated(error: Exception) -> DatabaseError:
    code = _code(error)
    if isinstance(error, MemoryError) or code in _TRANSIENT:  # pysqlite3 raises SQLITE_NOMEM as MemoryError
        return TransientError(str(error) or type(error).__name__)
    if isinstance(error, _REJECTED):
        return RejectedValueError(str(error), _BUG)
    return DatabaseError(str(error), _RESTORE if code in _DAMAGED else _BUG)


def _code(error: BaseException) -> int:
    """Return SQLite's primary result code; the other bits of an extended one are details. 0: none is known."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _migrate(db: SqliteConnection) -> None:
    """Migrate the database in one transaction: a reader sees all of it or nothing."""
    from sqlite_utils import Database  # as above: no reader needs it

    from okxsync.store.schema import migrations

    database = Database(db, execute_plugins=False)
    known = {migration.name for migration in migrations._migrations}
    if newer := {migration.name for migration in migrations.applied(database)} - known:
        raise StoreError(f"{db.path}: made by a newer okxsync ({', '.join(sorted(newer))}); please upgrade")
    if migrations.pending(database):
        db.execute("BEGIN IMMEDIATE")
        with database.atomic():
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            migrations.apply(database)
        db.execute("COMMIT")


def _is_new(db: SqliteConnection) -> bool:
    """Whether the database is still empty; one of another program is not changed."""
    if _is_ours(db):
        return False
    if db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
        raise StoreError(f"{db.path}: not an okxsync database; give another path with --db")
    return True


def _is_ours(db: SqliteConnection) -> bool:
    return bool(db.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID)
