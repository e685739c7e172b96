"""The REST endpoints that read: each with its filters, its retention, its cursor and its rate limit.

The exchange returns complete lists; filters, pages and retention are applied here (OKX docs: the page of each
endpoint). Retention matters most: a row that has left a list cannot be fetched again, and clients must handle that.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from okxsync.sandbox.exchange.exchange import Exchange, OrderRejected
from okxsync.sandbox.exchange.rows import Row, order_row
from okxsync.sandbox.faults.rules import Faults
from okxsync.sandbox.server.paging import Paging, page

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
UNFILLED_MS = 2 * HOUR_MS
"""How long a canceled order without a fill is listed."""
INST_TYPES = frozenset({"SPOT", "MARGIN", "SWAP", "FUTURES", "OPTION", "EVENTS"})
PENDING = frozenset({"live", "partially_filled"})


@dataclass(frozen=True)
class ReadRequest:
    """A request to read: the account's uid ("" for public requests), its query, and its time in ms."""

    exchange: Exchange
    faults: Faults
    uid: str
    query: Mapping[str, str]
    now_ms: int
    demo: bool

    def need(self, *names: str) -> None:
        """Reject a request without these parameters (50014)."""
        for name in names:
            if not self.query.get(name):
                raise OrderRejected("50014", f"Parameter {name} can not be empty")

    def filtered(self, rows: Iterable[Row], *names: str) -> list[Row]:
        """Keep the rows that match the parameters of these names; a value may be a comma-separated list."""
        inst_type = self.query.get("instType", "")
        if inst_type and inst_type not in INST_TYPES:
            raise OrderRejected("51000", "Parameter instType error")
        for name in names:
            if wanted := set(filter(None, self.query.get(name, "").split(","))):
                rows = [row for row in rows if self._value(row, name) in wanted]
        return list(rows)

    def _value(self, row: Row, name: str) -> str:
        if name != "instFamily":
            return str(row.get(name, ""))
        found = self.exchange.instruments.get(row["instId"])
        return found.uly if found else ""

    def since(self, rows: Iterable[Row], name: str, ms: int) -> list[Row]:
        """Keep the rows whose time is at most so long ago."""
        return [row for row in self.readable(rows, name) if int(row[name]) >= self.now_ms - ms]

    def readable(self, rows: Iterable[Row], name: str) -> list[Row]:
        """Keep the rows that REST shows already (see `Faults.rest_lags_ms`)."""
        lag_ms = self.faults.rest_lags_ms
        return [row for row in rows if not lag_ms or int(row[name]) <= self.now_ms - lag_ms]


@dataclass(frozen=True)
class ReadEndpoint:
    """An endpoint: at most `limit` requests in `period_s` by an account, or by an IP for public ones."""

    path: str
    answer: Callable[[ReadRequest], list[Row]]
    limit: int
    period_s: float = 2.0
    per: str = ""  # a parameter whose values are counted separately

    @property
    def private(self) -> bool:
        return self.path.startswith(("account/", "trade/", "asset/", "users/"))


# Current state


def _balance(request: ReadRequest) -> list[Row]:
    row = request.exchange.account_row(request.uid)
    return [row | {"details": request.filtered(row["details"], "ccy")}]


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
    return [
        {"enable": True, "label": each.label, "subAcct": each.name, "type": "1", "uid": each.uid, "ts": "1700000000000"}
        for each in members.values()
        if each.main_uid == request.uid and each.uid != request.uid
    ]


def _leverage(request: ReadRequest) -> list[Row]:
    request.need("instId", "mgnMode")
    mgn_mode = request.query["mgnMode"]
    return [
        {"ccy": "", "instId": inst_id, "lever": "10", "mgnMode": mgn_mode, "posSide": "net"}
        for inst_id in request.query["instId"].split(",")
    ]


# Orders


def _pending_orders(request: ReadRequest) -> list[Row]:
    waiting = request.exchange.account(request.uid).pending.values()
    rows = request.readable([order_row(order) for order in reversed(waiting)], "cTime")
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
    rows = request.since(rows, "uTime", days * DAY_MS)
    return request.filtered(rows, "instType", "instFamily", "instId", "ordType", "state", "category")


def _algos(request: ReadRequest, *, pending: bool) -> list[Row]:
    request.need("ordType")
    kinds = request.query["ordType"].split(",")
    known = {"conditional", "oco", "trigger", "chase", "move_order_stop", "iceberg", "twap"}
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
    rows = request.filtered(rows, "instType", "instId", "ccy", "mgnMode", "type", "subType")
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
    rows = request.filtered(request.exchange.deposit_rows(request.uid), "ccy", "depId", "fromWdId", "txId", "state")
    return page(rows, Paging("ts"), request.query)


def _withdrawals(request: ReadRequest) -> list[Row]:
    rows = request.exchange.withdrawal_rows(request.uid)
    return page(request.filtered(rows, "ccy", "wdId", "clientId", "txId", "state"), Paging("ts"), request.query)


def _asset_bills(request: ReadRequest) -> list[Row]:
    rows = request.since(request.exchange.asset_bill_rows(request.uid), "ts", 30 * DAY_MS)
    return page(request.filtered(rows, "ccy", "type", "clientId"), Paging("ts"), request.query)


