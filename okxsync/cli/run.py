"""``okxsync run``."""

from typing import Annotated, Literal

import typer

from okxsync.cli.common import ConfigOption, DatabaseOption, choose_database, fail, leaves, log_to_stderr, read_settings


def run(
    config: ConfigOption = None,
    db: DatabaseOption = None,
    for_: Annotated[
        str | None, typer.Option("--for", metavar="DURATION", help="Stop after this time (90s, 15m, 1h).")
    ] = None,
    if_not_running: Annotated[
        bool, typer.Option("--if-not-running", help="For cron: exit 0 silently if a daemon is running already.")
    ] = False,
    log_format: Annotated[
        Literal["text", "json"],
        typer.Option("--log-format", metavar="text|json", help="Text for people, or JSON lines."),
    ] = "text",
) -> None:
    """Mirror the accounts into the database until Ctrl-C or SIGTERM.

    Example: okxsync run --config accounts.toml

    Exit codes: 0 stopped on request, 1 fatal error, 2 invalid configuration, 4 already running.
    """
    from okxsync.config.units import duration_s

    settings = read_settings(config, secrets=True)
    try:
        for_s = duration_s(for_) if for_ else None
    except ValueError as error:
        fail(2, f"--for: {error}")

    import trio

    from okxsync import daemon
    from okxsync.store.database import StoreError

    log_to_stderr(form=log_format)
    fatal: list[str] = []
    running: list[str] = []
    try:
        trio.run(lambda: daemon.run(settings, choose_database(db, settings), for_s=for_s))
    except* daemon.AlreadyRunning as group:
        running = [str(error) for error in leaves(group)]
    except* StoreError as group:
        fatal = [str(error) for error in leaves(group)]
    if running:
        if if_not_running:
            raise typer.Exit(0)
        fail(4, *running)
    if fatal:
        fail(1, *fatal)
