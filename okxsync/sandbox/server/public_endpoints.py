"""The REST endpoints without login."""

from okxsync.sandbox.exchange.exchange import Exchange, OrderRejected
from okxsync.sandbox.exchange.rows import Row
from okxsync.sandbox.server.read_request import ReadEndpoint, ReadRequest


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
    instrument = known_type(request)
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
        return [exchange.funding_rate_row(each.inst_id) for each in exchange.listed if each.is_swap]
    if known_type(request) != "SWAP":
        raise OrderRejected("51001", "Instrument ID doesn't exist.")
    return [exchange.funding_rate_row(request.query["instId"])]


def known_type(request: ReadRequest) -> str:
    """Return the type of the requested instrument. Raises OrderRejected (51001) for an unknown one."""
    request.need("instId")
    found = request.exchange.instruments.get(request.query["instId"])
    if found is None or found.inst_id in request.exchange.expired:
        raise OrderRejected("51001", "Instrument ID, Instrument ID code, or Spread ID doesn't exist.")
    return found.inst_type


def _status(request: ReadRequest) -> list[Row]:
    state = request.query.get("state", "scheduled,ongoing,pre_open").split(",")
    return [row for row in request.faults.status if row["state"] in state]


PUBLIC_ENDPOINTS = (
    ReadEndpoint("public/time", _time, 10),
    ReadEndpoint("public/instruments", _instruments, 20, per="instType", takes="instType instFamily instId"),
    ReadEndpoint("public/mark-price", _mark_prices, 10, per="instId", takes="instType instFamily instId"),
    ReadEndpoint("public/funding-rate", _funding_rate, 10, per="instId", takes="instId"),
    ReadEndpoint("market/tickers", _tickers, 20, takes="instType instFamily"),
    ReadEndpoint("market/ticker", _ticker, 20, takes="instId"),
    ReadEndpoint("market/index-tickers", _index_tickers, 20, takes="quoteCcy instId"),
    ReadEndpoint("system/status", _status, 1, 5.0, takes="state"),
)
