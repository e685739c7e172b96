"""python-okx, OKX's own client, over REST and WebSocket: https://github.com/okxapi/python-okx."""

import asyncio
import json
from typing import Any

import websockets
from okx import Account, MarketData, PublicData, Trade
from okx.websocket.WsPrivateAsync import WsPrivateAsync

from okxsync.sandbox.exchange.exchange import Member
from tests.clients.checks import ALGOS, ENDS, FAR, INST_ID, Checks


def drive(url: str, member: Member, checks: Checks) -> None:
    """Run all steps."""
    keys = member.credentials
    given = (keys.api_key, keys.secret_key, keys.passphrase, None, "1", url)
    account, trade = Account.AccountAPI(*given), Trade.TradeAPI(*given)
    public, market = PublicData.PublicAPI(*given), MarketData.MarketAPI(*given)
    done = checks.done

    done("config", account.get_account_config())
    done("balance", account.get_account_balance())
    done("instruments", account.get_instruments(instType="SWAP"))
    done("fees", account.get_fee_rates(instType="SWAP", instFamily="BTC-USDT"))
    done("set leverage", account.set_leverage(instId=INST_ID, lever="5", mgnMode="cross"))
    [row] = done("leverage", account.get_leverage(mgnMode="cross", instId=INST_ID))
    checks.that("leverage is as set", row["lever"] == "5", row)
    done("max size", account.get_max_order_size(instId=INST_ID, tdMode="cross"))
    done("max avail size", account.get_max_avail_size(instId=INST_ID, tdMode="cross"))
    done("position risk", account.get_position_risk())
    done("price limit", public.get_price_limit(INST_ID))
    done("mark price", public.get_mark_price("SWAP", instId=INST_ID))
    done("position tiers", public.get_position_tiers("SWAP", "cross", instFamily="BTC-USDT"))
    done("order book", market.get_orderbook(INST_ID, sz="5"))
    done("candles", market.get_candlesticks(INST_ID, bar="1m"))
    done("trades", market.get_trades(INST_ID))

    body = {"instId": INST_ID, "tdMode": "cross", "side": "buy", "ordType": "limit", "px": FAR, "sz": "1"}
    [placed] = done("place", trade.place_order(**body, clOrdId="p1"))
    checks.refused("place with the same id", trade.place_order(**body, clOrdId="p1"), "51016")
    checks.refused("place with half a lot", trade.place_order(**body | {"sz": "0.005"}), "51020")
    done("amend", trade.amend_order(INST_ID, clOrdId="p1", newSz="2"))
    [row] = done("look up", trade.get_order(INST_ID, clOrdId="p1"))
    checks.that("the order is as amended", (row["ordId"], row["sz"]) == (placed["ordId"], "2"), row)
    done("cancel", trade.cancel_order(INST_ID, ordId=placed["ordId"]))
    checks.refused("cancel again", trade.cancel_order(INST_ID, ordId=placed["ordId"]), "51400")

    rows = done("place two", trade.place_multiple_orders([body | {"clOrdId": f"b{each}"} for each in range(2)]))
    amends = [{"instId": INST_ID, "ordId": row["ordId"], "newPx": "57400"} for row in rows]
    done("amend two", trade.amend_multiple_orders(amends))
    done("cancel two", trade.cancel_multiple_orders([{"instId": INST_ID, "ordId": row["ordId"]} for row in rows]))

    bracket = [{"attachAlgoClOrdId": "s1", "tpTriggerPx": "70000", "tpOrdPx": "-1", "slTriggerPx": "50000"}]
    bracket[0]["slOrdPx"] = "-1"
    market_order = body | {"ordType": "market", "px": ""}
    done("place at market with a bracket", trade.place_order(**market_order, attachAlgoOrds=bracket))
    [algo] = done("algo orders", trade.order_algos_list(ordType="oco"))
    checks.that("the bracket waits", (algo["algoClOrdId"], algo["state"]) == ("s1", "live"), algo)
    done("amend the bracket", trade.amend_algo_order(INST_ID, algoId=algo["algoId"], newSlTriggerPx="51000"))
    done("cancel the bracket", trade.cancel_algo_order([{"instId": INST_ID, "algoId": algo["algoId"]}]))
    sale = {"instId": INST_ID, "tdMode": "cross", "side": "sell", "sz": "1", "reduceOnly": "true"}
    for kind, (fields, change) in ALGOS.items():
        [algo] = done(f"place {kind}", trade.place_algo_order(**sale, ordType=kind, **fields))
        if change:
            done(f"amend {kind}", trade.amend_algo_order(INST_ID, algoId=algo["algoId"], **change))
        done(f"cancel {kind}", trade.cancel_algo_order([{"instId": INST_ID, "algoId": algo["algoId"]}]))
    done("close the position", trade.close_positions(INST_ID, "cross"))
    checks.that("order history", len(trade.get_orders_history("SWAP")["data"]) == 5)

    for kind, state in ENDS.items():
        px = "" if kind == "optimal_limit_ioc" else FAR
        done(f"place {kind}", trade.place_order(**body | {"ordType": kind, "px": px}, clOrdId=f"t{len(kind)}"))
        [row] = done(f"look up {kind}", trade.get_order(INST_ID, clOrdId=f"t{len(kind)}"))
        checks.that(f"{kind} is {state}", row["state"] == state, row)
        if state == "live":
            done(f"amend {kind}", trade.amend_order(INST_ID, ordId=row["ordId"], newPx="57400"))
            done(f"cancel {kind}", trade.cancel_order(INST_ID, ordId=row["ordId"]))
    checks.refused("position mode while a position is open", account.set_position_mode("long_short_mode"), "59000")
    done("reduce at market", trade.place_order(**sale | {"ordType": "market"}))
    done("long and short positions", account.set_position_mode("long_short_mode"))
    done("place at market, long", trade.place_order(**market_order, posSide="long"))
    done("close the long position", trade.close_positions(INST_ID, "cross", posSide="long"))
    done("net positions", account.set_position_mode("net_mode"))
    [instrument] = done("the code of the instrument", account.get_instruments(instType="SWAP", instId=INST_ID))
    asyncio.run(_websocket(url, member, int(instrument["instIdCode"]), checks))


