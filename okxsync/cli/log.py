"""``okxsync log``."""

from typing import Annotated

import typer

from okxsync.cli.common import ConfigOption, DatabaseOption, fail, find_database, recorded_now_us, reject_unknown

POLL_S = 0.2
"""How often --follow looks for new frames."""


def log(
    config: ConfigOption = None,
    db: DatabaseOption = None,
    account: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help='Only this account ("market": public channels). Can be repeated.'),
    ] = None,
    channel: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only this channel. Can be repeated.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Start time (2026-11-20T08:00Z) or age (3d, 2h).")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="End time or age. Default: now.")] = None,
    grep: Annotated[
        str | None, typer.Option(metavar="REGEX", help="Only frames that match this regular expression.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Wait for new frames, like tail -f. Ctrl-C ends it.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON line per frame.")] = False,
) -> None:
    """Print the raw log: every frame as it was received, oldest first.

    With --follow and without --since, only new frames are printed.

    Example: okxsync log --account alpha --channel orders --since 2h --json | jq .frame

    Exit codes: 0 done, 1 the database cannot be read, 2 invalid input.
    """
    location = find_database(config, db)

    import os
    import re
    import sys
    import time
    from contextlib import suppress

    from okxsync.config.units import moment_ms
    from okxsync.console.frames import as_json, as_text
    from okxsync.mirror.frames import FrameFilter
    from okxsync.mirror.reader import Mirror
    from okxsync.store.database import StoreError

    now_ms = recorded_now_us(location) // 1000
    try:
        since_us, until_us = (moment_ms(at, now_ms) * 1000 if at else None for at in (since, until))
        pattern = re.compile(grep) if grep else None
    except ValueError as error:
        fail(2, str(error))
    except re.error as error:
        fail(2, f"--grep: {error}")
    if since_us is not None and until_us is not None and until_us <= since_us:
        fail(2, "--until must be later than --since")
    if follow and until:
        fail(2, "--follow and --until cannot be combined")
    wanted = FrameFilter(account or (), channel or (), since_us, until_us, pattern)
    line = as_json if json else as_text
    try:
        reject_unknown(location, wanted.accounts)
        with suppress(KeyboardInterrupt), Mirror(location) as mirror:
            reader = mirror.frames(wanted, only_new=follow and not since)
            while True:
                for frames in reader.pages():
                    sys.stdout.writelines(f"{line(frame)}\n" for frame in frames)
                    sys.stdout.flush()
                if not follow:
                    break
                time.sleep(POLL_S)
    except BrokenPipeError:  # the reader has closed the pipe; Python must not complain about it at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except StoreError as error:
        fail(1, str(error))
