"""Keeps the collections of garbage short: the event loop waits for each.

A full collection looks at every object of the process: 0.3 s with a thousand accounts, and Python starts one every few
seconds. Nearly all objects live as long as their connection. So what has survived a collection is left out of the next
ones (``gc.freeze``). Of that, only reference cycles can become garbage; they are collected once an hour.

The start of hundreds of accounts takes more memory than their connections keep. The C library keeps what becomes free
for later, unless it is called to return it to the system.
"""

import ctypes
import gc
from typing import Final

import trio

FREEZE_S: Final = 5.0
"""Then twice as long, and so on: what is in use for a moment is seldom frozen, and would be kept for an hour."""
COLLECT_ALL_S: Final = 3600.0


async def keep_collections_short() -> None:
    """Never returns."""
    pause_s = FREEZE_S
    try:
        while True:
            gc.collect()
            gc.freeze()
            _return_free_memory()
            await trio.sleep(pause_s)
            if pause_s == COLLECT_ALL_S:
                gc.unfreeze()
            pause_s = min(2 * pause_s, COLLECT_ALL_S)
    finally:
        gc.unfreeze()


def _return_free_memory() -> None:
    """Return free memory to the system, if the C library can do that (glibc); it takes a few milliseconds."""
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)
