"""``okxsync demo``."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from okxsync.cli.common import fail, leaves, log_to_stderr


def demo(
    # Not from OKXSYNC_DB: that is the database of real accounts.
    db: Annotated[Path | None, typer.Option("--db", help="The database; default: one to throw away.")] = None,
    for_: Annotated[str | None, typer.Option("--for", help="End by itself after 20s, 5m ...")] = None,
    accounts: Annotated[int, typer.Option(min=1, help="How many accounts trade.")] = 5,
) -> None:
    """See it work: a local exchange with accounts that trade, the daemon mirroring them, and its status.

    Example: okxsync demo --for 20s
    """
    import trio

    from okxsync import daemon
    from okxsync import demo as whole
    from okxsync.config.units import duration_s
    from okxsync.store.database import StoreError

    try:
        for_s = duration_s(for_) if for_ else None
    except ValueError as error:
        fail(2, f"--for: {error}")
    log_to_stderr(logging.ERROR)
    failed: list[str] = []
    try:
        trio.run(lambda: whole.demo(accounts=accounts, database=db, for_s=for_s))
    except* (daemon.AlreadyRunning, StoreError, OSError) as group:
        failed = [str(error) for error in leaves(group)]
    if failed:
        fail(1, *failed)
