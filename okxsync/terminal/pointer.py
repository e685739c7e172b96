"""How far one browser has come: which parts it gets next, and what it has not acknowledged. Pure."""

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from okxsync.terminal.ring import Ring

WINDOW: Final = 4
"""Messages that may be sent without an acknowledgement: a slow page is never further behind, and costs no memory."""
LARGE: Final = 64 * 1024
"""Characters: a part of this length is a message of its own, so that the page paints it before the next one."""
NOW: Final = "now"


class _Sent(NamedTuple):
    """A message; ``numbers``: the last one of each topic in it."""

    at_s: float
    numbers: Mapping[str, int]


class Pointer:
    """The place of one browser in the rings.

    Args:
        rings: In the order of the parts of a message.

    Attributes:
        took_s: From the last message that is acknowledged to its acknowledgement.
    """

    def __init__(self, rings: Mapping[str, Ring]) -> None:
        self._rings: Final = rings
        self._at: dict[str, int | None] = {}
        self._unanswered: set[str] = set()
        self._beat = 0
        self._sent: Final[deque[_Sent]] = deque()
        self._acknowledged: dict[str, int] = {}
        self.took_s = 0.0

    def subscribe(self, wanted: Mapping[str, int | None], *, same_epoch: bool) -> None:
        """Follow these topics from these numbers on. Unknown topics are ignored."""
        self._at = {
            name: wanted[name] if same_epoch else None for name in self._rings if name in wanted and name != NOW
        }
        self._unanswered = set(self._at)

    def acknowledge(self, numbers: Mapping[str, int], now_s: float = 0.0) -> None:
        """The page has painted up to these numbers."""
        for topic, number in numbers.items():
            sent = self._beat if topic == NOW else self._at.get(topic) or 0
            self._acknowledged[topic] = min(number, sent)  # what was not sent cannot be acknowledged ahead
        while self._sent and self._is_acknowledged(self._sent[0]):
            self.took_s = now_s - self._sent.popleft().at_s

    def _is_acknowledged(self, sent: _Sent) -> bool:
        wanted = {*self._at, NOW}
        return all(
            self._acknowledged.get(topic, -1) >= number for topic, number in sent.numbers.items() if topic in wanted
        )

    def lag_s(self, now_s: float) -> float:
        """Return the age of the oldest message that is not acknowledged; 0 if there is none."""
        return now_s - self._sent[0].at_s if self._sent else 0.0

    def next(self, beat: tuple[int, str] | None, now_s: float) -> str | None:
        """Return the next message, which counts as sent; None if there is nothing to send, or too much is unread.

        Args:
            beat: The number and the text of the last heartbeat.
        """
        if len(self._sent) >= WINDOW:
            return None
        parts: list[str] = []
        numbers: dict[str, int] = {}
        if beat is not None and not self._beat:  # it says how much there is to read, and the daemon's state
            self._beat = beat[0]
            self._sent.append(_Sent(now_s, {NOW: beat[0]}))
            return f"[{beat[1]}]"
        for name, number in self._at.items():
            found = self._parts(self._rings[name], number)
            if not found:
                continue
            parts += found
            numbers[name] = self._at[name] = self._rings[name].number
            self._unanswered.discard(name)
            if _length(found) >= LARGE:
                break
        else:
            if beat is not None and beat[0] > self._beat:
                parts.append(beat[1])
                self._beat = numbers[NOW] = beat[0]
        if not parts:
            return None
        self._sent.append(_Sent(now_s, numbers))
        return f"[{','.join(parts)}]"

    def _parts(self, ring: Ring, number: int | None) -> list[str]:
        if not ring.number:
            return []
        if found := ring.since(number):
            return list(found)
        return [ring.empty()] if ring.topic.name in self._unanswered else []


def _length(parts: Iterable[str]) -> int:
    return sum(map(len, parts))
