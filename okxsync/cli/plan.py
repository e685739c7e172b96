"""``okxsync plan``: preview, execute and follow a plan on many accounts.

The commands insert requests and read; the daemon does the rest.
"""

import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from okxsync.cli.common import ConfigOption, DatabaseOption, JsonOption, choose_database, fail, read_settings

if TYPE_CHECKING:
    from okxsync.config.location import Location
    from okxsync.config.settings import Settings
    from okxsync.plans.weights import Weight
    from okxsync.store.engines import Reader

plan = typer.Typer(
    help="Plan one operation once, and carry it out on many accounts.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
PlanId = Annotated[str, typer.Argument(metavar="ID", help="The plan's id, as `okxsync plan preview` prints it.")]
EXIT_INVALID, EXIT_NO_DAEMON, EXIT_UNKNOWN, EXIT_REFUSED = 2, 3, 5, 6
_EXIT_OF = {
    "bad-plan": EXIT_INVALID,
    "bad-request": EXIT_INVALID,
    "no-plan": EXIT_INVALID,
    "stale-request": EXIT_NO_DAEMON,
}
"""Exit codes of answers; every other refusal is 6."""
RAILS = frozenset(
    "trading-off not-live account-off halted file-mode limit-order limit-plan limit-day instrument-not-listed".split()
)
UNKNOWN_WAIT_S = 20.0
"""How long after the end of a plan's validity an unknown order is waited for; the daemon goes on asking afterwards."""
WATCH_S = 0.2
STALE_MS = 5_000
"""How much older than its validity a preview may be that is being approved."""
ENDS_S = 5.0
"""How long the end of a plan is waited for whose orders have all ended."""
RESTARTS_S = 10.0
"""How long a command that follows a plan waits for a daemon that has stopped."""


@plan.command()
def preview(
    file: Annotated[str | None, typer.Argument(metavar="FILE", help="The plan, a TOML file; - is stdin.")] = None,
    assign: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Replace a value of the file.")
    ] = None,
    inst: Annotated[str | None, typer.Option(metavar="INSTRUMENT", help="Without FILE: the instrument.")] = None,
    side: Annotated[str | None, typer.Option(metavar="SIDE", help="Without FILE: buy or sell.")] = None,
    size: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Without FILE: 2% of equity, or a number of contracts.")
    ] = None,
    accounts: Annotated[
        str | None, typer.Option(metavar="NAMES", help="Without FILE: accounts and group:NAME, comma-separated.")
    ] = None,
    precheck: Annotated[
        bool, typer.Option("--precheck", help="Let OKX check each order of accounts in modes 3 and 4.")
    ] = False,
    config: ConfigOption = None,
    db: DatabaseOption = None,
    json: JsonOption = False,
) -> None:
    """Compute what each account would do, store it, and print it. Nothing is sent.

    Example: okxsync plan preview cut.toml --set size.value=3%

    Exit codes: 0 all ready, 1 some skipped, 2 invalid input, 3 no daemon, 6 a safety rail refuses.
    """
    from okxsync.plans.canonical import canonical
    from okxsync.plans.document import PlanError
    from okxsync.plans.plan_file import read

    settings = read_settings(config)
    text = _document(file, {"--inst": inst, "--side": side, "--size": size, "--accounts": accounts})
    try:
        document = canonical(read(text, assign or (), lambda name: _text_beside(file, name)))
    except PlanError as error:
        fail(EXIT_INVALID, *str(error).splitlines())
    _preview(settings, db, "preview", {"document": document, "precheck": precheck}, json=json)


@plan.command()
def execute(
    plan_id: PlanId,
    confirm: Annotated[
        str | None,
        typer.Option(metavar='"N/USD"', help="Accounts and whole dollars, instead of typing them."),
    ] = None,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Return once the daemon has accepted it.")] = False,
    config: ConfigOption = None,
    db: DatabaseOption = None,
    json: JsonOption = False,
) -> None:
    """Approve a preview: the daemon sends its orders.

    Example: okxsync plan execute 0123456789A --confirm "37/184200"

    Exit codes: 0 all as planned, 1 done with skipped, rejected or partly filled orders, 2 invalid input, 3 no daemon,
    5 unknown orders are left, 6 refused, 7 stopped by the plan's policy.
    """
    settings = read_settings(config)
    _need_trading(settings)
    from okxsync.plans.approval import typed
    from okxsync.plans.children import from_columns
    from okxsync.plans.client import read_orders

    with closing(_reader(choose_database(db, settings))) as reader:
        row = _plan(reader, plan_id)
        _need_daemon(reader)  # before somebody types the confirmation
        expected = typed([from_columns(one) for one in read_orders(reader, plan_id)])
        if confirm is None:
            if not sys.stdin.isatty():
                fail(EXIT_REFUSED, "not confirmed: there is no terminal; use --confirm")
            confirm = typer.prompt(f"type: {expected}\n", prompt_suffix="> ", err=True)
        body = {"preview_hash": row["preview_hash"], "confirm": confirm}
        outcome, detail = _request(reader, "execute", plan_id, body)
        if outcome != "executing":
            _refuse(outcome, detail)
        if no_wait:
            typer.echo(f"plan {plan_id}: {detail}")
            raise typer.Exit(0)
        has_stopped = _wait(reader, plan_id)
        code = _show(reader, plan_id, json=json)
    _exit(code, has_stopped=has_stopped)


