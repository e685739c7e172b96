"""Ask the mirror and REST about children of plans: orders (``plans.resolve`` says what and when), ends, leverage."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from okxsync.mirror import kinds
from okxsync.okx.endpoints import FILLS_ARCHIVE, ORDERS, ORDERS_PENDING, Endpoint
from okxsync.plans.children import LeverageBody
from okxsync.plans.commands import ChildOrder, LeverAnswer
from okxsync.plans.facts import decimal_of
from okxsync.plans.resolve import BEFORE_MS, Answer, OrderRow, Question
from okxsync.rest.client import AccountClient, RestError
from okxsync.rest.pages import read_list, read_page
from okxsync.runtime import clock
from okxsync.store.engines import Reader

NOT_FOUND: Final = "51603"
_LISTS: Final[dict[Question, Endpoint]] = {
    Question.PENDING: ORDERS_PENDING,
    Question.HISTORY: ORDERS,
    Question.FILLS: FILLS_ARCHIVE,
}
_COLUMNS: Final = """ord_id cl_ord_id inst_id side pos_side ord_type sz px state acc_fill_sz avg_px fee amend_source
    c_time""".split()
_ENDS: Final = {
    algo: f"SELECT coalesce(state, ''), {kind.is_open} AND not_found_at IS NULL FROM {kind.table}"
    f" WHERE account = ? AND {column} = ?"
    for algo, kind, column in ((False, kinds.ORDERS, "cl_ord_id"), (True, kinds.ALGO_ORDERS, "algo_cl_ord_id"))
}
_MIRROR: Final = f"SELECT {', '.join(_COLUMNS)} FROM orders WHERE account = ? AND cl_ord_id = ?"

_OF_PLAN: Final = (
    f"SELECT p.child, {', '.join(f'o.{one}' for one in _COLUMNS)} FROM plan_orders AS p"
    " JOIN orders AS o ON o.account = p.account AND o.cl_ord_id = p.cl_ord_id"
    " WHERE p.plan_id = ? AND p.kind = 'order' AND (p.ended_at IS NULL OR o.ord_id <> p.ord_id)"
)
_ATTACHED: Final = (
    "SELECT p.child FROM plan_orders AS p JOIN algo_orders AS a"
    " ON a.account = p.account AND a.algo_cl_ord_id = p.algo_cl_ord_id WHERE p.plan_id = ?"
)


def read_mirror(reader: Reader, account: str, cl_ord_id: str) -> list[OrderRow]:
    """Return the mirror's orders with this id.

    Raises:
        StoreError: the database cannot be read.
    """
    return [_order_row(row) for row in reader.rows(_MIRROR, [account, cl_ord_id])]


def read_orders(reader: Reader, plan_id: str) -> list[tuple[int, OrderRow]]:
    """Return the mirror's orders that have the id of a child, each with the child's number.

    An ended child's own order is left out: only a second one says something new.

    Raises:
        StoreError: the database cannot be read.
    """
    return [(number, _order_row(row)) for number, *row in reader.rows(_OF_PLAN, [plan_id])]


def read_attached(reader: Reader, plan_id: str) -> list[int]:
    """Return the children whose attached take-profit or stop-loss the mirror has, in any state.

    Raises:
        StoreError: the database cannot be read.
    """
    return [number for (number,) in reader.rows(_ATTACHED, [plan_id])]


async def has_attached(client: AccountClient, algo_cl_ord_id: str) -> bool:
    """Ask REST whether an algo order exists or existed; False, too, if REST does not answer."""
    try:
        return bool(await read_page(client, "trade/order-algo", {"algoClOrdId": algo_cl_ord_id}))
    except RestError:
        return False


def _order_row(row: Sequence[object]) -> OrderRow:
    return OrderRow(*(str(value) if value is not None else "" for value in row))


def read_end(reader: Reader, account: str, cl_ord_id: str, *, algo: bool) -> str:
    """Return how an order or an algo order has ended, as the mirror has it; ``open``, and ``""`` if it has none.

    Raises:
        StoreError: the database cannot be read.
    """
    rows = reader.rows(_ENDS[algo], [account, cl_ord_id])
    return "open" if any(is_open for _, is_open in rows) else rows[0][0] if rows else ""


async def ask_lever(client: AccountClient, child: ChildOrder) -> LeverAnswer:
    """Ask REST for the leverage that a step sets; an account in long/short mode has one for each side."""
    asked_ms = clock.earliest_us() // 1000
    wanted = msgspec.json.decode(child.body, type=LeverageBody)
    try:
        rows = await read_page(client, "account/leverage-info", {"instId": wanted.inst_id, "mgnMode": wanted.mgn_mode})
    except RestError as error:
        return LeverAnswer(asked_ms, error=str(error))
    found = [str(row.get("lever")) for row in rows if wanted.pos_side in ("", str(row.get("posSide")))]
    if not found:
        return LeverAnswer(asked_ms, error="no leverage is reported")
    is_set = all(decimal_of(one) == decimal_of(wanted.lever) for one in found)
    return LeverAnswer(asked_ms, ", ".join(found), is_set)


def ask_mirror(reader: Reader, child: ChildOrder) -> Answer:
    """Return the orders that the mirror has; it claims no coverage, so it proves only what it has."""
    return Answer(Question.MIRROR, clock.earliest_us() // 1000, read_mirror(reader, child.account, child.cl_ord_id))


async def ask_exchange(client: AccountClient, child: ChildOrder, question: Question, back_to_ms: int) -> Answer:
    """Ask REST.

    Args:
        back_to_ms: When the first attempt was armed; lists are read back to then.
    """
    asked_ms = clock.earliest_us() // 1000
    try:
        if question is Question.ORDER:
            return Answer(question, asked_ms, await look_up(client, child.inst_id, child.cl_ord_id))
        since_ms = back_to_ms - BEFORE_MS
        only = {} if question is Question.PENDING else {"instType": _types_of(child.inst_id)}
        rows = await read_list(client, _LISTS[question], since_ms if only else 0, only)
        return Answer(question, asked_ms, _orders(rows), covers_from_ms=since_ms, covers_until_ms=asked_ms)
    except RestError as error:
        return Answer(question, asked_ms, error=str(error))


async def look_up(client: AccountClient, inst_id: str, cl_ord_id: str) -> Sequence[OrderRow]:
    """Return the order with this id, the newest one if there are several; or nothing.

    Raises:
        RestError: the request failed.
    """
    try:
        params = {"instId": inst_id, "clOrdId": cl_ord_id}
        return _orders(await read_page(client, "trade/order", params))
    except RestError as error:
        if error.code == NOT_FOUND:
            return []
        raise


def _orders(rows: Sequence[Mapping[str, Any]]) -> list[OrderRow]:
    return [msgspec.convert({name: str(value) for name, value in row.items()}, OrderRow) for row in rows]


def _types_of(inst_id: str) -> tuple[str, ...]:
    parts = inst_id.split("-")
    if len(parts) == 2:
        return ("SPOT", "MARGIN")
    if parts[-1] == "SWAP":
        return ("SWAP",)
    return ("OPTION",) if len(parts) == 5 else ("FUTURES",)
