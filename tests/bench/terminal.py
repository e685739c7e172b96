"""The terminal beside a writer at work: what it costs, and how old a row is when a page has painted it.

500 accounts, 5,000 open orders, 2,000 positions, 500 fills a second, all positions every five seconds, and 300,000
older fills. The writer, the terminal and the browser are processes of their own, on the same processors.

- *rows on screen*: from the navigation to the frame that has rows, in a browser that has the files.
- *committed to painted*: from the commit of a row to the acknowledgement that a page sends after it has painted it, so
  the reader's pause and the paint are in it; *received* has the commit too, and *read* begins when the row was read.
- *writer*: CPU per frame with and without a terminal, taking turns.
- *heap*: after a collection, when a page has taken a tenth of the messages, of 20 rows each, and when it has taken all.

    python -m tests.bench.terminal DATABASE       # the writer
"""

import itertools
import json
import os
import re
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any, Final

import psutil
from playwright.sync_api import Browser, CDPSession, Page, expect, sync_playwright

from okxsync.messages import (
    ConfiguredAccount,
    Frames,
    Heartbeat,
    Message,
    Phase,
    Pong,
    Rows,
    Run,
    Subscribed,
    Verified,
    WantedChannels,
)
from okxsync.store.engines import open_database
from okxsync.store.writer import Writer
from tests.bench.measure import DATABASE, Row
from tests.bench.orders import INSTRUMENTS, UID, Orders
from tests.support.terminal_page import ScriptedServer, eventually
from tests.terminal.conftest import find_browser

ACCOUNTS: Final = 500
ORDERS: Final = 10
POSITIONS: Final = ("BTC", "ETH", "SOL", "XRP")
FILLS: Final = 500
"""A second."""
OLD_FILLS: Final = 300_000
COMMITS: Final = "commits"
EVERY_S: Final = 5.0
"""Between two frames of positions of an account, and between two pongs."""
BATCH_S: Final = 0.01
CHANNELS: Final = ["account", "orders", "orders-algo", "positions"]
VIEWS: Final = {"orders": "orders", "positions": "positions", "fills": "fills"}
"""View -> the topic whose rows tell when they were received."""
HEAP_ROWS: Final = 20
WATCH: Final = """
    globalThis.bench = {bytes: 0, messages: 0, painted: [], read: [], waiting: []};
    const RECEIVED = {};
    const now = () => (performance.timeOrigin + performance.now()) * 1000;
    const taken = (text) => {
        bench.bytes += text.length;
        bench.messages += 1;
        for (const part of JSON.parse(text)) {
            if (part.cols) RECEIVED[part.t] = part.cols.indexOf("received_at");
            else if (part.put && part.t === globalThis.followed)
                bench.waiting.push([part.n, part.put.map((row) => row[RECEIVED[part.t]]), part.at]);
        }
    };
    const acknowledged = (numbers) => {
        const at = now(), upTo = numbers[globalThis.followed];
        while (bench.waiting.length && bench.waiting[0][0] <= upTo) {
            const [, received, read] = bench.waiting.shift();
            for (const us of received) {
                bench.painted.push([us, at]);
                bench.read.push((at - read) / 1000);
            }
        }
    };
    const Plain = WebSocket;
    globalThis.WebSocket = class extends Plain {
        constructor(...given) {
            super(...given);
            this.addEventListener("message", ({data}) => taken(data));
        }
        send(text) {
            super.send(text);
            const {ack} = JSON.parse(text);
            if (ack) acknowledged(ack);
        }
    };
    const seen = (name, selector) => {
        const look = () => {
            if (document.querySelector(selector)) requestAnimationFrame(() => (bench[name] = performance.now()));
            else requestAnimationFrame(look);
        };
        look();
    };
    seen("frame", "#head nav a");
    seen("rows", ".view:not([hidden]) .tbody .row");
"""
"""Run in the page before its own scripts: counts what it receives, and when it has painted what it acknowledges."""


# The writer.


