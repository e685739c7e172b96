"""What REST lets read: each list with its filters, its depth, its cursor and its rate limit.

The exchange gives complete lists; what of them an endpoint shows is decided here (OKX docs: the REST page of each).
The depths matter most: what has gone from a list cannot be found again, and clients must live with that.
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
"""How long a canceled order that never filled can be found."""
INST_TYPES = frozenset({"SPOT", "MARGIN", "SWAP", "FUTURES", "OPTION", "EVENTS"})
PENDING = frozenset({"live", "partially_filled"})


@dataclass(frozen=True)
class ReadRequest:
    """A request to read: by whom (empty for public ones), what it asks, and when in ms."""

    exchange: Exchange
    faults: Faults
    uid: str
    query: Mapping[str, str]
    now_ms: int
    demo: bool

    def need(self, *names: str) -> None:
        """Refuse a question without these parameters (50014)."""
        for name in names:
            if not self.query.get(name):
                raise OrderRejected("50014", f"Parameter {name} can not be empty")

    def filtered(self, rows: Iterable[Row], *names: str) -> list[Row]:
        """Keep the rows that agree with the parameters of these names; a value may be a comma list."""
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
        """Keep the rows whose time is no longer ago than this."""
        return [row for row in self.readable(rows, name) if int(row[name]) >= self.now_ms - ms]

    def readable(self, rows: Iterable[Row], name: str) -> list[Row]:
        """Keep the rows that are old enough to be read already."""
        lag_ms = self.faults.rest_lags_ms
        return [row for row in rows if not lag_ms or int(row[name]) <= self.now_ms - lag_ms]


@dataclass(frozen=True)
class ReadEndpoint:
    """An endpoint to read: at most `limit` requests in `period_s` by an account, or by an IP for public ones."""

    path: str
    answer: Callable[[ReadRequest], list[Row]]
    limit: int
    period_s: float = 2.0
    per: str = ""  # the parameter that the limit is counted by as well

    @property
    def private(self) -> bool:
        return self.path.startswith(("account/", "trade/", "asset/", "users/"))


# Now


def _balance(question: ReadRequest) -> list[Row]:
    row = question.exchange.account_row(question.uid)
    return [row | {"details": question.filtered(row["details"], "ccy")}]


def _positions(question: ReadRequest) -> list[Row]:
    named = bool(question.query.get("instId") or question.query.get("posId"))
    rows = question.exchange.position_rows(question.uid, with_closed=named)
    return question.filtered(rows, "instType", "instId", "posId")


def _config(question: ReadRequest) -> list[Row]:
    return [question.exchange.config_row(question.uid)]


def _subaccounts(question: ReadRequest) -> list[Row]:
    members = question.exchange.members
    if members[question.uid].sub_acct:
        raise OrderRejected("59500", "Only the API key of the main account has permission")
    return [
        {"enable": True, "label": each.label, "subAcct": each.name, "type": "1", "uid": each.uid, "ts": "1700000000000"}
        for each in members.values()
        if each.main_uid == question.uid and each.uid != question.uid
    ]


def _leverage(question: ReadRequest) -> list[Row]:
    question.need("instId", "mgnMode")
    mgn_mode = question.query["mgnMode"]
    return [
        {"ccy": "", "instId": inst_id, "lever": "10", "mgnMode": mgn_mode, "posSide": "net"}
        for inst_id in question.query["instId"].split(",")
    ]


# Orders


def _pending_orders(question: ReadRequest) -> list[Row]:
    waiting = question.exchange.account(question.uid).pending.values()
    rows = question.readable([order_row(order) for order in reversed(waiting)], "cTime")
    rows = question.filtered(rows, "instType", "instFamily", "instId", "ordType", "state")
    return page(rows, Paging("ordId"), question.query)


def _findable(question: ReadRequest, row: Row) -> bool:
    """Whether an order can still be found: it filled, it waits, or it was canceled a short time ago."""
    unfilled = row["state"] not in PENDING and row["accFillSz"] == "0"
    return not unfilled or int(row["uTime"]) >= question.now_ms - UNFILLED_MS


def _order(question: ReadRequest) -> list[Row]:
    question.need("instId")
    asked = question.query
    if not asked.get("ordId") and not asked.get("clOrdId"):
        raise OrderRejected("51003", "Either client order ID or order ID is required")
    account = question.exchange.account(question.uid)
    found = account.orders.get(asked["ordId"]) if asked.get("ordId") else account.client_ids.get(asked["clOrdId"])
    if found and found.instrument.inst_id == asked["instId"] and _findable(question, row := order_row(found)):
        rows = question.readable([row], "cTime")
    else:
        rows = []
    if rows:
        return rows
    raise OrderRejected("51603", "Order does not exist")


def _orders_history(question: ReadRequest) -> list[Row]:
    rows = [row for row in _finished_orders(question, 7) if _findable(question, row)]
    return page(rows, Paging("ordId", "cTime"), question.query)


def _orders_archive(question: ReadRequest) -> list[Row]:
    rows = [row for row in _finished_orders(question, 90) if row["state"] != "canceled" or row["accFillSz"] != "0"]
    return page(rows, Paging("ordId", "cTime"), question.query)


def _finished_orders(question: ReadRequest, days: int) -> list[Row]:
    question.need("instType")
    rows = [row for row in question.exchange.order_rows(question.uid) if row["state"] not in PENDING]
    rows = question.since(rows, "uTime", days * DAY_MS)
    return question.filtered(rows, "instType", "instFamily", "instId", "ordType", "state", "category")


def _algos(question: ReadRequest, *, pending: bool) -> list[Row]:
    question.need("ordType")
    kinds = question.query["ordType"].split(",")
    known = {"conditional", "oco", "trigger", "chase", "move_order_stop", "iceberg", "twap"}
    if not set(kinds) <= known or (len(kinds) > 1 and set(kinds) != {"conditional", "oco"}):
        raise OrderRejected("51000", "Parameter ordType error")
    if not pending and not question.query.get("algoId"):
        question.need("state")
    rows = [row for row in question.exchange.algo_rows(question.uid) if (row["state"] == "live") is pending]
    rows = question.filtered(rows, "ordType", "algoId", "algoClOrdId", "instType", "instId", "state")
    return page(
        question.readable(rows, "cTime") if pending else question.since(rows, "uTime", 90 * DAY_MS),
        Paging("algoId"),
        question.query,
    )


def _pending_algos(question: ReadRequest) -> list[Row]:
    return _algos(question, pending=True)


def _finished_algos(question: ReadRequest) -> list[Row]:
    return _algos(question, pending=False)


def _algo(question: ReadRequest) -> list[Row]:
    name = "algoId" if question.query.get("algoId") else "algoClOrdId"
    question.need(name)
    rows = question.filtered(question.exchange.algo_rows(question.uid), name)
    if not rows:
        raise OrderRejected("51603", "Order does not exist")
    return rows[:1]


# Fills, bills and other history


def _fills(question: ReadRequest, days: int) -> list[Row]:
    rows = question.since(question.exchange.fill_rows(question.uid), "ts", days * DAY_MS)
    rows = question.filtered(rows, "instType", "instFamily", "instId", "ordId", "subType")
    return page(rows, Paging("billId", "ts"), question.query)


def _recent_fills(question: ReadRequest) -> list[Row]:
    return _fills(question, 3)


def _fills_history(question: ReadRequest) -> list[Row]:
    question.need("instType")
    return _fills(question, 90)


def _bills(question: ReadRequest, days: int) -> list[Row]:
    rows = question.since(question.exchange.bill_rows(question.uid), "ts", days * DAY_MS)
    rows = question.filtered(rows, "instType", "instId", "ccy", "mgnMode", "type", "subType")
    return page(rows, Paging("billId", "ts"), question.query)


def _recent_bills(question: ReadRequest) -> list[Row]:
    return _bills(question, 7)


def _bills_archive(question: ReadRequest) -> list[Row]:
    return _bills(question, 90)


def _positions_history(question: ReadRequest) -> list[Row]:
    rows = question.since(question.exchange.positions_history_rows(question.uid), "uTime", 90 * DAY_MS)
    rows = question.filtered(rows, "instType", "instId", "mgnMode", "type", "posId")
    return page(rows, Paging("uTime", whole_times=True), question.query)


def _asset_balances(question: ReadRequest) -> list[Row]:
    return question.filtered(question.exchange.asset_balance_rows(question.uid), "ccy")


def _deposits(question: ReadRequest) -> list[Row]:
    rows = question.filtered(question.exchange.deposit_rows(question.uid), "ccy", "depId", "fromWdId", "txId", "state")
    return page(rows, Paging("ts"), question.query)


def _withdrawals(question: ReadRequest) -> list[Row]:
    rows = question.exchange.withdrawal_rows(question.uid)
    return page(question.filtered(rows, "ccy", "wdId", "clientId", "txId", "state"), Paging("ts"), question.query)


def _asset_bills(question: ReadRequest) -> list[Row]:
    rows = question.since(question.exchange.asset_bill_rows(question.uid), "ts", 30 * DAY_MS)
    return page(question.filtered(rows, "ccy", "type", "clientId"), Paging("ts"), question.query)


def _nothing(question: ReadRequest) -> list[Row]:
    return []


# Public


def _time(question: ReadRequest) -> list[Row]:
    return [{"ts": str(question.now_ms)}]


def _instruments(question: ReadRequest) -> list[Row]:
    question.need("instType")
    rows = question.exchange.instrument_rows(question.query["instType"], demo=question.demo)
    return question.filtered(rows, "instFamily", "instId")


def _mark_prices(question: ReadRequest) -> list[Row]:
    question.need("instType")
    return question.filtered(question.exchange.mark_price_rows(question.query["instType"]), "instFamily", "instId")


def _tickers(question: ReadRequest) -> list[Row]:
    question.need("instType")
    return question.filtered(question.exchange.ticker_rows(question.query["instType"]), "instFamily")


def _ticker(question: ReadRequest) -> list[Row]:
    instrument = _known(question)
    return question.filtered(question.exchange.ticker_rows(instrument), "instId")


def _index_tickers(question: ReadRequest) -> list[Row]:
    if not question.query.get("instId"):
        question.need("quoteCcy")
    rows = index_rows(question.exchange)
    wanted = question.query.get("instId") or f"-{question.query['quoteCcy']}"
    return [row for row in rows if row["instId"].endswith(wanted)]


def index_rows(exchange: Exchange) -> list[Row]:
    """The rows of index tickers; the index of a pair is its spot price here."""
    return [index_row(row) for row in exchange.ticker_rows("SPOT")]


def index_row(ticker: Row) -> Row:
    """An index ticker, made of the ticker of the spot pair."""
    names = ("instId", "high24h", "low24h", "open24h", "sodUtc0", "sodUtc8", "ts")
    return {"idxPx": ticker["last"]} | {name: ticker[name] for name in names}


def _funding_rate(question: ReadRequest) -> list[Row]:
    question.need("instId")
    exchange = question.exchange
    if question.query["instId"] == "ANY":
        return [exchange.funding_rate_row(each.inst_id) for each in exchange.instruments.values() if each.is_swap]
    if _known(question) != "SWAP":
        raise OrderRejected("51001", "Instrument ID doesn't exist.")
    return [exchange.funding_rate_row(question.query["instId"])]


def _known(question: ReadRequest) -> str:
    """Return the type of the instrument asked about; 51001 if there is no such one."""
    question.need("instId")
    found = question.exchange.instruments.get(question.query["instId"])
    if found is None:
        raise OrderRejected("51001", "Instrument ID, Instrument ID code, or Spread ID doesn't exist.")
    return found.inst_type


def _status(question: ReadRequest) -> list[Row]:
    state = question.query.get("state", "scheduled,ongoing,pre_open").split(",")
    return [row for row in question.faults.status if row["state"] in state]


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
