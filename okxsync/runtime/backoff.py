"""The delay before the next attempt."""

import random
from typing import Final

RETRY_REJECTED_S: Final = 1800.0
"""A rejected key is retried after this time, over WebSocket and REST; a changed configuration is tried at once."""


class BackOff:
    """Decorrelated jitter: each delay is random, between ``first_s`` and three times the previous one, up to ``cap_s``.

    It is reset only after a connection was live for ``stable_s``, so a connection that keeps failing slows down.
    """

    def __init__(
        self, rng: random.Random, *, first_s: float = 0.5, cap_s: float = 60.0, stable_s: float = 60.0
    ) -> None:
        self._rng = rng
        self.first_s, self.cap_s, self.stable_s = first_s, cap_s, stable_s
        self._last_s = first_s

    def next_delay(self, live_s: float) -> float:
        """Return the delay in seconds after a connection that was live for ``live_s`` seconds."""
        if live_s >= self.stable_s:
            self._last_s = self.first_s
        self._last_s = min(self.cap_s, self._rng.uniform(self.first_s, self._last_s * 3))
        return self._last_s
