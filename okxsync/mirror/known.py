"""The times of which everything of one account is stored.

A channel was received while it was covered. Its gaps were backfilled once they are closed, as far back as OKX keeps
data, unless a note says that rows are missing. ``okxsync backfill --since`` adds windows of its own. What is in an open
gap, or between two such windows, is not known: rows may be missing there, and nothing can be concluded from what is
stored.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from okxsync.mirror.kinds import Kind, moment
from okxsync.okx.channels import arguments_of, channel_of, covers_row
from okxsync.store.database import Connection

KEPT: Final = timedelta(days=90)
"""For how long OKX keeps orders, fills and bills (three months); a gap's backfill reaches no further."""
NOT_NEEDED: Final = ("beyond OKX's retention", "orders cancelled without a fill")
"""How the notes of partial gaps begin that lack only what OKX does not keep (``reconcile.subjects.outcome_of``): data
from before ``KEPT``, and orders without fills. In a gap with another note, rows may be missing that OKX has."""
END: Final = datetime.max.replace(tzinfo=UTC)


class StoredGap(NamedTuple):
    from_at: int
    to_at: int | None
    outcome: str | None
    filled_at: int | None
    note: str | None


class Span(NamedTuple):
    """The time from ``begin`` to ``end``."""

    begin: datetime
    end: datetime

    def contains(self, begin: datetime, end: datetime) -> bool:
        return self.begin <= begin and end <= self.end


def joined(spans: Iterable[Span]) -> tuple[Span, ...]:
    """Return the same times as disjoint spans, the earliest first."""
    found: list[Span] = []
    for span in sorted(span for span in spans if span.begin < span.end):
        if found and span.begin <= found[-1].end:
            found[-1] = Span(found[-1].begin, max(found[-1].end, span.end))
        else:
            found.append(span)
    return tuple(found)


def without(spans: Iterable[Span], hole: Span) -> list[Span]:
    """Return the times that are in ``spans`` and not in ``hole``."""
    return [
        part
        for span in spans
        for part in (Span(span.begin, min(span.end, hole.begin)), Span(max(span.begin, hole.end), span.end))
        if part.begin < part.end
    ]


@dataclass
class Channel:
    """What is known of one channel.

    Attributes:
        pushed: The spans that were covered or backfilled.
        fetched_until: The end of the last gap that was backfilled.
    """

    arguments: dict[str, str]
    pushed: tuple[Span, ...]
    fetched_until: datetime | None


@dataclass
class Known:
    """What is known of one account, by channel and by table (windows of ``okxsync backfill --since``)."""

    channels: dict[str, Channel] = field(default_factory=dict)
    windows: dict[str, list[Span]] = field(default_factory=dict)

    def spans(self, kind: Kind, row: Mapping[str, str | None], *, fetched: bool = False) -> tuple[Span, ...]:
        """Return the times of which all rows like ``row`` are stored.

        Args:
            kind: The table.
            row: OKX's fields by which subscriptions are narrowed: ``instType``, ``instId``, ``ccy``.
            fetched: Only what REST was requested for, for rows that are not pushed.
        """
        found = list(self.windows.get(kind.table, ()))
        for key, channel in self.channels.items():
            if channel_of(key) not in kind.channels or not covers_row(channel.arguments, row):
                continue
            if not fetched:
                found += channel.pushed
            elif channel.fetched_until is not None:
                found += without(channel.pushed, Span(channel.fetched_until, END))
        return joined(found)


def read_known(db: Connection, account: str) -> Known:
    """Read what is known of an account."""
    known = Known()
    gaps: dict[str, list[StoredGap]] = {}
    for channel, *gap in db.execute(
        "SELECT channel, from_at, to_at, outcome, filled_at, note FROM gaps WHERE account = ?", [account]
    ).fetchall():
        gaps.setdefault(channel, []).append(StoredGap(*gap))
    covered = {
        channel: Span(moment(since), END if live else moment(until))
        for channel, since, until, live in db.execute(
            "SELECT channel, covered_since, covered_until, live = 1 AND wanted = 1 FROM coverage WHERE account = ?",
            [account],
        ).fetchall()
    }
    for channel in {*gaps, *covered}:
        known.channels[channel] = _channel(channel, covered.get(channel), gaps.get(channel, ()))
    for table, since_ms, until_ms in db.execute(
        "SELECT subject, since_ms, until_ms FROM fetched WHERE account = ?", [account]
    ).fetchall():
        known.windows.setdefault(table, []).append(Span(moment(since_ms * 1000), moment(until_ms * 1000)))
    return known


def _channel(key: str, covered: Span | None, gaps: Iterable[StoredGap]) -> Channel:
    spans = [covered] if covered else []
    holes: list[Span] = []
    fetched_until = None
    for from_at, to_at, outcome, filled_at, note in gaps:
        gap = Span(moment(from_at), END if to_at is None else moment(to_at))
        if outcome is None or filled_at is None or (outcome == "partial" and not (note or "").startswith(NOT_NEEDED)):
            holes.append(gap)
            continue
        kept_since = min(max(gap.begin, moment(max(filled_at, 0)) - KEPT), gap.end)
        spans.append(Span(kept_since, gap.end))
        holes.append(Span(gap.begin, kept_since))
        fetched_until = max(fetched_until or gap.end, gap.end)
    for hole in holes:
        spans = without(spans, hole)
    return Channel(arguments_of(key), joined(spans), fetched_until)
