"""A database, its writer, and short ways to write what the exchange sends."""

import socket
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from okxsync.config.location import Location
from okxsync.messages import Frames, Heartbeat, Message, Phase, Run, Subscribed
from okxsync.mirror.queries import next_run_id
from okxsync.store.engines import open_database
from okxsync.store.writer import Writer

if TYPE_CHECKING:
    from okxsync.store.database import Connection

NOW = 1_800_000_000_000_000  # microseconds
MS = NOW // 1000


@cache
def _new_database() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "okxsync.db"
        open_database(path).close()
        return path.read_bytes()


def make_database(location: Location) -> None:
    """Make an empty database with the present schema, without the quarter of a second that all migrations take."""
    if isinstance(location, Path) and not location.exists():
        location.touch(0o600)
        location.write_bytes(_new_database())


class Desk:
    """Writes to a database what connection 1 of one account would send."""

    def __init__(self, path: Location) -> None:
        self.path: Any = path  # a path, except in tests that run on both engines
        make_database(path)
        self.database = open_database(path)
        self.db: Connection = self.database
        self.writer = Writer(self.db, now_us=lambda: NOW)
        self.at = NOW
        self.run = Run(0, NOW, "0.1", socket.gethostname(), 1)

    def apply(self, *messages: Message) -> None:
        self.writer.apply(messages)
        self.writer.flush()  # as after a second without messages

    def start(self, at: int, pid: int = 1) -> Heartbeat:
        """Return the first heartbeat of a new run."""
        self.run = Run(max(self.run.id + 1, next_run_id(self.path)), at, "0.1", socket.gethostname(), pid)
        return self.heartbeat(at)

    def heartbeat(self, at: int, stopped_at: int | None = None) -> Heartbeat:
        """Return a heartbeat of the run that was started last."""
        return Heartbeat(self.run, at, 0, stopped_at, None if stopped_at is None else 0)

    def begin(self, *channels: str, pid: int = 1) -> None:
        """A daemon starts, and its channels are live."""
        self.apply(
            self.start(self.at, pid),
            phase(self.at),
            Subscribed(1, "alpha", list(channels), self.at),
        )

    def push(self, channel: str, *rows: object, arg: dict[str, str] | None = None, **envelope: object) -> None:
        self.apply(self.frame(channel, *rows, arg=arg, **envelope))

    def frame(self, channel: str, *rows: object, arg: dict[str, str] | None = None, **envelope: object) -> Frames:
        self.at += 1000
        body = {"arg": {"channel": channel, **(arg or {}), "uid": "7001"}, **envelope, "data": rows}
        return Frames(1, "alpha", [(self.at, msgspec.json.encode(body).decode())])

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = self.db.execute(sql, values).fetchall()
        return found


def phase(at: int, name: str = "live", number: int = 1, listener: str = "alpha") -> Phase:
    return Phase(
        number, listener, listener, "private", "ws://127.0.0.1", "sandbox", True, True, name, at, 0, None, None, None
    )


def order(number: int = 1, **fields: str) -> dict[str, str]:
    """Return an order row; fields that do not matter are absent, as they may be at OKX."""
    row = {"instId": "BTC-USDT-SWAP", "instType": "SWAP", "ordId": str(number), "state": "live", "sz": "10", "px": ""}
    fill = {"accFillSz": "0", "fillSz": "0", "tradeId": "", "fillTime": ""}
    return row | fill | {"uTime": str(MS), "cTime": str(MS)} | fields
