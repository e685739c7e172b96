"""The one thread that reads the database: it looks for commits, reads what changed, and publishes the diffs.

    every 10 ms     was anything committed? That costs some microseconds
    every 33 ms     if so: the rows that changed, by their revision
    every 500 ms    in any case: how far each channel is proved, and whether a daemon is alive

While no page is visible all of it is read once a second, and at once when one becomes visible.

Each look is one short read transaction, and none is open between two looks, so that the daemon's write-ahead log can
shrink. Whatever cannot be read is published as an error, and read anew from the beginning later.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from okxsync.config.location import Location
from okxsync.mirror import screen
from okxsync.mirror.reader import Mirror
from okxsync.mirror.screen import Records, Screen
from okxsync.runtime.clock import now_us
from okxsync.store.database import StoreError
from okxsync.store.engines import engine_of
from okxsync.terminal import topics
from okxsync.terminal.book import FILLS_SHOWN, Book, Row
from okxsync.terminal.head import daemon_part, head
from okxsync.terminal.health import ENTRIES, connection_rows, journal_rows
from okxsync.terminal.money import BALANCES, EQUITY
from okxsync.terminal.plan_reader import PlanReader
from okxsync.terminal.proof import Evidence, Proofs
from okxsync.terminal.ring import Encoded, encode

POLL_S: Final = 0.01
ROWS_S: Final = 0.033
PROOF_S: Final = 0.5
"""Some 10 ms of a processor with 500 accounts; a channel that is lost is shown that much later."""
HIDDEN_S: Final = 1.0
"""How often all is read while no page is visible."""
_RECORDS: Final[Mapping[str, tuple[tuple[Records, ...], tuple[str, ...]]]] = {
    "equity": ((screen.EQUITY,), EQUITY),
    "balances": ((screen.BALANCES,), BALANCES),
    "instruments": ((screen.INSTRUMENTS,), topics.INSTRUMENTS.columns),
    "marks": ((screen.MARKS,), topics.MARKS.columns),
    "orders": ((screen.ORDERS, screen.ALGO_ORDERS), topics.ORDERS.columns),
    "positions": ((screen.POSITIONS,), topics.POSITIONS.columns),
}
"""What is read for the book: tables and columns."""


class Look(NamedTuple):
    """What the heartbeat says; ``ahead_us``: of the database's clock to that of this process."""

    ahead_us: int
    daemon: Mapping[str, Any]
    head: Mapping[str, Any]
    health: Mapping[str, Any]


class Update(NamedTuple):
    """The result of a look; ``look`` is None if only rows were read, ``error`` why nothing could be read."""

    diffs: tuple[Encoded, ...] = ()
    look: Look | None = None
    error: str | None = None


