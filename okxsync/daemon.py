"""``okxsync run``: the whole daemon in one place.

    settings -> feed -> one bounded memory channel -> writer

One nursery in the other: the inner one holds all that produces, the one around it the writer. A signal cancels the
inner one; with the last producer gone the channel closes, the writer stores what is still queued and ends, and the
daemon with it.
"""

import logging
import os
import signal
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Final

import trio

from okxsync import __version__, events
from okxsync.accounts.registry import Registry
from okxsync.config.secret import ConfigError
from okxsync.config.settings import Settings, load, stamps
from okxsync.feed.coalesce import ReadCoalescer
from okxsync.feed.pool import ConnectionPool, wanted_channels
from okxsync.messages import AccountRemoved, ClockSetBack, Heartbeat, Message, Retention
from okxsync.mirror.queries import account_names, connection_ids, identities
from okxsync.reconcile.gaps import GapSource
from okxsync.reconcile.held import Reads
from okxsync.reconcile.reconciler import Reconciler
from okxsync.reconcile.rest_only import RestOnlySource
from okxsync.reconcile.stalled import StalledSource
from okxsync.reconcile.timings import TIMINGS, Timings
from okxsync.rest.clients import Clients
from okxsync.rest.http import open_http
from okxsync.runtime.clock import StepDetector, now_us
from okxsync.runtime.process_limits import raise_limits
from okxsync.runtime.supervise import describe_error
from okxsync.store.checkpoint import watch_wal
from okxsync.store.database import StoreError, open_database, real
from okxsync.store.handover import run_writer
from okxsync.store.lock import AlreadyRunning, Lock, hold
from okxsync.store.writer import Written

__all__ = ["AlreadyRunning", "run"]

log = logging.getLogger("okxsync")

QUEUE: Final = 4096
"""Messages between the feed and the writer, 128 MiB at most (see ``messages.padding``). When it is full the readers
wait, and the exchange's TCP with them."""
BEAT_S: Final = 1.0
AFTER_S: Final = 3.0
"""The exchange's limits look back two seconds, and a run that was killed lived up to a beat longer than is known."""
WATCH_S: Final = 1.0
"""How often accounts.toml is looked at."""
DRAIN_S: Final = 30.0
"""How long the last writes may take after a signal."""


async def run(settings: Settings, database: Path, *, for_s: float | None = None, timings: Timings = TIMINGS) -> None:
    """Mirror the accounts until SIGINT, SIGTERM or SIGHUP comes, or for ``for_s`` seconds.

    Raises:
        AlreadyRunning: another daemon holds the database.
        StoreError: the database cannot be used, or not all could be stored in time.
        WriterDied: the writer is gone; what it had not acknowledged is a gap that the next run finds.
    """
    raise_limits()
    database = real(database)  # once: where a link that is set anew leads, is another database
    with hold(database) as lock:
        open_database(database).close()  # migrates, and says what is wrong with the file before anything connects
        ids = connection_ids(database)
        removed = account_names(database) - {account.name for account in settings.accounts}
        send, receive = trio.open_memory_channel[Message](QUEUE)
        started_at = now_us()
        trio.lowlevel.add_instrument(ReadCoalescer(send))
        async with trio.open_nursery() as around:
            async with trio.open_nursery() as nursery:
                written = partial(_report_trouble, lock)
                nursery.start_soon(partial(run_writer, database, receive, lock_fd=lock.descriptor, on_written=written))
                with send:
                    async with trio.open_nursery() as producers:
                        if for_s is not None:
                            producers.cancel_scope.deadline = trio.current_time() + for_s
                        await around.start(_handle_signals, producers.cancel_scope, nursery.cancel_scope)
                        await producers.start(_send_heartbeats, lock, send, started_at)
                        await send.send(Retention(settings.log.keep, settings.log.max_size))
                        await send.send(wanted_channels(settings))
                        for name in removed:
                            await send.send(AccountRemoved(name, started_at))
                        wait_s = AFTER_S - lock.unheld_s
                        producers.start_soon(_produce, settings, database, ids, send, wait_s, timings)
                        producers.start_soon(watch_wal, database, send)
                    log.info("stopping: storing what is queued")
                    nursery.cancel_scope.deadline = trio.current_time() + DRAIN_S
                    await send.send(_heartbeat_of(send, started_at, stopped=True))
            around.cancel_scope.cancel(reason="all is written, or given up")
        if nursery.cancel_scope.cancelled_caught:
            raise StoreError(f"{database}: not all could be stored in time; the next run fills what is missing")


