"""``okxsync run``: starts and stops all parts of the daemon.

    settings -> feed -> one bounded queue -> writer

The nurseries are nested: the inner one holds the producers, the outer one the writer. A signal cancels the inner one.
When the last producer has ended, the queue closes. The writer then flushes the queue and returns, and the daemon
ends.
"""

import logging
import os
import signal
import socket
from contextlib import closing
from functools import partial
from typing import Final

import trio

from okxsync import __version__, events
from okxsync.accounts.registry import Registry
from okxsync.config.location import Location
from okxsync.config.secret import ConfigError
from okxsync.config.settings import Settings, load, stamps
from okxsync.feed.dialers import Dialers
from okxsync.feed.pool import ConnectionPool, wanted_channels
from okxsync.messages import AccountRemoved, Heartbeat, Retention, Run
from okxsync.mirror.queries import account_names, connection_ids, identities, next_run_id
from okxsync.plans.desk import Receipts
from okxsync.plans.service import PlanService
from okxsync.reconcile.gaps import GapSource
from okxsync.reconcile.held import Reads
from okxsync.reconcile.instruments import InstrumentLoader
from okxsync.reconcile.reconciler import Reconciler
from okxsync.reconcile.rest_only import RestOnlySource
from okxsync.reconcile.stalled import StalledSource
from okxsync.reconcile.timings import TIMINGS, Timings
from okxsync.rest.clients import Clients
from okxsync.rest.http import open_http
from okxsync.runtime import clock
from okxsync.runtime.clock import clock_offset, now_us
from okxsync.runtime.garbage import keep_collections_short
from okxsync.runtime.outbox import Outbox, open_outbox
from okxsync.runtime.process_limits import raise_limits
from okxsync.runtime.supervise import describe_error
from okxsync.runtime.ticks import sleep_until_tick
from okxsync.store.copy import reject_unfinished
from okxsync.store.database import AlreadyRunning, Membership, StoreError
from okxsync.store.engines import engine_of
from okxsync.store.handover import run_writer
from okxsync.store.transaction import Written

__all__ = ["AlreadyRunning", "run"]

log = logging.getLogger("okxsync")

QUEUE: Final = 4096
"""Messages between the feed and the writer. When the queue is full, the readers wait, and TCP flow control stops the
exchange."""
QUEUE_BYTES: Final = 128 * 2**20
"""The same in bytes: enough for ``QUEUE`` frames of 32 KiB, and few frames are larger."""
HEARTBEAT_S: Final = 1.0
MEASURE_EVERY_S: Final = 60.0
"""How often the exchange's clock is measured: a computer's clock drifts by some milliseconds in this time."""
OFF_S: Final = 1.0
"""A clock that is further off is journalled."""
AFTER_S: Final = 3.0
"""Pause after the last request of the previous run. The exchange's limits count the last two seconds, and a killed run
may have sent requests until one heartbeat after the last one recorded. Dials are recorded before they are sent."""
WATCH_S: Final = 1.0
"""How often accounts.toml is checked for changes."""
DRAIN_S: Final = 30.0
"""How long flushing the queue may take after a signal."""


