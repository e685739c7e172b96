"""The tables that mirror the exchange, and the one rule by which their rows change.

Every row carries a ``version``: text that sorts as the exchange's own history does, made of its times and of progress
that cannot be undone. A row is written only over one whose version is not greater. So the same push twice, a REST page
that overlaps a push, an old page after a new push: all end in the same row.
"""

from collections.abc import Callable, Hashable, Iterable, Sequence
from decimal import Decimal
from functools import lru_cache
from operator import itemgetter
from typing import Final

from okxsync.okx.models import AlgoOrder, Order
from okxsync.store import records
from okxsync.store.database import Connection
from okxsync.store.records import MOMENT_DIGITS, Value, is_moment, moment

ZERO: Final = "000"
"""``amount("0")``"""
TERMINAL: Final = frozenset({"filled", "canceled", "mmp_canceled"})
PENDING: Final = "'live', 'partially_filled'"
ALGO_PENDING: Final = "'live', 'pause', 'partially_effective'"
"""States of what has not ended, as SQL has them in a list; the partial indexes name them in this order."""
GONE: Final = "gone"
"""Our own state of an order that was pending and that REST knows nowhere; any end that OKX tells of replaces it."""
ABSENT: Final = " absent"
"""Ends the version of what is closed because a whole state did not name it."""
ASIDE_MS: Final = 100
"""So far the times of one change may lie apart that two channels tell."""

_LATEST = 10**MOMENT_DIGITS - 1
_ALGO_RANK = {"live": 0, "pause": 0, "partially_effective": 1}


@lru_cache(maxsize=4096)  # sizes of orders repeat: "0", a lot, the whole
def amount(text: str) -> str:
    """Return a non-negative decimal as text that sorts as the number does: its integer digits are counted in front.

    >>> amount("12.50") < amount("12.6") < amount("100")
    True
    """
    whole, _, fraction = text.partition(".")
    if not (whole + fraction).isascii() or not (whole + fraction).isdigit():
        try:
            whole, _, fraction = f"{abs(Decimal(text)):f}".partition(".")
        except ArithmeticError:  # no number, or one beyond all bounds
            return ZERO
        if len(whole) > 99 or not whole.isdigit():  # Infinity, 1E+999: no amount of anything
            return ZERO
    whole = whole.lstrip("0")
    fraction = fraction.rstrip("0")
    return f"{len(whole):03}{whole}.{fraction}" if fraction else f"{len(whole):03}{whole}"


def order_version(row: Order, source: str) -> str:
    """Return how far the order has come: ended or not, then what is filled, then time.

    An end that is told again has a later time and is no news, so the first one counts (OKX docs: order channel,
    rules of duplicates); but ``filled`` without a fill is the last word of a market order. A push and a REST row of
    the same state differ in the push's own columns, so the push wins.
    """
    mine = "1" if source == "ws" else "0"
    if row.state in TERMINAL:
        last_word = "3" if row.state == "filled" and row.trade_id in ("", "0") and source == "ws" else "2"
        since = str(_LATEST - int(row.u_time)) if is_moment(row.u_time) else "0"
        return f"{last_word}{amount(row.acc_fill_sz)} {mine} {since.zfill(MOMENT_DIGITS)}"
    return f"0{amount(row.acc_fill_sz)} {moment(row.u_time)} {mine}"


def gone_version(channel: str, as_of: str) -> str:
    """Return the version of what is gone: over all that is pending, of algo orders over what was so by then."""
    return f"1{as_of}" if channel == "orders" else f"{as_of} "


def algo_version(row: AlgoOrder, source: str) -> str:
    """Return how far the algo order has come: by time, then by progress of state, then by push time."""
    mine = "1" if source == "ws" else "0"
    return f"{moment(row.u_time)} {_ALGO_RANK.get(row.state, 2)} {moment(row.p_time)} {mine}"


