"""Checks the tables against each other, from the database alone.

For every account: the fills of an order sum to its filled size, a position is the sum of its fills since it was opened,
and each bill's balance is the previous balance plus its change; the last one is the stored balance.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import pairwise
from typing import Any

import msgspec

from okxsync.config.location import Location
from okxsync.store.database import CHANNEL_NAME, reading
from okxsync.store.decode import number

Row = Mapping[str, Any]
_LAG_MS = 10_000
"""A REST response may be slightly out of date, and the exchange's clock differs from the local one."""


class Difference(msgspec.Struct, frozen=True):
    """A difference between two sources; ``column`` is empty if one of them lacks the record."""

    account: str
    table: str
    key: str
    column: str
    ours: str | None
    theirs: str | None


def check_ledger(location: Location, accounts: Iterable[str]) -> list[Difference]:
    """Return the differences by account; ``theirs`` is the sum.

    Raises:
        StoreError: the database cannot be read.
    """
    with reading(location) as database:
        found: list[Difference] = []
        for account in accounts:

            def rows(sql: str, account: str = account) -> Sequence[Row]:
                return database.query(sql, [account])

            since = rows("SELECT min(from_at) / 1000 AS ms FROM gaps WHERE account = ?")[0]["ms"]
            first = rows("SELECT min(covered_since) / 1000 AS ms FROM coverage WHERE account = ?")[0]["ms"]
            begins = min((one for one in (since, first) if one is not None), default=0)
            fills = rows("SELECT * FROM fills WHERE account = ?")
            found += _orders(account, rows("SELECT * FROM orders WHERE account = ?"), fills, begins)
            found += _positions(account, rows("SELECT * FROM positions WHERE account = ?"), fills, begins)
            bills = rows("SELECT * FROM bills WHERE account = ? ORDER BY ts, length(bill_id), bill_id")
            found += _bills(account, bills)
            verified_ms = rows(
                "SELECT max(to_at) / 1000 AS ms FROM gaps WHERE account = ? AND outcome IS NOT NULL"
                f" AND {CHANNEL_NAME} IN ('account', 'balance_and_position')"
            )[0]["ms"]
            if verified_ms is not None:
                found += _balances(
                    account, rows("SELECT * FROM balances WHERE account = ?"), bills, verified_ms - _LAG_MS
                )
        return found


def _orders(account: str, orders: Sequence[Row], fills: Iterable[Row], begins: int) -> Iterator[Difference]:
    """Compare orders with the sum of their fills; fills of orders from before coverage began may be missing."""
    filled: dict[tuple[str, str], Decimal] = {}
    for fill in fills:
        key = fill["inst_id"], fill["ord_id"]
        filled[key] = filled.get(key, Decimal(0)) + number(fill["fill_sz"])
    for order in orders:
        key = order["inst_id"], order["ord_id"]
        if (order["c_time"] or 0) >= begins and filled.get(key, Decimal(0)) != number(order["acc_fill_sz"]):
            total = str(filled.get(key, 0))
            yield Difference(account, "orders", order["ord_id"], "acc_fill_sz", order["acc_fill_sz"], total)
    # Ids grow with time: an order with a greater id than this was placed after coverage began, so it must be stored.
    first = min((int(order["ord_id"]) for order in orders if (order["c_time"] or 0) >= begins), default=None)
    known = {order["ord_id"] for order in orders}
    for ord_id in sorted({ord_id for _, ord_id in filled if ord_id.isdecimal()} - known):
        if first is not None and int(ord_id) > first:
            yield Difference(account, "orders", ord_id, "", None, "present")


def _positions(account: str, positions: Iterable[Row], fills: Iterable[Row], begins: int) -> Iterator[Difference]:
    """Compare positions with the sum of their fills; net mode only: in long/short mode two positions share them."""
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
            expected = number(before["bal"]) + number(bill["bal_chg"])
            if number(bill["bal"]) != expected:
                yield Difference(account, "bills", bill["bill_id"], "bal", bill["bal"], str(expected))


def _balances(account: str, balances: Iterable[Row], bills: Iterable[Row], verified_ms: int) -> Iterator[Difference]:
    """Compare balances with their last bill. Bills are not pushed: a balance that changed since is ahead of them."""
    last = {bill["ccy"]: bill["bal"] for bill in bills}  # in the order of time
    for balance in balances:
        ccy, held = balance["ccy"], balance["cash_bal"]
        if ccy in last and (balance["u_time"] or 0) < verified_ms and number(last[ccy]) != number(held):
            yield Difference(account, "balances", ccy, "cash_bal", held, last[ccy])
