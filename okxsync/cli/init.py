"""``okxsync init``."""

from pathlib import Path

import typer

from okxsync.cli.common import ConfigOption, fail


def init(config: ConfigOption = None) -> None:
    """Write an accounts.toml with comments to start from. An existing file is never overwritten.

    The file goes to ./accounts.toml, or to the path of --config. Only its owner can read it (mode 0600).

    Example: okxsync init

    Exit codes: 0 written, 2 the file exists or cannot be written.
    """
    from okxsync.config.example import write_example

    path = Path(config or "accounts.toml")
    try:
        write_example(path)
    except FileExistsError:
        fail(2, f"{path}: already exists; it is not overwritten")
    except OSError as error:
        fail(2, f"{path}: cannot be written: {error.strerror}")
    typer.echo(f"wrote {path}; edit it, export the keys, then run `okxsync check`")
