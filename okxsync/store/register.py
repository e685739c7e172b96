"""What we know of ourselves: connections, processes, accounts; coverage and journal have modules of their own."""

from typing import Final

import msgspec

from okxsync.messages import AccountRemoved, ConfiguredAccount, ConnectionRemoved, Heartbeat, Phase
from okxsync.store.coverage_table import lose_all
from okxsync.store.database import Connection


def connection_removed(db: Connection, message: ConnectionRemoved) -> None:
    """Nobody asks for this connection any more: no gap opens, but one will show if the channels ever come back."""
    db.execute("DELETE FROM connections WHERE id = ?", [message.connection_id])


_PHASE_COLUMNS: Final = (
    "id listener account endpoint url site demo requires_auth phase since_at reconnects conn_id last_error"
    " next_attempt_at pid"
).split()
_RUNS: Final = (
    "INSERT INTO counters (name, value) VALUES ('pid', ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
)
"""Which of ``processes`` is the last: their times are of clocks that may have been set since."""
_PHASE: Final = (
    f"INSERT INTO connections ({', '.join(_PHASE_COLUMNS)}, messages)"
    f" VALUES ({', '.join('?' * len(_PHASE_COLUMNS))}, 0)"
    " ON CONFLICT (id) DO UPDATE SET " + ", ".join(f"{name} = excluded.{name}" for name in _PHASE_COLUMNS[1:])
)


def phase(db: Connection, message: Phase, pid: int | None) -> None:
    """Write a connection's row."""
    db.execute(_PHASE, (*msgspec.structs.astuple(message), pid))


def heartbeat(db: Connection, message: Heartbeat, pid: int | None) -> None:
    """The daemon lives, begins (then whoever was here before is gone), or says good-bye."""
    if message.pid != pid:
        db.execute(_RUNS, [message.pid])
        lose_all(db, "crash")
        db.execute("DELETE FROM connections WHERE pid IS NOT ?", [message.pid])
    if message.stopped_at is not None:
        lose_all(db, "stopped")
        db.execute(
            "UPDATE connections SET phase = 'stopped', since_at = ?, next_attempt_at = NULL", [message.stopped_at]
        )
    db.execute(
        "INSERT INTO processes (pid, started_at, heartbeat_at, version, stopped_at, exit) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (pid) DO UPDATE SET started_at = excluded.started_at, heartbeat_at = excluded.heartbeat_at,"
        " version = excluded.version, stopped_at = excluded.stopped_at, exit = excluded.exit",
        (message.pid, message.started_at, message.at, message.version, message.stopped_at, message.exit),
    )


class _AccountColumns(msgspec.Struct, rename="camel"):
    uid: str | None = None
    main_uid: str | None = None
    acct_lv: str | None = None
    pos_mode: str | None = None
    perm: str | None = None


def account_configured(db: Connection, message: ConfiguredAccount) -> None:
    """Write an account as configured, and what the exchange says of it once known."""
    db.execute(
        "INSERT INTO accounts (name, site, demo, first_seen_at) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (name) DO UPDATE SET site = excluded.site, removed_at = NULL,"
        " demo = iif(uid IS NULL, excluded.demo, demo)",  # once its rows are here, the name stands for that account
        (message.name, message.site, message.demo, message.at),
    )
    if message.config:
        config = msgspec.json.decode(message.config, type=_AccountColumns)
        db.execute(
            "UPDATE accounts SET uid = ?, main_uid = ?, acct_lv = ?, pos_mode = ?, perm = ?, raw = ? WHERE name = ?",
            (*msgspec.structs.astuple(config), message.config, message.name),
        )


def account_removed(db: Connection, message: AccountRemoved) -> None:
    db.execute("UPDATE accounts SET removed_at = ? WHERE name = ?", [message.at, message.name])
