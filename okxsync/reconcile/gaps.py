"""Closing gaps: whoever finds open ones in the database asks REST, and says what was proved.

The database is the list of work, so nothing is forgotten over a restart, and a backfill beside a running daemon does
no harm. A gap is asked for only once its channel is live again: what is asked then overlaps with what is pushed.
"""

import logging
import random
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

import trio

from okxsync.messages import GapResult, Message
from okxsync.reconcile.held import Gap, Held, live_gaps
from okxsync.reconcile.pull import SETTLE_S, Puller, Window, outcome_of, subjects_of
from okxsync.rest.client import AccountClient, RestError
from okxsync.runtime.backoff import BackOff
from okxsync.runtime.clock import now_us
from okxsync.runtime.supervise import supervised
from okxsync.store.database import StoreError, keep_going

log = logging.getLogger("okxsync.rest")

POLL_S: Final = 1.0
AT_ONCE: Final = 32
"""Accounts that are filled side by side; each has its own budgets."""


class GapFiller:
    """Fills open gaps for as long as it runs."""

    def __init__(
        self,
        database: Path,
        client_of: Callable[[str], AccountClient | None],
        send: trio.MemorySendChannel[Message],
    ) -> None:
        self._database = database
        self._client_of = client_of  # by account name; None if it is not configured
        self._send = send
        self._busy: set[str] = set()
        self._closed: set[int] = set()  # gaps; the database may still hold them as open for a moment
        self._pauses: dict[str, BackOff] = {}  # of accounts that could not be filled
        self._limit = trio.CapacityLimiter(AT_ONCE)

    async def run(self) -> None:
        """Look for gaps every second, and fill each account's in a task of its own."""
        async with trio.open_nursery() as nursery:
            while True:
                with keep_going(log, "gaps cannot be looked for"):
                    found = live_gaps(self._database, before_us=now_us() - _us(SETTLE_S))
                    for account, gaps in self._by_account(found):
                        nursery.start_soon(self._fill, account, gaps)
                await trio.sleep(POLL_S)

    def _by_account(self, gaps: Sequence[Gap]) -> list[tuple[str, list[Gap]]]:
        """Return what nobody works at yet, and mark it as taken."""
        found: dict[str, list[Gap]] = {}
        self._closed &= {gap.id for gap in gaps}
        for gap in gaps:
            if gap.account not in self._busy and gap.id not in self._closed:
                found.setdefault(gap.account, []).append(gap)
        self._busy.update(found)
        return list(found.items())

    async def _fill(self, account: str, gaps: list[Gap]) -> None:
        try:
            await supervised(self._send, account, f"{account}: filling gaps", self._fill_once, account, gaps)
        finally:
            self._busy.discard(account)

    async def _fill_once(self, account: str, gaps: list[Gap]) -> None:
        async with self._limit:
            failed = await self._ask(account, gaps)
        if failed:
            await trio.sleep(self._pauses.setdefault(account, BackOff(random.Random(), cap_s=60.0)).next_delay(0))
        else:
            self._pauses.pop(account, None)

    async def _ask(self, account: str, gaps: list[Gap]) -> bool:
        """Ask all that the gaps of one account need, each subject once; return whether some part failed."""
        client = self._client_of(account)
        asked_at = now_us()
        rows: dict[str, int] = {}
        failures: dict[str, str] = {}
        unknown: dict[str, str] = {}

        async def ask(subject: str, since_us: int) -> None:
            if client is None:
                failures[subject] = "the account is not configured, or who it is is not known yet"
                return

            def took(count: int) -> None:
                rows[subject] = rows.get(subject, 0) + count

            puller = Puller(client, self._send, Held(self._database, account, asked_at), took)
            try:
                if note := await puller.pull(subject, Window(since_us // 1000)):
                    unknown[subject] = note
            except (RestError, StoreError) as error:
                failures[subject] = str(error)
                log.warning("%s: %s cannot be filled: %s", account, subject, error)

        async with trio.open_nursery() as nursery:  # side by side: each has budgets of its own, and begins with state
            for subject, since_us in self._subjects(gaps).items():
                nursery.start_soon(ask, subject, since_us)
        for gap in gaps:
            subjects = subjects_of(gap.channel)
            why = "; ".join(failures[subject] for subject in subjects if subject in failures) or None
            not_known = "; ".join(unknown[subject] for subject in subjects if subject in unknown) or None
            outcome, note = (
                (None, why) if why else outcome_of(gap.channel, gap.from_at // 1000, now_us() // 1000, not_known)
            )
            count = sum(rows.get(subject, 0) for subject in subjects)
            await self._send.send(GapResult(gap.id, now_us(), outcome, count, note))
            if outcome:
                self._closed.add(gap.id)
        return bool(failures)

    @staticmethod
    def _subjects(gaps: Iterable[Gap]) -> dict[str, int]:
        """Return what must be asked, each since the earliest gap that needs it."""
        since: dict[str, int] = {}
        for gap in gaps:
            for subject in subjects_of(gap.channel):
                since[subject] = min(since.get(subject, gap.from_at), gap.from_at)
        return since


def _us(seconds: float) -> int:
    return int(seconds * 1e6)
