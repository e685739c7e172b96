"""Storms, kills and calms in turn, for as long as ``OKXSYNC_SOAK_S`` says: nothing is lost, and nothing leaks.

uv run pytest -m soak                          # five minutes
OKXSYNC_SOAK_S=14400 uv run pytest -m soak -s   # four hours; a line for each round
OKXSYNC_SOAK_SEED=2 ...                         # other storms
"""

import faulthandler
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
import trio

from okxsync.config.location import Location
from okxsync.mirror.ledger import check_ledger
from okxsync.sandbox.exchange.exchange import Exchange
from okxsync.sandbox.server.server import Sandbox, serve_sandbox
from tests.support.replay import until, write_config
from tests.support.running import is_live
from tests.support.storm import rage, secrets_of
from tests.support.truth import differences, rows, status_of

pytestmark = pytest.mark.slow

SOAK_S = float(os.environ.get("OKXSYNC_SOAK_S", "300"))
SEED = int(os.environ.get("OKXSYNC_SOAK_SEED", "1"))
ACCOUNTS = 50
STORM_S = 30.0
CALM_WITHIN_S = 300.0
RATE = 20.0


class Sample(msgspec.Struct):
    """What the daemon's process holds in a calm."""

    files: int
    threads: int
    rss_kb: int


def sample(pid: int) -> Sample:
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return Sample(files, int(status["Threads"]), int(status["VmRSS"].split()[0]))


@contextmanager
def daemon(config: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "okxsync", "run", "--config", str(config)]
    with log.open("ab") as stderr, subprocess.Popen(command, stderr=stderr) as process:
        try:
            yield process
        finally:
            process.kill()


async def calm(sandbox: Sandbox, database: Location) -> None:
    """Wait until all is live and whole, and equal to the truth."""
    await until(lambda: is_live(database, 2 * ACCOUNTS + 1), CALM_WITHIN_S)
    await until(lambda: status_of(database).exit_code == 0, CALM_WITHIN_S)
    names = [member.name for member in sandbox.exchange.members.values()]
    await until(lambda: check_ledger(database, names) == [], CALM_WITHIN_S)  # bills are asked for a little later
    try:
        await until(lambda: not differences(sandbox.exchange, database), CALM_WITHIN_S)
    except trio.TooSlowError:
        raise AssertionError(differences(sandbox.exchange, database)) from None


@pytest.mark.soak
async def test_storms_and_kills_lose_nothing_and_leak_nothing(tmp_path: Path) -> None:
    faulthandler.cancel_dump_traceback_later()  # it is meant to take long
    exchange = Exchange(lambda: time.time_ns() // 1_000_000, seed=SEED)
    for number in range(ACCOUNTS):
        exchange.add_member(f"a{number}")
    rng = random.Random(SEED)
    log = tmp_path / "stderr.txt"
    ends = trio.current_time() + SOAK_S
    async with serve_sandbox(exchange, rate=RATE, seed=SEED) as sandbox:
        config = write_config(tmp_path, sandbox.accounts_toml())
        database = tmp_path / "okxsync.db"
        while trio.current_time() < ends:
            with daemon(config, log) as process:
                await until(lambda: is_live(database, 2 * ACCOUNTS + 1), CALM_WITHIN_S)
                await calm_after_storms(sandbox, database, process, rng, rounds=rng.randint(2, 5), ends=ends)
                sandbox.resume_trading()
                with trio.move_on_after(rng.uniform(0, STORM_S)):
                    await rage(sandbox, rng.randrange(10**6), STORM_S)
                process.send_signal(rng.choice([signal.SIGKILL, signal.SIGTERM]))
                await trio.to_thread.run_sync(process.wait)
        sandbox.pause_trading()
        sandbox.faults.clock_skew_ms = 0
        with daemon(config, log) as process:  # what the last kill left is healed by one more life
            await calm(sandbox, database)
            process.send_signal(signal.SIGTERM)
            await trio.to_thread.run_sync(process.wait)
        violations = sandbox.violations
        said = log.read_text(errors="replace")
        assert "Traceback" not in said
        for secret in secrets_of(sandbox):
            assert secret not in said
    assert violations == []
    assert rows(database, "SELECT * FROM gaps WHERE outcome IS NULL AND to_at IS NOT NULL") == []


async def calm_after_storms(
    sandbox: Sandbox,
    database: Location,
    process: "subprocess.Popen[bytes]",
    rng: random.Random,
    rounds: int,
    ends: float,
) -> None:
    """Let storms pass over one life of the daemon; after each it holds no more than after the first."""
    first: Sample | None = None
    for number in range(rounds):
        if number and trio.current_time() > ends:
            break
        sandbox.resume_trading()
        await rage(sandbox, rng.randrange(10**6), STORM_S)
        sandbox.pause_trading()
        began = trio.current_time()
        await calm(sandbox, database)
        now = sample(process.pid)
        first = first or now
        print(f"calm after {trio.current_time() - began:.0f} s: {now}, {len(exchange_orders(database))} orders")
        assert now.files <= first.files + 20  # REST connections that are kept come and go
        assert now.threads <= first.threads + 5
        assert now.rss_kb <= first.rss_kb * 1.25 + 20_000


def exchange_orders(database: Location) -> list[dict[str, object]]:
    return rows(database, "SELECT ord_id FROM orders")
