"""The market data that clients of other people read first: books, trades, candles, the price band."""

from typing import Any

import pytest

from okxsync.sandbox.exchange.exchange import Exchange, Member
from okxsync.sandbox.server.server import Sandbox
from tests.sandbox.worlds import START, World
from tests.support.sandbox_client import Caller, talk

INST = {"instId": "BTC-USDT-SWAP"}
MARKET = {**INST, "tdMode": "cross", "side": "buy", "ordType": "market"}


def test_the_book_has_the_depth_that_is_left() -> None:
    world = World()
    uid = world.member("2").uid
    world.exchange.set_depth("BTC-USDT-SWAP", "5")
    world.exchange.place_order(uid, MARKET | {"sz": "2"})
    book = world.exchange.book_row("BTC-USDT-SWAP", 2)
    assert book["asks"] == [["60000.1", "3", "0", "1"], ["60000.2", "3", "0", "1"]]
    assert book["bids"][0] == ["59999.9", "5", "0", "1"]
    world.exchange.place_order(uid, MARKET | {"sz": "3"})
    assert world.exchange.book_row("BTC-USDT-SWAP", 2)["asks"] == []


def test_candles_join_the_trades_of_their_minutes() -> None:
    world = World()
    tape = world.exchange.tape("BTC-USDT-SWAP")
    for mark in ("60100", "59900", "60050"):
        world.exchange.set_mark("BTC-USDT-SWAP", mark)
    world.now += 60_000
    world.exchange.set_mark("BTC-USDT-SWAP", "61000")
    newest, oldest = tape.candle_rows("1m", world.now)
    assert oldest[:5] == [str(START - START % 60_000), "60100", "60100", "59900", "60050"]
    assert (oldest[8], newest[8], newest[4]) == ("1", "0", "61000")
    [hour] = tape.candle_rows("1H", world.now)
    assert hour[1:6] == ["60100", "61000", "59900", "61000", "0.04"]


async def test_market_data_over_rest(caller: Caller, sandbox: Sandbox, exchange: Exchange, alpha: Member) -> None:
    sandbox.operate(exchange.place_order, alpha.uid, MARKET | {"sz": "1"})
    assert len((await caller.rows("market/books", **INST, sz="5"))[0]["asks"]) == 5
    trades = await caller.rows("market/trades", **INST, limit="3")
    assert {"instId", "tradeId", "px", "sz", "side", "ts"} <= trades[0].keys()
    assert [int(row["tradeId"]) for row in trades] == sorted((int(row["tradeId"]) for row in trades), reverse=True)
    candles: list[Any] = await caller.rows("market/candles", **INST, bar="1m", limit="1")
    assert [len(row) for row in candles] == [9]
    assert await caller.rows("market/candles", **INST, after=str(candles[0][0])) == []
    assert (await caller.get("market/candles", **INST, bar="7m"))["code"] == "51000"
    assert (await caller.get("market/books", instId="NO-SUCH"))["code"] == "51001"


@pytest.mark.parametrize("channel", ["trades", "books5", "bbo-tbt", "price-limit"])
async def test_market_channels_push_only_while_somebody_is_subscribed(sandbox: Sandbox, channel: str) -> None:
    assert sandbox.exchange.watched == set()
    async with talk(sandbox, "public") as client:
        await client.subscribe({"channel": channel, **INST})
        for _ in range(2):
            frame = await client.receive_matching(channel=channel, event=None)
            assert frame["data"][0]["instId"] == "BTC-USDT-SWAP"
        assert sandbox.exchange.watched == {channel}
        await client.send({"op": "unsubscribe", "args": [{"channel": channel, **INST}]})
        await client.receive_matching(event="unsubscribe")
        assert sandbox.exchange.watched == set()
