"""What the baselines store, by hand and well: the last state of each order, and every frame as received.

The columns have okxsync's names, so that one reader judges all.
"""

import json
import sqlite3
import time
from collections.abc import Mapping, Sequence

Row = tuple[str, str, str, str, str, str, str]
Frame = tuple[int, str, str]


def create(path: str) -> sqlite3.Connection:
    """Make the database: WAL, and durable in the way that okxsync's is."""
    db = sqlite3.connect(path)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute(
        "CREATE TABLE orders (account TEXT, ord_id TEXT, cl_ord_id TEXT, state TEXT, acc_fill_sz TEXT, u_time TEXT,"
        " raw TEXT, PRIMARY KEY (account, ord_id))"
    )
    db.execute("CREATE TABLE messages (id INTEGER PRIMARY KEY, received_at INTEGER, account TEXT, body TEXT)")
    return db


def row(account: str, order: Mapping[str, str]) -> Row:
    return (
        account, order["ordId"], order["clOrdId"], order["state"], order["accFillSz"], order["uTime"],
        json.dumps(order),
    )  # fmt: skip


def frame(account: str, text: str) -> Frame:
    return time.time_ns() // 1000, account, text


def store(db: sqlite3.Connection, rows: Sequence[Row], frames: Sequence[Frame]) -> None:
    """Write all of it in one transaction."""
    with db:
        db.executemany(
            "INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (account, ord_id) DO UPDATE SET"
            " state = excluded.state, acc_fill_sz = excluded.acc_fill_sz, u_time = excluded.u_time,"
            " raw = excluded.raw",
            rows,
        )
        db.executemany("INSERT INTO messages (received_at, account, body) VALUES (?, ?, ?)", frames)
