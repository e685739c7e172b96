"""``okxsync status``."""

from contextlib import suppress
from typing import Annotated

import typer

from okxsync.cli.common import ConfigOption, DatabaseOption, fail, find_database, refuse_unknown


def status(
    config: ConfigOption = None,
    db: DatabaseOption = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Look again every second, until Ctrl-C.")] = False,
    account: Annotated[list[str] | None, typer.Option(help="Show only this account; may be repeated.")] = None,
    problems: Annotated[bool, typer.Option("--problems", help="Show only what is not live and whole.")] = False,
) -> None:
    """Show connections, accounts, open gaps, writer, log and disk of the daemon on this database; reads only.

    Example: okxsync status --watch --problems

    Exit codes: 0 all live and no open gap, 1 something is down or open, 2 bad configuration, 3 no daemon alive.
    """
    import time

    import msgspec
    from rich.console import RenderableType
    from rich.live import Live

    from okxsync.console.status import console, render
    from okxsync.mirror.accounts import read_details
    from okxsync.mirror.status import read_status
    from okxsync.store.database import StoreError

    path = find_database(config, db)
    out = console()

    def read() -> tuple[int, RenderableType]:
        now_us = time.time_ns() // 1000
        found = read_status(path, now_us)
        details = read_details(path, now_us, alive=found.daemon.alive)
        height = out.height - 1 if watch and out.is_terminal else None
        shown = render(found, details=details, width=out.width, height=height, only=account or (), problems=problems)
        return found.exit_code, shown

    try:
        refuse_unknown(path, account or ())
        if json:
            full = read_status(path, time.time_ns() // 1000)
            if account:
                full.connections = [one for one in full.connections if one.listener in account]
            typer.echo(msgspec.json.encode(full))
            raise typer.Exit(full.exit_code)
        code, shown = read()
        if watch:
            # The alternate screen is painted over in place; what was on the terminal comes back at the end.
            with (
                suppress(KeyboardInterrupt),
                Live(shown, console=out, screen=out.is_terminal, auto_refresh=False) as live,
            ):
                while True:
                    time.sleep(1)
                    code, shown = read()
                    live.update(shown, refresh=True)
        out.print(shown)
    except StoreError as error:
        fail(3, str(error))
    raise typer.Exit(code)
