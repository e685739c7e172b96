"""A simple client of the sandbox with its own signing: it uses no code of the client side of the package."""

import base64
import hashlib
import hmac
import json
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import httpx
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_client_stream

from okxsync.sandbox.exchange.exchange import Credentials, Member
from okxsync.sandbox.server.server import Sandbox

WITHIN_S = 60.0
"""How long an answer may take on a busy machine."""
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}


def signature(secret: str, message: str) -> str:
    return base64.b64encode(hmac.new(secret.encode(), message.encode(), hashlib.sha256).digest()).decode()


class Talk:
    """A WebSocket connection, frame by frame."""

    def __init__(self, ws: WebSocketConnection) -> None:
        self.ws = ws
        self._kept: deque[dict[str, Any]] = deque()  # received while waiting for acknowledgements

    async def send(self, content: object) -> None:
        await self.ws.send_message(content if isinstance(content, str) else json.dumps(content))

    async def text(self) -> str:
        with trio.fail_after(WITHIN_S):
            return str(await self.ws.get_message())

    async def receive(self) -> dict[str, Any]:
        return self._kept.popleft() if self._kept else await self._receive_new()

    async def _receive_new(self) -> dict[str, Any]:
        frame = json.loads(await self.text())
        assert isinstance(frame, dict)
        return frame

    async def request(self, content: object) -> dict[str, Any]:
        await self.send(content)
        return await self.receive()

    async def receive_matching(self, **fields: object) -> dict[str, Any]:
        """Return the next frame with these fields (`channel` is looked for in ``arg``, too); discard the others."""
        while True:
            frame = await self.receive()
            flat = {**frame.get("arg", {}), **frame}
            if all(flat.get(name) == value for name, value in fields.items()):
                return frame

    async def log_in(self, member: Member, **changes: object) -> dict[str, Any]:
        return await self.request({"op": "login", "args": [login_arg(member.credentials, **changes)]})

    async def subscribe(self, *args: Mapping[str, object] | str, **more: object) -> list[dict[str, Any]]:
        """Subscribe and return the acks and errors; frames between them are returned by later calls."""
        wanted = [{"channel": arg} if isinstance(arg, str) else dict(arg) for arg in args]
        await self.send({"op": "subscribe", "args": wanted, **more})
        answers: list[dict[str, Any]] = []
        while len(answers) < len(wanted):
            frame = await self._receive_new()
            (answers if frame.get("event") in ("subscribe", "error") else self._kept).append(frame)
        return answers

    async def received(self) -> list[dict[str, Any]]:
        """Return all frames that the exchange has sent so far: those before its answer to a ping."""
        frames = list(self._kept)
        self._kept.clear()
        await self.send("ping")
        while (text := await self.text()) != "pong":
            frames.append(json.loads(text))
        return frames

    async def closed(self, within_s: float = WITHIN_S) -> tuple[int, str]:
        """Wait for the end; return its code and reason."""
        with trio.fail_after(within_s):
            while True:
                try:
                    await self.ws.get_message()
                except ConnectionClosed as closed:
                    return (closed.reason.code, closed.reason.reason or "") if closed.reason else (1006, "")


def login_arg(credentials: Credentials, **changes: object) -> dict[str, object]:
    """A login's arg, true but for the changes; a `secret_key` among them signs in its place."""
    timestamp = changes.get("timestamp", str(int(time.time())))
    secret = str(changes.pop("secret_key", credentials.secret_key))
    arg = {
        "apiKey": credentials.api_key,
        "passphrase": credentials.passphrase,
        "timestamp": timestamp,
        "sign": signature(secret, f"{timestamp}GET/users/self/verify"),
    }
    return arg | changes


