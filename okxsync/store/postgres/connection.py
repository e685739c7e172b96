"""Connections to a PostgreSQL server, for the one writer, for readers, and for programs that ask the daemon.

Many rows travel by binary COPY into a temporary table of the session, and from there by one statement: that costs both
sides a third of what single statements cost. Few rows are sent as statements.

A connection that writes survives the server: the transaction that was cut off is rolled back, and the next one opens it
again. A COMMIT that was sent and not answered may be in or not. So each transaction adds one to its connection's row
of ``okxsync_writers``, which tells.
"""

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Final, Self

import psycopg
from psycopg import pq
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.types.numeric import Int8BinaryDumper, Int8Dumper
from psycopg.types.string import StrDumperUnknown

from okxsync.config.location import Url
from okxsync.config.secret import ConfigError
from okxsync.store.database import (
    LOG_COLUMNS,
    DatabaseError,
    RejectedValueError,
    StoredTable,
    StoreError,
    TransientError,
    Values,
)
from okxsync.store.postgres import schema
from okxsync.store.postgres.dialect import translated
from okxsync.store.table import Table, quoted

log = logging.getLogger("okxsync.store")

LEAST_VERSION: Final = 150_000
FEW: Final = 16
"""So many rows are sent as statements: below that, COPY and its merge cost more than they save."""
RETRY_S: Final = 1.0
_TRANSIENT: Final = ("08", "25006", "25P03", "40", "53", "55", "57", "58")
"""Beginnings of SQLSTATEs: of the connection, of a standby, of locks, of memory, disk and shutdown
(https://www.postgresql.org/docs/current/errcodes-appendix.html)."""
_REJECTED: Final = ("22", "23")
_DENIED: Final = "42501"
_BUG: Final = "another program changed the database, or this is a bug: report it"
_GRANT: Final = "grant the role what docs/postgres.md names"
_ALIVE: Final[dict[str, Any]] = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
"""Seconds, and milliseconds, after which a network that has gone silent is an error, here and ..."""
_ALIVE_THERE: Final = (
    "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3;"
    " SET statement_timeout = 0"
)
"""... at the server, which ends the session then and frees its locks."""


def connect(url: Url) -> psycopg.Connection[Any]:
    """Open a connection in which each statement is a transaction, unless one is begun.

    Raises:
        StoreError: the server does not answer or refuses, or it is too old.
    """
    try:
        db = psycopg.connect(
            url.conninfo, password=url.reveal(), autocommit=True, cursor_factory=psycopg.RawCursor, **_ALIVE
        )
    except (psycopg.Error, ConfigError) as error:
        raise StoreError(f"{url}: cannot be opened ({one_line(error)})") from None
    if db.info.server_version < LEAST_VERSION:
        db.close()
        raise StoreError(
            f"{url}: PostgreSQL {db.info.server_version // 10_000} is too old; version 15 or later is needed"
        )
    db.adapters.register_dumper(int, Int8Dumper)
    db.adapters.register_dumper(int, Int8BinaryDumper)
    db.adapters.register_dumper(str, _Text)
    db.adapters.register_loader("numeric", _Number)
    db.adapters.register_loader("bool", _Flag)
    db.execute(_ALIVE_THERE)
    return db


class _Text(StrDumperUnknown):
    """Text without U+0000, which PostgreSQL cannot store; the server decides its type."""

    def dump(self, obj: str) -> Buffer | None:
        return super().dump(obj.replace("\0", "\ufffd") if "\0" in obj else obj)


class _Number(Loader):
    """A sum of integers, or a quotient, as in SQLite."""

    def load(self, data: Buffer) -> int | float:
        text = bytes(data)
        return float(text) if b"." in text or b"N" in text else int(text)


class _Flag(Loader):
    def load(self, data: Buffer) -> int:
        return int(bytes(data) == b"t")


def one_line(error: BaseException) -> str:
    """Return an error of the server or of libpq as one line."""
    primary = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    return " ".join((primary or str(error) or type(error).__name__).split())


