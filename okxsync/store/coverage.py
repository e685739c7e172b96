"""Which time of each channel is covered, and its gaps.

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

from okxsync import events
from okxsync.messages import (
    ClockSetBack,
    GapResult,
    Lost,
    Subscribed,
    SubscriptionRefused,
    Unverified,
    Verified,
    WantedChannels,
)
from okxsync.store.database import CHANNEL_NAME, Connection
from okxsync.store.journal import note

_NEW_GAP: Final = (
    "INSERT INTO gaps (account, channel, from_at, to_at, reason, rows, attempts)"
    " SELECT account, channel, covered_until, ?, ?, 0, 0 FROM coverage WHERE account = ? AND channel = ?"
    " AND NOT EXISTS (SELECT 1 FROM gaps WHERE gaps.account = coverage.account AND gaps.channel = coverage.channel"
    " AND to_at IS NULL AND outcome IS NULL)"
)

_CLOCK_STEP_US: Final = 1_000_000
"""A mark this far ahead of the clock: the clock was set back. Less is within the overlap with which gaps are filled."""
_DAY_US: Final = 86_400_000_000

UNVERIFIED: Final = "unverified JOIN coverage USING (account, channel) WHERE live = 1 AND covered_until < at"
"""SQL: the live channels that REST could not be asked about, and that have said nothing since."""

VERIFIED_OVER_REST: Final = ("orders", "orders-algo", "account", "positions", "balance_and_position")
"""The channels that REST is asked about when they say nothing, whatever their arguments (see ``reconcile.probe``)."""
_ADVANCE: Final = (
    "UPDATE coverage SET covered_until"
    f" = max(covered_until, min(?, iif({CHANNEL_NAME} IN (?, ?, ?, ?, ?), coalesce(last_push_at, 0), ?)))"
    " WHERE connection_id = ? AND live = 1"
)


def advance(db: Connection, marks: Iterable[tuple[int, int]]) -> None:
    """Cover the live channels of each connection up to ``(at, connection_id)``."""
    db.executemany(_ADVANCE, [(at, *VERIFIED_OVER_REST, at, number) for at, number in marks])


def verified(db: Connection, message: Verified) -> None:
    """Cover a live channel up to where REST agreed with what was pushed."""
    db.execute(
        "UPDATE coverage SET covered_until = max(covered_until, ?) WHERE account = ? AND channel = ? AND live = 1",
        (message.at, message.listener, message.channel),
    )
    was_unproved = db.execute("DELETE FROM unverified WHERE account = ? AND channel = ?",
                              (message.listener, message.channel)).rowcount  # fmt: skip
    if was_unproved and not _has_unverified(db, message.listener):
        note(db, events.VERIFICATION_RESTORED.note(message.at, message.listener, message.channel))


def unverified(db: Connection, message: Unverified) -> None:
    """From what a live channel is covered up to it counts as open; an account's first is journalled."""
    if not _has_unverified(db, message.listener):
        detail = f"{message.channel}: {message.why}"
        note(db, events.VERIFICATION_UNAVAILABLE.note(message.at, message.listener, detail))
    db.execute(
        "INSERT INTO unverified (account, channel, at, why) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (account, channel) DO UPDATE SET at = excluded.at, why = excluded.why",
        msgspec.structs.astuple(message),
    )


def _has_unverified(db: Connection, account: str) -> bool:
    return db.execute(f"SELECT 1 FROM {UNVERIFIED} AND account = ?", [account]).fetchone() is not None


def subscribed(db: Connection, message: Subscribed) -> None:
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
                    " VALUES (?, ?, ?, ?, 'initial backfill', 0, 0)",
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


def subscription_refused(db: Connection, message: SubscriptionRefused) -> None:
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


def wanted_channels(db: Connection, message: WantedChannels) -> None:
    """Gaps of channels that nobody asks for wait until somebody does again; who looks at them is told so."""
    db.execute("UPDATE coverage SET wanted = 0 WHERE wanted = 1")
    db.executemany("UPDATE coverage SET wanted = 1 WHERE account = ? AND channel = ?", message.channels)
    db.execute(
        "UPDATE gaps SET note = 'no longer subscribed' WHERE outcome IS NULL"
        " AND (account, channel) IN (SELECT account, channel FROM coverage WHERE wanted = 0)"
    )


def clock_set_back(db: Connection, message: ClockSetBack) -> None:
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


def lost(db: Connection, message: Lost) -> None:
    """The channels are live no more, unless a successor holds them already."""
    for channel in message.channels:
        key = (message.listener, channel)
        if _no_longer_live(db, key, message.connection_id):
            if message.verified_until is not None:
                db.execute(
                    "UPDATE coverage SET covered_until = max(covered_since, min(covered_until, ?))"
                    " WHERE account = ? AND channel = ?",
                    (message.verified_until, *key),
                )
            _open_gap(db, key, message.reason)


def gap_result(db: Connection, message: GapResult) -> None:
    """Close a gap whose every question was answered, or count the attempt."""
    db.execute(
        "UPDATE gaps SET outcome = ?, filled_at = iif(? IS NULL, NULL, ?), rows = rows + ?, attempts = attempts + 1,"
        " note = ? WHERE id = ? AND outcome IS NULL",
        (message.outcome, message.outcome, message.at, message.rows, message.note, message.gap_id),
    )


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


def lose_all(db: Connection, reason: str) -> None:
    for key in db.execute("SELECT account, channel FROM coverage WHERE live = 1").fetchall():
        _open_gap(db, key, reason)
    db.execute("UPDATE coverage SET live = 0 WHERE live = 1")
