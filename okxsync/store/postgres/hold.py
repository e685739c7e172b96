"""One daemon per database: an advisory lock of a session that lives as long as the daemon and its writer process.

The writer process inherits the session's socket, so that the lock lasts until writing has ended, however the daemon
ends. The table ``okxsync_hold`` has what outlives the holder. A thread speaks to the server: it may not answer for
long, and the daemon's loop must not wait for it.
"""

import math
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import psycopg

from okxsync.config.location import Url
from okxsync.store.database import AlreadyRunning, StoreError
from okxsync.store.postgres import schema
from okxsync.store.postgres.checks import POOLED, UNPOOLED, is_pooled
from okxsync.store.postgres.connection import connect, one_line

MAX_COUNTED_S: Final = 15.0
"""The largest ``counted_s``."""
WAIT_S: Final = 2.0
"""How long the lock of a daemon that was killed may outlive it."""
_MAKE: Final = (
    "CREATE TABLE okxsync_hold (token TEXT NOT NULL, beat_at TIMESTAMPTZ NOT NULL, counted_until TIMESTAMPTZ NOT NULL,"
    " trouble TEXT NOT NULL) WITH (fillfactor = 50)"
)
_BEAT: Final = (
    "UPDATE okxsync_hold SET token = $1, beat_at = clock_timestamp(), trouble = $3,"
    " counted_until = clock_timestamp() + make_interval(secs => $2)"
)


class Hold:
    """A held lock; see ``store.database.Membership``."""

    def __init__(self, url: Url) -> None:
        self._url = url
        self._token = secrets.token_hex(8)
        self._db = connect(url)
        self._counted_s, self._problem = 0.0, ""
        self._lost: AlreadyRunning | None = None
        self._ended = False
        self._changed = threading.Event()
        self._thread = threading.Thread(target=self._keep_beating, name="hold", daemon=True)

    @property
    def descriptor(self) -> int:
        return self._db.fileno()

    def take(self) -> None:
        """Take the lock, and find out since when nobody holds it.

        Raises:
            AlreadyRunning: another daemon has it.
            StoreError: a connection pooler is in between that would lose the lock.
        """
        if is_pooled(self._db, self._url):
            raise StoreError(f"{self._url}: {POOLED}; {UNPOOLED}")
        until = time.monotonic() + WAIT_S
        while not self._lock():
            if time.monotonic() > until:
                raise AlreadyRunning(f"{self._url}: another okxsync run holds this database")
            time.sleep(0.05)
        if self._db.execute("SELECT to_regclass('okxsync_hold')").fetchone() == (None,):
            self._db.execute(_MAKE.encode())
        found = self._db.execute(
            "SELECT extract(epoch FROM clock_timestamp() - counted_until)::float8 FROM okxsync_hold"
        ).fetchone()
        if found is None:
            self._db.execute("INSERT INTO okxsync_hold VALUES ('', now(), now(), '')")
        since_s = found[0] if found else math.inf
        self.unheld_s: float = since_s if since_s >= -MAX_COUNTED_S else 0.0  # the server's clock was set back
        self._beat()
        self._thread.start()

    def report(self, problem: str) -> None:
        self._problem = problem
        self._changed.set()

    def touch(self, counted_s: float = 0.0) -> None:
        if self._lost:
            raise self._lost
        self._counted_s = min(counted_s, MAX_COUNTED_S)
        self._changed.set()

    def close(self) -> None:
        self._ended = True
        self._changed.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._db.close()

    def _lock(self) -> bool:
        return bool(self._db.execute("SELECT pg_try_advisory_lock($1)", [schema.HELD]).fetchone() == (1,))

    def _beat(self) -> None:
        self._db.execute(_BEAT.encode(), [self._token, self._counted_s, self._problem])

    def _keep_beating(self) -> None:
        while not self._ended:
            self._changed.wait()
            self._changed.clear()
            with suppress(psycopg.Error, StoreError):  # again with the next touch
                if self._db.closed:
                    self._take_again()
                self._beat()

    def _take_again(self) -> None:
        """Take the lock over a new session, unless another daemon has taken it meanwhile."""
        self._db = connect(self._url)
        if not self._lock():
            if self._db.execute("SELECT token FROM okxsync_hold").fetchone() != (self._token,):
                self._lost = AlreadyRunning(f"{self._url}: another okxsync run has taken this database")
            self._db.close()  # or our own session of before, which the server has not given up yet
            raise StoreError("not held")


@contextmanager
def hold(url: Url) -> Iterator[Hold]:
    """Hold the database for this daemon.

    Raises:
        AlreadyRunning: another daemon holds it.
        StoreError: the server refuses.
    """
    found = Hold(url)
    try:
        try:
            found.take()
        except psycopg.Error as error:
            raise StoreError(f"{url}: cannot be used ({one_line(error)})") from None
        yield found
    finally:
        found.close()


def last_beat(db: psycopg.Connection[Any]) -> tuple[float, str]:
    """Return how long ago the holder was last alive, in seconds, and what it has reported; infinite: unknown."""
    if db.execute("SELECT to_regclass('okxsync_hold')").fetchone() == (None,):
        return math.inf, ""
    sql = "SELECT extract(epoch FROM clock_timestamp() - beat_at)::float8, trouble FROM okxsync_hold"
    found = db.execute(sql).fetchone()
    return (max(found[0], 0.0), found[1]) if found else (math.inf, "")
