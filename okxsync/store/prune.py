"""Prune the raw log by age and by total size, and free the space. Also delete old journal rows, runs and closed gaps,
and thin the history.

Pruning works in small steps, each a transaction that aims at ``STEP_S``. First the oldest rows are deleted, then the
engine gives unused space back to the file system. Other writers get their turn between two steps.
Mirrored data is never deleted. The dictionaries in ``codecs`` are kept, because the remaining bodies need them. The
newest frame is kept, so that ids of frames never restart: ``log --follow`` relies on it.
"""

import time
from collections.abc import Callable, Iterable
from contextlib import closing
from typing import Final

import msgspec

from okxsync.store.database import Connection, Engine, TransientError, Vacuum
from okxsync.store.history import thin_history

STEP_S: Final = 0.005
"""The target duration of a step, well under the 50 ms that another writer may wait."""
SHARE: Final = 0.1
"""The largest share of the writer's time that pruning inside the daemon takes."""
POLL_S: Final = 5.0
"""How often the daemon checks whether pruning is due."""
ROW_BYTES: Final = 48
"""Bytes of a frame in the file besides its body: its other columns."""
KEPT: Final = 100_000
"""How many rows of the journal, runs and gaps are kept."""
DELETE_OLD_S: Final = 60.0
"""How often the daemon checks whether there are more."""
DELETED_AT_ONCE: Final = 500


class PruneLimits(msgspec.Struct, frozen=True):
    """Prune frames received before ``before_us``, and the oldest beyond ``max_bytes`` in the file; None: no limit."""

    before_us: int | None = None
    max_bytes: int | None = None


class Freed(msgspec.Struct):
    """What was pruned so far, or would be: ``bytes`` as stored, ``bytes_received`` as received."""

    messages: int = 0
    bytes: int = 0
    bytes_received: int = 0
    last_at: int | None = None

    def add(self, other: "Freed") -> None:
        self.messages += other.messages
        self.bytes += other.bytes
        self.bytes_received += other.bytes_received
        self.last_at = other.last_at or self.last_at


LogRow = tuple[int, int, int, int]
"""id, received_at, bytes of the body as stored, size as received."""


def due(rows: Iterable[LogRow], limits: PruneLimits, held_bytes: int) -> list[LogRow]:
    """Return those of ``rows`` that must be deleted: all before the first that may be kept.

    Args:
        rows: The oldest rows of the log, oldest first.
        limits: What may be kept.
        held_bytes: The size of the complete log in the file, including ``rows``.
    """
    rows_due = []
    for row in rows:
        too_old = limits.before_us is not None and row[1] < limits.before_us
        too_much = limits.max_bytes is not None and held_bytes > limits.max_bytes
        if not too_old and not too_much:
            break
        rows_due.append(row)
        held_bytes -= row[2] + ROW_BYTES
    return rows_due


class Pruner:
    """Prunes through a connection opened for writing. The duration of a step decides the size of the next one."""

    def __init__(self, db: Connection, vacuum: Vacuum, clock: Callable[[], float] = time.perf_counter) -> None:
        self._db = db
        self._vacuum = vacuum
        self._clock = clock
        self._rows = 200
        self.freed = Freed()

    def step(self, limits: PruneLimits, *, keep_some: bool = False) -> bool:
        """Delete some frames or, if none is due, release some space; return whether there is more to do.

        Args:
            keep_some: Do not release the space that the next frames need.

        Raises:
            DatabaseError: this step changed nothing.
        """
        with self._db.translated():
            return self._delete(limits) or self._vacuum.step(keep_some=keep_some)

    def _delete(self, limits: PruneLimits) -> bool:
        if not due(_oldest(self._db, 0, 1), limits, _held(self._db)):  # reads only, without a lock
            return False
        began = self._clock()
        with self._db.transaction():
            rows_due = due(_oldest(self._db, 0, self._rows), limits, _held(self._db))
            deleted = _sum(rows_due)
            if rows_due:
                self._db.execute("DELETE FROM messages WHERE id <= ?", [rows_due[-1][0]])
                self._db.executemany(
                    "UPDATE counters SET value = max(0, value - ?) WHERE name = ?",
                    [
                        (deleted.messages, "messages"),
                        (deleted.bytes, "bytes"),
                        (deleted.bytes_received, "bytes_received"),
                    ],
                )
        self.freed.add(deleted)
        self._rows = next_size(self._rows, self._clock() - began, 50, 1600)
        return bool(rows_due)


class PruneSchedule:
    """When the daemon's writer process prunes: in steps between batches.

    It pauses after each step, so that steps take at most ``SHARE`` of the time. If nothing is due, the pause is
    ``POLL_S``.
    """

    def __init__(self, db: Connection, vacuum: Vacuum, clock: Callable[[], float] = time.monotonic) -> None:
        self._db = db
        self._pruner = Pruner(db, vacuum)
        self._clock = clock
        self._next_at = clock()
        self._delete_old_at = self._next_at
        self._limits: tuple[int | None, int | None] = (None, None)

    def wait_s(self) -> float:
        """Return in how many seconds the next step is due."""
        return max(0.0, self._next_at - self._clock())

    def run_due(self, keep_s: int | None, max_bytes: int | None, now_us: int) -> None:
        """Take a step if it is due, or if the limits have changed. After a transient error the next one is due later.

        Raises:
            DatabaseError: the error is permanent.
        """
        began = self._clock()
        if began < self._next_at and self._limits == (keep_s, max_bytes):
            return
        self._limits = keep_s, max_bytes
        self._next_at = began + POLL_S
        limits = PruneLimits(now_us - keep_s * 1_000_000 if keep_s is not None else None, max_bytes)
        try:
            with self._db.translated():
                more = self._delete_old(began, now_us)
                if keep_s is not None or max_bytes is not None:
                    more = self._pruner.step(limits, keep_some=True) or more
        except TransientError:
            return
        if more:
            ended = self._clock()
            self._next_at = ended + (ended - began) * (1 / SHARE - 1)

    def _delete_old(self, now: float, now_us: int) -> bool:
        if now < self._delete_old_at:
            return False
        more = any([delete_old_rows(self._db), thin_history(self._db, now_us)])
        if not more:
            self._delete_old_at = now + DELETE_OLD_S
        return more


