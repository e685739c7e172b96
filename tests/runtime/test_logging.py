"""Repeated messages are limited to one per minute, with the number of those left out."""

import logging

from okxsync.runtime.logging import QUIET_S, OnceAMinute


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
