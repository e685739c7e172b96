"""``okxsync backfill``: backfill a window of time, or the open gaps, beside a running daemon or without one.

Replies are written like everything else, so a backfill that is interrupted costs nothing, and a repeated one changes
nothing. A gap within the window is closed with it, if nobody else has closed it meanwhile.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from functools import partial
from typing import Final

import trio

from okxsync.accounts.identity import find_blocked
from okxsync.accounts.registry import fetch_account_config
from okxsync.config.location import Location
from okxsync.config.settings import AccountSettings
from okxsync.messages import Message
from okxsync.mirror.queries import Identity, identities
from okxsync.okx.endpoints import ENDPOINTS
from okxsync.reconcile.held import Gap, Reads, open_gaps
from okxsync.reconcile.pull import Window
from okxsync.reconcile.subjects import SUBJECTS
from okxsync.reconcile.timings import TIMINGS, Timings
from okxsync.reconcile.work import OnProgress, Part, Report, Work, fetched_windows, gap_results, parts_of, perform
from okxsync.rest.client import AccountClient, RestError
from okxsync.rest.clients import Clients
from okxsync.rest.http import open_http
from okxsync.runtime.clock import clock_offset, earliest_us
from okxsync.runtime.outbox import Outbox, open_outbox
from okxsync.store.coverage import FUTURE_US
from okxsync.store.engines import engine_of, open_database
from okxsync.store.handover import run_writer

ALL: Final = tuple(dict.fromkeys(subject for subjects in SUBJECTS.values() for subject in subjects))
QUEUE: Final = 256
"""Replies between the requests and the writer."""
QUEUE_BYTES: Final = 8 * 2**20
AT_ONCE: Final = 32
"""Accounts that are backfilled at the same time; each has its own rate limits."""


async def backfill(
    database: Location,
    accounts: Sequence[AccountSettings],
    window: Window | None,
    on_progress: OnProgress = lambda part: None,
    timings: Timings = TIMINGS,
) -> list[Part]:
    """Backfill all subjects of ``accounts`` in a window, or what their open gaps need; return what was done.

    Raises:
        StoreError: the database cannot be written.
    """
    wait_s = _others_window_s(database, timings.window_s)
    open_database(database).close()  # makes it, or reports what is wrong with it
    send, receive = open_outbox(QUEUE, QUEUE_BYTES)
    async with trio.open_nursery() as writing:
        writing.start_soon(run_writer, database, receive)
        with send, closing(Reads(database)) as reads:
            async with open_http() as http:
                clients = Clients(http, accounts)
                await clients.measure_clocks()
                await send.send(clock_offset())
                await trio.sleep(wait_s)
                return await _backfill_all(reads, clients, accounts, window, send, on_progress, timings.rest_lag_s)


def _others_window_s(database: Location, window_s: float) -> float:
    """Return how long to wait for rate limits that a daemon or another backfill may have used: both write."""
    return min(max(engine_of(database).written_at() + window_s - time.time(), 0.0), window_s)


async def _backfill_all(
    reads: Reads,
    clients: Clients,
    accounts: Sequence[AccountSettings],
    window: Window | None,
    send: Outbox,
    on_progress: OnProgress,
    rest_lag_s: float,
) -> list[Part]:
    limit = trio.CapacityLimiter(AT_ONCE)
    parts: list[Part] = []
    known = identities(reads.location)

    async def backfill_one(account: AccountSettings, gaps: Sequence[Gap]) -> None:
        await trio.sleep(_lag_left_s(gaps, rest_lag_s))
        async with limit:
            name = account.name
            wanted = [Part(name, subject, window) for subject in ALL] if window else parts_of(name, gaps)
            parts.extend(wanted)
            client = clients.of(name)
            if client and (why := await _why_blocked(client, account, known)):
                for part in wanted:
                    part.error = why
                    on_progress(part)
                return
            finish = partial(_finish, gaps, rest_lag_s)
            work = Work(name, None, "backfill", wanted, finish, side_by_side=True, rest_lag_s=rest_lag_s)
            for result in work.finish(await perform(work, client, reads, send, on_progress)):
                await send.send(result)

    async with trio.open_nursery() as nursery:
        for account in accounts:
            nursery.start_soon(backfill_one, account, await reads.in_thread(open_gaps, account.name))
    return parts


def _finish(gaps: Sequence[Gap], rest_lag_s: float, report: Report) -> list[Message]:
    return [*gap_results(gaps, report), *fetched_windows(report, rest_lag_s)]


async def _why_blocked(client: AccountClient, account: AccountSettings, known: Mapping[str, Identity]) -> str | None:
    """Return why what this key reports does not belong to the rows under its name, or why that is not known."""
    if account.name not in known:
        return None
    try:
        identity = (await fetch_account_config(client, demo=account.demo)).identity
    except RestError as error:
        return str(error)
    blocked = find_blocked({account.name: identity}, known).get(account.name)
    return blocked.why if blocked else None


def _lag_left_s(gaps: Iterable[Gap], rest_lag_s: float) -> float:
    """Return how long to wait until REST knows everything that happened before the last of the gaps ended."""
    ended_s = max((gap.to_at / 1e6 for gap in gaps if gap.to_at is not None), default=0.0)
    wait_s = ended_s + rest_lag_s - earliest_us() / 1e6
    return min(max(wait_s, 0.0), rest_lag_s + FUTURE_US / 1e6)  # a clock that was further ahead does not count


def deeper_than_kept(since_ms: int, now_ms: int) -> list[str]:
    """Return a line for each channel whose data OKX does not keep as long as a window asks for."""
    deepest: dict[str, int] = {}
    for endpoint in ENDPOINTS:
        if endpoint.depth_ms is not None:  # pending orders have no depth, and for deposits OKX does not document it
            deepest[endpoint.channel] = max(deepest.get(endpoint.channel, 0), endpoint.depth_ms)
    return [
        f"{channel}: OKX keeps {depth // 86_400_000} days, older ones cannot be had"
        for channel, depth in deepest.items()
        if since_ms < now_ms - depth
    ]
