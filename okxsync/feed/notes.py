"""Journal entries of one session, with a limit on what the exchange can repeat. No I/O."""

from typing import Final

from okxsync.events import Event
from okxsync.feed.spec import ConnectionSpec
from okxsync.messages import Note

MAX_NOTES: Final = 100
"""Journal entries in one session about frames that the exchange may repeat. Each of these frames is stored anyway."""


class SessionNotes:
    """Makes the journal entries of one session."""

    def __init__(self, spec: ConnectionSpec) -> None:
        self._account = spec.account
        self._endpoint = spec.endpoint
        self._made: set[tuple[str, str]] = set()  # name of the event, and its subject

    def note(self, event: Event, detail: str, at: int) -> Note:
        """Return the entry; ``at`` is local time in microseconds UTC."""
        return event.note(at, self._account, f"{self._endpoint}: {detail}")

    def once(self, event: Event, subject: str, detail: str, at: int) -> list[Note]:
        """Return the entry the first time that this event is about ``subject``, and below ``MAX_NOTES``; else none."""
        if (event.name, subject) in self._made or len(self._made) >= MAX_NOTES:
            return []
        self._made.add((event.name, subject))
        return [self.note(event, detail, at)]
