"""Everything goes wrong at once, for a while: then all is live, whole and equal, and no secret has got out."""

import json
import os
import random
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from okxsync.sandbox.script import Fault, play
from okxsync.sandbox.server import Sandbox
from okxsync.store.frames import FrameReader, Wanted
from tests.running import Running, running
from tests.test_truth import rows

STORM_S = float(os.environ.get("OKXSYNC_STORM_S", "15"))
ODD_FRAMES = (
    '{"event":"party","msg":"\\u001b[2J\\u0007"}',
    '{"event":"error","code":"60018","msg":"Wrong URL or channel:orders doesn\'t exist."}',
    '{"event":"error","code":"63999","msg":"Internal system error"}',
    '{"event":"notice","code":"1","msg":"hello"}',
    '{"event":"channel-conn-count","channel":"orders","connCount":"7"}',
    '{"arg":{"channel":"orders"},"data":[{"fillPx":"NaN","fillSz":1e999},[],null,{"state":"\\ud800"}]}',
    '{"arg":{"channel":"positions"},"data":' + "[" * 5000 + "]" * 5000 + "}",
    "[" * 200_000,
    "not json at all \x1b]0;title\x07",
    "",
)
REST_ANSWERS = (
    ("403", "<html>Forbidden</html>"),
    ("429", '{"msg":"Too Many Requests","code":"50011"}'),
    ("500", '{"msg":"System error","code":"50026"}'),
    ("503", '{"code":"50001","msg":"Service temporarily unavailable","data":[]}'),
    ("200", '{"code":"0","msg":"","data":[{"ordId":'),
    ("200", '{"code":"0","msg":"","data":' + "[" * 100_000 + "]" * 100_000 + "}"),
    ("200", '{"code":"0","msg":"","data":{"not":"a list"}}'),
    ("200", "\x00\xff"),
)


def storm(rng: random.Random, lasts_s: float, accounts: list[str]) -> Iterator[Fault]:
    """Faults of all kinds that pass, at random times."""
    for _ in range(int(lasts_s * 3)):
        who = rng.choice(["", *accounts])
        at_s, for_s = rng.uniform(0, lasts_s), rng.uniform(0.5, 5)
        code, text = rng.choice(REST_ANSWERS)
        yield rng.choice(
            [
                Fault(do="rst", at_s=at_s, account=who, any=True),
                Fault(do="half-open", at_s=at_s, any=True),
                Fault(do="close", at_s=at_s, any=True, code=rng.choice("4001 4004 4005 4006 4007 1001 1011".split())),
                Fault(do="upgrade", at_s=at_s, account=who, seconds=rng.uniform(0.5, 10)),
                Fault(do="frame", at_s=at_s, account=who, text=rng.choice(ODD_FRAMES)),
                Fault(do="refuse", at_s=at_s, for_s=for_s, code=rng.choice(["429", "403", "502"])),
                Fault(do="login-error", at_s=at_s, for_s=for_s, account=who, code=rng.choice(["60009", "63999"])),
                Fault(do="login-delay", at_s=at_s, for_s=for_s, seconds=rng.uniform(0, 5)),
                Fault(do="subscribe-error", at_s=at_s, for_s=for_s, account=who, code="63999"),
                Fault(do="double", at_s=at_s, for_s=for_s, account=who),
                Fault(do="reorder", at_s=at_s, for_s=for_s, account=who, channel="orders"),
                Fault(do="join", at_s=at_s, for_s=for_s),
                Fault(do="rest", at_s=at_s, for_s=for_s, account=who, code=code, text=text, seconds=rng.choice([0, 3])),
                Fault(do="skew", at_s=at_s, seconds=rng.choice([0, 5, -3600])),
            ]
        )


async def rage(sandbox: Sandbox, seed: int, lasts_s: float) -> None:
    """Let a storm pass over the exchange, while it trades; in the end nothing is wrong any more."""
    rng = random.Random(seed)
    accounts = [member.name for member in sandbox.exchange.members.values()]
    await play(sandbox, list(storm(rng, lasts_s, accounts)), rng)
    sandbox.faults.rules.clear()
    sandbox.faults.clock_skew_ms = 0
    for connection in sandbox.connections:
        if connection.half_open:
            sandbox.drop(connection)


def echoes(sandbox: Sandbox) -> Iterator[Fault]:
    """The exchange repeats logins that it cannot read, with all that is in them (60012)."""
    for member in sandbox.exchange.members.values():
        keys = member.credentials
        login = {"apiKey": keys.api_key, "passphrase": keys.passphrase, "sign": keys.secret_key, "timestamp": "1"}
        text = json.dumps({"op": "login", "args": [login]})
        frame = json.dumps({"event": "error", "code": "60012", "msg": f"Illegal request: {text}", "connId": "a4d3ae55"})
        yield Fault(do="frame", at_s=1.0, account=member.name, endpoint="private", text=frame)


def secrets_of(sandbox: Sandbox) -> list[str]:
    keys = [member.credentials for member in sandbox.exchange.members.values()]
    return [text for one in keys for text in (one.api_key, one.secret_key, one.passphrase)]


def all_that_is_kept(daemon: Running) -> str:
    """The files as bytes, and what is compressed in them as text."""
    folder = daemon.database.parent
    kept = [path.read_bytes().decode("latin-1") for path in folder.glob(f"{daemon.database.name}*")]
    with FrameReader(daemon.database, Wanted()) as reader:
        kept += [frame.text for page in reader.pages() for frame in page]
    return "\n".join(kept)


def modes_in(folder: Path) -> dict[str, str]:
    return {path.name: oct(path.stat().st_mode & 0o777) for path in folder.iterdir()}


def command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


@pytest.mark.parametrize("seed", [1, 2])
async def test_after_a_storm_all_is_live_and_whole_and_no_secret_is_out(tmp_path: Path, seed: int) -> None:
    async with running(tmp_path, rate=20.0) as daemon:
        sandbox = daemon.sandbox
        await play(sandbox, list(echoes(sandbox)), random.Random(seed))
        await rage(sandbox, seed, STORM_S)
        sandbox.pause_trading()
        await daemon.is_whole()
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
