"""The baseline: ccxt.pro ``watch_orders`` into SQLite, as one would write it by hand.

python -m tests.bench.with_ccxt PORT CONNECTIONS DATABASE
"""

import asyncio
import json
import sqlite3
import sys

import ccxt.pro


async def watch(port: int, number: int, db: sqlite3.Connection) -> None:
    rest, socket = f"http://127.0.0.1:{port}", f"ws://127.0.0.1:{port}/ws/v5"
    exchange = ccxt.pro.okx({"apiKey": f"{number}", "secret": "s", "password": "p", "enableRateLimit": False})
    exchange.urls["api"]["rest"] = rest
    exchange.urls["api"]["ws"] = socket
    exchange.options["fetchMarkets"] = {"types": ["swap"]}
    exchange.has["fetchCurrencies"] = False
    exchange.newUpdates = True
    while True:
        orders = await exchange.watch_orders()
        with db:
            db.executemany(
                "INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (account, id) DO UPDATE SET"
                " status = excluded.status, filled = excluded.filled, updated = excluded.updated, raw = excluded.raw",
                [
                    (number, one["id"], one["status"], one["info"]["accFillSz"], one["info"]["uTime"],
                     json.dumps(one["info"]))
                    for one in orders
                ],
            )  # fmt: skip


async def main(port: int, connections: int, path: str) -> None:
    db = sqlite3.connect(path)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute("CREATE TABLE orders (account, id, status, filled, updated, raw, PRIMARY KEY (account, id))")
    await asyncio.gather(*(watch(port, number, db) for number in range(connections)))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
