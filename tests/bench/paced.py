"""What a steady stream costs, and how old a row is when a reader first sees it.

CPU is that of the client's whole process tree, from the first frame to the last, with whatever it does beside them.
Age is taken of the new orders (60 of 100 frames): the client order id says when the source sent each. The reader asks
every 2 ms for rows past the last one it saw.
"""

import contextlib
import statistics
import time
from collections.abc import Iterator

from tests.bench.measure import LIMIT_S, NAMES, Client, Row, Run, compare, in_batches, okxsync, one_by_one, running
from tests.bench.orders import SENTINEL

CLIENTS = (okxsync, in_batches, one_by_one)
CONNECTIONS = 100
POLL_S = 0.002
LATE_S = 0.05
"""A source that is later than this did not keep its rate, and the table shows it."""


def rows(rounds: int, quick: bool) -> Iterator[Row]:
    seconds = 4 if quick else 12
    for rate in (500, 2000):
        cpu: dict[str, list[float]] = {NAMES[client]: [] for client in CLIENTS}
        middle: dict[str, list[float]] = {NAMES[client]: [] for client in CLIENTS}
        high: dict[str, list[float]] = {NAMES[client]: [] for client in CLIENTS}
        latest = 0.0
        for _ in range(rounds):
            for client in CLIENTS:
                cpu_us, ages, late = measure(client, rate, seconds)
                latest = max(latest, late)
                parts = statistics.quantiles(ages, n=100)
                cpu[NAMES[client]].append(cpu_us)
                middle[NAMES[client]].append(parts[49])
                high[NAMES[client]].append(parts[98])
        name = f"paced {rate}/s, {CONNECTIONS} connections"
        if latest > LATE_S:
            name += f" (source up to {latest * 1000:.0f} ms late)"
        batches = NAMES[in_batches]
        yield from compare(f"{name}: CPU", "us/frame", cpu, {batches: "1.0 (0.7)"})
        yield from compare(f"{name}: visible p50", "ms", middle, {}, 1)
        yield from compare(f"{name}: visible p99", "ms", high, {batches: "50 (10) ms"} if rate == 2000 else {}, 1)


def measure(client: Client, rate: int, seconds: int) -> tuple[float, list[float], float]:
    """Return CPU per frame (us), ages of rows (ms), and how late the source was at most (s)."""
    with running(client, CONNECTIONS, "paced", rate, seconds) as run:
        run.wait_ready()
        before = run.cpu_s()
        run.go()
        ages = list(watch(run))
        used = run.cpu_s() - before
        report = run.sent()
    return used / (rate * seconds) * 1e6, ages, report["latest_s"]


def watch(run: Run) -> Iterator[float]:
    """Yield each new order's age in milliseconds when it is seen, until the last of every account is."""
    rowid, ended, given_up = 0, 0, time.monotonic() + LIMIT_S
    with contextlib.closing(run.reader()) as db:
        query = "SELECT rowid, cl_ord_id, ord_id >= ? FROM orders WHERE rowid > ? ORDER BY rowid"
        while ended < CONNECTIONS:
            polled = time.monotonic()
            found = db.execute(query, (str(SENTINEL), rowid)).fetchall()
            seen_ms = time.time() * 1000
            for _, sent_us, is_last in found:
                ended += is_last
                if not is_last:  # these came all at once
                    yield seen_ms - int(sent_us[1:]) / 1000
            rowid = found[-1][0] if found else rowid
            run.check(given_up)
            time.sleep(max(0.0, polled + POLL_S - time.monotonic()))
