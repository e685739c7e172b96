"""Which pushes a live channel has lost: what only REST has reported of the time since the channel was verified last.

A row keeps who reported its state first (``source``, see ``store.tables``). So once everything is stored that the
exchange pushed before an answered ping, a row of that time that only REST has reported is a lost push. For ``account``,
``positions`` and ``balance_and_position`` that is not enough: they report the same rows, and one of them may be stalled
while the others are not. So a change that is later than everything the channel has reported is a lost push as well.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final, TypeAlias

import msgspec

from okxsync.okx import endpoints
from okxsync.okx.channels import arguments_of, covers_row
from okxsync.okx.compare import ASIDE_MS
from okxsync.reconcile.held import LiveChannel
from okxsync.store.decode import number
from okxsync.store.engines import Reader

Query: TypeAlias = Callable[[str], list[dict[str, Any]]]
"""Takes SQL, and returns those of its rows that the subscription reports."""

_EVENT_BILLS: Final = "'1', '2', '3', '5', '6', '7', '8', '9', '10'"
"""Types of bills that ``balance_and_position`` has an event for: transfer, trade, delivery, liquidation, margin
transfer, interest, funding, ADL, clawback (OKX docs: bill types, balance_and_position channel). Income has none."""
_COLUMNS: Final = {"instType": "inst_type", "instId": "inst_id", "ccy": "ccy"}


class Window(msgspec.Struct, frozen=True):
    """What a channel must have reported: changes after ``since_ms`` and up to ``until_ms``, the exchange's times.

    Orders that REST did not find before ``backfilled_ms`` belong to the gap that was closed then, and its note counts
    them.
    """

    since_ms: int
    until_ms: int
    backfilled_ms: int = 0


def lost_push(reader: Reader, one: LiveChannel, window: Window) -> str | None:
    """Return what ``one`` has not pushed although it happened within ``window``, or None.

    Call it once everything is stored that the exchange pushed up to the end of the window and some seconds later.

    Raises:
        StoreError: the database cannot be read.
    """
    arguments = arguments_of(one.channel)
    bounds = {"account": one.account, "since": window.since_ms, "until": window.until_ms,
              "backfilled": window.backfilled_ms, "reported": one.reported_ms + ASIDE_MS}  # fmt: skip

    def rows(sql: str) -> list[dict[str, Any]]:
        found = reader.query(sql, bounds)
        return [row for row in found if covers_row(arguments, {name: row.get(ours) for name, ours in _COLUMNS.items()})]

    return LOST[one.name](rows)


_IN_WINDOW: Final = "account = :account AND source = 'rest' AND {0} > :since AND {0} <= :until"
_PUSHED: Final = "(CAST({0} AS DOUBLE PRECISION) <> 0 OR absent_time IS NOT NULL)"
"""What REST lists with an amount of zero need never have been pushed; what it lists no more has been closed."""
_PRESENT: Final = "absent_time IS NULL AND (CAST({0} AS DOUBLE PRECISION) <> 0 OR source = 'ws')"
"""The time of what is absent from a snapshot is the snapshot's, and not that of the change."""
_UNREPORTED: Final = "account = :account AND {0} > max(:since, :reported) AND {0} <= :until"


_NEVER_PUSHED: Final = ("adl", "delivery", "auto_conversion")
"""Categories of orders that OKX executes by itself, and may not push (see ``reconcile.rest_only``). The docs list them
for the channel, and list their fills among those without an order (OKX docs: order channel; GET trade/fills)."""


def _order(rows: Query) -> str | None:
    what = "ord_id, inst_id, inst_type FROM orders WHERE"
    unpushed = f"coalesce(category, '') IN ({', '.join(map(_quoted, _NEVER_PUSHED))})"
    for row in rows(
        f"SELECT {what} {_IN_WINDOW.format('u_time')} AND NOT {unpushed} UNION ALL SELECT {what} {_NOT_FOUND}"
    ):
        return f"order {row['ord_id']}"
    return _fill(rows)


