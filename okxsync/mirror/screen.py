"""What the terminal shows, as the database holds it: rows as texts, and what proves them.

Nothing is converted: a number of the exchange stays the text that it sent. The caller reads within ``Mirror.snapshot``,
so that rows and proof are of one moment.
"""

from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final, NamedTuple, TypeAlias

from okxsync.config.location import Location
from okxsync.mirror import kinds
from okxsync.mirror.freshness import ACTIVE_ACCOUNTS, IS_WANTED, NO_DAEMON, NOT_STORED
from okxsync.mirror.status import LAST_RUN, clock_ahead_us, daemon_state
from okxsync.store.coverage_table import UNVERIFIED
from okxsync.store.database import Connection
from okxsync.store.engines import engine_of

Texts: TypeAlias = tuple[Any, ...]
"""A row: texts, integers and None."""


class Records(NamedTuple):
    """How the rows of a table are read.

    Attributes:
        is_shown: SQL: whether a row is shown.
        values: SQL of the columns that the table has in another unit or under another name, or has not.
    """

    table: str
    is_shown: str
    values: Mapping[str, str]


_TIMES: Final = {name: f"{name} * 1000" for name in ("c_time", "u_time", "fill_time", "ts")}  # to microseconds
ORDERS: Final = Records(
    "orders",
    kinds.ORDERS.is_open,
    _TIMES
    | {
        "kind": "'order'",
        "id": "ord_id",
        "cl_id": "cl_ord_id",
        "filled": "acc_fill_sz",
        "trigger_px": "NULL",
    },
)
ALGO_ORDERS: Final = Records(
    "algo_orders",
    kinds.ALGO_ORDERS.is_open,
    _TIMES
    | {
        "kind": "'algo'",
        "id": "algo_id",
        "cl_id": "algo_cl_ord_id",
        "filled": "actual_sz",
        "px": "ord_px",
        "avg_px": "actual_px",
    },
)
POSITIONS: Final = Records(
    "positions", kinds.POSITIONS.is_open, _TIMES | {"last_px": "last", "coin": "NULL", "coin_ccy": "NULL"}
)
FILLS: Final = Records("fills", "true", _TIMES | {"number": "0"})
FILL_AT: Final = "coalesce(fill_time, ts, 0)"
"""SQL: the time of a fill in milliseconds, as it is indexed."""
MARKS: Final = Records("mark_prices", "true", _TIMES | {"state": "NULL", "covered_until": "NULL"})
INSTRUMENTS: Final = Records("instruments", "true", _TIMES)
EQUITY: Final = Records("equity", "true", _TIMES | {"equity": "total_eq"})
BALANCES: Final = Records("balances", "true", _TIMES)


class Account(NamedTuple):
    name: str
    site: str
    demo: bool
    acct_lv: str | None
    pos_mode: str | None


class Coverage(NamedTuple):
    """A channel that is configured.

    Attributes:
        connection_id: Of the connection that is or was subscribed; None: none ever was.
        unverified: Why REST could not prove it, since its last proof.
    """

    account: str
    channel: str
    covered_until: int
    live: bool
    connection_id: int | None
    unverified: str | None


class OpenGap(NamedTuple):
    account: str
    channel: str
    from_at: int
    to_at: int | None
    reason: str


class Connected(NamedTuple):
    """A row of the register; times in microseconds UTC, ``answered_at`` is of the last ping that was answered."""

    listener: str
    phase: str
    last_error: str | None
    next_attempt_at: int | None
    id: int = 0
    endpoint: str = ""
    site: str = ""
    demo: int = 0
    since_at: int = 0
    answered_at: int | None = None
    last_message_at: int | None = None
    last_rtt_us: int | None = None
    messages: int = 0
    reconnects: int = 0


class Daemon(NamedTuple):
    """The last run; ``not_stored``: why nothing is stored now, None if a daemon stores what it receives."""

    state: str
    not_stored: str | None
    trouble: str
    version: str | None
    started_at: int | None
    heartbeat_at: int | None
    stopped_at: int | None
    exit: int | None
    store_lag_us: int | None


