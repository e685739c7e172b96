"""``okxsync verify``: compare the tables with the exchange over REST, and return every difference.

One condition, the same for both sides, says which rows the other side must have. Rows that both have are compared by
the rules of ``okx.compare``. Both sides may change meanwhile. So our rows are read before and after the request, and a
value that agrees with either is correct. What differs is requested again, and counts only if it is stable: the same on
both sides three times in a row.

If OKX rejects a request, all else is compared: the result names the table, or the type of instrument or algo order.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import msgspec

from okxsync.config.location import Location
from okxsync.config.settings import AccountSettings
from okxsync.mirror.ledger import Difference
from okxsync.mirror.queries import rows_of
from okxsync.okx import compare, endpoints
from okxsync.okx.channels import Subscription, arguments_of, channel_of, covers_row, is_understood
from okxsync.okx.codes import Action
from okxsync.okx.compare import Row, Rules, number
from okxsync.okx.fill_ids import belongs_to_order, trade_id_of
from okxsync.reconcile.side_by_side import AGAIN_S, Compared, compare_side_by_side, stable_differences
from okxsync.reconcile.subjects import UNFILLED_KEPT_MS
from okxsync.rest.client import AccountClient, RestError
from okxsync.rest.pages import read_list, read_lists, read_page
from okxsync.store import decode
from okxsync.store.decode import Record
from okxsync.store.tables import ALGO_PENDING, PENDING

Rows: TypeAlias = list[dict[str, object]]
Records: TypeAlias = dict[str, Row]
"""Rows by key; the key is text for people, its parts with slashes between."""

Rejected: TypeAlias = dict[str, str]
"""Types of instruments or algo orders that could not be compared, each with the error."""

KEPT_MS: Final = UNFILLED_KEPT_MS - 300_000
"""Older orders that were cancelled without a fill may leave OKX's list meanwhile."""


class Scope(msgspec.Struct, frozen=True):
    """The time that is compared: fills and ended orders since ``since_ms``, the exchange's milliseconds.

    Of orders that ended without a fill, only those since ``kept_ms``.
    """

    since_ms: int
    kept_ms: int


class Subject(msgspec.Struct, frozen=True):
    """One of our tables, and what REST reports of it.

    Attributes:
        channels: Those that report it.
        where: SQL: our rows that may be listed, and more.
        is_listed: Whether the other side must have a row; the same for both sides.
        theirs: Returns the rows that REST reports; takes ours too, and where to add the types that OKX rejects.
    """

    table: str
    channels: tuple[str, ...]
    key: tuple[str, ...]
    record: Record[Any]
    rules: Rules
    where: str
    is_listed: Callable[[Row, Scope], bool]
    theirs: Callable[[AccountClient, Scope, Sequence[Row], Rejected], Awaitable[Rows]]


async def verify_all(
    database: Location, accounts: Sequence[AccountSettings], since_ms: int, *, again_s: float = AGAIN_S
) -> tuple[list[Difference], dict[str, str]]:
    """Return what differs, and for each account that could not be compared completely what, and the reason.

    Raises:
        StoreError: the database cannot be read.
    """
    return await compare_side_by_side(
        accounts, lambda client, account: verify(database, client, account.subscriptions, since_ms, again_s)
    )


async def verify(
    database: Location, client: AccountClient, subscriptions: Sequence[Subscription], since_ms: int, again_s: float
) -> Compared:
    """Return what differs for one account, of what its subscriptions report, and notes of what was not compared.

    Fills are compared since a time.

    Raises:
        RestError: a request failed that OKX did not reject, or there is nothing to compare.
        StoreError: the database cannot be read.
    """
    reported_by = {
        subject: [one.key for one in subscriptions if one.channel in subject.channels] for subject in SUBJECTS
    }
    if not any(reported_by.values()):
        raise RestError("none of its channels can be compared", Action.FIX)
    notes: dict[str, None] = {}  # in order, each once

    async def compare_all() -> set[Difference]:
        found = set()
        for subject, keys in reported_by.items():
            if keys:
                rejected: Rejected = {}
                try:
                    found |= await _compare(database, client, subject, keys, since_ms, rejected)
                except RestError as error:
                    if not error.is_rejection:
                        raise
                    notes[f"{subject.table} not compared: {error}"] = None
                notes.update(
                    dict.fromkeys(f"{subject.table} {type} not compared: {why}" for type, why in rejected.items())
                )
        return found | _fills_without_order(database, client.name, reported_by, since_ms)

    return await stable_differences(compare_all, again_s), [*notes]


