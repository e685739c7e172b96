"""``okxsync run``: the whole daemon in one place.

    settings -> feed -> one bounded memory channel -> writer

One nursery in the other: the inner one holds all that produces, the one around it the writer. A signal cancels the
inner one; with the last producer gone the channel closes, the writer stores what is still queued and ends, and the
daemon with it.
"""

import fcntl
import logging
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import trio

from okxsync import __version__
from okxsync.config import ConfigError, Settings, load
from okxsync.feed.feed import Feed
from okxsync.loop import Rest
from okxsync.rest.clients import Clients, open_http
from okxsync.rest.gaps import Gaps
from okxsync.rest.probe import Probe
from okxsync.rest.roster import Roster
from okxsync.rest.unpushed import Unpushed
from okxsync.store.batch import AccountRemoved, Beat, Keep, Message, Note
from okxsync.store.database import StoreError, open_database
from okxsync.store.process import run_writer
from okxsync.store.queries import account_names, connection_ids

log = logging.getLogger("okxsync")

QUEUE: Final = 4096
"""Messages between the feed and the writer. When it is full the readers wait, and the exchange's TCP with them."""
BEAT_S: Final = 1.0
WATCH_S: Final = 1.0
"""How often accounts.toml is looked at."""
DRAIN_S: Final = 30.0
"""How long the last writes may take after a signal."""


class AlreadyRunning(Exception):
    """Another daemon holds this database."""


@contextmanager
def lock(database: Path) -> Iterator[int]:
    """Hold the database for this daemon; the lock dies with the last process that holds its file descriptor.

    Raises:
        AlreadyRunning: another daemon holds it.
        StoreError: there is no such folder, or it may not be written to.
    """
    path = database.with_name(database.name + "-lock")
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(f"{database}: cannot be used ({path}: {error.strerror})") from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunning(f"{database}: another okxsync run holds this database") from None
        yield descriptor
    finally:
        os.close(descriptor)


async def run(settings: Settings, database: Path, *, for_s: float | None = None) -> None:
    """Mirror the accounts until SIGINT or SIGTERM comes, or for ``for_s`` seconds.

    Raises:
        AlreadyRunning: another daemon holds the database.
        StoreError: the database cannot be used, or not all could be stored in time.
        WriterDied: the writer is gone; what it had not acknowledged is a gap that the next run finds.
    """
    with lock(database) as lock_fd:
        open_database(database).close()  # migrates, and says what is wrong with the file before anything connects
        ids = connection_ids(database)
        removed = account_names(database) - {account.name for account in settings.accounts}
        send, receive = trio.open_memory_channel[Message](QUEUE)
        started_at = _now_us()
        trio.lowlevel.add_instrument(Rest(send))
        async with trio.open_nursery() as around:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(partial(run_writer, database, receive, lock_fd=lock_fd))
                with send:
                    async with trio.open_nursery() as producers:
                        if for_s is not None:
                            producers.cancel_scope.deadline = trio.current_time() + for_s
                        await around.start(_obey_signals, producers.cancel_scope, nursery.cancel_scope)
                        await producers.start(_beat, send, started_at)
                        await send.send(Keep(settings.log.keep, settings.log.max_size))
                        for name in removed:
                            await send.send(AccountRemoved(name, started_at))
                        producers.start_soon(_produce, settings, database, ids, send)
                    log.info("stopping: storing what is queued")
                    nursery.cancel_scope.deadline = trio.current_time() + DRAIN_S
                    await send.send(_beat_of(send, started_at, stopped=True))
            around.cancel_scope.cancel(reason="all is written, or given up")
        if nursery.cancel_scope.cancelled_caught:
            raise StoreError(f"{database}: not all could be stored in time; the next run fills what is missing")


async def _produce(
    settings: Settings, database: Path, ids: dict[tuple[str, str], int], send: trio.MemorySendChannel[Message]
) -> None:
    """Hold the feed, ask the accounts who they are, fill gaps, and follow accounts.toml."""
    async with open_http() as http:
        clients = Clients(http, settings.accounts)
        await clients.measure_clocks()
        roster = Roster(clients.of, send)
        feed = Feed(send, clients.clock_of, ids)
        changed, changes = trio.open_memory_channel[Settings](0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(feed.run, settings, changes)
            nursery.start_soon(roster.introduce, settings.accounts)
            nursery.start_soon(Gaps(database, clients.of, send).run)
            nursery.start_soon(Unpushed(database, clients.of, send).run)
            nursery.start_soon(Probe(database, clients.of, send, feed.doubt).run)
            nursery.start_soon(_watch, settings, changed, clients, roster, send, nursery)


async def _watch(
    settings: Settings,
    changed: trio.MemorySendChannel[Settings],
    clients: Clients,
    roster: Roster,
    send: trio.MemorySendChannel[Message],
    nursery: trio.Nursery,
) -> None:
    """Follow accounts.toml; a broken edit is reported once, and the running settings stay."""
    seen = _stamp(settings.path)
    while True:
        await trio.sleep(WATCH_S)
        if (stamp := _stamp(settings.path)) == seen:
            continue
        seen = stamp
        try:
            new = load(settings.path)
        except ConfigError as error:
            log.error("accounts.toml is not used: %s", error)
            await send.send(Note(_now_us(), "error", None, "config-refused", str(error)))
            continue
        log.info("accounts.toml has changed")
        await send.send(Keep(new.log.keep, new.log.max_size))
        clients.configure(new.accounts)
        await changed.send(new)
        before = {account.name: account for account in settings.accounts}
        await roster.dismiss(before.keys() - {account.name for account in new.accounts})
        nursery.start_soon(roster.introduce, [one for one in new.accounts if before.get(one.name) != one])
        settings = new


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError:
        return (0, 0, 0)
    return found.st_mtime_ns, found.st_size, found.st_ino


async def _beat(
    send: trio.MemorySendChannel[Message],
    started_at: int,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Say every second that the daemon lives; the first beat stands before all else in the channel."""
    await send.send(_beat_of(send, started_at))
    task_status.started()
    while True:
        await trio.sleep(BEAT_S)
        await send.send(_beat_of(send, started_at))


def _beat_of(send: trio.MemorySendChannel[Message], started_at: int, *, stopped: bool = False) -> Beat:
    now = _now_us()
    queue = send.statistics().current_buffer_used
    return Beat(os.getpid(), now, started_at, __version__, queue, now if stopped else None, 0 if stopped else None)


async def _obey_signals(
    producers: trio.CancelScope,
    writer: trio.CancelScope,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """The first signal ends what produces; whoever sends a second one will not wait for what is queued."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for number in signals:
            name = signal.Signals(number).name
            log.info("%s: stopping", name)
            (writer if producers.cancel_called else producers).cancel(reason=name)


def _now_us() -> int:
    return time.time_ns() // 1000
