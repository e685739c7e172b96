"""python-okx, OKX's own client: https://github.com/okxapi/python-okx."""

from okx import Account, MarketData, PublicData, Trade

from okxsync.sandbox.exchange.exchange import Member
from tests.clients.checks import FAR, INST_ID, Checks


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
    trail = {"instId": INST_ID, "tdMode": "cross", "side": "sell", "ordType": "move_order_stop", "sz": "1"}
    [row] = done("place a trailing stop", trade.place_algo_order(**trail, callbackRatio="0.05", reduceOnly="true"))
    done("cancel it", trade.cancel_algo_order([{"instId": INST_ID, "algoId": row["algoId"]}]))
    done("close the position", trade.close_positions(INST_ID, "cross"))
    checks.that("order history", len(trade.get_orders_history("SWAP")["data"]) == 5)
