"""What comes from outside may be anything: it is read, or refused in one line, and nothing else happens."""

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import msgspec
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from okxsync.config.secret import ConfigError, Secret
from okxsync.config.settings import AccountSettings, Settings, load
from okxsync.okx.control import read_event
from okxsync.okx.sites import Site
from okxsync.rest.client import AccountClient, RestError
from okxsync.rest.clock import SiteClock
from okxsync.rest.pages import read_page
from okxsync.runtime.text import CONTROL_ESCAPES, sanitize
from okxsync.sandbox.faults.script import read_script
from tests.support.mock_http import MockHttp

CONFIG = """
database = "postgresql://okxsync:canary-password@db.example:5432/desk?target_session_attrs=read-write"
[log]
keep = "14d"
max_size = "2GB"
[history]
initial = "7d"
[market]
site = "global"
demo = false
channels = [{ channel = "mark-price", instId = "BTC-USDT-SWAP" }]
[[accounts]]
name = "alpha"
site = "sandbox"
demo = true
api_key = { env = "ALPHA_KEY" }
secret_key = { file = "secret.txt" }
passphrase = "canary-passphrase"
channels = ["account", "orders", { channel = "positions", instType = "SWAP" }]
enabled = true
[sites.sandbox]
rest = "http://127.0.0.1:8765"
public = "ws://127.0.0.1:8765/ws/v5/public"
private = "ws://127.0.0.1:8765/ws/v5/private"
business = "ws://127.0.0.1:8765/ws/v5/business"
dials_per_second = 3
"""
FAULTS = """
[[fault]]
at = 10
every = 60.5
for = 5
do = "login-error"
code = "60009"
account = "account1"
any = true
"""
VALUES = (
    "3",
    "-1",
    '""',
    "[]",
    "{}",
    "true",
    "1e400",
    "nan",
    '"\\u0000"',
    "{ env = 1 }",
    '{ file = "", env = "" }',
    "x",
)
KEYS = ("name", "speed", "__class__", '"ключ"', "")


@st.composite
def damaged(draw: st.DrawFn, text: str) -> bytes:
    """A file with some lines lost, doubled, moved or changed, or some bytes replaced."""
    lines = text.splitlines()
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(lines) - 1))
        match draw(st.sampled_from(["lose", "double", "value", "key", "cut", "move"])):
            case "lose":
                lines.pop(place)
            case "double":
                lines.insert(place, lines[place])
            case "value":
                lines[place] = lines[place].partition("=")[0] + "= " + draw(st.sampled_from(VALUES))
            case "key":
                lines[place] = f"{draw(st.sampled_from(KEYS))} = {draw(st.sampled_from(VALUES))}"
            case "cut":
                lines[place] = lines[place][: len(lines[place]) // 2]
            case _:
                lines.insert(draw(st.integers(0, len(lines))), lines.pop(place))
        lines = lines or [""]
    content = bytearray("\n".join(lines).encode())
    for place, byte in draw(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=2)):
        content[place % max(len(content), 1) : place % max(len(content), 1) + 1] = bytes([byte])
    return bytes(content)


@settings(max_examples=300)
@given(damaged(CONFIG))
def test_a_configuration_is_read_or_rejected_line_by_line_without_its_secrets(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "accounts.toml"
        path.touch(mode=0o600)
        path.write_bytes(content)
        try:
            found: Settings | None = load(path)
        except ConfigError as error:
            found = None
            for line in error.lines:
                assert line.startswith(str(path))
                assert "\n" not in line
                assert "canary" not in line
        assert "canary" not in repr(found)


@settings(max_examples=200)
@given(damaged(FAULTS))
def test_a_script_of_faults_is_read_or_rejected_in_one_line(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "faults.toml"
        path.write_bytes(content)
        message = str(path)
        try:
            read_script(path)
        except ValueError as error:
            message = str(error)
        assert message.startswith(str(path))
        assert "\n" not in message


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)
EVENTS = st.fixed_dictionaries(
    {"event": JSON},
    optional=dict.fromkeys(("id", "code", "msg", "arg", "channel", "connCount", "connId"), JSON),
)


@given(EVENTS.map(lambda content: msgspec.json.encode(content).decode()) | st.text())
def test_a_control_frame_is_read_or_is_none(frame: str) -> None:
    event = read_event(frame)
    if event is not None:
        for text in (event.event, event.msg, event.code, event.channel):
            line = sanitize(text)
            assert not set(map(ord, line)) & CONTROL_ESCAPES.keys()
            assert len(line) <= 200 * len("\\u0000")


REPLIES = (
    st.binary(max_size=200)
    | JSON.map(msgspec.json.encode)
    | st.fixed_dictionaries({"code": JSON, "msg": JSON, "data": JSON}).map(msgspec.json.encode)
    | st.fixed_dictionaries({"code": st.just("0"), "data": JSON}).map(msgspec.json.encode)
    | st.sampled_from(
        [b'{"code":"0","data":' + b"[" * 50_000 + b"]" * 50_000 + b"}", b"[" * 100_000, b"x" * (17 * 2**20)]
    )
)


class Parts(httpx.AsyncByteStream):
    """A body that comes as from a socket; one given as ``content`` has been read before anybody asks for it."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._body


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example])
@given(REPLIES, st.sampled_from([200, 401, 403, 429, 500, 502, 503]))
def test_a_reply_is_rows_or_a_reported_error(body: bytes, status: int) -> None:
    async def ask() -> None:
        http = MockHttp(lambda request: httpx.Response(status, stream=Parts(body)))
        site = Site("http://127.0.0.1:1", "ws://127.0.0.1:1", "ws://127.0.0.1:1", "ws://127.0.0.1:1")
        key, secret, passphrase = (Secret(text, Path()) for text in ("key", "canary-secret", "canary-passphrase"))
        account = AccountSettings("alpha", "sandbox", site, True, key, secret, passphrase, (), True)
        clock = SiteClock(http, site.rest)
        await clock.measure()
        message = ""
        try:
            await read_page(AccountClient(http, account, clock), "account/positions", {})
        except RestError as error:
            message = str(error)
        assert "canary" not in message
        assert "\n" not in message

    trio.run(ask, clock=MockClock(autojump_threshold=0))
