"""What the mirror knows of the accounts: balances, positions, open orders, coverage, each with its time.

A number that cannot be read is unknown, never zero: its channel then counts as doubted.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec

from okxsync.mirror.freshness import IS_WANTED
from okxsync.mirror.kinds import ALGO_ORDERS, ORDERS, POSITIONS
from okxsync.okx.channels import arguments_of, channel_of, covers_row
from okxsync.plans.document import inst_type_of
from okxsync.plans.facts import AccountFacts, Balance, OpenOrder, Position, decimal_of
from okxsync.store.coverage_table import UNVERIFIED
from okxsync.store.database import CHANNEL_NAME
from okxsync.store.engines import Reader

NEEDED: Final = ("orders", "positions", "account")
"""The channels without which an order is not sent."""
_COLUMNS: Final = {
    "equity": "total_eq, avail_eq, u_time",
    "balances": "ccy, eq, eq_usd, avail_eq, avail_bal, u_time",
    "positions": "inst_id, mgn_mode, pos_side, pos",
    "orders": "inst_id, side, pos_side, reduce_only, cl_ord_id",
    "algo_orders": "inst_id, side, pos_side, reduce_only, algo_cl_ord_id AS cl_ord_id",
    "connections": "phase, last_message_at, answered_at",
    "coverage": "channel, live, covered_until",
}
_WHERE: Final = {
    "positions": POSITIONS.is_open,
    "orders": f"({ORDERS.is_open}) AND not_found_at IS NULL",
    "algo_orders": f"({ALGO_ORDERS.is_open}) AND not_found_at IS NULL",
    "connections": "endpoint = 'private'",
    "coverage": "wanted = 1",
}


_LINKS: Final = (
    "SELECT n.account, n.phase, n.last_message_at, (SELECT min(covered_until) FROM coverage AS c"
    f" WHERE c.account = n.account AND c.wanted = 1 AND {CHANNEL_NAME} IN ('orders', 'positions', 'account'))"
    " FROM connections AS n WHERE n.endpoint = 'private' AND n.account IN ({})"
)


class Link(msgspec.Struct, frozen=True, array_like=True):
    """What is known of an account's private connection; times are local microseconds, None: not known.

    Attributes:
        covered_until: Until when all channels that trading needs are covered.
    """

    phase: str | None = None
    last_message_at: int | None = None
    covered_until: int | None = None


def read_links(reader: Reader, accounts: Collection[str]) -> dict[str, Link]:
    """Return the private connections of these accounts.

    Raises:
        StoreError: the database cannot be read.
    """
    return {
        name: Link(*values) for name, *values in reader.rows(_LINKS.format(", ".join("?" * len(accounts))), [*accounts])
    }


def read_doubted(reader: Reader) -> set[str]:
    """Return the accounts of which a channel that trading needs may have missed a push.

    Raises:
        StoreError: the database cannot be read.
    """
    rows = reader.rows(f"SELECT account, channel FROM {UNVERIFIED}")
    return {account for account, channel in rows if _needed([channel])}


class _Found:
    """Rows by table and account."""

    def __init__(self, reader: Reader, names: Collection[str]) -> None:
        self._rows: dict[str, dict[str, list[dict[str, Any]]]] = {}
        only = list(names)
        marks = ", ".join("?" * len(only))
        for table, columns in _COLUMNS.items():
            self._take(reader, table, f"SELECT account, {columns} FROM {table} WHERE {_WHERE.get(table, 'true')}"
                       f" AND account IN ({marks})", only)  # fmt: skip
        gaps = f"SELECT account, channel FROM gaps WHERE outcome IS NULL AND {IS_WANTED} AND account IN ({marks})"
        self._take(reader, "gaps", gaps, only)
        self._take(reader, "doubts", f"SELECT account, channel FROM {UNVERIFIED} AND account IN ({marks})", only)
        self._take(
            reader, "accounts", f"SELECT name AS account, uid, main_uid FROM accounts WHERE name IN ({marks})", only
        )

    def _take(self, reader: Reader, table: str, sql: str, names: Sequence[str]) -> None:
        by_account: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for row in reader.query(sql, names):
            by_account[row["account"]].append(row)
        self._rows[table] = by_account

    def of(self, table: str, account: str) -> list[dict[str, Any]]:
        return self._rows[table].get(account, [])


def read_facts(
    reader: Reader, accounts: Mapping[str, tuple[str, bool]], instruments: frozenset[str]
) -> dict[str, AccountFacts]:
    """Return what the mirror knows; modes, permissions, instruments and leverage come from REST.

    Args:
        accounts: Site name, and whether it is a demo account, by name.
        instruments: That the plan trades: their channels must be mirrored.

    Raises:
        StoreError: the database cannot be read.
    """
    found = _Found(reader, accounts)
    return {name: _facts(found, name, site, demo, instruments) for name, (site, demo) in accounts.items()}


def _facts(found: _Found, name: str, site: str, demo: bool, instruments: frozenset[str]) -> AccountFacts:
    unreadable: set[str] = set()
    coverage = found.of("coverage", name)
    connections = found.of("connections", name)
    frames = [row[column] or 0 for row in connections for column in ("last_message_at", "answered_at")]
    not_live = [row["channel"] for row in coverage if not row["live"]]
    gaps = _needed([*(row["channel"] for row in found.of("gaps", name)), *not_live])
    covered_us = [row["covered_until"] or 0 for row in coverage if channel_of(row["channel"]) == "positions"]
    equity = next(iter(found.of("equity", name)), {})
    identity = next(iter(found.of("accounts", name)), {})
    balances = _balances(found.of("balances", name), unreadable)
    positions = _positions(found.of("positions", name), unreadable)
    doubted = _needed([*(row["channel"] for row in found.of("doubts", name)), *unreadable])
    return AccountFacts(
        name=name,
        site=site,
        demo=demo,
        live=any(row["phase"] == "live" for row in connections),
        frame_ms=max(frames, default=0) // 1000,
        gaps=gaps,
        doubted=doubted,
        unmirrored=_unmirrored(tuple(row["channel"] for row in coverage), instruments),
        uid=identity.get("uid") or "",
        main_uid=identity.get("main_uid") or "",
        equity=decimal_of(equity.get("total_eq")),
        free_equity=decimal_of(equity.get("avail_eq")),
        equity_ms=int(equity.get("u_time") or 0),
        balances=balances,
        positions=positions,
        positions_ms=min(covered_us, default=0) // 1000,
        open_orders=tuple(_open_order(row) for table in ("orders", "algo_orders") for row in found.of(table, name)),
    )


def _needed(channels: Collection[str]) -> tuple[str, ...]:
    return tuple(sorted({channel_of(one) for one in channels} & set(NEEDED)))


@lru_cache(maxsize=256)
def _unmirrored(channels: tuple[str, ...], instruments: frozenset[str]) -> tuple[str, ...]:
    """Return the needed channels that do not report every instrument of the plan; most accounts have the same."""
    wanted = [{"instId": one, "instType": inst_type_of(one) or ""} for one in instruments]
    missing = []
    for needed in NEEDED:
        arguments = [arguments_of(one) for one in channels if channel_of(one) == needed]
        rows = wanted if needed != "account" else [{}]
        if not arguments or not all(any(_reports(given, row) for given in arguments) for row in rows):
            missing.append(needed)
    return tuple(missing)


def _reports(arguments: Mapping[str, str], row: Mapping[str, str]) -> bool:
    return covers_row({name: value for name, value in arguments.items() if value != "ANY"}, row)


def _balances(rows: Sequence[dict[str, Any]], unreadable: set[str]) -> dict[str, Balance]:
    balances = {}
    for row in rows:
        if (eq := decimal_of(row["eq"])) is None:
            unreadable.add("account")
            continue
        available = decimal_of(row["avail_eq"])
        if available is None:
            available = decimal_of(row["avail_bal"])
        balances[row["ccy"]] = Balance(eq, decimal_of(row["eq_usd"]), available)
    return balances


def _positions(rows: Sequence[dict[str, Any]], unreadable: set[str]) -> tuple[Position, ...]:
    positions = []
    for row in rows:
        if (size := decimal_of(row["pos"])) is None:
            unreadable.add("positions")
            continue
        side = row["pos_side"] or "net"
        positions.append(Position(row["inst_id"], row["mgn_mode"] or "", side, size if side == "net" else abs(size)))
    return tuple(positions)


def _open_order(row: dict[str, Any]) -> OpenOrder:
    side, pos_side = row["side"] or "", row["pos_side"] or ""
    closes = (pos_side, side) in (("long", "sell"), ("short", "buy"))
    reduces = closes or str(row["reduce_only"]).lower() in ("true", "1")
    return OpenOrder(row["inst_id"], side, pos_side, reduces, row["cl_ord_id"] or "")