def _nothing(request: ReadRequest) -> list[Row]:
    return []


# Public


def _time(request: ReadRequest) -> list[Row]:
    return [{"ts": str(request.now_ms)}]


def _instruments(request: ReadRequest) -> list[Row]:
    request.need("instType")
    rows = request.exchange.instrument_rows(request.query["instType"], demo=request.demo)
    return request.filtered(rows, "instFamily", "instId")


def _mark_prices(request: ReadRequest) -> list[Row]:
    request.need("instType")
    return request.filtered(request.exchange.mark_price_rows(request.query["instType"]), "instFamily", "instId")


def _tickers(request: ReadRequest) -> list[Row]:
    request.need("instType")
    return request.filtered(request.exchange.ticker_rows(request.query["instType"]), "instFamily")


def _ticker(request: ReadRequest) -> list[Row]:
    instrument = _known(request)
    return request.filtered(request.exchange.ticker_rows(instrument), "instId")


def _index_tickers(request: ReadRequest) -> list[Row]:
    if not request.query.get("instId"):
        request.need("quoteCcy")
    rows = index_rows(request.exchange)
    wanted = request.query.get("instId") or f"-{request.query['quoteCcy']}"
    return [row for row in rows if row["instId"].endswith(wanted)]


def index_rows(exchange: Exchange) -> list[Row]:
    """Return the index tickers; here the index of a pair is its spot price."""
    return [index_row(row) for row in exchange.ticker_rows("SPOT")]


def index_row(ticker: Row) -> Row:
    """Return the index ticker of a spot pair's ticker."""
    names = ("instId", "high24h", "low24h", "open24h", "sodUtc0", "sodUtc8", "ts")
    return {"idxPx": ticker["last"]} | {name: ticker[name] for name in names}


def _funding_rate(request: ReadRequest) -> list[Row]:
    request.need("instId")
    exchange = request.exchange
    if request.query["instId"] == "ANY":
        return [exchange.funding_rate_row(each.inst_id) for each in exchange.instruments.values() if each.is_swap]
    if _known(request) != "SWAP":
        raise OrderRejected("51001", "Instrument ID doesn't exist.")
    return [exchange.funding_rate_row(request.query["instId"])]


def _known(request: ReadRequest) -> str:
    """Return the type of the requested instrument. Raises OrderRejected (51001) for an unknown one."""
    request.need("instId")
    found = request.exchange.instruments.get(request.query["instId"])
    if found is None:
        raise OrderRejected("51001", "Instrument ID, Instrument ID code, or Spread ID doesn't exist.")
    return found.inst_type


def _status(request: ReadRequest) -> list[Row]:
    state = request.query.get("state", "scheduled,ongoing,pre_open").split(",")
    return [row for row in request.faults.status if row["state"] in state]


READ_ENDPOINTS = (
    ReadEndpoint("account/balance", _balance, 10),
    ReadEndpoint("account/positions", _positions, 10),
    ReadEndpoint("account/positions-history", _positions_history, 10),
    ReadEndpoint("account/config", _config, 5),
    ReadEndpoint("account/bills", _recent_bills, 5, 1.0),
    ReadEndpoint("account/bills-archive", _bills_archive, 5),
    ReadEndpoint("account/instruments", _instruments, 20, per="instType"),
    ReadEndpoint("account/leverage-info", _leverage, 20),
    ReadEndpoint("trade/orders-pending", _pending_orders, 60),
    ReadEndpoint("trade/order", _order, 60, per="instId"),
    ReadEndpoint("trade/orders-history", _orders_history, 40),
    ReadEndpoint("trade/orders-history-archive", _orders_archive, 20),
    ReadEndpoint("trade/orders-algo-pending", _pending_algos, 20),
    ReadEndpoint("trade/orders-algo-history", _finished_algos, 20),
    ReadEndpoint("trade/order-algo", _algo, 20),
    ReadEndpoint("trade/fills", _recent_fills, 60),
    ReadEndpoint("trade/fills-history", _fills_history, 10),
    ReadEndpoint("asset/balances", _asset_balances, 6, 1.0),
    ReadEndpoint("asset/deposit-history", _deposits, 6, 1.0),
    ReadEndpoint("asset/withdrawal-history", _withdrawals, 6, 1.0),
    ReadEndpoint("asset/bills", _asset_bills, 6, 1.0),
    ReadEndpoint("asset/currencies", _nothing, 6, 1.0),
    ReadEndpoint("users/subaccount/list", _subaccounts, 20),
    ReadEndpoint("public/time", _time, 10),
    ReadEndpoint("public/instruments", _instruments, 20, per="instType"),
    ReadEndpoint("public/mark-price", _mark_prices, 10, per="instId"),
    ReadEndpoint("public/funding-rate", _funding_rate, 10, per="instId"),
    ReadEndpoint("market/tickers", _tickers, 20),
    ReadEndpoint("market/ticker", _ticker, 20),
    ReadEndpoint("market/index-tickers", _index_tickers, 20),
    ReadEndpoint("system/status", _status, 1, 5.0),
)
