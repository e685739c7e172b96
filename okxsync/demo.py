"""``okxsync demo``: the built-in exchange, a daemon that mirrors it, and its status, in one process."""

import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio
from rich.live import Live

from okxsync import daemon
from okxsync.config.location import Location
from okxsync.config.settings import load
from okxsync.console.status import console, render
from okxsync.mirror.queries import account_names, row_counts
from okxsync.mirror.reader import Mirror
from okxsync.sandbox.exchange.exchange import Exchange
from okxsync.sandbox.server.server import serve_sandbox
from okxsync.store.database import StoreError
from okxsync.store.engines import engine_of

if TYPE_CHECKING:
    from okxsync.mirror.status import Status

RATE: Final = 10.0
"""Operations per second over all accounts, enough to see the tables change."""
POLL_S: Final = 0.5
_DEMO_NAME: Final = re.compile("demo[0-9]+")


async def demo(*, accounts: int, database: Location | None, for_s: float | None) -> None:
    """Trade on a local exchange, mirror it, and show the status until Ctrl-C or for ``for_s`` seconds.

    Raises:
        StoreError: the database cannot be used, or contains accounts that are not of a demo.
    """
    if database:
        _reject_other_accounts(database)
    exchange = Exchange(lambda: time.time_ns() // 1_000_000, seed=1)
    for number in range(1, accounts + 1):
        exchange.add_member(f"demo{number}")
    with _folder() as folder:
        path = database or folder / "demo.db"
        async with serve_sandbox(exchange, rate=RATE, seed=1) as sandbox, trio.open_nursery() as nursery:
            (folder / "accounts.toml").touch(mode=0o600)
            (folder / "accounts.toml").write_text(sandbox.accounts_toml())
            settings = load(folder / "accounts.toml")
            show = Show(path)
            nursery.start_soon(show.run)
            await daemon.run(settings, path, for_s=for_s)
            nursery.cancel_scope.cancel(reason="the daemon has ended")
        if show.last:
            show.console.print(render(show.last, counts=row_counts(path)))


class Show:
    """Polls the database, and shows its status on a terminal."""

    def __init__(self, location: Location) -> None:
        self._location = location
        self.console = console()
        self.last: Status | None = None

    async def run(self) -> None:
        with Live(console=self.console, auto_refresh=False, transient=True) as live:
            while True:
                with suppress(StoreError):  # the daemon has not created it yet
                    with Mirror(self._location) as mirror:
                        found = mirror.status()
                    if found.daemon.alive:  # the final status is the last one before the daemon stopped
                        self.last = found
                    if self.console.is_terminal:
                        live.update(render(found, counts=row_counts(self._location)), refresh=True)
                await trio.sleep(POLL_S)


def _reject_other_accounts(database: Location) -> None:
    """The daemon marks accounts that are not configured as removed, so a demo must not open a real database."""
    if not engine_of(database).exists():
        return
    if others := sorted(name for name in account_names(database) if not _DEMO_NAME.fullmatch(name)):
        raise StoreError(f"{database}: contains other accounts ({', '.join(others)}); use another path for the demo")


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="okxsync-demo-") as name:
        yield Path(name)
