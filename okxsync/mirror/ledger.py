"""Whether the tables agree with each other, from the database alone.

For every account: the fills of an order add up to what it says is filled, a position is the sum of its fills since it
was opened, and each balance is what its bills make it, one after the other.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec

from okxsync.store.database import CHANNEL_NAME, reading
from okxsync.store.decode import number

Row = Mapping[str, Any]
_LAG_MS = 10_000
"""REST may answer with what was true a moment ago, and the exchange's clock is not ours."""


class Difference(msgspec.Struct, frozen=True):
    """What the sides disagree about; ``column`` is empty where one of them lacks the whole record."""

    account: str
    table: str
    key: str
    column: str
    ours: str | None
    theirs: str | None


def check_ledger(path: Path, accounts: Iterable[str]) -> list[Difference]:
    """Return what does not add up, by account; ``theirs`` is what the sum makes it.

    Raises:
        StoreError: the database cannot be read.
    """
    with reading(path) as database:
        found: list[Difference] = []
        for account in accounts:

            def rows(sql: str, account: str = account) -> list[Row]:
                return list(database.query(sql, [account]))

            since = rows("SELECT min(from_at) / 1000 AS ms FROM gaps WHERE account = ?")[0]["ms"]
            first = rows("SELECT min(covered_since) / 1000 AS ms FROM coverage WHERE account = ?")[0]["ms"]
            begins = min((one for one in (since, first) if one is not None), default=0)
            fills = rows("SELECT * FROM fills WHERE account = ?")
            found += _orders(account, rows("SELECT * FROM orders WHERE account = ?"), fills, begins)
            found += _positions(account, rows("SELECT * FROM positions WHERE account = ?"), fills, begins)
            bills = rows("SELECT * FROM bills WHERE account = ? ORDER BY ts, length(bill_id), bill_id")
            found += _bills(account, bills)
            proved = rows(
                "SELECT max(to_at) / 1000 AS ms FROM gaps WHERE account = ? AND outcome IS NOT NULL"
                f" AND {CHANNEL_NAME} IN ('account', 'balance_and_position')"
            )[0]["ms"]
            if proved is not None:
                found += _balances(account, rows("SELECT * FROM balances WHERE account = ?"), bills, proved - _LAG_MS)
        return found


def _orders(account: str, orders: Sequence[Row], fills: Iterable[Row], begins: int) -> Iterator[Difference]:
    """Orders that were placed before we listened may have fills that we never saw."""
    filled: dict[tuple[str, str], Decimal] = {}
    for fill in fills:
        key = fill["inst_id"], fill["ord_id"]
        filled[key] = filled.get(key, Decimal(0)) + number(fill["fill_sz"])
    for order in orders:
        key = order["inst_id"], order["ord_id"]
        if (order["c_time"] or 0) >= begins and filled.get(key, Decimal(0)) != number(order["acc_fill_sz"]):
            total = str(filled.get(key, 0))
            yield Difference(account, "orders", order["ord_id"], "acc_fill_sz", order["acc_fill_sz"], total)
    # Ids grow with time: an order with a greater one than this was placed while we listened, so it must be here.
    first = min((int(order["ord_id"]) for order in orders if (order["c_time"] or 0) >= begins), default=None)
    known = {order["ord_id"] for order in orders}
    for ord_id in sorted({ord_id for _, ord_id in filled if ord_id.isdecimal()} - known):
        if first is not None and int(ord_id) > first:
            yield Difference(account, "orders", ord_id, "", None, "present")


def _positions(account: str, positions: Iterable[Row], fills: Iterable[Row], begins: int) -> Iterator[Difference]:
    """Net mode only: the two positions of long/short mode share their fills' instrument."""
    by_instrument: dict[str, list[Row]] = {}
    for fill in fills:
        by_instrument.setdefault(fill["inst_id"], []).append(fill)
    for position in positions:
        opened = position["c_time"] or 0
        if position["pos_side"] != "net" or opened < begins or number(position["pos"]) == 0:
            continue
        total = Decimal(0)
        for fill in by_instrument.get(position["inst_id"], []):
            total += number(fill["fill_sz"]) * (1 if fill["side"] == "buy" else -1)
        if total != number(position["pos"]):
            yield Difference(account, "positions", position["pos_id"], "pos", position["pos"], str(total))


def _bills(account: str, bills: Iterable[Row]) -> Iterator[Difference]:
    by_ccy: dict[str, list[Row]] = {}
    for bill in bills:
        by_ccy.setdefault(bill["ccy"], []).append(bill)
    for of_one in by_ccy.values():
        for before, bill in pairwise(of_one):
            should = number(before["bal"]) + number(bill["bal_chg"])
            if number(bill["bal"]) != should:
                yield Difference(account, "bills", bill["bill_id"], "bal", bill["bal"], str(should))


def _balances(account: str, balances: Iterable[Row], bills: Iterable[Row], proved: int) -> Iterator[Difference]:
    """Bills are never pushed: a balance that has changed since they were asked for last is ahead of them."""
    last = {bill["ccy"]: bill["bal"] for bill in bills}  # in the order of time
    for balance in balances:
        ccy, held = balance["ccy"], balance["cash_bal"]
        if ccy in last and (balance["u_time"] or 0) < proved and number(last[ccy]) != number(held):
            yield Difference(account, "balances", ccy, "cash_bal", held, last[ccy])