def delete_old_rows(db: Connection, kept: int = KEPT, at_once: int = DELETED_AT_ONCE) -> bool:
    """Delete some of the journal's rows, runs and gaps beyond the newest ``kept``; return whether there may be more.

    Open gaps and the latest gap of each channel are kept. If a ``partial`` gap is deleted, ``covered_since`` moves to
    its end, so that coverage is never overstated.

    Raises:
        DatabaseError: of the disk or a lock; nothing was deleted.
    """
    return any(
        [
            _delete_oldest(db, "journal", kept, at_once),
            _delete_oldest(db, "runs", kept, at_once),
            _delete_old_gaps(db, kept, at_once),
        ]
    )


def _delete_oldest(db: Connection, table: str, kept: int, at_once: int) -> bool:
    first, last = db.execute(f"SELECT (SELECT min(id) FROM {table}), (SELECT max(id) FROM {table})").fetchone()
    if first is None or last - first < kept:
        return False
    until = min(last - kept, first + at_once - 1)
    with db.transaction():
        db.execute(f"DELETE FROM {table} WHERE id <= ?", [until])
    return bool(until < last - kept)


def _delete_old_gaps(db: Connection, kept: int, at_once: int) -> bool:
    rows_due = db.execute(
        "SELECT id, account, channel, to_at, outcome FROM gaps AS old WHERE id <= (SELECT max(id) FROM gaps) - ?"
        " AND outcome IS NOT NULL AND EXISTS (SELECT 1 FROM gaps AS later WHERE later.account = old.account"
        " AND later.channel = old.channel AND later.outcome IS NOT NULL"
        " AND later.to_at >= coalesce(old.to_at, 0) AND later.id > old.id) ORDER BY id LIMIT ?",
        (kept, at_once),
    ).fetchall()
    if rows_due:
        with db.transaction():
            db.executemany(
                "UPDATE coverage SET covered_since = max(covered_since, min(covered_until, ?))"
                " WHERE account = ? AND channel = ?",
                [(to_at, *key) for _, *key, to_at, outcome in rows_due if outcome == "partial" and to_at is not None],
            )
            db.executemany("DELETE FROM gaps WHERE id = ?", [(number,) for number, *_ in rows_due])
    return len(rows_due) == at_once


def prune_now(engine: Engine, limits: PruneLimits) -> Freed:
    """Prune everything that is due, with or without a running daemon, and free the space; return what was pruned.

    Raises:
        StoreError: the database cannot be opened.
        DatabaseError: what earlier steps have deleted stays deleted.
    """
    with closing(engine.writer()) as db:
        vacuum = engine.vacuum(db)
        pruner = Pruner(db, vacuum)
        more = True
        while more:
            began = time.perf_counter()
            more = pruner.step(limits)
            time.sleep(2 * (time.perf_counter() - began))  # lets the daemon's writer continue
        with db.translated():
            vacuum.finish()
    return pruner.freed


def would_free(db: Connection, limits: PruneLimits) -> Freed:
    """Return what pruning would free. Read-only."""
    freed, held, after = Freed(), _held(db), 0
    while rows := _oldest(db, after, 5000):
        rows_due = due(rows, limits, held)
        deleted = _sum(rows_due)
        freed.add(deleted)
        held -= deleted.bytes + deleted.messages * ROW_BYTES
        if len(rows_due) < len(rows):
            break
        after = rows_due[-1][0]
    return freed


def _oldest(db: Connection, after_id: int, count: int) -> list[LogRow]:
    """Return the oldest rows, but never the newest one."""
    found: list[LogRow] = db.execute(
        "SELECT id, received_at, length(body), size FROM messages"
        " WHERE id > ? AND id < (SELECT max(id) FROM messages) ORDER BY id LIMIT ?",
        (after_id, count),
    ).fetchall()
    return found


def _held(db: Connection) -> int:
    counters = dict(db.execute("SELECT name, value FROM counters WHERE name IN ('messages', 'bytes')").fetchall())
    return int(counters.get("bytes", 0)) + int(counters.get("messages", 0)) * ROW_BYTES


def _sum(rows: list[LogRow]) -> Freed:
    stored, received = sum(row[2] for row in rows), sum(row[3] for row in rows)
    return Freed(len(rows), stored, received, rows[-1][1] if rows else None)


def next_size(size: int, took_s: float, least: int, most: int) -> int:
    """Halve or double the size of a step, so that it takes about ``STEP_S`` on any disk."""
    if took_s > STEP_S * 1.5:
        return max(least, size // 2)
    return min(most, size * 2) if took_s < STEP_S / 2 else size
