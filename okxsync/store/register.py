"""What we know of ourselves: connections, coverage and its gaps, accounts, processes, journal.

Coverage is moved by what arrived, in the transaction that stores it. What proves it is the answer to a ping: all that
was sent before it has arrived. A frame read just now proves less, for it may have lain in a buffer while we were busy
or suspended, with others behind it. And a channel may be dead while its socket lives, so one that REST can be asked
about is covered no further than its own last push, or the last time that REST was asked and knew of nothing else.

A channel that is lost, or refused, leaves a gap which begins where its coverage ended and is open at the front until
the channel is live again; a daemon that died left no gap, so the next one finds its channels still marked live and
makes it then. What is not ``wanted`` any more misses nothing until it is again.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from okxsync.store import batch
from okxsync.store.database import CHANNEL_NAME, Connection

_NEW_GAP: Final = (
    "INSERT INTO gaps (account, channel, from_at, to_at, reason, rows, attempts)"
    " SELECT account, channel, covered_until, ?, ?, 0, 0 FROM coverage WHERE account = ? AND channel = ?"
    " AND NOT EXISTS (SELECT 1 FROM gaps WHERE gaps.account = coverage.account AND gaps.channel = coverage.channel"
    " AND to_at IS NULL AND outcome IS NULL)"
)

_CLOCK_STEP_US: Final = 1_000_000
"""A mark this far ahead of the clock: the clock was set back. Less is within the overlap with which gaps are filled."""
_DAY_US: Final = 86_400_000_000

UNPROVED: Final = "unproved JOIN coverage USING (account, channel) WHERE live = 1 AND covered_until < at"
"""SQL: the live channels that REST could not be asked about, and that have said nothing since."""

ASKED_ABOUT: Final = ("orders", "orders-algo", "account", "positions", "balance_and_position")
"""The channels that REST is asked about when they say nothing, whatever their arguments (see ``rest.probe``)."""
_ADVANCE: Final = (
    "UPDATE coverage SET covered_until"
    f" = max(covered_until, min(?, iif({CHANNEL_NAME} IN (?, ?, ?, ?, ?), coalesce(last_push_at, 0), ?)))"
    " WHERE connection_id = ? AND live = 1"
)


def advance(db: Connection, marks: Iterable[tuple[int, int]]) -> None:
    """Cover the live channels of each connection up to ``(at, connection_id)``."""
    db.executemany(_ADVANCE, [(at, *ASKED_ABOUT, at, number) for at, number in marks])


def proved(db: Connection, message: batch.Proved) -> None:
    """Cover a live channel up to where REST agreed with what was pushed."""
    db.execute(
        "UPDATE coverage SET covered_until = max(covered_until, ?) WHERE account = ? AND channel = ? AND live = 1",
        (message.at, message.listener, message.channel),
    )
    was_unproved = db.execute("DELETE FROM unproved WHERE account = ? AND channel = ?",
                              (message.listener, message.channel)).rowcount  # fmt: skip
    if was_unproved and not _has_unproved(db, message.listener):
        note(db, batch.Note(message.at, "info", message.listener, "proved-again", message.channel))


def unproved(db: Connection, message: batch.Unproved) -> None:
    """From what a live channel is covered up to it counts as open; an account's first is journalled."""
    if not _has_unproved(db, message.listener):
        detail = f"{message.channel}: {message.why}"
        note(db, batch.Note(message.at, "warning", message.listener, "not-proved", detail))
    db.execute(
        "INSERT INTO unproved (account, channel, at, why) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (account, channel) DO UPDATE SET at = excluded.at, why = excluded.why",
        msgspec.structs.astuple(message),
    )


def _has_unproved(db: Connection, account: str) -> bool:
    return db.execute(f"SELECT 1 FROM {UNPROVED} AND account = ?", [account]).fetchone() is not None


def subscribed(db: Connection, message: batch.Subscribed) -> None:
    """The channels are live: a first one is covered from now on, another one's gap ends now."""
    for channel in message.channels:
        key = (message.listener, channel)
        found = db.execute(
            "SELECT live, covered_since, covered_until FROM coverage WHERE account = ? AND channel = ?", key
        ).fetchone()
        if found is None:
            _first_covered(db, key, message.at)
            if message.initial_us:
                db.execute(
                    "INSERT INTO gaps (account, channel, from_at, to_at, reason, rows, attempts)"
                    " VALUES (?, ?, ?, ?, 'before the first run', 0, 0)",
                    (*key, message.at - message.initial_us, message.at),
                )
        elif not found[0]:
            _open_gap(db, key, "not subscribed")
            if found[2] > message.at + _CLOCK_STEP_US:
                _distrust(db, key, min(found[1], message.at - _DAY_US), message.at)
            db.execute(
                "UPDATE gaps SET to_at = max(from_at, ?)"
                " WHERE account = ? AND channel = ? AND to_at IS NULL AND outcome IS NULL",
                (message.at, *key),
            )
        db.execute(
            "UPDATE coverage SET live = 1, connection_id = ?, covered_until = max(covered_until, ?)"
            " WHERE account = ? AND channel = ?",
            (message.connection_id, message.at, *key),
        )


