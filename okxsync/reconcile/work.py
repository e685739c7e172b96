"""What to pull over REST for one account, and the result.

What is needed is described as ``Work``; ``perform`` pulls its parts and reports; ``Work.finish`` says without
I/O what is to be stored.
"""

import logging
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping, Sequence
from typing import Final

import msgspec
import trio

from okxsync.messages import Fetched, GapResult, Message
from okxsync.okx.endpoints import OVERLAP_MS, REST_LAG_S
from okxsync.reconcile.held import AccountReads, Gap, Reads
from okxsync.reconcile.pull import Listed, Pulled, Puller, Window
from okxsync.reconcile.subjects import DEEPEST_MS, outcome_of, subjects_of
from okxsync.rest.client import AccountClient, RestError
from okxsync.runtime.clock import now_us
from okxsync.runtime.outbox import Outbox
from okxsync.store.database import StoreError

log = logging.getLogger("okxsync.reconcile")

NO_CLIENT: Final = "the account is not enabled, or not identified yet"


class Part(msgspec.Struct):
    """One subject of one account in a window of time, and the result of pulling it.

    Attributes:
        rows: How many rows REST has returned.
        done: Whether every request succeeded, and every row is stored.
        error: Why it is not complete.
        rest_failed: Whether the error is REST's.
        rejected: Whether the error is final: OKX rejects a request, or a row cannot be stored.
        unstored: The part of the error that is about rows that cannot be stored, or requested (see ``pull.Pulled``).
        unknown: What OKX cannot report of it; that is no error.
    """

    account: str
    subject: str
    window: Window
    rows: int = 0
    done: bool = False
    error: str | None = None
    rest_failed: bool = False
    rejected: bool = False
    unstored: str | None = None
    unknown: str | None = None

    @property
    def answered(self) -> bool:
        """Whether every request succeeded, even if there are rows that cannot be stored."""
        return self.done or (self.error is not None and self.error == self.unstored)

    @property
    def nothing_missing(self) -> bool:
        """Whether everything that OKX has in the window is stored, so that ``--ledger`` may rely on it.

        The same holds for the gaps that ``mirror.known`` counts: a note of ``unknown`` makes a gap ``partial``.
        """
        return self.done and self.unknown is None


OnProgress = Callable[[Part], None]
"""Called with a part when something has changed in it."""


class Report(msgspec.Struct, frozen=True):
    """The result of a piece of work. Times are local microseconds and milliseconds of the exchange's clock."""

    parts: Sequence[Part]
    began_us: int
    began_ms: int
    ended_us: int
    ended_ms: int

    @property
    def failed(self) -> Part | None:
        """The first part with an error."""
        return next((part for part in self.parts if part.error), None)

    @property
    def unanswered(self) -> Part | None:
        """The first part with an error that is not only about rows that cannot be stored."""
        return next((part for part in self.parts if part.error and not part.answered), None)

    @property
    def unstored(self) -> str | None:
        """The rows that cannot be stored."""
        return _joined(*(part.unstored for part in self.parts))

    @property
    def unfinished(self) -> Part | None:
        """The first part with an error that another attempt may not have."""
        return next((part for part in self.parts if part.error and not part.rejected), None)


class Work(msgspec.Struct, frozen=True):
    """What to pull for one account, and why.

    Attributes:
        key: Work of the same key and source is done once at a time.
        about: Why, in the words of a log line.
        finish: Returns what is to be stored once the parts were tried.
        only: Arguments of a subscription: rows that it does not report are left out.
        plain_algos: Leave out the algo orders that ``orders-algo`` does not report.
        side_by_side: Pull all parts at the same time, for each endpoint has a rate limit of its own. Otherwise they are
            pulled in order, up to the first request that
            fails.
        overlap_ms: How much more than the windows is requested.
        rest_lag_s: How far a reply may lag behind the pushes.
    """

    account: str
    key: Hashable
    about: str
    parts: Sequence[Part]
    finish: Callable[[Report], Iterable[Message]]
    only: Mapping[str, str] = {}
    plain_algos: bool = False
    side_by_side: bool = False
    overlap_ms: int = OVERLAP_MS
    rest_lag_s: float = REST_LAG_S


