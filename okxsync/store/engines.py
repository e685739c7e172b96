"""Opens databases: which engine a location has, and connections for reading that last as long as they are needed."""

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from okxsync.config.location import Location
from okxsync.store.database import Connection, Engine, StoreError, Values


def engine_of(location: Location) -> Engine:
    """Return the engine of a location.

    Raises:
        StoreError: its library is not installed.
    """
    if isinstance(location, Path):  # only the engine that is used is imported
        from okxsync.store.sqlite.engine import SqliteEngine

        return SqliteEngine(location)
    try:
        from okxsync.store.postgres.engine import PostgresEngine
    except ImportError:
        raise StoreError(f'{location}: needs a library; install "okxsync[postgres]"') from None
    return PostgresEngine(location)


def open_database(location: Location) -> Connection:
    """Open the database for writing, see ``Engine.writer``."""
    return engine_of(location).writer()


def open_requester(location: Location) -> Connection:
    """Open the database for inserting requests, see ``Engine.requester``."""
    return engine_of(location).requester()


def open_reader(location: Location) -> Connection:
    """Open the database for reading, see ``Engine.reader``."""
    return engine_of(location).reader()


@contextmanager
def reading(location: Location) -> Iterator[Connection]:
    """Read a database for as long as the block runs.

    Raises:
        StoreError: it cannot be opened, or the file or the disk makes a read in the block fail.
    """
    db = open_reader(location)
    try:
        with db.translated():
            yield db
    finally:
        db.close()


@contextmanager
def keep_going(log: logging.Logger, what: str) -> Iterator[None]:
    """Log that the database could not be read, and go on; for loops that read it again soon."""
    try:
        yield
    except StoreError as error:
        log.warning("%s: %s", what, error)


class Reader:
    """Reads over one connection that is kept, for opening one takes longer than most queries.

    It is opened by the first query, and again by the first one after an error. Between two queries it holds no
    snapshot: each sees what was committed last, and no checkpoint waits for it. One thread at a time may use it.
    """

    def __init__(self, location: Location) -> None:
        self.location = location
        self._opened: tuple[ExitStack, Connection] | None = None

    def rows(self, sql: str, values: Values = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a query as tuples.

        Raises:
            StoreError: the database cannot be opened or read.
        """
        return self._read(lambda db: db.execute(sql, values).fetchall())

    def query(self, sql: str, values: Values = ()) -> list[dict[str, Any]]:
        """Return the rows of a query as columns by name.

        Raises:
            StoreError: the database cannot be opened or read.
        """
        return self._read(lambda db: db.query(sql, values))

    def close(self) -> None:
        """Close the connection; the next query opens another one."""
        if self._opened is not None:
            stack, _ = self._opened
            self._opened = None
            stack.close()

    def _read(self, read: Callable[[Connection], list[Any]]) -> list[Any]:
        if self._opened is None:
            stack = ExitStack()
            self._opened = stack, stack.enter_context(reading(self.location))
        stack, db = self._opened
        try:
            return read(db)
        except BaseException as error:
            self._opened = None
            stack.__exit__(type(error), error, error.__traceback__)  # closes it, and raises a StoreError in its place
            raise
