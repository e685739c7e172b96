"""What is stored, as far as it decides what to request over REST; and how the event loop reads it."""

from collections.abc import Callable, Collection
from itertools import islice
from typing import Any, Final, TypeVar, TypeVarTuple

import msgspec
import trio

from okxsync.config.location import Location
from okxsync.okx.channels import channel_of
from okxsync.store.database import CHANNEL_NAME, Values
from okxsync.store.engines import Reader
from okxsync.store.tables import ALGO_PENDING, ALGO_UNDOCUMENTED, PENDING, UNDOCUMENTED

AT_A_TIME: Final = 500
"""Values in one query: an engine's limit of parameters is far above."""
T = TypeVar("T")
Args = TypeVarTuple("Args")


class Reads:
    """Reads the database in a thread, over one connection that is kept.

    On the event loop even a short query could wait for the disk, and everything else with it.

    Args:
        threads: False runs all on the event loop: a clock that jumps while every task waits would jump over a thread.
    """

    def __init__(self, location: Location, *, threads: bool = True) -> None:
        self.location = location
        self._reader = Reader(location)
        self._limiter = trio.CapacityLimiter(1) if threads else None

    async def in_thread(self, read: Callable[[Reader, *Args], T], *args: *Args) -> T:
        """Return what ``read`` returns."""
        if self._limiter is None:
            return read(self._reader, *args)
        return await trio.to_thread.run_sync(read, self._reader, *args, limiter=self._limiter)

    async def rows(self, sql: str, values: Values = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a query as tuples.

        Raises:
            StoreError: the database cannot be opened or read.
        """
        return await self.in_thread(Reader.rows, sql, values)

    async def computed(self, compute: Callable[[*Args], T], *args: *Args) -> T:
        """Return what ``compute`` returns, which reads nothing and takes long: no read waits for it."""
        if self._limiter is None:
            return compute(*args)
        return await trio.to_thread.run_sync(compute, *args)

    def close(self) -> None:
        self._reader.close()


class Gap(msgspec.Struct, frozen=True):
    """A time of a channel that is not covered; local microseconds."""

    id: int
    account: str
    channel: str
    from_at: int
    to_at: int | None


def live_gaps(reader: Reader, before_us: int) -> list[Gap]:
    """Return the open gaps that ended before a time, of channels that are live again; the oldest first."""
    return [
        Gap(*row)
        for row in reader.rows(
            "SELECT id, gaps.account, gaps.channel, from_at, to_at FROM gaps JOIN coverage USING (account, channel)"
            " WHERE outcome IS NULL AND to_at < ? AND live = 1 ORDER BY from_at",
            [before_us],
        )
    ]


def open_gaps(reader: Reader, account: str) -> list[Gap]:
    """Return the open gaps of an account; one that has not ended has no end."""
    return [
        Gap(*row)
        for row in reader.rows(
            "SELECT id, account, channel, from_at, to_at FROM gaps WHERE outcome IS NULL AND account = ?", [account]
        )
    ]


MAX_UNDOCUMENTED: Final = 100
"""Of the newest orders in a state that is not documented, so many are looked up: if more are, it is an end."""


class Held:
    """What is stored of an account, as far as it decides what must be requested."""

    def __init__(self, reader: Reader, account: str) -> None:
        self._reader = reader
        self._account = account

    def open_orders(self, as_of_ms: int) -> list[tuple[str, str]]:
        """Return (ord_id, inst_id) of the orders that are not stored as ended. Call it before the request.

        An order in a state that is not documented may be pending too; see ``MAX_UNDOCUMENTED``.

        Args:
            as_of_ms: As of when its reply is true; the exchange's milliseconds. What has changed since is left out: the
                reply may lack it. When it was received does not matter: what has changed before may be received late,
                and end without a push.
        """
        return self._pending("SELECT ord_id, inst_id FROM orders", PENDING, UNDOCUMENTED, as_of_ms)

    def open_algo_orders(self, as_of_ms: int) -> list[tuple[str, str]]:
        """Return (algo_id, ord_type) of the algo orders that are not stored as ended; see ``open_orders``."""
        return self._pending("SELECT algo_id, ord_type FROM algo_orders", ALGO_PENDING, ALGO_UNDOCUMENTED, as_of_ms)

    def _pending(self, select: str, states: str, undocumented: str, as_of_ms: int) -> list[tuple[str, str]]:
        mine = "account = ?1 AND coalesce(u_time, 0) <= ?2"
        rows = self._reader.rows(
            f"{select} WHERE state IN ({states}) AND {mine}"
            f" UNION ALL SELECT * FROM ({select} WHERE {undocumented} AND {mine} ORDER BY u_time DESC LIMIT ?3)",
            [self._account, as_of_ms, MAX_UNDOCUMENTED],
        )
        return [(name, of or "") for name, of in rows]

    def orders_not_found(self, since_ms: int) -> list[tuple[str, str]]:
        """Return (ord_id, inst_id) of the orders that REST has not found since a time, and whose end is unknown."""
        return self._not_found("SELECT ord_id, inst_id FROM orders", since_ms)

    def algo_orders_not_found(self, since_ms: int) -> list[tuple[str, str]]:
        """Return (algo_id, ord_type) of the algo orders that REST has not found since a time."""
        return self._not_found("SELECT algo_id, ord_type FROM algo_orders", since_ms)

    def _not_found(self, select: str, since_ms: int) -> list[tuple[str, str]]:
        rows = self._reader.rows(f"{select} WHERE account = ? AND not_found_at >= ?", [self._account, since_ms])
        return [(name, of or "") for name, of in rows]

    def orders_missing(self, ids: Collection[str]) -> set[str]:
        """Return those of some order ids that are not stored."""
        found: set[str] = set()
        rest = iter(ids)
        while some := [*islice(rest, AT_A_TIME)]:
            marks = ", ".join("?" * len(some))
            rows = self._reader.rows(
                f"SELECT ord_id FROM orders WHERE account = ? AND ord_id IN ({marks})", [self._account, *some]
            )
            found.update(ord_id for (ord_id,) in rows)
        return {*ids} - found

    def has_orders_before(self, since_ms: int, channels: Collection[str] = ("orders",)) -> bool:
        """Whether the orders that were pending at a time are stored: they were mirrored since before it.

        Args:
            channels: Those that report them; one without limiting arguments suffices.
        """
        marks = ", ".join("?" * len(channels))
        of_orders = f"account = ? AND channel IN ({marks}) AND"
        mine = [self._account, *channels]
        begins_us, ends_us = since_ms * 1000, (since_ms + 1) * 1000  # a window begins in the millisecond of its gap
        ((known,),) = self._reader.rows(
            f"SELECT EXISTS (SELECT 1 FROM coverage WHERE {of_orders} covered_since < ? UNION ALL"
            f" SELECT 1 FROM gaps WHERE {of_orders} from_at < ? AND outcome IS NOT NULL)"
            f" AND NOT EXISTS (SELECT 1 FROM gaps WHERE {of_orders} from_at < ? AND outcome IS NULL)",
            [*mine, ends_us, *mine, ends_us, *mine, begins_us],
        )
        return bool(known)

    def unfinished_since_ms(self, table: str, final: Collection[str], at_ms: int) -> int:
        """Return when the oldest deposit or withdrawal was made whose state may still change, if before ``at_ms``.

        Args:
            table: ``deposits`` or ``withdrawals``.
            final: Its states that do not change any more.
        """
        marks = ", ".join("?" * len(final))
        ((oldest,),) = self._reader.rows(
            f"SELECT min(ts) FROM {table} WHERE account = ? AND ts < ? AND state NOT IN ({marks})",
            [self._account, at_ms, *final],
        )
        return at_ms if oldest is None else int(oldest)

    def inst_types(self) -> set[str]:
        """Return the types of instruments that the account is known to trade."""
        rows = self._reader.rows(
            "SELECT DISTINCT inst_type FROM positions WHERE account = ?1"
            f" UNION SELECT DISTINCT inst_type FROM orders WHERE account = ?1 AND state IN ({PENDING})",
            [self._account],
        )
        return {type for (type,) in rows if type}

    def algo_types(self) -> set[str]:
        """Return the types of algo orders that any account is known to have."""
        rows = self._reader.rows(
            "WITH RECURSIVE types (type) AS (SELECT min(ord_type) FROM algo_orders UNION ALL"
            " SELECT (SELECT min(ord_type) FROM algo_orders WHERE ord_type > type) FROM types WHERE type IS NOT NULL)"
            " SELECT type FROM types WHERE type IS NOT NULL"
        )
        return {type for (type,) in rows}

    def bills_until_ms(self) -> int | None:
        """Return until when all bills were fetched: they are never pushed, so the next request begins there.

        A gap is backfilled after its end. When the replies came is no measure: that may take minutes.
        """
        ((verified_at,),) = self._reader.rows(
            f"SELECT max(to_at) FROM gaps WHERE account = ? AND {CHANNEL_NAME} IN ('account',"
            " 'balance_and_position') AND outcome IS NOT NULL",
            [self._account],
        )
        return verified_at // 1000 if verified_at is not None else None


class AccountReads:
    """Reads what is stored of one account, see ``Held`` and ``Reads``."""

    def __init__(self, reads: Reads, account: str) -> None:
        self._reads = reads
        self._account = account

    async def read(self, read: Callable[[Held], T]) -> T:
        """Return what ``read`` returns; several queries in one call cost one wake-up of the event loop.

        Raises:
            StoreError: the database cannot be read.
        """
        return await self._reads.in_thread(lambda reader: read(Held(reader, self._account)))


def last_changes(reader: Reader, changes: str) -> dict[str, int]:
    """Return the time of the last change by account, in milliseconds; ``changes`` is SQL of (account, at)."""
    rows = reader.rows(f"SELECT account, max(at) FROM ({changes}) AS changes GROUP BY account")
    return {account: at for account, at in rows if at is not None}


class LiveChannel(msgspec.Struct, frozen=True):
    """A channel that is live and has no gap to backfill.

    Attributes:
        channel: Its key in coverage; ``name`` is that without arguments.
        since_at: Since when; local microseconds.
        covered_until: Until when it is proved to be complete; microseconds.
        answered_at: When the last ping that its connection has answered was sent; local microseconds.
        reported_ms: The latest time that its pushes have named; the exchange's milliseconds.
        backfilled_at: When its last gap was closed, 0 if it had none; local microseconds.
    """

    account: str
    channel: str
    since_at: int
    covered_until: int
    answered_at: int
    reported_ms: int
    backfilled_at: int = 0

    @property
    def key(self) -> tuple[str, str]:
        return self.account, self.channel

    @property
    def name(self) -> str:
        return channel_of(self.channel)


def live_channels(reader: Reader, channels: Collection[str], account: str | None = None) -> list[LiveChannel]:
    """Return those of the ``channels`` that are live with all earlier gaps closed, whatever their arguments.

    A channel costs three look-ups in an index, however many gaps it has had.

    Args:
        account: Only of this one; None: of all.
    """
    of_channel = "gaps.account = coverage.account AND gaps.channel = coverage.channel"
    marks = ", ".join("?" * len(channels))
    whose = "" if account is None else "account = ? AND "
    rows = reader.rows(
        f"SELECT account, channel, coalesce((SELECT max(to_at) FROM gaps WHERE {of_channel} AND outcome IS NOT NULL"
        " AND to_at <= covered_until), covered_since), covered_until,"  # later: by a clock that was ahead
        " coalesce((SELECT answered_at FROM connections WHERE id = connection_id), 0), coalesce(reported_ms, 0),"
        f" coalesce((SELECT filled_at FROM gaps WHERE {of_channel} AND outcome IS NOT NULL AND to_at IS NOT NULL"
        " ORDER BY to_at DESC LIMIT 1), 0)"
        " FROM coverage"
        f" WHERE {whose}live = 1 AND {CHANNEL_NAME} IN ({marks})"
        f" AND NOT EXISTS (SELECT 1 FROM gaps WHERE {of_channel} AND outcome IS NULL)",
        [*([] if account is None else [account]), *channels],
    )
    return [LiveChannel(*row) for row in rows]
