"""The exchange's clock, measured over REST (OKX docs: public-data-rest-api-get-system-time).

OKX rejects a signature that is 30 s off. The offset is taken at the middle of the request, so it is wrong by half the
round trip at most. It is kept relative to a monotonic clock, so a step of this machine's clock does no harm.
"""

import logging
import time

import httpx
import msgspec
import trio

from okxsync.rest.http import UNREADABLE, fetch
from okxsync.runtime.clock import steady_s

log = logging.getLogger("okxsync.rest")

MEASURE_S = 5.0
FRESH_S = 1.0
"""A more recent measurement is not repeated: hundreds of connections may need one at the same time, and the limit is 10
in 2 s per IP. A wrong one is replaced before many logins are rejected for it."""
WARN_S = 1.0
NO_TIME = (ValueError, ArithmeticError, IndexError)
"""What reading the time from a well-formed reply may raise."""


class _Time(msgspec.Struct):
    ts: str


class _TimeReply(msgspec.Struct):
    data: list[_Time]


class SiteClock:
    """The clock of one site, shared by everything that connects there."""

    def __init__(self, client: httpx.AsyncClient, rest: str) -> None:
        self._client = client
        self._url = f"{rest}/api/v5/public/time"
        self._lock = trio.Lock()
        self._measured_at = float("-inf")
        self._ahead_s = time.time() - steady_s()  # until it is measured: this machine's time

    def now_s(self) -> float:
        """Return the exchange's time in Unix seconds."""
        return steady_s() + self._ahead_s

    @property
    def offset_s(self) -> float:
        """By how much the exchange's clock is ahead of this machine's, in seconds."""
        return self.now_s() - time.time()

    @property
    def measured(self) -> bool:
        """Whether the exchange's time was ever received."""
        return self._measured_at > float("-inf")

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
                log.warning("clock: the time of %s cannot be read: %s", self._url, error or type(error).__name__)
                return
            self._ahead_s = theirs - (before + after) / 2
            self._measured_at = trio.current_time()
            if abs(self.offset_s) > WARN_S:
                log.warning("clock: this machine is %.1f s off %s; synchronize it by NTP", -self.offset_s, self._url)
