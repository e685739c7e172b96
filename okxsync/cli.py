"""The commands: parse, call, print. Heavy modules are imported by the command that needs them."""

import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from okxsync import __version__

app = typer.Typer(
    help="Keep an exact local copy of many OKX accounts, and prove that nothing is missing.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", envvar="OKXSYNC_CONFIG", help="accounts.toml; default: here, then the user's config folder."
    ),
]
DatabaseOption = Annotated[
    Path | None, typer.Option("--db", envvar="OKXSYNC_DB", help="The database; default: as accounts.toml says.")
]


def main() -> None:
    app()


def fail(code: int, *lines: str) -> NoReturn:
    """Print one line for each thing to mend, and exit."""
    for line in lines:
        typer.echo(f"okxsync: {line}", err=True)
    raise typer.Exit(code)


def find_config(given: Path | None) -> Path:
    """Return the file to use: as given, else ./accounts.toml, else the one in the user's config folder."""
    if given:
        return given
    here = Path("accounts.toml")
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "okxsync" / "accounts.toml"
    return here if here.exists() or not home.exists() else home


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def okxsync(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Keep an exact local copy of many OKX accounts, and prove that nothing is missing."""


@app.command()
def run(
    config: ConfigOption = None,
    db: DatabaseOption = None,
    for_: Annotated[str | None, typer.Option("--for", help="End by itself after 90s, 15m, 1h ...")] = None,
    if_not_running: Annotated[
        bool, typer.Option("--if-not-running", help="For cron: say nothing and exit 0 if a daemon runs already.")
    ] = False,
) -> None:
    """Mirror the accounts until Ctrl-C or SIGTERM.

    Example: okxsync run --config accounts.toml

    Exit codes: 0 stopped as asked, 1 fatal, 2 bad configuration, 4 already running.
    """
    import trio

    from okxsync import config as configuration
    from okxsync import daemon
    from okxsync.store.database import StoreError

    try:
        settings = configuration.load(find_config(config))
        if missing := configuration.missing_secrets(settings):
            fail(2, *missing)
        for_s = configuration.duration_s(for_) if for_ else None
    except configuration.ConfigError as error:
        fail(2, *error.lines)
    except ValueError as error:
        fail(2, f"--for: {error}")
    log_to_stderr()
    fatal: list[str] = []
    running: list[str] = []
    try:
        trio.run(lambda: daemon.run(settings, db or settings.database, for_s=for_s))
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


@app.command()
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
    from rich.console import Console
    from rich.live import Live

    from okxsync.store.database import StoreError
    from okxsync.store.status import Status, read_status
    from okxsync.terminal.table import render

    path = find_database(config, db)

    def look() -> Status:
        return read_status(path, time.time_ns() // 1000)

    try:
        found = look()
        if json:
            typer.echo(msgspec.json.encode(found))
        elif not watch:
            Console().print(render(found))
        else:
            with suppress(KeyboardInterrupt), Live(render(found), auto_refresh=False) as live:
                while True:
                    time.sleep(1)
                    found = look()
                    live.update(render(found), refresh=True)
    except StoreError as error:
        fail(3, str(error))
    raise typer.Exit(found.exit_code)


@app.command()
def sandbox(
    port: Annotated[int, typer.Option(help="On the loopback address; 0 takes a free one.")] = 8765,
    accounts: Annotated[int, typer.Option(min=1, help="How many accounts it has.")] = 5,
    rate: Annotated[float, typer.Option(min=0, help="Operations per second over all accounts.")] = 5.0,
    seed: Annotated[int, typer.Option(help="The same seed trades the same.")] = 1,
    write_config: Annotated[
        Path | None, typer.Option("--write-config", help="Write the accounts.toml to use there.")
    ] = None,
) -> None:
    """Serve a local OKX-compatible exchange with accounts that trade, until Ctrl-C; prints the accounts.toml to use.

    Example: okxsync sandbox --accounts 20 --rate 20 --write-config accounts.toml
    """
    import trio

    from okxsync.sandbox import command

    try:
        trio.run(lambda: command.serve(port, accounts, rate, seed, write_config))
    except* OSError as group:
        error = group.exceptions[0]
        fail(1, f"sandbox: {error}")


@app.command()
def demo(
    db: DatabaseOption = None,
    for_: Annotated[str | None, typer.Option("--for", help="End by itself after 20s, 5m ...")] = None,
    accounts: Annotated[int, typer.Option(min=1, help="How many accounts trade.")] = 5,
) -> None:
    """See it work: a local exchange with accounts that trade, the daemon mirroring them, and its status.

    Example: okxsync demo --for 20s
    """
    import trio

    from okxsync import config as configuration
    from okxsync import daemon
    from okxsync import demo as whole
    from okxsync.store.database import StoreError

    try:
        for_s = configuration.duration_s(for_) if for_ else None
    except ValueError as error:
        fail(2, f"--for: {error}")
    log_to_stderr(logging.ERROR)
    failed: list[str] = []
    try:
        trio.run(lambda: whole.demo(accounts=accounts, database=db, for_s=for_s))
    except* (daemon.AlreadyRunning, StoreError, OSError) as group:
        failed = [str(error) for error in leaves(group)]
    if failed:
        fail(1, *failed)


@app.command()
def backfill(
    config: ConfigOption = None,
    db: DatabaseOption = None,
    since: Annotated[
        str | None, typer.Option(help="2026-11-20T08:00Z, or 3d, 2h ago; without it: what the open gaps need.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Likewise; without it: now.")] = None,
    account: Annotated[list[str] | None, typer.Option(help="Only this account; may be repeated.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document at the end.")] = False,
) -> None:
    """Fill a window of time, or the open gaps, over REST; beside a running daemon or without one.

    Safe to interrupt and to repeat.

    Example: okxsync backfill --since 3d --account alpha

    Exit codes: 0 complete, 1 some part failed, 2 bad input.
    """
    import trio

    from okxsync import config as configuration
    from okxsync.rest.backfill import backfill as fill_all
    from okxsync.rest.backfill import deeper_than_kept
    from okxsync.rest.fill import Window
    from okxsync.store.database import StoreError
    from okxsync.terminal.progress import Progress, report

    now_ms = time.time_ns() // 1_000_000
    try:
        settings = configuration.load(find_config(config))
        chosen = configuration.accounts_named(settings, account or [])
        if missing := configuration.missing_secrets(settings):
            fail(2, *missing)
        ends = configuration.moment_ms(until, now_ms) if until else None
        window = Window(configuration.moment_ms(since, now_ms), ends) if since else None
    except configuration.ConfigError as error:
        fail(2, *error.lines)
    except ValueError as error:
        fail(2, str(error))
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
            parts = trio.run(lambda: fill_all(db or settings.database, chosen, window, progress.told))
    except* StoreError as group:
        failed = [str(error) for error in leaves(group)]
    if failed:
        fail(1, *failed)
    typer.echo(report(parts, too_deep, as_json=json))
    raise typer.Exit(1 if any(part.error for part in parts) else 0)


def find_database(config: Path | None, db: Path | None) -> Path:
    """Return the database to read: as given, else as the configuration says."""
    from okxsync import config as configuration

    if db:
        return db
    try:
        return configuration.load(find_config(config)).database
    except configuration.ConfigError as error:
        fail(2, *error.lines)


def leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    """Return the errors of a group and of the groups in it."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from leaves(error)
        else:
            yield error


def log_to_stderr(level: int = logging.INFO) -> None:
    """One structured line per event: time, level, what."""
    formatter = logging.Formatter("%(asctime)s.%(msecs)03dZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logger = logging.getLogger("okxsync")
    logger.addHandler(handler)
    logger.setLevel(level)
