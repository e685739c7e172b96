"""Tables ``coverage``, ``gaps`` and ``unverified``: load a channel's coverage, apply one transition, save the result.

Everything here runs in the writer's transaction, so coverage moves only together with the data. ``pushed``,
``snapshots`` and ``answered`` run for each batch. They stay one UPDATE each, because loading and saving each channel
would cost more. ``Coverage`` states their rules; a test compares the two.
"""

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from okxsync import events
from okxsync.messages import (
    ConnectionRemoved,
    Fetched,
    GapResult,
    Lost,
    Subscribed,
    SubscriptionRefused,
    Unverified,
    Verified,
    WantedChannels,
)
from okxsync.store.coverage import FUTURE_US, MARGIN_US, Change, Coverage, Gap, first_rejected, first_subscribed
from okxsync.store.database import CHANNEL_NAME, Connection
from okxsync.store.journal import note

Key = tuple[str, str]
"""Listener and channel."""

UNVERIFIED: Final = "unverified JOIN coverage USING (account, channel) WHERE live = 1 AND covered_until < at"
"""SQL: the live channels that REST could not verify, and that nothing else has proved since."""

VERIFIED_OVER_REST: Final = ("orders", "orders-algo", "account", "positions", "balance_and_position")
"""The channels that REST verifies, whatever their arguments (see ``reconcile.stalled``): no answer to a ping proves
anything about them."""

LOAD: Final = (
    "SELECT coverage.account, coverage.channel, covered_since, covered_until, live, connection_id, last_push_at,"
    " gaps.id, from_at, reason, note FROM coverage LEFT JOIN gaps ON gaps.account = coverage.account"
    " AND gaps.channel = coverage.channel AND outcome IS NULL AND to_at IS NULL"
)
_SAVE: Final = (
    "INSERT INTO coverage (account, channel, covered_since, covered_until, live, connection_id, last_push_at)"
    " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (account, channel) DO UPDATE SET"
    " covered_since = excluded.covered_since, covered_until = excluded.covered_until, live = excluded.live,"
    " connection_id = excluded.connection_id, last_push_at = excluded.last_push_at"
)
_NEW_GAP: Final = (
    "INSERT INTO gaps (from_at, to_at, reason, note, account, channel, rows, attempts) VALUES (?, ?, ?, ?, ?, ?, 0, 0)"
)
_CHANGE_GAP: Final = "UPDATE gaps SET from_at = ?, to_at = ?, reason = ?, note = ? WHERE id = ?"
_NEW_UNSTORED: Final = (
    "INSERT INTO gaps (from_at, to_at, filled_at, note, account, channel, reason, outcome, rows, attempts)"
    " VALUES (?, ?, ?, ?, ?, ?, 'rows that REST reports cannot be stored', 'partial', 0, 1)"
)
_EXTEND_UNSTORED: Final = (
    "UPDATE gaps SET to_at = ?1, filled_at = ?2 WHERE note = ?3 AND account = ?4 AND channel = ?5 AND to_at = ?6"
    " AND outcome = 'partial' AND reason = 'rows that REST reports cannot be stored'"
)
"""The same rows are reported by each check for some minutes, or for as long as they are pending: that is one gap."""
_END_IN_THE_PAST: Final = (
    "UPDATE gaps SET from_at = min(from_at, ?), to_at = ? WHERE account = ? AND channel = ? AND outcome IS NULL"
    " AND to_at > ?"
)
"""For ended gaps of a clock that was ahead: they would not be backfilled until their end has passed."""
_PUSHED: Final = (
    "UPDATE coverage SET last_push_at = ?1, reported_ms = min(max(coalesce(reported_ms, 0), ?2), ?3)"
    " WHERE account = ?4 AND channel = ?5"
)
_SNAPSHOT: Final = (
    "UPDATE coverage SET covered_until = max(covered_until, ?) WHERE account = ? AND channel = ? AND live = 1"
)
_ANSWERED: Final = (
    "UPDATE coverage SET covered_until = max(covered_until, ?) WHERE connection_id = ? AND live = 1"
    f" AND {CHANNEL_NAME} NOT IN (?, ?, ?, ?, ?)"
)


def _load(db: Connection, where: str, values: Iterable[object] = ()) -> Iterator[tuple[Key, Coverage]]:
    rows = db.execute(f"{LOAD} WHERE {where}", tuple(values)).fetchall()
    for account, channel, since, until, live, connection_id, pushed_at, gap_id, gap_since, reason, gap_note in rows:
        gap = None if gap_id is None else Gap(gap_since, None, reason, gap_note, gap_id)
        yield (account, channel), Coverage(since, until, bool(live), connection_id, pushed_at, gap)


def load(db: Connection, key: Key) -> Coverage | None:
    """Return the coverage of a channel; None if it was never subscribed."""
    return next((found for _, found in _load(db, "coverage.account = ? AND coverage.channel = ?", key)), None)


def save(db: Connection, key: Key, change: Change) -> None:
    """Write a channel's new coverage, and its gaps that are new or changed."""
    new = change.coverage
    db.execute(_SAVE, (*key, new.since, new.until, int(new.live), new.connection_id, new.last_push_at))
    for gap in change.gaps:
        if gap.id is None:
            db.execute(_NEW_GAP, (gap.since, gap.until, gap.reason, gap.note, *key))
        else:
            db.execute(_CHANGE_GAP, (gap.since, gap.until, gap.reason, gap.note, gap.id))


