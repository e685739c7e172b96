"""How often the daemon sends requests over REST, and how long it waits."""

from collections.abc import Mapping
from typing import Final

import msgspec


class Timings(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds, and requests per second.

    Attributes:
        gap_poll_s: How often the database is searched for open gaps.
        poll_s: How often it is searched for all else.
        verify_s: A channel is verified so long after the last time. The verdict comes some ten seconds after the
            request, so each channel is verified about once a minute.
        verify_per_s: Verifications per second at most, by the name of the channel. They follow from how many calls one
            takes, so that a thousand accounts cost some hundredths of a processor; with more accounts each channel is
            verified less often.
        verify_others_per_s: Likewise for each channel that ``verify_per_s`` does not name.
        settle_s: The exchange pushes what REST has reported at most so much later. A ping sent after that is answered
            behind those pushes.
        refetch_s: The pause before data that only REST reports is fetched again for the same account.
        refetch_per_s: Fetches of one kind of such data per second at most. One takes some 4 ms of processor time. 300
            accounts that change at the same time are fetched within 15 s, a thousand within 50 s.
        fills_s: The newest fills are fetched at this interval, so those that are not pushed are stored at most
            ``rest_lag_s + fills_s + poll_s`` and the time of a request later: 75 s and some. One call per account
            and minute: 0.3 calls per second for 20 accounts, 17 for a thousand, 7 % of a processor. OKX allows each
            account 60 calls in 2 s (GET trade/fills). From 1,200 accounts on ``refetch_per_s`` makes it longer.
        rest_lag_s: REST reports a change after this time at the latest.
        overlap_s: So much more is requested than what has happened since the last request: ``rest_lag_s``, because the
            last reply can lack what REST did not report yet, and a second for clocks and times that differ. A gap
            needs more (``endpoints.OVERLAP_MS``): a crash hides since when its channel was stalled.
        window_s: The longest window of OKX's rate limits: requests of another process may count so long.
    """

    gap_poll_s: float = 1.0
    poll_s: float = 5.0
    verify_s: float = 50.0
    verify_per_s: Mapping[str, float] = msgspec.field(default_factory=lambda: {"orders": 2.0, "orders-algo": 0.3})
    verify_others_per_s: float = 1.0
    settle_s: float = 5.0
    refetch_s: float = 15.0
    refetch_per_s: float = 20.0
    fills_s: float = 60.0
    rest_lag_s: float = 10.0
    overlap_s: float = 11.0
    window_s: float = 2.0

    def verifications_per_s(self, channel: str) -> float:
        return self.verify_per_s.get(channel, self.verify_others_per_s)


TIMINGS: Final = Timings()
"""The daemon's."""
