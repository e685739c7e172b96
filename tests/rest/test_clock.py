"""The exchange's clock, and replies without a valid time."""

import httpx
import pytest

from okxsync.rest.clock import SiteClock
from tests.support.replies import reply


@pytest.mark.parametrize("ts", ["", "soon", "nan", "9" * 400])
async def test_a_reply_without_a_valid_time_leaves_the_clock_unchanged(ts: str) -> None:
    transport = httpx.MockTransport(lambda request: reply({"data": [{"ts": ts}]}))
    async with httpx.AsyncClient(transport=transport) as http:
        clock = SiteClock(http, "http://127.0.0.1:1")
        await clock.measure()
    assert not clock.measured
    assert abs(clock.offset_s) < 1
