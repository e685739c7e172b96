"""``okxsync demo``."""

import logging
from typing import Annotated

import typer

from okxsync.cli.common import fail, leaves, log_to_stderr, read_location


def demo(
    # Not from OKXSYNC_DB: that is the database of real accounts.
    db: Annotated[
        str | None,
        typer.Option("--db", metavar="PATH|URL", help="Path or URL of the database. Default: a temporary one."),
    ] = None,
    for_: Annotated[
        str | None, typer.Option("--for", metavar="DURATION", help="Stop after this time (20s, 5m).")
    ] = None,
    accounts: Annotated[int, typer.Option(min=1, metavar="N", help="Number of accounts.")] = 5,
    plans: Annotated[
        bool, typer.Option("--plans", help="Let plans trade: the accounts wait for `okxsync plan` in another terminal.")
    ] = False,
    terminal: Annotated[
        bool, typer.Option("--terminal", help="Serve `okxsync terminal` over it, and print the address to open.")
    ] = False,
    open_: Annotated[bool, typer.Option("--open", help="The same, and open it in the browser.")] = False,
) -> None:
    """Try it: run a local exchange with accounts that trade, mirror them, and show the status.

    Example: okxsync demo --for 20s

    Exit codes: 0 stopped, 1 the database cannot be used, 2 invalid input.
    """
    from okxsync.config.units import duration_s

    try:
        for_s = duration_s(for_) if for_ else None
    except ValueError as error:
        fail(2, f"--for: {error}")
    database = read_location(db) if db else None

    import trio

    from okxsync import daemon
    from okxsync.demo import demo as run_demo
    from okxsync.store.database import StoreError

    log_to_stderr(logging.ERROR)
    failed: list[str] = []
    try:
        trio.run(
            lambda: run_demo(
                accounts=accounts,
                database=database,
                for_s=for_s,
                plans=plans,
                terminal=terminal or open_,
                open_browser=open_,
            )
        )
    except* (daemon.AlreadyRunning, StoreError, OSError) as group:
        failed = [str(error) for error in leaves(group)]
    if failed:
        fail(1, *failed)
