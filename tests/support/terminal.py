"""A browser's side of ``okxsync terminal``, over real sockets, and what an attacker would send instead."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_client_stream

from okxsync.terminal import topics
from okxsync.terminal.server import Address

WITHIN_S = 60.0
"""How long an answer may take on a busy machine."""


class Clock:
    """The seconds of a steady clock, moved by hand."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Visitor:
    """A browser with its cookie and its key; each can be replaced.

    Attributes:
        host: What it sends as ``Host``; ``origin`` likewise.
    """

    def __init__(self, address: Address, token: str) -> None:
        self.address = address
        self.token = token
        self.host = f"127.0.0.1:{address.port}"
        self.origin: str | None = f"http://{self.host}"
        self.cookie = ""
        self.key = ""

    @property
    def headers(self) -> dict[str, str]:
        return {"Host": self.host} | ({"Origin": self.origin} if self.origin is not None else {})

    async def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        headers = {**self.headers, **options.pop("headers", {})}
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.address.port}", timeout=WITHIN_S) as client:
            return await client.request(method, path, headers=headers, **options)

    async def login(self, token: str | None = None) -> httpx.Response:
        answer = await self.request("POST", "/session", json={"token": self.token if token is None else token})
        if answer.status_code == 200:
            self.key = answer.json()["key"]
            self.cookie = answer.headers["Set-Cookie"].partition(";")[0]
        return answer

    async def handshake(self, more: Mapping[str, str] | None = None) -> bytes:
        """Return the first line of the answer to the handshake of a socket."""
        stream = await trio.open_tcp_stream("127.0.0.1", self.address.port)
        fields = {
            **self.headers,
            **{"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="},
            **{"Sec-WebSocket-Version": "13", "Cookie": self.cookie},
            **(more or {}),
        }
        lines = ["GET /ws HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
        async with stream:
            await stream.send_all("\r\n".join(lines).encode())
            with trio.fail_after(WITHIN_S):
                return bytes((await stream.receive_some()).partition(b"\r\n")[0])

    @asynccontextmanager
    async def socket(self) -> AsyncIterator[WebSocketConnection]:
        """Open the socket without a message."""
        stream = await trio.open_tcp_stream("127.0.0.1", self.address.port)
        async with trio.open_nursery() as nursery:
            headers = [
                (name.lower().encode(), value.encode()) for name, value in self.headers.items() if name != "Host"
            ]
            ws = await wrap_client_stream(
                nursery,
                stream,
                self.host,
                "/ws",
                extra_headers=[*headers, (b"cookie", self.cookie.encode())],
                max_message_size=2**26,
            )
            try:
                yield ws
            finally:
                with trio.move_on_after(1, shield=True):
                    await stream.aclose()
                nursery.cancel_scope.cancel(reason="the visit ends")

    @asynccontextmanager
    async def view(self, *names: str) -> AsyncIterator["View"]:
        """Follow topics; all by default."""
        async with self.socket() as ws:
            view = View(ws)
            await view.send({"key": self.key, "epoch": None, "sub": dict.fromkeys(names or topics.TOPICS)})
            yield view


class View:
    """A page that takes what it is sent.

    Attributes:
        rows: By topic and key.
        now: The last heartbeat.
    """

    def __init__(self, ws: WebSocketConnection) -> None:
        self.ws = ws
        self.rows: dict[str, dict[tuple[Any, ...], dict[str, Any]]] = {}
        self.now: dict[str, Any] = {}
        self.numbers: dict[str, int] = {}

    async def send(self, content: object) -> None:
        await self.ws.send_message(json.dumps(content))

    async def take(self, *, acknowledge: bool = True) -> None:
        """Take one message."""
        with trio.fail_after(WITHIN_S):
            text = await self.ws.get_message()
        for part in json.loads(text):
            self.numbers[part["t"]] = part["n"]
            if part["t"] == "now":
                self.now = part
                continue
            topic = topics.TOPICS[part["t"]]
            if "rows" in part:
                self.rows[topic.name] = {}
            rows = self.rows[topic.name]
            for key in part.get("del", ()):
                rows.pop(tuple(key))
            for row in part.get("rows") or part.get("put") or ():
                rows[tuple(row[: topic.key])] = topic.record(row)
        if acknowledge:
            await self.send({"ack": self.numbers})

    async def closing_code(self) -> int:
        """Take and acknowledge nothing until the server closes; return the code, 0 if it just cut."""
        with trio.fail_after(WITHIN_S):
            while True:
                try:
                    await self.ws.get_message()
                except ConnectionClosed as closed:
                    return closed.reason.code if closed.reason else 0
