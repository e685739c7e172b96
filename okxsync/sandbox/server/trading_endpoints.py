"""The REST endpoints that a trader reads before an order: leverage, sizes, fees, the price band, tiers, risk."""

from okxsync.sandbox.exchange import tiers
from okxsync.sandbox.exchange.exchange import OrderRejected
from okxsync.sandbox.exchange.rows import Row
from okxsync.sandbox.server.public_endpoints import known_type
from okxsync.sandbox.server.read_request import ReadEndpoint, ReadRequest

MOST_LEVERAGES, MOST_SIZES = 20, 5
"""How many instruments one request may name."""


def _named(request: ReadRequest, most: int) -> list[str]:
    found = request.query["instId"].split(",")
    if len(found) > most:
        raise OrderRejected("51000", "Parameter instId error")
    return found


def _leverage(request: ReadRequest) -> list[Row]:
    request.need("mgnMode")
    exchange, uid, mgn_mode = request.exchange, request.uid, request.query["mgnMode"]
    if ccys := request.query.get("ccy", ""):
        return [row for ccy in ccys.split(",") for row in exchange.leverage_rows(uid, mgn_mode, ccy=ccy)]
    request.need("instId")
    return [row for each in _named(request, MOST_LEVERAGES) for row in exchange.leverage_rows(uid, mgn_mode, each)]


def _max_size(request: ReadRequest) -> list[Row]:
    request.need("instId", "tdMode")
    found = _named(request, MOST_SIZES)
    return [request.exchange.max_size_row(request.uid, {**request.query, "instId": each}) for each in found]


def _max_avail_size(request: ReadRequest) -> list[Row]:
    request.need("instId", "tdMode")
    found = _named(request, MOST_SIZES)
    return [request.exchange.max_avail_row(request.uid, {**request.query, "instId": each}) for each in found]


def _trade_fee(request: ReadRequest) -> list[Row]:
    request.need("instType")
    query = request.query
    if query.get("instId") and known_type(request) not in (query["instType"], "SPOT"):
        raise OrderRejected("51000", "Parameter instId error")
    if query.get("groupId", "1") != "1":
        return []
    return request.exchange.fee_rows(request.uid, query["instType"], demo=request.demo)


def _risk(request: ReadRequest) -> list[Row]:
    row = request.exchange.risk_row(request.uid)
    return [row | {"posData": request.filtered(row["posData"], "instType")}]


def _rate_limit(request: ReadRequest) -> list[Row]:
    nothing = {"fillRatio": "", "mainFillRatio": "", "nextAccRateLimit": ""}
    return [{"accRateLimit": "1000", "ts": str(request.now_ms)} | nothing]


def _own_instruments(request: ReadRequest) -> list[Row]:
    """What this account may trade, with what its master may still open."""
    request.need("instType")
    exchange, uid = request.exchange, request.uid
    hidden = exchange.members[uid].hidden
    rows = exchange.instrument_rows(request.query["instType"], demo=request.demo)
    found = request.filtered((row for row in rows if row["instId"] not in hidden), "instFamily", "instId")
    return [row | exchange.quota_fields(uid, row["instId"]) for row in found]


def _price_limit(request: ReadRequest) -> list[Row]:
    known_type(request)
    return [request.exchange.price_limit_row(request.query["instId"])]


def _position_tiers(request: ReadRequest) -> list[Row]:
    request.need("instType", "tdMode")
    inst_type, query = request.query["instType"], request.query
    if inst_type not in ("MARGIN", "SWAP", "FUTURES") or query["tdMode"] not in ("cross", "isolated"):
        raise OrderRejected("51000", "Parameter instType error")
    families = [name for name in query.get("instFamily", query.get("uly", "")).split(",") if name]
    if inst_type != "MARGIN" and not families:
        request.need("instFamily")
    rows: list[Row] = []
    seen: set[str] = set()
    for each in request.exchange.listed:
        kind = "MARGIN" if each.is_spot else each.inst_type
        wanted = each.inst_id in query.get("instId", "").split(",") if kind == "MARGIN" else each.uly in families
        if kind == inst_type and wanted and (each.uly or each.inst_id) not in seen:
            seen.add(each.uly or each.inst_id)
            rows += [tier.row(each) for tier in tiers.tiers_of(each)]
    return request.filtered(rows, "tier")


TRADING_ENDPOINTS = (
    ReadEndpoint("account/instruments", _own_instruments, 20, per="instType", takes="instType instFamily instId"),
    ReadEndpoint("account/leverage-info", _leverage, 20, takes="instId ccy mgnMode"),
    ReadEndpoint("account/max-size", _max_size, 20, takes="instId tdMode px leverage ccy tradeQuoteCcy"),
    ReadEndpoint("account/max-avail-size", _max_avail_size, 20, takes="instId tdMode ccy reduceOnly tradeQuoteCcy"),
    ReadEndpoint("account/trade-fee", _trade_fee, 5, takes="instType instId instFamily uly groupId"),
    ReadEndpoint("account/account-position-risk", _risk, 10, takes="instType"),
    ReadEndpoint("trade/account-rate-limit", _rate_limit, 1, 1.0),
    ReadEndpoint("public/price-limit", _price_limit, 20, takes="instId"),
    ReadEndpoint("public/position-tiers", _position_tiers, 10, takes="instType tdMode instFamily uly instId tier"),
)
