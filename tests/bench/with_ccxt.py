"""The baseline: ccxt.pro ``watch_orders`` into SQLite, as one would write it by hand.

    python -m tests.bench.with_ccxt PORT CONNECTIONS DATABASE

ccxt does not hand out the frame; what it logs instead is the order as it came, which is nearly all of it.
"""

import asyncio
import json
import sqlite3
import sys

import ccxt.pro

from tests.bench import baseline


async def watch(port: int, number: int, db: sqlite3.Connection) -> None:
    rest, socket = f"http://127.0.0.1:{port}", f"ws://127.0.0.1:{port}/ws/v5"
    exchange = ccxt.pro.okx({"apiKey": f"{number}", "secret": "s", "password": "p", "enableRateLimit": False})
    exchange.urls["api"]["rest"] = rest
    exchange.urls["api"]["ws"] = socket
    exchange.options["fetchMarkets"] = {"types": ["swap"]}
    exchange.has["fetchCurrencies"] = False
    exchange.newUpdates = True
    account = f"a{number}"
    while True:
        orders = [one["info"] for one in await exchange.watch_orders()]
        rows = [baseline.row(account, order) for order in orders]
        baseline.store(db, rows, [baseline.frame(account, json.dumps(order)) for order in orders])


async def main(port: int, connections: int, path: str) -> None:
    db = baseline.create(path)
    await asyncio.gather(*(watch(port, number, db) for number in range(connections)))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