class PostgresConnection:
    """What all connections share; see ``store.database.Connection``. Only the writer can upsert, log and load."""

    def __init__(self, url: Url) -> None:
        self.url = url
        self._db = connect(url)

    @classmethod
    @contextmanager
    def usable(cls, url: Url) -> Iterator[Self]:
        """Open a connection, and close it if the block fails; raise the server's errors as ``StoreError``."""
        connection = cls(url)
        try:
            yield connection
        except psycopg.Error as error:
            connection.close()
            raise StoreError(f"{url}: cannot be used ({one_line(error)})") from None
        except BaseException:
            connection.close()
            raise

    @property
    def in_transaction(self) -> bool:
        return self._db.info.transaction_status in (pq.TransactionStatus.INTRANS, pq.TransactionStatus.INERROR)

    def execute(self, sql: str, values: Values = (), /) -> psycopg.Cursor[Any]:
        statement = translated(sql)
        return self._db.execute(statement.sql, statement.values(values))

    def executemany(self, sql: str, rows: Iterable[Values], /) -> psycopg.Cursor[Any]:
        statement = translated(sql)
        cursor = self._db.cursor()
        cursor.executemany(statement.sql, [statement.values(row) for row in rows])
        return cursor

    def query(self, sql: str, values: Values = ()) -> list[dict[str, Any]]:
        found = self.execute(sql, values)
        names = [column.name for column in found.description or ()]
        return [dict(zip(names, row, strict=True)) for row in found]

    def upsert(self, table: Table, rows: Iterable[Sequence[object]]) -> None:
        raise NotImplementedError

    def log(self, frames: Iterable[Sequence[object]]) -> None:
        raise NotImplementedError

    def tables(self) -> list[StoredTable]:
        found = self._db.execute(_TABLES).fetchall()
        return [StoredTable(name, tuple(columns), tuple(key)) for name, columns, key in found]

    def load(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        raise NotImplementedError

    @contextmanager
    def transaction(self, *, durable: bool = False) -> Iterator[None]:
        with self.translated(), self._part() if self.in_transaction else self._whole():
            yield

    @contextmanager
    def _whole(self) -> Iterator[None]:
        self._begin()
        try:
            yield
        except BaseException:
            self._roll_back()
            raise
        self._commit()

    @contextmanager
    def _part(self) -> Iterator[None]:
        self._db.execute(b"SAVEPOINT part")
        try:
            yield
            self._db.execute(b"RELEASE part")
        except BaseException:
            if not self._db.closed:
                self._roll_back("TO part; RELEASE part")
            raise

    def _begin(self) -> None:
        self._db.execute(b"BEGIN")

    def _commit(self) -> None:
        if self._db.execute(b"COMMIT").statusmessage != "COMMIT":  # a failed statement's error was ignored
            raise DatabaseError("a failed transaction was committed", _BUG)

    def _roll_back(self, to: str = "") -> None:
        if not self._db.closed:
            self._db.execute(f"ROLLBACK {to}".encode())

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        with self.translated():
            self._db.execute(b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            try:
                yield
            finally:
                self._roll_back()

    @contextmanager
    def translated(self) -> Iterator[None]:
        try:
            yield
        except (psycopg.Error, MemoryError) as error:
            raise _translated(error) from error

    def version(self) -> int:
        return hash(self._db.execute(b"SELECT pg_current_snapshot()::text").fetchone())

    def close(self) -> None:
        self._db.close()


_TABLES: Final = (
    b"SELECT relname, array_agg(attname::text ORDER BY attnum),"
    b" array_agg(attname::text ORDER BY array_position(indkey::int2[], attnum)) FILTER (WHERE attnum = ANY(indkey))"
    b" FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid JOIN pg_index ON indrelid = pg_class.oid"
    b" WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r' AND indisprimary AND attnum > 0"
    b" AND NOT attisdropped AND relname NOT LIKE 'okxsync%' GROUP BY relname ORDER BY relname"
)


def _translated(error: Exception) -> DatabaseError:
    text, code = one_line(error), getattr(error, "sqlstate", None) or ""
    lost = isinstance(error, psycopg.OperationalError) and not code  # libpq itself says so
    if isinstance(error, MemoryError) or lost or code.startswith(_TRANSIENT):
        return TransientError(text)
    if code.startswith(_REJECTED) or isinstance(error, psycopg.DataError):
        return RejectedValueError(text, _BUG)
    return DatabaseError(text, _GRANT if code == _DENIED else _BUG)


class PostgresWriter(PostgresConnection):
    """The writer's connection; it is opened again when it is needed again."""

    def __init__(self, url: Url) -> None:
        super().__init__(url)
        self._id = 0  # of its row in okxsync_writers
        self._seq = 0
        self._copied: set[Table] = set()  # in this transaction, into their temporary tables

    def begin_session(self) -> None:
        """Prepare the session, and find or make its row of ``okxsync_writers``.

        Raises:
            DatabaseError: the database is older than what was committed.
        """
        db = self._db
        db.execute("SET plan_cache_mode = force_generic_plan; SET client_min_messages = warning")
        if db.execute("SHOW synchronous_commit").fetchone() == ("off",):
            db.execute("SET synchronous_commit = on")  # else a crash of the server undoes what coverage claims
        db.prepared_max = 500
        self._staged: dict[Table, _Stage] = {}
        if not self._id:
            db.execute("DELETE FROM okxsync_writers WHERE at < clock_timestamp() - interval '1 day'")
            ((self._id,),) = db.execute("INSERT INTO okxsync_writers DEFAULT VALUES RETURNING id").fetchall()
        elif self._committed() < self._seq:
            raise DatabaseError(
                "the database is older than what was written to it: it was restored, or a standby took over;"
                " the next run fetches what is missing",
                "start okxsync again",
            )

    def _committed(self) -> int:
        """Return how many transactions are in; wait for one that the server still works on."""
        found = self._db.execute("SELECT seq FROM okxsync_writers WHERE id = $1 FOR UPDATE", [self._id]).fetchone()
        return found[0] if found else -1

    def _begin(self) -> None:
        if self._db.closed:
            self._reopen()
        self._copied.clear()
        self._db.execute(
            f"BEGIN; UPDATE okxsync_writers SET seq = seq + 1, at = clock_timestamp() WHERE id = {self._id}".encode()
        )

    def _commit(self) -> None:
        try:
            super()._commit()
        except psycopg.OperationalError as error:
            if not self._db.closed:
                raise  # the server has rolled it back
            self._settle(error)
        self._seq += 1

    def _settle(self, error: psycopg.OperationalError) -> None:
        """Find out whether the last transaction is in, as soon as the server answers; if not, raise the error."""
        log.warning("%s: the connection was lost during a commit; waiting for the server", self.url)
        while True:
            try:
                self._reopen()
                committed = self._committed()
            except psycopg.OperationalError:
                time.sleep(RETRY_S)
                continue
            if committed <= self._seq:
                raise error
            return

    def _reopen(self) -> None:
        try:
            self._db = connect(self.url)
        except StoreError as error:
            raise psycopg.OperationalError(str(error)) from None
        self.begin_session()

    def _roll_back(self, to: str = "") -> None:
        super()._roll_back(to)
        self._staged.clear()  # a temporary table goes with the transaction that has made it

    def upsert(self, table: Table, rows: Iterable[Sequence[object]]) -> None:
        stage = self._stage(table)
        first: dict[object, list[object]] = {}
        again: list[list[object]] = []  # one statement cannot write a row twice
        for row in rows:
            values = stage.values(row)
            if (key := table.key_of(values)) in first:
                again.append(values)
            else:
                first[key] = values
        few = len(first) <= FEW
        if not few:
            self._merge(stage, first.values())
        single = [*(first.values() if few else ()), *again]
        if single:
            self._db.cursor().executemany(_insert(table), single)

    def _merge(self, stage: "_Stage", rows: Iterable[Sequence[object]]) -> None:
        if stage.table in self._copied:
            self._db.execute(f"DELETE FROM {stage.name}".encode())
        self._copied.add(stage.table)
        self._copy(stage.name, stage.columns, stage.types, rows)
        self._db.execute(_merge(stage.table, stage.name), prepare=True)

    def _copy(self, table: str, columns: str, types: Sequence[int], rows: Iterable[Sequence[object]]) -> None:
        sql = f"COPY {table} ({columns}) FROM STDIN (FORMAT BINARY)"
        with self._db.cursor() as cursor, cursor.copy(sql.encode()) as copy:
            copy.set_types(types)
            for row in rows:
                copy.write_row(row)

    def load(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        names = ", ".join(quoted(columns))
        found = self._db.execute(f"SELECT {names} FROM {table} LIMIT 0".encode()).description or ()
        self._copy(table, names, [column.type_code for column in found], rows)
        if "id" in columns:
            self._db.execute(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), max(id)) FROM {table}".encode())

    def _stage(self, table: Table) -> "_Stage":
        """Return the session's temporary table for rows of a table; it is emptied by each commit."""
        if (stage := self._staged.get(table)) is None:
            name, columns = f"stage_{table.name}_{id(table)}", ", ".join((*quoted(table.columns), "revision"))
            made = f"CREATE TEMP TABLE IF NOT EXISTS {name} ON COMMIT DELETE ROWS AS SELECT {columns} FROM {table.name}"
            self._db.execute(f"{made} WITH NO DATA".encode())
            found = self._db.execute(f"SELECT {columns} FROM {name} LIMIT 0".encode()).description or ()
            stage = self._staged[table] = _Stage(table, name, columns, [column.type_code for column in found])
        return stage

    def log(self, frames: Iterable[Sequence[object]]) -> None:
        rows = list(frames)
        if len(rows) > FEW:
            self._copy("messages", ", ".join(LOG_COLUMNS), _LOG_TYPES, rows)
        elif rows:
            self._db.cursor().executemany(_LOG, rows)


_INT8, _TEXT, _BYTEA = (psycopg.adapters.types[name].oid for name in ("int8", "text", "bytea"))
_LOG_TYPES: Final = (_INT8, _INT8, _TEXT, _TEXT, _TEXT, _INT8, _BYTEA)
_LOG: Final = (
    f"INSERT INTO messages ({', '.join(LOG_COLUMNS)})"
    f" VALUES ({', '.join(f'${number}' for number in range(1, len(LOG_COLUMNS) + 1))})"
).encode()


class _Stage:
    """A temporary table for rows of ``table``; ``types`` are those of its columns."""

    def __init__(self, table: Table, name: str, columns: str, types: Sequence[int]) -> None:
        self.table, self.name, self.columns, self.types = table, name, columns, types
        names = (*table.columns, "revision")
        self._absent = [
            "" if column in table.required and kind == _TEXT else None
            for column, kind in zip(names, types, strict=True)
        ]
        self._whole = [index for index, kind in enumerate(types) if kind == _INT8]

    def values(self, row: Sequence[object]) -> list[object]:
        """Return the values of a row as the server takes them: None where absent, and no integers as text."""
        values = [absent if value == "" else value for value, absent in zip(row, self._absent, strict=True)]
        for index in self._whole:
            if type(value := values[index]) is str:
                values[index] = int(value)
        return values


@lru_cache(maxsize=100)
def _merge(table: Table, name: str) -> bytes:
    """Return SQL: write the rows of a temporary table.

    ON CONFLICT locks a row also if it does not change it, and a lock is written to the disk. So rows that their guard
    would refuse are left out before; but orders are not, for they are pushed only when they change.
    """
    columns = ", ".join((*quoted(table.columns), "revision"))
    where = "true"
    if table.name not in ("orders", "algo_orders"):
        same = " AND ".join(f"{table.name}.{column} = excluded.{column}" for column in quoted(table.key))
        where = f"NOT EXISTS (SELECT FROM {table.name} WHERE {same} AND ({table.guard}) IS NOT TRUE)"
    return translated(
        f"INSERT INTO {table.name} ({columns}) SELECT {columns} FROM {name} AS excluded WHERE {where}"
        f" {table.on_conflict}"
    ).sql


@lru_cache(maxsize=100)
def _insert(table: Table) -> bytes:
    columns = (*quoted(table.columns), "revision")
    marks = ", ".join(f"${number}" for number in range(1, len(columns) + 1))
    return translated(f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES ({marks}) {table.on_conflict}").sql


class PostgresReader(PostgresConnection):
    """A connection that only reads: errors of the server or the network are ``StoreError``, all others are bugs."""

    def begin_session(self) -> None:
        self._db.execute("SET default_transaction_read_only = on")
        self._db.prepare_threshold = None  # a connection pooler may give each statement another session

    @contextmanager
    def translated(self) -> Iterator[None]:
        try:
            yield
        except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn):
            if not self.in_transaction and schema.pending(self._db):
                raise StoreError(f"{self.url}: made by an older okxsync; `okxsync run` brings it up to date") from None
            raise
        except (psycopg.OperationalError, psycopg.InternalError, psycopg.errors.InsufficientPrivilege) as error:
            raise StoreError(f"{self.url}: cannot be read ({one_line(error)})") from None


class PostgresRequester(PostgresConnection):
    """A connection that inserts into ``requests``, and can change nothing else."""

    def _begin(self) -> None:
        super()._begin()
        # The daemon reads them by their ids: so these become visible in their order.
        self._db.execute("SELECT pg_advisory_xact_lock($1)", [schema.REQUESTING])

    def execute(self, sql: str, values: Values = (), /) -> psycopg.Cursor[Any]:
        if not sql.startswith(("SELECT ", "INSERT INTO requests (")) or " ON CONFLICT " in sql:
            raise DatabaseError("only requests can be inserted here", _BUG)
        return super().execute(sql, values)

    def executemany(self, sql: str, rows: Iterable[Values], /) -> psycopg.Cursor[Any]:
        raise DatabaseError("only requests can be inserted here", _BUG)


def open_writer(url: Url) -> PostgresWriter:
    """Open the database for writing; make its schema, or bring it up to date.

    Raises:
        StoreError: it is another program's or a newer okxsync's, or the server refuses.
    """
    with PostgresWriter.usable(url) as connection:
        schema.migrate(connection._db, url)
        connection.begin_session()
    return connection


def open_reader(url: Url) -> PostgresReader:
    """Open the database for reading.

    Raises:
        StoreError: the server refuses, or it is not an okxsync database.
    """
    with PostgresReader.usable(url) as connection:
        _expect_ours(connection._db, url)
        connection.begin_session()
    return connection


def open_requester(url: Url) -> PostgresRequester:
    """Open the database for inserting into ``requests``.

    Raises:
        StoreError: the server refuses, or it is not an okxsync database.
    """
    with PostgresRequester.usable(url) as connection:
        _expect_ours(connection._db, url)
    return connection


def _expect_ours(db: psycopg.Connection[Any], url: Url) -> None:
    if schema.pending(db) is None:
        raise StoreError(f"{url}: no okxsync database; `okxsync run` makes it")
