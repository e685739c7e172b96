"""The public reader: typed answers from one kept, read-only connection.

Every answer is one moment of the database: its rows and its freshness are read in one transaction.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from types import TracebackType
from typing import Any, Self

from okxsync.config.location import Location, location_of
from okxsync.messages import MARKET
from okxsync.mirror import kinds, rows
from okxsync.mirror.accounts import Details, read_details
from okxsync.mirror.changes import Changes, FillKey, Watch
from okxsync.mirror.closeup import CloseUp
from okxsync.mirror.frames import FrameFilter, FrameReader
from okxsync.mirror.freshness import (
    ACTIVE_ACCOUNTS,
    NO_DAEMON,
    NOT_STORED,
    Answer,
    Freshness,
    Gap,
    open_gaps,
    read_freshness,
    stored_gaps,
)
from okxsync.mirror.kinds import Kind, moment, moment_or_none
from okxsync.mirror.known import Known, read_known
from okxsync.mirror.past import Past
from okxsync.mirror.plans import Plans
from okxsync.mirror.rows import Row
from okxsync.mirror.screen import Screen
from okxsync.mirror.status import Status, clock_ahead_us, daemon_state, read_status
from okxsync.runtime.clock import now_us
from okxsync.store.database import StoreError
from okxsync.store.engines import open_reader


@dataclass(frozen=True, slots=True, repr=False)
class Account(Row):
    """An account that is, or was, mirrored.

    Attributes:
        site: ``global``, ``eea``, ``us``, or a site of the user's own.
        acct_lv: The account mode, and other facts of ``account/config``; None until it was requested.
        removed_at: When it was taken out of the configuration.
        freshness: Of all its channels.
    """

    name: str
    uid: str | None
    main_uid: str | None
    site: str
    demo: bool
    acct_lv: str | None
    pos_mode: str | None
    perm: str | None
    first_seen_at: datetime
    removed_at: datetime | None
    freshness: Freshness


def open_mirror(location: str | os.PathLike[str]) -> "Mirror":
    """Open a database of okxsync for reading, beside a running daemon or without one.

    Args:
        location: The path of the database, or its URL: ``postgresql://user@host/name``. The password is in the URL, in
            ``PGPASSWORD`` or in ``~/.pgpass``.

    Raises:
        StoreError: it does not exist, is not an okxsync database, or the URL is invalid.
    """
    try:
        return Mirror(location_of(location))
    except ValueError as error:
        raise StoreError(f"the location of the database: {error}") from None


class Mirror:
    """Reads the mirror; a context manager. Made by ``open_mirror``.

    One Mirror belongs to one thread at a time. Every method raises ``StoreError`` if the database cannot be read, and
    ``LookupError`` for the name of an account that is not in the database.

    The methods that return rows take these arguments:

    - ``account``: the name of one account, also of one that is no longer mirrored. Default: all that are mirrored now.
    - ``since``: an aware datetime; rows of that time or later, and rows without a time.
    - ``open``: True for what has not ended, False for what has, None for both.
    """

    def __init__(self, location: Location, now_us: Callable[[], int] = now_us) -> None:
        self._location = location
        self._now_us = now_us
        self._db = open_reader(location)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    def accounts(self) -> tuple[Account, ...]:
        """Return all accounts, also those that are no longer mirrored, each with its freshness."""
        with self._moment() as now:
            not_stored = self._not_stored(now)
            found = self._db.execute(
                "SELECT name, uid, main_uid, site, demo, acct_lv, pos_mode, perm, first_seen_at, removed_at"
                " FROM accounts ORDER BY name"
            ).fetchall()
            return tuple(
                Account(
                    *(name, uid, main_uid, site, bool(demo), acct_lv, pos_mode, perm),
                    first_seen_at=moment(seen),
                    removed_at=moment_or_none(removed),
                    freshness=read_freshness(self._db, now, not_stored=not_stored, accounts=[name]),
                )
                for name, uid, main_uid, site, demo, acct_lv, pos_mode, perm, seen, removed in found
            )

    def orders(
        self, *, account: str | None = None, open: bool | None = None, since: datetime | None = None
    ) -> Answer[rows.Order]:
        """Return orders by time of their last update."""
        return self._answer(kinds.ORDERS, account, open, since)

    def algo_orders(
        self, *, account: str | None = None, open: bool | None = None, since: datetime | None = None
    ) -> Answer[rows.AlgoOrder]:
        """Return algo orders (TP/SL, trigger, trailing, TWAP ...) by time of their last update."""
        return self._answer(kinds.ALGO_ORDERS, account, open, since)

    def fills(self, *, account: str | None = None, since: datetime | None = None) -> Answer[rows.Fill]:
        """Return executions by their time."""
        return self._answer(kinds.FILLS, account, None, since)

    def positions(
        self, *, account: str | None = None, open: bool | None = True, since: datetime | None = None
    ) -> Answer[rows.Position]:
        """Return positions, by default only open ones, by time of their last change."""
        return self._answer(kinds.POSITIONS, account, open, since)

    def balances(self, *, account: str | None = None) -> Answer[rows.Balance]:
        """Return the balance of each currency."""
        return self._answer(kinds.BALANCES, account, None, None)

    def equity(self, *, account: str | None = None) -> Answer[rows.Equity]:
        """Return the totals of each account in USD."""
        return self._answer(kinds.EQUITY, account, None, None)

    def bills(self, *, account: str | None = None, since: datetime | None = None) -> Answer[rows.Bill]:
        """Return the ledger by time.

        OKX does not push bills: they are fetched within 30 s of a change, and verified complete only when a gap of the
        account is closed. ``covered_until`` is the end of the last closed gap.
        """
        return self._answer(kinds.BILLS, account, None, since)

    def closed_positions(
        self, *, account: str | None = None, since: datetime | None = None
    ) -> Answer[rows.ClosedPosition]:
        """Return positions that were closed, at least in part, by time of their last change.

        OKX does not push these records: ``covered_until`` is the end of the last closed gap, as for bills.
        """
        return self._answer(kinds.CLOSED_POSITIONS, account, None, since)

    def deposits(self, *, account: str | None = None, since: datetime | None = None) -> Answer[rows.Deposit]:
        """Return deposits by time; they are covered where the channel ``deposit-info`` is configured."""
        return self._answer(kinds.DEPOSITS, account, None, since)

    def withdrawals(self, *, account: str | None = None, since: datetime | None = None) -> Answer[rows.Withdrawal]:
        """Return withdrawals by time; they are covered where the channel ``withdrawal-info`` is configured."""
        return self._answer(kinds.WITHDRAWALS, account, None, since)

    def mark_prices(self, *, inst_id: str | None = None) -> Answer[rows.MarkPrice]:
        """Return the latest mark price of each instrument that ``[market]`` names, or of one."""
        return self._market_answer(kinds.MARK_PRICES, {"inst_id": inst_id})

    def instruments(self, *, inst_type: str | None = None, inst_id: str | None = None) -> Answer[rows.Instrument]:
        """Return instruments, where ``[market]`` has the channel ``instruments``."""
        return self._market_answer(kinds.INSTRUMENTS, {"inst_type": inst_type, "inst_id": inst_id})

    def gaps(self, *, account: str | None = None, open: bool | None = True) -> tuple[Gap, ...]:
        """Return the gaps of coverage, by default only open ones, the earliest first."""
        with self._moment() as now:
            where, values = ("account = ?", [self._known(account)]) if account is not None else ("true", [])
            found = stored_gaps(self._db, f"outcome IS NOT NULL AND {where}", values) if not open else []
            if open is not False:
                found += open_gaps(self._db, where, values, not_stored=self._not_stored(now))
            return tuple(sorted(found, key=lambda gap: gap.from_at))

    def status(self) -> Status:
        """Return what ``okxsync status --json`` prints."""
        with self._moment() as now:
            return read_status(self._db, self._location, now)

    def details(self) -> Details:
        """Return what ``okxsync status`` prints about accounts and the disk; not public."""
        with self._moment() as now:
            return read_details(self._db, self._location, now, storing=self._not_stored(now) is None)

    def frames(self, wanted: FrameFilter, *, only_new: bool = False) -> FrameReader:
        """Return a reader of the raw log, as ``okxsync log`` prints it; not public."""
        return FrameReader(self._db, wanted, only_new=only_new)

    def screen(self) -> Screen:
        """Return what reads the rows and the proof that ``okxsync terminal`` shows; not public."""
        return Screen(self._db, self._location)

    def past(self) -> Past:
        """Return what reads the history that pictures of ``okxsync terminal`` show; not public."""
        return Past(self._db)

    def close_up(self) -> CloseUp:
        """Return what reads one account or one order for ``okxsync terminal``; not public."""
        return CloseUp(self._db)

    def plans(self) -> Plans:
        """Return what reads the plans that ``okxsync terminal`` shows; not public."""
        return Plans(self._db)

    @contextmanager
    def snapshot(self) -> Iterator[datetime]:
        """Hold one moment of the database: all that is read in the block is of that moment, which is yielded.

        Leave the block soon: the daemon's write-ahead log grows while a moment is held.
        """
        with self._moment() as now:
            yield moment(now)

    def each(self, kind: Kind, account: str) -> Iterator[Any]:
        """Yield the rows of one account in the order of time, for tables that are too large to hold; not public.

        Use it within ``snapshot``.
        """
        return self._rows(kind, f"account = ? ORDER BY {kind.time}", [account])

    def known(self, account: str) -> Known:
        """Return the times of which everything of an account is stored; not public."""
        with self._moment():
            return read_known(self._db, account)

    def revision(self) -> int:
        """Return the revision of the last transaction that stored rows of the exchange."""
        with self._db.translated():
            return self._revision()

    def changes(self, since: int, *, account: str | None = None) -> Changes:
        """Return which rows of all accounts, or of one, changed after a revision; ``since=0`` returns everything.

        Raises:
            ValueError: this database has not reached that revision: it belongs to another database.
        """
        with self._moment() as now:
            revision = self._revision()
            if since > revision:
                raise ValueError(
                    f"{self._location}: revision {since} is of another database; this one is at {revision}"
                )
            where, values = ("revision > ?", [since]) if account is None else (
                "revision > ? AND account = ?", [since, self._known(account)]
            )  # fmt: skip
            found: dict[str, Any] = {}
            if since < revision:
                for kind in kinds.KINDS:
                    found[kind.name] = tuple(self._rows(kind, f"{where} ORDER BY revision", values))
                replaced = self._db.execute(
                    f"SELECT account, inst_id, ord_id, trade_id FROM replaced_fills WHERE {where} ORDER BY revision",
                    values,
                )
                found["replaced_fills"] = tuple(FillKey(*row) for row in replaced.fetchall())
            named = {row.account for of_kind in found.values() for row in of_kind}
            fresh = read_freshness(self._db, now, not_stored=self._not_stored(now), accounts=named)
            return Changes(since=since, revision=revision, freshness=fresh, **found)

    def watch(self, since: int | None = None, *, account: str | None = None) -> Watch:
        """Return an iterator over the changes after ``since`` (default: from now on) that waits for the next ones.

        ``for changes in mirror.watch()`` waits in this thread; ``async for`` waits in trio or asyncio.
        """
        since = self.revision() if since is None else since
        return Watch(lambda after: self.changes(after, account=account), self._data_version, since)

    def _revision(self) -> int:
        found: int = self._db.execute("SELECT value FROM counters WHERE name = 'revision'").fetchone()[0]
        return found

    def _data_version(self) -> int:
        with self._db.translated():
            return self._db.version()

    def _answer(self, kind: Kind, account: str | None, is_open: bool | None, since: datetime | None) -> Answer[Any]:
        with self._moment() as now:
            if account is None:
                accounts = [name for (name,) in self._db.execute(ACTIVE_ACCOUNTS).fetchall()]
                where, values = f"account IN ({ACTIVE_ACCOUNTS})", list[object]()
            else:
                accounts = [self._known(account)]
                where, values = "account = ?", [account]
            if is_open is not None:
                where += f" AND {kind.is_open if is_open else f'NOT ({kind.is_open})'}"
            if since is not None:
                where += f" AND coalesce({kind.time} >= ?, true)"
                values.append(_milliseconds(since))
            found = self._rows(kind, f"{where} ORDER BY {kind.time}", values)
            fresh = read_freshness(
                self._db,
                now,
                not_stored=self._not_stored(now),
                accounts=accounts,
                channels=kind.channels,
                pushed=kind.pushed,
            )
            return Answer(found, fresh)

    def _market_answer(self, kind: Kind, wanted: dict[str, str | None]) -> Answer[Any]:
        given = {column: value for column, value in wanted.items() if value is not None}
        where = " AND ".join([f"{column} = ?" for column in given] or ["true"])
        with self._moment() as now:
            found = self._rows(kind, f"{where} ORDER BY inst_type, inst_id", [*given.values()])
            fresh = read_freshness(
                self._db, now, not_stored=self._not_stored(now), accounts=[MARKET], channels=kind.channels
            )
            return Answer(found, fresh)

    def _rows(self, kind: Kind, where: str, values: Sequence[object]) -> Iterator[Any]:
        names = ", ".join(f'"{name}"' for name in kind.columns)
        return map(kind.build, self._db.execute(f"SELECT {names} FROM {kind.table} WHERE {where}", values))

    def _known(self, account: str) -> str:
        names = [name for (name,) in self._db.execute("SELECT name FROM accounts").fetchall()]
        if account not in names:
            near = get_close_matches(account, names, 1)
            raise LookupError(
                f'{self._location}: no account "{account}"' + (f'; did you mean "{near[0]}"?' if near else "")
            )
        return account

    def _not_stored(self, now: int) -> str | None:
        """Return why no daemon stores what it receives; None if one does."""
        daemon = daemon_state(self._db, self._location, now)
        return None if daemon.is_storing else NOT_STORED if daemon.alive else NO_DAEMON

    @contextmanager
    def _moment(self) -> Iterator[int]:
        """Read one moment of the database; yields the time in microseconds UTC, by the clock of its times.

        Raises:
            StoreError: the database cannot be read.
        """
        with self._db.translated() if self._db.in_transaction else self._db.snapshot():
            yield self._now_us() + clock_ahead_us(self._db)


def _milliseconds(since: datetime) -> int:
    if since.tzinfo is None:
        raise ValueError("since: give a datetime with a time zone, such as datetime(2026, 11, 20, tzinfo=UTC)")
    return int(since.astimezone(UTC).timestamp() * 1000)
