"""Plans on many accounts: how fast they are previewed and sent, and what a hanging account costs the others.

The built-in exchange answers each order 100 ms late; it and the daemon share the machine's processors. Times of sends
are those at which the exchange got the requests, by the same clock as the daemon's. The daemon runs as users run it.
"""

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import trio

from okxsync.sandbox.exchange.exchange import Exchange
from okxsync.sandbox.faults.requests import RequestFault
from okxsync.sandbox.server.server import Sandbox, serve_sandbox
from tests.bench.measure import Row
from tests.plans.cases import CONTRACTS
from tests.support import processes
from tests.support.replay import until, write_config
from tests.support.running import is_live
from tests.support.truth import rows as rows_of
from tests.support.truth import status_of

LATENCY_S = 0.1
HANGS_S = 10.0
READY_WITHIN_S = 300.0
IP_RATE = 400


def rows(rounds: int, quick: bool) -> Iterator[Row]:
    for accounts in (20,) if quick else (200, 1000):
        yield from trio.run(_measure, accounts, rounds)


async def _measure(accounts: int, rounds: int) -> list[Row]:
    exchange = Exchange(lambda: time.time_ns() // 1_000_000, seed=7)
    for number in range(accounts):
        exchange.add_member(f"a{number:04}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with serve_sandbox(exchange, rate=0.0, dials_per_second=0) as sandbox:
            text = sandbox.accounts_toml().replace("demo = true\napi_key", "demo = true\ntrading = true\napi_key")
            config = write_config(
                folder, f'[history]\ninitial = "0"\n\n[trading]\nenabled = true\nip_rate = {IP_RATE}\n\n' + text
            )
            with processes.daemon(config):
                await until(lambda: _is_ready(folder / "okxsync.db", 2 * accounts + 1), READY_WITHIN_S)
                return await _measure_plans(sandbox, folder, accounts, rounds)


def _is_ready(database: Path, connections: int) -> bool:
    return is_live(database, connections) and status_of(database).exit_code == 0


async def _measure_plans(sandbox: Sandbox, folder: Path, accounts: int, rounds: int) -> list[Row]:
    late = RequestFault("own", path="trade/order", delay_s=LATENCY_S, times=0)
    sandbox.faults.requests.append(late)
    free = [await _execute(sandbox, folder, accounts) for _ in range(rounds)]
    hanging = RequestFault("own", path="trade/order", account="a0001", delay_s=HANGS_S, times=0)
    sandbox.faults.requests.insert(0, hanging)
    hung = await _execute(sandbox, folder, accounts, without="a0001")
    what = f"plan on {accounts} accounts"
    is_small = accounts <= 200
    span = "1000 (500) ms" if is_small else "4000 (2500) ms"

    def row(name: str, unit: str, values: list[float], reach: str) -> Row:
        spread = f"{min(values):.0f}-{max(values):.0f}"
        return Row(f"{what}: {name}", f"{statistics.median(values):.0f} {unit}", spread=spread, reach=reach)

    return [
        row("preview", "ms", [one["preview"] for one in free], "4000 (2000) ms" if is_small else "20000 (10000) ms"),
        row("request to first send", "ms", [one["first"] for one in free], "150 (60) ms"),
        row("first to last send", "ms", [one["span"] for one in free], span),
        row("the same, one account hangs", "ms", [hung["span"]], "+ 20 ms"),
    ]


async def _execute(sandbox: Sandbox, folder: Path, accounts: int, without: str = "") -> dict[str, float]:
    """Return milliseconds: of the preview, from the stored request to the first send, and from that to the last."""
    file = folder / "plan.toml"
    file.write_text(CONTRACTS.format(valid_for="60s", contracts=1))
    began = trio.current_time()
    preview = json.loads(await _run(folder, "plan", "preview", str(file), "--json"))
    preview_ms = (trio.current_time() - began) * 1000
    plan_id, ready = preview["plan"]["plan_id"], sum(one["state"] == "ready" for one in preview["orders"])
    sandbox.requests.clear()
    await _run(folder, "plan", "execute", plan_id, "--confirm", preview["confirm"], "--no-wait")
    await until(lambda: len(sandbox.requests.of(path="trade/order")) >= ready)
    at_us = rows_of(folder / "okxsync.db", "SELECT max(at) AS at FROM requests WHERE kind = 'execute'")[0]["at"]
    sent = sorted(one.at_us for one in sandbox.requests.of(path="trade/order") if one.account != without)
    ended = f"SELECT state FROM plans WHERE plan_id = '{plan_id}' AND ended_at IS NOT NULL"
    await until(lambda: bool(rows_of(folder / "okxsync.db", ended)))
    print(f"{ready} of {accounts} ready", file=sys.stderr)
    return {"preview": preview_ms, "first": (sent[0] - at_us) / 1000, "span": (sent[-1] - sent[0]) / 1000}


async def _run(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "okxsync", *arguments, "--config", str(folder / "accounts.toml")]
    result: Any = await partial(trio.run_process, capture_stdout=True, check=False)(command)
    text: str = result.stdout.decode()
    if result.returncode not in (0, 1):
        raise RuntimeError(f"{' '.join(arguments)}: exit {result.returncode}: {text}")
    return text
