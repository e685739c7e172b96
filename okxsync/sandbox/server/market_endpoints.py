"""The REST endpoints of the market: order book, trades and candles, so that real clients can start."""

from typing import Any

from okxsync.sandbox.exchange.exchange import OrderRejected
from okxsync.sandbox.exchange.rows import Row
from okxsync.sandbox.exchange.tape import BARS
from okxsync.sandbox.server.public_endpoints import known_type
from okxsync.sandbox.server.read_request import ReadEndpoint, ReadRequest

MOST_LEVELS, MOST_TRADES, MOST_CANDLES = 400, 500, 300


def _number(request: ReadRequest, name: str, default: int, most: int) -> int:
    given = request.query.get(name, "") or str(default)
    if not (given.isascii() and given.isdecimal()):
        raise OrderRejected("51000", f"Parameter {name} error")
    return min(int(given), most)


def _books(request: ReadRequest) -> list[Row]:
    known_type(request)
    return [request.exchange.book_row(request.query["instId"], _number(request, "sz", 1, MOST_LEVELS))]


def _trades(request: ReadRequest) -> list[Row]:
    known_type(request)
    rows: list[Row] = request.exchange.tape(request.query["instId"]).trade_rows(
        _number(request, "limit", 100, MOST_TRADES)
    )
    return rows


def _candles(request: ReadRequest) -> list[Any]:
    known_type(request)
    bar = request.query.get("bar", "") or "1m"
    if bar not in BARS:
        raise OrderRejected("51000", "Parameter bar error")
    rows = request.exchange.tape(request.query["instId"]).candle_rows(bar, request.now_ms)
    after, before = (_number(request, name, 0, 10**15) for name in ("after", "before"))
    rows = [row for row in rows if (not after or int(row[0]) < after) and int(row[0]) > before]
    return rows[: _number(request, "limit", 100, MOST_CANDLES)]


MARKET_ENDPOINTS = (
    ReadEndpoint("market/books", _books, 40, takes="instId sz"),
    ReadEndpoint("market/trades", _trades, 100, takes="instId limit"),
    ReadEndpoint("market/candles", _candles, 40, takes="instId bar after before limit"),
    ReadEndpoint("market/history-candles", _candles, 20, takes="instId bar after before limit"),
)
