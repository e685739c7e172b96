"""``okxsync sandbox``: serve the exchange until a signal comes."""

import signal
import sys
import time
from pathlib import Path

import trio

from okxsync.sandbox.exchange import Exchange
from okxsync.sandbox.server import serve_sandbox


async def serve(port: int, accounts: int, rate: float, seed: int, write_config: Path | None) -> None:
    """Serve ``accounts`` accounts that trade ``rate`` times a second on ``port``, until SIGINT or SIGTERM.

    Raises:
        OSError: the port is taken, or the configuration cannot be written.
    """
    exchange = Exchange(lambda: time.time_ns() // 1_000_000, seed=seed)
    for number in range(1, accounts + 1):
        exchange.add_member(f"account{number}")
    async with serve_sandbox(exchange, port=port, rate=rate, seed=seed) as sandbox:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            if write_config:
                await trio.Path(write_config).touch(mode=0o600)
                await trio.Path(write_config).write_text(sandbox.accounts_toml())
            print(write_config or sandbox.accounts_toml(), flush=True)
            print(f"serving {accounts} accounts on {sandbox.url_rest}, Ctrl-C ends it", file=sys.stderr, flush=True)
            async for _ in signals:
                break
        for violation in sandbox.violations:
            print(f"a limit was broken: {violation}", file=sys.stderr)
