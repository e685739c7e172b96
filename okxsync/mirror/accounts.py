"""The accounts of ``okxsync status``: what each holds, and how fresh that is; and the disk.

A number is shown with its age or not at all. What was never covered is None, never zero. An account with a channel
that is not live is stale since that channel's coverage ended.
"""

import re

import msgspec

from okxsync.config.location import Location
from okxsync.mirror.freshness import ACTIVE_ACCOUNTS, IS_WANTED
from okxsync.mirror.status import LAST_RUN, is_running
from okxsync.okx.channels import channel_of
from okxsync.store.coverage_table import UNVERIFIED
from okxsync.store.database import Connection
from okxsync.store.engines import engine_of


class ChannelState(msgspec.Struct, frozen=True):
    """``covered_age_s`` is the time since the end of its coverage, ``push_age_s`` the time since its last push."""

    channel: str
    live: bool
    covered_age_s: float
    push_age_s: float | None
    connection_id: int | None


class AccountState(msgspec.Struct):
    """One account; ``equity`` is in USD, as OKX sent it; None: not known."""

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
        """How long ago the coverage of its worst channel ended, in seconds; None while all are live."""
        return max((one.covered_age_s for one in self.channels if not one.live), default=None)

    @property
    def age_s(self) -> float | None:
        """The time since all its channels were covered, in seconds; None if it was never covered."""
        return max((one.covered_age_s for one in self.channels), default=None)

    @property
    def rank(self) -> tuple[int, float, list[int | str]]:
        """The worst first: stale accounts by age, then accounts with open gaps, then by name."""
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
    """All accounts, the worst first, and the disk: size of the database with its write-ahead log, and free space
    (None: the server does not say).

    ``trouble`` is why a running daemon cannot write to the database ("" if it can); None: no daemon process exists.
    """

    accounts: list[AccountState]
    file_bytes: int
    wal_bytes: int
    free_bytes: int | None
    trouble: str | None = None

    @property
    def gaps_being_filled(self) -> int:
        return sum(one.gaps_being_filled for one in self.accounts)


def read_details(db: Connection, location: Location, now_us: int, *, storing: bool) -> Details:
    """Read the accounts' states at ``now_us`` microseconds UTC by the clock of the database's times.

    Nothing is live unless a daemon is ``storing`` what it receives.
    """
    engine = engine_of(location)
    accounts = _accounts(db, now_us, storing)
    last = db.execute(f"SELECT host, pid, stopped_at FROM {LAST_RUN}").fetchone()
    space = engine.space()
    return Details(
        sorted(accounts, key=lambda one: one.rank),
        space.database + space.write_ahead_log,
        space.write_ahead_log,
        space.free,
        engine.trouble() if last and last[2] is None and is_running(*last[:2]) else None,
    )


def _accounts(db: Connection, now_us: int, storing: bool) -> list[AccountState]:
    names = db.execute(ACTIVE_ACCOUNTS).fetchall()
    found = {name: AccountState(name, []) for (name,) in names}
    rows = db.execute("SELECT account, channel, live, covered_until, last_push_at, connection_id FROM coverage"
                      " WHERE wanted = 1 ORDER BY channel").fetchall()  # fmt: skip
    for name, channel, live, covered, pushed, number in rows:
        if one := found.get(name):
            push_age_s = (now_us - pushed) / 1e6 if pushed is not None else None
            state = ChannelState(channel, bool(live) and storing, (now_us - covered) / 1e6, push_age_s, number)
            one.channels.append(state)
    for name, total in db.execute("SELECT account, total_eq FROM equity").fetchall():
        if one := found.get(name):
            one.equity = total
    open_orders = dict(db.execute("SELECT account, count(*) FROM orders WHERE state IN ('live', 'partially_filled')"
                                  " GROUP BY account").fetchall())  # fmt: skip
    positions = dict(
        db.execute(
            "SELECT account, count(*) FROM positions WHERE CAST(pos AS DOUBLE PRECISION) <> 0 GROUP BY account"
        ).fetchall()
    )
    for one in found.values():
        covered_channels = {channel_of(channel.channel) for channel in one.channels}
        if "orders" in covered_channels or one.name in open_orders:
            one.open_orders = open_orders.get(one.name, 0)
        if "positions" in covered_channels or one.name in positions:
            one.positions = positions.get(one.name, 0)
    still = db.execute(
        f"SELECT account, count(*), count(to_at) FROM gaps WHERE outcome IS NULL AND {IS_WANTED} GROUP BY account"
    )
    for name, count, filling in still.fetchall():
        if one := found.get(name):
            one.gaps_open, one.gaps_being_filled = count, filling if storing else 0
    unverified = db.execute(f"SELECT account, count(*) FROM {UNVERIFIED} GROUP BY account")
    for name, count in unverified.fetchall() if storing else ():
        if one := found.get(name):
            one.gaps_open += count
    partial = db.execute("SELECT account, count(*) FROM gaps WHERE outcome = 'partial' GROUP BY account")
    for name, count in partial.fetchall():
        if one := found.get(name):
            one.gaps_partial = count
    return list(found.values())
