"""The raw log: bytes on disk for each byte received, after 20,000 frames into a new database.

"on disk" is the size of a database that has nothing but a copy of the table ``messages``, with all that is not a
frame; "bodies" is the sum of the stored frames alone. The dictionaries (24 KB each) are not in it.
"""

import contextlib
from collections.abc import Iterator

import pysqlite3

from tests.bench.measure import NAMES, Client, Row, in_batches, okxsync, running

CONNECTIONS = 20


def rows(rounds: int, quick: bool) -> Iterator[Row]:
    """One round: it is the same at each."""
    frames = 5_000 if quick else 20_000
    disk, bodies = stored(okxsync, frames)
    their_disk, received = stored(in_batches, frames)  # its bodies are the frames as they came
    name, label = f"raw log of {frames} frames", NAMES[in_batches]
    ratio = f"{disk / their_disk:.2f}"
    theirs = f"{label}: {their_disk / received:.1%}"
    yield Row(f"{name}: on disk / received", f"{disk / received:.1%}", theirs, ratio, reach="15 % (8 %)")
    yield Row(f"{name}: bodies alone", f"{bodies / received:.1%}", f"{label}: 100.0%", f"{bodies / received:.2f}")


def stored(client: Client, frames: int) -> tuple[int, int]:
    """Return the bytes of the table on disk, and of the bodies alone."""
    with running(client, CONNECTIONS, "flood", frames) as run:
        run.wait_ready()
        run.go()
        run.wait_visible(CONNECTIONS)
        run.stop()
        copy = run.database.with_name("copy.db")
        with contextlib.closing(pysqlite3.connect(copy, isolation_level=None)) as db:
            db.execute("ATTACH ? AS run", (str(run.database),))
            db.execute(db.execute("SELECT sql FROM run.sqlite_schema WHERE name = 'messages'").fetchone()[0])
            db.execute("INSERT INTO messages SELECT * FROM run.messages")
            bodies = db.execute("SELECT sum(length(body)) FROM messages").fetchone()[0]
        return copy.stat().st_size, bodies
