"""okxv5, an older client: https://pypi.org/project/okxv5. Its host is a module constant."""

import time

import okxv5.Account_api as Account
import okxv5.Trade_api as Trade
from okxv5 import consts

from okxsync.sandbox.exchange.exchange import Member
from tests.clients.checks import ALGOS, ENDS, FAR, INST_ID, Checks


def drive(url: str, member: Member, checks: Checks) -> None:
    """Run all steps."""
    consts.API_URL = url
    keys = member.credentials
    given = (keys.api_key, keys.secret_key, keys.passphrase, False, "1")
    account, trade = Account.AccountAPI(*given), Trade.TradeAPI(*given)
    done = checks.done

    done("config", account.get_account_config())
    done("set leverage", account.set_leverage(instId=INST_ID, lever="4", mgnMode="cross"))
    done("max size", account.get_maximum_trade_size(instId=INST_ID, tdMode="cross"))

    body = {"instId": INST_ID, "tdMode": "cross", "side": "buy", "ordType": "limit", "px": FAR, "sz": "1"}
    [placed] = done("place", trade.place_order(**body, clOrdId="v1"))
    done("amend", trade.amend_order(INST_ID, ordId=placed["ordId"], newPx="57400"))
    [row] = done("look up", trade.get_orders(INST_ID, clOrdId="v1"))
    checks.that("the order is as amended", row["px"] == "57400", row)
    done("pending", trade.get_order_list(instType="SWAP"))
    done("cancel", trade.cancel_order(INST_ID, clOrdId="v1"))
    rows = done("place two", trade.place_multiple_orders([body, body]))
    done("cancel two", trade.cancel_multiple_orders([{"instId": INST_ID, "ordId": row["ordId"]} for row in rows]))
    done("place at market", trade.place_order(**body | {"ordType": "market", "px": ""}))
    sale = {"instId": INST_ID, "tdMode": "cross", "side": "sell", "sz": "1"}
    for kind, (fields, change) in ALGOS.items():
        [algo] = done(f"place {kind}", trade.place_algo_order(**sale, ordType=kind, **fields))
        if change:
            done(f"amend {kind}", trade.amend_algos(INST_ID, algoId=algo["algoId"], **change))
        done(f"cancel {kind}", trade.cancel_algo_order([{"instId": INST_ID, "algoId": algo["algoId"]}]))
    for kind, state in ENDS.items():
        px = "" if kind == "optimal_limit_ioc" else FAR
        [placed] = done(f"place {kind}", trade.place_order(**body | {"ordType": kind, "px": px}))
        [row] = done(f"look up {kind}", trade.get_orders(INST_ID, ordId=placed["ordId"]))
        checks.that(f"{kind} is {state}", row["state"] == state, row)
        if state == "live":
            done(f"cancel {kind}", trade.cancel_order(INST_ID, ordId=row["ordId"]))
    done("close the position", trade.close_positions(INST_ID, "cross"))
    [left] = done("place with a tag", trade.place_order(**body, tag="okxv5"))
    done("cancel all of the tag in 10 s", trade.cancel_all_after(timeOut="10", tag="okxv5"))
    deadline = time.monotonic() + 20
    while trade.get_orders(INST_ID, ordId=left["ordId"])["data"][0]["state"] == "live" and time.monotonic() < deadline:
        time.sleep(0.5)
    [row] = done("look it up", trade.get_orders(INST_ID, ordId=left["ordId"]))
    checks.that("it is canceled", (row["state"], row["cancelSource"]) == ("canceled", "20"), row)
