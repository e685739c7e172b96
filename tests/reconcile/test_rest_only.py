"""Data that is not pushed is fetched once a push calls for it."""

import time
from functools import partial
from pathlib import Path

import trio

from okxsync import daemon
from okxsync.config.location import Location
from okxsync.config.settings import load
from okxsync.reconcile.timings import Timings
from okxsync.sandbox.exchange.exchange import Exchange
from okxsync.sandbox.exchange.trader import Trader
from okxsync.sandbox.server.server import serve_sandbox
from okxsync.store.database import StoreError
from tests.support.replay import until, write_config
from tests.support.truth import of_mirror, rows, status_of, truth_of


async def test_an_account_with_the_channel_fills_alone_has_all_fills(tmp_path: Path) -> None:
    """The channel aggregates several executions, so its pushes only show that there is something to fetch."""
    exchange = Exchange(lambda: time.time_ns() // 1_000_000, seed=7)
    exchange.add_member("alpha", vip=5)
    async with serve_sandbox(exchange, seed=7) as sandbox:
        text = sandbox.accounts_toml().replace('name = "alpha"', 'name = "alpha"\nchannels = ["fills"]')
        settings = load(write_config(tmp_path, text))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(daemon.run, settings, settings.database, timings=Timings(poll_s=0.2)))
            await until(lambda: is_covered(settings.database))
            assert truth_of(exchange, "fills") == set()
            trader = Trader(exchange, 3)
            for _ in range(60):
                sandbox.operate(trader.step)
            assert len(truth_of(exchange, "fills")) > 10
            await until(lambda: of_mirror(settings.database, "fills") == truth_of(exchange, "fills"))
            nursery.cancel_scope.cancel(reason="the test is over")


def is_covered(database: Location) -> bool:
    try:
        live = rows(database, "SELECT * FROM coverage WHERE channel = 'fills' AND live = 1")
        return bool(live) and not status_of(database).gaps.open
    except StoreError:  # not made yet
        return False
