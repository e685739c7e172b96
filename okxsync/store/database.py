"""The seam between the product and the database that it stores in.

All modules use the database through what is here: a ``Connection`` reads and writes, and an ``Engine`` does what
depends on the machine: files, locks, checkpoints, disk space. ``store.engines`` opens both. SQL is written once, in
what SQLite and PostgreSQL both accept (``tests/store/test_dialect.py`` checks it).

Errors:

    StoreError              the database cannot be used or read; one line for people
    DatabaseError           a statement failed, and its transaction changed nothing
      TransientError        the same can succeed later: the disk, memory or another program's lock made it fail
      RejectedValueError    a value that its column cannot hold; other rows can be stored without it
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias

import msgspec

from okxsync.config.location import Location

if TYPE_CHECKING:
    from okxsync.runtime.outbox import Outbox
    from okxsync.store.table import Table

Values: TypeAlias = Sequence[object] | Mapping[str, object]
"""Of ``?``, ``?1`` or ``:name`` in a statement; never a bool, which PostgreSQL does not store as an integer."""

CHANNEL_NAME: Final = "substr(channel, 1, instr(channel || ':', ':') - 1)"
"""SQL: the name of a column ``channel`` without its arguments, as ``okx.channels.channel_of`` has it."""


class StoreError(Exception):
    """The database cannot be used; the message is one line that says which, why, and what to do."""


class AlreadyRunning(Exception):
    """Another daemon holds this database."""


class DatabaseError(Exception):
    """A statement failed, and its transaction changed nothing; ``remedy`` is what to do about it."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy


class TransientError(DatabaseError):
    """The same statement can succeed later: the disk, memory or another program's lock made it fail."""


class RejectedValueError(DatabaseError):
    """A value that its column cannot hold."""


class Cursor(Protocol):
    """The result of a statement."""

    @property
    def rowcount(self) -> int: ...

    def fetchone(self) -> Any: ...

    def fetchall(self) -> list[Any]: ...

    def __iter__(self) -> Iterator[Any]: ...


class StoredTable(msgspec.Struct, frozen=True):
    """A table of the schema as it is in a database; ``key`` are the columns of its primary key, in their order."""

    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]


