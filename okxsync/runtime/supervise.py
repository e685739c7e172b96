"""One account's weirdness ends no other's: what nobody expected is a line of the journal, and a pause.

Errors that have a meaning are handled where they arise. What is left over would end the daemon, for a nursery takes all
down with one. So whatever works for one account runs through ``supervised``. Cancellation passes, and so does the end
of the writer: that is everybody's.
"""

import logging
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, TypeVarTuple

import trio

from okxsync import events
from okxsync.messages import Message
from okxsync.runtime.clock import now_us

log = logging.getLogger("okxsync.runtime.supervise")

PAUSE_S: Final = 60.0
_HERE: Final = Path(__file__).parent.parent

Args = TypeVarTuple("Args")


async def supervised(
    send: trio.MemorySendChannel[Message],
    account: str | None,
    subject: str,
    work: Callable[[*Args], Awaitable[object]],
    *args: *Args,
    on_failure: Callable[[str], Awaitable[None]] | None = None,
) -> bool:
    """Do ``work``, and return whether it ended well; else the journal has a line, and a minute has passed.

    Args:
        send: Where all goes that is to be stored.
        account: Whose journal line it will be.
        subject: What is done, in the words of a log line.
        work: What is done.
        args: Of ``work``.
        on_failure: Called with what happened, before the pause: what must be known as soon as the work has stopped.
    """
    what = ""
    try:
        await work(*args)
    except* Exception as group:
        if not send.statistics().open_receive_channels:  # the writer is gone
            raise
        what = describe_error(group)
        log.error(
            "%s: internal error (%s); restarting in %.0f s (`okxsync --debug run` shows more)", subject, what, PAUSE_S
        )
        log.debug("%s: internal error", subject, exc_info=group)
    if not what:
        return True
    await send.send(events.INTERNAL_ERROR.note(now_us(), account, f"{subject}: {what}"))
    if on_failure:
        await on_failure(f"internal error ({what})")
    await trio.sleep(PAUSE_S)
    return False


def describe_error(error: BaseException) -> str:
    """Return type and place (the last line of ours) of an error, and not its text: that may hold a secret."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    frames = [(Path(frame.f_code.co_filename), line) for frame, line in traceback.walk_tb(error.__traceback__)]
    ours = [(path.relative_to(_HERE), line) for path, line in frames if path.is_relative_to(_HERE)]
    path, line = (ours or frames or [(Path("an unknown place"), 0)])[-1]
    return f"{type(error).__name__} at {path}:{line}"
