"""A source of order frames that is faster than what it measures: an aiohttp server, in a process of its own.

    python -m tests.bench.source CONNECTIONS flood FRAMES | paced RATE SECONDS | burst FRAMES [--certificate FILE]

It speaks as much of OKX's protocol as a client needs to log in and to subscribe to ``orders``. It prints its port;
``ready`` once all have subscribed and REST calls have ceased; after a line on its input the time when it began, and
at the end how many frames it sent, in how many seconds, and how late the latest was.
"""

import argparse
import asyncio
import contextlib
import json
import ssl
import struct
import sys
import time

from aiohttp import WSMsgType, web

from tests.bench.orders import INSTRUMENTS, UID, Orders

QUIET_S = 15.0
"""No REST call for so long: what a client does at its start is done. okxsync backfills 10 s after it has subscribed."""
PATIENCE_S = 90.0
BUFFER = 256 * 1024
CHUNK = 16


class Source:
    def __init__(self, connections: int) -> None:
        self.connections = connections
        self.subscribed: dict[int, asyncio.Transport] = {}
        self.complete = asyncio.Event()
        """All connections have subscribed."""
        self.called = asyncio.Event()

    async def rest(self, request: web.Request) -> web.Response:
        self.called.set()
        data: list[dict[str, object]] = []
        if request.path.endswith("/public/time"):
            data = [{"ts": str(int(time.time() * 1000))}]
        elif request.path.endswith("/instruments") and request.query.get("instType") == "SWAP":
            data = [_instrument(number, base) for number, base in enumerate(INSTRUMENTS)]
        elif request.path.endswith("/account/config"):
            uid = str(UID + int(request.headers.get("OK-ACCESS-KEY", "0")))
            data = [{"uid": uid, "mainUid": str(UID), "perm": "read_only"}]
        return web.json_response({"code": "0", "msg": "", "data": data})

    async def websocket(self, handshake: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(max_msg_size=0, compress=False)
        await socket.prepare(handshake)
        number = -1
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                break
            if message.data == "ping":
                await socket.send_str("pong")
                continue
            request = json.loads(message.data)
            if request["op"] == "login":
                number = int(request["args"][0]["apiKey"])
                await socket.send_json({"event": "login", "code": "0", "msg": "", "connId": "a4d3ae55"})
            elif request["op"] == "subscribe":
                for arg in request["args"]:
                    answer = {"id": request.get("id", ""), "event": "subscribe", "arg": arg, "connId": "a4d3ae55"}
                    await socket.send_json(answer)
                    if arg["channel"] == "orders":
                        assert isinstance(handshake.transport, asyncio.Transport)
                        self.subscribed[number] = handshake.transport
                        if len(self.subscribed) == self.connections:
                            self.complete.set()
        return socket

    async def wait_ready(self) -> None:
        """Return once all have subscribed and REST is quiet, or never gets quiet."""
        await self.complete.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    await asyncio.wait_for(self.called.wait(), QUIET_S)
                    self.called.clear()


async def flood(source: Source, frames: int) -> None:
    """Send all as fast as they are taken, made beforehand."""
    each = frames // source.connections
    ready = [_chunks(number, each) for number in range(source.connections)]

    async def send(number: int) -> None:
        transport = source.subscribed[number]
        for chunk in ready[number]:
            transport.write(chunk)
            await asyncio.sleep(0.001 if transport.get_write_buffer_size() > BUFFER else 0)

    async with _run(each * source.connections), asyncio.TaskGroup() as group:
        for number in range(source.connections):
            group.create_task(send(number))


async def paced(source: Source, rate: int, seconds: int) -> None:
    """Send one frame after the other, each connection in turn, each at its time; made when they are sent."""
    accounts = [Orders(number) for number in range(source.connections)]
    latest = 0.0
    async with _run(rate * seconds) as report:
        began = time.monotonic()
        for count in range(rate * seconds):
            if (early := began + count / rate - time.monotonic()) > 0:
                await asyncio.sleep(early)
            latest = max(latest, -early)
            number = count % source.connections
            source.subscribed[number].write(_framed(accounts[number].next(time.time_ns() // 1000)))
        report["latest_s"] = latest
        await asyncio.sleep(0)
    # The end of each account, once the paced part is over.
    for number, account in enumerate(accounts):
        source.subscribed[number].write(_framed(account.last(time.time_ns() // 1000)))


async def burst(source: Source, frames: int) -> None:
    """Send all at one instant."""
    ready = [b"".join(_chunks(number, frames // source.connections)) for number in range(source.connections)]
    async with _run(frames):
        for number, whole in enumerate(ready):
            source.subscribed[number].write(whole)


class _run:
    """Waits for the line that starts it, prints when it began, and at its end what was sent."""

    def __init__(self, frames: int) -> None:
        self.report: dict[str, float] = {"frames": frames, "latest_s": 0.0}

    async def __aenter__(self) -> dict[str, float]:
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        self.began = time.time()
        print(self.began, flush=True)
        return self.report

    async def __aexit__(self, *_: object) -> None:
        print(json.dumps(self.report | {"seconds": time.time() - self.began}), flush=True)


def _chunks(number: int, count: int) -> list[bytes]:
    account, now_us = Orders(number), time.time_ns() // 1000
    frames = [_framed(account.next(now_us + index * 500)) for index in range(count - 1)]
    frames.append(_framed(account.last(now_us + count * 500)))
    return [b"".join(frames[at : at + CHUNK]) for at in range(0, count, CHUNK)]


def _framed(text: bytes) -> bytes:
    """A WebSocket text frame, written to the transport past aiohttp: the source must cost little (RFC 6455, 5.2)."""
    return struct.pack("!BBH", 0x81, 126, len(text)) + text


def _instrument(number: int, base: str) -> dict[str, object]:
    return {
        "instType": "SWAP", "instId": f"{base}-USDT-SWAP", "instIdCode": 10459 + number, "uly": f"{base}-USDT",
        "instFamily": f"{base}-USDT", "settleCcy": "USDT", "ctVal": "0.01", "ctMult": "1", "ctValCcy": base,
        "ctType": "linear", "listTime": "1573557408000", "expTime": "", "lever": "100", "tickSz": "0.1",
        "lotSz": "0.01", "minSz": "0.01", "state": "live", "baseCcy": "", "quoteCcy": "", "optType": "", "stk": "",
        "alias": "", "ruleType": "normal",
    }  # fmt: skip


async def main(connections: int, mode: str, *numbers: int, certificate: str | None) -> None:
    source = Source(connections)
    app = web.Application()
    app.router.add_get("/ws/v5/{endpoint}", source.websocket)
    app.router.add_route("*", "/api/v5/{path:.*}", source.rest)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    secure = None
    if certificate:
        secure = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        secure.load_cert_chain(certificate)
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024, ssl_context=secure).start()
    print(runner.addresses[0][1], flush=True)
    await source.wait_ready()
    await {"flood": flood, "paced": paced, "burst": burst}[mode](source, *numbers)  # type: ignore[operator]
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("connections", type=int)
    parser.add_argument("mode")
    parser.add_argument("numbers", type=int, nargs="+")
    parser.add_argument("--certificate")
    chosen = parser.parse_args()
    asyncio.run(main(chosen.connections, chosen.mode, *chosen.numbers, certificate=chosen.certificate))
