"""``okxsync demo``: the built-in exchange, a daemon that mirrors it, and its status, in one process.

With plans, the accounts do not trade by themselves: whoever runs commands beside it does.
"""

import json
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio
from rich.console import Console
from rich.live import Live

from okxsync import daemon
from okxsync.config.location import Location
from okxsync.config.settings import load
from okxsync.console.status import console, render
from okxsync.mirror.queries import account_names, row_counts
from okxsync.mirror.reader import Mirror
from okxsync.sandbox.accounts import MODES, open_accounts
from okxsync.sandbox.exchange.exchange import Exchange
from okxsync.sandbox.server.server import Sandbox, serve_sandbox
from okxsync.store.database import StoreError
from okxsync.store.engines import engine_of

if TYPE_CHECKING:
    from okxsync.mirror.status import Status

RATE: Final = 10.0
"""Operations per second over all accounts, enough to see the tables change."""
POLL_S: Final = 0.5
PLAN_MODES: Final = (MODES["2"], MODES["2-long-short"], MODES["3"])
"""Accounts of several modes take part in plans; the demo of the mirror has the first one only."""
TRADING: Final = """
[trading]
enabled = true
live = false
max_order_usd = 10000
max_plan_usd = 50000
max_day_usd = 1000000
instruments = ["BTC-USDT-SWAP", "ETH-USDT-SWAP", "BTC-USDT", "ETH-USDT"]
"""
INSTRUMENTS: Final = [f'{{ channel = "instruments", instType = "{inst_type}" }}' for inst_type in ("SWAP", "SPOT")]
"""The terminal shows sizes in coin by them."""
_DEMO_NAME: Final = re.compile("demo[0-9]+")


async def demo(
    *,
    accounts: int,
    database: Location | None,
    for_s: float | None,
    plans: bool = False,
    terminal: bool = False,
    open_browser: bool = False,
) -> None:
    """Trade on a local exchange, mirror it, and show the status until Ctrl-C or for ``for_s`` seconds.

    Args:
        plans: Let all accounts but the last one trade by plans, and print how to use them from another terminal.
        terminal: Serve ``okxsync terminal`` over it, and print the address to open; with plans it may trade.
        open_browser: Open it in the browser.

    Raises:
        StoreError: the database cannot be used, or contains accounts that are not of a demo.
    """
    if database:
        _reject_other_accounts(database)
    exchange = Exchange(lambda: time.time_ns() // 1_000_000, seed=1)
    names = [f"demo{number}" for number in range(1, accounts + 1)]
    open_accounts(exchange, names, PLAN_MODES if plans else PLAN_MODES[:1])
    with _folder() as folder:
        path = database or folder / "demo.db"
        rate = 0.0 if plans else RATE
        async with serve_sandbox(exchange, rate=rate, seed=1) as sandbox, trio.open_nursery() as nursery:
            text = f"database = {json.dumps(str(path))}\n"
            text += _trading_config(sandbox, names) if plans else sandbox.accounts_toml(market=INSTRUMENTS)
            config = folder / "accounts.toml"
            config.touch(mode=0o600)
            config.write_text(text)
            settings = load(config)
            show = Show(path, config if plans else None)
            nursery.start_soon(show.run)
            if terminal:
                trade = ["desk"] if plans else None
                nursery.start_soon(_serve_terminal, path, show.console, open_browser, trade)
            await daemon.run(settings, path, for_s=for_s)
            nursery.cancel_scope.cancel(reason="the daemon has ended")
        if show.last:
            show.console.print(render(show.last, counts=row_counts(path)))


class Show:
    """Polls the database, and shows its status on a terminal."""

    def __init__(self, location: Location, config: Path | None = None) -> None:
        self._location = location
        self._config = config
        self.console = console()
        self.last: Status | None = None

    async def run(self) -> None:
        if self._config:
            self.console.print("Plans may trade. Wait until this says that it is ready, and use a second terminal:\n")
            self.console.print(f"    export OKXSYNC_CONFIG={self._config}\n", soft_wrap=True, highlight=False)
        ready = not self._config
        with Live(console=self.console, auto_refresh=False, transient=True) as live:
            while True:
                with suppress(StoreError):  # the daemon has not created it yet
                    with Mirror(self._location) as mirror:
                        found = mirror.status()
                    if found.daemon.alive:  # the final status is the last one before the daemon stopped
                        self.last = found
                    if not ready and found.exit_code == 0:
                        ready = True
                        self.console.print("ready: all accounts but the last one are in group:desk")
                    if self.console.is_terminal:
                        live.update(render(found, counts=row_counts(self._location)), refresh=True)
                await trio.sleep(POLL_S)


async def _serve_terminal(location: Location, shown: Console, open_browser: bool, trade: Sequence[str] | None) -> None:
    from okxsync.terminal.command import opened
    from okxsync.terminal.server import serve_terminal

    async with (
        serve_terminal(location, trade=trade) as (address, token),
        opened(address.url(token) if open_browser else None),
    ):
        shown.print(f"open {address.url(token)}", soft_wrap=True, highlight=False)
        if trade:
            shown.print("plans can be made there, too: press g t, and then p n")
        await trio.sleep_forever()


def _reject_other_accounts(database: Location) -> None:
    """The daemon marks accounts that are not configured as removed, so a demo must not open a real database."""
    if not engine_of(database).exists():
        return
    if others := sorted(name for name in account_names(database) if not _DEMO_NAME.fullmatch(name)):
        raise StoreError(f"{database}: contains other accounts ({', '.join(others)}); use another path for the demo")


def _trading_config(sandbox: Sandbox, names: Sequence[str]) -> str:
    """Return the configuration: all accounts but the last one may trade."""
    lines = {name: ["trading = true", 'groups = ["desk"]'] for name in names[: max(1, len(names) - 1)]}
    return sandbox.accounts_toml(lines, INSTRUMENTS) + TRADING


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="okxsync-demo-") as name:
        yield Path(name)
