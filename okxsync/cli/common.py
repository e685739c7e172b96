"""What all commands share: their options, and how they fail, find files and log."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from okxsync.runtime.logging import log_to_stderr

__all__ = [
    "ConfigOption",
    "DatabaseOption",
    "fail",
    "find_config",
    "find_database",
    "leaves",
    "log_to_stderr",
    "refuse_unknown",
]

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", envvar="OKXSYNC_CONFIG", help="accounts.toml; default: here, then the user's config folder."
    ),
]
DatabaseOption = Annotated[
    Path | None, typer.Option("--db", envvar="OKXSYNC_DB", help="The database; default: as accounts.toml says.")
]


def fail(code: int, *lines: str) -> NoReturn:
    """Print one line for each thing to mend, once, and exit."""
    from okxsync.runtime.text import CONTROL_ESCAPES

    for line in dict.fromkeys(lines):
        typer.echo(f"okxsync: {line.translate(CONTROL_ESCAPES)}", err=True)
    raise typer.Exit(code)


def find_config(given: Path | None) -> Path:
    """Return the file to use: as given, else ./accounts.toml, else the one in the user's config folder."""
    if given:
        return given
    here = Path("accounts.toml")
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "okxsync" / "accounts.toml"
    return here if here.exists() or not home.exists() else home


def find_database(config: Path | None, db: Path | None) -> Path:
    """Return the database to read: as given, else as the configuration says."""
    from okxsync.config.secret import ConfigError
    from okxsync.config.settings import load

    if db:
        return db
    try:
        return load(find_config(config)).database
    except ConfigError as error:
        fail(2, *error.lines)


def refuse_unknown(database: Path, names: Sequence[str]) -> None:
    """Exit if an account is named that the database has never heard of: nothing to show is not "nothing there".

    Raises:
        StoreError: the database cannot be read.
    """
    from okxsync.mirror.queries import unknown_names

    for name, nearest in unknown_names(database, names).items():
        meant = f'; is "{nearest}" meant?' if nearest else ""
        fail(2, f'{database}: has no account "{name}"{meant}')


def leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    """Return the errors of a group and of the groups in it."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from leaves(error)
        else:
            yield error
