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


def writer_of(pid: int | str = "self") -> int:
    """Return the pid of a daemon's writer process; ``self``: of the daemon that runs within the test."""
    threads = Path(f"/proc/{pid}/task").glob("*/children")
    children = [int(child) for thread in threads for child in thread.read_text().split()]
    # A browser may be another child.
    (writer,) = [
        one for one in children if b"okxsync.store.writer_process" in Path(f"/proc/{one}/cmdline").read_bytes()
    ]
    return writer
