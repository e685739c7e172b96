"""Reading the raw log: pages of frames in the order received, each page a short read of its own.

Frames are numbered as they are written, so nearly in the order of time. A moment is found by binary search over the
numbers, and only frames within a minute of it are compared one by one. No read lasts longer than its page, so a slow
consumer (``less``) never blocks a checkpoint of the write-ahead log.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
import zstandard

from okxsync.messages import MARKET
from okxsync.store.database import Connection
from okxsync.store.raw_log import Codec

FIRST_PAGE: Final = 20
PAGE: Final = 1000
"""Frames per page; the first page is small, so that output starts at once."""
SPAN: Final = 50_000
"""The most rows that one read scans when few of them match."""
DISORDER_US: Final = 60_000_000
"""How far the time of a frame may differ from its neighbours': connections interleave, and clocks are set."""


class LoggedFrame(msgspec.Struct, frozen=True):
    """One frame as received; ``received_at`` in microseconds UTC, ``account`` is None for the public connection."""

    id: int
    received_at: int
    connection_id: int
    account: str | None
    channel: str | None
    kind: str
    text: str


class FrameFilter(msgspec.Struct, frozen=True):
    """Which frames to read: empty or None means all. ``grep`` is searched in the frame's text."""

    accounts: Sequence[str] = ()
    channels: Sequence[str] = ()
    since_us: int | None = None
    until_us: int | None = None
    grep: re.Pattern[str] | None = None


class FrameReader:
    """Reads the frames that match, and on a later call those stored since, over a connection of ``Mirror``."""

    def __init__(self, db: Connection, wanted: FrameFilter, *, only_new: bool = False) -> None:
        self._db = db
        self._wanted = wanted
        self._where, self._values = _condition(wanted)
        self._size = FIRST_PAGE
        with self._db.translated():
            self._codec = self._open_codec()
            if only_new:
                self._after = _ends(self._db)[1]
            else:
                self._after = 0 if wanted.since_us is None else _before(self._db, wanted.since_us - DISORDER_US)

    def pages(self) -> Iterator[list[LoggedFrame]]:
        """Yield pages up to the newest frame, or the end of the filter; the next call continues from there.

        Raises:
            StoreError: the database cannot be read.
        """
        with self._db.translated():
            yield from self._pages()

    def _pages(self) -> Iterator[list[LoggedFrame]]:
        last = _ends(self._db)[1]
        if self._wanted.until_us is not None:
            last = min(last, _before(self._db, self._wanted.until_us + DISORDER_US))
        while self._after < last:
            upto = min(last, self._after + SPAN)
            rows = self._db.execute(
                "SELECT id, received_at, connection_id, account, channel, kind, body FROM messages"
                f" WHERE id > ? AND id <= ?{self._where} ORDER BY id LIMIT ?",
                (self._after, upto, *self._values, self._size),
            ).fetchall()
            self._after = rows[-1][0] if len(rows) == self._size else upto
            self._size = min(PAGE, self._size * 4)
            frames = [LoggedFrame(*(*row[:6], self._text(row[6]))) for row in rows]
            if grep := self._wanted.grep:
                frames = [frame for frame in frames if grep.search(frame.text)]
            if frames:
                yield frames

    def _text(self, body: bytes) -> str:
        try:
            return self._codec.decompress(body).decode(errors="replace")
        except KeyError:  # the writer has trained a new dictionary since
            self._codec = self._open_codec()
        except zstandard.ZstdError:
            return _DAMAGED
        try:
            return self._codec.decompress(body).decode(errors="replace")
        except (KeyError, zstandard.ZstdError):
            return _DAMAGED

    def _open_codec(self) -> Codec:
        return Codec(self._db.execute("SELECT id, body FROM codecs").fetchall())


_DAMAGED: Final = "(this frame's body is damaged)"


def _condition(wanted: FrameFilter) -> tuple[str, list[str | int]]:
    parts: list[str] = []
    values: list[str | int] = []
    for column, names in (("account", wanted.accounts), ("channel", wanted.channels)):
        named = [name for name in names if column != "account" or name != MARKET]
        either = [f"{column} IN ({', '.join('?' * len(named))})"] if named else []
        if len(named) < len(names):
            either.append("account IS NULL")
        if either:
            parts.append(f"({' OR '.join(either)})")
            values += named
    for sign, at in ((">=", wanted.since_us), ("<=", wanted.until_us)):
        if at is not None:
            parts.append(f"received_at {sign} ?")
            values.append(at)
    return "".join(f" AND {part}" for part in parts), values


def _ends(db: Connection) -> tuple[int, int]:
    """Return the first and the last frame's number; 0 and 0 for an empty log."""
    first, last = (db.execute(f"SELECT {end}(id) FROM messages").fetchone()[0] for end in ("min", "max"))
    return first or 0, last or 0


def _before(db: Connection, at_us: int) -> int:
    """Return the number of the last frame before a time, as if all were in the order of time."""
    low, high = _ends(db)
    low -= 1
    while low < high:
        middle = (low + high + 1) // 2
        found = db.execute(
            "SELECT id, received_at FROM messages WHERE id <= ? ORDER BY id DESC LIMIT 1", [middle]
        ).fetchone()
        if found is None or found[1] < at_us:
            low = middle
        else:
            high = found[0] - 1
    return max(low, 0)