def refused(db: Connection, message: batch.Refused) -> None:
    """The channels are not live, and no new connection need make them so: their gap says why.

    One that another session of the connection still holds is lost when that one ends.
    """
    for channel in message.channels:
        key = (message.listener, channel)
        found = db.execute("SELECT live FROM coverage WHERE account = ? AND channel = ?", key).fetchone()
        if found is None:
            _first_covered(db, key, message.at)
        if found is None or not found[0]:
            _open_gap(db, key, message.reason)
            db.execute(
                "UPDATE gaps SET note = ?, from_at = from_at - ?"
                " WHERE account = ? AND channel = ? AND to_at IS NULL AND outcome IS NULL",
                (message.reason, message.initial_us if found is None else 0, *key),
            )


def wanted(db: Connection, message: batch.Wanted) -> None:
    """Gaps of channels that nobody asks for wait until somebody does again; who looks at them is told so."""
    db.execute("UPDATE coverage SET wanted = 0 WHERE wanted = 1")
    db.executemany("UPDATE coverage SET wanted = 1 WHERE account = ? AND channel = ?", message.channels)
    db.execute(
        "UPDATE gaps SET note = 'no longer subscribed' WHERE outcome IS NULL"
        " AND (account, channel) IN (SELECT account, channel FROM coverage WHERE wanted = 0)"
    )


def clock_set_back(db: Connection, message: batch.ClockSetBack) -> None:
    """Move what is not over yet: else what is covered would seem to reach into the future, and gaps to begin there."""
    db.execute(
        "UPDATE coverage SET covered_until = covered_until - ?1, last_push_at = last_push_at - ?1,"
        " covered_since = min(covered_since, covered_until - ?1) WHERE live = 1",
        [message.by_us],
    )
    db.execute("UPDATE gaps SET from_at = from_at - ? WHERE to_at IS NULL AND outcome IS NULL", [message.by_us])


def _distrust(db: Connection, key: tuple[str, str], since: int, at: int) -> None:
    """The clock was set back: what was covered until when in its new time, nobody knows, so the gap holds it all."""
    db.execute(
        "UPDATE gaps SET from_at = min(from_at, ?), reason = reason || '; the clock was set back'"
        " WHERE account = ? AND channel = ? AND to_at IS NULL AND outcome IS NULL",
        (since, *key),
    )
    db.execute(
        "UPDATE coverage SET covered_since = min(covered_since, ?), covered_until = ?"
        " WHERE account = ? AND channel = ?",
        (at, at, *key),
    )


def lost(db: Connection, message: batch.Lost) -> None:
    """The channels are live no more, unless a successor holds them already."""
    for channel in message.channels:
        key = (message.listener, channel)
        if _no_longer_live(db, key, message.connection_id):
            if message.proved_until is not None:
                db.execute(
                    "UPDATE coverage SET covered_until = max(covered_since, min(covered_until, ?))"
                    " WHERE account = ? AND channel = ?",
                    (message.proved_until, *key),
                )
            _open_gap(db, key, message.reason)


def gap_asked(db: Connection, message: batch.GapAsked) -> None:
    """Close a gap whose every question was answered, or count the attempt."""
    db.execute(
        "UPDATE gaps SET outcome = ?, filled_at = iif(? IS NULL, NULL, ?), rows = rows + ?, attempts = attempts + 1,"
        " note = ? WHERE id = ? AND outcome IS NULL",
        (message.outcome, message.outcome, message.at, message.rows, message.note, message.gap_id),
    )


def forgotten(db: Connection, message: batch.Forgotten) -> None:
    """Nobody asks for this connection any more: no gap opens, but one will show if the channels ever come back."""
    db.execute("UPDATE coverage SET live = 0 WHERE connection_id = ? AND live = 1", [message.connection_id])
    db.execute("DELETE FROM connections WHERE id = ?", [message.connection_id])