class Screen:
    """Reads for the terminal over the connection of a ``Mirror``."""

    def __init__(self, db: Connection, location: Location) -> None:
        self._db = db
        self._location = location

    def version(self) -> int:
        """Return a number that changes with each commit; outside of a snapshot, some microseconds."""
        with self._db.translated():
            return self._db.version()

    def revision(self) -> int:
        found: int = self._db.execute("SELECT value FROM counters WHERE name = 'revision'").fetchone()[0]
        return found

    def clock_ahead_us(self) -> int:
        return clock_ahead_us(self._db)

    def rows(self, records: Records, columns: Sequence[str], since: int | None = None) -> list[Texts]:
        """Return the rows that are shown, or all that changed after a revision.

        Each has one more value at its end: whether it is shown.
        """
        where = records.is_shown if since is None else "revision > ?"
        sql = f"{select(records, [*columns, 'is_shown'])} WHERE {where}"
        return self._db.execute(sql, () if since is None else (since,)).fetchall()

    def newest_fills(
        self, columns: Sequence[str], count: int, *, since: int | None = None, oldest: int = 0
    ) -> list[Texts]:
        """Return the newest fills, or those of them that changed after a revision; ``oldest`` in microseconds."""
        if since is None:
            sql = f"{select(FILLS, columns)} WHERE {FILL_AT} >= ? ORDER BY {FILL_AT} DESC LIMIT ?"
            return self._db.execute(sql, (oldest // 1000, count)).fetchall()
        # The index of the revision leads to few rows; a database may prefer that of the time, which leads to thousands.
        sql = f"{select(FILLS, [*columns, FILL_AT])} WHERE revision > ?"
        found = [row for row in self._db.execute(sql, [since]) if row[-1] >= oldest // 1000]
        return [row[:-1] for row in sorted(found, key=itemgetter(-1), reverse=True)[:count]]

    def fills_between(self, columns: Sequence[str], begin: int, end: int) -> Iterator[Texts]:
        """Yield the fills in [begin, end), the newest first; also those of accounts that are not mirrored any more."""
        sql = f"{select(FILLS, columns)} WHERE {FILL_AT} >= ? AND {FILL_AT} < ? ORDER BY {FILL_AT} DESC"
        yield from self._db.execute(sql, (-(-begin // 1000), -(-end // 1000)))

    def replaced_fills(self, since: int) -> list[Texts]:
        """Return account, ``inst_id``, ``ord_id`` and ``trade_id`` of the fills that were replaced after a revision."""
        sql = "SELECT account, inst_id, ord_id, trade_id FROM replaced_fills WHERE revision > ?"
        return self._db.execute(sql, [since]).fetchall()

    def accounts(self) -> list[Account]:
        """Return the accounts that are mirrored now."""
        sql = f"SELECT name, site, demo, acct_lv, pos_mode FROM accounts WHERE name IN ({ACTIVE_ACCOUNTS})"
        return [Account(name, site, bool(demo), *more) for name, site, demo, *more in self._db.execute(sql)]

    def coverage(self) -> list[Coverage]:
        """Return the coverage of all channels that are configured."""
        why = {
            (account, channel): why
            for account, channel, why in self._db.execute(f"SELECT account, channel, why FROM {UNVERIFIED}")
        }
        sql = "SELECT account, channel, covered_until, live, connection_id FROM coverage WHERE wanted = 1"
        return [
            Coverage(account, channel, until, bool(live), number, why.get((account, channel)))
            for account, channel, until, live, number in self._db.execute(sql)
        ]

    def open_gaps(self) -> list[OpenGap]:
        """Return the stored open gaps of channels that are configured; a note says more than the reason."""
        sql = (
            "SELECT account, channel, from_at, to_at, coalesce(note, reason) FROM gaps"
            f" WHERE outcome IS NULL AND {IS_WANTED}"
            " AND account NOT IN (SELECT name FROM accounts WHERE removed_at IS NOT NULL)"
        )
        return [OpenGap(*row) for row in self._db.execute(sql)]

    def connections(self) -> list[Connected]:
        sql = f"SELECT {', '.join(Connected._fields)} FROM connections"
        return [*map(Connected._make, self._db.execute(sql))]

    def journal(self, after: int, count: int) -> list[Texts]:
        """Return id, time, level, account, event and detail of the newest entries after an id, the newest first."""
        sql = "SELECT id, at, level, account, event, detail FROM journal WHERE id > ? ORDER BY id DESC LIMIT ?"
        return self._db.execute(sql, (after, count)).fetchall()

    def stored(self) -> dict[str, int | None]:
        """Return the writer's counters, the time of the oldest logged frame, and the sizes of the database in bytes."""
        counters: dict[str, int | None] = dict(self._db.execute("SELECT name, value FROM counters"))
        oldest = self._db.execute("SELECT received_at FROM messages ORDER BY id LIMIT 1").fetchone()
        space = engine_of(self._location).space()
        return counters | {
            "log_since": oldest[0] if oldest else None,
            "database_bytes": space.database,
            "wal_bytes": space.write_ahead_log,
            "free_bytes": space.free,
        }

    def daemon(self, now_us: int) -> Daemon:
        """Return the state of the last run at ``now_us``."""
        found = daemon_state(self._db, self._location, now_us)
        run = self._db.execute(f"SELECT started_at, heartbeat_at, stopped_at, exit FROM {LAST_RUN}").fetchone()
        lag = self._db.execute("SELECT value FROM counters WHERE name = 'lag_us'").fetchone()
        if run is None:
            return Daemon("never", NO_DAEMON, "", None, None, None, None, None, None)
        state = "running" if found.is_storing else "not_storing" if found.alive else "stopped"
        not_stored = {"running": None, "not_storing": NOT_STORED}.get(state, NO_DAEMON)
        trouble = engine_of(self._location).trouble() if found.alive else ""
        started_at, heartbeat_at, stopped_at, exit_code = run
        lag_us = lag[0] if lag and found.alive else None
        return Daemon(
            *(state, not_stored, trouble, found.version, started_at, heartbeat_at, stopped_at, exit_code, lag_us)
        )


def select(records: Records, columns: Sequence[str]) -> str:
    """Return SQL that reads columns of all rows of a table."""
    values = {**records.values, "is_shown": records.is_shown}
    return f"SELECT {', '.join(values.get(name, name) for name in columns)} FROM {records.table}"