@asynccontextmanager
async def talk(sandbox: Sandbox, endpoint: str = "private", member: Member | None = None) -> AsyncIterator[Talk]:
    """A connection to an endpoint, logged in if a member is given."""
    # trio-websocket leaves the stream open when the server ends first, so it is ours to close
    async with await trio.open_tcp_stream("127.0.0.1", sandbox.port) as stream, trio.open_nursery() as nursery:
        ws = await wrap_client_stream(nursery, stream, "127.0.0.1", f"/ws/v5/{endpoint}")
        client = Talk(ws)
        if member:
            answer = await client.log_in(member)
            assert answer["code"] == "0", answer
        yield client
        with trio.move_on_after(1):
            await ws.aclose()
        nursery.cancel_scope.cancel(reason="the client leaves")


async def raw(sandbox: Sandbox, endpoint: str = "private") -> trio.SocketStream:
    """Open a connection without a WebSocket library, so that a test controls what is read and how it ends."""
    stream = await trio.open_tcp_stream("127.0.0.1", sandbox.port)
    await stream.send_all(upgrade(endpoint))
    assert b" 101 " in await stream.receive_some()
    return stream


def upgrade(endpoint: str) -> bytes:
    head = f"GET /ws/v5/{endpoint} HTTP/1.1\r\nHost: x\r\n"
    return (head + "".join(f"{name}: {value}\r\n" for name, value in UPGRADE.items()) + "\r\n").encode()


async def upgrade_status(url_rest: str, endpoint: str) -> int:
    """Return the HTTP status that answers a WebSocket upgrade: 101 if it is accepted."""
    async with httpx.AsyncClient(base_url=url_rest) as client:
        return (await client.get(f"/ws/v5/{endpoint}", headers=UPGRADE)).status_code


class HeldClock:
    """A clock that stands still until it is advanced."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Caller:
    """REST calls of one member."""

    def __init__(self, client: httpx.AsyncClient, member: Member) -> None:
        self.client = client
        self.member = member
        self.ahead_s = 0.0

    async def get(self, path: str, **query: str) -> dict[str, Any]:
        """GET below /api/v5/, return the body."""
        return body_of(await self.send("GET", path, query=query))

    async def rows(self, path: str, **query: str) -> list[dict[str, Any]]:
        """GET something that must succeed, return its rows."""
        answer = await self.get(path, **query)
        assert answer["code"] == "0", answer
        rows = answer["data"]
        assert isinstance(rows, list)
        return rows

    async def post(self, path: str, content: object, **headers: str) -> dict[str, Any]:
        return body_of(await self.send("POST", path, body=json.dumps(content), headers=headers))

    async def send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        target: str = "",
        body: str = "",
        headers: Mapping[str, str | None] | None = None,
        sent_body: str | None = None,
    ) -> httpx.Response:
        """Sign and send; `headers` override (None removes one); `sent_body` is sent instead of the signed body."""
        credentials = self.member.credentials
        target = target or f"/api/v5/{path}" + (f"?{urlencode(query)}" if query else "")
        overruled = headers or {}
        timestamp = overruled.get("OK-ACCESS-TIMESTAMP") or now_iso(self.ahead_s)
        given: dict[str, str | None] = {
            "OK-ACCESS-KEY": credentials.api_key,
            "OK-ACCESS-PASSPHRASE": credentials.passphrase,
            "OK-ACCESS-TIMESTAMP": timestamp,
            "OK-ACCESS-SIGN": signature(credentials.secret_key, f"{timestamp}{method}{target}{body}"),
            "x-simulated-trading": "1" if self.member.demo else "0",
            "Content-Type": "application/json",
        }
        chosen = {name: value for name, value in (given | dict(overruled)).items() if value is not None}
        content = (body if sent_body is None else sent_body).encode()
        return await self.client.request(method, target, content=content, headers=chosen)


def body_of(response: httpx.Response) -> dict[str, Any]:
    body = response.json()
    assert isinstance(body, dict)
    return body


def now_iso(ahead_s: float = 0.0) -> str:
    return datetime.fromtimestamp(time.time() + ahead_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


SPOT = {"instId": "BTC-USDT", "tdMode": "cash"}
SWAP = {"instId": "BTC-USDT-SWAP", "tdMode": "cross"}
FAR_BUY = {"side": "buy", "ordType": "limit", "px": "30000"}
"""An order that rests, at half the price."""
