"""Plans on many accounts: how fast they are previewed and sent, and what a hanging account costs the others.

The built-in exchange (``tests.bench.venue``) answers each request 100 ms late; it and the daemon share the machine's
processors. Times of sends are those at which the exchange got the requests, by the same clock as the daemon's. The
daemon runs as users run it.

Beside them the daemon mirrors some accounts of ``tests.bench.source``, which sends order frames at a steady rate while
one more plan is executed: how old are they when a reader sees them, before the plan and during it?

Orders go over REST and over WebSocket by turns.

    python -m tests.bench.plans DATABASE SECONDS       # the reader, in a process of its own
"""

import contextlib
import json
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen
from typing import Any

import psutil
import pysqlite3
import trio

from okxsync.sandbox.exchange.exchange import Exchange
from okxsync.sandbox.faults.requests import RequestFault
from okxsync.sandbox.server.request_log import LoggedRequest
from okxsync.sandbox.server.server import NO_LIMIT, Sandbox
from tests.bench.measure import Row, spread
from tests.bench.venue import serve_venue
from tests.plans.cases import CONTRACTS
from tests.support.replay import until, write_config
from tests.support.running import is_live
from tests.support.truth import rows as rows_of
from tests.support.truth import status_of

LATENCY_S = 0.1
WATCHED = 4
RATE = 200
SECONDS = 75
ALONE_S = 8.0
"""For how long the source sends before the plan is executed."""
POLL_S = 0.002
HANGS = "a0001"
HANGS_S = 10.0
REST_S = 2.0
RESTS_WITHIN_S = 15.0
IDLE = 0.2
"""The share of a core that the daemon uses at rest: with hundreds of accounts it has some pings to send."""
READY_WITHIN_S = 300.0
DIALS_PER_SECOND = 100
"""More at once than a listening socket's queue of 1,024 would make most attempts fail."""
IP_RATE = 400
WAYS = ("rest", "ws")
TAKES_OVER_S = 5.0
"""The daemon looks at its configuration every second or so, and takes one that was the same twice."""


def rows(rounds: int, quick: bool) -> Iterator[Row]:
    for accounts in (20,) if quick else (60, 200, 1000):
        yield from trio.run(_measure, accounts, rounds)


