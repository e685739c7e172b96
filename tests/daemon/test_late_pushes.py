"""A daemon whose connections are slow: pushes, pongs and acknowledgements are seconds late, and REST is not.

REST then reports what has not been pushed yet. No channel may be found stalled for it: not in steady trade, not when a
connection is replaced, and not when it is reset while a verdict is pending.
"""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from okxsync.sandbox.faults.rules import Rule
from okxsync.sandbox.server.server import Sandbox
from tests.support.replay import until
from tests.support.truth import QUICK, all_live, differences, rows, status_of, trading

LATE_S = 3.0


async def is_verified(database: Path, further_s: float) -> None:
    """Wait until each channel of the accounts is covered so far beyond now: it was verified or has pushed."""
    covered = "SELECT min(covered_until) AS at FROM coverage WHERE account <> 'market'"
    until_us = time.time_ns() // 1000 + int(further_s * 1e6)
    await until(lambda: rows(database, covered)[0]["at"] > until_us)


def upgrade(sandbox: Sandbox) -> None:
    sandbox.announce_upgrade(15.0)


@pytest.mark.parametrize("replaces", [None, upgrade, Sandbox.drop_all])
async def test_late_pushes_are_not_taken_for_lost_ones(
    tmp_path: Path, replaces: Callable[[Sandbox], None] | None
) -> None:
    async with trading(tmp_path, timings=QUICK, rate=20.0) as (sandbox, database):
        await until(lambda: status_of(database).exit_code == 0)
        sandbox.faults.rules.append(Rule("delay", seconds=LATE_S))
        sandbox.resume_trading()
        await is_verified(database, 5)
        if replaces:
            replaces(sandbox)
            await until(lambda: all_live(database, reconnects=1))
        await is_verified(database, 5)
        sandbox.pause_trading()
        sandbox.faults.rules.clear()
        await until(lambda: status_of(database).exit_code == 0)
        await until(lambda: not differences(sandbox.exchange, database))
        reasons = {row["reason"] for row in rows(database, "SELECT DISTINCT reason FROM gaps")}
        assert [reason for reason in reasons if "channel stalled" in reason] == []
        assert len(reasons) == (2 if replaces is Sandbox.drop_all else 1), reasons
        assert sandbox.violations == []
