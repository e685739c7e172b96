"""``okxsync run`` in a separate process, as users run it."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trio

from tests.support.replay import WITHIN_S


@contextmanager
def daemon(config: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run ``okxsync run`` in a separate process; kill it at the end if it still runs."""
    command = [sys.executable, "-m", "okxsync", "run", "--config", str(config), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


async def finish(process: subprocess.Popen[str]) -> tuple[str, str]:
    with trio.fail_after(WITHIN_S):
        return await trio.to_thread.run_sync(process.communicate)
