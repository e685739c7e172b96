"""The state of a daemon, read from its database, for ``okxsync status``.

A daemon is alive if its process exists and its heartbeat is fresh, or that of its lock file while it cannot write to
the database. If it is not alive, no connection counts as live, whatever its row says. If nothing is stored, each
channel that was live counts as an open gap since its coverage ended, although no gap is stored yet. A live channel that
REST could not verify counts as an open gap too.
"""

import os
import socket
from datetime import UTC, datetime
from typing import Final

import msgspec

from okxsync.config.location import Location
from okxsync.messages import CHANNEL_PROBLEMS
from okxsync.store.coverage_table import UNVERIFIED
from okxsync.store.database import Connection
from okxsync.store.engines import engine_of

FRESH_S: Final = 5.0
"""An older heartbeat does not count; the daemon sends one a second."""
LAST_RUN: Final = "runs ORDER BY id DESC LIMIT 1"
"""SQL: the last run. Its times do not tell, because the clock may have been set since."""


class DaemonState(msgspec.Struct):
    """``heartbeat_age_s`` is of the last heartbeat that is stored."""

    alive: bool
    pid: int | None
    started_at: str | None
    heartbeat_age_s: float | None
    version: str | None

    @property
    def is_storing(self) -> bool:
        return self.alive and is_fresh(self.heartbeat_age_s)


class ConnectionState(msgspec.Struct):
    listener: str
    endpoint: str
    site: str
    demo: bool
    phase: str
    since: str
    last_message_age_s: float | None
    rtt_ms: float | None
    messages: int
    reconnects: int
    channels: list[str]
    last_error: str | None

    @property
    def current_error(self) -> str | None:
        """What is wrong now: not why an earlier session of a live connection ended."""
        error = self.last_error or ""
        return self.last_error if self.phase != "live" or error.startswith(CHANNEL_PROBLEMS) else None

    @property
    def is_well(self) -> bool:
        return self.phase == "live" and self.current_error is None


class GapCounts(msgspec.Struct):
    open: int
    filled: int
    partial: int
    seconds_open: float


class WriterState(msgspec.Struct):
    """``trouble`` is why a daemon that is alive cannot write to the database; None if it can."""

    queue: int
    lag_ms: float
    rows: int
    errors: int
    trouble: str | None


class LogState(msgspec.Struct):
    messages: int
    bytes: int
    bytes_received: int
    oldest: str | None


class Status(msgspec.Struct):
    """What ``status --json`` prints."""

    daemon: DaemonState
    connections: list[ConnectionState]
    gaps: GapCounts
    writer: WriterState
    log: LogState

    @property
    def exit_code(self) -> int:
        """0: all live and no open gap, 1: something is down, open or cannot be written, 3: no daemon is alive."""
        if not self.daemon.alive:
            return 3
        all_live = bool(self.connections) and all(connection.phase == "live" for connection in self.connections)
        return 0 if all_live and not self.gaps.open and self.writer.trouble is None else 1


def clock_ahead_us(db: Connection) -> int:
    """Return by how much the clock that all times are recorded by is ahead of this machine's wall clock.

    It is as of the last second of the daemon, or of the last backfill.
    """
    found = db.execute("SELECT value FROM counters WHERE name = 'clock_ahead_us'").fetchone()
    return int(found[0]) if found else 0


def read_status(db: Connection, location: Location, now_us: int) -> Status:
    """Read the status of the database at ``location``, at ``now_us`` microseconds UTC by the clock of its times."""
    daemon = daemon_state(db, location, now_us)
    counters = dict(db.execute("SELECT name, value FROM counters"))
    oldest = db.execute("SELECT received_at FROM messages ORDER BY id LIMIT 1").fetchone()
    return Status(
        daemon,
        _connections(db, now_us, daemon.alive),
        _gaps(db, now_us, daemon.is_storing),
        WriterState(
            counters.get("queue", 0) if daemon.alive else 0,
            round(counters.get("lag_us", 0) / 1000, 1),
            counters.get("rows", 0),
            counters.get("errors", 0),
            _trouble(location, daemon),
        ),
        LogState(
            counters.get("messages", 0),
            counters.get("bytes", 0),
            counters.get("bytes_received", 0),
            _iso(oldest[0]) if oldest else None,
        ),
    )


