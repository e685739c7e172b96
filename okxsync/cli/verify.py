"""``okxsync verify``."""

import logging
from functools import partial
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


def verify(
    config: ConfigOption = None,
    db: DatabaseOption = None,
    since: Annotated[
        str,
        typer.Option(
            metavar="TIME", help="Compare fills and plans since this time (2026-11-20T08:00Z) or age (3d, 2h)."
        ),
    ] = "1d",
    account: AccountOption = None,
    ledger: Annotated[bool, typer.Option("--ledger", help="Offline: check the tables' internal consistency.")] = False,
    plans: Annotated[
        bool, typer.Option("--plans", help="Compare the orders of plans since --since: one for each that was placed.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Compare the database with OKX over REST, and print every difference.

    Example: okxsync verify --since 2h

    Exit codes: 0 identical, 1 differences, 2 invalid input, 5 could not query OKX.
    """
    from okxsync.config.units import moment_ms

    if ledger and plans:
        fail(2, "--ledger and --plans: give one of them")

    settings = read_settings(config, account, secrets=not ledger)
    chosen = [one for one in settings.accounts if one.enabled]
    if not chosen:
        fail(2, f"{settings.path}: no account is enabled, so there is nothing to compare")
    path = choose_database(db, settings)
    now_ms = recorded_now_us(path) // 1000
    try:
        since_ms = moment_ms(since, now_ms)
    except ValueError as error:
        fail(2, str(error))
    if since_ms >= now_ms:
        fail(2, f"--since {since} is in the future")

    import trio

    from okxsync.console.differences import report
    from okxsync.mirror.ledger import check_ledger
    from okxsync.plans.verify import verify_plans
    from okxsync.reconcile.verify import verify_all
    from okxsync.store.database import StoreError

    log_to_stderr(logging.ERROR)
    failed: list[str] = []
    try:
        if ledger:
            found, failures = check_ledger(path, [one.name for one in chosen]), dict[str, str]()
        else:
            function = partial(verify_plans, are_all=not account) if plans else verify_all
            found, failures = trio.run(function, path, chosen, since_ms)
    except* StoreError as group:
        failed = [str(error) for error in leaves(group)]
    if failed:
        fail(5, *failed)
    typer.echo(report(found, failures, as_json=json))
    raise typer.Exit(5 if failures else 1 if found else 0)
