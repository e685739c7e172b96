"""The tables that mirror the exchange, and the rules by which their rows change.

A row is written only over one that is not newer, by the exchange's own times and by progress that cannot be undone. So
the same push twice, a REST page that overlaps a push, an old page after a new push: all end in the same row.

Orders and algo orders have one clock: how far the order has come, then its time. Rows of ``balances`` and
``positions`` have two, for two kinds of push report them: ``balance_and_position`` reports what has changed (cash,
contracts, average price), ``account`` and ``positions`` report full rows. What both report is taken by the time of the
change (``u_time``), all else by the time of the last full row (``full_time``). What a complete snapshot does not name
is closed as of ``absent_time``.

``source`` says who reported a row's state first: ``ws`` if a push did, else ``rest``. Of a live channel, what only
REST has reported is a push that was lost (see ``reconcile.stalled``).
"""

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final

from okxsync.okx import compare
from okxsync.okx.models import AlgoOrder, Order
from okxsync.store import decode
from okxsync.store.database import Connection
from okxsync.store.decode import Value
from okxsync.store.table import Clocks, Table, case

TERMINAL: Final = compare.ORDER_ENDS
PENDING: Final = "'live', 'partially_filled'"
ALGO_PENDING: Final = "'live', 'pause', 'partially_effective'"
"""States of what has not ended, as SQL has them in a list; the partial indexes name them in this order."""
UNDOCUMENTED: Final = "state NOT IN ('live', 'partially_filled', 'filled', 'canceled', 'mmp_canceled', 'gone')"
ALGO_UNDOCUMENTED: Final = (
    "state NOT IN ('live', 'pause', 'partially_effective', 'effective', 'canceled', 'order_failed', 'partially_failed',"
    " 'order_placed', 'filled', 'gone')"
)
"""States that OKX has not documented yet, as the partial indexes name them: whether the order has ended is unknown."""
ENDED: Final = 2
"""The rank from which on an order, or an algo order, has ended."""

_ALGO_RANK = {"live": 0, "pause": 0, "partially_effective": 1}


def order_rank(row: Order, source: str) -> int:
    """Return whether an order is pending (0), or has ended: with its last fill (2), or after it (3).

    A market order is pushed as ``filled`` once more without a fill, which is its last push (OKX docs: order channel).
    """
    if row.state not in TERMINAL:
        return 0
    return ENDED + (row.state == "filled" and row.trade_id in ("", "0") and source == "ws")


def algo_rank(row: AlgoOrder) -> int:
    """Return how far an algo order has come; a state that is not documented counts as an end."""
    return _ALGO_RANK.get(row.state, ENDED)


def same_amounts(columns: Iterable[str]) -> str:
    """Return SQL: whether the new row has the same numbers; REST and pushes may format them differently."""
    amount = "CAST(coalesce({0}.{1}, '0') AS DOUBLE PRECISION)"
    return " AND ".join(f"{amount.format('excluded', name)} = {amount.format('{t}', name)}" for name in columns)


def by_time(*names: str) -> Callable[[Sequence[str]], Clocks]:
    """Return a function that makes the clocks of columns in milliseconds."""

    def clocks(columns: Sequence[str]) -> Clocks:
        indexes = [columns.index(name) for name in names]
        return lambda values: tuple(int(values[index] or 0) for index in indexes)

    return clocks


REVISION: Final = "(SELECT value FROM counters WHERE name = 'revision')"
"""SQL: the revision of this transaction, once ``next_revision`` was called."""


def next_revision(db: Connection) -> int:
    """Begin a new revision of the mirror, and return it."""
    ((revision,),) = db.execute(
        "UPDATE counters SET value = value + 1 WHERE name = 'revision' RETURNING value"
    ).fetchall()
    return int(revision)


# Orders

ORDER_PUSH_ONLY: Final = (
    "fill_fee fill_fee_ccy fill_pnl exec_type fill_notional_usd fill_mark_px fill_idx_px fill_px_vol fill_px_usd"
    " fill_mark_vol fill_fwd_px amend_source amend_result req_id code msg notional_usd last_px"
).split()
"""Columns that only a push has; a REST row must not clear them (OKX docs: GET trade/orders-history)."""


def _order_clock(columns: Sequence[str]) -> Clocks:
    """How far the order has come: ended or not, then what is filled, then time, then a push before REST's row.

    An end that is reported again has a later time and is no news, so the first one counts (OKX docs: order channel).
    """
    rank, filled, time, source = map(columns.index, ("rank", "acc_fill_sz", "u_time", "source"))

    def clock(values: Sequence[Value]) -> tuple[object, ...]:
        at = int(values[time] or 0)
        ended = int(values[rank] or 0) >= ENDED
        return ((values[rank], _real(values[filled]), (-at or -math.inf) if ended else at, values[source] == "ws"),)

    return clock


