"""200 accounts, a connection each, with OKX's default limit of 3 dials in any second.

The limit's own time is that of the last dial: number 200 may be dialled 66 s after the first. Taken is from the start
of the command, interpreter and all, to the moment when a reader sees all as live.
"""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pysqlite3

from tests.bench.measure import Row, okxsync, running

PER_SECOND = 3


def with_the_limit(origin: str, connections: int, folder: Path) -> list[str]:
    return okxsync(origin, connections, folder, dials_per_second=None)


def rows(rounds: int, quick: bool) -> Iterator[Row]:
    """One round: it takes more than a minute, nearly all of it the limit's."""
    accounts = 20 if quick else 200
    bound_s = (accounts - 1) // PER_SECOND / 1.0
    began = time.monotonic()
    with running(with_the_limit, accounts, "burst", accounts) as run:
        while not run.database.exists():
            time.sleep(0.01)
        with contextlib.closing(run.reader()) as db:
            while live(db) < accounts:
                time.sleep(0.01)
        taken_s = time.monotonic() - began
    yield Row(
        f"connecting {accounts} accounts",
        f"{taken_s:.1f} s",
        f"the dial limit's own time: {bound_s:.1f}",
        f"{taken_s / bound_s:.3f}",
        reach="1.1 (1.02)",
    )


def live(db: object) -> int:
    with contextlib.suppress(pysqlite3.OperationalError):  # its tables are not there yet
        count: int = db.execute("SELECT count(*) FROM connections WHERE phase = 'live'").fetchone()[0]  # type: ignore[attr-defined]
        return count
    return 0
