"""Ask the mirror and REST whether an order exists (``plans.resolve`` says what and when)."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from okxsync.okx.endpoints import FILLS_ARCHIVE, ORDERS, ORDERS_PENDING, Endpoint
from okxsync.plans.commands import ChildOrder
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
_MIRROR: Final = f"SELECT {', '.join(_COLUMNS)} FROM orders WHERE account = ? AND cl_ord_id = ?"


def read_mirror(reader: Reader, account: str, cl_ord_id: str) -> list[OrderRow]:
    """Return the mirror's orders with this id.

    Raises:
        StoreError: the database cannot be read.
    """
    return [
        OrderRow(*(str(value) if value is not None else "" for value in row))
        for row in reader.rows(_MIRROR, [account, cl_ord_id])
    ]


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