def _fill(rows: Query) -> str | None:
    """Return a fill that was not pushed.

    Several executions may be pushed as one, so a fill that only REST has reported may be part of another one's push
    (see ``store.fills``). It shows a lost push if the pushes of its order leave no room for it, and all fills of the
    order are stored: then they add up to what it says is filled.
    """
    by_rest: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for row in rows(f"SELECT inst_id, inst_type, ord_id, fill_sz FROM fills WHERE {_IN_WINDOW.format('fill_time')}"):
        by_rest[row["inst_id"], row["ord_id"]] += number(row["fill_sz"])
    for (inst_id, ord_id), unpushed in by_rest.items():
        of_order = f"account = :account AND inst_id = {_quoted(inst_id)} AND ord_id = {_quoted(ord_id)}"
        orders = rows(f"SELECT acc_fill_sz, category, inst_id, inst_type FROM orders WHERE {of_order}")
        fills = rows(f"SELECT fill_sz, pushed_sz, source, inst_id, inst_type FROM fills WHERE {of_order}")
        stored = sum((number(row["fill_sz"]) for row in fills), Decimal(0))
        room = sum((_surplus(row) for row in fills), Decimal(0))
        pushes = orders and orders[0]["category"] not in _NEVER_PUSHED
        if pushes and unpushed > room and stored == number(orders[0]["acc_fill_sz"]):
            return f"a fill of order {ord_id}"
    return None


def _surplus(fill: Mapping[str, Any]) -> Decimal:
    """Return how much more was pushed under a fill's id than its size; of one that was not pushed, how much was."""
    size = number(fill["fill_sz"]) if fill["source"] == "ws" else Decimal(0)
    return Decimal(0) if fill["pushed_sz"] is None else number(fill["pushed_sz"]) - size


def _algo_order(rows: Query) -> str | None:
    kinds = ", ".join(f"'{kind}'" for kind in endpoints.PLAIN_ALGOS)
    what = "algo_id, inst_id, inst_type FROM algo_orders WHERE"
    for row in rows(
        f"SELECT {what} {_IN_WINDOW.format('u_time')} AND ord_type IN ({kinds})"
        f" UNION ALL SELECT {what} {_NOT_FOUND} AND ord_type IN ({kinds})"
    ):
        return f"algo order {row['algo_id']}"
    return None


def _balance(rows: Query) -> str | None:
    for row in rows(
        f"SELECT ccy FROM balances WHERE {_IN_WINDOW.format('u_time')} AND {_PUSHED.format('cash_bal')}"
        f" UNION ALL SELECT ccy FROM balances WHERE {_UNREPORTED.format('u_time')} AND {_PRESENT.format('cash_bal')}"
    ):
        return f"a change of {row['ccy']}"
    return None


def _position(rows: Query) -> str | None:
    what = "pos_id, inst_id, inst_type FROM positions WHERE"
    for row in rows(
        f"SELECT {what} {_IN_WINDOW.format('u_time')} AND {_PUSHED.format('pos')}"
        f" UNION ALL SELECT {what} {_UNREPORTED.format('u_time')} AND {_PRESENT.format('pos')}"
    ):
        return f"a change of position {row['pos_id']}"
    return None


def _event(rows: Query) -> str | None:
    """Return a change that has an event and was not pushed.

    The time of a position moves without an event too, for instance when interest accrues. So a position that changed
    shows a lost push only together with a bill of its instrument.
    """
    instruments: set[str] = set()
    for row in rows(
        "SELECT bill_id, bal_chg, ccy, inst_id FROM bills"
        f" WHERE {_UNREPORTED.format('ts')} AND type IN ({_EVENT_BILLS})"
    ):
        if number(row["bal_chg"]):
            return f"the change of {row['ccy']} by bill {row['bill_id']}"
        instruments.add(row["inst_id"])
    changed = f"SELECT pos_id, inst_id FROM positions WHERE {_UNREPORTED.format('u_time')} AND {_PRESENT.format('pos')}"
    for row in rows(changed):
        if row["inst_id"] in instruments:
            return f"a change of position {row['pos_id']}"
    return None


_NOT_FOUND: Final = "account = :account AND not_found_at > max(:since, :backfilled) AND not_found_at <= :until"
LOST: Final[Mapping[str, Callable[[Query], str | None]]] = {
    "orders": _order,
    "orders-algo": _algo_order,
    "account": _balance,
    "positions": _position,
    "balance_and_position": _event,
}
"""By the name of the channel."""


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
