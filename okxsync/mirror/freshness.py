"""How fresh an answer is: until when the channels that feed it are covered, and their open gaps.

Freshness is never overstated. Of several accounts and channels the worst one counts; an account that no channel covers
makes ``covered_until`` unknown; without a daemon nothing is live, and the time since its last coverage is an open gap,
although no gap is stored yet. The same holds for a live channel that REST could not verify.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Generic, TypeVar

from okxsync.mirror.kinds import moment, moment_or_none
from okxsync.mirror.rows import Row
from okxsync.store.coverage_table import UNVERIFIED
from okxsync.store.database import CHANNEL_NAME, Connection

R = TypeVar("R")

ACTIVE_ACCOUNTS: Final = (
    "SELECT name FROM accounts WHERE removed_at IS NULL"
    " AND name NOT IN (SELECT account FROM coverage GROUP BY account HAVING max(wanted) = 0)"
)
"""SQL: the accounts that are mirrored now; a disabled account has no channel that is wanted."""
IS_WANTED: Final = "(account, channel) NOT IN (SELECT account, channel FROM coverage WHERE wanted = 0)"
"""SQL: whether a channel is still configured; the gaps of others do not count."""
NO_DAEMON: Final = "no daemon is running"
NOT_STORED: Final = "the daemon cannot write"


@dataclass(frozen=True, slots=True, repr=False)
class Gap(Row):
    """An interval in which a channel was not received.

    Attributes:
        id: None for a gap that is not stored yet: no daemon is running, or REST could not verify a live channel.
        to_at: None: it lasts until now.
        outcome: None while it is open; then ``filled``, or ``partial`` if OKX no longer had all of it (see ``note``).
        rows: How many rows REST has returned for it.
    """

    id: int | None
    account: str
    channel: str
    from_at: datetime
    to_at: datetime | None
    reason: str
    outcome: str | None = None
    filled_at: datetime | None = None
    rows: int = 0
    attempts: int = 0
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Freshness:
    """How fresh an answer is.

    Attributes:
        covered_until: Nothing that happened before this moment is missing, except in ``gaps``. None: not known, because
            there is no account, or none of the channels of one (see ``uncovered``) was ever received.
        live: Whether a daemon receives all the channels now.
        gaps: The open gaps of these channels.
        uncovered: The accounts of which no channel was ever received.

    A channel with arguments (``instType = "SWAP"``) covers only what these select.
    """

    covered_until: datetime | None
    live: bool
    gaps: tuple[Gap, ...]
    uncovered: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether the answer is live and has no open gap."""
        return self.live and not self.gaps

    def __str__(self) -> str:
        if self.covered_until is None:
            return "NOT COVERED" + (f": {', '.join(self.uncovered)}" if self.uncovered else "")
        until = self.covered_until.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        gaps = f", {len(self.gaps)} open gap{'s' if len(self.gaps) > 1 else ''}" if self.gaps else ""
        return f"{'live' if self.live else 'STALE'}, covered until {until}{gaps}"


class Answer(tuple[R, ...], Generic[R]):
    """A tuple of rows that carries its freshness; what it shows begins with that."""

    freshness: Freshness

    def __new__(cls, rows: Iterable[R], freshness: Freshness) -> "Answer[R]":
        answer = super().__new__(cls, rows)
        answer.freshness = freshness
        return answer

    def __getnewargs__(self) -> tuple[Any, ...]:
        return tuple(self), self.freshness

    @property
    def covered_until(self) -> datetime | None:
        """See ``Freshness``."""
        return self.freshness.covered_until

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """See ``Freshness``."""
        return self.freshness.gaps

    def __repr__(self) -> str:
        lines = [f"{len(self)} row{'' if len(self) == 1 else 's'} ({self.freshness})", *map(repr, self[:_SHOWN])]
        more = [f"... and {len(self) - _SHOWN} more"] if len(self) > _SHOWN else []
        return "\n".join([*lines, *more])


_SHOWN: Final = 50


def read_freshness(
    db: Connection,
    now_us: int,
    *,
    not_stored: str | None,
    accounts: Collection[str],
    channels: Collection[str] | None = None,
    pushed: bool = True,
) -> Freshness:
    """Return how fresh some accounts are, as of ``now_us`` microseconds UTC.

    Args:
        not_stored: Why no daemon stores what it receives; None if one does.
        accounts: By name.
        channels: Names of channels; None: all.
        pushed: False for rows that these channels do not push: they are covered only up to the last closed gap.
    """
    conditions = [f"account IN ({_marks(accounts)})"]
    values = list(accounts)
    if channels is not None:
        conditions.append(f"{CHANNEL_NAME} IN ({_marks(channels)})")
        values += channels
    where = " AND ".join(conditions)
    until = {} if pushed else dict(
        db.execute(
            f"SELECT account, max(to_at) FROM gaps WHERE outcome IS NOT NULL AND {where} GROUP BY account", values
        ).fetchall()
    )  # fmt: skip
    covered: dict[str, list[tuple[int, bool]]] = {}
    for account, channel_until, is_live in db.execute(
        f"SELECT account, covered_until, live = 1 AND wanted = 1 FROM coverage WHERE {where} AND (wanted = 1"
        f" OR account NOT IN (SELECT account FROM coverage WHERE {where} AND wanted = 1))",
        [*values, *values],
    ).fetchall():
        if pushed or account in until:
            covered.setdefault(account, []).append((until.get(account, channel_until), bool(is_live)))
    uncovered = tuple(sorted(set(accounts) - set(covered)))
    every = [one for of_account in covered.values() for one in of_account]
    return Freshness(
        covered_until=moment(min(until for until, _ in every)) if every and not uncovered else None,
        live=not_stored is None and bool(every) and not uncovered and all(is_live for _, is_live in every),
        gaps=open_gaps(db, where, values, not_stored=not_stored),
        uncovered=uncovered,
    )


def open_gaps(db: Connection, where: str, values: Sequence[object], *, not_stored: str | None) -> tuple[Gap, ...]:
    """Return the open gaps of channels that are wanted, the earliest first; ``where`` is trusted SQL."""
    found = stored_gaps(db, f"outcome IS NULL AND {IS_WANTED} AND {where}", values)
    select = (
        f"SELECT account, channel, covered_until, why FROM {UNVERIFIED} AND wanted = 1 AND {where}"
        if not_stored is None
        else f"SELECT account, channel, covered_until, '{not_stored}' FROM coverage"
        f" WHERE live = 1 AND wanted = 1 AND {where}"
    )
    found += [
        Gap(None, account, channel, moment(since), None, reason)
        for account, channel, since, reason in db.execute(select, values).fetchall()
    ]
    return tuple(sorted(found, key=lambda gap: gap.from_at))


def stored_gaps(db: Connection, where: str, values: Sequence[object]) -> list[Gap]:
    """Return rows of the table ``gaps``, the earliest first; ``where`` is trusted SQL."""
    rows = db.execute(
        "SELECT id, account, channel, from_at, to_at, reason, outcome, filled_at, rows, attempts, note FROM gaps"
        f" WHERE {where} ORDER BY from_at, id",
        values,
    ).fetchall()
    return [
        Gap(number, account, channel, moment(begin), moment_or_none(end), reason, outcome, moment_or_none(at), *rest)
        for number, account, channel, begin, end, reason, outcome, at, *rest in rows
    ]


def _marks(values: Collection[object]) -> str:
    return ", ".join("?" * len(values)) or "NULL"  # an empty list is SQLite's alone