def _algo_clock(columns: Sequence[str]) -> Clocks:
    """How far the algo order has come: by time, then by progress of state, then by push time."""
    rank, time, pushed, source = map(columns.index, ("rank", "u_time", "p_time", "source"))
    return lambda values: ((int(values[time] or 0), values[rank], int(values[pushed] or 0), values[source] == "ws"),)


def _real(text: Value) -> float:
    """Return a number as SQLite casts it, or zero."""
    try:
        return float(text or 0)
    except ValueError:
        return 0.0


_ORDER_CLOCK: Final = (
    "({0}.rank, CAST(coalesce({0}.acc_fill_sz, '0') AS DOUBLE PRECISION), "
    + case(f"{{0}}.rank >= {ENDED}", "coalesce(-{0}.u_time, -1e18)", "coalesce({0}.u_time, 0)")
    + ", {0}.source = 'ws')"
)
_ALGO_CLOCK: Final = "(coalesce({0}.u_time, 0), {0}.rank, coalesce({0}.p_time, 0), {0}.source = 'ws')"


def _newer(clock: str) -> str:
    """Return SQL: whether the new row replaces the old one.

    What REST did not find (``not_found_at``) is replaced by an end, by what happened since, and by a later REST row:
    then REST was behind when it did not find it.
    """
    return case(
        "{t}.not_found_at IS NULL",
        f"{clock.format('excluded')} >= {clock.format('{t}')}",
        f"excluded.rank >= {ENDED} OR coalesce(excluded.u_time, 0) >= {{t}}.not_found_at"
        " OR excluded.source = 'rest' AND excluded.received_at > {t}.received_at",
    )


class _Orders(Table):
    """``orders`` or ``algo_orders``.

    Args:
        material: See ``compare.Rules``.
    """

    def __init__(
        self,
        name: str,
        columns: Sequence[str],
        key: str,
        clock: str,
        clocks: Callable[[Sequence[str]], Clocks],
        material: Sequence[str],
        keep: Collection[str] = (),
    ) -> None:
        newer = _newer(clock)
        same = (
            f"{{t}}.not_found_at IS NULL AND (excluded.rank >= {ENDED}) = ({{t}}.rank >= {ENDED})"
            f" AND {same_amounts(material)}"
        )
        # REST may report a state first, and give it another time than the push does by some milliseconds.
        reported_late = "excluded.source = 'ws' AND {t}.source = 'rest'"
        super().__init__(
            name,
            (*columns, "source", "rank", "account", "received_at", "raw"),
            ("account", key),
            guard=f"{newer} OR {reported_late} AND {same}",
            sets={
                "u_time": case(f"{reported_late} AND NOT ({newer})", "{t}.u_time", "excluded.u_time"),
                "source": case(
                    f"excluded.source = 'rest' AND {{t}}.source = 'ws' AND {same}", "'ws'", "excluded.source"
                ),
                "not_found_at": "NULL",
            },
            keep=keep,
            clocks=clocks,
        )


_ORDER: Final = ("orders", decode.ORDER.columns, "ord_id", _ORDER_CLOCK, _order_clock, compare.ORDERS.material)
ORDERS: Final = _Orders(*_ORDER)
ORDERS_BY_REST: Final = _Orders(*_ORDER, keep=ORDER_PUSH_ONLY)
ALGO_ORDERS: Final = _Orders(
    "algo_orders", decode.ALGO_ORDER.columns, "algo_id", _ALGO_CLOCK, _algo_clock, compare.ALGO_ORDERS.material
)
NOT_FOUND: Final = "gone"
"""Our own state of an order that was pending and that REST did not find; any end that OKX reports replaces it."""


def not_found(table: str, key: str, pending: str, undocumented: str) -> str:
    """Return SQL that gives an order the state ``gone``, unless it has changed since the REST request."""
    revision = case(f"state = '{NOT_FOUND}'", "revision", REVISION)
    return (
        f"UPDATE {table} SET state = '{NOT_FOUND}', source = 'rest', received_at = ?1, not_found_at = ?2,"
        f" revision = {revision}"
        f" WHERE account = ?3 AND {key} = ?4 AND (state IN ({pending}, '{NOT_FOUND}') OR {undocumented})"
        " AND coalesce(u_time, 0) < ?2 AND coalesce(not_found_at, 0) < ?2"
    )


ORDER_NOT_FOUND: Final = not_found("orders", "ord_id", PENDING, UNDOCUMENTED)
ALGO_NOT_FOUND: Final = not_found("algo_orders", "algo_id", ALGO_PENDING, ALGO_UNDOCUMENTED)

