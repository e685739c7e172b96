"""``okxsync log``."""

from typing import Annotated

import typer

from okxsync.cli.common import ConfigOption, DatabaseOption, fail, find_database, refuse_unknown


def log(
    config: ConfigOption = None,
    db: DatabaseOption = None,
    account: Annotated[
        list[str] | None, typer.Option(help='Only this account ("market": the public ones); may be repeated.')
    ] = None,
    channel: Annotated[list[str] | None, typer.Option(help="Only this channel; may be repeated.")] = None,
    since: Annotated[str | None, typer.Option(help="From 2026-11-20T08:00Z on, or 3d, 2h ago.")] = None,
    until: Annotated[str | None, typer.Option(help="Up to then; written like --since.")] = None,
    grep: Annotated[str | None, typer.Option(help="Only frames in which this regular expression is found.")] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what comes, until Ctrl-C; without --since: only that.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON line per frame.")] = False,
) -> None:
    """Print the raw log: every frame as it was received, oldest first.

    Example: okxsync log --account alpha --channel orders --since 2h --json | jq .frame

    Exit codes: 0 done, 1 the database cannot be read, 2 bad input.
    """
    import os
    import re
    import sys
    import time
    from contextlib import suppress

    from okxsync.config.units import moment_ms
    from okxsync.console.frames import as_json, as_text
    from okxsync.mirror.frames import FrameFilter, FrameReader
    from okxsync.store.database import DatabaseError, StoreError

    now_ms = time.time_ns() // 1_000_000
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
        fail(2, "--follow goes on for ever: leave out --until")
    wanted = FrameFilter(account or (), channel or (), since_us, until_us, pattern)
    line = as_json if json else as_text
    path = find_database(config, db)
    try:
        refuse_unknown(path, wanted.accounts)
        with suppress(KeyboardInterrupt), FrameReader(path, wanted, only_new=follow and not since) as reader:
            while True:
                for frames in reader.pages():
                    sys.stdout.writelines(f"{line(frame)}\n" for frame in frames)
                    sys.stdout.flush()
                if not follow:
                    break
                time.sleep(FOLLOW_S)
    except BrokenPipeError:  # whoever read us has had enough; Python must not complain of it at its end either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except StoreError as error:
        fail(1, str(error))
    except DatabaseError as error:
        fail(1, f"{path}: cannot be read ({error})")


FOLLOW_S = 0.2