def write(path: Path) -> None:
    """Write without an end. Print once a second how many frames were written, and the CPU time.

    When each batch was committed, by the time at which it was received, is written to ``COMMITS`` beside the database.
    """
    database = open_database(path)
    writer = Writer(database)
    run = Run(1, _now(), "bench", socket.gethostname(), os.getpid())
    accounts = [Orders(number) for number in range(ACCOUNTS)]
    writer.apply(list(_beginning(run, accounts)))
    writer.flush()
    _add_old_fills(database)
    print("ready", flush=True)
    begun_s = beat_s = time.monotonic()
    filled = pushed = 0
    commits = (path.parent / COMMITS).open("w", buffering=1)
    while True:
        time.sleep(max(0.0, begun_s + filled / FILLS - time.monotonic()))
        passed_s = time.monotonic() - begun_s
        now = _now()
        batch: list[Message] = []
        while filled < (passed_s + BATCH_S) * FILLS:
            filled += 1
            number = filled * 7 % ACCOUNTS
            batch.append(_frame(number, now, accounts[number].fill(now).decode()))
        while pushed < passed_s * ACCOUNTS / EVERY_S:
            pushed += 1
            number = pushed % ACCOUNTS
            batch += [_frame(number, now, _positions(number, now)), Pong(number + 1, _name(number), now, 1000)]
        if time.monotonic() - beat_s >= 1:
            beat_s += 1
            batch.append(Heartbeat(run, now, 0))
            print(json.dumps({"frames": filled + pushed, "cpu_s": time.process_time()}), flush=True)
        writer.apply(batch)
        print(now, _now(), file=commits)


