"""The engine of a database on a PostgreSQL server."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from typing import TYPE_CHECKING, Final, TypeVar

import psycopg

from okxsync.config.location import Url
from okxsync.store.database import Check, Connection, Space, StoreError, Upkeep
from okxsync.store.postgres import checks, connection, hold, schema
from okxsync.store.postgres.connection import PostgresReader, PostgresRequester, PostgresWriter, one_line
from okxsync.store.prune import PruneSchedule

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from okxsync.runtime.outbox import Outbox

T = TypeVar("T")


class PostgresEngine:
    """See ``store.database.Engine``."""

    def __init__(self, url: Url) -> None:
        self._url = url

    def writer(self) -> PostgresWriter:
        return connection.open_writer(self._url)

    def reader(self) -> PostgresReader:
        return connection.open_reader(self._url)

    def requester(self) -> PostgresRequester:
        return connection.open_requester(self._url)

    def join(self) -> AbstractContextManager[hold.Hold]:
        return hold.hold(self._url)

    @contextmanager
    def upkeep(self, db: Connection) -> Iterator[Upkeep]:
        yield _Upkeep(PruneSchedule(db, self.vacuum(db)))

    def vacuum(self, db: Connection) -> "_Vacuum":
        return _Vacuum(db)

    async def watch(self, send: "Outbox") -> None:
        import trio  # here: the writer process imports this module, and does without

        await trio.sleep_forever()  # the server watches itself

    def resolved(self) -> Url:
        return self._url

    def exists(self) -> bool:
        return self._ask(schema.pending) is not None

    def identity(self) -> Url:
        return self._url  # another database at the same place ends our sessions

    def space(self) -> Space:
        ((size,),) = self._ask(lambda db: db.execute("SELECT pg_database_size(current_database())").fetchall())
        return Space(size, 0, None)

    def written_at(self) -> float:
        sql = "SELECT extract(epoch FROM max(at))::float8 FROM okxsync_writers"
        found = self._ask(lambda db: db.execute(sql).fetchone() if schema.pending(db) is not None else None)
        return float(found[0] or 0) if found else 0.0

    def beat_age_s(self) -> float:
        return self._ask(hold.last_beat)[0]

    def trouble(self) -> str:
        return self._ask(hold.last_beat)[1]

    def checks(self, log_max_bytes: int | None) -> Sequence[Check]:
        return checks.check(self._url)

    def _ask(self, question: "Callable[[psycopg.Connection[Any]], T]") -> T:
        with closing(connection.connect(self._url)) as db:
            try:
                return question(db)
            except psycopg.Error as error:
                raise StoreError(f"{self._url}: cannot be read ({one_line(error)})") from None


class _Vacuum:
    """The server reuses the space of deleted rows by itself; ``prune`` lets it begin at once."""

    def __init__(self, db: Connection) -> None:
        self._db = db

    def step(self, *, keep_some: bool) -> bool:
        return False

    def finish(self) -> None:
        self._db.execute("VACUUM messages")


class _Upkeep:
    """Pruning; see ``store.database.Upkeep``."""

    def __init__(self, pruning: PruneSchedule) -> None:
        self.wait_s: Final = pruning.wait_s
        self.run_due: Final = pruning.run_due

    def committed(self) -> None:
        pass  # the server makes its checkpoints by itself
