"""``okxsync check``."""

import logging

import typer

from okxsync.cli.common import (
    AccountOption,
    ConfigOption,
    DatabaseOption,
    JsonOption,
    choose_database,
    fail,
    find_config,
    log_to_stderr,
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
    import msgspec

    from okxsync.config.secret import ConfigError
    from okxsync.config.settings import accounts_named, load, missing_secrets

    try:
        settings = load(find_config(config))
        if account:
            chosen = accounts_named(settings, account)
            settings = msgspec.structs.replace(settings, accounts=tuple(chosen))
    except ConfigError as error:
        fail(2, *error.lines)
    except ValueError as error:
        fail(2, str(error))
    import trio  # this and what follows take longer to import than all before; a mistake is reported first

    from okxsync.accounts.preflight import check_all
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
