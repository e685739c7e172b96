"""The exchange's clock, measured over REST (OKX docs: public-data-rest-api-get-system-time).

OKX refuses a signature that is 30 s off. The offset is taken at the middle of the request, so half the round trip is
the most it can be wrong by. It is kept against a clock that nobody sets, so that a step of this machine's does no harm.
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
"""A measurement this young is not repeated: hundreds of connections may ask at once, and the limit is 10 in 2 s per IP.
One that was wrong is mended before many logins are refused for it."""
WARN_S = 1.0
NO_TIME = (ValueError, ArithmeticError, IndexError)
"""What a reply raises that is made like one, and tells no time."""


class _Time(msgspec.Struct):
    ts: str


class _TimeReply(msgspec.Struct):
    data: list[_Time]


class SiteClock:
    """The clock of one site, shared by all that connects there."""

    def __init__(self, client: httpx.AsyncClient, rest: str) -> None:
        self._client = client
        self._url = f"{rest}/api/v5/public/time"
        self._lock = trio.Lock()
        self._measured_at = float("-inf")
        self._ahead_s = time.time() - steady_s()  # until it is measured, our own word must do

    def now_s(self) -> float:
        """Return Unix seconds, as the exchange would say."""
        return steady_s() + self._ahead_s

    @property
    def offset_s(self) -> float:
        """By how much the exchange's clock is ahead of this machine's, in seconds."""
        return self.now_s() - time.time()

    @property
    def measured(self) -> bool:
        """Whether the exchange has ever said its time."""
        return self._measured_at > float("-inf")

    async def measure(self) -> None:
        """Compare with the exchange. If it does not answer, the offset known so far stays."""
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
                log.warning("clock: %s gives no time: %s", self._url, error or type(error).__name__)
                return
            self._ahead_s = theirs - (before + after) / 2
            self._measured_at = trio.current_time()
            if abs(self.offset_s) > WARN_S:
                log.warning("clock: this machine is %.1f s off %s; set it by NTP", -self.offset_s, self._url)
