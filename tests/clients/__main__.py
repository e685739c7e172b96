"""Drives ccxt, python-okx and okxv5 against the built-in exchange: start, place, amend, cancel, algo orders, close.

    uv run --group bench --with okxv5 python -m tests.clients

Prints a line for each step; the exit code is 1 if one failed. Not collected by pytest: two of the three clients are not
among the dependencies of the tests. Each client has an account of its own, and the exchange must hold exactly the
orders that the client was told of.
"""

import queue
import sys
import threading
import time
from collections.abc import Callable

import trio

from okxsync.sandbox.exchange.exchange import Exchange, Member
from okxsync.sandbox.server.server import Sandbox, serve_sandbox
from tests.clients import with_ccxt, with_okxv5, with_python_okx
from tests.clients.checks import Checks

CLIENTS: dict[str, Callable[[str, Member, Checks], None]] = {
    "ccxt": with_ccxt.drive,
    "python-okx": with_python_okx.drive,
    "okxv5": with_okxv5.drive,
}


async def _serve(exchange: Exchange, ready: "queue.Queue[tuple[Sandbox, Callable[[], None]]]") -> None:
    async with serve_sandbox(exchange, dials_per_second=0) as sandbox:
        token, stop = trio.lowlevel.current_trio_token(), trio.Event()
        ready.put((sandbox, lambda: token.run_sync_soon(stop.set)))
        await stop.wait()


def main() -> int:
    """Run all clients; return the number of failed steps."""
    exchange = Exchange(lambda: time.time_ns() // 1_000_000, seed=7)
    exchange.rules.partial_fills = False
    members = {name: exchange.add_member(name.replace("-", "")) for name in CLIENTS}
    ready: queue.Queue[tuple[Sandbox, Callable[[], None]]] = queue.Queue()
    server = threading.Thread(target=trio.run, args=(_serve, exchange, ready))
    server.start()
    sandbox, stop = ready.get()
    failed = 0
    try:
        for name, drive in CLIENTS.items():
            checks, member = Checks(name), members[name]
            try:
                drive(sandbox.url_rest, member, checks)
            except Exception as error:  # one client's crash must not hide what the next one does
                checks.that(f"no {type(error).__name__}", False, error)
            pending = [order.cl_ord_id or order.ord_id for order in exchange.account(member.uid).pending.values()]
            checks.that("leaves no order behind", pending == [], pending)
            held = [row["instId"] for row in exchange.position_rows(member.uid)]
            checks.that("leaves no position behind", held == [], held)
            failed += checks.failed
    finally:
        stop()
        server.join()
    if sandbox.violations:
        print("rate limits violated:", *sandbox.violations, sep="\n  ")
    return failed


if __name__ == "__main__":
    sys.exit(1 if main() else 0)
