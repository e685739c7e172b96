"""What repeats is said once a minute, with how often it was not said."""

import logging

from okxsync.runtime.logging import QUIET_S, OnceAMinute


def test_what_repeats_is_said_once_a_minute() -> None:
    now = 0.0
    once = OnceAMinute(clock=lambda: now)

    def said(level: int, text: str, *args: object) -> str | None:
        record = logging.LogRecord("okxsync", level, "", 0, text, args, None)
        return record.getMessage() if once.filter(record) else None

    assert said(logging.WARNING, "%s lost: %s", "alpha", "reset") == "alpha lost: reset"
    assert said(logging.WARNING, "%s lost: %s", "alpha", "timeout") is None
    assert said(logging.WARNING, "%s lost: %s", "alpha", "timeout") is None
    assert said(logging.WARNING, "%s lost: %s", "beta", "reset") == "beta lost: reset"
    assert said(logging.INFO, "%s live", "alpha") == said(logging.INFO, "%s live", "alpha") == "alpha live"
    now += QUIET_S
    assert said(logging.WARNING, "%s lost: %s", "alpha", "reset") == "alpha lost: reset (and 2 times since it was said)"
    assert said(logging.WARNING, "%s lost: %s", "alpha", "reset") is None
