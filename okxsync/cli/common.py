"""What all commands share: their options, and how they fail, find files and log."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from okxsync.runtime.logging import log_to_stderr

if TYPE_CHECKING:
    from okxsync.config.location import Location
    from okxsync.config.settings import Settings

__all__ = [
    "AccountOption",
    "ConfigOption",
    "DatabaseOption",
    "JsonOption",
    "choose_database",
    "fail",
    "find_config",
    "find_database",
    "leaves",
    "log_to_stderr",
    "read_location",
    "read_settings",
    "recorded_now_us",
    "reject_unknown",
]

ConfigOption = Annotated[
    str | None,
    typer.Option(
        "--config",
        envvar="OKXSYNC_CONFIG",
        metavar="PATH",
        help="Path of accounts.toml. Default: ./accounts.toml, then the user's config folder.",
    ),
]
DatabaseOption = Annotated[
    str | None,
    typer.Option(
        "--db",
        envvar="OKXSYNC_DB",
        metavar="PATH|URL",
        help="Path of the database, or URL postgresql://... Default: as set in accounts.toml.",
    ),
]
AccountOption = Annotated[
    list[str] | None, typer.Option("--account", metavar="NAME", help="Only this account. Can be repeated.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def fail(code: int, *lines: str) -> NoReturn:
    """Print each line once, one for each thing to fix, and exit."""
    from okxsync.runtime.text import CONTROL_ESCAPES

    for line in dict.fromkeys(lines):
        typer.echo(f"okxsync: {line.translate(CONTROL_ESCAPES)}", err=True)
    raise typer.Exit(code)


def find_config(given: str | None) -> Path:
    """Return the configuration file: as given, else ./accounts.toml, else the one in the user's config folder."""
    if given:
        return Path(given)
    here = Path("accounts.toml")
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "okxsync" / "accounts.toml"
    return here if here.exists() or not home.exists() else home


def read_settings(config: str | None, accounts: Sequence[str] | None = None, *, secrets: bool = False) -> "Settings":
    """Return the configuration; print each mistake in it and exit.

    Args:
        config: The path of the file; by default see ``find_config``.
        accounts: Names of enabled accounts; only these are returned. None or empty: all accounts.
        secrets: Whether the secrets of the returned accounts are needed.
    """
    from msgspec.structs import replace

    from okxsync.config.secret import ConfigError
    from okxsync.config.settings import accounts_named, load, missing_secrets

    try:
        settings = load(find_config(config))
        if accounts:
            settings = replace(settings, accounts=tuple(accounts_named(settings, accounts)))
    except ConfigError as error:
        fail(2, *error.lines)
    except ValueError as error:
        fail(2, str(error))
    if secrets and (missing := missing_secrets(settings)):
        fail(2, *missing)
    return settings


def choose_database(db: str | None, settings: "Settings") -> "Location":
    """Return the database: as given, else as set in the configuration."""
    return read_location(db) if db else settings.database


def find_database(config: str | None, db: str | None) -> "Location":
    """Return the database to read: as given, else as set in the configuration, which is read only then."""
    return read_location(db) if db else read_settings(config).database


def read_location(text: str, option: str = "--db") -> "Location":
    """Return the location that an option or argument names; say what is wrong with it, and exit."""
    from okxsync.config.location import location_of

    try:
        return location_of(text)
    except ValueError as error:
        fail(2, f"{option}: {error}")


def recorded_now_us(database: "Location") -> int:
    """Return the time in microseconds UTC, by the clock that a database's times are recorded by.

    It is the exchange's, as far as the last run has measured it; without a readable database it is the wall clock's.
    """
    from okxsync.mirror.status import clock_ahead_us
    from okxsync.store.database import StoreError
    from okxsync.store.engines import reading

    ahead_us = 0
    with suppress(StoreError), reading(database) as opened:
        ahead_us = clock_ahead_us(opened)
    return time.time_ns() // 1000 + ahead_us


def reject_unknown(database: "Location", names: Sequence[str]) -> None:
    """Exit if the database has no account of a given name: an empty result would look like an idle account.

    Raises:
        StoreError: the database cannot be read.
    """
    from okxsync.mirror.queries import unknown_names

    for name, nearest in unknown_names(database, names).items():
        hint = f'; did you mean "{nearest}"?' if nearest else ""
        fail(2, f'{database}: no account "{name}"{hint}')


def leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    """Yield the errors in a group and in its nested groups."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from leaves(error)
        else:
            yield error