async def _compare(
    database: Location,
    client: AccountClient,
    subject: Subject,
    reported_by: Sequence[str],
    since_ms: int,
    rejected: Rejected,
) -> set[Difference]:
    """Return what differs of one subject, of what the subscriptions with these keys report.

    Args:
        rejected: Takes the types that OKX rejects; their rows are left out on both sides.
    """
    scope = Scope(since_ms, client.now_ms() - KEPT_MS)

    def ours() -> Rows:
        where = subject.where.format(since_ms=since_ms)
        return [row for row in rows_of(database, subject.table, client.name, where) if _covers(reported_by, row)]

    before = ours()
    names = subject.record.column_of_name
    reported = [
        {names[name]: value for name, value in row.items() if name in names}
        for row in await subject.theirs(client, scope, before, rejected)
    ]
    after = ours()

    def by_key(rows: Sequence[Row]) -> Records:
        compared = (row for row in rows if not rejected.keys() & {row.get("inst_type"), row.get("ord_type")})
        return {_key(subject, row): row for row in compared}

    theirs = by_key([row for row in reported if _covers(reported_by, row)])
    return _differences(client.name, subject, scope, by_key(before), theirs) & _differences(
        client.name, subject, scope, by_key(after), theirs
    )


def _key(subject: Subject, row: Row) -> str:
    return "/".join(str(row.get(name)) for name in subject.key)


def _differences(account: str, subject: Subject, scope: Scope, ours: Records, theirs: Records) -> set[Difference]:
    found = set()
    for key in ours.keys() | theirs.keys():
        mine, other = ours.get(key), theirs.get(key)
        if mine is None or other is None:
            if subject.is_listed(mine or other or {}, scope):
                here, there = ("present", None) if other is None else (None, "present")
                found.add(Difference(account, subject.table, key, "", here, there))
            continue
        for column in compare.differing(subject.rules, mine, other):
            if mine[column] is not None or _reports(mine, subject.record, column):
                found.add(Difference(account, subject.table, key, column, _text(mine[column]), _text(other[column])))
    return found


def _reports(row: Row, record: Record[Any], column: str) -> bool:
    """Whether the report that a row was made from has the field of a column at all.

    Some fields are in REST's rows alone; that a push says nothing of them is no difference.
    """
    if row["raw"] is None:
        return False
    fields = msgspec.json.decode(str(row["raw"]), type=dict[str, msgspec.Raw])
    return any(record.column_of_name.get(name) == column for name in fields)


def _fills_without_order(
    database: Location, account: str, reported_by: Mapping[Subject, Sequence[str]], since_ms: int
) -> set[Difference]:
    """Return the orders of our fills that we do not have."""
    orders = next(keys for subject, keys in reported_by.items() if subject.table == "orders")
    lacking = (
        f"fill_time >= {since_ms}"
        " AND NOT EXISTS (SELECT 1 FROM orders WHERE orders.account = fills.account AND orders.ord_id = fills.ord_id)"
    )
    columns = "DISTINCT ord_id, inst_id, inst_type, sub_type"
    rows = rows_of(database, "fills", account, lacking, columns) if orders else []
    return {
        Difference(account, "orders", ord_id, "", None, "present")
        for row in rows
        if belongs_to_order(ord_id := str(row["ord_id"]), _text(row["sub_type"])) and _covers(orders, row)
    }


def _covers(keys: Sequence[str], row: Row) -> bool:
    """Whether one of some subscriptions reports a row; if it is not known what its arguments leave out, it does."""
    named = {"instType": row.get("inst_type"), "instId": row.get("inst_id"), "ccy": row.get("ccy")}
    return any(_has_kind(key, row) and (not is_understood(key) or covers_row(arguments_of(key), named)) for key in keys)


def _has_kind(key: str, row: Row) -> bool:
    """Whether a channel reports this type of algo order; it is not known which one reports a type that is new."""
    advanced = row.get("ord_type") in endpoints.ADVANCED_ALGOS
    plain = row.get("ord_type") in endpoints.PLAIN_ALGOS
    return not (advanced if (channel := channel_of(key)) == "orders-algo" else plain and channel == "algo-advance")


# What REST reports


async def _their_orders(client: AccountClient, scope: Scope, ours: Sequence[Row], rejected: Rejected) -> Rows:
    """Return pending and ended orders; one that ends in between is in the second list, and that row counts."""
    rows = await read_list(client, endpoints.ORDERS_PENDING, 0)
    # The archive lacks orders that were cancelled without a fill.
    return rows + await read_lists(client, endpoints.ORDERS, endpoints.ORDERS_ARCHIVE, scope.since_ms, rejected)


