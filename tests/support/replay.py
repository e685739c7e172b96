"""A loopback server that accepts any login and subscription, then sends scripted frames."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, serve_websocket

WITHIN_S = 120.0
"""How long a busy machine may take for anything."""
REST_OF_THE_TIME = 9
"""For each second that a check takes, the daemon, the exchange and other tests have this many."""
POLL_S = 0.05


class Replay:
    """Sends ``frames[endpoint]`` to each connection of that endpoint once it has subscribed."""

    def __init__(self, port: int, frames: dict[str, list[str]]) -> None:
        self.port = port
        self.frames = frames

    def accounts_toml(self, *channels: str) -> str:
        """Return the configuration of one account on this server."""
        urls = [f'{name} = "ws://127.0.0.1:{self.port}/ws/v5/{name}"' for name in ("public", "private", "business")]
        account = ['name = "alpha"', 'site = "replay"', 'api_key = "key"', 'secret_key = "secret"']
        lines = [
            "[history]",
            'initial = "0"',
            "[sites.replay]",
            f'rest = "http://127.0.0.1:{self.port}"',
            *urls,
            "[[accounts]]",
            *account,
        ]
        return "\n".join([*lines, 'passphrase = "passphrase"', f"channels = {json.dumps(channels)}", ""])

    async def serve(self, request: WebSocketRequest) -> None:
        endpoint = request.path.rpartition("/")[2]
        socket = await request.accept()
        with suppress(ConnectionClosed):
            await self._talk(socket, self.frames.get(endpoint, []))

    async def _talk(self, socket: WebSocketConnection, frames: list[str]) -> None:
        while True:
            text = await socket.get_message()
            if text == "ping":
                await socket.send_message("pong")
                continue
            asked = json.loads(text)
            if asked["op"] == "login":
                await socket.send_message('{"event":"login","code":"0","msg":"","connId":"a4d3ae55"}')
                continue
            for arg in asked["args"]:
                answer = {"id": asked["id"], "event": "subscribe", "arg": arg, "connId": "a4d3ae55"}
                await socket.send_message(json.dumps(answer))
            for frame in frames:
                await socket.send_message(frame)


@asynccontextmanager
async def replay(frames: dict[str, list[str]]) -> AsyncIterator[Replay]:
    server = Replay(0, frames)
    async with trio.open_nursery() as nursery:
        start = partial(serve_websocket, server.serve, "127.0.0.1", 0, None)
        server.port = (await nursery.start(start)).port
        yield server
        nursery.cancel_scope.cancel(reason="the test is over")


async def until(condition: Callable[[], bool], within_s: float = WITHIN_S) -> None:
    """Wait for what another task or process makes true, for instance in the database.

    The daemon and the exchange of a test often run in the same loop: a condition that takes long is checked more
    rarely, so that it leaves them most of the time.
    """
    with trio.fail_after(within_s):
        began = trio.current_time()
        while not condition():
            await trio.sleep(max(POLL_S, REST_OF_THE_TIME * (trio.current_time() - began)))
            began = trio.current_time()


def write_config(folder: Path, text: str) -> Path:
    path = folder / "accounts.toml"
    path.touch(mode=0o600)
    path.write_text(text)
    return path


def replace(config: Path, text: str) -> None:
    """Replace the file, as editors do."""
    other = config.with_suffix(".new")
    other.touch(mode=0o600)
    other.write_text(text)
    other.rename(config)
