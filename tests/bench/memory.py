"""Memory of an idle connection: the process tree's with 500 connections less that with 1, divided by 499.

It is taken once all have subscribed and the client rests (PSS: shared pages count once).
"""

from collections.abc import Iterator

from tests.bench.measure import NAMES, Client, Row, compare, in_batches, okxsync, running

CLIENTS = (okxsync, in_batches)


def rows(rounds: int, quick: bool) -> Iterator[Row]:
    many = 100 if quick else 500
    each: dict[str, list[float]] = {NAMES[client]: [] for client in CLIENTS}
    for _ in range(rounds):
        for client in CLIENTS:
            each[NAMES[client]].append((memory(client, many) - memory(client, 1)) / (many - 1) / 1024)
    yield from compare(f"memory of an idle connection, of {many}", "KB", each, {NAMES[in_batches]: "150 (60) KB"})


def memory(client: Client, connections: int) -> int:
    with running(client, connections, "burst", connections) as run:
        run.wait_ready()
        return run.memory()
