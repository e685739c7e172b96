"""The exchange's clock, and replies without a valid time."""

import time

import httpx
import pytest
import trio
from trio.testing import MockClock

from okxsync.rest.clients import Clients
from okxsync.rest.clock import SiteClock
from okxsync.runtime import clock as process_clock
from tests.support.accounts import SITE, account
from tests.support.mock_http import MockHttp
from tests.support.replies import reply


@pytest.mark.parametrize("ts", ["", "soon", "nan", "9" * 400])
async def test_a_reply_without_a_valid_time_leaves_the_clock_unchanged(ts: str) -> None:
    http = MockHttp(lambda request: reply({"data": [{"ts": ts}]}))
    clock = SiteClock(http, "http://127.0.0.1:1")
    await clock.measure()
    assert not clock.measured
    assert abs(clock.now_s() - time.time()) < 1


@pytest.mark.parametrize("ahead_s", [-7200, 0, 7200])
async def test_the_process_s_clock_is_the_exchange_s_before_anything_connects(
    ahead_s: int, autojump_clock: MockClock
) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return reply({"data": [{"ts": str(round((time.time() + ahead_s) * 1000))}]})

    http = MockHttp(answer)
    clients = Clients(http, [account("alpha")])
    ahead = await clients.measure_clocks()
    assert abs(process_clock.now_us() / 1e6 - (time.time() + ahead_s)) < 0.1
    assert abs(ahead[SITE.rest]) < 0.1


async def test_one_wrong_answer_is_asked_again_and_corrected_for_signatures_too(autojump_clock: MockClock) -> None:
    wrong_s = [3600.0]

    def answer(request: httpx.Request) -> httpx.Response:
        return reply({"data": [{"ts": str(round((time.time() + (wrong_s.pop() if wrong_s else 0)) * 1000))}]})

    http = MockHttp(answer)
    clients = Clients(http, [account("alpha")])
    await clients.measure_clocks()
    assert abs(clients.clock_of(SITE).now_s() - time.time()) < 0.1
    assert abs(process_clock.now_us() / 1e6 - time.time()) < 0.1


@pytest.mark.parametrize(("delays_s", "asked"), [([0.1], 1), ([2.0, 0.1], 2), ([2.0] * 9, 3)])
async def test_a_slow_answer_is_followed_by_another_question(
    delays_s: list[float], asked: int, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    """Half of the round trip is the most that the clock can be wrong by; no order is sent by a clock that is off."""
    requests, delays = [], delays_s.copy()
    monkeypatch.setattr(time, "clock_gettime", lambda which: trio.current_time())
    start_s = process_clock.now_us() / 1e6 - trio.current_time()  # the first answer does not surprise

    async def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        await trio.sleep(delays.pop(0))
        return reply({"data": [{"ts": str(round((start_s + trio.current_time()) * 1000))}]})

    http = MockHttp(answer)
    await Clients(http, [account("alpha")]).measure_clocks()
    assert len(requests) == asked
    error_s = (process_clock.latest_us() - process_clock.earliest_us()) / 2e6
    assert (error_s < 0.25) is (asked < 3)


async def test_a_clock_that_is_off_is_settled_although_a_request_fails(autojump_clock: MockClock) -> None:
    """What is covered is recorded by it from then on."""
    requests = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        if len(requests) == 2:
            return reply({"data": []})
        return reply({"data": [{"ts": str(round((time.time() - 7) * 1000))}]})

    http = MockHttp(answer)
    await Clients(http, [account("alpha")]).measure_clocks()
    assert abs(process_clock.now_us() / 1e6 - (time.time() - 7)) < 0.5
