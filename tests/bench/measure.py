"""One run: the source, one client that stores what it sends, and a reader who looks from outside.

The source, the client and the reader (this process) are processes of their own. The reader opens the database
read-only, as any user would, and nothing in it knows whose database it is: the columns it reads have the same names.
"""

import contextlib
import json
import os
import resource
import select
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pysqlite3
import trustme

from tests.bench.orders import SENTINEL

Client = Callable[[str, int, Path], list[str]]
"""Makes the command line of a client from the source's origin (https://127.0.0.1:PORT, or http:), the number of
connections, and the folder."""
tls = True
"""Whether the source is reached over TLS, as OKX is."""
LIMIT_S = 300.0
REST_S = 5
IDLE = 0.25
"""A client rests when it used no more than this share of a processor in each of so many seconds; 500 of them ping."""
DATABASE = "okxsync.db"


def okxsync(origin: str, connections: int, folder: Path, dials_per_second: int | None = 1000) -> list[str]:
    """okxsync as users run it; only where dialling is not what is measured it need not wait for OKX's limit."""
    lines = [
        f'database = "{DATABASE}"',
        "[sites.bench]",
        f'rest = "{origin}"',
        *(f'{name} = "{origin.replace("http", "ws", 1)}/ws/v5/{name}"' for name in ("public", "private", "business")),
        *([f"dials_per_second = {dials_per_second}"] if dials_per_second else []),
    ]
    for number in range(connections):
        keys = f'api_key = "{number}"\nsecret_key = "s"\npassphrase = "p"\nchannels = ["orders"]'
        lines += ["[[accounts]]", f'name = "a{number}"', 'site = "bench"', keys]
    config = folder / "accounts.toml"
    config.touch(mode=0o600)
    config.write_text("\n".join(lines) + "\n")
    return [sys.executable, "-m", "okxsync", "run", "--config", str(config)]


def lean(origin: str, connections: int, folder: Path) -> list[str]:
    """okxsync with the setting for little CPU time."""
    command = okxsync(origin, connections, folder)
    with (folder / "accounts.toml").open("a") as config:
        config.write('[run]\nlatency = "lean"\n')
    return command


def in_batches(origin: str, connections: int, folder: Path, batch: int = 200) -> list[str]:
    where = [origin, str(connections), str(folder / DATABASE)]
    return [sys.executable, "-m", "tests.bench.with_python_okx", *where, str(batch)]


def one_by_one(origin: str, connections: int, folder: Path) -> list[str]:
    return in_batches(origin, connections, folder, batch=1)


def ccxt(origin: str, connections: int, folder: Path) -> list[str]:
    return [sys.executable, "-m", "tests.bench.with_ccxt", origin, str(connections), str(folder / DATABASE)]


NAMES: Mapping[Client, str] = {
    okxsync: "okxsync",
    lean: "okxsync, lean",
    in_batches: "python-okx, batches of 200",
    one_by_one: "python-okx, commit per message",
    ccxt: "ccxt.pro",
}


