"""``okxsync status``."""

from contextlib import suppress
from typing import Annotated

import typer

from okxsync.cli.common import (
    AccountOption,
    ConfigOption,
    DatabaseOption,
    JsonOption,
    fail,
    find_database,
    reject_unknown,
)


def status(
    config: ConfigOption = None,
    db: DatabaseOption = None,
    json: JsonOption = False,
    watch: Annotated[bool, typer.Option("--watch", help="Update every second, until Ctrl-C.")] = False,
    account: AccountOption = None,
    problems: Annotated[
        bool, typer.Option("--problems", help="Show only connections and accounts with problems.")
    ] = False,
) -> None:
    """Show connections, accounts, open gaps, writer, raw log and disk. Read-only.

    Example: okxsync status --watch --problems

    Exit codes: 0 all live and no open gap, 1 a connection is down, a gap is open or nothing can be written,
    2 invalid configuration, 3 no daemon is alive.
    """
    path = find_database(config, db)

    import time

    import msgspec
    from rich.console import RenderableType
    from rich.live import Live

    from okxsync.console.status import console, render
    from okxsync.mirror.reader import Mirror
    from okxsync.store.database import StoreError

    out = console()

    def read() -> tuple[int, RenderableType]:
        with Mirror(path) as mirror, mirror.snapshot():
            found, details = mirror.status(), mirror.details()
        height = out.height - 1 if watch and out.is_terminal else None
        shown = render(found, details=details, width=out.width, height=height, only=account or (), problems=problems)
        return found.exit_code, shown

    try:
        reject_unknown(path, account or ())
        if json:
            with Mirror(path) as mirror:
                full = mirror.status()
            if account:
                full.connections = [one for one in full.connections if one.listener in account]
            typer.echo(msgspec.json.encode(full))
            raise typer.Exit(full.exit_code)
        code, shown = read()
        if watch:
            # The alternate screen is redrawn in place; the terminal's content is restored at the end.
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
