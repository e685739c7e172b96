"""What REST is asked to find out whether a channel has told us everything, channel by channel.

A question compares what the exchange has with what our tables hold, and tolerates what is on its way: ours is read
before and after, and what differs must differ each time that it is asked again. Only what a push alone could have
told counts: cash and contracts, not what moves with the price.
"""

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Final, Literal, TypeAlias, TypeVar

import msgspec
import trio

from okxsync.okx import history
from okxsync.okx.channels import tells_of
from okxsync.okx.errors import Action
from okxsync.rest.client import AccountClient, RestError
from okxsync.rest.lists import read_list, read_page
from okxsync.store.queries import (
    Held,
    covered_since_us,
    missing_order,
    pushed_us,
    rows_of,
    unfilled_order,
    unknown_algo_orders,
    wrongly_gone,
)
from okxsync.store.records import number, read_number
from okxsync.store.tables import ALGO_PENDING, PENDING

T = TypeVar("T")
Amounts: TypeAlias = dict[str, Decimal]
"""By what names them; what is nought is left out."""
Arguments: TypeAlias = Mapping[str, str]
"""Those of the subscription in question: it tells of nothing else."""
Question: TypeAlias = Callable[[Path, AccountClient, int, int, Arguments], Awaitable[str | None]]
"""Takes database, client, since when and until when (local microseconds), and the subscription's arguments; returns
what was not pushed, in words."""

SETTLE_S: Final = 5.0
"""What has just happened may still be on its way to our tables, or to REST's."""
HEARD_MS: Final = 5000
"""A push and what it tells of may be so far apart, and clocks too."""
TRIES: Final = 3
AGAIN_S: Final = 1.0
_ALGOS: Final = {"ordType": history.PLAIN_ALGOS}


async def orders(database: Path, client: AccountClient, since_us: int, until_us: int, only: Arguments) -> str | None:
    """Each order that is pending, or was placed since and has ended, must stand in our tables as it is, and each that
    we hold as open must be pending. And of each that was filled since we must hold all fills: an order that is told of
    once more hides a push that was lost before, but not what that push was of.

    Raises:
        RestError: the exchange could not be asked.
    """
    since_ms = _by_their_clock(client, since_us)

    def held() -> set[str]:
        ours = {ord_id for ord_id, _ in Held(database, client.name, until_us).open_orders()}
        if ours and only:
            open_ones = rows_of(database, "orders", client.name, f"state IN ({PENDING})", f"ord_id, {_TOLD_BY}")
            ours &= {str(row["ord_id"]) for row in _told(only, open_ones)}
        return ours

    before = held()
    pending = _times(_told(only, await read_list(client, history.ORDERS_PENDING, 0)))
    told = pending | _times(_told(only, await read_list(client, history.ORDERS, since_ms)))
    then = {ord_id: at for ord_id, at in told.items() if at > since_ms}
    filled = _convert(_told(only, await read_list(client, history.FILLS, since_ms)), list[_Fill])
    touched = {*then, *(one.ord_id for one in filled if one.ts > since_ms)}
    begun_us = covered_since_us(database, client.name, "orders")
    listened_ms = since_ms if begun_us is None else _by_their_clock(client, begun_us)
    unlisted = before - told.keys()

    def missing() -> str | None:
        if ord_id := missing_order(database, client.name, then):
            return f"order {ord_id} was not pushed"
        if ord_id := wrongly_gone(database, client.name, pending):
            return f"order {ord_id} is pending, and here it is gone"
        if ord_id := unfilled_order(database, client.name, touched, listened_ms):
            return f"a fill of order {ord_id} was not pushed"
        return None

    if unlisted or missing():
        await trio.sleep(SETTLE_S)  # it has happened perhaps just now
        for ord_id in unlisted & held():
            return f"the end of order {ord_id} was not pushed"
        return missing()
    return None


