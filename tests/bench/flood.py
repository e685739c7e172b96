"""Frames a second, from the first sent to the last that a reader sees, over 1 and over 20 connections."""

from collections.abc import Iterator

from tests.bench.measure import NAMES, Row, ccxt, compare, in_batches, okxsync, one_by_one, running

CLIENTS = (okxsync, in_batches, one_by_one, ccxt)
REACH = {NAMES[in_batches]: "1.0 (1.3)", NAMES[ccxt]: "2.2 (3)"}


def rows(rounds: int, quick: bool) -> Iterator[Row]:
    frames = 5_000 if quick else 20_000
    for connections in (1, 20):
        rates: dict[str, list[float]] = {NAMES[client]: [] for client in CLIENTS}
        for _ in range(rounds):
            for client in CLIENTS:
                with running(client, connections, "flood", frames) as run:
                    run.wait_ready()
                    began = run.go()
                    rates[NAMES[client]].append(frames / (run.wait_visible(connections) - began))
        plural = "connection" if connections == 1 else "connections"
        yield from compare(f"flood, {connections} {plural}", "frames/s", rates, REACH)
