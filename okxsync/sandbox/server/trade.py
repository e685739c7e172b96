"""Orders out: the operations that REST and WebSocket share, their budgets and their answers (OKX docs:
order-book-trading-trade).

An operation takes one request or a batch of them, and answers with a row for each; a refusal is a row with its
``sCode``. That the reply says 0 means accepted; what became of the order is told by channel ``orders``.
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
"""New and amended orders in a window over all instruments but spot (50061)."""

Asked = Mapping[str, Any]


@dataclass(frozen=True)
class Operation:
    """One kind of order operation: `path` on REST, `op` on WebSocket (empty: not there)."""

    path: str
    op: str
    carry_out: Callable[[Exchange, str, Asked], Order | Algo]
    limit: int  # requests, or orders of batches, of one account and instrument in a window
    batch: int = 0  # how many it may be; 0 is one, not in a list
    opens: bool = False  # counts for the account's budget of new and amended orders
    single: str = ""  # whose budget a batch of one is counted in


OPERATIONS = (
    Operation("trade/order", "order", Exchange.place_order, 60, opens=True),
    Operation("trade/batch-orders", "batch-orders", Exchange.place_order, 300, 20, True, "trade/order"),
    Operation("trade/cancel-order", "cancel-order", Exchange.cancel_order, 60),
    Operation(
        "trade/cancel-batch-orders", "batch-cancel-orders", Exchange.cancel_order, 300, 20, single="trade/cancel-order"
    ),
    Operation("trade/amend-order", "amend-order", Exchange.amend_order, 60, opens=True),
    Operation(
        "trade/amend-batch-orders", "batch-amend-orders", Exchange.amend_order, 300, 20, True, "trade/amend-order"
    ),
    Operation("trade/close-position", "", Exchange.close_position, 20),
    Operation("trade/order-algo", "", Exchange.place_algo, 20),
    Operation("trade/cancel-algos", "", Exchange.cancel_algo, 20, 10),
)
BY_PATH = {each.path: each for each in OPERATIONS}
BY_OP = {each.op: each for each in OPERATIONS if each.op}
SINGLE_LIMIT = 60


@dataclass(frozen=True)
class Outcome:
    """What to answer: the outer code, its message, a row for each request."""

    code: str
    message: str
    rows: list[Row]


def outcome(rows: list[Row]) -> Outcome:
    """Say by the outer code whether all, none or some of the rows went well."""
    failed = sum(row["sCode"] != "0" for row in rows)
    if not failed:
        return Outcome("0", "", rows)
    if failed == len(rows):
        return Outcome("1", "All operations failed", rows)
    return Outcome("2", "Bulk operation partially failed", rows)


def over_budget(
    exchange: Exchange, limits: RequestLimits, uid: str, operation: Operation, asked: Sequence[Asked]
) -> str:
    """Count the requests; return the code of the budget that they exceed, or nothing."""
    many = operation.batch and (len(asked) > 1 or not operation.single)
    path, limit = (operation.path, operation.limit) if many or not operation.batch else (operation.single, SINGLE_LIMIT)
    per_instrument: dict[str, int] = {}
    opening = 0
    for each in asked:
        inst_id = instrument_of(exchange, uid, each)
        per_instrument[inst_id] = per_instrument.get(inst_id, 0) + 1
        found = exchange.instruments.get(inst_id)
        opening += operation.opens and found is not None and found.is_swap
    if opening and not limits.admit(f"50061 orders of {uid}", ORDERS_OF_AN_ACCOUNT, WINDOW_S, opening):
        return "50061"
    admitted = [
        limits.admit(f"50011 POST {path} {uid} {inst_id}", limit, WINDOW_S, count)
        for inst_id, count in per_instrument.items()
    ]
    return "" if all(admitted) else "50011"


def instrument_of(exchange: Exchange, uid: str, asked: Asked) -> str:
    """Return the ``instId`` that a request is about, also if it says ``instIdCode``; empty if there is none."""
    if inst_id := asked.get("instId"):
        return str(inst_id)
    code, demo = str(asked.get("instIdCode", "")), exchange.members[uid].demo
    return next((each.inst_id for each in exchange.instruments.values() if str(each.inst_id_code(demo)) == code), "")


def carry_out(exchange: Exchange, uid: str, operation: Operation, asked: Sequence[Asked], now_ms: int) -> list[Row]:
    """Do what is asked, one after the other, and return the rows of the answer."""
    return [_one(exchange, uid, operation, each, now_ms) for each in asked]


def carry_out_coded(
    exchange: Exchange, uid: str, operation: Operation, asked: Sequence[Asked], now_ms: int
) -> list[Row]:
    """The same for WebSocket, where instruments are named by ``instIdCode`` only."""
    rows = []
    for each in asked:
        if each.get("instIdCode") in (None, ""):
            rows.append(refused(operation, each, "51000", "Parameter instIdCode can not be empty", now_ms))
        else:
            coded = {name: value for name, value in each.items() if name != "instId"}
            rows.append(_one(exchange, uid, operation, coded, now_ms))
    return rows


def _one(exchange: Exchange, uid: str, operation: Operation, asked: Asked, now_ms: int) -> Row:
    try:
        done = operation.carry_out(exchange, uid, asked)
    except OrderRejected as refusal:
        return refused(operation, asked, refusal.code, refusal.message, now_ms)
    if isinstance(done, Algo):
        return {
            "algoClOrdId": done.algo_cl_ord_id,
            "algoId": done.algo_id,
            "clOrdId": "",
            "sCode": "0",
            "sMsg": "",
            "tag": done.tag,
        }
    row = {"clOrdId": done.cl_ord_id, "ordId": done.ord_id, "sCode": "0", "sMsg": "", "subCode": "", "tag": done.tag}
    if operation.carry_out is Exchange.amend_order:
        row["reqId"] = str(asked.get("reqId") or "")
    return row | {"ts": str(now_ms)}


def refused(operation: Operation, asked: Asked, code: str, message: str, now_ms: int) -> Row:
    """The row of a request that was not carried out; it repeats the ids that the request gave."""
    given = {name: str(asked.get(name) or "") for name in ("clOrdId", "ordId", "algoId", "algoClOrdId", "tag", "reqId")}
    row = {"sCode": code, "sMsg": message, "tag": given["tag"], "clOrdId": given["clOrdId"]}
    if operation.path in ("trade/order-algo", "trade/cancel-algos"):
        return row | {"algoId": given["algoId"], "algoClOrdId": given["algoClOrdId"]}
    if operation.carry_out is Exchange.amend_order:
        row["reqId"] = given["reqId"]
    return row | {"ordId": given["ordId"], "subCode": "", "ts": str(now_ms)}