class Run:
    """A source and a client that has subscribed with all connections and come to rest."""

    def __init__(self, source: subprocess.Popen[bytes], client: subprocess.Popen[bytes], folder: Path) -> None:
        self._source = source
        self._client = client
        self._tree = psutil.Process(client.pid)
        self.database = folder / DATABASE

    def wait_ready(self) -> None:
        """Wait until all have subscribed, and what the client does at its start is done: it rests."""
        self._line()
        given_up = time.monotonic() + LIMIT_S
        rested_s, before = 0, self.cpu_s()
        while rested_s < REST_S:
            self.check(given_up)
            time.sleep(1)
            now = self.cpu_s()
            rested_s = rested_s + 1 if now - before <= IDLE else 0
            before = now

    def go(self) -> float:
        """Start the source; return when it began (seconds since 1970)."""
        assert self._source.stdin
        self._source.stdin.write(b"go\n")
        return float(self._line())

    def sent(self) -> dict[str, float]:
        """Wait until the source has sent all, and return its report."""
        report: dict[str, float] = json.loads(self._line())
        return report

    def reader(self) -> Any:
        return pysqlite3.connect(f"file:{self.database}?mode=ro", uri=True, isolation_level=None)

    def wait_visible(self, connections: int, poll_s: float = 0.002) -> float:
        """Return when a reader sees the last order of every account (seconds since 1970)."""
        pending = list(range(connections))
        given_up = time.monotonic() + LIMIT_S
        with contextlib.closing(self.reader()) as db:
            while pending:
                wanted = (f"a{pending[-1]}", str(SENTINEL + pending[-1]))
                if db.execute("SELECT 1 FROM orders WHERE account = ? AND ord_id = ?", wanted).fetchone():
                    pending.pop()
                    continue
                self.check(given_up)
                time.sleep(poll_s)
        return time.time()

    def cpu_s(self) -> float:
        """Processor time that the client and its children have used."""
        return float(sum(sum(process.cpu_times()[:2]) for process in self._processes()))

    def memory(self) -> int:
        """Bytes of the client and its children, what they share counted once (PSS)."""
        return int(sum(process.memory_full_info().pss for process in self._processes()))

    def stop(self) -> None:
        """End the client as a service manager does."""
        self._client.terminate()
        self._client.wait(60)

    def check(self, given_up: float) -> None:
        """End the benchmark if there is nothing more to wait for, or it took too long (monotonic seconds)."""
        if self._client.poll() is not None or self._source.poll() is not None or time.monotonic() > given_up:
            sys.exit(f"the client or the source has ended, or {LIMIT_S:.0f} s have passed: {self._client.args!r}")

    def _processes(self) -> list[psutil.Process]:
        return [self._tree, *self._tree.children(recursive=True)]

    def _line(self) -> bytes:
        assert self._source.stdout
        given_up = time.monotonic() + LIMIT_S
        while not select.select([self._source.stdout], [], [], 0.5)[0]:
            self.check(given_up)
        return self._source.stdout.readline()


@contextlib.contextmanager
def running(client: Client, connections: int, mode: str, *numbers: int) -> Iterator[Run]:
    """Start a source and a client in a temporary folder; both have ended afterwards."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 8192)), hard))
    command = [sys.executable, "-m", "tests.bench.source", str(connections), mode, *map(str, numbers)]
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        trusted = dict(os.environ)
        if tls:
            command += ["--certificate", str(_certificate(folder))]
            trusted["SSL_CERT_FILE"] = str(folder / "authority.pem")
        source = stack.enter_context(
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        )
        stack.callback(source.kill)
        assert source.stdout
        origin = f"http{'s' if tls else ''}://127.0.0.1:{int(source.stdout.readline())}"
        line = client(origin, connections, folder)
        process = stack.enter_context(
            subprocess.Popen(line, stderr=subprocess.DEVNULL, start_new_session=True, env=trusted)
        )
        stack.callback(_end, process)
        yield Run(source, process, folder)


def _certificate(folder: Path) -> Path:
    """Write an authority, and a certificate of this host with its key; return the latter."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "authority.pem")
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(folder / "source.pem")
    return folder / "source.pem"


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the client with its children: the session that was started for it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


@dataclass(frozen=True)
class Row:
    """A line of the table; ``ratio`` and ``reach`` are as text, with the direction that is good."""

    name: str
    ours: str
    baseline: str = ""
    ratio: str = ""
    spread: str = ""
    reach: str = ""


def compare(
    name: str, unit: str, measured: Mapping[str, Sequence[float]], reach: Mapping[str, str], digits: int = 0
) -> Iterator[Row]:
    """One row for each baseline: medians, the ratio of the medians, and lowest to highest of both."""
    (_, ours), *others = measured.items()
    middle = statistics.median(ours)
    for label, theirs in others:
        other = statistics.median(theirs)
        yield Row(
            name,
            f"{middle:.{digits}f} {unit}",
            f"{label}: {other:.{digits}f}",
            f"{middle / other:.2f}",
            f"{spread(ours, digits)}; {spread(theirs, digits)}",
            reach.get(label, ""),
        )


def spread(values: Sequence[float], digits: int = 0) -> str:
    return f"{min(values):.{digits}f}-{max(values):.{digits}f}"
