"""The diffs of one topic, encoded once for all browsers. Pure."""

from collections import deque
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Final, NamedTuple

import msgspec

from okxsync.terminal.book import Diff, Key
from okxsync.terminal.topics import Topic

KEPT: Final = 256
"""Diffs of each topic; who lacks more gets a snapshot."""
_encode: Final = msgspec.json.Encoder().encode


class Encoded(NamedTuple):
    """A diff as JSON texts: rows by their key, and the keys of rows that are gone; ``at`` in microseconds."""

    topic: Topic
    at: int
    put: Mapping[Key, str]
    gone: Mapping[Key, str]


def encode(diff: Diff, at: int) -> Encoded:
    """Encode a diff; this may run in a thread."""
    put = {key: _encode(row).decode() for key, row in diff.put.items()}
    return Encoded(diff.topic, at, put, {key: _encode(key).decode() for key in diff.gone})


class Ring:
    """The rows of a topic now, and its last diffs.

    Attributes:
        number: Of the last diff; 0 before the first one.
    """

    def __init__(self, topic: Topic) -> None:
        self.topic: Final = topic
        self.number = 0
        self._at = 0
        self._rows: dict[Key, str] = {}
        self._rows_size = 0
        self._diffs: Final[deque[str]] = deque(maxlen=KEPT)
        self._snapshot: str | None = None

    def add(self, diff: Encoded) -> None:
        self.number += 1
        self._at = diff.at
        for key in diff.gone:
            self._rows_size -= len(self._rows.pop(key, ""))
        for key, text in diff.put.items():
            self._rows_size += len(text) - len(self._rows.get(key, ""))
            self._rows[key] = text
        self._diffs.append(self._diff(self.number, tuple(diff.put.values()), tuple(diff.gone.values())))
        self._snapshot = None

    @property
    def count(self) -> int:
        return len(self._rows)

    def since(self, number: int | None) -> Sequence[str]:
        """Return the parts that lead from a number to the present: diffs, or a snapshot if that is shorter.

        They are empty if the topic was never read, or nothing is new.
        """
        if number == self.number:
            return ()
        if number is not None and self.number - len(self._diffs) <= number < self.number:
            diffs = list(islice(reversed(self._diffs), self.number - number))
            if sum(map(len, diffs)) <= self._rows_size + 1000:
                return diffs[::-1]
        return (self.snapshot(),)

    def empty(self) -> str:
        """Return the part that says that nothing changed."""
        return self._diff(self.number, (), ())

    def snapshot(self) -> str:
        if self._snapshot is None:
            head = {"t": self.topic.name, "n": self.number, "key": self.topic.key, "cols": self.topic.columns}
            rows = ",".join(self._rows.values())
            self._snapshot = f'{_encode(head).decode()[:-1]},"rows":[{rows}],"at":{self._at}}}'
        return self._snapshot

    def _diff(self, number: int, put: Sequence[str], gone: Sequence[str]) -> str:
        name = self.topic.name
        return f'{{"t":"{name}","n":{number},"put":[{",".join(put)}],"del":[{",".join(gone)}],"at":{self._at}}}'
