"""The baseline: ccxt.pro ``watch_orders`` into SQLite, as one would write it by hand.

    python -m tests.bench.with_ccxt ORIGIN CONNECTIONS DATABASE

ccxt does not hand out the frame; what it logs instead is the order as it came, which is nearly all of it.
"""

import asyncio
import json
import os
import sqlite3
import sys

import ccxt.pro

from tests.bench import baseline


async def watch(origin: str, number: int, db: sqlite3.Connection) -> None:
    exchange = ccxt.pro.okx({"apiKey": f"{number}", "secret": "s", "password": "p", "enableRateLimit": False})
    exchange.urls["api"]["rest"] = origin
    exchange.urls["api"]["ws"] = f"{origin.replace('http', 'ws', 1)}/ws/v5"
    exchange.options["fetchMarkets"] = {"types": ["swap"]}
    exchange.has["fetchCurrencies"] = False
    exchange.cafile = os.environ.get("SSL_CERT_FILE")
    exchange.newUpdates = True
    account = f"a{number}"
    while True:
        orders = [one["info"] for one in await exchange.watch_orders()]
        rows = [baseline.row(account, order) for order in orders]
        baseline.store(db, rows, [baseline.frame(account, json.dumps(order)) for order in orders])


async def main(origin: str, connections: int, path: str) -> None:
    db = baseline.create(path)
    await asyncio.gather(*(watch(origin, number, db) for number in range(connections)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
