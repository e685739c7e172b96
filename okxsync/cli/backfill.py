"""``okxsync backfill``."""

import logging
from typing import Annotated

import typer

from okxsync.cli.common import (
    AccountOption,
    ConfigOption,
    DatabaseOption,
    JsonOption,
    choose_database,
    fail,
    leaves,
    log_to_stderr,
    read_settings,
    recorded_now_us,
)


def backfill(
    config: ConfigOption = None,
    db: DatabaseOption = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Start time (2026-11-20T08:00Z) or age (3d, 2h). Default: the open gaps."),
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="End time or age. Default: now.")] = None,
    account: AccountOption = None,
    json: JsonOption = False,
) -> None:
    """Backfill a period of time, or the open gaps, over REST. Works with or without a running daemon.

    Safe to interrupt and to repeat.

    Example: okxsync backfill --since 3d --account alpha

    Exit codes: 0 complete, 1 a part failed, 2 invalid input.
    """
    from okxsync.config.units import moment_ms

    settings = read_settings(config, account, secrets=True)

    import trio

    from okxsync.console.backfill import Progress, report
    from okxsync.reconcile.backfill import backfill as fill_all
    from okxsync.reconcile.backfill import deeper_than_kept
    from okxsync.reconcile.pull import Window
    from okxsync.store.database import StoreError

    path = choose_database(db, settings)
    chosen = [one for one in settings.accounts if one.enabled]
    now_ms = recorded_now_us(path) // 1000
    try:
        ends = moment_ms(until, now_ms) if until else None
        window = Window(moment_ms(since, now_ms), ends) if since else None
    except ValueError as error:
        fail(2, str(error))
    if window and window.since_ms >= now_ms:
        fail(2, f"--since {since} is in the future")
    if until and not window:
        fail(2, "--until needs --since")
    if window and window.until_ms is not None and window.until_ms <= window.since_ms:
        fail(2, "--until must be later than --since")
    too_deep = deeper_than_kept(window.since_ms, now_ms) if window else []
    for line in too_deep:
        typer.echo(f"okxsync: {line}", err=True)
    log_to_stderr(logging.ERROR)
    failed: list[str] = []
    try:
        with Progress() as progress:
            parts = trio.run(lambda: fill_all(path, chosen, window, progress.update))
    except* StoreError as group:
        failed = [str(error) for error in leaves(group)]
    if failed:
        fail(1, *failed)
    typer.echo(report(parts, too_deep, as_json=json))
    raise typer.Exit(1 if any(part.error for part in parts) else 0)
