"""Plans on many accounts: how fast they are previewed and sent, and what a hanging account costs the others.

The built-in exchange answers each request 100 ms late; it and the daemon share the machine's processors. Times of sends
are those at which the exchange got the requests, by the same clock as the daemon's. The daemon runs as users run it.
"""

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import trio

from okxsync.sandbox.exchange.exchange import Exchange
from okxsync.sandbox.faults.requests import RequestFault
from okxsync.sandbox.server.server import Sandbox, serve_sandbox
from tests.bench.measure import Row, spread
from tests.plans.cases import CONTRACTS
from tests.support import processes
from tests.support.replay import until, write_config
from tests.support.running import is_live
from tests.support.truth import rows as rows_of
from tests.support.truth import status_of

LATENCY_S = 0.1
HANGS = "a0001"
HANGS_S = 10.0
REST_S = 2.0
IDLE = 0.15
"""The share of a core that the daemon uses at rest: with hundreds of accounts it has some pings to send."""
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
        async with serve_sandbox(exchange, rate=0.0, tick_s=1.0, dials_per_second=0) as sandbox:
            text = sandbox.accounts_toml().replace("demo = true\napi_key", "demo = true\ntrading = true\napi_key")
            config = write_config(
                folder, f'[history]\ninitial = "0"\n\n[trading]\nenabled = true\nip_rate = {IP_RATE}\n\n' + text
            )
            with processes.daemon(config) as process:
                await until(lambda: _is_ready(folder / "okxsync.db", 2 * accounts + 1), READY_WITHIN_S)
                bench = _Bench(sandbox, folder, accounts, psutil.Process(process.pid))
                return await bench.measure(rounds)


def _is_ready(database: Path, connections: int) -> bool:
    return is_live(database, connections) and status_of(database).exit_code == 0


@dataclass(frozen=True)
class Measured:
    """One plan: milliseconds, and CPU time per order in milliseconds from the request to the plan's end.

    Attributes:
        first_ms: From the stored request to the first send.
        span_ms: From the first send to the last.
    """

    preview_ms: float
    first_ms: float
    span_ms: float
    daemon_ms: float
    writer_ms: float
    exchange_ms: float


class _Bench:
    """A daemon that mirrors all accounts of an exchange."""

    def __init__(self, sandbox: Sandbox, folder: Path, accounts: int, daemon: psutil.Process) -> None:
        self._sandbox = sandbox
        self._folder = folder
        self._database = folder / "okxsync.db"
        self._accounts = accounts
        self._daemon = daemon

    async def measure(self, rounds: int) -> list[Row]:
        """Measure plans with and without an account that hangs, in turns."""
        sandbox, free, hung = self._sandbox, [], []
        sandbox.faults.rest_delay_s = LATENCY_S
        hanging = RequestFault("own", path="trade/order", account=HANGS, delay_s=HANGS_S, times=0)
        for _ in range(rounds):
            free.append(await self._execute())
            sandbox.faults.requests.append(hanging)
            hung.append(await self._execute(without=HANGS))
            sandbox.faults.requests.remove(hanging)
        is_small = self._accounts <= 200
        what = f"plan on {self._accounts} accounts"

        def row(name: str, values: list[float], reach: str = "", digits: int = 0) -> Row:
            middle = f"{statistics.median(values):.{digits}f} ms"
            return Row(f"{what}: {name}", middle, spread=spread(values, digits), reach=reach)

        return [
            row("preview", [one.preview_ms for one in free], "4000 (2000) ms" if is_small else "20000 (10000) ms"),
            row("request to first send", [one.first_ms for one in free], "150 (60) ms"),
            row("first to last send", [one.span_ms for one in free], "1000 (500) ms" if is_small else "4000 (2500) ms"),
            row("the same, one account hangs", [one.span_ms for one in hung], "+ 20 ms"),
            row("CPU per order, daemon", [one.daemon_ms for one in free], digits=1),
            row("CPU per order, its writer", [one.writer_ms for one in free], digits=1),
            row("CPU per order, the exchange", [one.exchange_ms for one in free], digits=1),
        ]

    async def _execute(self, without: str = "") -> Measured:
        """Preview and execute a plan on all accounts; leave out one of them in the times of sends."""
        sandbox, file = self._sandbox, self._folder / "plan.toml"
        await self._rest()
        file.write_text(CONTRACTS.format(valid_for="60s", contracts=1))
        began = trio.current_time()
        preview = json.loads(await _run(self._folder, "plan", "preview", str(file), "--json"))
        preview_ms = (trio.current_time() - began) * 1000
        plan_id, ready = preview["plan"]["plan_id"], sum(one["state"] == "ready" for one in preview["orders"])
        sandbox.requests.clear()
        before = self._cpu_s()
        await _run(self._folder, "plan", "execute", plan_id, "--confirm", preview["confirm"], "--no-wait")
        await until(lambda: len(sandbox.requests.of(path="trade/order")) >= ready)
        used = [(after - earlier) * 1000 / ready for after, earlier in zip(self._cpu_s(), before, strict=True)]
        at_us = rows_of(self._database, "SELECT max(at) AS at FROM requests WHERE kind = 'execute'")[0]["at"]
        sent = sorted(one.at_us for one in sandbox.requests.of(path="trade/order") if one.account != without)
        ended = f"SELECT state FROM plans WHERE plan_id = '{plan_id}' AND ended_at IS NOT NULL"
        await until(lambda: bool(rows_of(self._database, ended)))
        print(f"{ready} of {self._accounts} ready", file=sys.stderr)
        return Measured(preview_ms, (sent[0] - at_us) / 1000, (sent[-1] - sent[0]) / 1000, *used)

    async def _rest(self) -> None:
        """Wait until the daemon has done what it does at its start or after a plan."""
        with trio.fail_after(READY_WITHIN_S):
            while True:
                before = self._cpu_s()[0]
                await trio.sleep(REST_S)
                if self._cpu_s()[0] - before < IDLE * REST_S:
                    return

    def _cpu_s(self) -> tuple[float, float, float]:
        """Return the CPU seconds of the daemon, of its writer, and of this process, which is the exchange."""
        writers = sum(sum(one.cpu_times()[:2]) for one in self._daemon.children())
        return sum(self._daemon.cpu_times()[:2]), writers, time.process_time()


async def _run(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "okxsync", *arguments, "--config", str(folder / "accounts.toml")]
    result: Any = await partial(trio.run_process, capture_stdout=True, check=False)(command)
    text: str = result.stdout.decode()
    if result.returncode not in (0, 1):
        raise RuntimeError(f"{' '.join(arguments)}: exit {result.returncode}: {text}")
    return text
