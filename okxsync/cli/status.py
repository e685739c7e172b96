"""``okxsync status``."""

from contextlib import suppress
from typing import Annotated

import typer

from okxsync.cli.common import ConfigOption, DatabaseOption, fail, find_database


def status(
    config: ConfigOption = None,
    db: DatabaseOption = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Look again every second, until Ctrl-C.")] = False,
) -> None:
    """Show the connection table, open gaps, writer and log of the daemon on this database.

    Example: okxsync status --db okxsync.db --json

    Exit codes: 0 all live and no open gap, 1 something is down or open, 2 bad configuration, 3 no daemon alive.
    """
    import time

    import msgspec
    from rich.live import Live

    from okxsync.store.database import StoreError
    from okxsync.store.status import Status, read_status
    from okxsync.terminal.table import console, render

    path = find_database(config, db)

    def look() -> Status:
        return read_status(path, time.time_ns() // 1000)

    try:
        found = look()
        if json:
            typer.echo(msgspec.json.encode(found))
        elif not watch:
            console().print(render(found))
        else:
            with suppress(KeyboardInterrupt), Live(render(found), auto_refresh=False) as live:
                while True:
                    time.sleep(1)
                    found = look()
                    live.update(render(found), refresh=True)
    except StoreError as error:
        fail(3, str(error))
    raise typer.Exit(found.exit_code)
