"""Isolate accounts from each other: an unexpected error in one account's task is journalled, and the task restarts
after a pause.

Expected errors are handled where they arise. Any other error would end the daemon, because a nursery cancels all tasks
when one fails. So each task that works for one account, one plan or one request runs through ``isolated``, or through
``supervised``, which adds the pause. Cancellation passes through, and so does the end of the writer, which affects all
accounts.
"""

import logging
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, TypeVarTuple

import trio

from okxsync import events
from okxsync.runtime.clock import now_us
from okxsync.runtime.outbox import Outbox

log = logging.getLogger("okxsync.runtime.supervise")

PAUSE_S: Final = 60.0
_HERE: Final = Path(__file__).parent.parent

Args = TypeVarTuple("Args")


async def isolated(
    send: Outbox,
    account: str | None,
    subject: str,
    work: Callable[[*Args], Awaitable[object]],
    *args: *Args,
    then: str,
) -> str:
    """Run ``work``. Return what an internal error was, which is journalled; ``""``: there was none.

    Args:
        send: The queue to the writer.
        account: The account of the journal entry.
        subject: The name of the work in log lines.
        work: The function to run.
        args: The arguments of ``work``.
        then: What follows after an error, for the log line.
    """
    what = ""
    try:
        await work(*args)
    except* Exception as group:
        if not send.statistics().receiver_open:  # the writer has ended
            raise
        what = describe_error(group)
        log.error("%s: internal error (%s); %s (`okxsync --debug run` shows more)", subject, what, then)
        log.debug("%s: internal error", subject, exc_info=group)
    if what:
        await send.send(events.INTERNAL_ERROR.note(now_us(), account, f"{subject}: {what}"))
    return what


async def supervised(
    send: Outbox,
    account: str | None,
    subject: str,
    work: Callable[[*Args], Awaitable[object]],
    *args: *Args,
    on_failure: Callable[[str], Awaitable[None]] | None = None,
) -> bool:
    """Run ``work``, and return whether it succeeded. If not, the error is journalled and a minute has passed.

    Args:
        send: As those of ``isolated``; ``account``, ``subject``, ``work`` and ``args`` likewise.
        on_failure: Called with a description of the error before the pause, for what must be reported at once.
    """
    what = await isolated(send, account, subject, work, *args, then=f"restarting in {PAUSE_S:.0f} s")
    if not what:
        return True
    if on_failure:
        await on_failure(f"internal error ({what})")
    await trio.sleep(PAUSE_S)
    return False


async def keep_running(
    send: Outbox,
    account: str | None,
    subject: str,
    work: Callable[[*Args], Awaitable[object]],
    *args: *Args,
) -> None:
    """Run ``work`` until it succeeds: after each internal error again, a minute later. Arguments as ``isolated``."""
    while not await supervised(send, account, subject, work, *args):
        pass


def describe_error(error: BaseException) -> str:
    """Return the type and place (the last line of okxsync) of an error. Its text may contain a secret."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    frames = [(Path(frame.f_code.co_filename), line) for frame, line in traceback.walk_tb(error.__traceback__)]
    ours = [(path.relative_to(_HERE), line) for path, line in frames if path.is_relative_to(_HERE)]
    path, line = (ours or frames or [(Path("an unknown place"), 0)])[-1]
    return f"{type(error).__name__} at {path}:{line}"