_NEVER_ABSENT: Final = frozenset({"account", "source", "received_at", "version"})


class Table:
    """One table's columns and its upsert.

    Args:
        columns: In the order of the values of a row; an absent value is ``""``, and NULL in the database.
        key: Of several rows of one batch for one key only the greatest version is written, the later of equal ones;
            of a table without versions all are.
        keep: Columns that an update leaves as they are.
        new: What an updated column becomes.
        guard: When an existing row is updated at all.
    """

    def __init__(
        self,
        name: str,
        columns: Sequence[str],
        key: Sequence[str],
        *,
        keep: Sequence[str] = (),
        new: str = "excluded.{0}",
        guard: str = "excluded.version >= {table}.version",
    ) -> None:
        self.name = name
        self.columns: Final = tuple(columns)
        self._key: Callable[[Sequence[Value]], Hashable] = itemgetter(*(self.columns.index(column) for column in key))
        self._version = self.columns.index("version") if "version" in columns else None
        changed = [f'"{column}"' for column in columns if column not in {*key, *keep}]
        # Half of an order is absent. To bind None costs pysqlite3 0.8 us (it looks for an adapter), "" 0.03 us.
        taken = ["?" if column in {*key, *_NEVER_ABSENT} else "nullif(?, '')" for column in columns]
        self._upsert = (
            f"INSERT INTO {name} ({', '.join(quoted(columns))}) VALUES ({', '.join(taken)})"
            f" ON CONFLICT ({', '.join(quoted(key))}) DO UPDATE SET "
            + ", ".join(f"{column} = {new.format(column, table=name)}" for column in changed)
            + f" WHERE {guard.format(table=name)}"
        )

    def put(self, staged: dict[Hashable, list[Value]], values: list[Value]) -> None:
        """Stage a row, unless a greater version of it is staged already."""
        index = self._version
        if index is None:  # each of them may add something
            staged[len(staged)] = values
            return
        key = self._key(values)
        if (held := staged.get(key)) is None or str(values[index]) >= str(held[index]):
            staged[key] = values

    def write(self, db: Connection, staged: dict[Hashable, list[Value]]) -> None:
        db.executemany(self._upsert, staged.values())


def quoted(columns: Iterable[str]) -> list[str]:
    return [f'"{column}"' for column in columns]  # "from", "to" are OKX's names and SQL's words


_OWN = ("account", "received_at", "version", "raw")
ORDER_PUSH_ONLY: Final = (
    "fill_fee fill_fee_ccy fill_pnl exec_type fill_notional_usd fill_mark_px fill_idx_px fill_px_vol fill_px_usd"
    " fill_mark_vol fill_fwd_px amend_source amend_result req_id code msg notional_usd last_px"
).split()
"""What only a push says of an order; a REST row must not wipe it out (OKX docs: GET trade/orders-history)."""

