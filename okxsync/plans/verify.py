"""``okxsync verify --plans``: the orders at OKX against the rows of plans, by client order id.

    state of the child              orders with its id at OKX
    ------------------------------  -------------------------------------------------------------------------
    accepted, working and its ends  exactly one; none of one that ended without a fill and is forgotten by OKX
    unknown, armed, sent            reported in any case: nobody knows yet
    all others                      none

An order with the id of a plan and without a row is reported too. Lists are read, because a lookup returns only one
order of an id; what they lack is looked up, because they may lag. Rows are read before and after the lists, and a
difference counts only if it is the same three times in a row.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from okxsync.config.location import Location
from okxsync.config.settings import AccountSettings
from okxsync.mirror.ledger import Difference
from okxsync.okx.endpoints import ORDERS, ORDERS_ARCHIVE, ORDERS_PENDING, lists_since
from okxsync.plans.children import parse_cl_ord_id
from okxsync.plans.lookups import look_up
from okxsync.plans.states import IN_FLIGHT, PLACED, ChildState
from okxsync.reconcile.side_by_side import AGAIN_S, Compared, compare_side_by_side, stable_differences
from okxsync.reconcile.verify import KEPT_MS
from okxsync.rest.client import AccountClient
from okxsync.rest.pages import read_list
from okxsync.store.engines import reading

TYPES: Final = ("SPOT", "MARGIN", "SWAP", "FUTURES")
"""What plans trade; OKX may list a spot order under MARGIN."""
_ROWS: Final = (
    "SELECT o.plan_id, o.child, o.inst_id, o.cl_ord_id, o.state, o.ord_id, o.acc_fill_sz, o.ended_at,"
    " coalesce(p.approved_at, p.preview_at) AS since_ms FROM plan_orders AS o JOIN plans AS p ON p.plan_id = o.plan_id"
    " WHERE o.account = ? AND o.kind = 'order'"
)
_ACCOUNTS: Final = (
    "SELECT DISTINCT o.account FROM plan_orders AS o JOIN plans AS p ON p.plan_id = o.plan_id"
    " WHERE o.kind = 'order' AND p.approved_at >= ? AND o.state <> 'skipped'"
)


class PlanRow(msgspec.Struct, frozen=True):
    """A child order; ``since_ms``: no order of its plan is older."""

    plan_id: str
    child: int
    inst_id: str
    cl_ord_id: str
    state: str
    ord_id: str | None
    acc_fill_sz: str | None
    ended_at: int | None
    since_ms: int

    @property
    def was_placed(self) -> bool:
        return self.state in PLACED

    def is_forgotten(self, now_ms: int) -> bool:
        """Whether OKX may not know its order any more: it ended long ago, without a fill."""
        ended_unfilled = self.state in (ChildState.CANCELED, ChildState.GONE) and self.acc_fill_sz in (None, "", "0")
        return ended_unfilled and (self.ended_at or 0) < now_ms - KEPT_MS


Orders = Mapping[str, set[str]]
"""Ids of the orders at OKX, by client order id."""


async def verify_plans(
    database: Location,
    accounts: Sequence[AccountSettings],
    since_ms: int,
    *,
    are_all: bool = True,
    again_s: float = AGAIN_S,
) -> tuple[list[Difference], dict[str, str]]:
    """Return what differs of the plans since a time, and the accounts that could not be compared, each with the reason.

    Args:
        are_all: Whether ``accounts`` is meant to be all accounts: others with orders of these plans are named.

    Raises:
        StoreError: the database cannot be read.
    """
    absent: dict[str, str] = {}
    if are_all:
        with reading(database) as db:
            traded = {name for (name,) in db.execute(_ACCOUNTS, [since_ms])}
        absent = dict.fromkeys(sorted(traded - {one.name for one in accounts}), "not configured, or not enabled")
    found, uncompared = await compare_side_by_side(
        accounts, lambda client, _: verify_account(database, client, since_ms, again_s)
    )
    return found, absent | uncompared


async def verify_account(database: Location, client: AccountClient, since_ms: int, again_s: float) -> Compared:
    """Return what differs for one account, and notes of the types of instruments whose lists OKX rejects.

    Raises:
        RestError: a request failed.
        StoreError: the database cannot be read.
    """
    rejected: dict[str, str] = {}

    async def compare_all() -> set[Difference]:
        earlier = read_rows(database, client.name)
        orders = await _read_orders(client, since_ms, rejected)
        for row in earlier:
            if row.since_ms >= since_ms and row.was_placed and not orders[row.cl_ord_id]:
                orders[row.cl_ord_id] |= {one.ord_id for one in await look_up(client, row.inst_id, row.cl_ord_id)}
        now_ms = client.now_ms()
        rows = read_rows(database, client.name)
        found = set(compare(client.name, earlier, orders, since_ms, now_ms))
        return found & set(compare(client.name, rows, orders, since_ms, now_ms))

    found = await stable_differences(compare_all, again_s)
    return found, [f"{type} not compared: {why}" for type, why in rejected.items()]


def read_rows(database: Location, account: str) -> list[PlanRow]:
    """Return all child orders of an account. Raises StoreError."""
    with reading(database) as db:
        return [msgspec.convert(row, PlanRow) for row in db.query(_ROWS, [account])]


async def _read_orders(client: AccountClient, since_ms: int, rejected: dict[str, str]) -> dict[str, set[str]]:
    """Return the orders since a time that have an id of a plan; an order that ends in between is in the second list."""
    found: list[dict[str, Any]] = list(await read_list(client, ORDERS_PENDING, 0))
    for endpoint, until_ms in lists_since(ORDERS, ORDERS_ARCHIVE, since_ms, None, client.now_ms()):
        found += await read_list(client, endpoint, since_ms, {"instType": TYPES}, until_ms=until_ms, rejected=rejected)
    orders: dict[str, set[str]] = defaultdict(set)
    for row in found:
        own = parse_cl_ord_id(cl_ord_id := str(row.get("clOrdId", "")))
        if own and not own.protection:
            orders[cl_ord_id].add(str(row.get("ordId", "")))
    return orders


def compare(account: str, rows: Sequence[PlanRow], orders: Orders, since_ms: int, now_ms: int) -> list[Difference]:
    """Return what differs. Rows of plans before ``since_ms`` may lack their order; times are the exchange's ms."""
    found = []
    for row in rows:
        ids = orders.get(row.cl_ord_id, set())
        key, theirs = f"{row.plan_id}/{row.child}", _count(ids)
        if row.state in IN_FLIGHT or row.state == ChildState.UNKNOWN:
            found.append(Difference(account, "plan_orders", key, "orders", f"not known ({row.state})", theirs))
        elif not row.was_placed:
            if ids:
                found.append(Difference(account, "plan_orders", key, "orders", f"none ({row.state})", theirs))
        elif len(ids) > 1 or (not ids and row.since_ms >= since_ms and not row.is_forgotten(now_ms)):
            found.append(Difference(account, "plan_orders", key, "orders", f"one ({row.state})", theirs))
        elif row.ord_id and ids and row.ord_id not in ids:
            found.append(Difference(account, "plan_orders", key, "ord_id", row.ord_id, ", ".join(ids)))
    known = {row.cl_ord_id for row in rows}
    strangers = sorted(one for one, ids in orders.items() if ids and one not in known)
    return found + [Difference(account, "plan_orders", one, "", None, "present") for one in strangers]


def _count(ids: set[str]) -> str:
    if not ids:
        return "none"
    return f"{'one' if len(ids) == 1 else len(ids)} ({', '.join(sorted(ids))})"
