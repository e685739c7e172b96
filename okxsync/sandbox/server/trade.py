"""Order operations, shared by REST and WebSocket: their rate limits and their replies (OKX docs:
order-book-trading-trade).

An operation takes one request or a batch, and replies with a row for each; a rejected one has its code in ``sCode``.
Code 0 means that the request was accepted; channel ``orders`` reports what happens to the order.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from okxsync.sandbox.exchange.exchange import Exchange, OrderRejected
from okxsync.sandbox.exchange.orders import Algo, Order
from okxsync.sandbox.exchange.rows import Row
from okxsync.sandbox.server.limits import RequestLimits

WINDOW_S = 2.0
ORDERS_OF_AN_ACCOUNT = 1000
"""New and amended orders of one account in a window, over all instruments except spot (50061)."""

OrderRequest = Mapping[str, Any]


@dataclass(frozen=True)
class Operation:
    """One kind of order operation: `path` on REST, `op` on WebSocket (empty: not there)."""

    path: str
    op: str
    execute: Callable[[Exchange, str, OrderRequest], Order | Algo]
    limit: int  # requests, or orders of batches, of one account and instrument in a window
    batch: int = 0  # the maximum number of requests; 0: exactly one, not in a list
    opens: bool = False  # counts towards the account's limit of new and amended orders
    single: str = ""  # the path whose limit a batch of one counts towards
    expires: bool = False  # whether expTime applies to it; the others ignore expTime, as at OKX


OPERATIONS = (
    Operation("trade/order", "order", Exchange.place_order, 60, opens=True, expires=True),
    Operation("trade/batch-orders", "batch-orders", Exchange.place_order, 300, 20, True, "trade/order", expires=True),
    Operation("trade/cancel-order", "cancel-order", Exchange.cancel_order, 60),
    Operation(
        "trade/cancel-batch-orders", "batch-cancel-orders", Exchange.cancel_order, 300, 20, single="trade/cancel-order"
    ),
    Operation("trade/amend-order", "amend-order", Exchange.amend_order, 60, opens=True, expires=True),
    Operation(
        "trade/amend-batch-orders",
        "batch-amend-orders",
        Exchange.amend_order,
        300,
        20,
        True,
        "trade/amend-order",
        expires=True,
    ),
    Operation("trade/close-position", "", Exchange.close_position, 20),
    Operation("trade/order-algo", "", Exchange.place_algo, 20),
    Operation("trade/amend-algos", "", Exchange.amend_algo, 20),
    Operation("trade/cancel-algos", "", Exchange.cancel_algo, 20, 10),
)
BY_PATH = {each.path: each for each in OPERATIONS}
BY_OP = {each.op: each for each in OPERATIONS if each.op}
SINGLE_LIMIT = 60


@dataclass(frozen=True)
class Outcome:
    """A reply: the outer code, its message, a row for each request."""

    code: str
    message: str
    rows: list[Row]


def outcome(rows: list[Row]) -> Outcome:
    """Return the reply whose outer code says whether all, none or some of the requests succeeded."""
    failed = sum(row["sCode"] != "0" for row in rows)
    if not failed:
        return Outcome("0", "", rows)
    if failed == len(rows):
        return Outcome("1", "All operations failed", rows)
    return Outcome("2", "Bulk operation partially failed", rows)


def expired(operation: Operation, exp_time: Any, now_ms: int) -> bool:
    """Whether a request comes after its ``expTime``, in ms; one that cannot be read has expired."""
    if not operation.expires or exp_time in (None, ""):
        return False
    given = str(exp_time)
    return not (given.isascii() and given.isdecimal() and int(given) > now_ms)


EXPIRED_ON_ARRIVAL = "50036", "The expTime can't be earlier than the current system time."
EXPIRED_IN_QUEUE = "50037", "The request has expired in the queue and was not processed."


def over_budget(
    exchange: Exchange, limits: RequestLimits, uid: str, operation: Operation, requests: Sequence[OrderRequest]
) -> str:
    """Count the requests; return the code of the limit that they exceed, or ""."""
    many = operation.batch and (len(requests) > 1 or not operation.single)
    path, limit = (operation.path, operation.limit) if many or not operation.batch else (operation.single, SINGLE_LIMIT)
    per_instrument: dict[str, int] = {}
    opening = 0
    for each in requests:
        inst_id = instrument_of(exchange, uid, each)
        found = exchange.instruments.get(inst_id)
        counted = found.uly if found and found.is_option else inst_id  # options are counted by their family
        per_instrument[counted] = per_instrument.get(counted, 0) + 1
        opening += operation.opens and found is not None and not found.is_spot
    if opening and not limits.admit(f"50061 orders of {uid}", ORDERS_OF_AN_ACCOUNT, WINDOW_S, opening):
        return "50061"
    admitted = [
        limits.admit(f"50011 POST {path} {uid} {inst_id}", limit, WINDOW_S, count)
        for inst_id, count in per_instrument.items()
    ]
    return "" if all(admitted) else "50011"


def instrument_of(exchange: Exchange, uid: str, request: OrderRequest) -> str:
    """Return the ``instId`` of a request that names it or its ``instIdCode``; "" if there is none."""
    if inst_id := request.get("instId"):
        return str(inst_id)
    code, demo = str(request.get("instIdCode", "")), exchange.members[uid].demo
    return next((each.inst_id for each in exchange.instruments.values() if str(each.inst_id_code(demo)) == code), "")


def execute(
    exchange: Exchange, uid: str, operation: Operation, requests: Sequence[OrderRequest], now_ms: int
) -> list[Row]:
    """Execute the requests in order, and return the rows of the reply."""
    if refused := _rejected_batch(exchange, uid, operation, requests, now_ms):
        return refused
    rows = []
    amended: set[tuple[str, str]] = set()
    for each in requests:
        names = str(each.get("ordId") or ""), str(each.get("clOrdId") or "")
        if operation.path == "trade/amend-batch-orders" and names in amended:
            rows.append(rejected(operation, each, "51512", "Failed to amend orders in batches: duplicates", now_ms))
        else:
            rows.append(_one(exchange, uid, operation, each, now_ms))
        amended.add(names)
    return rows


def execute_coded(
    exchange: Exchange, uid: str, operation: Operation, requests: Sequence[OrderRequest], now_ms: int
) -> list[Row]:
    """Execute requests of WebSocket, where only ``instIdCode`` names an instrument."""
    named = [each.get("instIdCode") not in (None, "") for each in requests]
    coded = [
        {name: value for name, value in each.items() if name != "instId"}
        for each, has_code in zip(requests, named, strict=True)
        if has_code
    ]
    rows = iter(execute(exchange, uid, operation, coded, now_ms))
    missing = "51000", "Parameter instIdCode can not be empty"
    return [
        next(rows) if has_code else rejected(operation, each, *missing, now_ms)
        for each, has_code in zip(requests, named, strict=True)
    ]


def _rejected_batch(
    exchange: Exchange, uid: str, operation: Operation, requests: Sequence[OrderRequest], now_ms: int
) -> list[Row]:
    """Return the rows of a batch that portfolio margin rejects because of one order; none if it does not."""
    if operation.path != "trade/batch-orders" or not exchange.rejects_batches_atomically(uid) or len(requests) < 2:
        return []
    failures = [exchange.try_order(uid, each) for each in requests]
    if not any(failures):
        return []
    other = OrderRejected(
        "54004", "Order placement or modification failed because one of the orders in the batch failed."
    )
    found = [(each, failure or other) for each, failure in zip(requests, failures, strict=True)]
    return [rejected(operation, each, why.code, why.message, now_ms, why.sub_code) for each, why in found]


def _one(exchange: Exchange, uid: str, operation: Operation, request: OrderRequest, now_ms: int) -> Row:
    try:
        done = operation.execute(exchange, uid, request)
    except OrderRejected as refusal:
        return rejected(operation, request, refusal.code, refusal.message, now_ms, refusal.sub_code)
    if isinstance(done, Algo):
        ids = {"algoClOrdId": done.algo_cl_ord_id, "algoId": done.algo_id, "sCode": "0", "sMsg": ""}
        if operation.execute is Exchange.amend_algo:
            return ids | {"reqId": str(request.get("reqId") or "")}
        return ids | {"clOrdId": done.cl_ord_id, "tag": done.tag}
    row = {"clOrdId": done.cl_ord_id, "ordId": done.ord_id, "sCode": "0", "sMsg": "", "subCode": "", "tag": done.tag}
    if operation.execute is Exchange.amend_order:
        row["reqId"] = str(request.get("reqId") or "")
    return row | {"ts": str(now_ms)}


def rejected(
    operation: Operation, request: OrderRequest, code: str, message: str, now_ms: int, sub_code: str = ""
) -> Row:
    """Return the row of a rejected request; it repeats the ids of the request."""
    given = {
        name: str(request.get(name) or "") for name in ("clOrdId", "ordId", "algoId", "algoClOrdId", "tag", "reqId")
    }
    row = {"sCode": code, "sMsg": message, "tag": given["tag"], "clOrdId": given["clOrdId"]}
    if operation.execute is Exchange.amend_algo:
        row["reqId"] = given["reqId"]
    if operation.path in ("trade/order-algo", "trade/cancel-algos", "trade/amend-algos"):
        return row | {"algoId": given["algoId"], "algoClOrdId": given["algoClOrdId"]}
    if operation.execute is Exchange.amend_order:
        row["reqId"] = given["reqId"]
    return row | {"ordId": given["ordId"], "subCode": sub_code, "ts": str(now_ms)}