def pushed(db: Connection, pushes: Iterable[tuple[Key, tuple[int, int]]], now_us: int) -> None:
    """Store when each channel last pushed (local microseconds), and the latest time reported (OKX's milliseconds).

    A time in the future says nothing of what will happen until then.
    """
    latest_ms = (now_us + FUTURE_US) // 1000
    db.executemany(_PUSHED, [(*times, latest_ms, *key) for key, times in pushes])


def snapshots(db: Connection, complete: Iterable[tuple[Key, int]]) -> None:
    """Apply ``Coverage.snapshot`` to each channel of which a complete snapshot is stored: ``sent_after``."""
    db.executemany(_SNAPSHOT, [(sent_after - MARGIN_US, *key) for key, sent_after in complete])


def answered(db: Connection, pings: Iterable[tuple[int, int]]) -> None:
    """Apply ``Coverage.answered`` to all live channels of each connection that it is for: ``(id, pinged_at)``."""
    db.executemany(_ANSWERED, [(at - MARGIN_US, number, *VERIFIED_OVER_REST) for number, at in pings])


def subscribed(db: Connection, message: Subscribed) -> None:
    for channel in message.channels:
        key = (message.listener, channel)
        if known := load(db, key):
            change = known.subscribed(message.connection_id, message.at)
            if change.coverage.until < known.until:
                db.execute(_END_IN_THE_PAST, (message.at, message.at, *key, message.at))
        else:
            change = first_subscribed(message.connection_id, message.at, message.initial_us)
        save(db, key, change)


def subscription_rejected(db: Connection, message: SubscriptionRefused) -> None:
    for channel in message.channels:
        key = (message.listener, channel)
        if known := load(db, key):
            change = known.rejected(message.reason)
        else:
            change = first_rejected(message.at, message.reason, message.initial_us)
        save(db, key, change)


def lost(db: Connection, message: Lost) -> None:
    """The channels are no longer live, except those that a successor of the connection already holds."""
    for channel in message.channels:
        key = (message.listener, channel)
        known = load(db, key)
        if known and known.connection_id == message.connection_id:
            save(db, key, known.lost(message.reason))


def lose_all(db: Connection, reason: str) -> None:
    """No channel is live: a run ended or crashed."""
    for key, known in _load(db, "live = 1"):
        save(db, key, known.lost(reason))


def connection_removed(db: Connection, message: ConnectionRemoved) -> None:
    """The connection's channels are no longer configured."""
    for key, known in _load(db, "live = 1 AND connection_id = ?", [message.connection_id]):
        save(db, key, Change(known.unsubscribed()))


def verified(db: Connection, message: Verified) -> None:
    """A REST check found nothing missing; journal it if the account had unverified channels until now.

    If rows cannot be stored, what the check proves is a gap that ended as ``partial``: another request would not help.
    """
    key = (message.listener, message.channel)
    if known := load(db, key):
        if message.unstored and known.live and known.until < message.at:
            ended = message.at, message.at, message.unstored
            if not db.execute(_EXTEND_UNSTORED, (*ended, *key, known.until)).rowcount:
                db.execute(_NEW_UNSTORED, (known.until, *ended, *key))
        save(db, key, Change(known.verified(message.at)))
    deleted = db.execute("DELETE FROM unverified WHERE account = ? AND channel = ?", key).rowcount
    if deleted and not _has_unverified(db, message.listener):
        note(db, events.VERIFICATION_RESTORED.note(message.at, message.listener, message.channel))


def unverified(db: Connection, message: Unverified) -> None:
    """A live channel counts as open since it was verified last; journal the first of an account."""
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


def wanted_channels(db: Connection, message: WantedChannels) -> None:
    """Mark the configured channels. Gaps of other channels do not count until they are configured again."""
    db.execute("UPDATE coverage SET wanted = 0 WHERE wanted = 1")
    db.executemany("UPDATE coverage SET wanted = 1 WHERE account = ? AND channel = ?", message.channels)
    db.execute(
        "UPDATE gaps SET note = 'no longer subscribed' WHERE outcome IS NULL"
        " AND (account, channel) IN (SELECT account, channel FROM coverage WHERE wanted = 0)"
    )


def gap_result(db: Connection, message: GapResult) -> None:
    """Close a gap if every request succeeded, else count the attempt."""
    db.execute(
        "UPDATE gaps SET outcome = ?, filled_at = ?, rows = rows + ?, attempts = attempts + 1,"
        " note = ? WHERE id = ? AND outcome IS NULL",
        (message.outcome, message.at if message.outcome else None, message.rows, message.note, message.gap_id),
    )


def fetched(db: Connection, message: Fetched) -> None:
    """Add a window to those that were fetched; windows that touch become one."""
    touching = "account = ? AND subject = ? AND since_ms <= ? AND until_ms >= ?"
    values = (message.listener, message.subject, message.until_ms, message.since_ms)
    since_ms, until_ms = db.execute(
        f"SELECT min(since_ms), max(until_ms) FROM fetched WHERE {touching}", values
    ).fetchone()
    db.execute(f"DELETE FROM fetched WHERE {touching}", values)
    db.execute(
        "INSERT INTO fetched (account, subject, since_ms, until_ms) VALUES (?, ?, ?, ?)",
        (
            *(message.listener, message.subject),
            message.since_ms if since_ms is None else min(since_ms, message.since_ms),
            message.until_ms if until_ms is None else max(until_ms, message.until_ms),
        ),
    )
