"""Times for what the accounts of the fixture ``sandbox`` have traded."""

import time

from okxsync.reconcile.pull import Window

DAY_MS = 86_400_000


def now_us() -> int:
    return time.time_ns() // 1000


def since(days: int) -> Window:
    return Window(time.time_ns() // 1_000_000 - days * DAY_MS)
