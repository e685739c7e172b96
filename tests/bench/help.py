"""``okxsync --help`` from start to end, beside the interpreter that does nothing."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench.measure import Row, compare

TIMES = 10


def rows(rounds: int, quick: bool) -> Iterator[Row]:
    commands = {
        "okxsync": [str(Path(sys.executable).with_name("okxsync")), "--help"],
        "python -c pass": [sys.executable, "-c", "pass"],
        "python -c 'import typer'": [sys.executable, "-c", "import typer"],
    }
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(TIMES + 1):
        for name, command in commands.items():
            began = time.monotonic()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            if number:  # the first reads from the disk
                taken[name].append(time.monotonic() - began)
    yield from compare("okxsync --help", "s", taken, {"python -c pass": "0.35 (0.2) s"}, 3)
