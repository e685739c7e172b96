"""The kill switch: while it is on, no order leaves.

Of a database file it is the file ``<database>.halt``. That needs neither a living daemon nor an unlocked database nor
free space: an empty file is made. On a server, a file would stop one machine only. There it is the newest of the
requests ``halt`` and ``resume``: whoever can make requests can halt, and without the server nothing is sent anyway, for
each order is recorded before it leaves.
"""

import os
import time
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Final, Protocol

import trio

from okxsync.config.location import Location
from okxsync.store.database import StoreError
from okxsync.store.engines import Reader

POLL_S: Final = 0.05
OLD_S: Final = 3.0
"""A row that could not be read for so long may have changed: trading is halted."""
_NEWEST: Final = "SELECT kind FROM requests WHERE kind IN ('halt', 'resume') ORDER BY id DESC LIMIT 1"


class Switch(Protocol):
    """The kill switch of a database; ``place`` says where it is."""

    place: str

    def exists(self) -> bool:
        """Return whether trading is halted; if that cannot be found out, it is."""
        ...

    def make(self) -> None:
        """Halt trading; on a server the request has done so, and it is looked up.

        Raises:
            OSError: the file cannot be made.
        """
        ...

    def remove(self) -> None:
        """Lift the halt, likewise; without one nothing happens.

        Raises:
            OSError: the file cannot be removed.
        """
        ...

    async def follow(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep a switch that is followed up to date; never returns."""
        ...


def halt_of(database: Location, *, followed: bool = False) -> Switch:
    """Return the kill switch of a database.

    Args:
        database: Its resolved location.
        followed: The caller runs ``follow``, so that ``exists`` never waits for a server.
    """
    return HaltFile(database) if isinstance(database, Path) else HaltRow(database, followed=followed)


class HaltFile:
    """The file beside a database."""

    def __init__(self, database: Path) -> None:
        self.path: Final = Path(f"{database}.halt")
        self.place = str(self.path)

    def exists(self) -> bool:
        try:
            os.stat(self.path)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return True

    def make(self) -> None:
        self.path.touch(mode=0o600)

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)

    async def follow(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        await trio.sleep_forever()


class HaltRow:
    """The newest of the requests ``halt`` and ``resume``."""

    def __init__(self, database: Location, *, followed: bool = False) -> None:
        self.place = f"a request in {database}"
        self._reader = Reader(database)
        self._one_at_a_time = Lock()
        self._is_followed = followed
        self._is_halted = True
        self._looked_s = -OLD_S

    def exists(self) -> bool:
        if not self._is_followed:
            self.look()
        return self._is_halted or time.monotonic() - self._looked_s >= OLD_S

    def make(self) -> None:
        self.look()

    def remove(self) -> None:
        self.look()

    def look(self) -> None:
        """Read the row. If that fails, what was read last holds for ``OLD_S``."""
        with self._one_at_a_time:
            began_s = time.monotonic()
            try:
                rows = self._reader.rows(_NEWEST)
            except StoreError:
                return
            finally:
                if not self._is_followed:
                    self._reader.close()
            self._is_halted = rows == [("halt",)]
            self._looked_s = began_s

    async def follow(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        look = partial(trio.to_thread.run_sync, self.look, abandon_on_cancel=True, limiter=trio.CapacityLimiter(1))
        try:
            await look()
            task_status.started()
            while True:
                await trio.sleep(POLL_S)
                await look()
        finally:
            if self._one_at_a_time.acquire(blocking=False):  # else a thread still waits for the server
                self._reader.close()
                self._one_at_a_time.release()