class Reader:
    """Reads a database and publishes what changes; all of it belongs to one thread.

    Args:
        publish: Takes each update, in order.
        followed: Returns the ids of the plans whose orders are shown.
        is_watched: Returns whether any page is visible.
    """

    def __init__(
        self,
        location: Location,
        publish: Callable[[Update], None],
        now_us: Callable[[], int] = now_us,
        followed: Callable[[], Collection[str]] = frozenset,
        is_watched: Callable[[], bool] = lambda: True,
    ) -> None:
        self._is_watched = is_watched
        self._was_watched = False
        self._location = location
        self._publish = publish
        self._now_us = now_us
        self._book = Book()
        self._plans = PlanReader(followed)
        self._opened: _Opened | None = None
        self._rows_due_s = self._proof_due_s = 0.0
        self._pace = _Pace()

    def run(self, check: Callable[[], None]) -> None:
        """Look for changes until ``check`` raises, which is called before each look."""
        try:
            while True:
                check()
                self.look(time.monotonic())
                time.sleep(POLL_S)
        finally:
            self.close()

    def close(self) -> None:
        if self._opened:
            self._opened.close()
            self._opened = None

    def look(self, now_s: float) -> None:
        """Read and publish what is due at a time of the steady clock."""
        is_watched = self._is_watched()
        is_proof_due = now_s >= self._proof_due_s or (is_watched and not self._was_watched)
        self._was_watched = is_watched
        if self._opened is None and not is_proof_due:  # the last try has failed
            return
        try:
            opened = self._open(is_proof_due)
            if is_proof_due or (is_watched and now_s >= self._rows_due_s and opened.has_changed()):
                self._rows_due_s = now_s + ROWS_S
                if is_proof_due:
                    self._proof_due_s = now_s + (PROOF_S if is_watched else HIDDEN_S)
                with self._pace.turn():
                    self._read(opened, now_s, is_proof_due)
        except StoreError as error:
            self.close()
            self._proof_due_s = now_s + PROOF_S
            self._publish(Update(error=str(error)))

    def _open(self, is_proof_due: bool) -> "_Opened":
        """Return the connection; a new one if another database has taken the place of this one."""
        if self._opened and is_proof_due and self._opened.identity != engine_of(self._location).identity():
            self.close()
        if self._opened is None:
            self._opened = _Opened(self._location, self._now_us)
        return self._opened

    def _read(self, opened: "_Opened", now_s: float, is_proof_due: bool) -> None:
        """Read and publish rows, and their proof if it is due, of one moment."""
        book, reads = self._book, opened.screen
        proofs = look = halt = None
        with opened.moment() as (at, ahead_us):
            revision = reads.revision()
            accounts = {one.name: one for one in reads.accounts()} if is_proof_due else book.accounts
            if opened.revision is None or revision < opened.revision or accounts != book.accounts:
                book.load(accounts, _rows(reads, None))
                opened.are_fills_read = False
            elif revision > opened.revision:
                book.change(_rows(reads, opened.revision))
                if opened.are_fills_read:
                    self._add_fills(reads, opened.revision)
            opened.revision = revision
            self._plans.read(book, opened.plans, now_s, ahead_us)
            if is_proof_due:
                halt = opened.plans.halt()
                evidence = Evidence(
                    *(at, reads.daemon(at), tuple(accounts.values())),
                    *(reads.coverage(), reads.open_gaps(), reads.connections()),
                )
                stored, entries = reads.stored(), reads.journal(book.last_entry, ENTRIES)
        if is_proof_due:
            proofs = Proofs(evidence, book.proofs)
            book.prove(proofs)
            book.show_health(connection_rows(evidence.connections, evidence.coverage), journal_rows(entries))
        diffs = self._diffs(at)
        if proofs:
            health = {**stored, **self._pace.report()}
            look = Look(ahead_us, daemon_part(proofs.daemon), {**head(book, proofs), "halt": halt}, health)
        self._publish(Update(diffs, look))
        if not opened.are_fills_read:  # to find the newest takes long, so the rest is shown before
            with opened.moment() as (at, _):
                book.load_fills(reads.newest_fills(topics.FILLS.columns, FILLS_SHOWN))
                opened.are_fills_read = True
            self._publish(Update(self._diffs(at)))

    def _add_fills(self, reads: Screen, since: int) -> None:
        book = self._book
        found = reads.newest_fills(topics.FILLS.columns, FILLS_SHOWN, since=since, oldest=book.oldest_fill)
        book.add_fills(found, reads.replaced_fills(since))

    def _diffs(self, at: int) -> tuple[Encoded, ...]:
        return tuple(encode(diff, at) for diff in self._book.take())


class _Pace:
    """How often and how long the database is read, since the last report."""

    def __init__(self) -> None:
        self._turns = 0
        self._busy_s = 0.0
        self._since_s = time.monotonic()

    @contextmanager
    def turn(self) -> Iterator[None]:
        began_s = time.monotonic()
        yield
        self._turns += 1
        self._busy_s += time.monotonic() - began_s

    def report(self) -> dict[str, int]:
        now_s = time.monotonic()
        turns, busy_s, lasted_s = self._turns, self._busy_s, now_s - self._since_s
        self._turns, self._busy_s, self._since_s = 0, 0.0, now_s
        return {
            "turns_s": round(turns / lasted_s) if lasted_s else 0,
            "turn_us": round(busy_s / turns * 1e6) if turns else 0,
        }


class _Opened:
    """A connection to the database, and how far it has been read.

    Attributes:
        identity: Of the database; another one at the same location has another.
        revision: Up to which all rows were read; None: none yet.
        are_fills_read: Whether fills were read up to that revision too.
    """

    def __init__(self, location: Location, now_us: Callable[[], int]) -> None:
        self.identity: Final = engine_of(location).identity()
        self._mirror: Final = Mirror(location)
        self.screen: Final = self._mirror.screen()
        self.plans: Final = self._mirror.plans()
        self.close: Final = self._mirror.close
        self.revision: int | None = None
        self.are_fills_read = False
        self._now_us = now_us
        self._version: int | None = None

    def has_changed(self) -> bool:
        """Whether there was a commit since the last moment."""
        return self.screen.version() != self._version

    @contextmanager
    def moment(self) -> Iterator[tuple[int, int]]:
        """Read one moment; yields its time by the database's clock, and how far that is ahead of ours."""
        self._version = self.screen.version()
        with self._mirror.snapshot():
            ahead_us = self.screen.clock_ahead_us()
            yield self._now_us() + ahead_us, ahead_us


def _rows(reads: Screen, since: int | None) -> Mapping[str, Sequence[Row]]:
    """Return what the book is made of: all rows, or those that changed after a revision."""
    return {
        name: [row for table in tables for row in reads.rows(table, columns, since)]
        for name, (tables, columns) in _RECORDS.items()
    }
