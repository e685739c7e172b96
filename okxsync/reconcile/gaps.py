"""Open gaps of live channels, to be backfilled.

The database is the list of work, so nothing is forgotten over a restart, and a backfill beside a running daemon does no
harm. A gap is backfilled only once its channel is live again: what REST reports then overlaps with what is pushed.
"""

import random
from collections.abc import Iterable, Sequence, Set
from functools import partial
from typing import Final

import trio

from okxsync.messages import GapResult
from okxsync.reconcile.held import Gap, Reads, live_gaps
from okxsync.reconcile.timings import Timings
from okxsync.reconcile.work import Report, Work, gap_results, parts_of
from okxsync.runtime.backoff import BackOff
from okxsync.runtime.clock import earliest_us

MOST: Final = 64
"""Accounts that one search returns: more than can be backfilled until the next one."""


class GapSource:
    """Finds the accounts that have gaps to backfill.

    Args:
        rng: Draws the pauses after failures.
    """

    name = "open gaps"
    at_once = 32
    """Accounts; each has rate limits of its own."""
    spread = False

    def __init__(self, reads: Reads, timings: Timings, rng: random.Random | None = None) -> None:
        self._reads = reads
        self._timings = timings
        self._rng = rng or random.Random()
        self.poll_s = timings.gap_poll_s
        self._closed: set[int] = set()  # gaps; the database may still have them as open for a moment
        self._pauses: dict[str, BackOff] = {}  # of accounts whose last backfill failed
        self._next_at: dict[str, float] = {}  # of the same: when to try again, in trio's seconds

    async def search(self, busy: Set[object]) -> list[Work]:
        # REST must show what happened up to the end of the gap: the last of it may still be on its way as a push.
        found = await self._reads.in_thread(live_gaps, earliest_us() - self._timings.rest_lag_us)
        return self.due(found, busy, trio.current_time())

    def due(self, found: Sequence[Gap], busy: Set[object], now_s: float) -> list[Work]:
        """Return what to backfill: accounts that have not failed come first, then those that have waited longest."""
        self._closed &= {gap.id for gap in found}
        by_account: dict[str, list[Gap]] = {}
        for gap in found:
            is_paused = now_s < self._next_at.get(gap.account, 0.0)
            if not is_paused and gap.account not in busy and gap.id not in self._closed:
                by_account.setdefault(gap.account, []).append(gap)
        due = sorted(by_account, key=lambda account: self._next_at.get(account, 0.0))[:MOST]
        return [self._work(account, by_account[account]) for account in due]

    def _work(self, account: str, gaps: Sequence[Gap]) -> Work:
        finish = partial(self._finish, account, gaps)
        return Work(
            account,
            account,
            "backfilling gaps",
            parts_of(account, gaps),
            finish,
            side_by_side=True,
            rest_lag_s=self._timings.rest_lag_s,
        )

    def _finish(self, account: str, gaps: Iterable[Gap], report: Report) -> list[GapResult]:
        results = gap_results(gaps, report)
        self._closed.update(result.gap_id for result in results if result.outcome)
        if report.unfinished:
            pause = self._pauses.setdefault(account, BackOff(self._rng, cap_s=60.0))
            self._next_at[account] = trio.current_time() + pause.next_delay(0)
        else:
            self._pauses.pop(account, None)
            self._next_at.pop(account, None)
        return results
