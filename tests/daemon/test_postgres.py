"""A whole daemon on a PostgreSQL server: what was acknowledged stays, whatever is killed, and nothing is missing."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import trio

from okxsync.config.location import Url
from okxsync.mirror.ledger import check_ledger
from tests.support import processes
from tests.support.postgres import Server, new_server, server_url
from tests.support.replay import until
from tests.support.running import Running, running
from tests.support.truth import ACCOUNTS, rows, status_of

pytestmark = pytest.mark.slow

OTHERS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> $1"


@pytest.fixture
def server() -> Iterator[Server]:
    server_url()  # skips the test if there is no server
    with new_server() as server:
        yield server


async def nothing_is_missing(daemon: Running) -> None:
    """Each row is as at the exchange, each frame was logged once, and the ledger finds nothing."""
    await daemon.is_complete()
    accounts = [f"a{number}" for number in range(ACCOUNTS)]
    await until(lambda: check_ledger(daemon.database, accounts) == [])
    ((logged,),) = [tuple(row.values()) for row in rows(daemon.database, "SELECT count(*) AS n FROM messages")]
    counted = rows(daemon.database, "SELECT value FROM counters WHERE name = 'messages'")
    assert [row["value"] for row in counted] == [logged]


async def trade_through(daemon: Running, fault: Callable[[], None], times: int = 5) -> None:
    for _ in range(times):
        daemon.trade(40)
        await trio.sleep(0.05)  # some of it is on its way
        await trio.to_thread.run_sync(fault)


async def test_a_restart_of_the_server_under_load_costs_time_and_no_row(tmp_path: Path, server: Server) -> None:
    async with running(tmp_path, database=Url(server.url)) as daemon:
        daemon.trade()
        await nothing_is_missing(daemon)

        def restart() -> None:
            server.stop()
            server.start()

        await trade_through(daemon, restart, times=3)
        await nothing_is_missing(daemon)
        assert daemon.process.poll() is None
        reasons = {row["reason"] for row in rows(daemon.database, "SELECT reason FROM gaps")}
        assert reasons <= {"initial backfill"}, "no frame was lost, so no gap arose"
        assert rows(daemon.database, "SELECT * FROM journal WHERE event = 'write-failed'")
        await daemon.stops()


async def test_sessions_that_are_ended_cost_no_row(tmp_path: Path, server: Server) -> None:
    ended: list[tuple[object, ...]] = []

    def end_sessions() -> None:
        with psycopg.connect(server.url, autocommit=True) as db:
            ended.extend(psycopg.RawCursor(db).execute(OTHERS.encode(), [db.info.backend_pid]).fetchall())

    async with running(tmp_path, database=Url(server.url)) as daemon:
        await trade_through(daemon, end_sessions)
        assert len(ended) >= 2  # at least the writer's, and the one that holds the database
        await nothing_is_missing(daemon)
        await daemon.stops()


async def test_a_killed_daemon_is_followed_by_the_next_one(tmp_path: Path, server: Server) -> None:
    async with running(tmp_path, database=Url(server.url)) as daemon:
        daemon.trade()
        await daemon.is_complete()
        with processes.daemon(tmp_path / "accounts.toml", "--db", server.url) as second:
            _, said = await processes.finish(second)
            assert (second.returncode, "another okxsync run holds this database" in said) == (4, True)
        daemon.trade(40)
        os.kill(daemon.process.pid, signal.SIGKILL)
        daemon.trade(40)
        with processes.daemon(tmp_path / "accounts.toml", "--db", server.url) as process:
            next_one = Running(daemon.sandbox, process, daemon.database)
            await until(lambda: status_of(daemon.database).daemon.pid == process.pid)
            await nothing_is_missing(next_one)
            assert {"crash"} <= {row["reason"] for row in rows(daemon.database, "SELECT reason FROM gaps")}
            await next_one.stops()