def _trouble(location: Location, daemon: DaemonState) -> str | None:
    if not daemon.alive:
        return None
    return engine_of(location).trouble() or (None if daemon.is_storing else "the disk does not respond")


def daemon_state(db: Connection, location: Location, now_us: int) -> DaemonState:
    """Read whether a daemon is alive, and which one ran last."""
    found = db.execute(f"SELECT host, pid, started_at, heartbeat_at, version, stopped_at FROM {LAST_RUN}").fetchone()
    if found is None:
        return DaemonState(False, None, None, None, None)
    host, pid, started_at, heartbeat_at, version, stopped_at = found
    age_s = round((now_us - heartbeat_at) / 1e6, 3)
    running = None if stopped_at is not None else is_running(host, pid)
    beats = is_fresh(age_s) or (running is True and is_fresh(engine_of(location).beat_age_s()))
    alive = stopped_at is None and running is not False and beats
    return DaemonState(alive, pid, _iso(started_at), age_s, version)


def is_fresh(age_s: float | None) -> bool:
    """Whether a heartbeat of that age counts.

    One in the future is from before the wall clock was set back; a daemon that is alive has sent a new one.
    """
    return age_s is not None and abs(age_s) <= FRESH_S


def is_running(host: str | None, pid: int) -> bool | None:
    """Return whether a run's process exists; None if it is on another host. Runs of older versions name no host."""
    if host not in (None, socket.gethostname()):
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it exists and belongs to another user
        return True
    return True


def _connections(db: Connection, now_us: int, alive: bool) -> list[ConnectionState]:
    channels: dict[int, list[str]] = {}
    for number, channel in db.execute(
        "SELECT connection_id, channel FROM coverage WHERE live = 1 ORDER BY channel"
    ).fetchall():
        channels.setdefault(number, []).append(channel)
    rows = db.execute(
        "SELECT id, listener, endpoint, site, demo, phase, since_at, last_message_at, last_rtt_us, messages,"
        " reconnects, last_error FROM connections ORDER BY listener, endpoint"
    ).fetchall()
    states = []
    for number, listener, endpoint, site, demo, phase, since_at, last_at, rtt_us, messages, reconnects, error in rows:
        states.append(
            ConnectionState(
                listener,
                endpoint,
                site,
                bool(demo),
                phase if alive else "stopped",
                _iso(since_at),
                round((now_us - last_at) / 1e6, 3) if last_at is not None else None,
                round(rtt_us / 1000, 3) if rtt_us is not None else None,
                messages,
                reconnects,
                channels.get(number, []) if alive else [],
                error,
            )
        )
    return states


def _gaps(db: Connection, now_us: int, storing: bool) -> GapCounts:
    """Count the gaps. Those of channels and accounts that are no longer configured do not count."""
    filled, partial = db.execute(
        "SELECT count(*) FILTER (WHERE outcome = 'filled'), count(*) FILTER (WHERE outcome = 'partial') FROM gaps"
        " WHERE outcome IS NOT NULL"
    ).fetchone()
    wanted = (
        "account NOT IN (SELECT name FROM accounts WHERE removed_at IS NOT NULL)"
        " AND (account, channel) NOT IN (SELECT account, channel FROM coverage WHERE wanted = 0)"
    )
    stored = db.execute(
        f"SELECT count(*), sum(coalesce(to_at, ?) - from_at) FROM gaps WHERE outcome IS NULL AND {wanted}",
        [now_us],
    ).fetchone()
    not_stored = db.execute(
        f"SELECT count(*), sum(? - covered_until) FROM {UNVERIFIED if storing else 'coverage WHERE live = 1'}"
        f" AND {wanted}",
        [now_us],
    ).fetchone()
    return GapCounts(
        open=stored[0] + not_stored[0],
        filled=filled,
        partial=partial,
        seconds_open=round(((stored[1] or 0) + (not_stored[1] or 0)) / 1e6, 3),
    )


def _iso(at_us: int) -> str:
    moment = datetime.fromtimestamp(at_us // 1_000_000, UTC).replace(microsecond=at_us % 1_000_000)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
