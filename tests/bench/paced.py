"""What a steady stream costs, and how old a row is when a reader first sees it: CPU per frame, p50 / p99 of the age.

CPU is that of the client's whole process tree, from the first frame to the last, with whatever it does beside them.
Age is taken of the new orders (60 of 100 frames): the client order id says when the source sent each. The reader asks
every 2 ms for rows past the last one it saw.
"""

import contextlib
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.bench.measure import LIMIT_S, NAMES, Client, Row, Run, in_batches, lean, okxsync, one_by_one, running, spread
from tests.bench.orders import SENTINEL

CLIENTS = (okxsync, lean, in_batches, one_by_one)
CONNECTIONS = 100
POLL_S = 0.002
LATE_S = 0.05
"""A source that is later than this did not keep its rate, and the table shows it."""
REACH = {500: "0.9 (0.7), 5 / 10 ms", 2000: "0.9 (0.7), 5 / 12 ms"}


@dataclass(frozen=True)
class Measured:
    """One run of one client: both figures are of the same frames."""

    cpu_us: float
    p50_ms: float
    p99_ms: float
    source_late_s: float


def rows(rounds: int, quick: bool) -> Iterator[Row]:
    seconds = 4 if quick else 12
    for rate, reach in REACH.items():
        found: dict[Client, list[Measured]] = {client: [] for client in CLIENTS}
        for _ in range(rounds):
            for client in CLIENTS:
                found[client].append(measure(client, rate, seconds))
        name = f"paced {rate}/s, {CONNECTIONS} connections"
        latest_s = max(one.source_late_s for measured in found.values() for one in measured)
        if latest_s > LATE_S:
            name += f" (source up to {latest_s * 1000:.0f} ms late)"
        for own, client in ((okxsync, in_batches), (okxsync, one_by_one), (lean, in_batches)):
            ours, theirs = found[own], found[client]
            ratio = statistics.median(one.cpu_us for one in ours) / statistics.median(one.cpu_us for one in theirs)
            yield Row(
                name + ", lean" * (own is lean),
                _together(ours),
                f"{NAMES[client]}: {_together(theirs)}",
                f"{ratio:.2f}",
                f"{spread([one.cpu_us for one in ours])}; {spread([one.cpu_us for one in theirs])}",
                reach if own is okxsync and client is in_batches else "",
            )


def _together(measured: Sequence[Measured]) -> str:
    cpu, middle, high = (
        statistics.median(getattr(one, name) for one in measured) for name in ("cpu_us", "p50_ms", "p99_ms")
    )
    return f"{cpu:.0f} us, {middle:.1f} / {high:.1f} ms"


def measure(client: Client, rate: int, seconds: int) -> Measured:
    with running(client, CONNECTIONS, "paced", rate, seconds) as run:
        run.wait_ready()
        before = run.cpu_s()
        run.go()
        ages = list(watch(run))
        used = run.cpu_s() - before
        report = run.sent()
    parts = statistics.quantiles(ages, n=100)
    return Measured(used / (rate * seconds) * 1e6, parts[49], parts[98], report["latest_s"])


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