def _beginning(run: Run, accounts: list[Orders]) -> Iterator[Message]:
    now = _now()
    yield Heartbeat(run, now, 0)
    yield Rows("market", "instruments", json.dumps([_instrument(base) for base in INSTRUMENTS]), now, now // 1000)
    yield WantedChannels([(_name(number), channel) for number in range(ACCOUNTS) for channel in CHANNELS])
    for number, orders in enumerate(accounts):
        name = _name(number)
        yield ConfiguredAccount(name, "bench", False, now, json.dumps({"uid": str(UID + number), "acctLv": "3"}))
        about = ("private", "ws://127.0.0.1", "bench", False, True, "live", now, 0, None, None, None)
        yield Phase(number + 1, name, name, *about)
        yield Subscribed(number + 1, name, CHANNELS, now)
        yield _frame(number, now, _account(number, now))
        yield _frame(number, now, _positions(number, now))
        for _ in range(ORDERS):
            yield _frame(number, now, orders.open(now).decode())
        for channel in CHANNELS:
            yield Verified(name, channel, now)


def _add_old_fills(database: Any) -> None:
    """Add fills of the hours before, as they come: in the order of their times, the accounts in turn."""
    now_ms = _now() // 1000
    rows = (
        (
            f"a{number % ACCOUNTS}",
            "BTC-USDT-SWAP",
            "SWAP",
            str(number),
            str(10**9 + number),
            now_ms - 60_000 - number * 40,
        )
        for number in range(OLD_FILLS)
    )
    database.execute("BEGIN")
    database.executemany(
        "INSERT INTO fills (account, inst_id, inst_type, ord_id, trade_id, fill_time, ts, fill_px, fill_sz, side,"
        " source, received_at, revision, trade_id_made) SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?6, '100.5', '1', 'buy', 'ws',"
        " ?6 * 1000, 1, 0",
        rows,
    )
    database.execute("COMMIT")


def _name(number: int) -> str:
    return f"a{number}"


def _now() -> int:
    return time.time_ns() // 1000


def _frame(number: int, at: int, text: str) -> Frames:
    return Frames(number + 1, _name(number), [(at, text)])


def _positions(number: int, now: int) -> str:
    arg = {"channel": "positions", "instType": "ANY", "uid": str(UID + number)}
    data = [
        {
            "instId": f"{base}-USDT-SWAP", "instType": "SWAP", "posId": f"{number}{index}", "mgnMode": "cross",
            "posSide": "net", "pos": str((number % 40 - 20) or 1), "avgPx": f"{INSTRUMENTS[base]:.5g}", "ccy": "USDT",
            "markPx": f"{INSTRUMENTS[base] * (1 + now // 1000 % 97 / 1e5):.8g}", "upl": f"{now // 1000 % 1009 / 7:.6f}",
            "lever": "5", "liqPx": f"{INSTRUMENTS[base] * 0.8:.6g}", "notionalUsd": f"{1000 + now % 9973}.5",
            "imr": "10.5", "mmr": "5.25", "mgnRatio": "12.5", "adl": "1", "cTime": "1790000000000",
            "uTime": str(now // 1000),
        }
        for index, base in enumerate(POSITIONS)
    ]  # fmt: skip
    return json.dumps({"arg": arg, "data": data})


def _account(number: int, now: int) -> str:
    arg = {"channel": "account", "uid": str(UID + number)}
    one = {"ccy": "USDT", "eq": "1000.5", "upl": "1.5", "uTime": str(now // 1000), "mgnRatio": ""}
    data = [
        {"uTime": str(now // 1000), "totalEq": f"{1000 + number}.5", "upl": "2.5", "mgnRatio": "11", "details": [one]}
    ]
    return json.dumps({"arg": arg, "data": data})


def _instrument(base: str) -> dict[str, str]:
    return {
        "instType": "SWAP", "instId": f"{base}-USDT-SWAP", "ctVal": "0.01", "ctMult": "1", "ctValCcy": base,
        "ctType": "linear", "settleCcy": "USDT", "tickSz": "0.1", "lotSz": "0.01", "minSz": "0.01", "state": "live",
    }  # fmt: skip


# The measurements.


class Paced:
    """A writer in a process of its own."""

    def __init__(self, path: Path) -> None:
        command = [sys.executable, "-m", "tests.bench.terminal", str(path)]
        self.process = Popen(command, stdout=PIPE, text=True)
        assert self.process.stdout
        self._lines = self.process.stdout
        assert self._lines.readline() == "ready\n"

    def cost_us(self, seconds: int) -> float:
        """Return the CPU time of a frame over so many seconds."""
        found: list[dict[str, float]] = [self._skip(), *(json.loads(self._lines.readline()) for _ in range(seconds))]
        return (found[-1]["cpu_s"] - found[0]["cpu_s"]) / (found[-1]["frames"] - found[0]["frames"]) * 1e6

    def _skip(self) -> dict[str, float]:
        """Return the next line that is not old."""
        while True:
            begun_s = time.monotonic()
            line: dict[str, float] = json.loads(self._lines.readline())
            if time.monotonic() - begun_s > 0.1:
                return line


@contextmanager
def terminal(path: Path) -> Iterator[tuple[psutil.Process, str]]:
    """Run the terminal; yields its process and the address to open."""
    command = [sys.executable, "-u", "-m", "okxsync", "terminal", "--db", str(path), "--port", "0"]
    with Popen(command, stdout=PIPE, text=True) as process:
        try:
            assert process.stdout
            found = re.search(r"http\S+", process.stdout.readline())
            assert found
            yield psutil.Process(process.pid), found[0]
        finally:
            process.terminate()


def cpu_s(process: psutil.Process) -> float:
    return float(sum(process.cpu_times()[:2]))


def rows(rounds: int, quick: bool) -> Iterator[Row]:
    seconds = 5 if quick else 12
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        path = Path(folder) / DATABASE
        writer = Paced(path)
        try:
            yield from _costs(writer, path, rounds, seconds)
            with terminal(path) as (process, url), _browser() as browser:
                yield from _pages(process, url, browser, seconds, path.parent / COMMITS)
        finally:
            writer.process.kill()
    with _browser() as browser:
        yield _heap(browser, 1_000 if quick else 10_000)


def _costs(writer: Paced, path: Path, rounds: int, seconds: int) -> Iterator[Row]:
    alone: list[float] = []
    beside: list[float] = []
    shares: list[float] = []
    for _ in range(rounds):
        alone.append(writer.cost_us(seconds))
        with terminal(path) as (process, _):
            time.sleep(2)  # it has read all
            used_s, begun_s = cpu_s(process), time.monotonic()
            beside.append(writer.cost_us(seconds))
            shares.append((cpu_s(process) - used_s) / (time.monotonic() - begun_s) * 100)
    yield Row("terminal: server without a browser", f"{statistics.median(shares):.1f} % of a core", reach="15 %")
    ours, theirs = statistics.median(beside), statistics.median(alone)
    yield Row(
        "terminal: a frame in the writer beside it", f"{ours:.0f} us", f"alone: {theirs:.0f}", f"{ours / theirs:.3f}",
        f"{min(beside):.0f}-{max(beside):.0f}; {min(alone):.0f}-{max(alone):.0f}", "1.05",
    )  # fmt: skip


@contextmanager
def _browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(), args=["--no-sandbox"])
        yield browser
        browser.close()


def _pages(process: psutil.Process, url: str, browser: Browser, seconds: int, commits: Path) -> Iterator[Row]:
    context = browser.new_context(viewport={"width": 1920, "height": 1080})
    context.add_init_script(WATCH)
    page = context.new_page()
    devtools = context.new_cdp_session(page)
    devtools.send("Performance.enable")
    page.goto(url)
    _wait_for_rows(page)
    page.evaluate("() => { location.hash = '#orders'; }")
    frames: list[float] = []
    shown: list[float] = []
    for _ in range(3):
        page.reload()
        _wait_for_rows(page)
        page.wait_for_timeout(500)
        found = page.evaluate("() => [bench.frame, bench.rows]")
        frames.append(found[0])
        shown.append(found[1])
    yield Row("terminal: frame, rows of 5,000 orders", f"{max(frames):.0f}, {max(shown):.0f} ms", reach="300, 1000 ms")
    for view, topic in VIEWS.items():
        page.evaluate("([view, topic]) => { globalThis.followed = topic; location.hash = `#${view}`; }", [view, topic])
        _wait_for_rows(page)
        page.wait_for_timeout(2000)
        page.evaluate("() => { bench.painted = []; bench.read = []; bench.bytes = 0; }")
        server_s, busy_s, begun_s = cpu_s(process), _busy_s(devtools), time.monotonic()
        page.wait_for_timeout(seconds * 1000)
        passed_s = time.monotonic() - begun_s
        busy, server = (_busy_s(devtools) - busy_s) / passed_s, (cpu_s(process) - server_s) / passed_s
        painted, read, size = page.evaluate("() => [bench.painted, bench.read, bench.bytes]")
        committed = _commits(commits)
        ages = [(at - committed[us]) / 1000 for us, at in painted if us in committed]
        yield Row(
            f"terminal: {view}, committed to painted",
            f"{_middle_and_high(ages)} ms",
            f"received: {_middle_and_high([(at - us) / 1000 for us, at in painted])}; read: {_middle_and_high(read)};"
            f" {len(ages)} rows",
            reach="60 / 100 ms",
        )
        limits = {"orders": 15, "positions": 15, "fills": 20}
        yield Row(f"terminal: {view}, main thread", f"{busy * 100:.1f} % of a core", reach=f"{limits[view]} %")
        yield Row(f"terminal: {view}, server", f"{server * 100:.1f} % of a core")
        yield Row(f"terminal: {view}, bytes", f"{size / passed_s / 1000:.0f} KB/s", reach="250 KB/s")
    yield Row("terminal: memory of the server", f"{process.memory_info().rss / 1e6:.0f} MB", reach="120 MB")


def _wait_for_rows(page: Page) -> None:
    expect(page.locator(".view:not([hidden]) .tbody .row:visible").first).to_be_visible()


def _busy_s(devtools: CDPSession) -> float:
    """Return how long the page's main thread has worked."""
    metrics = devtools.send("Performance.getMetrics")["metrics"]
    return float(next(one["value"] for one in metrics if one["name"] == "TaskDuration"))


def _commits(path: Path) -> dict[int, int]:
    """Return when each batch was committed, by the time at which it was received."""
    whole = path.read_text().rpartition("\n")[0]
    return {int(received): int(at) for received, at in map(str.split, whole.splitlines())}


def _middle_and_high(values: list[float]) -> str:
    ordered = sorted(values) or [float("nan")]
    return f"{ordered[len(ordered) // 2]:.0f} / {ordered[int(len(ordered) * 0.99)]:.0f}"


def _heap(browser: Browser, messages: int) -> Row:
    """Let a page take messages of 20 rows each; return its heap after a tenth of them, and after all."""
    context = browser.new_context(viewport={"width": 1920, "height": 1080})
    server = ScriptedServer(context)
    made = [_open_order(number) for number in range(5_000)]
    server.put("orders", *made)
    server.cover("a0")
    page = server.open("#orders")
    _wait_for_rows(page)
    devtools = context.new_cdp_session(page)
    sizes: list[float] = []
    for number in itertools.count(1):
        begin = number * HEAP_ROWS % len(made)
        server.put("orders", *({**row, "filled": str(number)} for row in made[begin : begin + HEAP_ROWS]))
        if number % 50 == 0:
            last = server.numbers["orders"]
            eventually(page, lambda: server.sent[-1].get("ack", {}).get("orders"), last)
            del server.sent[:-1]
        if number in (messages // 10, messages):
            devtools.send("HeapProfiler.collectGarbage")
            sizes.append(devtools.send("Runtime.getHeapUsage")["usedSize"] / 1e6)
        if number == messages:
            break
    server.close()
    context.close()
    return Row(
        f"terminal: heap after {messages} messages", f"{sizes[1]:.2f} MB", f"after {messages // 10}: {sizes[0]:.2f}",
        f"{sizes[1] / sizes[0]:.2f}", reach="flat",
    )  # fmt: skip


def _open_order(number: int) -> dict[str, Any]:
    return {
        "account": "a0", "kind": "order", "id": str(number), "inst_id": "BTC-USDT-SWAP", "inst_type": "SWAP",
        "side": "buy", "ord_type": "limit", "state": "live", "px": "100.5", "sz": "5", "filled": "0", "c_time": number,
    }  # fmt: skip


if __name__ == "__main__":
    write(Path(sys.argv[1]))