_FILL: Final = (*decode.FILL.columns, "trade_id_made", "source", "account", "received_at", "raw")
_FILL_KEPT: Final = ("account", "inst_id", "ord_id", "trade_id", "trade_id_made", "received_at")
_FILL_VALUE: Final = (
    'CASE WHEN excluded.bill_id IS NULL THEN coalesce({{t}}."{0}", excluded."{0}")'
    ' ELSE coalesce(excluded."{0}", {{t}}."{0}") END'
)
"""REST's value counts: a push may be the sum of several executions (see ``store.fills``)."""
FILLS: Final = Table(
    "fills",
    _FILL,
    ("account", "inst_id", "ord_id", "trade_id"),
    keep=("trade_id_made", "received_at"),
    sets={
        **{column: _FILL_VALUE.format(column) for column in _FILL if column not in _FILL_KEPT},
        "source": "CASE WHEN excluded.source = 'ws' THEN 'ws' ELSE {t}.source END",
        "pushed_sz": f"CASE WHEN excluded.source = {{t}}.source OR {same_amounts(['fill_sz'])} THEN {{t}}.pushed_sz"
        " WHEN excluded.source = 'ws' THEN excluded.fill_sz ELSE {t}.fill_sz END",
    },
    guard="{t}.bill_id IS NULL AND excluded.bill_id IS NOT NULL"  # only REST has something to add
    " OR {t}.source = 'rest' AND excluded.source = 'ws'",
)


# Balances and positions

_CHANGED_LATER: Final = (
    "(coalesce(excluded.u_time, 0) >= coalesce({t}.u_time, 0) OR coalesce(excluded.full_time > {t}.absent_time, false))"
)
"""Or it was absent from a snapshot and is named later: then its absence was not true."""
_FULL_LATER: Final = "excluded.full_time >= {t}.full_time"
_CHANGED: Final = "coalesce(excluded.u_time, 0) > coalesce({t}.u_time, 0)"


def _full(name: str, columns: Sequence[str], key: str, changing: Sequence[str], material: Sequence[str]) -> Table:
    """Return the table of full rows: those of ``account`` or ``positions``, and REST's."""
    same = same_amounts(material)
    own = {key, "account", "received_at", "source"}
    sets = {
        column: case(_CHANGED_LATER if column in changing else _FULL_LATER, f'excluded."{column}"', f'{{t}}."{column}"')
        for column in (*columns, "full_time", "raw")
        if column not in own
    }
    sets["absent_time"] = case(_CHANGED_LATER, "NULL", "{t}.absent_time")
    sets["source"] = case(
        _CHANGED_LATER,
        case(f"excluded.source = 'rest' AND {{t}}.source = 'ws' AND {same}", "'ws'", "excluded.source"),
        case(f"excluded.source = 'ws' AND {same}", "'ws'", "{t}.source"),
    )
    return Table(
        name,
        (*columns, "source", "full_time", "account", "received_at", "raw"),
        ("account", key),
        sets=sets,
        # Regular snapshots repeat what has not changed: that is not written again.
        guard=f"({_CHANGED_LATER} OR {_FULL_LATER})"
        " AND (excluded.raw IS DISTINCT FROM {t}.raw OR {t}.absent_time IS NOT NULL)"
        f" OR excluded.source = 'ws' AND {{t}}.source = 'rest' AND {same}",
        clocks=by_time("u_time", "full_time"),
    )


def _changes(name: str, columns: Sequence[str], key: str, changing: Sequence[str], material: Sequence[str]) -> Table:
    """Return the table of what ``balance_and_position`` reports."""
    sets = {column: case(_CHANGED, f'excluded."{column}"', f'{{t}}."{column}"') for column in changing}
    sets["absent_time"] = case(_CHANGED, "NULL", "{t}.absent_time")
    return Table(
        name,
        (*columns, "source", "account", "received_at"),
        ("account", key),
        sets=sets,
        keep=[column for column in columns if column not in changing],
        guard=f"{_CHANGED} OR {{t}}.source = 'rest' AND {same_amounts(material)}",
        clocks=by_time("u_time"),
    )


_CASH: Final = [column for column in decode.CASH_BALANCE.columns if column != "ccy"]
_CONTRACTS: Final = (
    "trade_id inst_id inst_type mgn_mode pos_side pos ccy pos_ccy avg_px non_settle_avg_px settled_pnl u_time".split()
)
_BALANCE: Final = ("balances", decode.BALANCE.columns, "ccy", _CASH, compare.BALANCES.material)
_POSITION: Final = ("positions", decode.POSITION.columns, "pos_id", _CONTRACTS, compare.POSITIONS.material)
BALANCES: Final = _full(*_BALANCE)
BALANCES_BY_REST: Final = _full(*_BALANCE)
CASH_BALANCES: Final = _changes("balances", decode.CASH_BALANCE.columns, "ccy", _CASH, compare.BALANCES.material)
POSITIONS: Final = _full(*_POSITION)
POSITIONS_BY_REST: Final = _full(*_POSITION)
POSITION_CHANGES: Final = _changes(*_POSITION)
"""What REST reports is staged for itself: a push of the same batch must not be lost beside it."""

