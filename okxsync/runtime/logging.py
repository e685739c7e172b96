"""The daemon's own log lines on stderr: for people, or JSON for machines; what repeats is said once a minute.

A network that is down makes every connection complain at every attempt. Of lines that say the same of the same
subject only the first in ``QUIET_S`` is written; the next one says how many there were.
"""

import logging
import sys
import time
from collections.abc import Callable
from typing import Final, Literal

import msgspec

from okxsync.runtime.text import CONTROL_ESCAPES

QUIET_S: Final = 60.0
_MOST: Final = 10_000
"""Subjects to remember; beyond that all are forgotten, and complain once more."""

Format = Literal["text", "json"]


def log_to_stderr(level: int = logging.INFO, form: Format = "text") -> None:
    """One structured line per event: time, level, what."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else _Text())
    handler.addFilter(OnceAMinute())
    logger = logging.getLogger("okxsync")
    logger.addHandler(handler)
    logger.setLevel(level)


class OnceAMinute(logging.Filter):
    """Lets the first warning or error of each kind and subject through, and the first after a while."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._written: dict[tuple[str, str], tuple[float, int]] = {}  # when it was written, and how often it was not

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return True
        subject = str(record.args[0]) if isinstance(record.args, tuple) and record.args else ""
        known_as = record.msg, subject
        now = self._clock()
        at, dropped = self._written.get(known_as, (float("-inf"), 0))
        if now - at < QUIET_S:
            self._written[known_as] = at, dropped + 1
            return False
        if len(self._written) > _MOST:
            self._written.clear()
        self._written[known_as] = now, 0
        if dropped:
            record.msg, record.args = f"{record.getMessage()} (and {dropped} times since it was said)", ()
        return True


class JsonLines(logging.Formatter):
    """One JSON object per line: ``at``, ``level``, ``logger``, ``message``, and ``traceback`` if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "at": _at(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),  # JSON writes control characters out by itself
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text = f"{_at(record)} {record.levelname} {record.getMessage().translate(CONTROL_ESCAPES)}"
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


def _at(record: logging.LogRecord) -> str:
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03}Z"
