"""``okxsync verify``."""

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
    find_config,
    leaves,
    log_to_stderr,
    recorded_now_us,
)


def verify(
    config: ConfigOption = None,
    db: DatabaseOption = None,
    since: Annotated[
        str, typer.Option(metavar="TIME", help="Compare fills since this time (2026-11-20T08:00Z) or age (3d, 2h).")
    ] = "1d",
    account: AccountOption = None,
    ledger: Annotated[bool, typer.Option("--ledger", help="Offline: check the tables' internal consistency.")] = False,
    json: JsonOption = False,
) -> None:
    """Compare the database with OKX over REST, and print every difference.

    Example: okxsync verify --since 2h

    Exit codes: 0 identical, 1 differences, 2 invalid input, 5 could not query OKX.
    """
    from okxsync.config.secret import ConfigError
    from okxsync.config.settings import accounts_named, load, missing_secrets
    from okxsync.config.units import moment_ms

    try:
        settings = load(find_config(config))
        chosen = accounts_named(settings, account or [])
        now_ms = recorded_now_us(choose_database(db, settings)) // 1000
        since_ms = moment_ms(since, now_ms)
        if not chosen:
            fail(2, f"{settings.path}: no account is enabled, so there is nothing to compare")
        if not ledger and (missing := missing_secrets(settings)):
            fail(2, *missing)
    except ConfigError as error:
        fail(2, *error.lines)
    except ValueError as error:
        fail(2, str(error))
    if since_ms >= now_ms:
        fail(2, f"--since {since} is in the future")
    import trio  # this and what follows take longer to import than all before; a mistake is reported first

    from okxsync.console.differences import report
    from okxsync.mirror.ledger import check_ledger
    from okxsync.reconcile.verify import verify_all
    from okxsync.store.database import StoreError

    log_to_stderr(logging.ERROR)
    path = choose_database(db, settings)
    failed: list[str] = []
    try:
        if ledger:
            found, failures = check_ledger(path, [one.name for one in chosen]), dict[str, str]()
        else:
            found, failures = trio.run(verify_all, path, chosen, since_ms)
    except* StoreError as group:
        failed = [str(error) for error in leaves(group)]
    if failed:
        fail(5, *failed)
    typer.echo(report(found, failures, as_json=json))
    raise typer.Exit(5 if failures else 1 if found else 0)
