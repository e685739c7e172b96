"""``okxsync halt``, ``resume`` and ``misfires``."""

from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from okxsync.cli.common import ConfigOption, DatabaseOption, JsonOption, fail, find_database, recorded_now_us

if TYPE_CHECKING:
    from okxsync.config.location import Location


def halt(
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why, for the record.")] = "",
    cancel_orders: Annotated[
        bool, typer.Option("--cancel-orders", help="Cancel the resting orders of all plans; this needs the daemon.")
    ] = False,
    config: ConfigOption = None,
    db: DatabaseOption = None,
) -> None:
    """Stop all sending of plans at once. It works without a daemon, and with a full disk.

    It makes a file beside the database; on a PostgreSQL server it inserts a request.

    Example: okxsync halt --reason "wrong price"

    Exit codes: 0 halted, 1 the file cannot be made; with --cancel-orders also 3 no daemon canceled them, 5 the end of
    an order is not confirmed yet.
    """
    location, number = _switch(find_database(config, db), "halt", {"reason": reason, "cancel_orders": cancel_orders})
    if cancel_orders:
        _wait_for_cancellations(location, number)


def resume(config: ConfigOption = None, db: DatabaseOption = None) -> None:
    """Allow sending again. Orders that were withheld meanwhile are not sent.

    Example: okxsync resume
    """
    _switch(find_database(config, db), "resume", {})


def _switch(database: "Location", kind: str, body: dict[str, object]) -> "tuple[Location, int | None]":
    """Halt or resume; return the database, and the id of the request, or None if no daemon will take it."""
    from okxsync.plans.client import submit
    from okxsync.plans.halt import HaltRow, halt_of
    from okxsync.store.database import StoreError
    from okxsync.store.engines import engine_of

    try:
        location = engine_of(database).resolved()
        switch = halt_of(location)
        if isinstance(switch, HaltRow):  # the request itself is the switch
            number = submit(location, kind, None, body)
            typer.echo(f"halted: {switch.place}" if kind == "halt" else "resumed")
            return location, number
    except StoreError as error:
        fail(1, str(error))
    try:
        if kind == "halt":
            switch.make()
        else:
            switch.remove()
    except OSError as error:
        fail(1, f"{switch.place}: {error.strerror}")
    typer.echo(f"halted: {switch.place}" if kind == "halt" else "resumed")
    return location, _notify_daemon(location, kind, body)


def _wait_for_cancellations(location: "Location", number: int | None) -> None:
    from okxsync.plans.client import wait_for_answer
    from okxsync.store.database import StoreError
    from okxsync.store.engines import Reader

    answered = None
    if number is not None:
        try:
            with closing(Reader(location)) as reader:
                answered = wait_for_answer(reader, number)
        except StoreError as error:
            typer.echo(f"okxsync: {error}", err=True)
    if answered is None:
        fail(3, "no orders were canceled: no daemon answers; start `okxsync run`, and repeat the command")
    typer.echo(answered.detail)
    if answered.outcome != "canceled":
        raise typer.Exit(5)


def _notify_daemon(location: "Location", kind: str, body: dict[str, object]) -> int | None:
    """Insert the request, and return its id; None: no daemon or no database takes it, and the file alone counts."""
    from okxsync.plans.client import notify
    from okxsync.store.database import StoreError

    try:
        number = notify(location, kind, body)
    except StoreError as error:
        typer.echo(f"okxsync: not recorded in the database, the file is enough: {error}", err=True)
        return None
    if number is None:
        typer.echo("okxsync: no daemon is running; the file is enough", err=True)
    return number


def misfires(
    since: Annotated[
        str, typer.Option(metavar="TIME", help="Since this time (2026-11-20T08:00Z) or age (3d, 2h).")
    ] = "1d",
    account: Annotated[str | None, typer.Option(metavar="NAME", help="Only this account.")] = None,
    reason: Annotated[str | None, typer.Option(metavar="CODE", help="Only this reason.")] = None,
    config: ConfigOption = None,
    db: DatabaseOption = None,
    json: JsonOption = False,
) -> None:
    """Show which orders of plans were not sent, and why.

    Example: okxsync misfires --since 2h --reason stale
    """
    import msgspec

    from okxsync.config.units import moment_ms
    from okxsync.console.plan import render_misfires
    from okxsync.console.status import console
    from okxsync.plans.client import read_misfires
    from okxsync.store.database import StoreError
    from okxsync.store.engines import Reader

    location = find_database(config, db)
    try:
        since_ms = moment_ms(since, recorded_now_us(location) // 1000)
    except ValueError as error:
        fail(2, str(error))
    try:
        with closing(Reader(location)) as reader:
            found = read_misfires(reader, since_us=since_ms * 1000, account=account, reason=reason)
    except StoreError as error:
        fail(3, str(error))
    if json:
        typer.echo(msgspec.json.encode(found))
    else:
        console().print(render_misfires(found))
