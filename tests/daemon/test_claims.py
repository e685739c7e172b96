"""The daemon on a slow network never claims to have what it lacks: read while it works, again and again.

The rule is proved in virtual time by `tests/store/test_coverage_claims.py`; here are real sockets, the real session and
the real reconciler.
"""

import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Final

import pytest
import trio

from okxsync import daemon
from okxsync.config.location import Location
from okxsync.config.settings import load
from okxsync.reconcile.timings import Timings
from okxsync.sandbox.exchange.exchange import Exchange
from okxsync.sandbox.faults.rules import Rule
from okxsync.sandbox.server.server import serve_sandbox
from okxsync.store.database import StoreError
from okxsync.store.engines import open_reader
from tests.support.replay import until, write_config
from tests.support.truth import TRUTH, differences, rows, status_of

pytestmark = pytest.mark.slow

TIMINGS: Final = Timings(
    verify_s=2.0, verify_per_s={}, verify_others_per_s=100.0, poll_s=0.5, push_lag_s=2.0, rest_lag_s=2.0
)
AHEAD_MS: Final = 4000
"""How far the exchange's clock is ahead of this machine's."""
PHASES: Final[list[tuple[float, str]]] = [
    (0.3, ""), (1.5, "orders"), (3.0, ""), (0.3, "account"), (1.5, "orders-algo"), (0.0, "positions"), (3.0, "orders")
]  # fmt: skip
"""How late every frame is, and which channel pushes nothing, for `PHASE_S` each."""
PHASE_S: Final = 6.0

CLAIMS: Final = {  # table: channel, key, and the time of its events
    "orders": ("orders", "ordId", "uTime"),
    "fills": ("orders", "tradeId", "fillTime"),
    "algo_orders": ("orders-algo", "algoId", "uTime"),
    "balances": ("account", "ccy", "uTime"),
    "positions": ("positions", "posId", "uTime"),
}
COLUMNS: Final = {"ordId": "ord_id", "tradeId": "trade_id", "algoId": "algo_id", "posId": "pos_id", "ccy": "ccy",
                  "uTime": "u_time", "fillTime": "fill_time"}  # fmt: skip


def truth_now(exchange: Exchange) -> dict[str, list[tuple[str, str, int]]]:
    """Return by table each row's account, key, and the time of its last event in the exchange's milliseconds."""
    return {
        table: [
            (member.name, row[key], int(row[at] or 0))
            for uid, member in exchange.members.items()
            for row in TRUTH[table](exchange, uid)
        ]
        for table, (_, key, at) in CLAIMS.items()
    }


def false_claims(database: Location, truth: dict[str, list[tuple[str, str, int]]]) -> Iterator[str]:
    """Yield the events of ``truth`` that lie in a covered interval and are not stored."""
    with closing(open_reader(database)) as reader, reader.snapshot():
        covered = {
            (row["account"], row["channel"]): (row["covered_since"], row["covered_until"])
            for row in reader.query("SELECT * FROM coverage")
        }
        gaps = reader.query("SELECT account, channel, from_at, to_at FROM gaps WHERE outcome IS NULL")
        stored: dict[str, dict[tuple[str, str], int]] = {}
        for table, (_, key, at) in CLAIMS.items():
            found = reader.query(f"SELECT account, {COLUMNS[key]} AS key, {COLUMNS[at]} AS at FROM {table}")
            stored[table] = {(row["account"], row["key"]): int(row["at"] or 0) for row in found}

    def is_claimed(account: str, channel: str, at_us: int) -> bool:
        since, to = covered.get((account, channel), (0, 0))
        return since <= at_us < to and not any(
            (gap["account"], gap["channel"]) == (account, channel)
            and gap["from_at"] <= at_us
            and (gap["to_at"] is None or at_us < gap["to_at"])
            for gap in gaps
        )

    for table, events in truth.items():
        for account, key, at_ms in events:
            if is_claimed(account, CLAIMS[table][0], at_ms * 1000) and stored[table].get((account, key), -1) < at_ms:
                yield f"{table}: {key} of {account} at {at_ms}, stored {stored[table].get((account, key))}, {covered}"


async def test_nothing_is_missing_from_what_is_claimed_while_the_network_is_slow_and_channels_stall(
    tmp_path: Path,
) -> None:
    exchange = Exchange(lambda: time.time_ns() // 1_000_000 + AHEAD_MS, seed=7)
    for number in range(3):
        exchange.add_member(f"a{number}")
    async with serve_sandbox(exchange, rate=20.0, seed=7, dials_per_second=0) as sandbox:
        sandbox.terms.snapshot_s = 1.0
        settings = load(write_config(tmp_path, sandbox.accounts_toml()))
        database = settings.database
        moved: set[tuple[str, str]] = set()

        def check() -> None:
            truth = truth_now(exchange)
            assert list(false_claims(database, truth)) == []

        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(daemon.run, settings, database, timings=TIMINGS))
            await until(lambda: is_made(database))
            for number, (late_s, silent) in enumerate(PHASES):
                sandbox.faults.rules[:] = [Rule("delay", seconds=late_s)]
                sandbox.faults.silent = {silent}
                sandbox.faults.rest_lags_ms = 1000 * (number % 2)
                if number == 3:
                    sandbox.drop_all()
                with trio.move_on_after(PHASE_S):
                    while True:
                        check()
                        moved |= advanced(database)
                        await trio.sleep(0.2)
            sandbox.faults.rules.clear()
            sandbox.faults.silent.clear()
            sandbox.pause_trading()
            await until(lambda: status_of(database).exit_code == 0 and not differences(exchange, database))
            check()
            nursery.cancel_scope.cancel(reason="the test is over")
    channels = {channel for channel, *_ in CLAIMS.values()}
    assert {(member.name, channel) for member in exchange.members.values() for channel in channels} <= moved


def advanced(database: Location) -> set[tuple[str, str]]:
    """Return the channels whose coverage has been proved beyond its beginning."""
    found = rows(database, "SELECT account, channel FROM coverage WHERE covered_until > covered_since")
    return {(row["account"], row["channel"]) for row in found}


def is_made(database: Location) -> bool:
    try:
        status_of(database)
    except StoreError:
        return False
    return True
