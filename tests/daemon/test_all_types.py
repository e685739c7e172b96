"""Accounts of every mode and instrument type: after much trade, ``verify`` and ``verify --ledger`` find nothing.

Each kind is one account that trades one kind of thing, so that a difference names its kind. Most run in virtual time
(`tests.support.wire`), and one real daemon mirrors all of them at once.
"""

import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import pytest
import trio

from okxsync import daemon
from okxsync.config.settings import load
from okxsync.mirror.ledger import Difference, check_ledger
from okxsync.okx.channels import subscription
from okxsync.reconcile.verify import verify, verify_all
from okxsync.sandbox.accounts import DEPOSITS, MODES, POOLED_DEPOSITS
from okxsync.sandbox.exchange.catalogue import TYPES
from okxsync.sandbox.exchange.exchange import Exchange
from okxsync.sandbox.exchange.trader import Trader
from okxsync.sandbox.server.server import Sandbox, serve_sandbox
from tests.support.desk import make_database
from tests.support.replay import until, write_config
from tests.support.truth import differences, status_of
from tests.support.wire import in_virtual_time, wired

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
    "spelled": ("3", set(TYPES)),
}
"""By name: the account's mode, and what it trades. ``spelled`` is 3-all with `Faults.spellings`."""
CHANNELS = ("account", "positions", "balance_and_position", "orders", "orders-algo")
STEPS = 120
SETTLED_S = 240
"""How long the last bills and fills may take to arrive, on a busy machine."""


def open_exchange() -> Exchange:
    """An exchange whose contracts expire and whose funding and interest are due every few seconds."""
    return Exchange(
        lambda: time.time_ns() // 1_000_000, 7, types=TYPES, funding_ms=7_000, interest_ms=5_000, expiry_ms=16_000
    )


def open_account(exchange: Exchange, name: str, kind: str) -> None:
    acct_lv, pos_mode = MODES[KINDS[kind][0]]
    deposit = POOLED_DEPOSITS if acct_lv in ("3", "4") else DEPOSITS
    exchange.add_member(name, acct_lv=acct_lv, pos_mode=pos_mode, deposit=deposit)


@pytest.mark.parametrize("kind", KINDS)
def test_an_account_of_one_kind_is_identical(tmp_path: Path, kind: str) -> None:
    async def live() -> None:
        exchange = open_exchange()
        open_account(exchange, "a0", kind)
        since_ms = exchange.now_ms() - 1
        async with wired(tmp_path, CHANNELS, exchange=exchange, rest_only=True) as account:
            account.faults.spellings = kind == "spelled"
            trader = Trader(exchange, 3, KINDS[kind][1])
            await trio.sleep(2)
            for _ in range(2 * STEPS):
                account.hub.operate(trader.step)
                account.hub.operate(exchange.tick)
                await trio.sleep(0.2)
            exchange.closed = True
            await trio.sleep(120)
            path = account.desk.path
            subscriptions = [subscription(name) for name in CHANNELS]
            found, _ = await verify(path, account.client, subscriptions, since_ms, 1.0)
            assert account.stalled == []
            assert by_kind([*found, *check_ledger(path, ["a0"])]) == {}
            assert differences(exchange, path) == {}

    in_virtual_time(live)


async def test_a_daemon_mirrors_all_kinds_at_once(tmp_path: Path) -> None:
    exchange = open_exchange()
    for kind in KINDS:
        open_account(exchange, kind, kind)
    async with serve_sandbox(exchange, dials_per_second=0) as sandbox:
        settings = load(write_config(tmp_path, sandbox.accounts_toml()))
        database = tmp_path / "okxsync.db"
        make_database(database)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(daemon.run, settings, database))
            await until(lambda: status_of(database).exit_code == 0)
            await trade(sandbox)
            assert sandbox.violations == []
            found: dict[str, list[str]] = {}
            with trio.move_on_after(SETTLED_S):  # `verify` does not know what the daemon asks: both share OKX's limits
                while True:
                    rows, failures = await verify_all(database, settings.accounts, 0)
                    assert failures == {}
                    found = by_kind([*rows, *check_ledger(database, KINDS)])
                    if not found:
                        break
                    await trio.sleep(5)
            nursery.cancel_scope.cancel(reason="the test is over")
        assert [one for one in sandbox.violations if not one.startswith("50011")] == []
    assert found == {}


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


def by_kind(found: Iterable[Difference]) -> dict[str, list[str]]:
    """Return the first differences of each account, as text."""
    kinds: dict[str, list[str]] = {}
    for each in found:
        of_one = kinds.setdefault(each.account, [])
        if len(of_one) < 8:
            of_one.append(f"{each.table} {each.key} {each.column}: {each.ours} here, {each.theirs} there")
    return kinds
