"""``okxsync sandbox``: serve the exchange until SIGINT or SIGTERM."""

import random
import signal
import sys
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final

import trio

from okxsync.sandbox.accounts import MODES, Mode, open_accounts
from okxsync.sandbox.exchange.exchange import Exchange
from okxsync.sandbox.faults.script import Fault, play, read_script
from okxsync.sandbox.server.server import serve_sandbox

FAULTS: Final = ("rst", "half-open", "4001", "4006", "upgrade")
"""Faults of a connection: a TCP reset, silence, a close code, or the notice of a service upgrade (64008)."""
FAULT_S: Final = 10.0


def faults_of(text: str) -> list[Fault]:
    """Read the option ``--faults``: the path of a script, or a comma-separated list of names.

    One of the named faults is injected every ten seconds, in turn.

    Raises:
        ValueError: the text is neither; the message is one line.
    """
    if text.endswith(".toml"):
        return read_script(Path(text))
    names = [name for name in text.split(",") if name]
    if unknown := set(names) - set(FAULTS):
        raise ValueError(
            f"{', '.join(sorted(unknown))} is not a fault: use {', '.join(FAULTS)}, or the path of a .toml file"
        )
    return [_in_turn(name, number, len(names)) for number, name in enumerate(names, 1)]


def _in_turn(name: str, number: int, count: int) -> Fault:
    do, code = ("close", name) if name.isdecimal() else (name, "")
    one = name != "upgrade"  # an upgrade concerns all connections
    return Fault(do=do, code=code, at_s=number * FAULT_S, every=count * FAULT_S, any=one)


def _periods(settle_s: float) -> dict[str, int]:
    names = ("funding_ms", "interest_ms", "expiry_ms") if settle_s else ()
    return dict.fromkeys(names, int(settle_s * 1000))


async def serve(
    port: int,
    accounts: int,
    rate: float,
    seed: int,
    faults: list[Fault],
    dials_per_second: int,
    write_config: Path | None,
    types: Collection[str] = (),
    modes: Sequence[Mode] = (MODES["2"],),
    settle_s: float = 0.0,
) -> None:
    """Serve ``accounts`` accounts that trade ``rate`` times a second on ``port``, until SIGINT or SIGTERM.

    Args:
        types: The instrument types to list; none for the default of the exchange.
        modes: The modes of the accounts, in turn.
        settle_s: How often funding, interest and expiry happen, in seconds; 0 for OKX's own times.
        faults: The faults to inject.
        dials_per_second: New WebSocket connections per second; more are rejected with HTTP 429. 0 for no limit.

    Raises:
        OSError: the port is taken, or the configuration cannot be written.
    """
    exchange = Exchange(lambda: time.time_ns() // 1_000_000, seed=seed, types=types, **_periods(settle_s))
    open_accounts(exchange, (f"account{number}" for number in range(1, accounts + 1)), modes)
    serving = serve_sandbox(exchange, port=port, rate=rate, seed=seed, dials_per_second=dials_per_second)
    async with serving as sandbox, trio.open_nursery() as nursery:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            if write_config:
                await trio.Path(write_config).touch(mode=0o600)
                await trio.Path(write_config).write_text(sandbox.accounts_toml())
            print(write_config or sandbox.accounts_toml(), flush=True)
            print(f"serving {accounts} accounts on {sandbox.url_rest}, stop with Ctrl-C", file=sys.stderr, flush=True)
            nursery.start_soon(play, sandbox, faults, random.Random(seed))
            async for _ in signals:
                break
        nursery.cancel_scope.cancel(reason="stopped")
    for violation in sandbox.violations:
        print(f"rate limit violated: {violation}", file=sys.stderr)