async def run(
    settings: Settings, database: Location, *, for_s: float | None = None, timings: Timings = TIMINGS
) -> None:
    """Mirror the accounts until SIGINT, SIGTERM or SIGHUP, or for ``for_s`` seconds.

    Raises:
        AlreadyRunning: another daemon holds the lock of the database.
        StoreError: the database cannot be used, or the queue could not be flushed in time.
        WriterDied: the writer process has ended; data that it had not acknowledged is a gap that the next run finds.
    """
    raise_limits()
    database = engine_of(database).resolved()  # once: a link that is changed later points to another database
    engine = engine_of(database)
    with engine.join() as lock:
        with closing(engine.writer()) as db:  # migrates, and reports an unusable database before anything connects
            reject_unfinished(db, database)
        ids = connection_ids(database)
        removed = account_names(database) - {account.name for account in settings.accounts}
        send, receive = open_outbox(QUEUE, QUEUE_BYTES)
        this_run = Run(next_run_id(database), now_us(), __version__, socket.gethostname(), os.getpid())
        dialers = Dialers(lock.touch, -lock.unheld_s)
        lock.touch(dialers.counted_s())
        async with trio.open_nursery() as around:
            async with trio.open_nursery() as nursery:
                receipts = Receipts()
                written = partial(_take_written, lock, receipts)
                nursery.start_soon(partial(run_writer, database, receive, lock_fd=lock.descriptor, on_written=written))
                with send:
                    async with trio.open_nursery() as producers:
                        if for_s is not None:
                            producers.cancel_scope.deadline = trio.current_time() + for_s
                        await around.start(_handle_signals, producers.cancel_scope, nursery.cancel_scope)
                        producers.start_soon(_touch_regularly, lock, dialers)
                        await producers.start(_send_heartbeats, send, this_run)
                        await send.send(Retention(settings.log.keep, settings.log.max_size))
                        await send.send(wanted_channels(settings))
                        for name in removed:
                            await send.send(AccountRemoved(name, now_us()))
                        wait_s = AFTER_S - lock.unheld_s
                        producers.start_soon(
                            _keep_producing, settings, database, ids, dialers, send, wait_s, timings, receipts
                        )
                        producers.start_soon(engine.watch, send)
                        producers.start_soon(keep_collections_short)
                    log.info("stopping: flushing the queue")
                    nursery.cancel_scope.deadline = trio.current_time() + DRAIN_S
                    await send.send(_heartbeat_of(send, this_run, stopped=True))
            around.cancel_scope.cancel(reason="the queue is flushed, or the deadline has passed")
        if nursery.cancel_scope.cancelled_caught:
            raise StoreError(
                f"{database}: shutdown timed out before the queue was flushed; the next run will backfill the rest"
            )


async def _keep_producing(
    settings: Settings,
    database: Location,
    ids: dict[tuple[str, str], int],
    dialers: Dialers,
    send: Outbox,
    wait_s: float,
    timings: Timings,
    receipts: Receipts,
) -> None:
    """Produce; if the clock must go back, begin anew as after a crash, with every channel lost."""
    while True:
        # Requests of the previous run count against the exchange's limits too.
        await trio.sleep(max(0.0, wait_s))
        await _produce(settings, database, ids, dialers, send, timings, receipts)
        clock.current.unpin()
        wait_s, ids = AFTER_S, connection_ids(database)


async def _produce(
    settings: Settings,
    database: Location,
    ids: dict[tuple[str, str], int],
    dialers: Dialers,
    send: Outbox,
    timings: Timings,
    receipts: Receipts,
) -> None:
    """Run the connections, identify the accounts, reconcile with REST, and follow accounts.toml.

    Return with every channel reported as lost if the clock must go back.
    """
    async with open_http() as http:
        clients = Clients(http, settings.accounts, settings.market)
        off_s = await clients.measure_clocks()
        clock.current.pin()
        changed, changes = trio.open_memory_channel[Settings | str](0)
        registry = Registry(clients.of, send, identities(database), changed.send)
        registry.configure(settings.accounts)
        pool = ConnectionPool(send, clients.clock_of, dialers, ids, registry.blocked)
        with closing(Reads(database)) as reads:
            plans = PlanService(settings, database, clients, http, registry.blocked, send, receipts, pool)
            sources = (
                GapSource(reads, timings),
                RestOnlySource(reads, registry.client_of, timings, plans.is_sending),
                StalledSource(reads, send, pool.mark_stale, timings),
            )
            reconciler = Reconciler(sources, reads, registry.client_of, send, plans.is_sending)
            instruments = InstrumentLoader(reads, lambda: clients.market, send)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(http.close_idle)
                nursery.start_soon(plans.run)
                nursery.start_soon(pool.run, settings, changes)
                nursery.start_soon(registry.identify, settings.accounts)
                nursery.start_soon(reconciler.run)
                nursery.start_soon(instruments.run)
                nursery.start_soon(_watch, settings, changed, clients, registry, plans, send, nursery)
                await _measure_clocks(clients, send, off_s)
                nursery.cancel_scope.cancel(reason="the clock must go back")
            await pool.report_lost("the exchange's clock is behind the time recorded here")


