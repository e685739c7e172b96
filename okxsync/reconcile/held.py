"""What the store holds, as far as it decides what REST is asked."""

from collections.abc import Collection
from pathlib import Path

import msgspec

from okxsync.okx.channels import channel_of
from okxsync.store.database import CHANNEL_NAME, reading
from okxsync.store.tables import ALGO_PENDING, PENDING


class Gap(msgspec.Struct, frozen=True):
    """A time of a channel that is not covered; local microseconds."""

    id: int
    account: str
    channel: str
    from_at: int
    to_at: int | None


def live_gaps(path: Path, before_us: int) -> list[Gap]:
    """Return the open gaps that ended before a time, of channels that are live again."""
    with reading(path) as database:
        rows = database.execute(
            "SELECT id, gaps.account, gaps.channel, from_at, to_at FROM gaps JOIN coverage USING (account, channel)"
            " WHERE outcome IS NULL AND to_at < ? AND live = 1 ORDER BY from_at",
            [before_us],
        ).fetchall()
    return [Gap(*row) for row in rows]


def open_gaps(path: Path, account: str) -> list[Gap]:
    """Return the open gaps of an account; one without an end is still open at the front."""
    with reading(path) as database:
        rows = database.execute(
            "SELECT id, account, channel, from_at, to_at FROM gaps WHERE outcome IS NULL AND account = ?", [account]
        ).fetchall()
    return [Gap(*row) for row in rows]


class Held:
    """What we hold of an account, as far as it decides what must be asked.

    Args:
        before_us: Local microseconds; what we heard of since is not missing from an answer to a question asked then.
    """

    def __init__(self, path: Path, account: str, before_us: int) -> None:
        self._path = path
        self._account = account
        self._before_us = before_us

    def open_orders(self, lag_us: int = 0) -> list[tuple[str, str]]:
        """Return (ord_id, inst_id) of the orders that have not ended as far as is known.

        Args:
            lag_us: What we heard of so shortly before the question may be missing from its answer as well.
        """
        return self._pending("SELECT ord_id, inst_id FROM orders", PENDING, lag_us)

    def open_algo_orders(self, lag_us: int = 0) -> list[tuple[str, str]]:
        """Return (algo_id, ord_type) of the algo orders that have not ended as far as is known."""
        return self._pending("SELECT algo_id, ord_type FROM algo_orders", ALGO_PENDING, lag_us)

    def _pending(self, select: str, states: str, lag_us: int) -> list[tuple[str, str]]:
        with reading(self._path) as database:
            rows = database.execute(
                f"{select} WHERE state IN ({states}) AND account = ? AND received_at < ?",
                [self._account, self._before_us - lag_us],
            ).fetchall()
        return [(name, of or "") for name, of in rows]

    def bills_until_ms(self) -> int | None:
        """Return until when all bills were asked for: they are never pushed, so the next question begins there.

        A gap is asked for after its end; when the answers came says less, for that may take minutes.
        """
        with reading(self._path) as database:
            proved_at = database.execute(
                f"SELECT max(to_at) FROM gaps WHERE account = ? AND {CHANNEL_NAME} IN ('account',"
                " 'balance_and_position') AND outcome IS NOT NULL",
                [self._account],
            ).fetchone()[0]
        return proved_at // 1000 if proved_at is not None else None


def last_changes(path: Path, sql: str) -> dict[str, int]:
    """Return what a query of ours says of each account: the time of a change, in milliseconds."""
    with reading(path) as database:
        return {account: at for account, at in database.execute(sql) if at is not None}


class LiveChannel(msgspec.Struct, frozen=True):
    """A channel that is live and without a gap to fill.

    Attributes:
        channel: Its key in coverage; ``name`` is that without arguments.
        since_at: Since when; local microseconds.
        pushed_at: When it last pushed; local microseconds, 0 for never.
        answered_at: When the last ping that its connection has answered was sent; local microseconds.
        reported_ms: The latest time that its pushes have named; the exchange's milliseconds.
    """

    account: str
    channel: str
    since_at: int
    pushed_at: int
    answered_at: int
    reported_ms: int

    @property
    def key(self) -> tuple[str, str]:
        return self.account, self.channel

    @property
    def name(self) -> str:
        return channel_of(self.channel)


def live_channels(path: Path, channels: Collection[str], account: str | None = None) -> list[LiveChannel]:
    """Return those of the ``channels`` of all accounts or of one, whatever their arguments, that are live, with all
    earlier gaps closed.

    The loop waits for it, so a channel costs two looks into an index, however many gaps it has had.
    """
    of_channel = "gaps.account = coverage.account AND gaps.channel = coverage.channel"
    marks = ", ".join("?" * len(channels))
    whose = "" if account is None else "account = ? AND "
    with reading(path) as database:
        rows = database.execute(
            f"SELECT account, channel, coalesce((SELECT max(to_at) FROM gaps WHERE {of_channel}"
            " AND outcome IS NOT NULL), covered_since), coalesce(last_push_at, 0),"
            " coalesce((SELECT answered_at FROM connections WHERE id = connection_id), 0), coalesce(reported_ms, 0)"
            " FROM coverage"
            f" WHERE {whose}live = 1 AND {CHANNEL_NAME} IN ({marks})"
            f" AND NOT EXISTS (SELECT 1 FROM gaps WHERE {of_channel} AND outcome IS NULL)",
            [*([] if account is None else [account]), *channels],
        ).fetchall()
    return [LiveChannel(*row) for row in rows]


def covered_since_us(path: Path, account: str, channel: str) -> int | None:
    """Return when we began to listen to a channel; local microseconds."""
    with reading(path) as database:
        row = database.execute(
            "SELECT covered_since FROM coverage WHERE account = ? AND channel = ?", [account, channel]
        ).fetchone()
    return row[0] if row else None
