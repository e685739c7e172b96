"""The parameters of a request for a picture or a detail, and the moment of the database that answers it."""

from collections.abc import Mapping
from typing import Final

from okxsync.mirror.reader import Mirror
from okxsync.terminal.pictures import Window

SECOND: Final = 1_000_000
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
LONGEST: Final = 400 * DAY
WIDEST: Final = 4096
LONGEST_NAME: Final = 200


class BadRequest(ValueError):
    """The parameters of a request are not those of a picture."""


class Parameters:
    """Of a request, as its query has them."""

    def __init__(self, given: Mapping[str, str]) -> None:
        self._given = given

    def integer(self, name: str, least: int, most: int) -> int:
        text = self._given.get(name, "")
        if not (text.isascii() and text.isdigit() and len(text) < 20 and least <= int(text) <= most):
            raise BadRequest(f"{name}: expected a number from {least} to {most}")
        return int(text)

    def name(self, name: str, default: str | None = None) -> str:
        text = self._given.get(name, default)
        if not text or len(text) > LONGEST_NAME:
            raise BadRequest(f"{name}: expected a name")
        return text

    def window(self, now: int) -> Window:
        begin, end = (self.integer(name, 0, 2**62) for name in ("from", "until"))
        if not 0 < end - begin <= LONGEST:
            raise BadRequest("from, until: expected a time of 400 days at most")
        return Window(begin, end, self.integer("width", 1, WIDEST) if "width" in self._given else 1, now)


class Moment:
    """One moment of the database."""

    def __init__(self, mirror: Mirror, now: int) -> None:
        self.past: Final = mirror.past()
        self.screen: Final = mirror.screen()
        self.close_up: Final = mirror.close_up()
        self.plans: Final = mirror.plans()
        self.now: Final = now

    def not_stored(self) -> str | None:
        return self.screen.daemon(self.now).not_stored