class Connection(Protocol):
    """A connection for reading and writing, or for reading alone. One thread at a time uses it.

    Errors of a statement are the database library's; ``translated``, ``transaction`` and ``snapshot`` raise them as
    ours.
    """

    def execute(self, sql: str, values: Values = ..., /) -> Cursor: ...

    def executemany(self, sql: str, rows: Iterable[Values], /) -> Cursor: ...

    def query(self, sql: str, values: Values = ()) -> list[dict[str, Any]]:
        """Return the rows of a query as columns by name."""
        ...

    def upsert(self, table: "Table", rows: Iterable[Sequence[object]]) -> None:
        """Write rows, each the values of the table's columns and a revision, by the table's rules."""
        ...

    def log(self, frames: Iterable[Sequence[object]]) -> None:
        """Append frames to the raw log, each as the values of ``LOG_COLUMNS``."""
        ...

    def tables(self) -> list[StoredTable]:
        """Return the tables of the schema, without those that an engine has for itself."""
        ...

    def load(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Append rows as they are, ids included; ids that are given later are larger."""
        ...

    @property
    def in_transaction(self) -> bool: ...

    def transaction(self, *, durable: bool = False) -> AbstractContextManager[None]:
        """Write all of the block or nothing; within another transaction, a part of it that may fail alone.

        Args:
            durable: After the block it is on disk, so that a power cut does not undo it. Of an inner transaction it is
                ignored.

        Raises:
            DatabaseError: nothing of the block was written.
        """
        ...

    def snapshot(self) -> AbstractContextManager[None]:
        """Read one moment of the database in the block."""
        ...

    def translated(self) -> AbstractContextManager[None]:
        """Raise errors of statements in the block as ``DatabaseError``, or, if it only reads, as ``StoreError``."""
        ...

    def version(self) -> int:
        """Return a number that changes with each commit of another connection; it costs some microseconds."""
        ...

    def close(self) -> None: ...


LOG_COLUMNS: Final = ("received_at", "connection_id", "account", "channel", "kind", "size", "body")


class Membership(Protocol):
    """This daemon's hold on a database, from ``Engine.join``."""

    @property
    def descriptor(self) -> int | None:
        """A file descriptor that the writer process inherits, so that the hold lasts until writing has ended."""
        ...

    @property
    def unheld_s(self) -> float:
        """How long ago, in seconds, the exchange counted the last request of the previous holder.

        Negative if it may still count one, infinite if there was no holder.
        """
        ...

    def report(self, problem: str) -> None:
        """Record why the database cannot be written, where it needs no database; "" if it can."""
        ...

    def touch(self, counted_s: float = 0.0) -> None:
        """Record that the holder is alive, and that the exchange may count what it sent for ``counted_s`` more."""
        ...


class Upkeep(Protocol):
    """What the writer process does between its transactions."""

    def committed(self) -> None:
        """Do what is due after a commit; it must be cheap.

        Raises:
            DatabaseError: the error is permanent.
        """
        ...

    def wait_s(self) -> float:
        """Return in how many seconds ``run_due`` is due."""
        ...

    def run_due(self, keep_s: int | None, max_bytes: int | None, now_us: int) -> None:
        """Take one step of pruning the raw log, if one is due.

        Raises:
            DatabaseError: the error is permanent.
        """
        ...


class Vacuum(Protocol):
    """Gives unused space back to the file system in short steps."""

    def step(self, *, keep_some: bool) -> bool:
        """Release some space, but with ``keep_some`` not what the next frames need; return whether there is more."""
        ...

    def finish(self) -> None:
        """Wait until the file has shrunk by what was released, for some seconds at most."""
        ...


WAL_TOO_LARGE: Final = 256 * 2**20
"""A write-ahead log of this size means that a long-running reader blocks checkpoints."""


class Space(msgspec.Struct, frozen=True):
    """Bytes on disk: of the database, of its write-ahead log, and what is free; None: a server does not say."""

    database: int
    write_ahead_log: int
    free: int | None


class Check(msgspec.Struct, frozen=True):
    """What ``okxsync check`` says of the database; ``todo`` is empty if there is nothing to do."""

    level: Literal["ok", "warn", "fail"]
    subject: str
    found: str
    todo: str = ""


class Engine(Protocol):
    """A kind of database, at one location.

    Methods raise ``StoreError`` if the database cannot be used. A new engine is a module that has one, and a line in
    ``store.engines``.
    """

    def writer(self) -> Connection:
        """Open it for writing; create it, or migrate it to this version's schema. The caller closes it."""
        ...

    def reader(self) -> Connection:
        """Open it for reading, with or without a running writer. The caller closes it."""
        ...

    def requester(self) -> Connection:
        """Open it for inserting into ``requests``, and for nothing else: a daemon writes the rest.

        It is neither created nor migrated. The caller closes it.
        """
        ...

    def join(self) -> AbstractContextManager[Membership]:
        """Hold the database for this daemon; the hold ends with the process.

        Raises:
            AlreadyRunning: another daemon holds it.
        """
        ...

    def upkeep(self, db: Connection) -> AbstractContextManager[Upkeep]:
        """Maintain the database of a writer's connection while the block runs."""
        ...

    def vacuum(self, db: Connection) -> Vacuum: ...

    async def watch(self, send: "Outbox") -> None:
        """Journal what endangers the database while a daemon runs; never returns."""
        ...

    def resolved(self) -> Location:
        """Return the location without links that may be changed later."""
        ...

    def exists(self) -> bool:
        """Whether there is anything at this location."""
        ...

    def identity(self) -> object:
        """Return what differs if another database is at this location than before; None if there is none."""
        ...

    def space(self) -> Space: ...

    def written_at(self) -> float:
        """Return when it was last written, in seconds since 1970; 0 if never."""
        ...

    def beat_age_s(self) -> float:
        """Return how long ago the holder was last alive (see ``Membership.touch``), in seconds; infinite: unknown."""
        ...

    def trouble(self) -> str:
        """Return what the holder has reported (see ``Membership.report``)."""
        ...

    def checks(self, log_max_bytes: int | None) -> Sequence[Check]:
        """Check what the database needs on this machine, without changing anything."""
        ...
