"""``okxsync prune``."""

from pathlib import Path
from typing import Annotated

import typer

from okxsync.cli.common import ConfigOption, DatabaseOption, fail, find_database, read_settings, recorded_now_us


def prune(
    config: ConfigOption = None,
    db: DatabaseOption = None,
    older_than: Annotated[
        str | None,
        typer.Option(
            "--older-than", metavar="DURATION", help="Delete frames older than this (7d, 12h). Default: [log] keep."
        ),
    ] = None,
    max_size: Annotated[
        str | None,
        typer.Option(
            "--max-size",
            metavar="SIZE",
            help="Delete the oldest frames beyond this size (1GB, 500MB). Default: [log] max_size.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be deleted, without deleting it.")
    ] = False,
) -> None:
    """Delete old raw frames and shrink the file. Safe while the daemon runs; mirrored data is kept.

    Without --older-than and --max-size, the limits of [log] in accounts.toml apply. Safe to interrupt and to repeat.

    Example: okxsync prune --older-than 7d --max-size 1GB

    Exit codes: 0 done, 1 the database cannot be used, 2 invalid input.
    """
    from okxsync.config.units import duration_s, size_bytes

    try:
        keep_s = duration_s(older_than) if older_than is not None else None
        most = size_bytes(max_size) if max_size is not None else None
    except ValueError as error:
        fail(2, str(error))
    if older_than is None and max_size is None:
        log = read_settings(config).log
        keep_s, most = log.keep, log.max_size
    if keep_s is None and most is None:
        fail(2, "no limit: use --older-than or --max-size, or set keep or max_size in [log]")
    location = find_database(config, db)

    from okxsync.console.format import size
    from okxsync.store.database import DatabaseError, StoreError, TransientError
    from okxsync.store.engines import engine_of, reading
    from okxsync.store.prune import PruneLimits, prune_now, would_free

    limits = PruneLimits(recorded_now_us(location) - keep_s * 1_000_000 if keep_s is not None else None, most)
    try:
        with reading(location) as reader:  # reports what is wrong with the database, and does not create it
            freed = would_free(reader, limits) if dry_run else None
        if freed:
            typer.echo(
                f"would prune {freed.messages} frames, {size(freed.bytes)} ({size(freed.bytes_received)} received)"
            )
            return
        engine = engine_of(location)
        before = engine.space()
        done = prune_now(engine_of(location), limits)
        after = engine.space()
    except StoreError as error:
        fail(1, str(error))
    except DatabaseError as error:
        transient = isinstance(error, TransientError)
        todo = "what was deleted stays deleted, repeat the command" if transient else error.remedy
        fail(1, f"{location}: pruning stopped ({error}); {todo}")
    shrunk = location.name if isinstance(location, Path) else "the database"
    typer.echo(
        f"pruned {done.messages} frames, {size(done.bytes)} ({size(done.bytes_received)} received);"
        f" {shrunk} was {size(before.database)}, is {size(after.database)}"
    )
