"""What pictures of the past are made of: coverage and its gaps, equity and mark prices by the minute, and fills.

Rows as texts and integers; nothing is converted. The caller reads within ``Mirror.snapshot``.
"""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple, TypeAlias

from okxsync.messages import MARKET
from okxsync.mirror.freshness import ACTIVE_ACCOUNTS, IS_WANTED
from okxsync.store.coverage_table import UNVERIFIED
from okxsync.store.database import Connection

Texts: TypeAlias = tuple[Any, ...]
"""A row: texts, integers and None."""


GapSpan: TypeAlias = tuple[str, str, int, int | None, str | None]
"""Account, channel, begin, end and outcome of a gap."""


class Channel(NamedTuple):
    """The coverage of a channel that is configured; ``unverified``: why REST could not prove it, since its last proof.

    Times are in microseconds UTC.
    """

    account: str
    channel: str
    covered_since: int
    covered_until: int
    live: bool
    unverified: str | None = None


class PastGap(NamedTuple):
    """A row of ``gaps``; ``id`` is None if it is not stored yet."""

    id: int | None
    account: str
    channel: str
    from_at: int
    to_at: int | None
    reason: str
    outcome: str | None = None
    filled_at: int | None = None
    rows: int = 0
    attempts: int = 0
    note: str | None = None


class Transfer(NamedTuple):
    """A transfer into an account, or with a minus out of it, and the price of its currency in USD now.

    ``at`` is in microseconds UTC.
    """

    at: int
    account: str
    amount: str
    ccy: str
    usd: str | None


_MINUTE: Final = 60_000_000
_MINUTES: Final = (
    "WITH RECURSIVE minutes (minute) AS"
    " (SELECT CAST(? AS BIGINT) UNION ALL SELECT minute + ? FROM minutes WHERE minute + ? < ?)"
)
_CANDLES: Final = "FROM minutes CROSS JOIN mark_candles WHERE at = minute AND inst_id = ?"
"""SQL: the candles of an instrument, minute by minute: their key begins with the minute."""
_OURS: Final = f"(account = '{MARKET}' OR account IN ({ACTIVE_ACCOUNTS}))"