@plan.command()
def show(plan_id: PlanId, config: ConfigOption = None, db: DatabaseOption = None, json: JsonOption = False) -> None:
    """Show a plan: its state and a row for each order.

    Example: okxsync plan show 0123456789A --json

    Exit codes: as `okxsync plan execute`; before it is executed as `okxsync plan preview`.
    """
    with closing(_reader(_database(config, db))) as reader:
        code = _show(reader, plan_id, json=json, preview=_plan(reader, plan_id)["state"] == "previewed")
    raise typer.Exit(code)


@plan.command(name="list")
def list_plans(
    limit: Annotated[int, typer.Option(min=1, help="How many plans, the newest first.")] = 20,
    config: ConfigOption = None,
    db: DatabaseOption = None,
    json: JsonOption = False,
) -> None:
    """List the plans, the newest first.

    Example: okxsync plan list --limit 5
    """
    import msgspec

    from okxsync.console.plan import render_list
    from okxsync.console.status import console
    from okxsync.plans.client import read_plans

    with closing(_reader(_database(config, db))) as reader:
        plans = _read(lambda: read_plans(reader, limit))
    if json:
        typer.echo(msgspec.json.encode(plans))
    else:
        console().print(render_list(plans))


@plan.command()
def watch(plan_id: PlanId, config: ConfigOption = None, db: DatabaseOption = None, json: JsonOption = False) -> None:
    """Follow a plan until each order has ended, rests in the book, or is unknown.

    Example: okxsync plan watch 0123456789A

    Exit codes: as `okxsync plan execute`.
    """
    with closing(_reader(_database(config, db))) as reader:
        _plan(reader, plan_id)
        has_stopped = _wait(reader, plan_id, live=not json)
        code = _show(reader, plan_id, json=json)
    _exit(code, has_stopped=has_stopped)


@plan.command()
def cancel(
    plan_id: PlanId,
    protection: Annotated[
        bool, typer.Option("--protection", help="Cancel the attached take-profit and stop-loss orders, too.")
    ] = False,
    config: ConfigOption = None,
    db: DatabaseOption = None,
    json: JsonOption = False,
) -> None:
    """Send nothing more of a plan, and cancel its orders that rest in the book. It can be repeated.

    Example: okxsync plan cancel 0123456789A --protection

    Exit codes: 0 nothing was filled, 1 some orders were filled, 2 invalid input, 3 no daemon, 5 unknown orders are
    left, or the end of an order is not confirmed yet.
    """
    settings = read_settings(config)

    from okxsync.plans.client import read_orders

    with closing(_reader(choose_database(db, settings))) as reader:
        _plan(reader, plan_id)
        outcome, detail = _request(reader, "cancel", plan_id, {"protection": protection})
        if outcome not in ("canceled", "canceling"):
            _refuse(outcome, detail)
        typer.echo(f"plan {plan_id}: {detail}", err=True)
        _show(reader, plan_id, json=json)
        orders = read_orders(reader, plan_id)
    if outcome == "canceling" or any(one["state"] == "unknown" for one in orders):
        raise typer.Exit(EXIT_UNKNOWN)
    raise typer.Exit(1 if any(_is_filled(one) for one in orders) else 0)


@plan.command()
def retry(plan_id: PlanId, config: ConfigOption = None, db: DatabaseOption = None, json: JsonOption = False) -> None:
    """Make a new plan of what an executed one did not do, and print its preview. Nothing is sent.

    Example: okxsync plan retry 0123456789A

    Exit codes: 0 all ready or nothing remains, 1 some skipped, 2 invalid input, 3 no daemon, 6 refused.
    """
    _preview(read_settings(config), db, "retry", {"parent_id": plan_id}, json=json)


@plan.command()
def undo(plan_id: PlanId, config: ConfigOption = None, db: DatabaseOption = None, json: JsonOption = False) -> None:
    """Make a new plan that takes an executed one back, and print its preview. Nothing is sent.

    It cancels what rests, with attached take-profit and stop-loss orders, and reverses what was filled.

    Example: okxsync plan undo 0123456789A

    Exit codes: 0 all ready or nothing to undo, 1 some skipped, 2 invalid input, 3 no daemon, 6 refused.
    """
    _preview(read_settings(config), db, "undo", {"parent_id": plan_id}, json=json)


