"""Keeps the collections of garbage short: the event loop waits for each.

A full collection looks at every object of the process: 0.3 s with a thousand accounts, and Python starts one every few
seconds. Nearly all objects live as long as their connection. So what has survived a collection is left out of the next
ones (``gc.freeze``). Of that, only reference cycles can become garbage; they are collected once an hour.
"""

import gc
from typing import Final

import trio

FREEZE_S: Final = 5.0
"""Some fifteen accounts connect in this time: a collection of their objects takes some milliseconds."""
COLLECT_ALL_S: Final = 3600.0


async def keep_collections_short() -> None:
    """Never returns."""
    try:
        while True:
            gc.unfreeze()
            ends = trio.current_time() + COLLECT_ALL_S
            while trio.current_time() < ends:
                gc.collect()
                gc.freeze()
                await trio.sleep(FREEZE_S)
    finally:
        gc.unfreeze()
