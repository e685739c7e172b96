"""The register: runs of the daemon, connections and accounts, and the counters."""

from collections.abc import Iterable
from typing import Final

import msgspec

from okxsync.messages import AccountRemoved, ConfiguredAccount, ConnectionRemoved, Heartbeat, Phase, Run
from okxsync.okx.account_config import read_config_row
from okxsync.store.coverage_table import lose_all
from okxsync.store.database import Connection


def connection_removed(db: Connection, message: ConnectionRemoved) -> None:
    """The connection is no longer configured."""
    db.execute("DELETE FROM connections WHERE id = ?", [message.connection_id])


_PHASE_COLUMNS: Final = (
    "id listener account endpoint url site demo requires_auth phase since_at reconnects conn_id last_error"
    " next_attempt_at pid run_id"
).split()
_PHASE: Final = (
    f"INSERT INTO connections ({', '.join(_PHASE_COLUMNS)}, messages)"
    f" VALUES ({', '.join('?' * len(_PHASE_COLUMNS))}, 0)"
    " ON CONFLICT (id) DO UPDATE SET " + ", ".join(f"{name} = excluded.{name}" for name in _PHASE_COLUMNS[1:])
)


_RUN: Final = (
    "INSERT INTO runs (id, started_at, version, host, pid, heartbeat_at, stopped_at, exit)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET"
    " heartbeat_at = excluded.heartbeat_at, stopped_at = excluded.stopped_at, exit = excluded.exit"
)


_RECEIVED: Final = "UPDATE connections SET last_message_at = ?, messages = messages + ? WHERE id = ?"
_ANSWERED: Final = "UPDATE connections SET answered_at = ?, last_rtt_us = ? WHERE id = ?"
_COUNT: Final = (
    "INSERT INTO counters (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
)


def received(db: Connection, frames: Iterable[tuple[int, tuple[int, int]]]) -> None:
    """Store when each connection received its last frame, and how many it has received since the last time."""
    db.executemany(_RECEIVED, [(*values, number) for number, values in frames])


def answered(db: Connection, pings: Iterable[tuple[int, tuple[int, int]]]) -> None:
    """Store when the last answered ping of each connection was sent, and its round trip; microseconds."""
    db.executemany(_ANSWERED, [(*values, number) for number, values in pings])


def count(db: Connection, name: str, value: int) -> None:
    """Set a counter that ``status`` shows."""
    db.execute(_COUNT, (name, value))


def phase(db: Connection, message: Phase, run: Run | None) -> None:
    """Write a connection's row; the connection belongs to ``run``."""
    values = [int(value) if isinstance(value, bool) else value for value in msgspec.structs.astuple(message)]
    db.execute(_PHASE, (*values, *((run.pid, run.id) if run else (None, None))))


def heartbeat(db: Connection, message: Heartbeat, run: Run | None) -> None:
    """Write a run's row. ``run`` is the one that wrote before; if another one begins, ``run`` is over."""
    if run is None or message.run.id != run.id:
        lose_all(db, "crash")
        db.execute("DELETE FROM connections WHERE run_id IS DISTINCT FROM ?", [message.run.id])
    if message.stopped_at is not None:
        lose_all(db, "stopped")
        db.execute(
            "UPDATE connections SET phase = 'stopped', since_at = ?, next_attempt_at = NULL", [message.stopped_at]
        )
    db.execute(_RUN, (*msgspec.structs.astuple(message.run), message.at, message.stopped_at, message.exit))


def account_configured(db: Connection, message: ConfiguredAccount) -> None:
    """Write an account as configured, and what the exchange says of it once known."""
    db.execute(
        "INSERT INTO accounts (name, site, demo, first_seen_at) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (name) DO UPDATE SET site = excluded.site, removed_at = NULL,"
        # Once its rows are here, the name stands for that account.
        " demo = CASE WHEN accounts.uid IS NULL THEN excluded.demo ELSE accounts.demo END",
        (message.name, message.site, int(message.demo), message.at),
    )
    if message.config:
        config = read_config_row(message.config)
        known = (config.uid, config.main_uid, config.acct_lv, config.pos_mode, config.perm)
        db.execute(
            "UPDATE accounts SET uid = ?, main_uid = ?, acct_lv = ?, pos_mode = ?, perm = ?, raw = ? WHERE name = ?",
            (*(text or None for text in known), message.config, message.name),
        )


def account_removed(db: Connection, message: AccountRemoved) -> None:
    db.execute("UPDATE accounts SET removed_at = ? WHERE name = ?", [message.at, message.name])
