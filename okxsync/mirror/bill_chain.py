"""Whether the bills of one currency follow each other: each balance is the one before it plus the change.

OKX promises no order of bills within a millisecond, and settlements and liquidations make several at once. A bill leads
from one balance to another. So bills of one moment are edges between balances, and they fit if one path uses each edge
once: an Eulerian path, which begins at the balance before them.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import groupby
from operator import attrgetter
from typing import Final, NamedTuple

TOGETHER: Final = timedelta(seconds=1)
"""Bills that do not follow each other in the order of time may do so in another order, if they are this close: OKX's
tables differ by milliseconds in the time of one event."""


class Change(NamedTuple):
    """One bill: ``bal`` is the balance after it."""

    bill_id: str
    ts: datetime
    bal_chg: Decimal
    bal: Decimal

    @property
    def before(self) -> Decimal:
        return self.bal - self.bal_chg


class Break(NamedTuple):
    """A bill that does not follow from those before it, and the balance that would."""

    bill: Change
    expected: Decimal


class Chain:
    """The bills of one span of time in which none is missing; add them in the order of time.

    Attributes:
        ends: The balances that the last bill may have left; empty: not known. There are several if bills of one moment
            lead around a circle, or do not fit.
    """

    def __init__(self) -> None:
        self.ends: frozenset[Decimal] = frozenset()
        self._pending: list[Change] = []

    def add(self, moment: Sequence[Change]) -> Iterator[Break]:
        """Add the bills of one moment; yield the breaks that are certain now."""
        if self._pending and moment[0].ts - self._pending[0].ts > TOGETHER:
            yield from self.finish()
        self._pending += moment
        breaks, ends = follow(self._pending, self.ends)
        if not breaks:
            self.ends, self._pending = ends, []

    def finish(self) -> Iterator[Break]:
        """Yield the breaks among the bills that wait for one which would connect them."""
        if self._pending:
            breaks, self.ends = follow(self._pending, self.ends)
            self._pending = []
            yield from breaks


def breaks_of(bills: Iterable[Change], chain: Chain) -> Iterator[Break]:
    """Yield the breaks in the bills of one span, which are in the order of time."""
    for _, moment in groupby(bills, key=attrgetter("ts")):
        yield from chain.add(list(moment))
    yield from chain.finish()


def follow(bills: Sequence[Change], starts: frozenset[Decimal]) -> tuple[list[Break], frozenset[Decimal]]:
    """Return the breaks in some bills that may be in any order, and the balances that the last of them may leave.

    Args:
        starts: The balances that they may begin with; empty: not known.
    """
    surplus: Counter[Decimal] = Counter()  # of bills that begin at a balance over those that lead to it
    for bill in bills:
        surplus[bill.before] += 1
        surplus[bill.bal] -= 1
    begins = {balance for balance, count in surplus.items() if count > 0}
    parts = _connected(bills)
    start = next(iter(sorted(starts & begins) or sorted(starts & surplus.keys()) or sorted(starts)), None)
    if start is None:  # the first bill of all follows from nothing
        start = min(begins, default=bills[0].before)
    broken: list[Change] = []
    reached = start  # where the path that begins at the start ends
    for part in parts:
        loose = [bill for bill in part if bill.before in begins]
        missing = sum(surplus[balance] for balance in {bill.before for bill in loose})
        if any(start in (bill.before, bill.bal) for bill in part):
            missing -= start in begins
            reached = min((bill.bal for bill in part if surplus[bill.bal] < 0), default=start)
        else:
            missing = max(missing, 1)
        others = [bill for bill in loose if bill.before != start]
        broken += (others or loose or part)[:missing]
    breaks = [Break(bill, reached + bill.bal_chg) for bill in broken]
    finals = {balance for balance, count in surplus.items() if count < 0}
    if not finals:  # around a circle, back to where they began
        finals = {start} if starts else set(surplus)
    return breaks, frozenset(finals)


def _connected(bills: Sequence[Change]) -> list[list[Change]]:
    """Return the bills in groups that share no balance, each in its order."""
    group: dict[Decimal, Decimal] = {}

    def root(balance: Decimal) -> Decimal:
        while (parent := group.setdefault(balance, balance)) != balance:
            balance = parent
        return balance

    for bill in bills:
        group[root(bill.before)] = root(bill.bal)
    found: dict[Decimal, list[Change]] = {}
    for bill in bills:
        found.setdefault(root(bill.bal), []).append(bill)
    return list(found.values())
