"""Turns: of many tasks that have become ready together, one goes on per pass of the event loop."""

import trio


class Turns:
    """Lets one task after the other go on.

    The event loop runs every task that is ready before it looks at its sockets again. Fifty orders of a plan that are
    checked or sent at the same time would delay all frames, pings and replies by as many times a millisecond.
    """

    def __init__(self) -> None:
        self._lock = trio.Lock()

    async def take(self) -> None:
        """Return when it is the caller's turn: in order of the calls, at most one in each pass of the event loop."""
        async with self._lock:  # it is released when the caller goes on, and the next one then goes on a pass later
            pass
