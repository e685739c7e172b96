"""Live channels are verified while pushes, pongs and REST are late: what was pushed is never missed, what was lost is.

The whole of it in virtual time: the sandbox's exchange trades, its pushes and pongs travel in order on one slow
connection, and REST answers what is true while the request is on its way (`tests.support.wire`).
"""

import tempfile
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from hypothesis import example, given, settings
from hypothesis import strategies as st

from okxsync.reconcile.timings import TIMINGS
from okxsync.sandbox.exchange.trader import Trader
from tests.support.truth import differences
from tests.support.wire import Wired, in_virtual_time, now_us, wired

pytestmark = pytest.mark.slow

CHANNELS = ("account", "positions", "balance_and_position", "orders", "orders-algo")
QUIET: list[dict[str, str]] = [
    {"channel": name, "extraParams": '{"updateInterval":"0"}'} for name in ("account", "positions")
]
"""They push only what changes, so they are verified over REST as the other channels are."""
WITH_ARGUMENTS = [
    {"channel": "orders", "instType": "SWAP"},
    {"channel": "positions", "instFamily": "BTC-USDT", "extraParams": '{"updateInterval":"0"}'},
    {"channel": "account", "ccy": "USDT", "extraParams": '{"updateInterval":"0"}'},
    {"channel": "orders-algo", "instId": "BTC-USDT-SWAP"},
]
SETS: list[list[Any]] = [list(CHANNELS), [*QUIET, *CHANNELS[2:]], WITH_ARGUMENTS]
LASTS_S = 240
BUY = {"instId": "BTC-USDT-SWAP", "tdMode": "cross", "side": "buy", "ordType": "limit", "px": "30000", "sz": "1"}
"""An order that waits: half the price."""


class Plan(msgspec.Struct):
    """What happens when; times in seconds from the start."""

    channels: int  # of `SETS`
    bursts: list[tuple[int, int]]  # when, how many operations
    delays: list[tuple[int, float]]  # from when on pushes and pongs are late, by how much
    latency_s: float  # of a REST request and its answer
    lag_ms: int  # by how much REST is behind the pushes
    seed: int


PLANS = st.builds(
    Plan,
    channels=st.integers(0, len(SETS) - 1),
    bursts=st.lists(st.tuples(st.integers(0, LASTS_S - 60), st.integers(1, 20)), min_size=1, max_size=12),
    delays=st.lists(st.tuples(st.integers(0, LASTS_S), st.sampled_from([0.0, 0.3, 1.0, 2.0, 3.0])), max_size=6),
    latency_s=st.sampled_from([0.05, 0.5, 4.0]),
    lag_ms=st.sampled_from([0, 1000]),
    seed=st.integers(0, 1000),
)


async def trade(account: Wired, plan: Plan) -> None:
    """Let the plan happen."""
    trader = Trader(account.exchange, plan.seed)
    happens: list[tuple[int, int, float]] = [(at, 0, delay_s) for at, delay_s in plan.delays]
    happens += [(at, 1, steps) for at, steps in plan.bursts]
    for at, kind, value in sorted(happens):
        await trio.sleep_until(at + 0.5)
        if kind == 0:
            account.wire.delay_s = value
            continue
        for number in range(int(value)):
            account.hub.operate(trader.step)
            if number % 4 == 3:
                account.hub.operate(account.exchange.tick)
            await trio.sleep(0.13)
    account.wire.delay_s = 0.0


@settings(max_examples=20)
@given(PLANS)
@example(Plan(1, [(5, 10), (60, 10), (115, 5)], [(50, 3.0)], 0.5, 0, 1))  # REST reports before the pushes arrive
@example(Plan(2, [(5, 10), (60, 10), (115, 5)], [(50, 3.0), (58, 0.0)], 4.0, 1000, 2))
def test_no_channel_that_pushes_everything_is_found_stalled(plan: Plan) -> None:
    async def live() -> None:
        with tempfile.TemporaryDirectory() as folder:
            async with wired(Path(folder), SETS[plan.channels], latency_s=plan.latency_s) as account:
                account.faults.rest_lags_ms = plan.lag_ms
                await trade(account, plan)
                await trio.sleep_until(LASTS_S)
                assert account.stalled == []
                assert {channel for channel, _ in account.verified} != set()
                if plan.channels < 2:  # the others leave rows out
                    assert differences(account.exchange, account.desk.path) == {}

    in_virtual_time(live)


FOUND_WITHIN_S = 2 * (TIMINGS.verify_s + TIMINGS.poll_s + 20)


@pytest.mark.parametrize("late_s", [0.0, 3.0])
@pytest.mark.parametrize("at_s", [20, 48, 53, 61])
def test_a_lost_push_is_found_however_late_the_others_are(tmp_path: Path, at_s: int, late_s: float) -> None:
    async def live() -> None:
        async with wired(tmp_path, CHANNELS) as account:
            account.wire.delay_s = late_s
            await trio.sleep_until(at_s)
            account.wire.lost = lambda frame: '"channel":"orders"' in frame
            lost_us = now_us()
            account.hub.operate(account.exchange.place_order, account.uid, BUY)
            account.wire.lost = lambda frame: False
            await trio.sleep(5)
            account.hub.operate(account.exchange.place_order, account.uid, BUY)  # pushed: the channel seems alive
            with trio.fail_after(FOUND_WITHIN_S):
                while not account.stalled:  # noqa: ASYNC110 - virtual time
                    await trio.sleep(1)
            ((channel, _),) = account.stalled
            assert channel == "orders"
            ((until,),) = account.desk.rows("SELECT covered_until FROM coverage WHERE channel = 'orders'")
            assert until <= lost_us  # there its gap begins
            assert [at for channel, at in account.verified if channel == "orders" and at > lost_us] == []

    in_virtual_time(live)


@pytest.mark.parametrize("at_s", [56.0, 56.5])
def test_a_close_that_rest_reports_first_is_not_a_lost_push(tmp_path: Path, at_s: float) -> None:
    async def live() -> None:
        async with wired(tmp_path, QUIET) as account:
            swap = {"instId": "BTC-USDT-SWAP"}
            market = {"tdMode": "cross", "side": "buy", "ordType": "market", "sz": "1"}
            await trio.sleep_until(5)
            account.hub.operate(account.exchange.place_order, account.uid, swap | market)
            await trio.sleep_until(15)
            account.wire.delay_s = 4.5
            await trio.sleep_until(at_s)
            account.hub.operate(account.exchange.close_position, account.uid, swap | {"mgnMode": "cross"})
            await trio.sleep(60)
            assert account.stalled == []

    in_virtual_time(live)
