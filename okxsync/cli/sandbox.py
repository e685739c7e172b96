"""``okxsync sandbox``."""

from pathlib import Path
from typing import Annotated

import typer

from okxsync.cli.common import fail


def sandbox(
    port: Annotated[int, typer.Option(help="On the loopback address; 0 takes a free one.")] = 8765,
    accounts: Annotated[int, typer.Option(min=1, help="How many accounts it has.")] = 5,
    rate: Annotated[float, typer.Option(min=0, help="Operations per second over all accounts.")] = 5.0,
    seed: Annotated[int, typer.Option(help="The same seed trades the same.")] = 1,
    write_config: Annotated[
        Path | None, typer.Option("--write-config", help="Write the accounts.toml to use there.")
    ] = None,
) -> None:
    """Serve a local OKX-compatible exchange with accounts that trade, until Ctrl-C; prints the accounts.toml to use.

    Example: okxsync sandbox --accounts 20 --rate 20 --write-config accounts.toml
    """
    import trio

    from okxsync.sandbox import command

    try:
        trio.run(lambda: command.serve(port, accounts, rate, seed, write_config))
    except* OSError as group:
        error = group.exceptions[0]
        fail(1, f"sandbox: {error}")
