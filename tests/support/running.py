"""A daemon in a separate process, connected to a sandbox in this process; for tests of whole runs."""

import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import Popen
from typing import Any

from typer.testing import CliRunner

from okxsync.cli import app
from okxsync.config.location import Location
from okxsync.sandbox.exchange.exchange import Exchange
from okxsync.sandbox.exchange.trader import Trader
from okxsync.sandbox.server.server import Sandbox, serve_sandbox
from okxsync.store.database import StoreError
from tests.support import processes
from tests.support.desk import make_database
from tests.support.replay import until, write_config
from tests.support.truth import ACCOUNTS, differences, status_of


def said_by_status(database: Location) -> str:
    return CliRunner().invoke(app, ["status", "--db", str(database)], env={"COLUMNS": "200"}).stdout


def is_live(database: Location, connections: int) -> bool:
    try:
        found = status_of(database).connections
    except StoreError:  # not made yet
        return False
    return len(found) == connections and all(one.phase == "live" for one in found)


class Running:
    """A daemon in a separate process, connected to a sandbox that trades on request."""

    def __init__(self, sandbox: Sandbox, process: Popen[str], database: Any) -> None:
        self.sandbox = sandbox
        self.process = process
        self.database = database
        self._trader = Trader(sandbox.exchange, 3)

    def trade(self, times: int = 100) -> None:
        for _ in range(times):
            self.sandbox.operate(self._trader.step)

    @property
    def writer(self) -> int:
        """The pid of the process that writes."""
        return processes.writer_of(self.process.pid)

    async def is_complete(self) -> None:
        """Wait until all channels are live, every gap is closed and the mirror equals the exchange."""
        await until(lambda: status_of(self.database).exit_code == 0)
        await until(lambda: not differences(self.sandbox.exchange, self.database))

    async def stops(self) -> str:
        self.process.send_signal(signal.SIGTERM)
        _, logs = await processes.finish(self.process)
        assert self.process.returncode == 0, logs
        assert "Traceback" not in logs
        return logs


@asynccontextmanager
async def running(
    folder: Path,
    *,
    accounts: int = ACCOUNTS,
    dials_per_second: int = 0,
    rate: float = 0.0,
    database: Location | None = None,
) -> AsyncIterator[Running]:
    """Run a daemon on a sandbox; its database is a new file, unless another one is given."""
    exchange = Exchange(lambda: time.time_ns() // 1_000_000, seed=7)
    for number in range(accounts):
        exchange.add_member(f"a{number}")
    async with serve_sandbox(exchange, dials_per_second=dials_per_second, rate=rate) as sandbox:
        config = write_config(folder, sandbox.accounts_toml())
        database = database or folder / "okxsync.db"
        make_database(database)
        with processes.daemon(config, "--db", str(database)) as process:
            await until(lambda: is_live(database, 2 * accounts + 1))
            yield Running(sandbox, process, database)
        assert sandbox.violations == []