async def _their_algo_orders(client: AccountClient, scope: Scope, ours: Sequence[Row], rejected: Rejected) -> Rows:
    """Return the pending algo orders of all types that are documented or stored.

    REST lists one type at a time. The orders of a type that it does not list are looked up one by one.
    """
    rows = await read_list(client, endpoints.ALGO_PENDING, 0, rejected=rejected)
    listed = {kind for sweep in endpoints.ALGO_PENDING.sweeps for kind in sweep["ordType"].split(",")}
    pending = [row for row in ours if _algo_order_is_listed(row, scope)]
    for kind in sorted({str(row["ord_type"]) for row in pending if row["ord_type"]} - listed):
        of_kind = msgspec.structs.replace(endpoints.ALGO_PENDING, sweeps=({"ordType": kind},))
        try:
            rows += await read_list(client, of_kind, 0)
        except RestError as error:
            if not error.is_rejection:
                raise
            for row in pending:
                if row["ord_type"] == kind:
                    rows += await _look_up_algo_order(client, str(row["algo_id"]))
    return rows


async def _look_up_algo_order(client: AccountClient, algo_id: str) -> Rows:
    try:
        return await read_page(client, "trade/order-algo", {"algoId": algo_id})
    except RestError as error:
        if not error.is_rejection:
            raise
        return []


async def _their_positions(client: AccountClient, scope: Scope, ours: Sequence[Row], rejected: Rejected) -> Rows:
    return await read_page(client, "account/positions", {})


async def _their_balances(client: AccountClient, scope: Scope, ours: Sequence[Row], rejected: Rejected) -> Rows:
    totals = await read_page(client, "account/balance", {})
    try:
        (account,) = totals
        return msgspec.convert(account.get("details"), Rows)
    except ValueError:
        raise RestError("account/balance: unexpected response", Action.RETRY) from None


async def _their_fills(client: AccountClient, scope: Scope, ours: Sequence[Row], rejected: Rejected) -> Rows:
    """Return fills with the trade id and the time under which they are stored (see ``store.staging``)."""
    return [
        {
            **row,
            "tradeId": trade_id_of(str(row.get("tradeId") or ""), str(row.get("billId") or ""))[0],
            "fillTime": row.get("fillTime") or row.get("ts"),
        }
        for row in await read_lists(client, endpoints.FILLS, endpoints.FILLS_ARCHIVE, scope.since_ms, rejected)
    ]


# Which rows both sides must have


def _order_is_listed(row: Row, scope: Scope) -> bool:
    if row.get("state") not in compare.ORDER_ENDS:
        return row.get("state") in ("live", "partially_filled")
    is_kept = number(row.get("acc_fill_sz")) != 0 or number(row.get("u_time")) >= scope.kept_ms
    return number(row.get("c_time")) >= scope.since_ms and is_kept


def _algo_order_is_listed(row: Row, scope: Scope) -> bool:
    return row.get("state") in ("live", "pause", "partially_effective")


def _position_is_listed(row: Row, scope: Scope) -> bool:
    return number(row.get("pos")) != 0


def _balance_is_listed(row: Row, scope: Scope) -> bool:
    return any(number(row.get(name)) for name in compare.BALANCE_AMOUNTS)


def _fill_is_listed(row: Row, scope: Scope) -> bool:
    """REST reports a fill that was pushed without a trade id under an id of its own, which is compared then."""
    is_synthetic = row.get("trade_id_made") and not row.get("bill_id")
    return not is_synthetic and number(row.get("fill_time")) >= scope.since_ms


SUBJECTS: Final = (
    Subject(
        "orders",
        ("orders",),
        ("ord_id",),
        decode.ORDER,
        compare.ORDERS,
        f"(state IN ({PENDING}) OR c_time >= {{since_ms}} OR u_time >= {{since_ms}})",
        _order_is_listed,
        _their_orders,
    ),
    Subject(
        "algo_orders",
        ("orders-algo", "algo-advance"),
        ("algo_id",),
        decode.ALGO_ORDER,
        compare.ALGO_ORDERS,
        f"(state IN ({ALGO_PENDING}) OR c_time >= {{since_ms}} OR u_time >= {{since_ms}})",
        _algo_order_is_listed,
        _their_algo_orders,
    ),
    Subject(
        "positions",
        ("positions", "balance_and_position"),
        ("pos_id",),
        decode.POSITION,
        compare.POSITIONS,
        "true",
        _position_is_listed,
        _their_positions,
    ),
    Subject(
        "balances",
        ("account", "balance_and_position"),
        ("ccy",),
        decode.BALANCE,
        compare.BALANCES,
        "true",
        _balance_is_listed,
        _their_balances,
    ),
    Subject(
        "fills",
        ("orders", "fills"),
        ("inst_id", "ord_id", "trade_id"),
        decode.FILL,
        compare.FILLS,
        "coalesce(fill_time, ts, {since_ms}) >= {since_ms}",
        _fill_is_listed,
        _their_fills,
    ),
)


def _text(value: object) -> str | None:
    match value:
        case None | str():
            return value
        case bool() | list() | dict():
            return msgspec.json.encode(value).decode()
        case _:
            return str(value)
