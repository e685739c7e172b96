"""The REST endpoints that read: each with its filters, its retention, its cursor and its rate limit.

The exchange returns complete lists; filters, pages and retention are applied here (OKX docs: the page of each
endpoint). Retention matters most: a row that has left a list cannot be fetched again, and clients must handle that.
"""

from okxsync.sandbox.exchange.exchange import OrderRejected
from okxsync.sandbox.exchange.rows import Row, order_row
from okxsync.sandbox.server import spellings
from okxsync.sandbox.server.market_endpoints import MARKET_ENDPOINTS
from okxsync.sandbox.server.paging import Paging, page
from okxsync.sandbox.server.public_endpoints import PUBLIC_ENDPOINTS
from okxsync.sandbox.server.read_request import ReadEndpoint, ReadRequest
from okxsync.sandbox.server.trading_endpoints import TRADING_ENDPOINTS

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
UNFILLED_MS = 2 * HOUR_MS
"""How long a canceled order without a fill is listed."""
ON_CHAIN = "4"
"""``type`` of every deposit and withdrawal here; 3 is an internal transfer."""
PENDING = frozenset({"live", "partially_filled"})


# Current state


def _balance(request: ReadRequest) -> list[Row]:
    row = request.exchange.account_row(request.uid)
    details = request.filtered(row["details"], "ccy")
    return [row | {"details": request.spelled(details, spellings.balance)}]


def _positions(request: ReadRequest) -> list[Row]:
    named = bool(request.query.get("instId") or request.query.get("posId"))
    rows = request.exchange.position_rows(request.uid, with_closed=named)
    return request.filtered(rows, "instType", "instId", "posId")


def _config(request: ReadRequest) -> list[Row]:
    return [request.exchange.config_row(request.uid)]


def _subaccounts(request: ReadRequest) -> list[Row]:
    members = request.exchange.members
    if members[request.uid].sub_acct:
        raise OrderRejected("59500", "Only the API key of the main account has permission")
    rows = [
        {"enable": True, "label": each.label, "subAcct": each.name, "type": "1", "uid": each.uid, "ts": "1700000000000"}
        for each in members.values()
        if each.main_uid == request.uid and each.uid != request.uid
    ]
    return [] if request.query.get("enable") == "false" else request.filtered(rows, "subAcct")


# Orders


def _pending_orders(request: ReadRequest) -> list[Row]:
    waiting = request.exchange.account(request.uid).pending.values()
    rows = request.spelled([order_row(order) for order in reversed(waiting)], spellings.pending_order)
    rows = request.readable(rows, "cTime")
    rows = request.filtered(rows, "instType", "instFamily", "instId", "ordType", "state")
    return page(rows, Paging("ordId"), request.query)


def _findable(request: ReadRequest, row: Row) -> bool:
    """Whether an order is still listed: it has a fill, is pending, or was canceled recently."""
    unfilled = row["state"] not in PENDING and row["accFillSz"] == "0"
    return not unfilled or int(row["uTime"]) >= request.now_ms - UNFILLED_MS


def _order(request: ReadRequest) -> list[Row]:
    request.need("instId")
    query = request.query
    if not query.get("ordId") and not query.get("clOrdId"):
        raise OrderRejected("51003", "Either client order ID or order ID is required")
    account = request.exchange.account(request.uid)
    found = account.orders.get(query["ordId"]) if query.get("ordId") else account.client_ids.get(query["clOrdId"])
    if found and found.instrument.inst_id == query["instId"] and _findable(request, row := order_row(found)):
        rows = request.readable([row], "cTime")
    else:
        rows = []
    if rows:
        return rows
    raise OrderRejected("51603", "Order does not exist")


def _orders_history(request: ReadRequest) -> list[Row]:
    rows = [row for row in _finished_orders(request, 7) if _findable(request, row)]
    return page(rows, Paging("ordId", "cTime"), request.query)


def _orders_archive(request: ReadRequest) -> list[Row]:
    rows = [row for row in _finished_orders(request, 90) if row["state"] != "canceled" or row["accFillSz"] != "0"]
    return page(rows, Paging("ordId", "cTime"), request.query)


def _finished_orders(request: ReadRequest, days: int) -> list[Row]:
    request.need("instType")
    rows = [row for row in request.exchange.order_rows(request.uid) if row["state"] not in PENDING]
    rows = request.spelled(rows, spellings.finished_order)
    rows = request.since(rows, "uTime", days * DAY_MS)
    return request.filtered(rows, "instType", "instFamily", "instId", "ordType", "state", "category")


def _algos(request: ReadRequest, *, pending: bool) -> list[Row]:
    request.need("ordType")
    kinds = request.query["ordType"].split(",")
    known = {"conditional", "oco", "trigger", "chase", "move_order_stop", "iceberg", "twap", "smart_iceberg"}
    if not set(kinds) <= known or (len(kinds) > 1 and set(kinds) != {"conditional", "oco"}):
        raise OrderRejected("51000", "Parameter ordType error")
    if not pending and not request.query.get("algoId"):
        request.need("state")
    rows = [row for row in request.exchange.algo_rows(request.uid) if (row["state"] == "live") is pending]
    rows = request.filtered(rows, "ordType", "algoId", "algoClOrdId", "instType", "instId", "state")
    return page(
        request.readable(rows, "cTime") if pending else request.since(rows, "uTime", 90 * DAY_MS),
        Paging("algoId"),
        request.query,
    )


def _pending_algos(request: ReadRequest) -> list[Row]:
    return _algos(request, pending=True)


def _finished_algos(request: ReadRequest) -> list[Row]:
    return _algos(request, pending=False)