_ORDER = (*records.ORDER.columns, "source", *_OWN)
_NEWER = "excluded.version >= {table}.version"
_NAMED_SINCE = "{table}.state = 'gone' AND excluded.source = 'rest' AND excluded.received_at > {table}.received_at"
"""REST was asked again, and knows it: that it did not before was its delay."""
_CHANGED_SINCE = "{table}.state = 'gone' AND excluded.u_time > CAST(substr({table}.version, 2) AS INTEGER)"
ORDERS = Table("orders", _ORDER, ("account", "ord_id"), guard=f"{_NEWER} OR {_CHANGED_SINCE}")
ORDERS_BY_REST = Table(
    "orders",
    _ORDER,
    ("account", "ord_id"),
    keep=ORDER_PUSH_ONLY,
    guard=f"{_NEWER} OR {_CHANGED_SINCE} OR {_NAMED_SINCE}",
)
ALGO_ORDERS = Table(
    "algo_orders",
    (*records.ALGO_ORDER.columns, "source", *_OWN),
    ("account", "algo_id"),
    guard=f"{_NEWER} OR {_NAMED_SINCE} OR {{table}}.state = 'gone' AND excluded.state NOT IN ({ALGO_PENDING})",
)
FILLS = Table(
    "fills",
    (*records.FILL.columns, "trade_id_made", "source", "account", "received_at", "raw"),
    ("account", "inst_id", "ord_id", "trade_id"),
    keep=("trade_id_made", "source", "received_at"),
    new="coalesce({table}.{0}, excluded.{0})",
    guard="{table}.bill_id IS NULL AND excluded.bill_id IS NOT NULL",  # only REST has something to add
)
_POSITION = (*records.POSITION.columns, *_OWN)
_TOLD_SINCE = f"{{table}}.version LIKE '%{ABSENT}' AND substr(excluded.version, 17) > {{table}}.version"
"""It was absent, and was named later: so it was the absence that was not true."""
_ONLY_A_CHANGE = f"substr({{table}}.version, 17) = '{moment('')}'"
_TOLD_IN_FULL = (
    f"{_ONLY_A_CHANGE} AND substr(excluded.version, 17) > substr({{table}}.version, 1, 15)"
    f" AND excluded.u_time >= {{table}}.u_time - {ASIDE_MS}"
)
"""It was told of as a change, and in full after that: this counts, should its time of change differ a little."""
_TOLD_ANEW = f"excluded.raw IS NOT {{table}}.raw OR {_ONLY_A_CHANGE}"
"""Regular snapshots repeat what has not changed."""
POSITIONS = Table(
    "positions",
    _POSITION,
    ("account", "pos_id"),
    guard=f"({_NEWER} OR {_TOLD_SINCE} OR {_TOLD_IN_FULL})"
    f" AND ({_TOLD_ANEW} OR excluded.pos IS NOT {{table}}.pos)",  # the latter after a close by absence
)
_TOLD_OF_CHANGES: Final = (
    "pos_id trade_id inst_id inst_type mgn_mode pos_side pos ccy pos_ccy avg_px non_settle_avg_px settled_pnl u_time"
    " account received_at version"
).split()
POSITION_CHANGES = Table(
    "positions",
    _POSITION,
    ("account", "pos_id"),
    keep=[column for column in _POSITION if column not in _TOLD_OF_CHANGES],
    guard="excluded.version > {table}.version",
)
BALANCES = Table(
    "balances",
    (*records.BALANCE.columns, *_OWN),
    ("account", "ccy"),
    guard=f"({_NEWER} OR {_TOLD_SINCE} OR {_TOLD_IN_FULL}) AND ({_TOLD_ANEW} OR excluded.eq IS NOT {{table}}.eq)",
)
CASH_BALANCES = Table(
    "balances",
    (*records.CASH_BALANCE.columns, "account", "received_at", "version"),
    ("account", "ccy"),
    guard="excluded.version > {table}.version",
)
EQUITY = Table("equity", (*records.EQUITY.columns, *_OWN), ("account",))
DEPOSITS = Table("deposits", (*records.DEPOSIT.columns, *_OWN), ("account", "dep_id"))
WITHDRAWALS = Table("withdrawals", (*records.WITHDRAWAL.columns, *_OWN), ("account", "wd_id"))
MARK_PRICES = Table("mark_prices", (*records.MARK_PRICE.columns, "received_at", "version"), ("inst_id",))
INSTRUMENTS = Table(
    "instruments",
    (*records.INSTRUMENT.columns, "received_at", "raw"),
    ("inst_id",),
    new="coalesce(excluded.{0}, {table}.{0})",  # pushes name only what has changed
    guard="true",
)
CLOSED_POSITIONS = Table(
    "positions_history", (*records.CLOSED_POSITION.columns, *_OWN), ("account", "pos_id", "c_time")
)
BILLS = Table("bills", (*records.BILL.columns, "account", "received_at", "raw"), ("account", "bill_id"), guard="false")
