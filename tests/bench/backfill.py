"""The time of ``okxsync backfill`` compared with the time that OKX's rate limits require.

The exchange is a stand-in that answers from arithmetic: fills, orders and bills of many accounts, newest first, within
OKX's budgets, each broken one counted. The bound is that of the slowest endpoint: its pages at its budget's pace.
"""

import asyncio
import json
import multiprocessing
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

from aiohttp import web

from okxsync.okx.endpoints import BUDGETS
from okxsync.okx.rate_limits import Budget
from tests.bench.measure import Row

BASE = 2_500_000_000_000_000_000
PAGE = 100


class StandIn:
    """Rows are made from their number: row n of a list is n milliseconds old."""

    def __init__(self, orders: int, fills: int) -> None:
        self.counts = {
            "trade/orders-history": orders,
            "trade/fills": fills,
            "account/bills": fills,
        }
        self.windows: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
        self.calls = 0
        self.refused = 0
        self.newest_ms = int(time.time() * 1000) - 10_000

    async def answer(self, request: web.Request) -> web.Response:
        path = request.match_info["path"]
        if path == "public/time":
            return reply([{"ts": str(int(time.time() * 1000))}])
        self.calls += 1
        if not self.within(BUDGETS[path], path, request.headers["OK-ACCESS-KEY"]):
            self.refused += 1
            return web.json_response({"msg": "Too Many Requests", "code": "50011"}, status=429)
        if path == "account/balance":
            return reply([{"uTime": str(self.newest_ms), "totalEq": "1", "details": []}])
        if request.query.get("instType", "SWAP") != "SWAP":
            return reply([])
        first = BASE + self.counts.get(path, 0) - 1
        newest = min(first, int(request.query.get("after", first + 1)) - 1)
        return reply([self.row(path, number) for number in range(newest, max(newest - PAGE, BASE - 1), -1)])

    def within(self, budget: Budget, path: str, key: str) -> bool:
        now = time.monotonic()
        taken = self.windows[path, key]
        taken[:] = [at for at in taken if at > now - budget.window_s]
        taken.append(now)
        return len(taken) <= budget.calls

    def row(self, path: str, number: int) -> dict[str, str]:
        age = BASE + self.counts[path] - number
        at = str(self.newest_ms - age)
        row = {"instType": "SWAP", "instId": "BTC-USDT-SWAP", "ordId": str(number), "side": "buy", "ts": at}
        if path == "account/bills":
            return row | {"billId": str(number), "ccy": "USDT", "bal": "1", "balChg": "0", "type": "2", "subType": "1"}
        if path == "trade/fills":
            return row | {"billId": str(number), "tradeId": str(age), "fillPx": "1", "fillSz": "1", "fillTime": at}
        return row | {"state": "filled", "accFillSz": "1", "sz": "1", "px": "1", "cTime": at, "uTime": at}


def reply(rows: Sequence[Mapping[str, object]]) -> web.Response:
    return web.Response(text=json.dumps({"code": "0", "msg": "", "data": rows}), content_type="application/json")


def serve(pipe: Connection, orders: int, fills: int) -> None:
    async def main() -> None:
        stand_in = StandIn(orders, fills)
        app = web.Application()
        app.router.add_get("/api/v5/{path:.*}", stand_in.answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        pipe.send(runner.addresses[0][1])
        await asyncio.to_thread(pipe.recv)
        pipe.send((stand_in.calls, stand_in.refused))

    asyncio.run(main())


def config(port: int, accounts: int, folder: Path) -> Path:
    urls = [f'{name} = "ws://127.0.0.1:{port}/ws/v5/{name}"' for name in ("public", "private", "business")]
    lines = ['database = "okxsync.db"', "[sites.bench]", f'rest = "http://127.0.0.1:{port}"', *urls]
    for number in range(accounts):
        lines += ["[[accounts]]", f'name = "a{number}"', 'site = "bench"', f'api_key = "{number}"']
        lines += ['secret_key = "s"', 'passphrase = "p"']
    path = folder / "accounts.toml"
    path.touch(mode=0o600)
    path.write_text("\n".join(lines) + "\n")
    return path


def rows(rounds: int, quick: bool) -> Iterator[Row]:
    """One round: the budgets take their time."""
    accounts, orders, fills = (4, 200, 1000) if quick else (20, 1000, 5000)
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.Process(target=serve, args=(theirs, orders, fills), daemon=True)
    server.start()
    with tempfile.TemporaryDirectory() as name:
        path = config(ours.recv(), accounts, Path(name))
        began = time.monotonic()
        subprocess.run(
            [sys.executable, "-m", "okxsync", "backfill", "--config", str(path), "--since", "1d"],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        seconds = time.monotonic() - began
    ours.send("stop")
    calls, refused = ours.recv()
    pages = {"account/bills": fills, "trade/fills": fills, "trade/orders-history": orders}
    bounds = {path: count / PAGE / BUDGETS[path].calls * BUDGETS[path].window_s for path, count in pages.items()}
    slowest = max(bounds, key=lambda path: bounds[path])
    count = accounts * (fills * 2 + orders)
    yield Row(
        f"backfill of {count} rows, {accounts} accounts",
        f"{seconds:.1f} s",
        f"the budget of {slowest}: {bounds[slowest]:.1f}",
        f"{seconds / bounds[slowest]:.2f}",
        f"{calls} calls, {refused} refused",
    )
