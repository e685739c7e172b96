"""Repeated messages are limited to one per minute, and nothing waits for a reader of the log that does not read."""

import logging
import os
import re

from okxsync.runtime.logging import QUIET_S, NonBlocking, OnceAMinute


def test_repeated_messages_are_limited_to_one_per_minute() -> None:
    now = 0.0
    once = OnceAMinute(clock=lambda: now)

    def logged(level: int, text: str, *args: object) -> str | None:
        record = logging.LogRecord("okxsync", level, "", 0, text, args, None)
        return record.getMessage() if once.filter(record) else None

    assert logged(logging.WARNING, "%s lost: %s", "alpha", "reset") == "alpha lost: reset"
    assert logged(logging.WARNING, "%s lost: %s", "alpha", "timeout") is None
    assert logged(logging.WARNING, "%s lost: %s", "alpha", "timeout") is None
    assert logged(logging.WARNING, "%s lost: %s", "beta", "reset") == "beta lost: reset"
    assert logged(logging.INFO, "%s live", "alpha") == logged(logging.INFO, "%s live", "alpha") == "alpha live"
    now += QUIET_S
    assert logged(logging.WARNING, "%s lost: %s", "alpha", "reset") == "alpha lost: reset (repeated 2 times since)"
    assert logged(logging.WARNING, "%s lost: %s", "alpha", "reset") is None


def test_nothing_waits_for_a_reader_that_does_not_read() -> None:
    ours, theirs = os.pipe()
    log = logging.Logger("okxsync")
    with os.fdopen(theirs, "w") as stream, os.fdopen(ours, "rb", buffering=0) as reader:
        log.addHandler(NonBlocking(stream))
        for number in range(300):  # more than the pipe takes; a blocking write would never return
            log.warning("%d %s", number, "\N{EURO SIGN}" * 1_000)
        before = reader.read(2**20).decode(errors="replace").splitlines()
        log.warning("it reads again")
        after = reader.read(2**20).decode().splitlines()
    written = sum(line.endswith("\N{EURO SIGN}" * 1_000) for line in before)
    assert 10 < written < 300
    assert after == ["", f"{300 - written} log lines were dropped: stderr was not read", "it reads again"]


def test_nothing_waits_for_a_terminal_that_shows_nothing() -> None:
    """A terminal is writable as soon as it takes one byte."""
    screen, terminal = os.openpty()
    log = logging.Logger("okxsync")
    handler = NonBlocking(os.fdopen(terminal, "w"))
    log.addHandler(handler)
    with handler.stream, os.fdopen(screen, "rb", buffering=0) as reader:
        for number in range(1_000):  # more than a terminal takes; a blocking write would never return
            log.warning("%d %s", number, "\N{EURO SIGN}" * 100)
        os.set_blocking(screen, False)
        shown = b""
        while part := reader.read(2**16):
            shown += part
        log.warning("it reads again")
        after = b""
        while b"reads again" not in after:
            after += reader.read(2**16) or b""
        handler.close()
    written = len(re.findall(rb"\xac\r\n", shown))
    notices = [int(count) for count in re.findall(rb"(\d+) log lines were dropped: stderr was not read", shown + after)]
    assert 1 < written < 1_000
    assert 1_000 <= written + sum(notices) <= 1_000 + len(notices)  # a line without its end was dropped
    assert after.endswith(b" log lines were dropped: stderr was not read\r\nit reads again\r\n")