def _preview(settings: "Settings", db: str | None, kind: str, body: Mapping[str, object], *, json: bool) -> NoReturn:
    """Let the daemon make a preview, print it, and exit."""
    import msgspec

    from okxsync.plans.client import new_plan_id

    _need_trading(settings)
    plan_id = new_plan_id()
    with closing(_reader(choose_database(db, settings))) as reader:
        outcome, detail = _request(reader, kind, plan_id, body)
        if outcome == "nothing":
            if json:
                typer.echo(msgspec.json.encode({"plan": None, "detail": detail}))
            else:
                typer.echo(detail)
            raise typer.Exit(0)
        if outcome != "previewed":
            _refuse(outcome, detail)
        code = _show(reader, plan_id, json=json, preview=True)
    raise typer.Exit(code)


def _is_filled(order: Mapping[str, Any]) -> bool:
    return order["state"] == "filled" or order["acc_fill_sz"] not in (None, "", "0")


def _document(file: str | None, flags: Mapping[str, str | None]) -> str:
    """Return the text of a plan, from a file, from stdin or made of the options."""
    given = {name: value for name, value in flags.items() if value is not None}
    if file is not None:
        if given:
            fail(EXIT_INVALID, f"FILE and {', '.join(given)}: give one of them")
        try:
            return sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            fail(EXIT_INVALID, f"{file}: cannot be read: {error}")
    if missing := [name for name in flags if name not in given]:
        fail(EXIT_INVALID, f"give FILE, or --inst, --side, --size and --accounts; missing: {', '.join(missing)}")
    import json

    instrument, side, size = given["--inst"], given["--side"], given["--size"]
    rule = "equity" if size.endswith("%") else "contracts"
    names = [name.strip() for name in given["--accounts"].split(",")]
    quoted = {key: json.dumps(value) for key, value in {"i": instrument, "s": side, "v": size, "a": names}.items()}
    title = json.dumps(f"{side} {size} {instrument}")
    return (
        f"title = {title}\n[accounts]\ninclude = {quoted['a']}\n[[legs]]\ninstrument = {quoted['i']}\n"
        f'side = {quoted["s"]}\nprice = "mark{_worse(side)}"\n[legs.size]\nrule = "{rule}"\nvalue = {quoted["v"]}\n'
    )


def _text_beside(file: str | None, name: str) -> str:
    """Return the text of a file whose name is relative to the plan's."""
    folder = Path(file).parent if file not in (None, "-") else Path()
    return (folder / name).read_text(encoding="utf-8")


def _worse(side: str) -> str:
    """A cap: an order that takes at most half a percent worse than the mark price."""
    return " -0.5%" if side == "sell" else " +0.5%"


def _database(config: str | None, db: str | None) -> "Location":
    from okxsync.cli.common import find_database

    return find_database(config, db)


def _reader(location: "Location") -> "Reader":
    from okxsync.store.engines import Reader

    return Reader(location)


def _read(function: Any) -> Any:
    from okxsync.store.database import StoreError

    try:
        return function()
    except StoreError as error:
        fail(EXIT_NO_DAEMON, str(error))


def _need_trading(settings: "Settings") -> None:
    if not settings.trading.enabled:
        fail(EXIT_REFUSED, f"{settings.path}: trading is off; set [trading] enabled = true")


def _need_daemon(reader: "Reader") -> None:
    from okxsync.plans.client import is_alive

    if not _read(lambda: is_alive(reader)):
        fail(EXIT_NO_DAEMON, f"{reader.location}: no daemon is running; start `okxsync run`")


def _plan(reader: "Reader", plan_id: str) -> dict[str, Any]:
    from okxsync.plans.client import read_plan

    found: dict[str, Any] | None = _read(lambda: read_plan(reader, plan_id))
    if found is None:
        fail(EXIT_INVALID, f'there is no plan "{plan_id}"; `okxsync plan list` shows all')
    return found


def _request(reader: "Reader", kind: str, plan_id: str | None, body: Mapping[str, object]) -> tuple[str, str]:
    """Insert a request, and return the outcome and the detail of its answer."""
    from okxsync.plans.client import submit, wait_for_answer

    _need_daemon(reader)
    number = _read(lambda: submit(reader.location, kind, plan_id, body))
    answered = _read(lambda: wait_for_answer(reader, number))
    if answered is None:
        fail(EXIT_NO_DAEMON, "the daemon does not answer; does it run with [trading] enabled = true?")
    return answered.outcome, answered.detail


