"""Data that OKX reports over REST alone: bills, the record of closed positions, and fills where only the channel
``fills`` is subscribed, for it aggregates several executions and omits some (OKX docs: fills channel).

They follow from something that is pushed: cash that changed, a position that was changed (a record exists from the
first partial close on), a push of ``fills``. So they are fetched when that has happened, and not otherwise. REST may
lag behind the pushes. So a fetch begins a while earlier than the one before ended, and is repeated until the change
that caused it is old enough.
"""

from collections.abc import Callable, Mapping, Set
from functools import partial
from operator import itemgetter
from typing import Final, TypeAlias

import trio

from okxsync.messages import Message
from okxsync.reconcile.held import Reads, last_changes
from okxsync.reconcile.pull import Window
from okxsync.reconcile.timings import Timings
from okxsync.reconcile.work import Part, Report, Work
from okxsync.rest.client import AccountClient
from okxsync.store.database import CHANNEL_NAME, Reader

OVERLAP_MS: Final = 60_000
TRIGGERS: Final = {
    "bills": "SELECT name, (SELECT max(u_time) FROM balances WHERE account = name) FROM accounts",
    "closed positions": "SELECT name, (SELECT max(u_time) FROM positions WHERE account = name) FROM accounts",
    "fills": f"SELECT account, max(last_push_at) / 1000 FROM coverage WHERE {CHANNEL_NAME} = 'fills'"
    " AND account NOT IN (SELECT account FROM coverage WHERE channel = 'orders' AND live = 1) GROUP BY account",
}
"""By subject of ``reconcile.pull``: when that which calls for it last happened (the exchange's milliseconds; ours for
fills)."""

Key: TypeAlias = tuple[str, str]  # subject and account
Changes: TypeAlias = dict[str, tuple[int, dict[str, int]]]
"""By subject: how many accounts there are, and for those with a new change its time in milliseconds."""


class RestOnlySource:
    """Finds the accounts that have such data to fetch.

    Args:
        client_of: An account's client, or None if no request may be sent.
    """

    name = "data that is not pushed"
    at_once = 16

    def __init__(self, reads: Reads, client_of: Callable[[str], AccountClient | None], timings: Timings) -> None:
        self._reads = reads
        self._client_of = client_of
        self._timings = timings
        self.poll_s = timings.poll_s
        self._known: dict[Key, int] = {}  # the change up to which everything is fetched, in milliseconds
        self._fetched: dict[Key, int] = {}  # when it was fetched last, in milliseconds of the exchange's clock
        self._next_at: dict[Key, float] = {}  # not to be fetched before, in trio's seconds
        self._began_s = trio.current_time()
        self._searched = False

    async def search(self, busy: Set[object]) -> list[Work]:
        changes = await self._reads.in_thread(_search, dict(self._known))
        found = self.due(changes, busy, trio.current_time())
        self._searched = True
        return found

    def due(self, changes: Changes, busy: Set[object], now_s: float) -> list[Work]:
        """Return what to fetch; what has waited longest comes first."""
        chosen: list[tuple[float, Work]] = []
        for subject, (accounts, changed) in changes.items():
            pause_s = max(self._timings.refetch_s, accounts / self._timings.refetch_per_s)
            due: list[tuple[float, str]] = []
            for account, changed_ms in changed.items():
                key = subject, account
                if (client := self._client_of(account)) is None or key in busy:
                    continue
                if key not in self._known:
                    self._fetched[key] = client.now_ms() - int((now_s - self._began_s) * 1000)
                    # Gaps cover what the first search finds. What comes later is the account's first change.
                    self._known[key] = 0 if self._searched else changed_ms
                if changed_ms > self._known[key] and now_s >= self._next_at.get(key, 0.0):
                    due.append((self._next_at.get(key, 0.0), account))
            most = max(1, int(self._timings.refetch_per_s * self.poll_s))  # the others at the next search
            chosen += [
                (at, self._work((subject, account), changed[account], pause_s)) for at, account in sorted(due)[:most]
            ]
        return [work for _, work in sorted(chosen, key=itemgetter(0))]

    def _work(self, key: Key, changed_ms: int, pause_s: float) -> Work:
        subject, account = key
        part = Part(account, subject, Window(self._fetched[key] - OVERLAP_MS))
        return Work(account, key, f"fetching {subject}", [part], partial(self._finish, key, changed_ms, pause_s))

    def _finish(self, key: Key, changed_ms: int, pause_s: float, report: Report) -> list[Message]:
        self._next_at[key] = trio.current_time() + pause_s
        if not report.failed:
            self._fetched[key] = report.began_ms
            if report.began_ms - changed_ms > self._timings.rest_lag_s * 1000:
                self._known[key] = changed_ms
        return []


def _search(reader: Reader, known: Mapping[Key, int]) -> Changes:
    """Return what has changed since the changes that are ``known``."""
    last = {subject: last_changes(reader, sql) for subject, sql in TRIGGERS.items()}
    return {
        subject: (len(by_account), {name: at for name, at in by_account.items() if at > known.get((subject, name), -1)})
        for subject, by_account in last.items()
    }
