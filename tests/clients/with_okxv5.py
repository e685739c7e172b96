"""okxv5, an older client: https://pypi.org/project/okxv5. Its host is a module constant."""

import okxv5.Account_api as Account
import okxv5.Trade_api as Trade
from okxv5 import consts

from okxsync.sandbox.exchange.exchange import Member
from tests.clients.checks import FAR, INST_ID, Checks


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
    stop = {"instId": INST_ID, "tdMode": "cross", "side": "sell", "ordType": "conditional", "sz": "1"}
    [algo] = done("place a stop", trade.place_algo_order(**stop, slTriggerPx="50000", slOrdPx="-1"))
    done("amend it", trade.amend_algos(INST_ID, algoId=algo["algoId"], newSlTriggerPx="51000"))
    done("cancel it", trade.cancel_algo_order([{"instId": INST_ID, "algoId": algo["algoId"]}]))
    done("cancel all after a minute", trade.cancel_all_after(timeOut="60"))
    done("close the position", trade.close_positions(INST_ID, "cross"))
