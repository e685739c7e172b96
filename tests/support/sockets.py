"""A WebSocket that is open for the duration of a block."""

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from okxsync.feed.socket import Socket, connect


@asynccontextmanager
async def open_socket(url: str, within_s: float = math.inf) -> AsyncIterator[Socket]:
    """Connect as ``connect`` does; close in the end, after an error at once."""
    socket = await connect(url, within_s)
    try:
        yield socket
    except BaseException:
        await socket.drop()
        raise
    await socket.aclose()
