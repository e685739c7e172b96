"""Data that OKX does not push: bills, the record of closed positions, and fills that no push of an order reports.

Bills and closed positions follow from something that is pushed, so they are fetched when that has happened, and not
otherwise: cash that changed, a position that changed or that a snapshot does not list any more (a record exists from
the first partial close on), an event of ``balance_and_position`` that changes neither, such as the funding of an
isolated position. REST may lag behind the pushes, so the fetch is repeated until the change that caused it is old
enough.

Block trades, legs of spreads, conversions, deliveries and ADL execute without a push of ``orders`` (OKX docs: GET
trade/fills, ``subType``). Pushed changes cannot be told apart from those of ordinary fills. So the newest fills of each
account are fetched at a fixed interval as well: ``Timings.fills_s`` states the cost.

A fetch begins where the one before began, less the time by which REST may lag behind.
"""

from collections.abc import Callable, Mapping, Set
from functools import partial
from operator import itemgetter
from typing import Final, TypeAlias

import msgspec
import trio

from okxsync.messages import Message
from okxsync.reconcile.held import Reads, last_changes
from okxsync.reconcile.pull import Window
from okxsync.reconcile.timings import Timings
from okxsync.reconcile.work import Part, Report, Work
from okxsync.rest.client import AccountClient
from okxsync.store.database import CHANNEL_NAME
from okxsync.store.engines import Reader


class Trigger(msgspec.Struct, frozen=True):
    """What calls for a subject to be fetched.

    Attributes:
        changes: SQL of (account, time of a change); the exchange's milliseconds, ours where it names no time.
        polled: SQL of the accounts whose data is fetched at an interval too.
    """

    changes: str
    polled: str | None = None


def _latest_of(table: str) -> str:
    """Return SQL: per account the latest change of a row, and when a snapshot did not list one any more.

    That is when it was received: a snapshot without rows has no time. Each is one look-up in an index.
    """
    of_each = f"SELECT name AS account, (SELECT {{}} FROM {table} WHERE account = name{{}}) AS at FROM accounts"
    changed, absent = of_each.format("max(u_time)", ""), " AND absent_time IS NOT NULL"
    return f"{changed} UNION ALL {of_each.format('max(received_at) / 1000', absent)}"


_POSITIONS: Final = _latest_of("positions")
_EVENTS: Final = f"SELECT account, reported_ms AS at FROM coverage WHERE {CHANNEL_NAME} = 'balance_and_position'"
_WITH_FILLS: Final = f"SELECT DISTINCT account FROM coverage WHERE wanted = 1 AND {CHANNEL_NAME} IN ('orders', 'fills')"
TRIGGERS: Final[Mapping[str, Trigger]] = {
    "bills": Trigger(f"{_latest_of('balances')} UNION ALL {_POSITIONS} UNION ALL {_EVENTS}"),
    "closed positions": Trigger(_POSITIONS),
    # The channel aggregates executions and omits some (OKX docs: fills channel): its pushes show that there are some.
    "fills": Trigger(
        f"SELECT account, last_push_at / 1000 AS at FROM coverage WHERE {CHANNEL_NAME} = 'fills'"
        " AND account NOT IN (SELECT account FROM coverage WHERE channel = 'orders' AND live = 1)",
        polled=_WITH_FILLS,
    ),
}
"""By subject of ``reconcile.pull``."""

Key: TypeAlias = tuple[str, str]  # subject and account


class Found(msgspec.Struct, frozen=True):
    """What the database says of one subject.

    Attributes:
        changed: By account, when it last changed; only changes that are new.
        polled: The accounts whose data is fetched at an interval.
    """

    changed: Mapping[str, int] = {}
    polled: Set[str] = frozenset()


class RestOnlySource:
    """Finds the accounts that have such data to fetch.

    Args:
        client_of: An account's client, or None if no request may be sent.
        waits: Returns whether something more urgent needs the machine; it is true for seconds at most.
    """

    name = "data that is not pushed"
    at_once = 32
    spread = True

    def __init__(
        self,
        reads: Reads,
        client_of: Callable[[str], AccountClient | None],
        timings: Timings,
        waits: Callable[[], bool] = lambda: False,
    ) -> None:
        self._reads = reads
        self._client_of = client_of
        self._timings = timings
        self._waits = waits
        self.poll_s = timings.poll_s
        self._known: dict[Key, int] = {}  # the change up to which everything is fetched, in milliseconds
        self._fetched: dict[Key, int] = {}  # when it was fetched last, in milliseconds of the exchange's clock
        self._tried_at: dict[Key, float] = {}  # when it was tried last, in trio's seconds
        self._began_s = trio.current_time()
        self._searched = False

    async def search(self, busy: Set[object]) -> list[Work]:
        if self._searched and self._waits():
            return []
        found = await self._reads.in_thread(_search, dict(self._known))
        due = self.due(found, busy, trio.current_time())
        self._searched = True
        return due

    def due(self, found: Mapping[str, Found], busy: Set[object], now_s: float) -> list[Work]:
        """Return what to fetch; what has waited longest comes first."""
        chosen: list[tuple[float, Work]] = []
        most = max(1, int(self._timings.refetch_per_s * self.poll_s))  # of each subject; the others at the next search
        for subject, of_subject in found.items():
            due: list[tuple[float, Work]] = []
            for account in of_subject.changed.keys() | of_subject.polled:
                key = subject, account
                if (client := self._client_of(account)) is None or key in busy:
                    continue
                changed_ms = of_subject.changed.get(account, 0)
                if key not in self._known:
                    self._fetched[key] = client.now_ms() - int((now_s - self._began_s) * 1000)
                    # Gaps cover what the first search finds. What comes later is the account's first change.
                    self._known[key] = 0 if self._searched else changed_ms
                tried_at = self._tried_at.get(key, self._began_s)
                has_changed = changed_ms > self._known[key]
                pause_s = self._timings.refetch_s if has_changed else self._timings.fills_s
                is_first = has_changed and key not in self._tried_at
                if is_first or ((has_changed or account in of_subject.polled) and now_s >= tried_at + pause_s):
                    due.append((tried_at, self._work(key, changed_ms)))
            chosen += sorted(due, key=itemgetter(0))[:most]
        return [work for _, work in sorted(chosen, key=itemgetter(0))]

    def _work(self, key: Key, changed_ms: int) -> Work:
        subject, account = key
        part = Part(account, subject, Window(self._fetched[key]))
        finish = partial(self._finish, key, changed_ms)
        return Work(
            account,
            key,
            f"fetching {subject}",
            [part],
            finish,
            overlap_ms=self._timings.overlap_ms,
            rest_lag_s=self._timings.rest_lag_s,
        )

    def _finish(self, key: Key, changed_ms: int, report: Report) -> list[Message]:
        self._tried_at[key] = trio.current_time()
        if not report.unfinished:
            self._fetched[key] = report.began_ms
            if report.began_ms - changed_ms > self._timings.rest_lag_s * 1000:
                self._known[key] = max(changed_ms, self._known[key])
        return []


def _search(reader: Reader, known: Mapping[Key, int]) -> dict[str, Found]:
    """Return what has changed since the changes that are ``known``, and what is fetched at an interval."""
    found: dict[str, Found] = {}
    for subject, trigger in TRIGGERS.items():
        last = last_changes(reader, trigger.changes)
        changed = {name: at for name, at in last.items() if at > known.get((subject, name), -1)}
        polled = frozenset(name for (name,) in reader.rows(trigger.polled)) if trigger.polled else frozenset[str]()
        found[subject] = Found(changed, polled)
    return found
