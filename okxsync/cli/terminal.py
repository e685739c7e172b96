"""``okxsync terminal``."""

from typing import Annotated

import typer

from okxsync.cli.common import (
    ConfigOption,
    DatabaseOption,
    choose_database,
    fail,
    find_database,
    leaves,
    read_settings,
)

PORT = 8790


def terminal(
    config: ConfigOption = None,
    db: DatabaseOption = None,
    port: Annotated[int, typer.Option(min=0, max=65535, metavar="PORT", help="Port; 0 picks a free one.")] = PORT,
    host: Annotated[
        str, typer.Option(metavar="HOST", help="The name or address by which browsers call this machine; needs TLS.")
    ] = "127.0.0.1",
    token_file: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="A file with the token to log in, mode 0600. Default: a new token."),
    ] = None,
    tls_cert: Annotated[str | None, typer.Option(metavar="FILE", help="Certificate chain, PEM.")] = None,
    tls_key: Annotated[str | None, typer.Option(metavar="FILE", help="Its private key, PEM.")] = None,
    trade: Annotated[
        bool, typer.Option("--trade", help="Let the page preview and execute plans; needs [trading] enabled = true.")
    ] = False,
    open_: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Show all accounts, positions, orders and fills in a browser, and how far each number can be trusted.

    It only reads the database, and works while `okxsync run` does not. Prints the address to open. With --trade it also
    asks the daemon for plans, as `okxsync plan` does.

    Example: okxsync terminal --open

    Exit codes: 0 stopped, 1 the port cannot be used, 2 invalid input, 6 trading is off.
    """
    from okxsync.terminal.options import read_tls, read_token, refuse_host

    try:
        tls = read_tls(tls_cert, tls_key)
        refuse_host(host, tls)
        token = read_token(token_file) if token_file else None
    except ValueError as error:
        fail(2, str(error))
    groups = None
    if trade:
        settings = read_settings(config)
        if not settings.trading.enabled:
            fail(6, f"{settings.path}: trading is off; set [trading] enabled = true")
        database = choose_database(db, settings)
        groups = sorted({name for one in settings.trading.accounts.values() for name in one.groups})
    else:
        database = find_database(config, db)

    import trio

    from okxsync.terminal.command import run

    failed: list[str] = []
    try:
        trio.run(lambda: run(database, host=host, port=port, tls=tls, token=token, open_browser=open_, trade=groups))
    except* OSError as group:
        failed = [f"{host}:{port}: {error.strerror or error}" for error in leaves(group) if isinstance(error, OSError)]
    if failed:
        fail(1, *failed)
