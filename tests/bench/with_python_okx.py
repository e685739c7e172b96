"""The baseline: python-okx into SQLite, as an expert would write it by hand.

    python -m tests.bench.with_python_okx ORIGIN CONNECTIONS DATABASE BATCH

Frames are stored when BATCH of them have come, or 5 ms after the first; with a BATCH of 1 each has its own commit.
"""

import asyncio
import json
import sqlite3
import sys
from functools import partial

import websockets
from okx.websocket.WsPrivateAsync import WsPrivateAsync

from tests.bench import baseline

WAIT_S = 0.005


class Store:
    def __init__(self, db: sqlite3.Connection, batch: int) -> None:
        self.db = db
        self.batch = batch
        self.rows: list[baseline.Row] = []
        self.frames: list[baseline.Frame] = []
        self.timer: asyncio.TimerHandle | None = None

    def add(self, account: str, text: str) -> None:
        message = json.loads(text)
        if "data" not in message:
            return
        self.frames.append(baseline.frame(account, text))
        self.rows.extend(baseline.row(account, order) for order in message["data"])
        if len(self.frames) >= self.batch:
            self.flush()
        elif self.timer is None:
            self.timer = asyncio.get_running_loop().call_later(WAIT_S, self.flush)

    def flush(self) -> None:
        if self.timer:
            self.timer.cancel()
            self.timer = None
        baseline.store(self.db, self.rows, self.frames)
        self.rows.clear()
        self.frames.clear()


async def listen(origin: str, number: int, store: Store) -> None:
    url = f"{origin.replace('http', 'ws', 1)}/ws/v5/private"
    client = WsPrivateAsync(str(number), "p", "s", url)
    # Its start() trusts only the public authorities; all else is its own.
    client.websocket = await websockets.connect(url, open_timeout=60)
    consuming = asyncio.create_task(client.consume())
    await client.subscribe([{"channel": "orders", "instType": "ANY"}], partial(store.add, f"a{number}"))
    await consuming


async def main(origin: str, connections: int, path: str, batch: int) -> None:
    store = Store(baseline.create(path), batch)
    await asyncio.gather(*(listen(origin, number, store) for number in range(connections)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])))
