"""What an operator waits for, on a log of two million frames of 500 accounts.

    uv run python -m tests.bench.hands

Prints how long ``status`` and the first line of ``log --account --since`` take as commands, then prunes half beside a
writer that commits ten frames every 20 ms, and prints the longest that a commit of it had to wait. Then the same log
under ``okxsync run`` at 500 messages a second over 100 connections: what a message costs and how old it is when a
reader sees it, alone and beside such a prune.
"""

import argparse
import contextlib
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import msgspec

from okxsync.messages import Frames
from okxsync.store.engines import open_database
from okxsync.store.raw_log import open_codec
from okxsync.store.writer import Writer
from tests.bench.measure import DATABASE, okxsync, running
from tests.bench.orders import Orders
from tests.bench.paced import CONNECTIONS, watch

ACCOUNTS = 500
BATCH = 10
EVERY_S = 0.02
RATE = 500
SECONDS = 15


def fill(path: Path, count: int) -> None:
    """Write ``count`` frames, a hundred a second until now, and as much of the register as status reads."""
    database = open_database(path)
    now_us = time.time_ns() // 1000
    orders = Orders(0)
    texts = [orders.next(now_us) for _ in range(1000)]
    codec = open_codec(database)
    bodies = [codec.compress(text) for text in texts]
    database.execute("BEGIN")
    for number in range(ACCOUNTS):
        name = f"account-{number:03}"
        database.execute("INSERT INTO accounts (name, site, demo, first_seen_at) VALUES (?, 'bench', 0, 0)", [name])
        for channel in ("account", "orders", "positions"):
            database.execute(
                "INSERT INTO coverage (account, channel, covered_since, covered_until, live, connection_id,"
                " last_push_at) VALUES (?, ?, 0, ?, 1, ?, ?)",
                [name, channel, now_us, number, now_us],
            )
    rows = (
        (now_us - (count - number) * 10_000, number % ACCOUNTS, f"account-{number % ACCOUNTS:03}", "orders", "push",
         len(texts[number % 1000]), bodies[number % 1000])
        for number in range(count)
    )  # fmt: skip
    database.executemany(
        "INSERT INTO messages (received_at, connection_id, account, channel, kind, size, body)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)", rows,
    )  # fmt: skip
    database.execute("INSERT INTO counters SELECT 'messages', count(*) FROM messages")
    database.execute("INSERT INTO counters SELECT 'bytes', sum(length(body)) FROM messages")
    database.execute("INSERT INTO counters SELECT 'bytes_received', sum(size) FROM messages")
    database.execute("COMMIT")
    database.close()


def first_line_s(*arguments: str) -> float:
    began = time.perf_counter()
    with subprocess.Popen([sys.executable, "-m", "okxsync", *arguments], stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline()
        took_s = time.perf_counter() - began
        process.stdout.close()
    return took_s


def commits(path: Path, stop: threading.Event) -> list[float]:
    """Write until `stop` is set; return how long each commit took, in seconds."""
    database = open_database(path)
    writer, orders, took = Writer(database), Orders(1), list[float]()
    while not stop.wait(EVERY_S):
        now_us = time.time_ns() // 1000
        frames = [(now_us, orders.next(now_us).decode()) for _ in range(BATCH)]
        began = time.perf_counter()
        writer.apply([Frames(1, "account-001", frames)])
        took.append(time.perf_counter() - began)
    database.close()
    return took


def report(label: str, took: list[float]) -> None:
    took.sort()
    middle, high, most = (took[int(len(took) * share)] * 1000 for share in (0.5, 0.99, 0.99999))
    print(f"{label}: {len(took)} commits, median {middle:.1f} ms, 99 % {high:.1f} ms, longest {most:.1f} ms")


def beside_daemon(count: int) -> None:
    """Print what 500 messages a second cost a daemon on a log of ``count`` frames, alone and beside a prune."""

    def on_a_long_log(origin: str, connections: int, folder: Path) -> list[str]:
        fill(folder / DATABASE, count)
        return okxsync(origin, connections, folder)

    for label in ("alone", "beside prune"):
        with running(on_a_long_log, CONNECTIONS, "paced", RATE, SECONDS) as run:
            run.wait_ready()
            half = str(msgspec.json.decode(status(run.database))["log"]["bytes"] // 2 + count * 24) + "B"
            command = [sys.executable, "-m", "okxsync", "prune", "--db", str(run.database), "--max-size", half]
            used_s = run.cpu_s()
            run.go()
            with contextlib.ExitStack() as stack:
                if label != "alone":
                    stack.enter_context(subprocess.Popen(command, stdout=subprocess.DEVNULL))
                ages = sorted(watch(run))
                used_s = run.cpu_s() - used_s
            middle, high = (ages[int(len(ages) * share)] for share in (0.5, 0.99))
            cost_us = used_s / (RATE * SECONDS) * 1e6
            print(f"daemon, {label}: {len(ages)} orders seen, age {middle:.1f} ms, 99 % {high:.1f} ms, "
                  f"{cost_us:.0f} us of processor per message")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=2_000_000)
    count = parser.parse_args().frames
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "okxsync.db"
        fill(path, count)
        db = ["--db", str(path)]
        print(f"{count} frames, {ACCOUNTS} accounts, {path.stat().st_size / 1e6:.0f} MB")
        print(f"status         {min(first_line_s('status', *db) for _ in range(3)):.2f} s")
        wanted = ["--account", "account-123", "--since", "1h"]
        print(f"log, 1st line  {min(first_line_s('log', *db, *wanted) for _ in range(3)):.2f} s")
        took: dict[str, list[float]] = {}
        for label in ("alone", "beside prune"):
            stop = threading.Event()
            thread = threading.Thread(target=lambda label=label, stop=stop: took.update({label: commits(path, stop)}))
            thread.start()
            began = time.perf_counter()
            if label == "alone":
                time.sleep(5)
            else:
                half = str(msgspec.json.decode(status(path))["log"]["bytes"] // 2 + count * 24) + "B"
                command = [sys.executable, "-m", "okxsync", "prune", *db, "--max-size", half]
                print(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip())
                print(f"prune          {time.perf_counter() - began:.1f} s")
            stop.set()
            thread.join()
            report(label, took[label])
    beside_daemon(count)


def status(path: Path) -> bytes:
    return subprocess.run(
        [sys.executable, "-m", "okxsync", "status", "--json", "--db", str(path)], capture_output=True, check=False
    ).stdout


if __name__ == "__main__":
    main()
