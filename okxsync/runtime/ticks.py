"""Common ticks for what recurs: what is due at the same moment costs one wake-up, which is more than most work.

Ticks of a period are the multiples of it on trio's clock, so the ticks of one second are among those of half a second.
"""

import math

import trio


def next_tick(now_s: float, every_s: float) -> float:
    """Return when the next tick is, in seconds of trio's clock."""
    return (math.floor(now_s / every_s) + 1) * every_s


async def sleep_until_tick(every_s: float) -> None:
    """Sleep until the next tick: for ``every_s`` seconds at most."""
    await trio.sleep_until(next_tick(trio.current_time(), every_s))
