"""Open the database with the SQLite of pysqlite3, for the one writer and for readers.

Python's own SQLite may carry the WAL-reset bug (3.7.0 to 3.51.2), which corrupts a database that two connections
write to or checkpoint at once. One process must never open a file through both libraries.
"""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeAlias

import pysqlite3 as sqlite3
from sqlite_utils import Database

from okxsync.store.schema import migrations

Connection: TypeAlias = Any  # pysqlite3 has no types; it is the interface of sqlite3.Connection
DatabaseError = sqlite3.DatabaseError
WRITE_ERRORS: Final = (DatabaseError, MemoryError)
"""What a statement raises; pysqlite3 raises SQLITE_NOMEM as MemoryError, without a code."""
DATA_ERRORS: Final = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    UnicodeError,
    ValueError,
    ArithmeticError,
    RecursionError,
)
"""What SQLite, or a decoder, raises for a value that it cannot hold; ``is_transient`` judges all other errors."""
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
_RESTORE: Final = "restore a backup, or move the file away and start with a new one"
WAL_BYTES: Final = 64 * 2**20
"""Size of the write-ahead log when no reader blocks checkpoints."""
WAL_TOO_LARGE: Final = 4 * WAL_BYTES
"""A write-ahead log of this size means that a long-running reader blocks checkpoints."""
CHANNEL_NAME: Final = "substr(channel, 1, instr(channel || ':', ':') - 1)"
"""SQL: the name of a column ``channel`` without its arguments, as ``okx.channels.channel_of`` has it."""
APPLICATION_ID: Final = 0x6F6B7873  # "okxs"
SAFE_SQLITE: Final = (3, 51, 3)
"""The first release without the WAL-reset bug (https://sqlite.org/wal.html)."""
_FIXED_IN: Final[dict[tuple[int, ...], int]] = {(3, 50): 7, (3, 44): 6}
"""Older branches whose later patches have the fix too."""


class StoreError(Exception):
    """The database cannot be used; the message is one line that says which, why, and what to do."""


def is_transient(error: BaseException) -> bool:
    """Whether the same statement can succeed later: the disk, memory or another program's lock made it fail."""
    return isinstance(error, MemoryError) or _code(error) in _TRANSIENT


def remedy(error: BaseException) -> str:
    """Return what to do about an error that is not transient."""
    return _RESTORE if _code(error) in _DAMAGED else "another program changed the database, or this is a bug: report it"


def _code(error: BaseException) -> int:
    """Return SQLite's primary result code; the other bits of an extended one are details. 0: none is known."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


@contextmanager
def ignoring_transient() -> Iterator[None]:
    """Ignore a transient error, for work that can be left to its next turn; the next commit reports the error.

    Raises:
        DatabaseError: the error is permanent.
    """
    try:
        yield
    except WRITE_ERRORS as error:
        if not is_transient(error):
            raise


def unsafe_sqlite(version: tuple[int, ...]) -> str:
    """Return what is wrong with a version of SQLite and what to do, or "" if nothing is."""
    patch = _FIXED_IN.get(version[:2])
    if version >= SAFE_SQLITE or (patch is not None and version[2] >= patch):
        return ""
    return (
        f"SQLite {'.'.join(map(str, version))} can corrupt a database that two programs write (WAL-reset bug);"
        f" install SQLite {'.'.join(map(str, SAFE_SQLITE))} or later and reinstall pysqlite3"
    )


def open_database(path: Path) -> Database:
    """Open the database for writing; create it or migrate it to this version's schema. The caller closes it.

    Raises:
        StoreError: it is not an okxsync database, its schema is newer, it cannot be written, or SQLite is unsafe.
    """
    if problem := unsafe_sqlite(sqlite3.sqlite_version_info):
        raise StoreError(problem)
    try:
        # Made here for its mode, which SQLite gives -wal and -shm too. One that is there is not opened: closing it
        # drops the locks on it of all connections of this process (POSIX), and the next reader deletes their log.
        with suppress(FileExistsError):
            os.close(os.open(real(path), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None, cached_statements=256)
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"{path}: cannot be opened ({_why(error)})") from None
    try:
        connection.execute("PRAGMA busy_timeout = 10000")
        if _is_new(path, connection):
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # only before the first table; locks
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES}")  # shrinks after a long reader
        connection.execute("PRAGMA foreign_keys = ON")
        database = Database(connection, execute_plugins=False)
        _migrate(path, database)
        _keep_private(path)
    except sqlite3.Error as error:
        connection.close()
        raise StoreError(f"{path}: cannot be used ({_why(error)}); is it an okxsync database?") from None
    except StoreError:
        connection.close()
        raise
    return database


def open_reader(path: Path) -> Database:
    """Open the database for reading, with or without a running writer. The caller closes it.

    Raises:
        StoreError: it does not exist, or is not an okxsync database.
    """
    if not path.exists():
        raise StoreError(f"{path}: no such database; `okxsync run` makes it")
    if path.is_dir():
        raise StoreError(f"{path}: a folder, not a database; give its path with --db")
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, check_same_thread=False)
    except sqlite3.Error as error:
        raise StoreError(f"{path}: cannot be opened ({_why(error)})") from None
    try:
        connection.execute("PRAGMA busy_timeout = 10000")
        if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            raise StoreError(f"{path}: not an okxsync database")
    except sqlite3.Error as error:
        connection.close()
        raise StoreError(f"{path}: cannot be read ({_why(error)})") from None
    except StoreError:
        connection.close()
        raise
    return Database(connection, execute_plugins=False)


def real(path: Path) -> Path:
    """Return the path of a database with all links resolved."""
    return Path(os.path.realpath(path))  # unlike Path.resolve it accepts a broken link: opening reports it


def beside(path: Path, suffix: str) -> Path:
    """Return the path of a file in the folder of the database, not of a link to it, as SQLite does."""
    path = real(path)
    return path.with_name(path.name + suffix)


def wal_of(path: Path) -> Path:
    """Return the path of the database's write-ahead log."""
    return beside(path, "-wal")


