"""ccxt, over REST and, as ccxt.pro, over WebSocket: https://github.com/ccxt/ccxt."""

import asyncio

import ccxt
import ccxt.pro

from okxsync.sandbox.exchange.exchange import Member
from tests.clients.checks import FAR, Checks

SYMBOL = "BTC/USDT:USDT"
PX = float(FAR)


def drive(url: str, member: Member, checks: Checks) -> None:
    """Run all steps."""
    _rest(ccxt.okx(_options(member)), url, checks)
    asyncio.run(_websocket(ccxt.pro.okx(_options(member)), url, checks))


def _options(member: Member) -> dict[str, object]:
    keys = member.credentials
    return {
        "apiKey": keys.api_key,
        "secret": keys.secret_key,
        "password": keys.passphrase,
        "options": {"fetchMarkets": {"types": ["spot", "swap"]}},
    }


def _point(client: ccxt.Exchange, url: str) -> None:
    """Set the host, and the header of demo trading."""
    client.set_sandbox_mode(True)
    client.urls["api"] = {"rest": url, "ws": url.replace("http", "ws") + "/ws/v5"}
    client.has["fetchCurrencies"] = False


def _rest(client: ccxt.okx, url: str, checks: Checks) -> None:
    _point(client, url)
    that = checks.that
    client.load_markets()
    that("balance", client.fetch_balance()["USDT"]["total"] == 100000)
    client.set_leverage(3, SYMBOL, {"mgnMode": "cross"})
    that("leverage", client.fetch_leverage(SYMBOL, {"mgnMode": "cross"})["longLeverage"] == 3)
    that("ticker", client.fetch_ticker(SYMBOL)["last"] > 0)
    that("order book", len(client.fetch_order_book(SYMBOL, 5)["asks"]) == 5)
    that("trades", len(client.fetch_trades(SYMBOL, limit=5)) > 0)
    that("candles", len(client.fetch_ohlcv(SYMBOL)) > 0)
    that("trading fee", client.fetch_trading_fee(SYMBOL)["taker"] == 0.0005)

    order = client.create_order(SYMBOL, "limit", "buy", 1, PX, {"clientOrderId": "c1"})
    client.edit_order(order["id"], SYMBOL, "limit", "buy", 2, PX)
    found = client.fetch_order(order["id"], SYMBOL)
    that("place and amend", (found["status"], found["amount"]) == ("open", 2), found)
    client.cancel_order(order["id"], SYMBOL)
    that("cancel", client.fetch_order(order["id"], SYMBOL)["status"] == "canceled")
    orders = client.create_orders(
        [{"symbol": SYMBOL, "type": "limit", "side": "buy", "amount": 1, "price": PX} for _ in range(2)]
    )
    that("place two", len(client.fetch_open_orders(SYMBOL)) == 2)
    client.cancel_orders([each["id"] for each in orders], SYMBOL)
    for kind, status in (("ioc", "canceled"), ("fok", "canceled"), ("post_only", "open")):
        order = client.create_order(SYMBOL, kind, "buy", 1, PX)
        that(kind, client.fetch_order(order["id"], SYMBOL)["status"] == status)
        if status == "open":
            client.cancel_order(order["id"], SYMBOL)

    stops = {"takeProfit": {"triggerPrice": 70000}, "stopLoss": {"triggerPrice": 50000}}
    client.create_order(SYMBOL, "market", "buy", 1, None, stops)
    waiting = client.fetch_open_orders(SYMBOL, params={"ordType": "oco", "trigger": True})
    that("market with a bracket", len(waiting) == 1, waiting)
    client.cancel_order(waiting[0]["id"], SYMBOL, {"trigger": True})
    trigger = client.create_order(SYMBOL, "limit", "sell", 1, 65000, {"triggerPrice": 65000, "reduceOnly": True})
    client.cancel_order(trigger["id"], SYMBOL, {"trigger": True})
    amended = client.create_order(SYMBOL, "market", "sell", 1, None, {"stopLossPrice": 50000, "reduceOnly": True})
    client.edit_order(
        amended["id"], SYMBOL, "conditional", "sell", 1, None, {"newSlTriggerPx": "51000", "newSlOrdPx": "-1"}
    )
    waiting = client.fetch_open_orders(SYMBOL, params={"ordType": "conditional", "trigger": True})
    that("amend a stop", [each["stopLossPrice"] for each in waiting] == [51000], waiting)
    client.cancel_order(amended["id"], SYMBOL, {"trigger": True})
    trailing = client.create_order(SYMBOL, "market", "sell", 1, None, {"trailingPercent": 5, "reduceOnly": True})
    that("trigger and trailing orders", bool(trigger["id"] and trailing["id"]))
    client.cancel_order(trailing["id"], SYMBOL, {"trigger": True, "trailing": True})
    client.cancel_all_orders_after(60_000)
    client.cancel_all_orders_after(0)
    that("positions", [each["contracts"] for each in client.fetch_positions([SYMBOL])] == [1])
    client.create_order(SYMBOL, "market", "sell", 1, None, {"reduceOnly": True})
    that("my trades", len(client.fetch_my_trades(SYMBOL)) == 2)
    try:
        client.create_order(SYMBOL, "limit", "buy", 1_000_000, PX)
    except ccxt.InsufficientFunds:
        that("insufficient funds are known as such", True)


async def _websocket(client: ccxt.pro.okx, url: str, checks: Checks) -> None:
    _point(client, url)
    try:
        await client.load_markets()
        order = await client.create_order_ws(SYMBOL, "limit", "buy", 1, PX)
        await client.edit_order_ws(order["id"], SYMBOL, "limit", "buy", 2, PX)
        found = await client.fetch_order(order["id"], SYMBOL)
        checks.that("place and amend over WebSocket", found["amount"] == 2, found)
        await client.cancel_order_ws(order["id"], SYMBOL)
        found = await client.fetch_order(order["id"], SYMBOL)
        checks.that("cancel over WebSocket", found["status"] == "canceled", found)
        checks.that("watch the ticker", (await client.watch_ticker(SYMBOL))["last"] > 0)
        checks.that("watch the trades", len(await client.watch_trades(SYMBOL)) > 0)
    finally:
        await client.close()
