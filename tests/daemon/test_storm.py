"""Everything goes wrong at once, for a while: then all is live, whole and equal, and no secret has got out."""

import json
import os
import random
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from okxsync.mirror.frames import FrameFilter
from okxsync.mirror.reader import open_mirror
from okxsync.sandbox.faults.script import Fault, play
from okxsync.sandbox.server.server import Sandbox
from tests.support.running import Running, running
from tests.support.storm import rage, secrets_of
from tests.support.truth import rows

pytestmark = pytest.mark.slow

STORM_S = float(os.environ.get("OKXSYNC_STORM_S", "15"))


def echoes(sandbox: Sandbox) -> Iterator[Fault]:
    """The exchange repeats logins that it cannot read, with all that is in them (60012)."""
    for member in sandbox.exchange.members.values():
        keys = member.credentials
        login = {"apiKey": keys.api_key, "passphrase": keys.passphrase, "sign": keys.secret_key, "timestamp": "1"}
        text = json.dumps({"op": "login", "args": [login]})
        frame = json.dumps({"event": "error", "code": "60012", "msg": f"Illegal request: {text}", "connId": "a4d3ae55"})
        yield Fault(do="frame", at_s=1.0, account=member.name, endpoint="private", text=frame)


def all_that_is_kept(daemon: Running) -> str:
    """The files as bytes, and what is compressed in them as text."""
    folder = daemon.database.parent
    kept = [path.read_bytes().decode("latin-1") for path in folder.glob(f"{daemon.database.name}*")]
    with open_mirror(daemon.database) as mirror:
        kept += [frame.text for page in mirror.frames(FrameFilter()).pages() for frame in page]
    return "\n".join(kept)


def modes_in(folder: Path) -> dict[str, str]:
    return {path.name: oct(path.stat().st_mode & 0o777) for path in folder.iterdir()}


def command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


@pytest.mark.parametrize("seed", [1, 2])
async def test_after_a_storm_all_is_live_and_complete_and_no_secret_has_leaked(tmp_path: Path, seed: int) -> None:
    async with running(tmp_path, rate=20.0) as daemon:
        sandbox = daemon.sandbox
        await play(sandbox, list(echoes(sandbox)), random.Random(seed))
        await rage(sandbox, seed, STORM_S)
        sandbox.pause_trading()
        await daemon.is_complete()
        assert set(modes_in(tmp_path).values()) == {"0o600"}, modes_in(tmp_path)
        commands = command_line(daemon.process.pid) + command_line(daemon.writer)
        kept = all_that_is_kept(daemon)
        logs = await daemon.stops()
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", logs), "control characters in the log"
        said = msgspec.json.encode(rows(daemon.database, "SELECT * FROM journal")).decode()
        for secret in secrets_of(sandbox):
            for place in (kept, logs, said, commands):
                assert secret not in place
        journal = {row["event"] for row in rows(daemon.database, "SELECT DISTINCT event FROM journal")}
        assert "disconnected" in journal
        assert rows(daemon.database, "SELECT * FROM gaps WHERE outcome IS NULL AND to_at IS NOT NULL") == []
