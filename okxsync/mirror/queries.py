"""Queries of the daemon and the commands, a function each; none of them writes."""

from collections.abc import Sequence
from difflib import get_close_matches

import msgspec

from okxsync.config.location import Location
from okxsync.messages import MARKET
from okxsync.store.engines import reading


def connection_ids(location: Location) -> dict[tuple[str, str], int]:
    """Return the register's ids by listener and endpoint, so that a connection keeps its number over restarts."""
    with reading(location) as database:
        rows = database.execute("SELECT listener, endpoint, id FROM connections").fetchall()
    return {(listener, endpoint): number for listener, endpoint, number in rows}


def next_run_id(location: Location) -> int:
    """Return the id of a run that starts now; the caller holds the lock, so no other run takes it."""
    with reading(location) as database:
        return int(database.execute("SELECT coalesce(max(id), 0) + 1 FROM runs").fetchone()[0])


def account_names(location: Location) -> set[str]:
    """Return the accounts in the database that are not removed."""
    with reading(location) as database:
        return {name for (name,) in database.execute("SELECT name FROM accounts WHERE removed_at IS NULL")}


class Identity(msgspec.Struct, frozen=True):
    """An OKX account; its demo trading account is a different one, whatever its uid."""

    uid: str
    demo: bool

    def __str__(self) -> str:
        return f"uid {self.uid}{', demo' if self.demo else ''}"


def identities(location: Location) -> dict[str, Identity]:
    """Return the OKX account of each name whose rows are stored, including removed accounts."""
    with reading(location) as database:
        rows = database.execute("SELECT name, uid, demo FROM accounts WHERE uid IS NOT NULL").fetchall()
    return {name: Identity(uid, bool(demo)) for name, uid, demo in rows}


def unknown_names(location: Location, names: Sequence[str]) -> dict[str, str | None]:
    """Return the names that no account in the database has or had, each with the most similar known name."""
    if not names:
        return {}
    with reading(location) as database:
        known = {name for (name,) in database.execute("SELECT name FROM accounts")} | {MARKET}
    return {name: next(iter(get_close_matches(name, known, 1)), None) for name in names if name not in known}


def row_counts(location: Location) -> dict[str, int]:
    """Return the number of rows of the main tables."""
    with reading(location) as database:
        return {
            table: database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in ("orders", "algo_orders", "fills", "positions", "balances")
        }


def rows_of(
    location: Location, table: str, account: str, where: str = "true", columns: str = "*"
) -> list[dict[str, object]]:
    """Return an account's rows of a table, as columns by name; ``where`` and ``columns`` are trusted SQL."""
    with reading(location) as database:
        return database.query(f"SELECT {columns} FROM {table} WHERE account = ? AND {where}", [account])
