"""The exchange's clock, measured over REST (OKX docs: public-data-rest-api-get-system-time).

OKX rejects a signature that is 30 s off, so a site's clock follows each answer at once. The offset is taken at the
middle of the request: half of the round trip is the most it can be wrong by. Every measurement goes to the process's
clock too, which is slower to believe it (see ``runtime.clock``).
"""

import logging

import httpx
import msgspec
import trio

from okxsync.rest.http import UNREADABLE, Http, fetch
from okxsync.runtime import clock
from okxsync.runtime.clock import steady_s

log = logging.getLogger("okxsync.rest")

MEASURE_S = 5.0
FRESH_S = 1.0
"""A more recent measurement is not repeated: hundreds of connections may need one at the same time, and the limit is 10
in 2 s per IP. A wrong one is replaced before many logins are rejected for it."""
RESOLUTION_S = 0.001
"""OKX reports whole milliseconds."""
NO_TIME = (ValueError, ArithmeticError, IndexError)
"""What reading the time from a well-formed reply may raise."""


class _Time(msgspec.Struct):
    ts: str


class _TimeReply(msgspec.Struct):
    data: list[_Time]


class SiteClock:
    """The clock of one site, shared by everything that connects there."""

    def __init__(self, client: Http, rest: str) -> None:
        self._client = client
        self._url = f"{rest}/api/v5/public/time"
        self._lock = trio.Lock()
        self._measured_at = float("-inf")
        self._offset_s: float | None = None  # to the steady clock; None: not measured yet

    def now_s(self) -> float:
        """Return the exchange's time in Unix seconds; until it was measured, the process's time."""
        return clock.now_us() / 1e6 if self._offset_s is None else steady_s() + self._offset_s

    def ahead_s(self) -> float:
        """Return by how much the exchange's clock is ahead of the process's, in seconds."""
        return self.now_s() - clock.now_us() / 1e6

    def age_s(self) -> float:
        """Return how long ago the exchange's time was received, in seconds; infinity: never."""
        return trio.current_time() - self._measured_at

    @property
    def measured(self) -> bool:
        """Whether the exchange's time was ever received."""
        return self._offset_s is not None

    async def measure(self) -> None:
        """Request the exchange's time. If that fails, the last offset stays."""
        async with self._lock:
            if trio.current_time() - self._measured_at < FRESH_S:
                return
            try:
                with trio.fail_after(MEASURE_S):
                    before = steady_s()
                    _, body = await fetch(self._client, self._url)
                    after = steady_s()
                theirs = int(msgspec.json.decode(body, type=_TimeReply).data[0].ts) / 1000
            except (httpx.HTTPError, OSError, trio.TooSlowError, *UNREADABLE, *NO_TIME) as error:
                log.warning("clock: the time of %s cannot be read: %s", self._url, str(error) or type(error).__name__)
                return
            self._offset_s = theirs - (before + after) / 2
            self._measured_at = trio.current_time()
            clock.current.measured(theirs - after, theirs + RESOLUTION_S - before)
