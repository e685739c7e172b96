"""``okxsync sandbox``: serve the exchange until a signal comes."""

import random
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import trio

from okxsync.sandbox.exchange import Exchange
from okxsync.sandbox.server import Sandbox, serve_sandbox

FAULTS: Final = ("rst", "half-open", "4001", "4006", "upgrade")
"""What may befall a connection: a TCP reset, silence, a close code, or the notice of an upgrade (64008)."""
FAULT_S: Final = 10.0
UPGRADE_S: Final = 60.0


async def serve(
    port: int, accounts: int, rate: float, seed: int, faults: Sequence[str], write_config: Path | None
) -> None:
    """Serve ``accounts`` accounts that trade ``rate`` times a second on ``port``, until SIGINT or SIGTERM.

    Args:
        faults: Every ten seconds one of these befalls a connection.

    Raises:
        OSError: the port is taken, or the configuration cannot be written.
    """
    exchange = Exchange(lambda: time.time_ns() // 1_000_000, seed=seed)
    for number in range(1, accounts + 1):
        exchange.add_member(f"account{number}")
    async with serve_sandbox(exchange, port=port, rate=rate, seed=seed) as sandbox, trio.open_nursery() as nursery:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            if write_config:
                await trio.Path(write_config).touch(mode=0o600)
                await trio.Path(write_config).write_text(sandbox.accounts_toml())
            print(write_config or sandbox.accounts_toml(), flush=True)
            print(f"serving {accounts} accounts on {sandbox.url_rest}, Ctrl-C ends it", file=sys.stderr, flush=True)
            if faults:
                nursery.start_soon(_disturb, sandbox, faults, random.Random(seed))
            async for _ in signals:
                break
        nursery.cancel_scope.cancel(reason="stopped")
    for violation in sandbox.violations:
        print(f"a limit was broken: {violation}", file=sys.stderr)


async def _disturb(sandbox: Sandbox, faults: Sequence[str], rng: random.Random) -> None:
    while True:
        await trio.sleep(FAULT_S)
        fault = rng.choice(faults)
        if fault == "upgrade":
            sandbox.announce_upgrade(UPGRADE_S)
        elif sandbox.connections:
            sandbox.drop(rng.choice(sandbox.connections), fault)
