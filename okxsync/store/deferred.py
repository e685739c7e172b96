"""What the writer knows and has not written yet: evidence about channels, and what connections have received.

Each transaction would change the same few rows of ``coverage`` and ``connections`` once more, which costs as much as
the rows of a small batch. So these changes are collected in memory, and written

- before each message that changes the state of a channel or a connection,
- with the first transaction ``DEFER_US`` after the last time,
- and then without one, if no message arrives.

The rule: everything deferred is about frames of an earlier transaction or of this one, and is written all at once. So

- a crash loses evidence of the last second, and never data: what the database claims stays behind what it holds;
- whoever reads that a ping was answered also reads everything that was deferred before it.
"""

import math
from typing import Final

import msgspec

from okxsync.messages import Pong
from okxsync.store import coverage_table, register
from okxsync.store.coverage_table import Key
from okxsync.store.database import Connection

DEFER_US: Final = 1_000_000
"""How old ``last_message_at``, ``answered_at`` and ``covered_until`` may be; ``status`` reads them once a second."""


class Deferred(msgspec.Struct):
    """Changes that are not written yet. One that ends in the same row replaces or extends the one before.

    Attributes:
        received: By connection: when its last frame was received, and how many were.
        answered: By connection: when the last answered ping was sent, and its round trip; microseconds.
        pushed: By channel: when its last push was received (local microseconds), and the latest time that its pushes
            have named (OKX's milliseconds).
        snapshots: By channel: after which time its last complete snapshot was sent, see ``messages.Frames``.
        lag_us: How long the oldest frame of the last transaction had waited.
        written_at: When it was last written.
    """

    received: dict[int, tuple[int, int]] = {}
    answered: dict[int, tuple[int, int]] = {}
    pushed: dict[Key, tuple[int, int]] = {}
    snapshots: dict[Key, int] = {}
    lag_us: int | None = None
    written_at: int = 0

    def copy(self) -> "Deferred":
        """Return a copy to go back to if a transaction fails."""
        return Deferred(
            self.received.copy(),
            self.answered.copy(),
            self.pushed.copy(),
            self.snapshots.copy(),
            self.lag_us,
            self.written_at,
        )

    def add_received(self, connection_id: int, at: int, count: int) -> None:
        _, before = self.received.get(connection_id, (0, 0))
        self.received[connection_id] = at, before + count

    def add_answered(self, pong: Pong) -> None:
        before, _ = self.answered.get(pong.connection_id, (0, 0))
        self.answered[pong.connection_id] = max(pong.at, before), pong.rtt_us

    def add_pushed(self, key: Key, at: int, latest_ms: int, sent_after: int) -> None:
        """Add a push.

        Args:
            latest_ms: The latest time that it names, or 0.
            sent_after: Of the snapshot that it completes, or 0.
        """
        _, before = self.pushed.get(key, (0, 0))
        self.pushed[key] = at, max(latest_ms, before)
        if sent_after:
            self.snapshots[key] = max(sent_after, self.snapshots.get(key, 0))

    def write(self, db: Connection, now_us: int) -> None:
        """Write everything in the current transaction, in which all that it is about is stored."""
        if self.pushed:
            coverage_table.pushed(db, self.pushed.items(), now_us)
        if self.snapshots:
            coverage_table.snapshots(db, self.snapshots.items())
        if self.answered:
            coverage_table.answered(db, ((number, at) for number, (at, _) in self.answered.items()))
            register.answered(db, self.answered.items())
        if self.received:
            register.received(db, self.received.items())
        if self.lag_us is not None:
            register.count(db, "lag_us", self.lag_us)
        for written in (self.received, self.answered, self.pushed, self.snapshots):
            written.clear()
        self.lag_us = None
        self.written_at = now_us

    def wait_us(self, now_us: int) -> float:
        """Return in how many microseconds it is due; infinite if there is nothing to write."""
        if not (self.received or self.answered or self.pushed or self.lag_us is not None):
            return math.inf
        return max(self.written_at + DEFER_US - now_us, 0)
