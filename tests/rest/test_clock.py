"""The exchange's clock, and replies that tell no time."""

import httpx
import pytest

from okxsync.rest.clock import SiteClock
from tests.support.replies import reply


@pytest.mark.parametrize("ts", ["", "soon", "nan", "9" * 400])
async def test_a_reply_that_tells_no_time_leaves_the_clock_as_it_was(ts: str) -> None:
    transport = httpx.MockTransport(lambda request: reply({"data": [{"ts": ts}]}))
    async with httpx.AsyncClient(transport=transport) as http:
        clock = SiteClock(http, "http://127.0.0.1:1")
        await clock.measure()
    assert not clock.measured
    assert abs(clock.offset_s) < 1
