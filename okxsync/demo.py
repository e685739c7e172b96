"""``okxsync demo``: the built-in exchange, the daemon on it, and the status of both, in one process."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import trio
from rich.console import Console
from rich.live import Live

from okxsync import config, daemon
from okxsync.sandbox.exchange import Exchange
from okxsync.sandbox.server import serve_sandbox
from okxsync.store.database import StoreError
from okxsync.store.queries import row_counts
from okxsync.store.status import read_status
from okxsync.terminal.table import render

RATE: Final = 10.0
"""Operations per second over all accounts: enough to see it live."""
LOOK_S: Final = 0.5


async def demo(*, accounts: int, database: Path | None, for_s: float | None) -> None:
    """Trade on a local exchange, mirror it, and show the status until Ctrl-C or for ``for_s`` seconds."""
    exchange = Exchange(lambda: time.time_ns() // 1_000_000, seed=1)
    for number in range(1, accounts + 1):
        exchange.add_member(f"demo{number}")
    with _folder() as folder:
        path = database or folder / "demo.db"
        async with serve_sandbox(exchange, rate=RATE, seed=1) as sandbox, trio.open_nursery() as nursery:
            (folder / "accounts.toml").touch(mode=0o600)
            (folder / "accounts.toml").write_text(sandbox.accounts_toml())
            settings = config.load(folder / "accounts.toml")
            nursery.start_soon(_show, path)
            await daemon.run(settings, path, for_s=for_s)
            nursery.cancel_scope.cancel(reason="the daemon has ended")
        Console().print(render(read_status(path, time.time_ns() // 1000), counts=row_counts(path)))


async def _show(path: Path) -> None:
    console = Console()
    if not console.is_terminal:
        await trio.sleep_forever()  # a pipe gets the end only
    with Live(console=console, screen=False, auto_refresh=False, transient=True) as live:
        while True:
            try:
                status = read_status(path, time.time_ns() // 1000)
            except StoreError:
                pass  # not made yet
            else:
                live.update(render(status, counts=row_counts(path)), refresh=True)
            await trio.sleep(LOOK_S)


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="okxsync-demo-") as name:
        yield Path(name)