async def perform(
    work: Work,
    client: AccountClient | None,
    reads: Reads,
    send: Outbox,
    on_progress: OnProgress = lambda part: None,
) -> Report:
    """Pull the parts of ``work``, and report. An error of REST or the database is stored in the part.

    Args:
        client: The account's; None if no request may be sent.
        send: Where the rows go.
    """
    began_us, began_ms = now_us(), client.now_ms() if client else 0
    held, listed = AccountReads(reads, work.account), Listed()

    async def attempt(part: Part, pull: Callable[[Puller], Awaitable[Pulled]]) -> None:
        def count(rows: int) -> None:
            part.rows += rows
            on_progress(part)

        if client is None:
            part.error = NO_CLIENT
        else:
            puller = Puller(
                client,
                send,
                held,
                count,
                only=work.only,
                plain_algos=work.plain_algos,
                overlap_ms=work.overlap_ms,
                rest_lag_s=work.rest_lag_s,
                listed=listed,
            )
            try:
                _conclude(part, await pull(puller))
            except (RestError, StoreError) as error:
                part.done, part.error, part.rest_failed = False, str(error), isinstance(error, RestError)
            if part.error:
                log.warning("%s: %s: %s: %s", work.account, work.about, part.subject, part.error)
        on_progress(part)

    async def pull(part: Part) -> None:
        await attempt(part, lambda puller: puller.pull(part.subject, part.window))

    if work.side_by_side:
        async with trio.open_nursery() as nursery:
            for part in work.parts:
                nursery.start_soon(pull, part)
    else:
        for part in work.parts:
            await pull(part)
            if not part.answered:
                break
    pulled = {part.subject: part for part in work.parts if part.answered}
    if "orders" in pulled and (fills := pulled.get("fills")):
        await attempt(fills, Puller.pull_orders_of_fills)
    return Report(work.parts, began_us, began_ms, now_us(), client.now_ms() if client else 0)


def _conclude(part: Part, pulled: Pulled) -> None:
    """Add the result of pulling a part to what is known of it already."""
    part.unknown = _joined(part.unknown, pulled.unknown)
    part.unstored = _joined(part.unstored, pulled.unstored)
    part.error = _joined(part.error, pulled.rejected, pulled.unstored)
    part.rejected = part.rest_failed = part.error is not None
    part.done = part.error is None


def _joined(*notes: str | None) -> str | None:
    return "; ".join(note for note in notes if note) or None


def parts_of(account: str, gaps: Iterable[Gap]) -> list[Part]:
    """Return what the gaps of one account need: each subject once, since the earliest gap that needs it."""
    since_us: dict[str, int] = {}
    for gap in gaps:
        for subject in subjects_of(gap.channel):
            since_us[subject] = min(since_us.get(subject, gap.from_at), gap.from_at)
    return [Part(account, subject, Window(at // 1000)) for subject, at in since_us.items()]


def gap_results(gaps: Iterable[Gap], report: Report) -> list[GapResult]:
    """Return what was achieved for each gap that has ended, and whose subjects were all pulled since it began."""
    results = []
    for gap in gaps:
        needed = subjects_of(gap.channel)
        parts = [part for part in report.parts if part.subject in needed and _spans(part.window, gap)]
        if gap.to_at is None or len(parts) < len(needed):
            continue
        errors = _joined(*(part.error for part in parts if not part.rejected))
        unknown = _joined(*(note for part in parts for note in (part.error, part.unknown)))
        ended = outcome_of(gap.channel, gap.from_at // 1000, report.ended_us // 1000, unknown)
        outcome, note = (None, errors) if errors else ended
        results.append(GapResult(gap.id, report.ended_us, outcome, sum(part.rows for part in parts), note))
    return results


def fetched_windows(report: Report, rest_lag_s: float) -> list[Fetched]:
    """Return the windows of which nothing is missing, as far back as OKX keeps data.

    What happened shortly before the requests may not have been in REST's lists yet.
    """
    deepest_ms, newest_ms = report.began_ms - DEEPEST_MS, report.began_ms - int(rest_lag_s * 1000)
    found = []
    for part in report.parts:
        since_ms = max(part.window.since_ms, deepest_ms)
        until_ms = newest_ms if part.window.until_ms is None else min(part.window.until_ms, newest_ms)
        if part.nothing_missing and since_ms < until_ms:
            found.append(Fetched(part.account, part.subject, since_ms, until_ms))
    return found


def _spans(window: Window, gap: Gap) -> bool:
    begins, ends = gap.from_at // 1000, (gap.to_at or 0) // 1000
    return window.since_ms <= begins and (window.until_ms is None or ends <= window.until_ms)
