"""The commands, a file each: parse, call, print. Heavy modules are imported by the command that needs them."""

import logging
import sys
from types import TracebackType
from typing import Annotated

import typer

from okxsync import __version__
from okxsync.cli.backfill import backfill
from okxsync.cli.check import check
from okxsync.cli.common import leaves
from okxsync.cli.demo import demo
from okxsync.cli.log import log
from okxsync.cli.prune import prune
from okxsync.cli.run import run
from okxsync.cli.sandbox import sandbox
from okxsync.cli.status import status
from okxsync.cli.verify import verify
from okxsync.runtime.text import CONTROL_ESCAPES

app = typer.Typer(
    help="Keep an exact local copy of many OKX accounts, and prove that nothing is missing.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for _command in (check, run, status, backfill, verify, log, prune, sandbox, demo):
    app.command()(_command)


def main() -> None:
    app()


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def okxsync(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", envvar="OKXSYNC_DEBUG", help="Show the traceback of what nobody expected.")
    ] = False,
) -> None:
    """Keep an exact local copy of many OKX accounts, and prove that nothing is missing.

    Example: okxsync demo --for 20s
    """
    if debug:
        logging.getLogger("okxsync.runtime.supervise").setLevel(logging.DEBUG)  # it lets nothing through that ends us
    else:
        sys.excepthook = _in_one_line


def _in_one_line(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Say what nobody expected without a page of our own code."""
    found = next(leaves(error)) if isinstance(error, BaseExceptionGroup) else error
    text = " ".join(str(found).split()).translate(CONTROL_ESCAPES) or "no more is known"
    what = "" if isinstance(found, OSError) else f"internal error: {type(found).__name__}: "
    print(f"okxsync: {what}{text}; `okxsync --debug ...` shows where", file=sys.stderr)
