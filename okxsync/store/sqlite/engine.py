"""The engine of a database that is a SQLite file."""

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from okxsync.store.database import Check, Connection, Space, Upkeep
from okxsync.store.prune import PruneSchedule
from okxsync.store.sqlite import checkpoint, checks, connection, files, lock
from okxsync.store.sqlite.checkpoint import Checkpoints
from okxsync.store.sqlite.connection import SqliteConnection, SqliteReader
from okxsync.store.sqlite.vacuum import PageVacuum

if TYPE_CHECKING:
    from okxsync.runtime.outbox import Outbox


LOOK_S: Final = 0.05
"""To look whether a checkpoint is due costs some 25 us, so small transactions do not each do it."""


class SqliteEngine:
    """See ``store.database.Engine``."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def writer(self) -> SqliteConnection:
        return connection.open_writer(self._path)

    def reader(self) -> SqliteReader:
        return connection.open_reader(self._path)

    def requester(self) -> SqliteConnection:
        return connection.open_requester(self._path)

    def join(self) -> AbstractContextManager[lock.Lock]:
        return lock.hold(self._path)

    @contextmanager
    def upkeep(self, db: Connection) -> Iterator[Upkeep]:
        with checkpoint.checkpointing(db, self._path) as checkpoints:
            yield _Upkeep(checkpoints, PruneSchedule(db, self.vacuum(db)))

    def vacuum(self, db: Connection) -> PageVacuum:
        return PageVacuum(db)

    async def watch(self, send: "Outbox") -> None:
        await checkpoint.watch_wal(self._path, send)

    def resolved(self) -> Path:
        return files.real(self._path)

    def exists(self) -> bool:
        return self._path.exists() and self._path.stat().st_size > 0

    def identity(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def space(self) -> Space:
        return files.space(self._path)

    def written_at(self) -> float:
        return files.written_at(self._path)

    def beat_age_s(self) -> float:
        return lock.beat_age_s(self._path)

    def trouble(self) -> str:
        return lock.trouble(self._path)

    def checks(self, log_max_bytes: int | None) -> Sequence[Check]:
        return [checks.sqlite_version(connection.VERSION), checks.disk(self._path, log_max_bytes)]


class _Upkeep:
    """Checkpoints and pruning; see ``store.database.Upkeep``."""

    def __init__(self, checkpoints: Checkpoints, pruning: PruneSchedule) -> None:
        self._checkpoints = checkpoints
        self._looked_s = -LOOK_S
        self.wait_s = pruning.wait_s
        self.run_due = pruning.run_due

    def committed(self) -> None:
        now_s = time.monotonic()
        if now_s - self._looked_s >= LOOK_S:
            self._looked_s = now_s
            self._checkpoints.start_if_due()