def _algo(request: ReadRequest) -> list[Row]:
    name = "algoId" if request.query.get("algoId") else "algoClOrdId"
    request.need(name)
    rows = request.filtered(request.exchange.algo_rows(request.uid), name)
    if not rows:
        raise OrderRejected("51603", "Order does not exist")
    return rows[:1]


# Fills, bills and other history


def _fills(request: ReadRequest, days: int) -> list[Row]:
    rows = request.since(request.exchange.fill_rows(request.uid), "ts", days * DAY_MS)
    rows = request.filtered(rows, "instType", "instFamily", "instId", "ordId", "subType")
    return page(rows, Paging("billId", "ts"), request.query)


def _recent_fills(request: ReadRequest) -> list[Row]:
    return _fills(request, 3)


def _fills_history(request: ReadRequest) -> list[Row]:
    request.need("instType")
    return _fills(request, 90)


def _bills(request: ReadRequest, days: int) -> list[Row]:
    rows = request.since(request.exchange.bill_rows(request.uid), "ts", days * DAY_MS)
    rows = request.filtered(rows, "instType", "instId", "ccy", "mgnMode", "ctType", "type", "subType")
    return page(rows, Paging("billId", "ts"), request.query)


def _recent_bills(request: ReadRequest) -> list[Row]:
    return _bills(request, 7)


def _bills_archive(request: ReadRequest) -> list[Row]:
    return _bills(request, 90)


def _positions_history(request: ReadRequest) -> list[Row]:
    rows = request.since(request.exchange.positions_history_rows(request.uid), "uTime", 90 * DAY_MS)
    rows = request.filtered(rows, "instType", "instId", "mgnMode", "type", "posId")
    return page(rows, Paging("uTime", whole_times=True), request.query)


def _asset_balances(request: ReadRequest) -> list[Row]:
    return request.filtered(request.exchange.asset_balance_rows(request.uid), "ccy")


def _deposits(request: ReadRequest) -> list[Row]:
    if request.query.get("type", ON_CHAIN) != ON_CHAIN:
        return []
    rows = request.filtered(request.exchange.deposit_rows(request.uid), "ccy", "depId", "fromWdId", "txId", "state")
    return page(rows, Paging("ts"), request.query)


def _withdrawals(request: ReadRequest) -> list[Row]:
    if request.query.get("type", ON_CHAIN) != ON_CHAIN:
        return []
    rows = request.exchange.withdrawal_rows(request.uid)
    rows = request.filtered(rows, "ccy", "wdId", "clientId", "txId", "toAddrType", "state")
    return page(rows, Paging("ts"), request.query)


def _asset_bills(request: ReadRequest) -> list[Row]:
    rows = request.since(request.exchange.asset_bill_rows(request.uid), "ts", 30 * DAY_MS)
    return page(request.filtered(rows, "ccy", "type", "clientId"), Paging("ts"), request.query)


def _nothing(request: ReadRequest) -> list[Row]:
    return []


_PAGE = "after before limit"
_WINDOW = "after before begin end limit"
_BILLS = f"instType instId ccy mgnMode ctType type subType {_WINDOW}"
_ORDERS = f"instType instFamily instId ordType state category {_WINDOW}"
_FILLS = f"instType instFamily instId ordId subType {_WINDOW}"
READ_ENDPOINTS = (
    ReadEndpoint("account/balance", _balance, 10, takes="ccy"),
    ReadEndpoint("account/positions", _positions, 10, takes="instType instId posId"),
    ReadEndpoint(
        "account/positions-history", _positions_history, 10, takes=f"instType instId mgnMode type posId {_PAGE}"
    ),
    ReadEndpoint("account/config", _config, 5),
    ReadEndpoint("account/bills", _recent_bills, 5, 1.0, takes=_BILLS),
    ReadEndpoint("account/bills-archive", _bills_archive, 5, takes=_BILLS),
    ReadEndpoint(
        "trade/orders-pending", _pending_orders, 60, takes=f"instType instFamily instId ordType state {_PAGE}"
    ),
    ReadEndpoint("trade/order", _order, 60, per="instId", takes="instId ordId clOrdId"),
    ReadEndpoint("trade/orders-history", _orders_history, 40, takes=_ORDERS),
    ReadEndpoint("trade/orders-history-archive", _orders_archive, 20, takes=_ORDERS),
    ReadEndpoint(
        "trade/orders-algo-pending", _pending_algos, 20, takes=f"ordType algoId algoClOrdId instType instId {_PAGE}"
    ),
    ReadEndpoint(
        "trade/orders-algo-history",
        _finished_algos,
        20,
        takes=f"ordType algoId algoClOrdId instType instId state {_PAGE}",
    ),
    ReadEndpoint("trade/order-algo", _algo, 20, takes="algoId algoClOrdId"),
    ReadEndpoint("trade/fills", _recent_fills, 60, takes=_FILLS),
    ReadEndpoint("trade/fills-history", _fills_history, 10, takes=_FILLS),
    ReadEndpoint("asset/balances", _asset_balances, 6, 1.0, takes="ccy"),
    ReadEndpoint("asset/deposit-history", _deposits, 6, 1.0, takes=f"ccy depId fromWdId txId type state {_PAGE}"),
    ReadEndpoint(
        "asset/withdrawal-history", _withdrawals, 6, 1.0, takes=f"ccy wdId clientId txId type toAddrType state {_PAGE}"
    ),
    ReadEndpoint("asset/bills", _asset_bills, 6, 1.0, takes=f"ccy type clientId {_PAGE}"),
    ReadEndpoint("asset/currencies", _nothing, 6, 1.0, takes="ccy"),
    ReadEndpoint("users/subaccount/list", _subaccounts, 20, takes="enable subAcct"),
    *TRADING_ENDPOINTS,
    *MARKET_ENDPOINTS,
    *PUBLIC_ENDPOINTS,
)
