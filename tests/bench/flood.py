"""Frames a second until the last row can be read: ``okxsync run`` beside ccxt.pro ``watch_orders`` into SQLite.

    uv run --group bench python -m tests.bench.flood

Both get the same 1.2 KB order frames from the same source, over 1 and over 20 connections, taking turns. okxsync
also keeps every raw frame, every fill and 60 more columns; the baseline keeps six columns and the last JSON.
"""

import argparse
import contextlib
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pysqlite3

from tests.bench.source import SENTINEL, frame

Client = Callable[[int, int, Path], list[str]]


def okxsync(port: int, connections: int, folder: Path) -> list[str]:
    lines = [
        'database = "okxsync.db"',
        "[sites.bench]",
        f'rest = "http://127.0.0.1:{port}"',
        *(f'{name} = "ws://127.0.0.1:{port}/ws/v5/{name}"' for name in ("public", "private", "business")),
    ]
    for number in range(connections):
        keys = f'api_key = "{number}"\nsecret_key = "s"\npassphrase = "p"\nchannels = ["orders"]'
        lines += ["[[accounts]]", f'name = "a{number}"', 'site = "bench"', keys]
    config = folder / "accounts.toml"
    config.touch(mode=0o600)
    config.write_text("\n".join(lines) + "\n")
    return [sys.executable, "-m", "okxsync", "run", "--config", str(config)]


def ccxt(port: int, connections: int, folder: Path) -> list[str]:
    return [sys.executable, "-m", "tests.bench.with_ccxt", str(port), str(connections), str(folder / "okxsync.db")]


def measure(client: Client, connections: int, count: int) -> float:
    """Return frames a second from the first one sent to the last one that a reader sees."""
    column = "ord_id" if client is okxsync else "id"
    last = [str(SENTINEL + number) for number in range(connections)]
    query = f"SELECT count(*) FROM orders WHERE {column} IN ({', '.join('?' * connections)})"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = [sys.executable, "-m", "tests.bench.source", str(connections), str(count)]
        with running(source, stdout=subprocess.PIPE) as server:
            assert server.stdout
            port = int(server.stdout.readline())
            with running(client(port, connections, folder), stderr=subprocess.DEVNULL):
                began = float(server.stdout.readline())
                library = pysqlite3 if client is okxsync else sqlite3
                reader = library.connect(f"file:{folder / 'okxsync.db'}?mode=ro", uri=True)
                while True:
                    with contextlib.suppress(sqlite3.OperationalError, pysqlite3.OperationalError):
                        if reader.execute(query, last).fetchone()[0] == connections:
                            break
                    time.sleep(0.02)
                seconds = time.time() - began
                reader.close()
    return count / seconds


@contextlib.contextmanager
def running(command: list[str], **pipes: int) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(command, **pipes) as process:  # type: ignore[call-overload]
        try:
            yield process
        finally:
            process.kill()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    size = len(frame(2 * 10**18, "partially_filled", 1, 1, 1746947317402))
    print(f"{chosen.frames} order frames of {size} bytes, {chosen.rounds} rounds, median (lowest - highest)")
    for connections in (1, 20):
        rates: dict[Client, list[float]] = {okxsync: [], ccxt: []}
        for _ in range(chosen.rounds):
            for client, measured in rates.items():
                measured.append(measure(client, connections, chosen.frames))
        for client, measured in rates.items():
            middle, low, high = statistics.median(measured), min(measured), max(measured)
            print(f"{connections:3} connections  {client.__name__:8} {middle:8.0f} frames/s ({low:.0f} - {high:.0f})")
        ratio = statistics.median(rates[okxsync]) / statistics.median(rates[ccxt])
        print(f"{connections:3} connections  ratio    {ratio:8.2f}")


if __name__ == "__main__":
    main()
