"""``okxsync backfill``: fill a window of time, or the open gaps, beside a running daemon or without one.

What comes is written like everything else, so a backfill that is interrupted costs nothing, and a repeated one changes
nothing. Gaps that the window spans are closed with it, if nobody else has closed them meanwhile.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import msgspec
import trio

from okxsync.accounts.identity import find_blocked
from okxsync.accounts.registry import fetch_account_config
from okxsync.config.settings import AccountSettings
from okxsync.messages import GapResult, Message
from okxsync.mirror.queries import Identity, identities
from okxsync.okx.endpoints import ENDPOINTS
from okxsync.reconcile.held import Gap, Held, open_gaps
from okxsync.reconcile.pull import SETTLE_S, SUBJECTS, Puller, Window, outcome_of, subjects_of
from okxsync.rest.client import RestError
from okxsync.rest.clients import Clients
from okxsync.rest.http import open_http
from okxsync.runtime.clock import now_us
from okxsync.store.database import open_database, wal_of
from okxsync.store.handover import run_writer

ALL = tuple(dict.fromkeys(subject for subjects in SUBJECTS.values() for subject in subjects))
QUEUE = 256
AT_ONCE = 32
LONGEST_WINDOW_S = 2.0

OnProgress = Callable[["Part"], None]


class Part(msgspec.Struct):
    """What was done of one subject of one account; ``error`` says why it is not complete.

    What OKX does not tell is no error: it stands in ``unknown``.
    """

    account: str
    subject: str
    window: Window
    rows: int = 0
    done: bool = False
    error: str | None = None
    unknown: str | None = None


async def backfill(
    database: Path,
    accounts: Sequence[AccountSettings],
    window: Window | None,
    on_progress: OnProgress = lambda part: None,
) -> list[Part]:
    """Fill all subjects of ``accounts`` in a window, or what their open gaps need; return what was done.

    Raises:
        StoreError: the database cannot be written.
    """
    wait_s = _others_window_s(database)
    open_database(database).close()  # makes it, or says what is wrong with it
    send, receive = trio.open_memory_channel[Message](QUEUE)
    async with trio.open_nursery() as writing:
        writing.start_soon(run_writer, database, receive)
        with send:
            async with open_http() as http:
                clients = Clients(http, accounts)
                await clients.measure_clocks()
                await trio.sleep(wait_s)
                return await _fill_all(database, clients, accounts, window, send, on_progress)


def _others_window_s(database: Path) -> float:
    """Return how long to wait for budgets that a daemon or another backfill may have spent: who asks, writes."""
    files = [path for path in (database, wal_of(database)) if path.exists()]
    written_at = max((path.stat().st_mtime for path in files), default=0.0)
    return min(max(written_at + LONGEST_WINDOW_S - time.time(), 0.0), LONGEST_WINDOW_S)


async def _fill_all(
    database: Path,
    clients: Clients,
    accounts: Sequence[AccountSettings],
    window: Window | None,
    send: trio.MemorySendChannel[Message],
    on_progress: OnProgress,
) -> list[Part]:
    limit = trio.CapacityLimiter(AT_ONCE)
    parts: list[Part] = []
    known = identities(database)

    async def fill(account: AccountSettings, gaps: Sequence[Gap]) -> None:
        await trio.sleep(_unsettled_s(gaps))
        async with limit:
            mine = _wanted(account.name, gaps, window)
            parts.extend(mine)
            if why := await _why_blocked(clients, account, known):
                for part in mine:
                    part.error = why
                    on_progress(part)
                return
            async with trio.open_nursery() as subjects:
                for part in mine:
                    subjects.start_soon(_fill, database, clients, part, send, on_progress)
            for gap in gaps:
                await _close(gap, mine, send)

    async with trio.open_nursery() as nursery:
        for account in accounts:
            nursery.start_soon(fill, account, open_gaps(database, account.name))
    return parts


async def _why_blocked(clients: Clients, account: AccountSettings, known: Mapping[str, Identity]) -> str | None:
    """Return why what this key is told does not belong to the rows under its name, or cannot be known to."""
    if account.name not in known or (client := clients.of(account.name)) is None:
        return None
    try:
        identities_told = {account.name: (await fetch_account_config(client, demo=account.demo)).identity}
    except RestError as error:
        return str(error)
    refused = find_blocked(identities_told, known).get(account.name)
    return refused.why if refused else None


def _unsettled_s(gaps: Iterable[Gap]) -> float:
    """Return how long to wait until REST knows of all that happened before the last of the gaps ended."""
    ended_s = max((gap.to_at / 1e6 for gap in gaps if gap.to_at is not None), default=0.0)
    return min(max(ended_s + SETTLE_S - time.time(), 0.0), SETTLE_S)


def _wanted(account: str, gaps: Iterable[Gap], window: Window | None) -> list[Part]:
    if window is not None:
        return [Part(account, subject, window) for subject in ALL]
    since: dict[str, int] = {}
    for gap in gaps:
        for subject in subjects_of(gap.channel):
            since[subject] = min(since.get(subject, gap.from_at // 1000), gap.from_at // 1000)
    return [Part(account, subject, Window(at)) for subject, at in since.items()]


async def _fill(
    database: Path, clients: Clients, part: Part, send: trio.MemorySendChannel[Message], on_progress: OnProgress
) -> None:
    client = clients.of(part.account)
    if client is None:
        part.error = "the account is not enabled"
        return on_progress(part)

    def took(rows: int) -> None:
        part.rows += rows
        on_progress(part)

    asked_at = now_us()
    puller = Puller(client, send, Held(database, part.account, asked_at), took)
    try:
        part.unknown = await puller.pull(part.subject, part.window)
    except RestError as error:
        part.error = str(error)
    part.done = part.error is None
    on_progress(part)


async def _close(gap: Gap, parts: Iterable[Part], send: trio.MemorySendChannel[Message]) -> None:
    """Close a gap that has ended, if all it needs was asked since before it began."""
    needed = subjects_of(gap.channel)
    mine = [part for part in parts if part.subject in needed and _spans(part.window, gap)]
    if gap.to_at is None or len(mine) < len(needed):
        return
    now = now_us()
    errors = "; ".join(part.error for part in mine if part.error) or None
    unknown = "; ".join(part.unknown for part in mine if part.unknown) or None
    outcome, note = (None, errors) if errors else outcome_of(gap.channel, gap.from_at // 1000, now // 1000, unknown)
    await send.send(GapResult(gap.id, now, outcome, sum(part.rows for part in mine), note))


def _spans(window: Window, gap: Gap) -> bool:
    begins, ends = gap.from_at // 1000, (gap.to_at or 0) // 1000
    return window.since_ms <= begins and (window.until_ms is None or ends <= window.until_ms)


def deeper_than_kept(since_ms: int, now_ms: int) -> list[str]:
    """Say what a window asks for that OKX does not keep so long."""
    deepest: dict[str, int] = {}
    for endpoint in ENDPOINTS:
        if endpoint.depth_ms is not None:  # what is pending has no depth, and of deposits OKX does not say
            deepest[endpoint.channel] = max(deepest.get(endpoint.channel, 0), endpoint.depth_ms)
    return [
        f"{channel}: OKX keeps {depth // 86_400_000} days, older ones cannot be had"
        for channel, depth in deepest.items()
        if since_ms < now_ms - depth
    ]
