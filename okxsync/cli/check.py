"""``okxsync check``."""

import logging

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


def check(
    config: ConfigOption = None,
    db: DatabaseOption = None,
    account: AccountOption = None,
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
    findings = trio.run(check_all, settings, choose_database(db, settings), missing)
    if json:
        typer.echo(msgspec.json.encode({"findings": findings}))
    else:
        console().print(render_findings(findings))
    raise typer.Exit(1 if any(one.level == "fail" for one in findings) else 0)
