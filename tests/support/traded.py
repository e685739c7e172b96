"""Times for what the accounts of the fixture ``sandbox`` have traded."""

import time
from functools import partial

from okxsync.reconcile import backfill as command
from okxsync.reconcile.pull import Window
from okxsync.reconcile.timings import Timings

DAY_MS = 86_400_000


backfill = partial(command.backfill, timings=Timings(window_s=0.0, rest_lag_s=2.0))
"""Does not wait for rate limits that others may have used: the exchange of each test is new."""


def now_us() -> int:
    return time.time_ns() // 1000


def since(days: int) -> Window:
    return Window(time.time_ns() // 1_000_000 - days * DAY_MS)
