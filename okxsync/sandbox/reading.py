"""What REST lets read: each list with its filters, its depth, its cursor and its rate limit.

The exchange gives complete lists; what of them an endpoint shows is decided here (OKX docs: the REST page of each).
The depths matter most: what has gone from a list cannot be found again, and clients must live with that.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from okxsync.sandbox.exchange import Exchange, Refusal
from okxsync.sandbox.faults import Faults
from okxsync.sandbox.paging import Paging, page
from okxsync.sandbox.rows import Row, order_row

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
UNFILLED_MS = 2 * HOUR_MS
"""How long a canceled order that never filled can be found."""
INST_TYPES = frozenset({"SPOT", "MARGIN", "SWAP", "FUTURES", "OPTION", "EVENTS"})
PENDING = frozenset({"live", "partially_filled"})


@dataclass(frozen=True)
class Question:
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
                raise Refusal("50014", f"Parameter {name} can not be empty")

    def filtered(self, rows: Iterable[Row], *names: str) -> list[Row]:
        """Keep the rows that agree with the parameters of these names; a value may be a comma list."""
        inst_type = self.query.get("instType", "")
        if inst_type and inst_type not in INST_TYPES:
            raise Refusal("51000", "Parameter instType error")
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
class Reading:
    """An endpoint to read: at most `limit` requests in `period_s` by an account, or by an IP for public ones."""

    path: str
    answer: Callable[[Question], list[Row]]
    limit: int
    period_s: float = 2.0
    per: str = ""  # the parameter that the limit is counted by as well

    @property
    def private(self) -> bool:
        return self.path.startswith(("account/", "trade/", "asset/", "users/"))


# Now


def _balance(question: Question) -> list[Row]:
    row = question.exchange.account_row(question.uid)
    return [row | {"details": question.filtered(row["details"], "ccy")}]


def _positions(question: Question) -> list[Row]:
    named = bool(question.query.get("instId") or question.query.get("posId"))
    rows = question.exchange.position_rows(question.uid, with_closed=named)
    return question.filtered(rows, "instType", "instId", "posId")


def _config(question: Question) -> list[Row]:
    return [question.exchange.config_row(question.uid)]


def _subaccounts(question: Question) -> list[Row]:
    members = question.exchange.members
    if members[question.uid].sub_acct:
        raise Refusal("59500", "Only the API key of the main account has permission")
    return [
        {"enable": True, "label": each.label, "subAcct": each.name, "type": "1", "uid": each.uid, "ts": "1700000000000"}
        for each in members.values()
        if each.main_uid == question.uid and each.uid != question.uid
    ]


def _leverage(question: Question) -> list[Row]:
    question.need("instId", "mgnMode")
    mgn_mode = question.query["mgnMode"]
    return [
        {"ccy": "", "instId": inst_id, "lever": "10", "mgnMode": mgn_mode, "posSide": "net"}
        for inst_id in question.query["instId"].split(",")
    ]


# Orders


def _pending_orders(question: Question) -> list[Row]:
    waiting = question.exchange.account(question.uid).pending.values()
    rows = question.readable([order_row(order) for order in reversed(waiting)], "cTime")
    rows = question.filtered(rows, "instType", "instFamily", "instId", "ordType", "state")
    return page(rows, Paging("ordId"), question.query)


def _findable(question: Question, row: Row) -> bool:
    """Whether an order can still be found: it filled, it waits, or it was canceled a short time ago."""
    unfilled = row["state"] not in PENDING and row["accFillSz"] == "0"
    return not unfilled or int(row["uTime"]) >= question.now_ms - UNFILLED_MS


def _order(question: Question) -> list[Row]:
    question.need("instId")
    asked = question.query
    if not asked.get("ordId") and not asked.get("clOrdId"):
        raise Refusal("51003", "Either client order ID or order ID is required")
    account = question.exchange.account(question.uid)
    found = account.orders.get(asked["ordId"]) if asked.get("ordId") else account.client_ids.get(asked["clOrdId"])
    if found and found.instrument.inst_id == asked["instId"] and _findable(question, row := order_row(found)):
        rows = question.readable([row], "cTime")
    else:
        rows = []
    if rows:
        return rows
    raise Refusal("51603", "Order does not exist")


def _orders_history(question: Question) -> list[Row]:
    rows = [row for row in _finished_orders(question, 7) if _findable(question, row)]
    return page(rows, Paging("ordId", "cTime"), question.query)


def _orders_archive(question: Question) -> list[Row]:
    rows = [row for row in _finished_orders(question, 90) if row["state"] != "canceled" or row["accFillSz"] != "0"]
    return page(rows, Paging("ordId", "cTime"), question.query)


def _finished_orders(question: Question, days: int) -> list[Row]:
    question.need("instType")
    rows = [row for row in question.exchange.order_rows(question.uid) if row["state"] not in PENDING]
    rows = question.since(rows, "uTime", days * DAY_MS)
    return question.filtered(rows, "instType", "instFamily", "instId", "ordType", "state", "category")


def _algos(question: Question, *, pending: bool) -> list[Row]:
    question.need("ordType")
    kinds = question.query["ordType"].split(",")
    known = {"conditional", "oco", "trigger", "chase", "move_order_stop", "iceberg", "twap"}
    if not set(kinds) <= known or (len(kinds) > 1 and set(kinds) != {"conditional", "oco"}):
        raise Refusal("51000", "Parameter ordType error")
    if not pending and not question.query.get("algoId"):
        question.need("state")
    rows = [row for row in question.exchange.algo_rows(question.uid) if (row["state"] == "live") is pending]
    rows = question.filtered(rows, "ordType", "algoId", "algoClOrdId", "instType", "instId", "state")
    return page(
        question.readable(rows, "cTime") if pending else question.since(rows, "uTime", 90 * DAY_MS),
        Paging("algoId"),
        question.query,
    )


def _pending_algos(question: Question) -> list[Row]:
    return _algos(question, pending=True)


def _finished_algos(question: Question) -> list[Row]:
    return _algos(question, pending=False)


def _algo(question: Question) -> list[Row]:
    name = "algoId" if question.query.get("algoId") else "algoClOrdId"
    question.need(name)
    rows = question.filtered(question.exchange.algo_rows(question.uid), name)
    if not rows:
        raise Refusal("51603", "Order does not exist")
    return rows[:1]


# Fills, bills and other history


def _fills(question: Question, days: int) -> list[Row]:
    rows = question.since(question.exchange.fill_rows(question.uid), "ts", days * DAY_MS)
    rows = question.filtered(rows, "instType", "instFamily", "instId", "ordId", "subType")
    return page(rows, Paging("billId", "ts"), question.query)


def _recent_fills(question: Question) -> list[Row]:
    return _fills(question, 3)


def _fills_history(question: Question) -> list[Row]:
    question.need("instType")
    return _fills(question, 90)


def _bills(question: Question, days: int) -> list[Row]:
    rows = question.since(question.exchange.bill_rows(question.uid), "ts", days * DAY_MS)
    rows = question.filtered(rows, "instType", "instId", "ccy", "mgnMode", "type", "subType")
    return page(rows, Paging("billId", "ts"), question.query)


def _recent_bills(question: Question) -> list[Row]:
    return _bills(question, 7)


def _bills_archive(question: Question) -> list[Row]:
    return _bills(question, 90)


def _positions_history(question: Question) -> list[Row]:
    rows = question.since(question.exchange.positions_history_rows(question.uid), "uTime", 90 * DAY_MS)
    rows = question.filtered(rows, "instType", "instId", "mgnMode", "type", "posId")
    return page(rows, Paging("uTime", whole_times=True), question.query)


def _asset_balances(question: Question) -> list[Row]:
    return question.filtered(question.exchange.asset_balance_rows(question.uid), "ccy")


def _deposits(question: Question) -> list[Row]:
    rows = question.filtered(question.exchange.deposit_rows(question.uid), "ccy", "depId", "fromWdId", "txId", "state")
    return page(rows, Paging("ts"), question.query)


def _withdrawals(question: Question) -> list[Row]:
    rows = question.exchange.withdrawal_rows(question.uid)
    return page(question.filtered(rows, "ccy", "wdId", "clientId", "txId", "state"), Paging("ts"), question.query)


def _asset_bills(question: Question) -> list[Row]:
    rows = question.since(question.exchange.asset_bill_rows(question.uid), "ts", 30 * DAY_MS)
    return page(question.filtered(rows, "ccy", "type", "clientId"), Paging("ts"), question.query)


def _nothing(question: Question) -> list[Row]:
    return []


# Public


def _time(question: Question) -> list[Row]:
    return [{"ts": str(question.now_ms)}]


def _instruments(question: Question) -> list[Row]:
    question.need("instType")
    rows = question.exchange.instrument_rows(question.query["instType"], demo=question.demo)
    return question.filtered(rows, "instFamily", "instId")


def _mark_prices(question: Question) -> list[Row]:
    question.need("instType")
    return question.filtered(question.exchange.mark_price_rows(question.query["instType"]), "instFamily", "instId")


def _tickers(question: Question) -> list[Row]:
    question.need("instType")
    return question.filtered(question.exchange.ticker_rows(question.query["instType"]), "instFamily")


def _ticker(question: Question) -> list[Row]:
    instrument = _known(question)
    return question.filtered(question.exchange.ticker_rows(instrument), "instId")


def _index_tickers(question: Question) -> list[Row]:
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


def _funding_rate(question: Question) -> list[Row]:
    question.need("instId")
    exchange = question.exchange
    if question.query["instId"] == "ANY":
        return [exchange.funding_rate_row(each.inst_id) for each in exchange.instruments.values() if each.is_swap]
    if _known(question) != "SWAP":
        raise Refusal("51001", "Instrument ID doesn't exist.")
    return [exchange.funding_rate_row(question.query["instId"])]


def _known(question: Question) -> str:
    """Return the type of the instrument asked about; 51001 if there is no such one."""
    question.need("instId")
    found = question.exchange.instruments.get(question.query["instId"])
    if found is None:
        raise Refusal("51001", "Instrument ID, Instrument ID code, or Spread ID doesn't exist.")
    return found.inst_type


def _status(question: Question) -> list[Row]:
    state = question.query.get("state", "scheduled,ongoing,pre_open").split(",")
    return [row for row in question.faults.status if row["state"] in state]


READINGS = (
    Reading("account/balance", _balance, 10),
    Reading("account/positions", _positions, 10),
    Reading("account/positions-history", _positions_history, 10),
    Reading("account/config", _config, 5),
    Reading("account/bills", _recent_bills, 5, 1.0),
    Reading("account/bills-archive", _bills_archive, 5),
    Reading("account/instruments", _instruments, 20, per="instType"),
    Reading("account/leverage-info", _leverage, 20),
    Reading("trade/orders-pending", _pending_orders, 60),
    Reading("trade/order", _order, 60, per="instId"),
    Reading("trade/orders-history", _orders_history, 40),
    Reading("trade/orders-history-archive", _orders_archive, 20),
    Reading("trade/orders-algo-pending", _pending_algos, 20),
    Reading("trade/orders-algo-history", _finished_algos, 20),
    Reading("trade/order-algo", _algo, 20),
    Reading("trade/fills", _recent_fills, 60),
    Reading("trade/fills-history", _fills_history, 10),
    Reading("asset/balances", _asset_balances, 6, 1.0),
    Reading("asset/deposit-history", _deposits, 6, 1.0),
    Reading("asset/withdrawal-history", _withdrawals, 6, 1.0),
    Reading("asset/bills", _asset_bills, 6, 1.0),
    Reading("asset/currencies", _nothing, 6, 1.0),
    Reading("users/subaccount/list", _subaccounts, 20),
    Reading("public/time", _time, 10),
    Reading("public/instruments", _instruments, 20, per="instType"),
    Reading("public/mark-price", _mark_prices, 10, per="instId"),
    Reading("public/funding-rate", _funding_rate, 10, per="instId"),
    Reading("market/tickers", _tickers, 20),
    Reading("market/ticker", _ticker, 20),
    Reading("market/index-tickers", _index_tickers, 20),
    Reading("system/status", _status, 1, 5.0),
)
