"""What an operator asks of each account beside the contract's ``status --json``: what it holds, and how fresh that is.

A number is shown with its age or not at all: what was never covered is None, never zero, and an account with one
channel that is not live is stale since that channel's coverage ended.
"""

import re
import shutil
from pathlib import Path

import msgspec

from okxsync.mirror.status import LAST_RUN, is_running
from okxsync.okx.channels import channel_of
from okxsync.store.coverage_table import UNVERIFIED
from okxsync.store.database import Connection, reading, wal_of
from okxsync.store.lock import trouble


class ChannelState(msgspec.Struct, frozen=True):
    """``covered_age_s`` is how long ago it was last proved, ``push_age_s`` how long ago it said something."""

    channel: str
    live: bool
    covered_age_s: float
    push_age_s: float | None
    connection_id: int | None


class AccountState(msgspec.Struct):
    """One account; ``equity`` in USD as the exchange says it; None: not known."""

    name: str
    channels: list[ChannelState]
    equity: str | None = None
    open_orders: int | None = None
    positions: int | None = None
    gaps_open: int = 0
    gaps_being_filled: int = 0
    gaps_partial: int = 0

    @property
    def stale_s(self) -> float | None:
        """How long ago its worst channel was proved, in seconds; None while all are live."""
        return max((one.covered_age_s for one in self.channels if not one.live), default=None)

    @property
    def age_s(self) -> float | None:
        """How long ago all of it was proved, in seconds; None if it never was."""
        return max((one.covered_age_s for one in self.channels), default=None)

    @property
    def rank(self) -> tuple[int, float, list[int | str]]:
        """The worst first: what is down, by how long, then what has holes, then by name."""
        if not self.channels or self.stale_s is not None:
            return 0, -(self.stale_s or 0.0), by_number(self.name)
        return (1 if self.gaps_open else 2), 0.0, by_number(self.name)

    @property
    def is_well(self) -> bool:
        return self.rank[0] == 2


def by_number(name: str) -> list[int | str]:
    """Return the key that sorts ``desk2`` before ``desk10``."""
    return [int(part) if number % 2 else part for number, part in enumerate(re.split("([0-9]+)", name))]


class Details(msgspec.Struct):
    """All accounts, the worst first, and the disk: the database with its write-ahead log, and what is free.

    ``trouble`` is what the daemon whose process is there cannot write into the database; None: there is no such daemon.
    """

    accounts: list[AccountState]
    file_bytes: int
    wal_bytes: int
    free_bytes: int
    trouble: str | None = None

    @property
    def gaps_being_filled(self) -> int:
        return sum(one.gaps_being_filled for one in self.accounts)


def read_details(path: Path, now_us: int, *, alive: bool) -> Details:
    """Read the accounts' states at ``now_us`` microseconds UTC; without a daemon ``alive`` nothing is live.

    Raises:
        StoreError: there is no such database, or it is not ours.
    """
    with reading(path) as database:
        database.conn.execute("BEGIN")  # one moment for all of it
        accounts = _accounts(database.conn, now_us, alive)
        last = database.execute(f"SELECT host, pid, stopped_at FROM {LAST_RUN}").fetchone()
    wal = wal_of(path)
    wal_bytes = wal.stat().st_size if wal.exists() else 0
    return Details(
        sorted(accounts, key=lambda one: one.rank),
        path.stat().st_size + wal_bytes,
        wal_bytes,
        shutil.disk_usage(path.absolute().parent).free,
        trouble(path) if last and last[2] is None and is_running(*last[:2]) else None,
    )


def _accounts(db: Connection, now_us: int, alive: bool) -> list[AccountState]:
    names = db.execute(  # one that is not enabled any more wants nothing
        "SELECT name FROM accounts WHERE removed_at IS NULL"
        " AND name NOT IN (SELECT account FROM coverage GROUP BY account HAVING max(wanted) = 0)"
    ).fetchall()
    found = {name: AccountState(name, []) for (name,) in names}
    rows = db.execute("SELECT account, channel, live, covered_until, last_push_at, connection_id FROM coverage"
                      " WHERE wanted = 1 ORDER BY channel").fetchall()  # fmt: skip
    for name, channel, live, covered, pushed, number in rows:
        if one := found.get(name):
            push_age_s = (now_us - pushed) / 1e6 if pushed is not None else None
            state = ChannelState(channel, bool(live) and alive, (now_us - covered) / 1e6, push_age_s, number)
            one.channels.append(state)
    for name, total in db.execute("SELECT account, total_eq FROM equity").fetchall():
        if one := found.get(name):
            one.equity = total
    open_orders = dict(db.execute("SELECT account, count(*) FROM orders WHERE state IN ('live', 'partially_filled')"
                                  " GROUP BY account").fetchall())  # fmt: skip
    positions = dict(
        db.execute("SELECT account, count(*) FROM positions WHERE CAST(pos AS REAL) <> 0 GROUP BY account").fetchall()
    )
    for one in found.values():
        covered_channels = {channel_of(channel.channel) for channel in one.channels}
        if "orders" in covered_channels or one.name in open_orders:
            one.open_orders = open_orders.get(one.name, 0)
        if "positions" in covered_channels or one.name in positions:
            one.positions = positions.get(one.name, 0)
    wanted = "(account, channel) NOT IN (SELECT account, channel FROM coverage WHERE wanted = 0)"
    still = db.execute(
        f"SELECT account, count(*), count(to_at) FROM gaps WHERE outcome IS NULL AND {wanted} GROUP BY account"
    )
    for name, count, filling in still.fetchall():
        if one := found.get(name):
            one.gaps_open, one.gaps_being_filled = count, filling if alive else 0
    unverified = db.execute(f"SELECT account, count(*) FROM {UNVERIFIED} GROUP BY account")
    for name, count in unverified.fetchall() if alive else ():
        if one := found.get(name):
            one.gaps_open += count
    partial = db.execute("SELECT account, count(*) FROM gaps WHERE outcome = 'partial' GROUP BY account")
    for name, count in partial.fetchall():
        if one := found.get(name):
            one.gaps_partial = count
    return list(found.values())
