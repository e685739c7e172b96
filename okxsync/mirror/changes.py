"""What has changed since a revision, and iterators that wait for the next change.

Every transaction of the writer that stores rows has a revision, and a row keeps the revision of the transaction that
changed its content last. Revisions grow in the order of the commits, so whoever has read up to one revision misses
nothing by asking for what came later: also across restarts of either side.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, fields
from typing import Final, NamedTuple, Self

from okxsync.mirror.freshness import Freshness
from okxsync.mirror.rows import (
    AlgoOrder,
    Balance,
    Bill,
    ClosedPosition,
    Deposit,
    Equity,
    Fill,
    Order,
    Position,
    Withdrawal,
)

POLL_S: Final = 0.01
"""How often a watch looks for commits: 3 us each, without reading a table unless there was one."""


class FillKey(NamedTuple):
    """What names a fill."""

    account: str
    inst_id: str
    ord_id: str
    trade_id: str


@dataclass(frozen=True)
class Changes:
    """The latest state of every row that changed after ``since``, each in the order of its change; true if any did.

    Attributes:
        revision: Up to which revision this is complete: the next ``since``.
        replaced_fills: Fills with a synthetic trade id that were replaced: REST has reported them under their own.
        freshness: Of all channels of the accounts that are named here.
    """

    since: int
    revision: int
    freshness: Freshness
    orders: tuple[Order, ...] = ()
    algo_orders: tuple[AlgoOrder, ...] = ()
    fills: tuple[Fill, ...] = ()
    positions: tuple[Position, ...] = ()
    closed_positions: tuple[ClosedPosition, ...] = ()
    balances: tuple[Balance, ...] = ()
    equity: tuple[Equity, ...] = ()
    bills: tuple[Bill, ...] = ()
    deposits: tuple[Deposit, ...] = ()
    withdrawals: tuple[Withdrawal, ...] = ()
    replaced_fills: tuple[FillKey, ...] = ()

    def __bool__(self) -> bool:
        return any(getattr(self, name) for name in _LISTS)

    def __repr__(self) -> str:
        counts = [f"{len(getattr(self, name))} {name}" for name in _LISTS if getattr(self, name)]
        return f"Changes({self.since} -> {self.revision}: {', '.join(counts) or 'nothing'}; {self.freshness})"


_LISTS: Final = [one.name for one in fields(Changes) if one.name not in ("since", "revision", "freshness")]


class Watch:
    """Yields the changes after ``revision`` as they are committed: by ``for``, or by ``async for`` in trio or asyncio.

    It polls in the caller's own loop or thread and starts nothing. ``revision`` is what was handed out last, so an
    iteration that was cancelled or left can go on with the same watch, or a new one, and misses nothing.

    Raises:
        StoreError: (when iterated) the database cannot be read.
    """

    def __init__(self, read: Callable[[int], Changes], data_version: Callable[[], int], since: int) -> None:
        self.revision = since
        self._read = read
        self._data_version = data_version
        self._looked_at: int | None = None  # the version of the database that the last look has seen

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Changes:
        while not (found := self._look()):
            time.sleep(POLL_S)
        return found

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Changes:
        sleep = _sleep_of_this_loop()
        await sleep(0)  # others have their turn, and a cancellation its moment, however much there is to read
        while not (found := self._look()):
            await sleep(POLL_S)
        return found

    def _look(self) -> Changes | None:
        """Return the changes if there are any; a commit during the look is seen by the next one."""
        version = self._data_version()
        if version == self._looked_at:
            return None
        found = self._read(self.revision)
        self.revision = found.revision
        if not found:
            self._looked_at = version
        return found or None


def _sleep_of_this_loop() -> Callable[[float], Awaitable[None]]:
    import sniffio

    if sniffio.current_async_library() == "trio":
        import trio

        return trio.sleep
    import asyncio

    return asyncio.sleep