class Past:
    """Reads for pictures over the connection of a ``Mirror``."""

    def __init__(self, db: Connection) -> None:
        self._db = db

    def channels(self) -> list[Channel]:
        """Return the coverage of all channels that are configured."""
        why = {
            (account, channel): why
            for account, channel, why in self._db.execute(f"SELECT account, channel, why FROM {UNVERIFIED}")
        }
        sql = (
            "SELECT account, channel, covered_since, covered_until, live FROM coverage"
            f" WHERE wanted = 1 AND {_OURS} ORDER BY account, channel"
        )
        return [
            Channel(account, channel, since, until, bool(live), why.get((account, channel)))
            for account, channel, since, until, live in self._db.execute(sql)
        ]

    def gap_spans(self, begin: int, end: int) -> list[GapSpan]:
        """Return account, channel, begin, end and outcome of all stored gaps that touch [begin, end), by begin.

        They are also of channels that are not configured any more.
        """
        columns = "account, channel, from_at, to_at, outcome"
        sql = (
            f"SELECT {columns} FROM gaps WHERE outcome IS NULL AND coalesce(to_at, ?) >= ? AND from_at < ?"
            f" UNION ALL SELECT {columns} FROM gaps WHERE outcome IS NOT NULL AND to_at >= ? AND from_at < ?"
            " ORDER BY from_at"
        )
        return self._db.execute(sql, (begin, begin, end, begin, end)).fetchall()

    def gaps(self, begin: int, end: int, account: str) -> list[PastGap]:
        """Return the stored gaps of an account's channels that touch [begin, end), the earliest first."""
        where = f"from_at < ? AND account = ? AND {IS_WANTED}"
        columns = ", ".join(PastGap._fields)
        sql = (
            f"SELECT {columns} FROM gaps WHERE outcome IS NULL AND coalesce(to_at, ?) >= ? AND {where}"
            f" UNION ALL SELECT {columns} FROM gaps WHERE outcome IS NOT NULL AND to_at >= ? AND {where}"
            " ORDER BY from_at, id"
        )
        found = self._db.execute(sql, (begin, begin, end, account, begin, end, account))
        return [PastGap(*row) for row in found]

    def candles(self, inst_id: str, begin: int, end: int) -> list[Texts]:
        """Return ``at``, ``o``, ``h``, ``l``, ``c`` and ``ticks`` of the minutes in [begin, end), by time."""
        sql = f"{_MINUTES} SELECT at, o, h, l, c, ticks {_CANDLES} ORDER BY at"
        first = -(-begin // _MINUTE) * _MINUTE
        return self._db.execute(sql, (first, _MINUTE, _MINUTE, end, inst_id)).fetchall()

    def candles_since(self, inst_id: str) -> int | None:
        """Return the first minute that has a candle of an instrument."""
        first, last = self._db.execute("SELECT min(at), max(at) FROM mark_candles").fetchone()
        if first is None:
            return None
        sql = f"{_MINUTES} SELECT at {_CANDLES} ORDER BY at LIMIT 1"
        found = self._db.execute(sql, (first, _MINUTE, _MINUTE, last + 1, inst_id)).fetchone()
        return found and int(found[0])

    def fills(self, inst_id: str, begin: int, end: int, count: int) -> list[Texts]:
        """Return the newest fills of an instrument in [begin, end), the newest first.

        Each is its time in microseconds, account, side, price, size and source.
        """
        sql = (
            "SELECT fill_time * 1000, account, side, fill_px, fill_sz, source FROM fills"
            f" WHERE inst_id = ? AND fill_time >= ? AND fill_time < ? AND account IN ({ACTIVE_ACCOUNTS})"
            " ORDER BY fill_time DESC LIMIT ?"
        )
        return self._db.execute(sql, (inst_id, _milliseconds(begin), _milliseconds(end), count)).fetchall()

    def minutes(self, begin: int, end: int) -> Iterator[int]:
        """Yield the minutes in [begin, end) in which the equity of any account is known, the earliest first."""
        at = begin - 1
        while True:  # a step from one to the next costs some microseconds, a scan reads all rows of all accounts
            (found,) = self._db.execute("SELECT min(at) FROM equity_history WHERE at > ?", [at]).fetchone()
            if found is None or found >= end:
                return
            yield found
            at = found

    def equity_at(self, at: int) -> list[tuple[str, str | None]]:
        """Return account and equity of all accounts that are known in a minute."""
        return self._db.execute("SELECT account, total_eq FROM equity_history WHERE at = ?", [at]).fetchall()

    def equity_between(self, begin: int, end: int) -> list[tuple[str, int, str | None]]:
        """Return account, minute and equity of all rows in [begin, end), the earliest first."""
        sql = "SELECT account, at, total_eq FROM equity_history WHERE at >= ? AND at < ? ORDER BY at"
        return self._db.execute(sql, (begin, end)).fetchall()

    def equity_since(self) -> int | None:
        """Return the first minute in which any equity is known."""
        found: int | None
        (found,) = self._db.execute("SELECT min(at) FROM equity_history").fetchone()
        return found

    def last_equity(self) -> list[tuple[str, int, str | None]]:
        """Return account, time in microseconds and value of the last equity of each account."""
        return self._db.execute("SELECT account, as_of * 1000, total_eq FROM equity").fetchall()

    def transfers(self, begin: int, end: int) -> list[Transfer]:
        """Return the transfers in [begin, end) between the trading account and other ones (OKX docs: bill type 1)."""
        sql = (
            "SELECT bills.ts * 1000, bills.account, bills.bal_chg, bills.ccy, balances.coin_usd_price"
            " FROM bills LEFT JOIN balances ON balances.account = bills.account AND balances.ccy = bills.ccy"
            " WHERE bills.type = '1' AND bills.ts >= ? AND bills.ts < ? ORDER BY bills.ts"
        )
        return [Transfer(*row) for row in self._db.execute(sql, (_milliseconds(begin), _milliseconds(end)))]


def _milliseconds(us: int) -> int:
    return -(-us // 1000)
