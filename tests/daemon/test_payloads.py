"""Real frames of OKX, over a real WebSocket to the daemon, end in the right rows.

``OKXSYNC_PAYLOADS`` names a folder of them: ``ws_*.json`` one pushed frame each, ``http_*.json`` one REST reply each.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import trio

from okxsync import daemon
from okxsync.config.location import Location
from okxsync.config.settings import load
from okxsync.messages import Rows
from okxsync.store.engines import engine_of, open_database, open_reader
from okxsync.store.writer import Writer
from tests.support.desk import make_database
from tests.support.replay import replay, until, write_config

FOLDER = Path(os.environ.get("OKXSYNC_PAYLOADS", ""))
pytestmark = pytest.mark.skipif("OKXSYNC_PAYLOADS" not in os.environ, reason="OKXSYNC_PAYLOADS names no folder")
AFTER = '{"arg":{"channel":"orders"},"data":[{"ordId":"last","state":"live","uTime":"1"}]}'

TABLES = {
    "orders": ("orders", "ord_id", "ordId"),
    "orders-algo": ("algo_orders", "algo_id", "algoId"),
    "positions": ("positions", "pos_id", "posId"),
}


def payloads(pattern: str) -> dict[str, Any]:
    return {path.name: json.loads(path.read_text()) for path in sorted(FOLDER.glob(pattern))}


def rows(path: Location, sql: str) -> list[tuple[Any, ...]]:
    reader = open_reader(path)
    try:
        found: list[tuple[Any, ...]] = reader.execute(sql).fetchall()
        return found
    finally:
        reader.close()


async def test_pushed_frames(tmp_path: Path) -> None:
    frames = payloads("ws_*.json")
    assert frames
    sent = [json.dumps(frame) for frame in frames.values()]
    async with replay({"private": [*sent, AFTER]}) as server, trio.open_nursery() as nursery:
        settings = load(write_config(tmp_path, server.accounts_toml("orders", "account")))
        nursery.start_soon(daemon.run, settings, settings.database)
        await until(lambda: engine_of(settings.database).exists() and bool(rows_if_there(settings.database)))
        nursery.cancel_scope.cancel()
    for frame in frames.values():
        check(settings.database, frame)
    lost = "SELECT event, detail FROM journal WHERE event LIKE 'invalid-%'"
    assert rows(settings.database, lost) == []
    assert rows(settings.database, "SELECT count(*) FROM messages WHERE kind = 'push'") == [(len(sent) + 1,)]


def rows_if_there(path: Location) -> list[tuple[Any, ...]]:
    tables = rows(path, "SELECT name FROM sqlite_schema WHERE name = 'orders_view'")
    return rows(path, "SELECT 1 FROM orders WHERE ord_id = 'last'") if tables else []


def check(path: Location, frame: dict[str, Any]) -> None:
    """Every value of every row is in its column, as sent."""
    channel = frame["arg"]["channel"]
    if channel == "account":
        sent = {one["ccy"]: one for one in frame["data"][0]["details"]}
        stored = {
            ccy: (eq, cash, int(at))
            for ccy, eq, cash, at in rows(path, "SELECT ccy, eq, cash_bal, u_time FROM balances")
        }
        assert stored == {ccy: (one["eq"], one["cashBal"], int(one["uTime"])) for ccy, one in sent.items()}
    elif channel in TABLES:
        table, key, name = TABLES[channel]
        for row in frame["data"]:
            ((raw, state),) = rows(path, f"SELECT raw, state FROM {table} WHERE {key} = '{row[name]}'")
            assert json.loads(raw) == row
            assert state == row["state"]


CHANNEL_OF = {
    "http_get_account_balance.json": ("account", "balances"),
    "http_get_account_positions-history.json": ("positions-history", "positions_history"),
    "http_get_instruments_swap.json": ("instruments", "instruments"),
    "http_get_mark_price.json": ("mark-price", "mark_prices"),
    "http_get_orders_algo_pending.json": ("orders-algo", "algo_orders"),
    "http_get_orders_history.json": ("orders", "orders"),
    "http_get_orders_pending.json": ("orders", "orders"),
    "http_get_positions.json": ("positions", "positions"),
}


@pytest.mark.parametrize("name", CHANNEL_OF)
def test_replies(tmp_path: Path, name: str) -> None:
    if not (FOLDER / name).exists():
        pytest.skip(f"{name} is not there")
    channel, table = CHANNEL_OF[name]
    sent = json.loads((FOLDER / name).read_text())["data"]
    make_database(tmp_path / "okxsync.db")
    database = open_database(tmp_path / "okxsync.db")
    Writer(database).apply([Rows("alpha", channel, json.dumps(sent), 1_800_000_000_000_000)])
    stored = database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    anomalies = database.execute("SELECT kind, what FROM anomalies").fetchall()
    database.close()
    assert anomalies == []
    assert stored == (len(sent[0]["details"]) if channel == "account" else len(sent))