_CLOSING: Final = (
    " u_time = coalesce(?1, u_time), full_time = coalesce(?1, full_time), absent_time = coalesce(?1, 0),"
    f" received_at = ?2, source = ?3, revision = {REVISION}"
    " WHERE account = ?4 AND (coalesce(u_time, 0) < ?1 AND full_time < ?1 OR ?1 IS NULL)"
)
_NO_BALANCE: Final = {**dict.fromkeys(compare.BALANCE_AMOUNTS, "'0'"), **dict.fromkeys(compare.BALANCE_FACTS, "NULL")}
ZERO_BALANCES: Final = (
    f"UPDATE balances SET {', '.join(f'{column} = {value}' for column, value in _NO_BALANCE.items())},{_CLOSING}"
    f" AND (?5 = '' OR ccy = ?5) AND ({', '.join(_NO_BALANCE)}) IS DISTINCT FROM"
    f" ({', '.join(_NO_BALANCE.values())})"
    " AND ccy NOT IN (SELECT value FROM json_each(?6))"
)
"""Closes rows that a complete snapshot as of ?1 does not name; one without a time closes all earlier rows."""
CLOSE_POSITIONS: Final = (
    f"UPDATE positions SET pos = '0',{_CLOSING} AND pos IS DISTINCT FROM '0' AND (?5 = '' OR inst_type = ?5)"
    " AND (?6 = '' OR inst_id = ?6) AND pos_id NOT IN (SELECT value FROM json_each(?7))"
)


# Records with one clock


def _latest(
    name: str,
    columns: Sequence[str],
    key: Sequence[str],
    clock: str,
    report: Collection[str] = (),
    optional: Collection[str] = (),
) -> Table:
    newer = f"coalesce(excluded.{clock}, 0) >= coalesce({{t}}.{clock}, 0)"
    return Table(name, columns, key, guard=newer, clocks=by_time(clock), report=report, optional=optional)


_OWN: Final = ("account", "received_at", "as_of", "raw")
EQUITY: Final = _latest("equity", (*decode.EQUITY.columns, *_OWN), ("account",), "as_of", report=["u_time"])
DEPOSITS: Final = _latest("deposits", (*decode.DEPOSIT.columns, *_OWN), ("account", "dep_id"), "as_of")
WITHDRAWALS: Final = _latest("withdrawals", (*decode.WITHDRAWAL.columns, *_OWN), ("account", "wd_id"), "as_of")
MARK_PRICES: Final = _latest(
    "mark_prices", (*decode.MARK_PRICE.columns, "received_at"), ("inst_id",), "ts", report=["ts"]
)
"""An id has one mark price, whatever types it is listed as: the channel is subscribed by id alone."""
CLOSED_POSITIONS: Final = _latest(
    "positions_history",
    (*decode.CLOSED_POSITION.columns, "account", "received_at", "raw"),
    ("account", "pos_id", "c_time", "direction"),
    "u_time",
    optional=["direction"],
)
"""A position can be opened, reversed and closed within one millisecond: two records of one ``posId`` and ``cTime``, one
long and one short."""
_INSTRUMENT: Final = (*decode.INSTRUMENT.columns, "as_of", "received_at", "raw")


def _instruments(value: str) -> Table:
    """Return the table of instruments.

    Args:
        value: SQL of what an update sets a column to; ``{c}`` is the column.
    """
    key = ("inst_type", "inst_id")
    sets = {column: value.replace("{c}", f'"{column}"') for column in _INSTRUMENT if column not in key}
    latest = case("excluded.as_of >= {t}.as_of", "excluded.as_of", "{t}.as_of")
    return Table("instruments", _INSTRUMENT, key, sets=sets | {"as_of": latest}, guard="true", report=["as_of"])


INSTRUMENTS: Final = _instruments("coalesce(excluded.{c}, {t}.{c})")
"""Pushes name only what has changed."""
INSTRUMENTS_BY_REST: Final = _instruments(
    case("excluded.as_of >= {t}.as_of", "excluded.{c}", "coalesce({t}.{c}, excluded.{c})")
)
"""REST's rows are complete; one that is older than a push adds only what is not known."""
BILLS: Final = Table(
    "bills", (*decode.BILL.columns, "account", "received_at", "raw"), ("account", "bill_id"), guard="false"
)
