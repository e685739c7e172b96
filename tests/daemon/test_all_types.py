"""A daemon on accounts of every mode and instrument type: after much trade, ``verify`` and its ledger find nothing.

Each account trades one kind of thing, so that a difference names its kind. `DIFFERS` has the kinds that are not
identical yet; with ``OKXSYNC_ALL_TYPES=1`` they are checked too.
"""

import os
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import pytest
import trio

from okxsync import daemon
from okxsync.config.settings import load
from okxsync.mirror.ledger import Difference, check_ledger
from okxsync.reconcile.verify import verify_all
from okxsync.sandbox.accounts import DEPOSITS, MODES, POOLED_DEPOSITS
from okxsync.sandbox.exchange.catalogue import TYPES
from okxsync.sandbox.exchange.exchange import Exchange
from okxsync.sandbox.exchange.trader import Trader
from okxsync.sandbox.server.server import Sandbox, serve_sandbox
from tests.support.replay import until, write_config
from tests.support.truth import status_of

pytestmark = pytest.mark.slow

KINDS = {
    "1-spot": ("1", {"SPOT"}),
    "2-spot": ("2", {"SPOT"}),
    "2-margin": ("2", {"MARGIN"}),
    "2-swap": ("2", {"SWAP"}),
    "2-futures": ("2", {"FUTURES"}),
    "2-option": ("2", {"OPTION"}),
    "2-spread": ("2", {"SWAP", "FUTURES"}),
    "2-long-short": ("2-long-short", {"SWAP", "FUTURES"}),
    "3-margin": ("3", {"SPOT", "MARGIN"}),
    "3-all": ("3", set(TYPES)),
    "3-long-short": ("3-long-short", set(TYPES)),
    "4-all": ("4", set(TYPES)),
}
"""By name of the account: its mode, and what it trades."""
DIFFERS: dict[str, str] = {}
"""Kinds that are not identical yet, each with the reason."""
STEPS = 120
SETTLED_S = 240
"""How long the last bills and fills may take to arrive, on a busy machine."""


async def test_an_untouched_mirror_is_identical_for_every_mode_and_instrument_type(tmp_path: Path) -> None:
    exchange = Exchange(
        lambda: time.time_ns() // 1_000_000, 7, types=TYPES, funding_ms=7_000, interest_ms=5_000, expiry_ms=16_000
    )
    for name, (mode, _) in KINDS.items():
        acct_lv, pos_mode = MODES[mode]
        deposit = POOLED_DEPOSITS if acct_lv in ("3", "4") else DEPOSITS
        exchange.add_member(name, acct_lv=acct_lv, pos_mode=pos_mode, deposit=deposit)
    async with serve_sandbox(exchange, dials_per_second=0) as sandbox:
        settings = load(write_config(tmp_path, sandbox.accounts_toml()))
        database = settings.database
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(daemon.run, settings, database))
            await until(lambda: database.exists() and status_of(database).exit_code == 0)
            await trade(sandbox)
            found: dict[str, list[str]] = {}
            with trio.move_on_after(SETTLED_S):
                while True:
                    differences, failures = await verify_all(database, settings.accounts, 0)
                    differences += check_ledger(database, KINDS)
                    assert failures == {}
                    found = by_kind(differences)
                    if not found:
                        break
                    await trio.sleep(5)
            nursery.cancel_scope.cancel(reason="the test is over")
        assert sandbox.violations == []
    wanted = KINDS if os.environ.get("OKXSYNC_ALL_TYPES") else KINDS.keys() - DIFFERS.keys()
    assert {kind: found[kind] for kind in wanted if kind in found} == {}


async def trade(sandbox: Sandbox) -> None:
    """Let every account trade its kind for half a minute, in which contracts expire; then close the market."""
    exchange = sandbox.exchange
    traders = [
        (uid, Trader(exchange, number, KINDS[member.name][1]))
        for number, (uid, member) in enumerate(exchange.members.items())
    ]
    for _ in range(STEPS):
        for uid, trader in traders:
            sandbox.operate(trader.step, uid)
        await trio.sleep(0.3)
    exchange.closed = True


def by_kind(differences: Iterable[Difference]) -> dict[str, list[str]]:
    """Return the first differences of each account, as text."""
    found: dict[str, list[str]] = {}
    for each in differences:
        of_one = found.setdefault(each.account, [])
        if len(of_one) < 8:
            of_one.append(f"{each.table} {each.key} {each.column}: {each.ours} here, {each.theirs} there")
    return found
