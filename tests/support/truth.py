"""Compares the tables of the mirror with the state of the exchange, row by row."""

import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import trio

from okxsync import daemon
from okxsync.config.location import Location
from okxsync.config.settings import load
from okxsync.mirror.status import Status
from okxsync.reconcile.timings import Timings
from okxsync.sandbox.exchange.exchange import Exchange
from okxsync.sandbox.server.server import Sandbox, serve_sandbox
from okxsync.store.database import StoreError
from okxsync.store.engines import open_reader
from tests.support.desk import make_database
from tests.support.reading import read_status
from tests.support.replay import until, write_config

ACCOUNTS = 4
SHORT_LAG = Timings(rest_lag_s=2.0)
"""For an exchange whose REST lags by a second at most: gaps are closed sooner."""
QUICK = Timings(verify_s=2.0, verify_per_s={}, verify_others_per_s=100.0, poll_s=0.5, push_lag_s=0.5, rest_lag_s=2.0)
"""Each channel is verified every few seconds."""


@asynccontextmanager
async def trading(
    folder: Path, *, rate: float = 0.0, dials_per_second: int = 0, timings: Timings = SHORT_LAG
) -> AsyncIterator[tuple[Sandbox, Location]]:
    """A sandbox whose accounts trade, and a daemon on it that is live; both end with the block."""
    exchange = Exchange(lambda: time.time_ns() // 1_000_000, seed=7)
    for number in range(ACCOUNTS):
        exchange.add_member(f"a{number}")
    async with serve_sandbox(exchange, rate=rate, seed=7, dials_per_second=dials_per_second) as sandbox:
        sandbox.pause_trading()
        settings = load(write_config(folder, sandbox.accounts_toml()))
        make_database(settings.database)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(daemon.run, settings, settings.database, timings=timings))
            await until(lambda: all_live(settings.database))
            yield sandbox, settings.database
            nursery.cancel_scope.cancel(reason="the test is over")


def status_of(database: Location) -> Status:
    return read_status(database, time.time_ns() // 1000)


def all_live(database: Location, reconnects: int = 0) -> bool:
    try:
        connections = status_of(database).connections
    except StoreError:  # not made yet
        return False
    wanted = 2 * ACCOUNTS + 1  # private and business of each, and the market
    live = [one for one in connections if one.phase == "live" and one.reconnects >= reconnects]
    return len(live) == wanted == len(connections)


def rows(database: Location, sql: str) -> list[dict[str, Any]]:
    reader = open_reader(database)
    try:
        return list(reader.query(sql))
    finally:
        reader.close()


SAME: dict[str, tuple[str, ...]] = {  # fields that REST and pushes both report, and that do not change with prices
    "orders": ("ordId", "instId", "clOrdId", "side", "ordType", "px", "sz", "state", "accFillSz", "avgPx", "fee", "pnl",
               "cTime", "uTime", "cancelSource"),
    "algo_orders": ("algoId", "instId", "ordType", "side", "sz", "state", "triggerPx", "tpTriggerPx", "slTriggerPx",
                    "actualSz", "actualPx", "cTime", "uTime"),
    "fills": ("instId", "ordId", "tradeId", "fillPx", "fillSz", "side", "execType", "fee", "feeCcy", "fillTime"),
    "positions": ("posId", "instId", "pos", "avgPx", "realizedPnl", "cTime", "uTime"),
    "balances": ("ccy", "cashBal", "uTime"),
}  # fmt: skip


def snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


def comparable(value: object, name: str = "") -> object:
    text = "" if value is None else str(value)
    if name == "avgPx" and not Decimal(text or 0):
        return ""  # without fills REST reports no average, and pushes report "0"
    if name == "tradeId" and (text in ("", "0") or text.startswith("bill-")):
        return ""  # the exchange has no id for it, and the mirror has its own
    try:
        return Decimal(text).normalize()
    except ArithmeticError:
        return text


def of_mirror(database: Location, table: str, where: str = "true") -> set[tuple[object, ...]]:
    columns = ", ".join(snake(name) for name in SAME[table])
    found = rows(database, f"SELECT account, {columns} FROM {table} WHERE {where}")
    names = ("account", *SAME[table])
    return {tuple(map(comparable, row.values(), names)) for row in found}


def of_exchange(table: str, account: str, truth: Iterable[Mapping[str, Any]]) -> set[tuple[object, ...]]:
    names = SAME[table]
    return {(comparable(account), *(comparable(row.get(name), name) for name in names)) for row in truth}


def truth_of(exchange: Exchange, table: str) -> set[tuple[object, ...]]:
    truth: set[tuple[object, ...]] = set()
    for uid, member in exchange.members.items():
        truth |= of_exchange(table, member.name, TRUTH[table](exchange, uid))
    return truth


TRUTH: dict[str, Callable[[Exchange, str], list[dict[str, Any]]]] = {
    "orders": Exchange.order_rows,
    "algo_orders": Exchange.algo_rows,
    "fills": Exchange.fill_rows,
    "positions": Exchange.position_rows,
    "balances": lambda exchange, uid: exchange.account_row(uid)["details"],
}


def differences(exchange: Exchange, database: Location) -> dict[str, tuple[list[str], list[str]]]:
    """Return, by table, rows that the mirror lacks and rows that only it has."""
    open_or_not = {"positions": "pos IS DISTINCT FROM '0'", "balances": "eq IS DISTINCT FROM '0'"}
    found: dict[str, tuple[list[str], list[str]]] = {}
    for table in SAME:
        truth, mirror = truth_of(exchange, table), of_mirror(database, table, open_or_not.get(table, "true"))
        if truth != mirror:
            found[table] = sorted(map(str, truth - mirror))[:3], sorted(map(str, mirror - truth))[:3]
    return found