async def _measure(accounts: int, rounds: int) -> list[Row]:
    exchange = Exchange(lambda: time.time_ns() // 1_000_000, seed=7)
    for number in range(accounts):
        exchange.add_member(f"a{number:04}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with serve_venue(exchange, folder) as sandbox:
            text = sandbox.accounts_toml().replace("http://", "https://").replace("ws://", "wss://")
            text = text.replace("demo = true\napi_key", "demo = true\ntrading = true\napi_key")
            text = text.replace(f"= {NO_LIMIT}", f"= {DIALS_PER_SECOND}")
            with _source() as source:
                text += _watched(source)
                settings = f'[history]\ninitial = "0"\n\n[trading]\nenabled = true\nip_rate = {IP_RATE}\n'
                config = write_config(folder, f'{settings}via = "{WAYS[0]}"\n\n{text}')
                with _daemon(config) as process:
                    connections = 2 * accounts + 1 + WATCHED
                    await until(lambda: _is_ready(folder / "okxsync.db", connections), READY_WITHIN_S)
                    bench = _Bench(sandbox, folder, accounts, psutil.Process(process.pid))
                    return [*await bench.measure(rounds), *await bench.measure_mirror(source)]


@contextmanager
def _daemon(config: Path) -> Iterator[Popen[bytes]]:
    with Popen([sys.executable, "-m", "okxsync", "run", "--config", str(config)], stderr=DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def _source() -> Iterator[Popen[bytes]]:
    command = [sys.executable, "-m", "tests.bench.source", str(WATCHED), "paced", str(RATE), str(SECONDS)]
    with Popen(command, stdin=PIPE, stdout=PIPE, bufsize=0) as source:
        try:
            yield source
        finally:
            source.kill()


def _watched(source: Popen[bytes]) -> str:
    """Return the configuration of the accounts that do not trade."""
    assert source.stdout
    origin = f"127.0.0.1:{int(source.stdout.readline())}"
    lines = ["[sites.source]", f'rest = "http://{origin}"', "dials_per_second = 1000"]
    lines += [f'{name} = "ws://{origin}/ws/v5/{name}"' for name in ("public", "private", "business")]
    for number in range(WATCHED):
        keys = f'api_key = "{number}"\nsecret_key = "s"\npassphrase = "p"\nchannels = ["orders"]'
        lines += ["[[accounts]]", f'name = "watched{number}"', 'site = "source"', keys]
    return "\n".join([*lines, ""])


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
        """Measure plans over both ways, with and without an account that hangs, by turns."""
        faults = self._sandbox.faults
        faults.rest_delay_s = LATENCY_S
        faults.requests.append(RequestFault("own", transport="ws", delay_s=LATENCY_S, times=0))
        hanging = RequestFault("own", path="trade/order", account=HANGS, delay_s=HANGS_S, times=0)
        free: dict[str, list[Measured]] = {way: [] for way in WAYS}
        hung: dict[str, list[Measured]] = {way: [] for way in WAYS}
        for _ in range(rounds):
            for way in WAYS:
                await self._go(way)
                free[way].append(await self._execute())
                faults.requests.insert(0, hanging)
                hung[way].append(await self._execute(without=HANGS))
                faults.requests.remove(hanging)
        return [row for way in WAYS for row in self._rows(way, free[way], hung[way])]

    def _rows(self, way: str, free: list[Measured], hung: list[Measured]) -> list[Row]:
        is_small = self._accounts <= 200
        what = f"plan on {self._accounts} accounts, {way}"

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

    async def _go(self, way: str) -> None:
        """Let the daemon send its orders on this way from now on."""
        config = self._folder / "accounts.toml"
        config.write_text(re.sub(r'^via = ".*"$', f'via = "{way}"', config.read_text(), flags=re.MULTILINE))
        await trio.sleep(TAKES_OVER_S)

    async def measure_mirror(self, source: Popen[bytes]) -> list[Row]:
        """Measure how old order frames are when a reader sees them, before and during a plan on each way."""
        assert source.stdin
        assert source.stdout
        await trio.to_thread.run_sync(source.stdout.readline)  # it is ready
        plans = {}
        command = [sys.executable, "-m", "tests.bench.plans", str(self._database), str(SECONDS)]
        ages: list[tuple[int, float]] = []

        async def read() -> None:
            ages.extend(json.loads((await trio.run_process(command, capture_stdout=True)).stdout))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            source.stdin.write(b"go\n")
            await trio.sleep(ALONE_S)
            began_us = time.time_ns() // 1000
            for way in WAYS:
                await self._go(way)
                _, preview = await self._preview()
                plans[way] = await self._send(preview)
                await until(lambda plan_id=preview["plan"]["plan_id"]: self._has_ended(plan_id))  # type: ignore[misc]
        before = [age for sent_us, age in ages if sent_us < began_us]
        rows = []
        for way, (at_us, sent) in plans.items():
            during = [age for sent_us, age in ages if at_us <= sent_us < max(one.at_us for one in sent) + 1_000_000]
            name = f"plan on {self._accounts} accounts, {way}: visible p50 / p99 of {RATE} frames/s meanwhile"
            rows.append(Row(name, f"{_p50_p99(during)} ms", f"before it: {_p50_p99(before)}", reach="1.2"))
        return rows

    async def _preview(self) -> tuple[float, dict[str, Any]]:
        """Return a preview of a plan on all accounts that trade, and the milliseconds that it took."""
        await self._rest()
        file = self._folder / "plan.toml"
        without = ", ".join(f'"watched{number}"' for number in range(WATCHED))
        text = CONTRACTS.format(valid_for="60s", contracts=1)
        file.write_text(text.replace("[accounts]", f"[accounts]\nexclude = [{without}]"))
        began = trio.current_time()
        found: dict[str, Any] = json.loads(await _run(self._folder, "plan", "preview", str(file), "--json"))
        ready = sum(one["state"] == "ready" for one in found["orders"])
        print(f"{ready} of {self._accounts} ready", file=sys.stderr)
        return (trio.current_time() - began) * 1000, found

    async def _send(self, preview: dict[str, Any]) -> tuple[int, list[LoggedRequest]]:
        """Execute a plan; return when it was requested, in microseconds, and its orders' requests when all are sent."""
        requests = self._sandbox.requests
        requests.clear()
        ready = sum(one["state"] == "ready" for one in preview["orders"])
        plan_id = preview["plan"]["plan_id"]
        await _run(self._folder, "plan", "execute", plan_id, "--confirm", preview["confirm"], "--no-wait")
        await until(lambda: len(requests.of(path="trade/order")) >= ready or self._has_ended(plan_id))
        at_us = rows_of(self._database, "SELECT max(at) AS at FROM requests WHERE kind = 'execute'")[0]["at"]
        return at_us, requests.of(path="trade/order")

    async def _execute(self, without: str = "") -> Measured:
        """Preview and execute a plan; leave out an account in the times of sends."""
        preview_ms, preview = await self._preview()
        before = self._cpu_s()
        at_us, requests = await self._send(preview)
        used = [(after - earlier) * 1000 / len(requests) for after, earlier in zip(self._cpu_s(), before, strict=True)]
        sent = sorted(one.at_us for one in requests if one.account != without)
        await until(lambda: self._has_ended(preview["plan"]["plan_id"]))
        return Measured(preview_ms, (sent[0] - at_us) / 1000, (sent[-1] - sent[0]) / 1000, *used)

    def _has_ended(self, plan_id: str) -> bool:
        """On a busy machine a plan may end with orders that were withheld, for a price that was too old."""
        ended = f"SELECT 1 FROM plans WHERE plan_id = '{plan_id}' AND ended_at IS NOT NULL"
        return bool(rows_of(self._database, ended))

    async def _rest(self) -> None:
        """Wait until the daemon has done what it does at its start or after a plan."""
        with trio.move_on_after(RESTS_WITHIN_S):
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


def _p50_p99(ages: list[float]) -> str:
    if len(ages) < 2:
        return "none seen"  # the machine was so busy that the source had ended before the plan began
    parts = statistics.quantiles(ages, n=100)
    return f"{parts[49]:.0f} / {parts[98]:.0f}"


def _watch(database: str, seconds: float) -> list[tuple[int, float]]:
    """Return when each new order of the source was sent, in microseconds, and its age in milliseconds when visible."""
    found: list[tuple[int, float]] = []
    ends = time.monotonic() + seconds
    with contextlib.closing(pysqlite3.connect(f"file:{database}?mode=ro", uri=True, isolation_level=None)) as db:
        rowid = db.execute("SELECT max(rowid) FROM orders").fetchone()[0] or 0
        query = "SELECT rowid, account, cl_ord_id FROM orders WHERE rowid > ? ORDER BY rowid"
        while (polled := time.monotonic()) < ends:
            rows = db.execute(query, [rowid]).fetchall()
            seen_us = time.time_ns() // 1000
            for _, account, cl_ord_id in rows:
                if account.startswith("watched"):
                    sent_us = int(cl_ord_id[1:])
                    found.append((sent_us, (seen_us - sent_us) / 1000))
            rowid = rows[-1][0] if rows else rowid
            time.sleep(max(0.0, polled + POLL_S - time.monotonic()))
    return found


if __name__ == "__main__":
    print(json.dumps(_watch(sys.argv[1], float(sys.argv[2]))))
