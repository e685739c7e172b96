"""Connections and journal, as the view Health shows them. Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeAlias

from okxsync import events
from okxsync.mirror.screen import Connected, Coverage

Row: TypeAlias = tuple[Any, ...]

ENTRIES: Final = 200
"""Of the journal; `okxsync status` and SQL have the older ones."""
_EVENTS: Final = {one.name: one for one in vars(events).values() if isinstance(one, events.Event)}


def connection_rows(connections: Iterable[Connected], coverage: Iterable[Coverage]) -> list[Row]:
    """Return the rows of the topic ``connections``."""
    channels = Counter(one.connection_id for one in coverage if one.live)
    return [
        (
            *(one.id, one.listener, one.endpoint, one.site, bool(one.demo), one.phase, one.since_at, one.answered_at),
            *(one.last_message_at, one.last_rtt_us, one.messages, one.reconnects, channels[one.id]),
            *(one.last_error, one.next_attempt_at),
        )
        for one in connections
    ]


def journal_rows(entries: Iterable[Sequence[Any]]) -> list[Row]:
    """Return the rows of the topic ``journal``."""
    rows = []
    for number, at, level, account, event, detail in entries:
        known = _EVENTS.get(event)
        rows.append((number, at, level, account, event, detail, known and known.meaning, known and known.remedy))
    return rows