async def _measure_clocks(clients: Clients, send: Outbox, off_s: dict[str, float]) -> None:
    """Keep the process's clock at the exchange's until it must go back; journal a site that it does not follow."""
    reported: dict[str, float] = {}
    while not clock.current.must_go_back:
        for rest, ahead_s in off_s.items():
            reported[rest] = await _report_clock(f"the clock of {rest}", ahead_s, reported.get(rest, 0.0), send)
        await trio.sleep(MEASURE_EVERY_S)
        off_s = await clients.measure_clocks()


async def _report_clock(what: str, ahead_s: float, reported_s: float, send: Outbox) -> float:
    """Journal a clock that is off, if it was not reported as such yet; return what is reported of it now."""
    if abs(ahead_s - reported_s) <= OFF_S:
        return reported_s
    if abs(ahead_s) > OFF_S:
        how = f"{what} is {abs(ahead_s):.1f} s {'ahead of' if ahead_s > 0 else 'behind'} the time recorded here"
        log.warning("%s", how)
        await send.send(events.CLOCK_OFF.note(now_us(), None, how))
    return ahead_s


async def _watch(
    settings: Settings,
    changed: trio.MemorySendChannel[Settings | str],
    clients: Clients,
    registry: Registry,
    plans: PlanService,
    send: Outbox,
    nursery: trio.Nursery,
) -> None:
    """Follow accounts.toml. An invalid edit is reported once, and the running settings stay.

    A change is applied when the file was the same at two checks: a file that is being written may be valid with half
    of the accounts.
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
            log.error("accounts.toml is invalid and ignored: %s", why)
            await send.send(events.CONFIG_INVALID.note(now_us(), None, why))
            continue
        if new.database != settings.database:
            change = f"database: {new.database} is used after a restart"
            log.warning("accounts.toml: %s", change)
            await send.send(events.RESTART_REQUIRED.note(now_us(), None, change))
        await send.send(Retention(new.log.keep, new.log.max_size))
        await send.send(wanted_channels(new))
        clients.configure(new.accounts, new.market)
        old = {account.name: account for account in settings.accounts}
        others = [one for one in new.accounts if old.get(one.name) != one]
        removed = old.keys() - {account.name for account in new.accounts}
        log.info("configuration read again: accounts changed: %d, removed: %d", len(others), len(removed))
        registry.configure(others)
        plans.configure(new)
        await changed.send(new)
        await registry.remove(removed)
        nursery.start_soon(registry.identify, others)
        settings, seen = new, new.seen


async def _send_heartbeats(
    send: Outbox,
    this_run: Run,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Report every second that the daemon is alive; the first heartbeat precedes all other messages."""
    await send.send(_heartbeat_of(send, this_run))
    task_status.started()
    reported_s = 0.0
    while True:
        offset = clock_offset()
        await send.send(offset)
        reported_s = await _report_clock("this machine's clock", -offset.to_wall_us / 1e6, reported_s, send)
        await sleep_until_tick(HEARTBEAT_S)
        await send.send(_heartbeat_of(send, this_run))


async def _touch_regularly(lock: Membership, dialers: Dialers) -> None:
    """Show every second that the daemon is alive, also while the queue is full because nothing can be written."""
    while True:
        lock.touch(dialers.counted_s())
        await sleep_until_tick(HEARTBEAT_S)


def _heartbeat_of(send: Outbox, this_run: Run, *, stopped: bool = False) -> Heartbeat:
    now = now_us()
    queue = send.statistics().messages
    return Heartbeat(this_run, now, queue, now if stopped else None, 0 if stopped else None)


async def _handle_signals(
    producers: trio.CancelScope,
    writer: trio.CancelScope,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """The first signal stops the producers; the second one also stops the writer, without flushing the queue."""
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # ignored under nohup: a closed terminal must not stop us
        numbers.append(signal.SIGHUP)
    with trio.open_signal_receiver(*numbers) as signals:
        task_status.started()
        async for number in signals:
            name = signal.Signals(number).name
            log.info("%s: stopping", name)
            (writer if producers.cancel_called else producers).cancel(reason=name)


def _take_written(lock: Membership, receipts: Receipts, written: Written) -> None:
    receipts.written(written)
    lock.report(f"cannot be written: {written.error}" if written.error else "")