@contextmanager
def keep_going(log: logging.Logger, what: str) -> Iterator[None]:
    """Log that the database could not be read, and go on; for loops that read it again soon."""
    try:
        yield
    except StoreError as error:
        log.warning("%s: %s", what, error)


@contextmanager
def reading(path: Path) -> Iterator[Database]:
    """Read a database for as long as the block runs.

    Raises:
        StoreError: it cannot be opened, or the file or the disk makes a read in the block fail.
    """
    database = open_reader(path)
    try:
        with translated(path, database):
            yield database
    finally:
        database.close()


@contextmanager
def translated(path: Path, database: Database) -> Iterator[None]:
    """Raise errors of reading an open database as ``StoreError``, unless they are bugs."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if _is_unknown(error) and _is_older(database):
            raise StoreError(f"{path}: made by an older okxsync; `okxsync run` brings it up to date") from None
        raise StoreError(f"{path}: cannot be read ({_why(error)})") from None
    except sqlite3.DatabaseError as error:
        if _code(error) in _DAMAGED:
            raise StoreError(f"{path}: cannot be read ({_why(error)}); {_RESTORE}") from None
        raise  # a bug


def _keep_private(path: Path) -> None:
    """Remove other users' permissions, which an earlier version or a copy may have left."""
    for file in (path, wal_of(path), path.with_name(path.name + "-shm")):
        with suppress(FileNotFoundError, PermissionError):  # a user who may write it need not own it
            if file.stat().st_mode & 0o077:
                file.chmod(0o600)


def _migrate(path: Path, database: Database) -> None:
    """Migrate the database in one transaction: a reader sees all of it or nothing."""
    known = {migration.name for migration in migrations._migrations}
    if newer := {migration.name for migration in migrations.applied(database)} - known:
        raise StoreError(f"{path}: made by a newer okxsync ({', '.join(sorted(newer))}); please upgrade")
    if migrations.pending(database):
        database.execute("BEGIN IMMEDIATE")
        with database.atomic():
            database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            migrations.apply(database)
        database.execute("COMMIT")


def _is_unknown(error: Exception) -> bool:
    return str(error).startswith(("no such table", "no such column"))


def _is_older(database: Database) -> bool:
    """Whether migrations are pending, so that this version's queries may fail."""
    with suppress(sqlite3.DatabaseError):
        return bool(migrations.pending(database))
    return False


def _is_new(path: Path, connection: Connection) -> bool:
    """Whether the database is still empty; one of another program is not changed."""
    if connection.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID:
        return False
    if connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
        raise StoreError(f"{path}: not an okxsync database; give another path with --db")
    return True


def _why(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


class Reader:
    """Reads over one connection that is kept, for opening one takes longer than most queries.

    It is opened by the first query, and again by the first one after an error. Between two queries it holds no
    snapshot: each sees what was committed last, and no checkpoint waits for it. One thread at a time may use it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._opened: tuple[ExitStack, Database] | None = None

    def rows(self, sql: str, values: Sequence[object] | dict[str, Any] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a query as tuples.

        Raises:
            StoreError: the database cannot be opened or read.
        """
        with self._database() as database:
            found: list[tuple[Any, ...]] = database.execute(sql, values).fetchall()
        return found

    def query(self, sql: str, values: Sequence[object] | dict[str, Any] = ()) -> list[dict[str, Any]]:
        """Return the rows of a query as columns by name.

        Raises:
            StoreError: the database cannot be opened or read.
        """
        with self._database() as database:
            return list(database.query(sql, values))

    def close(self) -> None:
        """Close the connection; the next query opens another one."""
        if self._opened is not None:
            stack, _ = self._opened
            self._opened = None
            stack.close()

    @contextmanager
    def _database(self) -> Iterator[Database]:
        if self._opened is None:
            stack = ExitStack()
            self._opened = stack, stack.enter_context(reading(self.path))
        stack, database = self._opened
        try:
            yield database
        except BaseException as error:
            self._opened = None
            stack.__exit__(type(error), error, error.__traceback__)  # closes it, and raises a StoreError in its place
            raise
