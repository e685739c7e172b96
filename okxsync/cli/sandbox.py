"""``okxsync sandbox``."""

from pathlib import Path
from typing import Annotated

import typer

from okxsync.cli.common import fail, leaves


def sandbox(
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="PORT", help="Port on the loopback address; 0 picks a free one.")
    ] = 8765,
    accounts: Annotated[int, typer.Option(min=1, metavar="N", help="Number of accounts.")] = 5,
    rate: Annotated[float, typer.Option(min=0, metavar="N", help="Operations per second over all accounts.")] = 5.0,
    seed: Annotated[int, typer.Option(metavar="N", help="Random seed.")] = 1,
    faults: Annotated[
        str,
        typer.Option(
            metavar="FAULTS",
            help="Inject one of these faults every 10 s: rst,half-open,4001,4006,upgrade; or a script: file.toml.",
        ),
    ] = "",
    dials_per_second: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="N",
            help="New WebSocket connections per second; more are rejected with HTTP 429, as OKX does. 0: no limit.",
        ),
    ] = 3,
    write_config: Annotated[
        Path | None, typer.Option("--write-config", metavar="PATH", help="Write the accounts.toml to use to this path.")
    ] = None,
) -> None:
    """Run a local OKX-compatible exchange with accounts that trade, until Ctrl-C. Prints the accounts.toml to use.

    Example: okxsync sandbox --accounts 20 --rate 20 --write-config accounts.toml

    Exit codes: 0 stopped, 1 the port or the file cannot be used, 2 invalid input.
    """
    import trio

    from okxsync.sandbox import command

    try:
        chosen = command.faults_of(faults)
    except ValueError as error:
        fail(2, f"--faults: {error}")
    failed: list[str] = []
    try:
        trio.run(lambda: command.serve(port, accounts, rate, seed, chosen, dials_per_second, write_config))
    except* OSError as group:
        failed = [f"sandbox on port {port}: {error}" for error in leaves(group)]
    if failed:
        fail(1, *failed)
