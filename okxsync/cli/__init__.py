"""The commands, a file each: parse, call, print. Heavy modules are imported by the command that needs them."""

from typing import Annotated

import typer

from okxsync import __version__
from okxsync.cli.backfill import backfill
from okxsync.cli.check import check
from okxsync.cli.demo import demo
from okxsync.cli.log import log
from okxsync.cli.prune import prune
from okxsync.cli.run import run
from okxsync.cli.sandbox import sandbox
from okxsync.cli.status import status
from okxsync.cli.verify import verify

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
) -> None:
    """Keep an exact local copy of many OKX accounts, and prove that nothing is missing."""
