"""The commands, one file each: parse, call, print.

A command reads its options and the configuration first, and reports each mistake in them; only then it imports what it
runs. So this module, and whatever a command imports before it has read the configuration, imports no package other than
typer and msgspec, and a mistake is reported within a second of CPU time.
"""

import logging
import sys
from types import TracebackType
from typing import Annotated

import typer

from okxsync import __version__
from okxsync.cli.backfill import backfill
from okxsync.cli.check import check
from okxsync.cli.common import leaves
from okxsync.cli.copy import copy
from okxsync.cli.demo import demo
from okxsync.cli.halt import halt, misfires, resume
from okxsync.cli.init import init
from okxsync.cli.log import log
from okxsync.cli.plan import plan
from okxsync.cli.prune import prune
from okxsync.cli.run import run
from okxsync.cli.sandbox import sandbox
from okxsync.cli.status import status
from okxsync.cli.terminal import terminal
from okxsync.cli.typer_patch import skip_pydantic
from okxsync.cli.verify import verify
from okxsync.runtime.text import CONTROL_ESCAPES

skip_pydantic()
app = typer.Typer(
    help="Keep an exact local copy of many OKX accounts, and prove that it is complete.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,  # its tracebacks show local variables, which hold secrets
)
_COMMANDS = (
    *(init, check, run, status, terminal, backfill, verify, log, prune, copy, sandbox, demo),
    *(halt, resume, misfires),
)
for _command in _COMMANDS:
    app.command()(_command)
app.add_typer(plan, name="plan")


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
        bool, typer.Option("--debug", envvar="OKXSYNC_DEBUG", help="Show tracebacks for unexpected errors.")
    ] = False,
) -> None:
    """Keep an exact local copy of many OKX accounts, and prove that it is complete.

    Example: okxsync demo --for 20s
    """
    if debug:
        logging.getLogger("okxsync.runtime.supervise").setLevel(
            logging.DEBUG
        )  # it handles errors that do not end the process
    else:
        sys.excepthook = _print_one_line


def _print_one_line(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Report an unexpected error in one line, without a traceback."""
    found = next(leaves(error)) if isinstance(error, BaseExceptionGroup) else error
    if isinstance(found, KeyboardInterrupt):
        print("okxsync: interrupted", file=sys.stderr)
        return
    text = " ".join(str(found).split()).translate(CONTROL_ESCAPES) or "no details"
    what = "" if isinstance(found, OSError) else f"internal error: {type(found).__name__}: "
    print(f"okxsync: {what}{text}; `okxsync --debug ...` shows the traceback", file=sys.stderr)