async def _websocket(url: str, member: Member, code: int, checks: Checks) -> None:
    keys = member.credentials
    address = url.replace("http", "ws") + "/ws/v5/private"
    client = WsPrivateAsync(keys.api_key, keys.passphrase, keys.secret_key, address)
    received: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    client.callback = lambda message: received.put_nowait(json.loads(message))
    client.websocket = await websockets.connect(address)  # its own connect() insists on TLS
    consuming = asyncio.create_task(client.consume())

    async def reply() -> dict[str, Any]:
        return await asyncio.wait_for(received.get(), 10)

    await client.login()
    found = await reply()
    checks.that("login over WebSocket", (found.get("event"), found.get("code")) == ("login", "0"), found)
    order = {"instIdCode": code, "tdMode": "cross", "side": "buy", "ordType": "limit", "px": FAR, "sz": "1"}
    await client.place_order([order], id="1")
    [row] = checks.done("place over WebSocket", await reply())
    known = {"instIdCode": code, "ordId": row["ordId"]}
    await client.amend_order([known | {"newSz": "2"}], id="2")
    checks.done("amend over WebSocket", await reply())
    await client.cancel_order([known], id="3")
    checks.done("cancel over WebSocket", await reply())
    await client.batch_orders([order, order], id="4")
    rows = checks.done("place two over WebSocket", await reply())
    each = [{"instIdCode": code, "ordId": row["ordId"]} for row in rows]
    await client.batch_amend_orders([one | {"newPx": "57400"} for one in each], id="5")
    checks.done("amend two over WebSocket", await reply())
    await client.batch_cancel_orders(each, id="6")
    checks.done("cancel two over WebSocket", await reply())
    await client.place_order([{**order, "instIdCode": code + 1_000_000}], id="7")
    checks.refused("place with the code of no instrument", await reply(), "51001")
    consuming.cancel()
    await client.websocket.close()
