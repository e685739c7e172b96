"""What others ask the database, each as one function; readers never write."""

from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path

import msgspec

from okxsync.config import MARKET
from okxsync.store.database import open_reader


class Gap(msgspec.Struct, frozen=True):
    """A time of a channel that is not covered; local microseconds."""

    id: int
    account: str
    channel: str
    from_at: int
    to_at: int | None


def connection_ids(path: Path) -> dict[tuple[str, str], int]:
    """Return the register's ids by listener and endpoint, so that a connection keeps its number over restarts."""
    database = open_reader(path)
    try:
        rows = database.execute("SELECT listener, endpoint, id FROM connections").fetchall()
    finally:
        database.close()
    return {(listener, endpoint): number for listener, endpoint, number in rows}


def account_names(path: Path) -> set[str]:
    """Return the accounts that are in the database and not removed."""
    database = open_reader(path)
    try:
        return {name for (name,) in database.execute("SELECT name FROM accounts WHERE removed_at IS NULL")}
    finally:
        database.close()


def unknown_names(path: Path, names: Sequence[str]) -> dict[str, str | None]:
    """Return those of the names that no account here has or had, each with the nearest one that it might mean."""
    if not names:
        return {}
    database = open_reader(path)
    try:
        known = {name for (name,) in database.execute("SELECT name FROM accounts")} | {MARKET}
    finally:
        database.close()
    return {name: next(iter(get_close_matches(name, known, 1)), None) for name in names if name not in known}


def row_counts(path: Path) -> dict[str, int]:
    """Return how many rows the tables hold that people ask for first."""
    database = open_reader(path)
    try:
        return {
            table: database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in ("orders", "algo_orders", "fills", "positions", "balances")
        }
    finally:
        database.close()


def live_gaps(path: Path, before_us: int) -> list[Gap]:
    """Return the open gaps that ended before a time, of channels that are live again."""
    database = open_reader(path)
    try:
        rows = database.execute(
            "SELECT id, gaps.account, gaps.channel, from_at, to_at FROM gaps JOIN coverage USING (account, channel)"
            " WHERE outcome IS NULL AND to_at < ? AND live = 1 ORDER BY from_at",
            [before_us],
        ).fetchall()
    finally:
        database.close()
    return [Gap(*row) for row in rows]


def open_gaps(path: Path, account: str) -> list[Gap]:
    """Return the open gaps of an account; one without an end is still open at the front."""
    database = open_reader(path)
    try:
        rows = database.execute(
            "SELECT id, account, channel, from_at, to_at FROM gaps WHERE outcome IS NULL AND account = ?", [account]
        ).fetchall()
    finally:
        database.close()
    return [Gap(*row) for row in rows]


class Held:
    """What we hold of an account, as far as it decides what must be asked.

    Args:
        before_us: Local microseconds; what we heard of since is not missing from an answer to a question asked then.
    """

    def __init__(self, path: Path, account: str, before_us: int) -> None:
        self._path = path
        self._account = account
        self._before_us = before_us

    def open_orders(self) -> list[tuple[str, str]]:
        """Return (ord_id, inst_id) of the orders that have not ended as far as is known."""
        database = open_reader(self._path)
        try:
            rows: list[tuple[str, str]] = database.execute(
                "SELECT ord_id, inst_id FROM orders WHERE account = ? AND state IN ('live', 'partially_filled')"
                " AND received_at < ?",
                [self._account, self._before_us],
            ).fetchall()
        finally:
            database.close()
        return rows

    def bills_until_ms(self) -> int | None:
        """Return until when all bills were asked for: they are never pushed, so the next question begins there.

        A gap is asked for after its end; when the answers came says less, for that may take minutes.
        """
        database = open_reader(self._path)
        try:
            proved_at = database.execute(
                "SELECT max(to_at) FROM gaps WHERE account = ? AND channel IN ('account', 'balance_and_position')"
                " AND outcome IS NOT NULL",
                [self._account],
            ).fetchone()[0]
        finally:
            database.close()
        return proved_at // 1000 if proved_at is not None else None


def rows_of(path: Path, table: str, account: str, where: str) -> list[dict[str, object]]:
    """Return an account's rows of a table, as columns by name; ``where`` is SQL of ours."""
    database = open_reader(path)
    try:
        return list(database.query(f"SELECT * FROM {table} WHERE account = ? AND {where}", [account]))
    finally:
        database.close()


def last_changes(path: Path, sql: str) -> dict[str, int]:
    """Return what a query of ours says of each account: the time of a change, in milliseconds."""
    database = open_reader(path)
    try:
        return {account: at for account, at in database.execute(sql) if at is not None}
    finally:
        database.close()


class LiveChannel(msgspec.Struct, frozen=True):
    """A channel that is live and without a gap to fill: since when, and when it last pushed; local microseconds."""

    account: str
    channel: str
    since_at: int
    pushed_at: int

    @property
    def key(self) -> tuple[str, str]:
        return self.account, self.channel


def live_channels(path: Path, channels: Collection[str]) -> list[LiveChannel]:
    """Return those of the accounts' ``channels`` that are live, and whose earlier gaps are all closed."""
    marks = ", ".join("?" * len(channels))
    database = open_reader(path)
    try:
        rows = database.execute(
            "SELECT coverage.account, channel, coalesce(max(to_at), covered_since), coalesce(last_push_at, 0)"
            f" FROM coverage LEFT JOIN gaps USING (account, channel) WHERE live = 1 AND channel IN ({marks})"
            " GROUP BY coverage.account, channel HAVING count(gaps.id) = count(outcome)",
            [*channels],
        ).fetchall()
    finally:
        database.close()
    return [LiveChannel(*row) for row in rows]


def missing_order(path: Path, account: str, told: Mapping[str, int]) -> str | None:
    """Return one of the orders that we do not hold as it was at its time, or later; None if we hold them all."""
    database = open_reader(path)
    try:
        for ord_id, u_time in told.items():
            found = database.execute("SELECT u_time FROM orders WHERE account = ? AND ord_id = ?", (account, ord_id))
            if (row := found.fetchone()) is None or (row[0] or 0) < u_time:
                return ord_id
    finally:
        database.close()
    return None