def _refuse(outcome: str, detail: str) -> NoReturn:
    fail(_EXIT_OF.get(outcome, EXIT_REFUSED), *(f"{outcome}: {line}" for line in detail.splitlines() or [""]))


def _is_stale(plan: Mapping[str, Any], now_ms: int) -> bool:
    """Whether a preview is too old to be approved: nothing happens any more."""
    from okxsync.plans.plan_file import read

    if plan["state"] != "previewed":
        return False
    ends_ms: int = plan["preview_at"] + read(plan["doc"]).valid_for * 1000
    return now_ms > ends_ms + STALE_MS


def _exit(code: int, *, has_stopped: bool) -> NoReturn:
    if has_stopped:
        fail(EXIT_NO_DAEMON, "the daemon has stopped before the plan has ended; `okxsync run` continues it")
    raise typer.Exit(code)


def _wait(reader: "Reader", plan_id: str, *, live: bool = False) -> bool:
    """Return when nothing more happens soon, and whether that is because no daemon runs any more."""
    from rich.live import Live

    from okxsync.cli.common import recorded_now_us
    from okxsync.console.plan import render_progress
    from okxsync.console.status import console
    from okxsync.plans.client import is_alive, read_orders
    from okxsync.plans.results import have_ended, is_settled

    alive_at, ended_at = time.monotonic(), None
    out = console()
    shown = Live(console=out, auto_refresh=False, transient=True) if live and out.is_terminal else None
    try:
        if shown:
            shown.start()
        while True:
            row, orders = _plan(reader, plan_id), _read(lambda: read_orders(reader, plan_id))
            if shown:
                shown.update(render_progress(row, orders), refresh=True)
            now_ms = recorded_now_us(reader.location) // 1000
            late_ms = now_ms - (row["valid_until"] or 0)
            is_unknown = any(one["state"] == "unknown" for one in orders)
            if row["state"] not in ("approved", "executing", "paused", "previewed") or _is_stale(row, now_ms):
                return False
            now = time.monotonic()
            ended_at = (ended_at or now) if have_ended(orders) else None
            is_quiet = is_settled(orders) and (ended_at is None or now > ended_at + ENDS_S)
            if row["state"] != "previewed" and is_quiet and (not is_unknown or late_ms > UNKNOWN_WAIT_S * 1000):
                return False
            if _read(lambda: is_alive(reader)):
                alive_at = now
            elif now > alive_at + RESTARTS_S:
                return True
            time.sleep(WATCH_S)
    except KeyboardInterrupt:
        return False
    finally:
        if shown:
            shown.stop()


def _show(reader: "Reader", plan_id: str, *, json: bool, preview: bool = False) -> int:
    """Print a plan, and return its exit code."""
    import msgspec

    from okxsync.console.plan import render_preview, render_progress
    from okxsync.console.status import console
    from okxsync.plans.approval import confirmation, typed
    from okxsync.plans.children import from_columns
    from okxsync.plans.client import read_attempt_rows, read_cancel_rows, read_misfires, read_orders
    from okxsync.plans.results import exit_code

    row, orders = _plan(reader, plan_id), _read(lambda: read_orders(reader, plan_id))
    children = [from_columns(one) for one in orders]
    weights = _weights(row, orders)
    if json:
        document = {
            "plan": row,
            "confirm": confirmation(children),
            "orders": [{**one, "facts": msgspec.json.decode(one["facts"] or "{}")} for one in orders],
            "weights": weights,
            "attempts": _read(lambda: read_attempt_rows(reader, plan_id)),
            "cancels": _read(lambda: read_cancel_rows(reader, plan_id)),
            "misfires": _read(lambda: read_misfires(reader, plan_id=plan_id)),
        }
        typer.echo(msgspec.json.encode(document))
    elif preview:
        console().print(render_preview(row, orders, typed(children) if row["ready"] else "", weights))
    else:
        console().print(render_progress(row, orders, weights))
    return _preview_code(orders) if preview else exit_code(row, orders)


def _weights(plan: Mapping[str, Any], orders: Sequence[Mapping[str, Any]]) -> "list[Weight]":
    from okxsync.plans.document import PlanError
    from okxsync.plans.plan_file import read
    from okxsync.plans.weights import weights_of

    try:
        return weights_of(read(plan["doc"]), orders, executed=plan["approved_at"] is not None)
    except PlanError:  # another version of okxsync has stored it: the orders are shown all the same
        return []


def _preview_code(orders: Sequence[Mapping[str, Any]]) -> int:
    """Return 0 if all are ready, 1 if some are skipped, 6 if safety rails refuse all of them."""
    skipped = [one for one in orders if one["state"] == "skipped"]
    if not skipped:
        return 0
    return EXIT_REFUSED if len(skipped) == len(orders) and {one["reason"] for one in skipped} <= RAILS else 1
