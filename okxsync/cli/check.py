"""``okxsync check``."""

import logging
from typing import TYPE_CHECKING, Annotated

import typer

from okxsync.cli.common import (
    AccountOption,
    ConfigOption,
    DatabaseOption,
    JsonOption,
    choose_database,
    log_to_stderr,
    read_settings,
)

if TYPE_CHECKING:
    from okxsync.accounts.preflight import Finding


def check(
    config: ConfigOption = None,
    db: DatabaseOption = None,
    account: AccountOption = None,
    trading: Annotated[
        bool,
        typer.Option("--trading", help="Also what trading needs: permissions, modes, instruments, limits, file mode."),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Check configuration, secrets, hosts, clock and API keys. Read-only.

    Example: okxsync check --config accounts.toml

    Exit codes: 0 no check failed (there may be warnings), 1 a check failed, 2 invalid configuration.
    """
    settings = read_settings(config, account)

    import msgspec
    import trio

    from okxsync.accounts.preflight import check_all
    from okxsync.config.settings import missing_secrets
    from okxsync.console.preflight import render_findings
    from okxsync.console.status import console

    log_to_stderr(logging.ERROR)
    missing = missing_secrets(settings)
    database = choose_database(db, settings)

    async def run_checks() -> "list[Finding]":
        findings = await check_all(settings, database, missing)
        if trading:
            from okxsync.plans.preflight import check_trading

            findings += await check_trading(settings, database)
        return findings

    findings = trio.run(run_checks)
    if json:
        typer.echo(msgspec.json.encode({"findings": findings}))
    else:
        console().print(render_findings(findings))
    raise typer.Exit(1 if any(one.level == "fail" for one in findings) else 0)