async def _produce(
    settings: Settings,
    database: Path,
    ids: dict[tuple[str, str], int],
    send: trio.MemorySendChannel[Message],
    wait_s: float,
    timings: Timings,
) -> None:
    """Hold the feed, ask the accounts who they are, reconcile with REST, and follow accounts.toml."""
    await trio.sleep(max(0.0, wait_s))  # what the run before has asked for just now counts against us too
    async with open_http() as http:
        clients = Clients(http, settings.accounts)
        await clients.measure_clocks()
        changed, changes = trio.open_memory_channel[Settings | str](0)
        registry = Registry(clients.of, send, identities(database), changed.send)
        registry.configure(settings.accounts)
        pool = ConnectionPool(send, clients.clock_of, ids, registry.blocked)
        with closing(Reads(database)) as reads:
            sources = (
                GapSource(reads, timings),
                RestOnlySource(reads, registry.client_of, timings),
                StalledSource(reads, send, pool.mark_stale, timings),
            )
            reconciler = Reconciler(sources, reads, registry.client_of, send)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pool.run, settings, changes)
                nursery.start_soon(registry.identify, settings.accounts)
                nursery.start_soon(reconciler.run)
                nursery.start_soon(_watch, settings, changed, clients, registry, send, nursery)


async def _watch(
    settings: Settings,
    changed: trio.MemorySendChannel[Settings | str],
    clients: Clients,
    registry: Registry,
    send: trio.MemorySendChannel[Message],
    nursery: trio.Nursery,
) -> None:
    """Follow accounts.toml; a broken edit is reported once, and the running settings stay.

    A change counts when it has stood for a look: half of a file may be a file too, with half of the accounts.
    """
    seen = found = settings.seen
    while True:
        await trio.sleep(WATCH_S)
        before, found = found, stamps(settings)
        if found == seen or found != before:
            continue
        seen = found
        try:
            new = load(settings.path)
        except Exception as error:
            why = (
                str(error)
                if isinstance(error, ConfigError)
                else f"{settings.path}: internal error ({describe_error(error)})"
            )
            log.error("accounts.toml is not used: %s", why)
            await send.send(events.CONFIG_INVALID.note(now_us(), None, why))
            continue
        log.info("accounts.toml has changed")
        if new.database != settings.database:
            how = f"database: {new.database} is used from the next start on"
            log.warning("accounts.toml: %s", how)
            await send.send(events.RESTART_REQUIRED.note(now_us(), None, how))
        await send.send(Retention(new.log.keep, new.log.max_size))
        await send.send(wanted_channels(new))
        clients.configure(new.accounts)
        old = {account.name: account for account in settings.accounts}
        others = [one for one in new.accounts if old.get(one.name) != one]
        registry.configure(others)
        await changed.send(new)
        await registry.remove(old.keys() - {account.name for account in new.accounts})
        nursery.start_soon(registry.identify, others)
        settings, seen = new, new.seen


async def _send_heartbeats(
    lock: Lock,
    send: trio.MemorySendChannel[Message],
    started_at: int,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Say every second that the daemon lives; the first beat stands before all else in the channel."""
    await send.send(_heartbeat_of(send, started_at))
    task_status.started()
    clock = StepDetector()
    while True:
        await trio.sleep(BEAT_S)
        if step_s := clock.step_s():
            how = f"this machine's clock was set {'forward' if step_s > 0 else 'back'} by {abs(step_s):.1f} s"
            log.warning("%s", how)
            await send.send(events.CLOCK_STEPPED.note(now_us(), None, how))
            if step_s < 0:
                await send.send(ClockSetBack(int(-step_s * 1e6)))
        lock.touch()
        await send.send(_heartbeat_of(send, started_at))


def _heartbeat_of(send: trio.MemorySendChannel[Message], started_at: int, *, stopped: bool = False) -> Heartbeat:
    now = now_us()
    queue = send.statistics().current_buffer_used
    return Heartbeat(os.getpid(), now, started_at, __version__, queue, now if stopped else None, 0 if stopped else None)


async def _handle_signals(
    producers: trio.CancelScope,
    writer: trio.CancelScope,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """The first signal ends what produces; whoever sends a second one will not wait for what is queued."""
    ends = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup: then a lost terminal is no reason to end
        ends.append(signal.SIGHUP)
    with trio.open_signal_receiver(*ends) as signals:
        task_status.started()
        async for number in signals:
            name = signal.Signals(number).name
            log.info("%s: stopping", name)
            (writer if producers.cancel_called else producers).cancel(reason=name)


def _report_trouble(lock: Lock, written: Written) -> None:
    lock.report(f"cannot be written: {written.error}" if written.error else "")
