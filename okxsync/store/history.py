"""The past of equity and of mark prices, by the minute: written with the rows themselves, and thinned as it ages.

A minute is named by its begin, in microseconds UTC by the exchange's times. Of each account the last row of a minute
is kept; a minute without a row has none, so nothing is drawn for it. Of each instrument the pushed mark prices of a
minute are one candle. Both may be written again, in any order, with the same result.
"""

from collections.abc import Sequence
from typing import Final

from okxsync.okx.compare import read_number
from okxsync.store import decode
from okxsync.store.database import Connection
from okxsync.store.decode import Value
from okxsync.store.table import case

MINUTE_MS: Final = 60_000
MINUTE: Final = MINUTE_MS * 1000
QUARTER: Final = 15 * MINUTE
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR

KEPT_AS: Final = ((2 * DAY, QUARTER, "equity_minutes_until"), (60 * DAY, HOUR, "equity_quarters_until"))
"""Equity older than this is kept once in so much time; the counter says up to when that was done."""
CANDLES_KEPT: Final = 30 * DAY
"""The longest range of a picture; some 3 MB for each instrument."""

_VALUES: Final = ("total_eq", "adj_eq", "upl", "imr", "mmr", "mgn_ratio", "notional_usd")
_INDEXES: Final = [decode.EQUITY.columns.index(name) for name in _VALUES]
_INST_ID, _MARK_PX, _TS = (decode.MARK_PRICE.columns.index(name) for name in ("inst_id", "mark_px", "ts"))

_EQUITY: Final = (
    f"INSERT INTO equity_history (at, account, as_of, {', '.join(_VALUES)}) VALUES ({', '.join('?' * 10)})"
    f" ON CONFLICT (at, account) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in ('as_of', *_VALUES))}"
    " WHERE excluded.as_of >= equity_history.as_of"
)


def _if(condition: str, column: str) -> str:
    """Return SQL that sets a column to the new value if the condition holds."""
    return f"{column} = " + case(condition, f"excluded.{column}", f"mark_candles.{column}")


_PRICES: Final = "CAST(excluded.{0} AS DOUBLE PRECISION) {1} CAST(mark_candles.{0} AS DOUBLE PRECISION)"
_TICK: Final = (
    "INSERT INTO mark_candles (inst_id, at, o, h, l, c, ticks, source, first_ts, last_ts)"
    " VALUES (?1, ?2, ?3, ?3, ?3, ?3, 1, 'ws', ?4, ?4) ON CONFLICT (at, inst_id) DO UPDATE SET "
    + ", ".join(
        [
            _if("excluded.first_ts < mark_candles.first_ts", "o"),
            _if(_PRICES.format("h", ">"), "h"),
            _if(_PRICES.format("l", "<"), "l"),
            _if("excluded.last_ts > mark_candles.last_ts", "c"),
            "ticks = mark_candles.ticks + " + case("excluded.last_ts > mark_candles.last_ts", "1", "0"),
            "first_ts = min(mark_candles.first_ts, excluded.first_ts)",
            "last_ts = max(mark_candles.last_ts, excluded.last_ts)",
        ]
    )
)
"""A tick that is not later than the last one was pushed before, or late: it is not counted again."""


class History:
    """The minutes that one transaction writes."""

    def __init__(self) -> None:
        self._equity: dict[tuple[int, str], tuple[int, Sequence[Value]]] = {}  # as of when, and its values
        self._ticks: list[tuple[Value, ...]] = []

    def add_equity(self, account: str, as_of_ms: int, values: Sequence[Value]) -> None:
        """Add a row of ``equity`` with the columns of ``decode.EQUITY``; without a time it belongs to no minute."""
        key = as_of_ms // MINUTE_MS * MINUTE, account
        before = self._equity.get(key)
        if as_of_ms and (before is None or before[0] <= as_of_ms):
            self._equity[key] = as_of_ms, [values[index] or None for index in _INDEXES]

    def add_mark_price(self, values: Sequence[Value]) -> None:
        """Add a row with the columns of ``decode.MARK_PRICE``; what is no price at a time makes no candle."""
        price, ts = values[_MARK_PX], int(values[_TS] or 0)
        if ts and price and read_number(price) is not None:
            self._ticks.append((values[_INST_ID], ts // MINUTE_MS * MINUTE, price, ts))

    def write(self, db: Connection) -> None:
        if self._equity:
            db.executemany(_EQUITY, [(*key, as_of, *values) for key, (as_of, values) in self._equity.items()])
            self._equity.clear()
        if self._ticks:
            db.executemany(_TICK, self._ticks)
            self._ticks.clear()


def thin_history(db: Connection, now_us: int) -> bool:
    """Delete a minute of equity, and one of candles, that are too old to be kept; return whether there may be more.

    Raises:
        DatabaseError: nothing was deleted.
    """
    thinned = [_thin_equity(db, now_us, *rule) for rule in KEPT_AS]
    return _delete_candles(db, now_us - CANDLES_KEPT) or any(thinned)


def _thin_equity(db: Connection, now_us: int, age: int, width: int, counter: str) -> bool:
    """Thin the oldest minute that is due: of each account its last row within ``width`` stays."""
    until = (now_us - age) // width * width
    done = db.execute("SELECT value FROM counters WHERE name = ?", [counter]).fetchone()
    (at,) = db.execute("SELECT min(at) FROM equity_history WHERE at >= ?", [done[0] if done else 0]).fetchone()
    if at is None or at >= until:
        return False
    end = at // width * width + width
    with db.transaction():
        db.execute(
            "DELETE FROM equity_history WHERE at = ?"
            " AND account IN (SELECT account FROM equity_history WHERE at > ? AND at < ?)",
            (at, at, end),
        )
        db.execute(
            "INSERT INTO counters (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            (counter, at + 1),
        )
    return True


def _delete_candles(db: Connection, before_us: int) -> bool:
    """Delete the candles of the oldest minute, if it is too old."""
    (at,) = db.execute("SELECT min(at) FROM mark_candles").fetchone()
    if at is None or at >= before_us:
        return False
    with db.transaction():
        db.execute("DELETE FROM mark_candles WHERE at = ?", [at])
    return True
