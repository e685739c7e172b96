"""The daemon's log lines on stderr, as text or as JSON. Repeated messages are limited to one per minute.

While the network is down, every connection logs an error at every attempt. Of lines with the same message and the same
subject, only the first within ``QUIET_S`` is written; the next one says how many were left out.

Whatever reads stderr may have stopped: a pager, a terminal (Ctrl-S), a supervisor that hangs. A write would then block
the event loop. So the line is dropped, and the next one that can be written says how many were.
"""

import logging
import os
import select
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Literal, TextIO

import msgspec

from okxsync.runtime.text import CONTROL_ESCAPES

QUIET_S: Final = 60.0
_MAX_SUBJECTS: Final = 10_000
"""Above this number all remembered subjects are dropped, and each is logged once more."""

_PIECE: Final = select.PIPE_BUF // 4
"""Characters, of at most four bytes, that a pipe takes without blocking when it is writable (POSIX: poll, write)."""

Format = Literal["text", "json"]


def log_to_stderr(level: int = logging.INFO, form: Format = "text") -> None:
    """Log to stderr: one line per event, with time, level and message."""
    handler = NonBlocking(sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else _Text())
    handler.addFilter(OnceAMinute())
    logger = logging.getLogger("okxsync")
    logger.addHandler(handler)
    logger.setLevel(level)


class NonBlocking(logging.StreamHandler[TextIO]):
    """Writes a line if that does not block; else drops it, and says later how many were dropped."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._dropped = 0
        self._terminal = _open_terminal(stream)

    def close(self) -> None:
        if self._terminal is not None:
            os.close(self._terminal)
            self._terminal = None
        super().close()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            lines = [self.format(record)]
            if self._dropped:
                text, dropped = "%d log lines were dropped: stderr was not read", (self._dropped,)
                notice = logging.LogRecord(record.name, logging.WARNING, "", 0, text, dropped, None)
                lines = ["", self.format(notice), *lines]  # the last line may have been cut
            self._dropped = 0 if self._write("\n".join([*lines, ""])) else self._dropped + 1
        except Exception:
            self.handleError(record)

    def _write(self, text: str) -> bool:
        """Write as much as does not block; return whether that was all."""
        if self._terminal is not None:
            data = text.encode(errors="backslashreplace")
            with suppress(BlockingIOError):
                return os.write(self._terminal, data) == len(data)
            return False
        for start in range(0, len(text), _PIECE):
            if not self._is_writable():
                return False
            self.stream.write(text[start : start + _PIECE])
            self.stream.flush()
        return True

    def _is_writable(self) -> bool:
        try:
            number = self.stream.fileno()
        except (OSError, ValueError):
            return True  # not a file of the system
        writable = select.poll()
        writable.register(number, select.POLLOUT)
        return bool(writable.poll(0))


def _open_terminal(stream: TextIO) -> int | None:
    """Open the stream's terminal once more, if it is one; None if that is impossible.

    A terminal is writable as soon as it takes one byte, and a write waits until it takes all. The descriptor of the
    stream cannot be made non-blocking, because other programs share it.
    """
    with suppress(OSError, ValueError):  # not a file of the system, or not ours to open
        if os.isatty(number := stream.fileno()):
            return os.open(os.ttyname(number), os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
    return None


class OnceAMinute(logging.Filter):
    """Passes one warning or error per minute for each message and subject."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._written: dict[tuple[str, str], tuple[float, int]] = {}  # time written, number of lines left out since

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return True
        subject = str(record.args[0]) if isinstance(record.args, tuple) and record.args else ""
        key = record.msg, subject
        now = self._clock()
        at, dropped = self._written.get(key, (float("-inf"), 0))
        if now - at < QUIET_S:
            self._written[key] = at, dropped + 1
            return False
        if len(self._written) > _MAX_SUBJECTS:
            self._written.clear()
        self._written[key] = now, 0
        if dropped:
            record.msg, record.args = f"{record.getMessage()} (repeated {dropped} times since)", ()
        return True


class JsonLines(logging.Formatter):
    """One JSON object per line: ``at``, ``level``, ``logger``, ``message``, and ``traceback`` if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "at": _at(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),  # JSON escapes control characters
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
