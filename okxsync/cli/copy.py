"""``okxsync copy``."""

from typing import Annotated

import typer

from okxsync.cli.common import JsonOption, fail, read_location


def copy(
    source: Annotated[
        str, typer.Argument(metavar="FROM", help="Path or URL of the database to copy; no daemon runs on it.")
    ],
    destination: Annotated[
        str,
        typer.Argument(metavar="TO", help="Path or URL of a new database, or of one that a copy was interrupted in."),
    ],
    json: JsonOption = False,
) -> None:
    """Copy a database to another one, from SQLite to PostgreSQL or back, and prove that both are identical.

    Safe to interrupt; repeated, it goes on. A daemon cannot use the copy before it is complete. The passwords of URLs
    are those of PGPASSWORD or ~/.pgpass. A halt of trading is copied, too; from a file to a server, resume first.

    Example: okxsync copy okxsync.db postgresql://okxsync@db.example/desk

    Exit codes: 0 identical, 1 they differ or cannot be used, 2 invalid input, 4 a daemon runs on one of them.
    """
    old, new = read_location(source, "FROM"), read_location(destination, "TO")

    from okxsync.console.copy import Progress, report
    from okxsync.plans.halt import HaltRow, halt_of
    from okxsync.store.copy import copy as copy_all
    from okxsync.store.database import AlreadyRunning, DatabaseError, StoreError
    from okxsync.store.engines import engine_of

    try:
        if engine_of(old).exists() and (halt := halt_of(engine_of(old).resolved())).exists():
            other = halt_of(engine_of(new).resolved())
            if isinstance(other, HaltRow) and not isinstance(halt, HaltRow):
                fail(1, f"trading is halted ({halt.place}): `okxsync resume` with that database, copy, halt the copy")
            other.make()
        with Progress() as progress:
            tables = copy_all(old, new, progress.update)
    except AlreadyRunning as error:
        fail(4, f"{error}; stop it first")
    except (StoreError, OSError) as error:
        fail(1, str(error))
    except DatabaseError as error:
        fail(1, f"{new}: {error}; what was copied stays, repeat the command to go on")
    typer.echo(report(tables, as_json=json))
    raise typer.Exit(0 if all(one.identical for one in tables) else 1)
