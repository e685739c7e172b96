"""How often the daemon sends requests over REST, and how long it waits."""

from collections.abc import Mapping
from typing import Final

import msgspec

from okxsync.okx.endpoints import REST_LAG_S


class Timings(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds, and requests per second.

    Attributes:
        gap_poll_s: How often the database is searched for open gaps.
        poll_s: How often it is searched for all else.
        verify_s: A channel is verified so long after the last time. The verdict comes some ten seconds after the
            request, and is about the time up to ``rest_lag_s`` before it.
        verify_per_s: Verifications per second at most, by the name of the channel. They follow from how many calls one
            takes, so that a thousand accounts cost some hundredths of a processor; with more accounts each channel is
            verified less often.
        verify_others_per_s: Likewise for each channel that ``verify_per_s`` does not name.
        push_lag_s: The exchange pushes what REST has reported at most so much later. A ping sent after that is answered
            behind those pushes. Coverage assumes 1 s (``store.coverage.MARGIN_US``); more costs only time here, and
            less would report a working channel as stalled.
        refetch_s: The pause before data that only REST reports is fetched again for the same account.
        refetch_per_s: Fetches of one kind of such data per second at most. One takes some 1.2 ms of processor time. 300
            accounts that change at the same time are fetched within 15 s, a thousand within 50 s.
        fills_s: The newest fills are fetched at this interval, so those that are not pushed are stored at most
            ``rest_lag_s + fills_s + poll_s`` and the time of a request later: 75 s and some. One call per account
            and minute: 0.3 calls per second for 20 accounts, 17 for a thousand, 2 % of a processor. OKX allows each
            account 60 calls in 2 s (GET trade/fills). From 1,200 accounts on ``refetch_per_s`` makes it longer.
        rest_lag_s: REST reports a change after this time at the latest (see ``endpoints.REST_LAG_S``; tests may know
            better). No gap is backfilled sooner after its end, and no reply proves anything about later changes.
        window_s: The longest window of OKX's rate limits: requests of another process may count so long.
    """

    gap_poll_s: float = 1.0
    poll_s: float = 5.0
    verify_s: float = 45.0
    verify_per_s: Mapping[str, float] = msgspec.field(default_factory=lambda: {"orders": 2.0, "orders-algo": 0.3})
    verify_others_per_s: float = 1.0
    push_lag_s: float = 5.0
    refetch_s: float = 15.0
    refetch_per_s: float = 20.0
    fills_s: float = 60.0
    rest_lag_s: float = REST_LAG_S
    window_s: float = 2.0

    @property
    def rest_lag_us(self) -> int:
        return int(self.rest_lag_s * 1e6)

    @property
    def overlap_ms(self) -> int:
        """How much more is requested than what has happened since the last request.

        The last reply can lack what REST did not report yet, and clocks and times differ by up to a second. A gap needs
        more (``endpoints.OVERLAP_MS``): a crash hides since when its channel was stalled.
        """
        return int(self.rest_lag_s * 1000) + 1000

    def verifications_per_s(self, channel: str) -> float:
        return self.verify_per_s.get(channel, self.verify_others_per_s)


TIMINGS: Final = Timings()
"""The daemon's."""
