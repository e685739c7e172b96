"""A source of order frames that is faster than what it measures: an aiohttp server, in a process of its own.

It speaks as much of OKX's protocol as a client needs to log in and subscribe to ``orders``. Once the expected number
of connections has subscribed it sends all frames as fast as they are taken, and prints when it began.

    python -m tests.bench.source CONNECTIONS FRAMES
"""

import asyncio
import json
import random
import sys
import time
from collections.abc import Iterator

from aiohttp import WSMsgType, web

SENTINEL = 9_000_000_000_000_000_000
"""The last order of connection n is SENTINEL + n: when it can be read, all before it was stored."""

INSTRUMENT = {
    "instType": "SWAP", "instId": "BTC-USDT-SWAP", "instIdCode": 10459, "uly": "BTC-USDT", "instFamily": "BTC-USDT",
    "settleCcy": "USDT", "ctVal": "0.01", "ctMult": "1", "ctValCcy": "BTC", "ctType": "linear", "listTime":
    "1573557408000", "expTime": "", "lever": "100", "tickSz": "0.1", "lotSz": "0.01", "minSz": "0.01", "state":
    "live", "baseCcy": "", "quoteCcy": "", "optType": "", "stk": "", "alias": "", "ruleType": "normal",
}  # fmt: skip


def frames(connection: int, count: int) -> Iterator[str]:
    """60 of 100 frames are new orders; part fills, completions and cancels of earlier ones are the rest."""
    rng = random.Random(connection)
    live: list[tuple[int, int]] = []  # order id, filled
    now = int(time.time() * 1000)
    for number in range(count - 1):
        now += rng.randrange(2)
        if not live or rng.random() < 0.6:
            live.append((2_000_000_000_000_000_000 + connection * 1_000_000_000 + number, 0))
            yield frame(live[-1][0], "live", 0, 0, now)
            continue
        index = rng.randrange(len(live))
        order, filled = live[index]
        if rng.random() < 0.25:
            live.pop(index)
            yield frame(order, "canceled", filled, 0, now)
        elif filled < 3:
            live[index] = order, filled + 1
            yield frame(order, "partially_filled", filled + 1, 1, now)
        else:
            live.pop(index)
            yield frame(order, "filled", 4, 1, now)
    yield frame(SENTINEL + connection, "live", 0, 0, now)


def frame(order: int, state: str, filled: int, fill: int, now: int) -> str:
    row = {
        "accFillSz": str(filled), "algoClOrdId": "", "algoId": "", "amendResult": "", "amendSource": "",
        "attachAlgoClOrdId": "", "attachAlgoOrds": [], "avgPx": "103698.9" if filled else "0",
        "cTime": "1746947317401",
        "cancelSource": "1" if state == "canceled" else "", "category": "normal", "ccy": "",
        "clOrdId": f"bench{order}",
        "code": "0", "execType": "T" if fill else "", "fee": str(filled * -0.02), "feeCcy": "USDT",
        "fillFee": "-0.02",
        "fillFeeCcy": "USDT", "fillFwdPx": "", "fillMarkPx": "103701.2", "fillMarkVol": "",
        "fillNotionalUsd": "1037.1",
        "fillPnl": "0", "fillPx": "103698.9" if fill else "", "fillPxUsd": "", "fillPxVol": "", "fillSz": str(fill),
        "fillTime": str(now) if fill else "", "instId": "BTC-USDT-SWAP", "instType": "SWAP", "isTpLimit": "false",
        "lastPx": "103698.9", "lever": "3", "linkedAlgoOrd": {"algoId": ""}, "msg": "", "notionalUsd": "4147.95",
        "ordId": str(order), "ordType": "limit", "pnl": "0", "posSide": "net", "px": "103698.9", "pxType": "",
        "pxUsd": "", "pxVol": "", "quickMgnType": "", "rebate": "0", "rebateCcy": "USDT", "reduceOnly": "false",
        "reqId": "", "side": "buy", "slOrdPx": "", "slTriggerPx": "", "slTriggerPxType": "", "source": "",
        "state": state,        "stpId": "", "stpMode": "cancel_maker", "sz": "4", "tag": "", "tdMode": "cross",
        "tgtCcy": "", "tpOrdPx": "",
        "tpTriggerPx": "", "tpTriggerPxType": "", "tradeId": str(order % 10**9 * 8 + filled) if fill else "",
        "uTime": str(now),
    }  # fmt: skip
    arg = {"channel": "orders", "instType": "ANY", "uid": "446611223344"}
    return json.dumps({"arg": arg, "data": [row]}, separators=(",", ":"))


class Source:
    def __init__(self, connections: int, count: int) -> None:
        self.begin = asyncio.Event()
        self.waiting = list(range(connections))
        self.frames = [list(frames(number, count // connections)) for number in range(connections)]

    async def rest(self, request: web.Request) -> web.Response:
        if request.path.endswith("/public/time"):
            return web.json_response({"code": "0", "msg": "", "data": [{"ts": str(int(time.time() * 1000))}]})
        if request.path.endswith("/instruments") and request.query.get("instType") == "SWAP":
            return web.json_response({"code": "0", "msg": "", "data": [INSTRUMENT]})
        if request.path.endswith("/account/config"):
            row = {"uid": request.headers.get("OK-ACCESS-KEY", ""), "mainUid": "1", "perm": "read_only"}
            return web.json_response({"code": "0", "msg": "", "data": [row]})
        return web.json_response({"code": "0", "msg": "", "data": []})

    async def websocket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(max_msg_size=0, compress=False)
        await socket.prepare(request)
        flood: asyncio.Task[None] | None = None
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                break
            if message.data == "ping":
                await socket.send_str("pong")
                continue
            asked = json.loads(message.data)
            if asked["op"] == "login":
                await socket.send_json({"event": "login", "code": "0", "msg": "", "connId": "a4d3ae55"})
            elif asked["op"] == "subscribe":
                for arg in asked["args"]:
                    answer = {"id": asked.get("id", ""), "event": "subscribe", "arg": arg, "connId": "a4d3ae55"}
                    await socket.send_json(answer)
                    if arg["channel"] == "orders" and flood is None:
                        flood = asyncio.create_task(self.flood(socket))
        if flood:
            flood.cancel()
        return socket

    async def flood(self, socket: web.WebSocketResponse) -> None:
        mine = self.frames[self.waiting.pop()]
        if not self.waiting:
            print(f"{time.time()}", flush=True)
            self.begin.set()
        await self.begin.wait()
        for text in mine:
            await socket.send_str(text)


async def serve(connections: int, count: int) -> None:
    source = Source(connections, count)
    app = web.Application()
    app.router.add_get("/ws/v5/{endpoint}", source.websocket)
    app.router.add_route("*", "/api/v5/{path:.*}", source.rest)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert runner.addresses
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2])))