async def algo_orders(
    database: Path, client: AccountClient, since_us: int, until_us: int, only: Arguments
) -> str | None:
    """The pending algo orders must be those that we hold as pending, as they are, and we must know those that ended
    since.

    Raises:
        RestError: the exchange could not be asked.
    """

    async def theirs() -> Amounts:
        listed = _convert(_told(only, await read_list(client, history.ALGO_PENDING, 0, _ALGOS)), list[_Algo])
        latest.clear()
        latest.update((one.algo_id, int(one.u_time or 0)) for one in listed)
        return {algo_id: Decimal(at + 1) for algo_id, at in latest.items()}

    latest: dict[str, int] = {}  # what is newer here is as good
    kinds = ", ".join(f"'{kind}'" for kinds in _ALGOS["ordType"] for kind in kinds.split(","))
    where = f"ord_type IN ({kinds}) AND state IN ({ALGO_PENDING})"

    def ours() -> Amounts:
        rows = _told(only, rows_of(database, "algo_orders", client.name, where, f"algo_id, u_time, {_TOLD_BY}"))
        held = {str(row["algo_id"]): int(str(row["u_time"] or 0)) for row in rows}
        return {algo_id: Decimal(min(at, latest.get(algo_id, at)) + 1) for algo_id, at in held.items()}

    if differing := await _compare("algo order", theirs, ours):
        return differing
    since_ms = _by_their_clock(client, since_us)
    listed = _convert(_told(only, await read_list(client, history.ALGO_HISTORY, since_ms, _ALGOS)), list[_Algo])
    ended = {one.algo_id for one in listed if one.c_time > since_ms}
    if unknown_algo_orders(database, client.name, ended):
        await trio.sleep(SETTLE_S)  # it has happened perhaps just now
        for algo_id in unknown_algo_orders(database, client.name, ended):
            return f"algo order {algo_id} was not pushed"
    return None


async def balances(database: Path, client: AccountClient, since_us: int, until_us: int, only: Arguments) -> str | None:
    """The cash of each currency must be what we hold, and what has changed it must have been told."""

    async def theirs() -> Amounts:
        rows = _convert(await read_page(client, "account/balance", {}), list[_Account])
        details = (one for row in rows for one in row.details if tells_of(only, {"ccy": one.ccy}))
        return _amounts((one.ccy, _finite(one.cash_bal)) for one in details)

    def ours() -> Amounts:
        rows = _told(only, rows_of(database, "balances", client.name, columns="ccy, cash_bal"))
        return _amounts((str(row["ccy"]), number(row["cash_bal"])) for row in rows)

    return await _compare("balance of", theirs, ours) or await _unheard(client, history.BILLS, since_us, until_us, only)


async def positions(database: Path, client: AccountClient, since_us: int, until_us: int, only: Arguments) -> str | None:
    """The size of each position must be what we hold, and what has changed it must have been told."""

    async def theirs() -> Amounts:
        rows = _convert(_told(only, await read_page(client, "account/positions", {})), list[_Position])
        return _amounts((one.pos_id, _finite(one.pos)) for one in rows)

    def ours() -> Amounts:
        rows = _told(only, rows_of(database, "positions", client.name, "pos IS NOT '0'", f"pos_id, pos, {_TOLD_BY}"))
        return _amounts((str(row["pos_id"]), number(row["pos"])) for row in rows)

    return await _compare("position", theirs, ours) or await _unheard(client, history.FILLS, since_us, until_us, only)


async def balances_and_positions(
    database: Path, client: AccountClient, since_us: int, until_us: int, only: Arguments
) -> str | None:
    """Both must be what we hold, and what has changed them must have been told."""
    spoke_us = pushed_us(database, client.name, "balance_and_position")  # it is asked about whether it speaks or not
    asked = database, client, max(since_us, spoke_us), until_us, only
    return await balances(*asked) or await positions(*asked)


