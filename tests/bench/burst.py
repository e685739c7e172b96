"""500 accounts get 4 frames each at one instant: the time until a reader sees all 2,000."""

from collections.abc import Iterator

from tests.bench.measure import NAMES, Row, compare, in_batches, okxsync, one_by_one, running

CLIENTS = (okxsync, in_batches, one_by_one)


def rows(rounds: int, quick: bool) -> Iterator[Row]:
    connections = 100 if quick else 500
    frames = connections * 4
    taken: dict[str, list[float]] = {NAMES[client]: [] for client in CLIENTS}
    for _ in range(rounds):
        for client in CLIENTS:
            with running(client, connections, "burst", frames) as run:
                run.wait_ready()
                began = run.go()
                taken[NAMES[client]].append(run.wait_visible(connections) - began)
    reach = {NAMES[in_batches]: "1 (0.3) s"}
    yield from compare(f"burst of {frames} frames, {connections} accounts", "s", taken, reach, 3)
