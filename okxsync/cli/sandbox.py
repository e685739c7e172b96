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
    instruments: Annotated[
        str,
        typer.Option(
            metavar="TYPES",
            help="Instrument types to list and trade: SPOT,MARGIN,SWAP,FUTURES,OPTION or all. Default: spot, swaps.",
        ),
    ] = "",
    modes: Annotated[
        str,
        typer.Option(
            metavar="MODES",
            help="Account modes (acctLv), in turn: 1,2,2-long-short,3,3-long-short,4 or all. Default: 2.",
        ),
    ] = "",
    settle_every: Annotated[
        float,
        typer.Option(
            min=0, metavar="SECONDS", help="Period of funding, interest and expiry. Default: 8 hours, 1 hour, 7 days."
        ),
    ] = 0.0,
    write_config: Annotated[
        Path | None, typer.Option("--write-config", metavar="PATH", help="Write the accounts.toml to use to this path.")
    ] = None,
) -> None:
    """Run a local OKX-compatible exchange with accounts that trade, until Ctrl-C. Prints the accounts.toml to use.

    Example: okxsync sandbox --accounts 20 --rate 20 --write-config accounts.toml

    Exit codes: 0 stopped, 1 the port or the file cannot be used, 2 invalid input.
    """
    import trio

    from okxsync.sandbox import accounts as opening
    from okxsync.sandbox import command

    option = "--faults"
    try:
        chosen = command.faults_of(faults)
        option = "--instruments"
        types = opening.types_of(instruments)
        option = "--modes"
        account_modes = opening.modes_of(modes)
    except ValueError as error:
        fail(2, f"{option}: {error}")
    failed: list[str] = []
    try:
        trio.run(
            lambda: command.serve(
                port, accounts, rate, seed, chosen, dials_per_second, write_config, types, account_modes, settle_every
            )
        )
    except* OSError as group:
        failed = [f"sandbox on port {port}: {error}" for error in leaves(group)]
    if failed:
        fail(1, *failed)