async def _unheard(
    client: AccountClient, endpoint: history.Endpoint, since_us: int, until_us: int, only: Arguments
) -> str | None:
    """No bill that moved cash, or fill that moved a position, may have come while the channel said nothing.

    Our tables alone do not tell: another channel may have brought them up to date.
    """
    since_ms, until_ms = _by_their_clock(client, since_us) + HEARD_MS, _by_their_clock(client, until_us)
    for one in _convert(_told(only, await read_list(client, endpoint, since_ms)), list[_Change]):
        moved = number(one.bal_chg) if endpoint is history.BILLS else one.inst_type in _WITH_POSITIONS
        if since_ms < one.ts <= until_ms and moved:
            return f"what order {one.ord_id} has changed was not pushed" if one.ord_id else "a change was not pushed"
    return None


_WITH_POSITIONS: Final = ("SWAP", "FUTURES", "OPTION")


QUESTIONS: Final[Mapping[str, Question]] = {
    "orders": orders,
    "orders-algo": algo_orders,
    "account": balances,
    "positions": positions,
    "balance_and_position": balances_and_positions,
}
"""By the channel that the question can prove."""
_OURS: Final = {"instType": "inst_type", "instId": "inst_id", "ccy": "ccy"}
_TOLD_BY: Final = ", ".join(_OURS.values())


class _Algo(msgspec.Struct, rename="camel"):
    algo_id: str
    c_time: int = 0
    u_time: int | Literal[""] = ""


class _Fill(msgspec.Struct, rename="camel"):
    ord_id: str
    ts: int


class _Change(msgspec.Struct, rename="camel"):
    ts: int
    ord_id: str = ""
    inst_type: str = ""
    bal_chg: str = ""


class _Detail(msgspec.Struct, rename="camel"):
    ccy: str
    cash_bal: str = ""


class _Account(msgspec.Struct):
    details: list[_Detail]


class _Position(msgspec.Struct, rename="camel"):
    pos_id: str
    pos: str


async def _compare(what: str, theirs: Callable[[], Awaitable[Amounts]], ours: Callable[[], Amounts]) -> str | None:
    """Return what differs and goes on to differ; None if both are the same, or move."""
    differing: set[str] | None = None
    for _ in range(TRIES):
        before, asked, after = ours(), await theirs(), ours()
        now = {key for key in before.keys() | asked.keys() | after.keys()
               if asked.get(key) not in (before.get(key), after.get(key))}  # fmt: skip
        differing = now if differing is None else differing & now
        if not differing:
            return None
        await trio.sleep(AGAIN_S)
    return f"{what} {min(differing or ())} has changed and was not pushed"


def _by_their_clock(client: AccountClient, at_us: int) -> int:
    return at_us // 1000 + client.now_ms() - time.time_ns() // 1_000_000


def _told(only: Arguments, rows: list[dict[str, object]]) -> list[dict[str, object]]:
    """Return those of REST's rows, or of our tables', that the subscription tells of."""
    if not only:
        return rows
    return [row for row in rows if tells_of(only, {name: row.get(name, row.get(ours)) for name, ours in _OURS.items()})]


def _times(rows: list[dict[str, object]]) -> dict[str, int]:
    """Return the orders of a list, each with its ``uTime``."""
    try:
        return {str(row["ordId"]): int(str(row["uTime"])) for row in rows}
    except (KeyError, ValueError) as error:
        raise RestError(f"orders: not the rows that are documented: {error}", Action.RETRY) from None


def _amounts(pairs: Iterable[tuple[str, Decimal]]) -> Amounts:
    return {name: amount for name, amount in pairs if amount}


def _finite(text: str) -> Decimal:
    """Return a number of theirs.

    Raises:
        RestError: it is none, and proves nothing.
    """
    if (amount := read_number(text)) is None:
        raise RestError("an amount is not a number", Action.RETRY)
    return amount


def _convert(rows: list[dict[str, object]], to: type[T]) -> T:
    try:
        return msgspec.convert(rows, to, strict=False)
    except msgspec.ValidationError as error:
        raise RestError(f"not the rows that are documented: {error}", Action.RETRY) from None