def _no_longer_live(db: Connection, key: tuple[str, str], connection_id: int) -> bool:
    changed = db.execute(
        "UPDATE coverage SET live = 0 WHERE account = ? AND channel = ? AND live = 1 AND connection_id = ?",
        (*key, connection_id),
    )
    return bool(changed.rowcount)


def _first_covered(db: Connection, key: tuple[str, str], at: int) -> None:
    db.execute(
        "INSERT INTO coverage (account, channel, covered_since, covered_until, live) VALUES (?, ?, ?, ?, 0)",
        (*key, at, at),
    )


def _open_gap(db: Connection, key: tuple[str, str], reason: str) -> None:
    db.execute(_NEW_GAP, (None, reason, *key))


def _lose_all(db: Connection, reason: str) -> None:
    for key in db.execute("SELECT account, channel FROM coverage WHERE live = 1").fetchall():
        _open_gap(db, key, reason)
    db.execute("UPDATE coverage SET live = 0 WHERE live = 1")


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


def phase(db: Connection, message: batch.Phase, pid: int | None) -> None:
    """Write a connection's row."""
    db.execute(_PHASE, (*msgspec.structs.astuple(message), pid))


def beat(db: Connection, message: batch.Beat, pid: int | None) -> None:
    """The daemon lives, begins (then whoever was here before is gone), or says good-bye."""
    if message.pid != pid:
        db.execute(_RUNS, [message.pid])
        _lose_all(db, "crash")
        db.execute("DELETE FROM connections WHERE pid IS NOT ?", [message.pid])
    if message.stopped_at is not None:
        _lose_all(db, "stopped")
        db.execute(
            "UPDATE connections SET phase = 'stopped', since_at = ?, next_attempt_at = NULL", [message.stopped_at]
        )
    db.execute(
        "INSERT INTO processes (pid, started_at, heartbeat_at, version, stopped_at, exit) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (pid) DO UPDATE SET started_at = excluded.started_at, heartbeat_at = excluded.heartbeat_at,"
        " version = excluded.version, stopped_at = excluded.stopped_at, exit = excluded.exit",
        (message.pid, message.started_at, message.at, message.version, message.stopped_at, message.exit),
    )


class _Config(msgspec.Struct, rename="camel"):
    uid: str | None = None
    main_uid: str | None = None
    acct_lv: str | None = None
    pos_mode: str | None = None
    perm: str | None = None


def account(db: Connection, message: batch.Account) -> None:
    """Write an account as configured, and what the exchange says of it once known."""
    db.execute(
        "INSERT INTO accounts (name, site, demo, first_seen_at) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (name) DO UPDATE SET site = excluded.site, removed_at = NULL,"
        " demo = iif(uid IS NULL, excluded.demo, demo)",  # once its rows are here, the name stands for that account
        (message.name, message.site, message.demo, message.at),
    )
    if message.config:
        config = msgspec.json.decode(message.config, type=_Config)
        db.execute(
            "UPDATE accounts SET uid = ?, main_uid = ?, acct_lv = ?, pos_mode = ?, perm = ?, raw = ? WHERE name = ?",
            (*msgspec.structs.astuple(config), message.config, message.name),
        )


def account_removed(db: Connection, message: batch.AccountRemoved) -> None:
    db.execute("UPDATE accounts SET removed_at = ? WHERE name = ?", [message.at, message.name])


def note(db: Connection, message: batch.Note) -> None:
    db.execute(
        "INSERT INTO journal (at, level, account, event, detail) VALUES (?, ?, ?, ?, ?)",
        msgspec.structs.astuple(message),
    )


_MOST: Final = 500
"""Oddities of one kind that are told apart; an exchange gone mad must not fill the journal."""


def odd(db: Connection, at: int, kind: str, what: str, count: int) -> bool:
    """Count an oddity; return whether it is the first of its kind."""
    counted = "UPDATE oddities SET count = count + ?, last_at = ? WHERE kind = ? AND what = ?"
    if db.execute(counted, (count, at, kind, what)).rowcount:
        return False
    if db.execute("SELECT count(*) FROM oddities WHERE kind = ?", [kind]).fetchone()[0] >= _MOST:
        what = "many more"
        if db.execute(counted, (count, at, kind, what)).rowcount:
            return False
    db.execute("INSERT INTO oddities (kind, what, count, first_at, last_at) VALUES (?, ?, ?, ?, ?)",
               (kind, what, count, at, at))  # fmt: skip
    return True
