"""The commands: parse, call, print."""

from typing import Annotated

import typer

from okxsync import __version__

app = typer.Typer(help=__doc__, no_args_is_help=True, pretty_exceptions_show_locals=False, add_completion=True)


@app.callback()
def okxsync(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Keep an exact local copy of many OKX accounts, and prove that nothing is missing."""
    if version:
        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    app()
