"""What 500 connections on which nothing happens but pings cost: the share of one core, over half a minute."""

import time
from collections.abc import Iterator

from tests.bench.measure import NAMES, Client, Row, compare, in_batches, okxsync, running

CLIENTS = (okxsync, in_batches)
SECONDS = 30
"""A multiple of both clients' intervals between pings."""


def rows(rounds: int, quick: bool) -> Iterator[Row]:
    connections = 100 if quick else 500
    shares: dict[str, list[float]] = {NAMES[client]: [] for client in CLIENTS}
    for _ in range(rounds):
        for client in CLIENTS:
            shares[NAMES[client]].append(share(client, connections))
    yield from compare(f"{connections} idle connections", "% of a core", shares, {NAMES[in_batches]: "3 (1.5) %"}, 1)


def share(client: Client, connections: int) -> float:
    with running(client, connections, "burst", connections) as run:
        run.wait_ready()
        before, began = run.cpu_s(), time.monotonic()
        time.sleep(SECONDS)
        return (run.cpu_s() - before) / (time.monotonic() - began) * 100
