"""``okxsync verify``: compare the tables with the exchange over REST, and return every difference.

Both sides may change meanwhile. So our rows are read before and after the request, and a value that agrees with either
is correct. What differs is requested again, and counts only if it is stable: the same on both sides three times in a
row.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from typing import Final, TypeAlias

import msgspec
import trio

from okxsync.config.location import Location
from okxsync.config.settings import AccountSettings
from okxsync.mirror.ledger import Difference
from okxsync.mirror.queries import rows_of
from okxsync.okx import endpoints
from okxsync.okx.channels import Subscription, arguments_of, channel_of, covers_row, is_understood
from okxsync.okx.codes import Action
from okxsync.okx.models import AlgoOrder, Balance, Fill, Order, Position
from okxsync.reconcile.pull import UNFILLED_KEPT_MS
from okxsync.rest.client import AccountClient, RestError
from okxsync.rest.clients import Clients
from okxsync.rest.http import open_http
from okxsync.rest.pages import read_list, read_page
from okxsync.store.decode import read_number

Records: TypeAlias = dict[str, Mapping[str, object]]
"""Columns by key; the key is text for people, its parts with slashes between."""

STABLE_ROUNDS: Final = 3
MOST_ROUNDS: Final = 10
AGAIN_S: Final = 1.0
AT_ONCE: Final = 32
ENDED: Final = "ended orders"
KEPT_MS: Final = UNFILLED_KEPT_MS - 300_000
"""Older orders that were cancelled without a fill may leave OKX's list meanwhile."""


class Subject(msgspec.Struct, frozen=True):
    """One list of REST's, and the rows of our tables that it must contain.

    Attributes:
        channels: Those that report it.
        where: SQL: which rows of the table.
        moving: Columns that change by themselves, or that the two sides report differently.
        late: Columns that only REST reports, and that may not be stored yet.
    """

    name: str
    channels: tuple[str, ...]
    key: tuple[str, ...]
    model: type[msgspec.Struct]
    where: str
    moving: frozenset[str]
    late: frozenset[str] = frozenset()
    table: str = ""

    def __post_init__(self) -> None:
        if not self.table:
            msgspec.structs.force_setattr(self, "table", self.name)


_LAST_FILL: Final = "fill_px fill_sz trade_id fill_time fill_pnl exec_type fill_fee fill_fee_ccy fill_notional_usd"
_PUSHED: Final = (
    "fill_mark_px fill_idx_px fill_px_vol fill_px_usd fill_mark_vol fill_fwd_px notional_usd last_px amend_source"
    " amend_result req_id code msg cancel_source_reason"
)
_BY_PRICE: Final = (
    "mark_px last idx_px usd_px be_px upl upl_ratio upl_last_px upl_ratio_last_px liq_px mgn_ratio mmr imr margin"
    " notional_usd opt_val adl interest p_time delta_bs delta_pa gamma_bs gamma_pa theta_bs theta_pa vega_bs vega_pa"
)
_BY_EQUITY: Final = (
    "eq avail_bal avail_eq frozen_bal dis_eq eq_usd iso_eq upl iso_upl mgn_ratio imr mmr interest twap max_loan"
    " notional_lever coin_usd_price spot_upl spot_upl_ratio total_pnl total_pnl_ratio"
)
SUBJECTS: Final = (
    Subject(
        "orders",
        ("orders",),
        ("ord_id",),
        Order,
        "state IN ('live', 'partially_filled')",
        frozenset(f"{_LAST_FILL} {_PUSHED}".split()),
    ),
    Subject(
        ENDED,
        ("orders",),
        ("ord_id",),
        Order,
        "state IN ('filled', 'canceled', 'mmp_canceled') AND c_time >= {since_ms}"
        " AND (acc_fill_sz IS DISTINCT FROM '0' OR u_time >= {kept_ms})",
        frozenset(f"{_LAST_FILL} {_PUSHED}".split()),
        table="orders",
    ),
    Subject(
        "algo_orders",
        ("orders-algo", "algo-advance"),
        ("algo_id",),
        AlgoOrder,
        "state IN ('live', 'pause', 'partially_effective')",
        frozenset("last notional_usd req_id amend_result p_time".split()),
    ),
    Subject(
        "positions",
        ("positions", "balance_and_position"),
        ("pos_id",),
        Position,
        "pos IS DISTINCT FROM '0'",
        frozenset(f"{_BY_PRICE} trade_id close_order_algo".split()),
    ),
    Subject(
        "balances",
        ("account", "balance_and_position"),
        ("ccy",),
        Balance,
        "eq IS DISTINCT FROM '0'",
        frozenset(_BY_EQUITY.split()),
    ),
    Subject(
        "fills",
        ("orders", "fills"),
        ("inst_id", "ord_id", "trade_id"),
        Fill,
        "trade_id_made = 0 AND fill_time >= {since_ms}",
        frozenset(),
        # posSide of a spot order is "" where it is pushed, and net in the list of fills
        frozenset("bill_id sub_type fee_rate ts fill_idx_px fill_mark_px fill_pnl trade_quote_ccy pos_side".split()),
    ),
)


async def verify_all(
    database: Location, accounts: Sequence[AccountSettings], since_ms: int, *, again_s: float = AGAIN_S
) -> tuple[list[Difference], dict[str, str]]:
    """Return what differs, and for each account that could not be compared the reason.

    Raises:
        StoreError: the database cannot be read.
    """
    found: dict[str, list[Difference]] = {}
    uncompared: dict[str, str] = {}
    limit = trio.CapacityLimiter(AT_ONCE)

    async def one(client: AccountClient, subscriptions: Sequence[Subscription]) -> None:
        try:
            async with limit:
                found[client.name] = await verify(database, client, subscriptions, since_ms, again_s)
        except RestError as error:
            uncompared[client.name] = str(error)

    async with open_http() as http:
        clients = Clients(http, accounts)
        await clients.measure_clocks()
        async with trio.open_nursery() as nursery:
            for account in accounts:
                if client := clients.of(account.name):
                    nursery.start_soon(one, client, account.subscriptions)
    return [difference for name in sorted(found) for difference in found[name]], uncompared


async def verify(
    database: Location, client: AccountClient, subscriptions: Sequence[Subscription], since_ms: int, again_s: float
) -> list[Difference]:
    """Return what differs for one account, of what its subscriptions report; fills are compared since a time.

    Raises:
        RestError: a request failed, or there is nothing to compare.
        StoreError: the database cannot be read.
    """
    reported_by = {
        subject: [one.key for one in subscriptions if one.channel in subject.channels] for subject in SUBJECTS
    }
    if not any(reported_by.values()):
        raise RestError("none of its channels can be compared", Action.FIX)
    before: set[Difference] | None = None
    stood = 1
    for _ in range(MOST_ROUNDS):
        found = set()
        for subject, keys in reported_by.items():
            if keys:
                found |= await _compare(database, client, subject, keys, since_ms)
        stood = stood + 1 if found == before else 1
        if not found or stood == STABLE_ROUNDS:
            break
        before = found
        await trio.sleep(again_s)
    return sorted(found, key=lambda one: (one.table, one.key, one.column))


async def _compare(
    database: Location, client: AccountClient, subject: Subject, reported_by: Sequence[str], since_ms: int
) -> set[Difference]:
    """Return what differs of one subject, of what the subscriptions with these keys report."""

    def reported(rows: list[dict[str, object]]) -> Records:
        rows = [row for row in rows if any(_covers(key, row) for key in reported_by)]
        return {"/".join(str(row.get(name)) for name in subject.key): row for row in rows}

    def ours() -> Records:
        where = subject.where.format(since_ms=since_ms, kept_ms=kept_ms)
        return reported(rows_of(database, subject.table, client.name, where))

    kept_ms = client.now_ms() - KEPT_MS
    before = ours()
    theirs = reported(await _theirs(client, subject, since_ms, kept_ms))
    after = ours()
    return _differences(client.name, subject, before, theirs) & _differences(client.name, subject, after, theirs)


async def _theirs(client: AccountClient, subject: Subject, since_ms: int, kept_ms: int) -> list[dict[str, object]]:
    """Return the exchange's rows, with our column names."""
    match subject.name:
        case "orders":
            rows = await read_list(client, endpoints.ORDERS_PENDING, 0)
        case "ended orders":
            found = await read_list(client, endpoints.ORDERS, since_ms)
            if (
                endpoints.reaching(endpoints.ORDERS, endpoints.ORDERS_ARCHIVE, since_ms, client.now_ms())
                is not endpoints.ORDERS
            ):
                found += await read_list(
                    client, endpoints.ORDERS_ARCHIVE, since_ms
                )  # it lacks orders cancelled without a fill
            rows = [row for row in found if _number(row, "cTime") >= since_ms and _is_kept(row, kept_ms)]
        case "algo_orders":
            rows = await read_list(client, endpoints.ALGO_PENDING, 0)
        case "positions":
            rows = await read_page(client, "account/positions", {})
        case "balances":
            totals = await read_page(client, "account/balance", {})
            try:
                (account,) = totals
                rows = msgspec.convert(account.get("details"), list[dict[str, object]])
            except ValueError:
                raise RestError("account/balance: unexpected response", Action.RETRY) from None
        case _:
            near, archive = endpoints.FILLS, endpoints.FILLS_ARCHIVE
            found = await read_list(client, endpoints.reaching(near, archive, since_ms, client.now_ms()), since_ms)
            rows = [row for row in found if _number(row, "fillTime", "ts") >= since_ms]
    names = {field.encode_name: field.name for field in msgspec.structs.fields(subject.model)}
    return [{names[name]: value for name, value in row.items() if name in names} for row in rows]


def _is_kept(row: Mapping[str, object], kept_ms: int) -> bool:
    return row.get("accFillSz") not in ("", "0") or _number(row, "uTime") >= kept_ms


def _number(row: Mapping[str, object], *names: str) -> int:
    text = next((str(row[name]) for name in names if row.get(name)), "")
    return int(text) if text.isdecimal() else 0


def _covers(key: str, row: Mapping[str, object]) -> bool:
    """Whether a subscription reports a row; if it is not known what its arguments leave out, it does."""
    channel = channel_of(key)
    advanced = row.get("ord_type") in endpoints.ADVANCED_ALGOS
    if channel == ("orders-algo" if advanced else "algo-advance"):
        return False
    named = {"instType": row.get("inst_type"), "instId": row.get("inst_id"), "ccy": row.get("ccy")}
    return not is_understood(key) or covers_row(arguments_of(key), named)


def _differences(account: str, subject: Subject, ours: Records, theirs: Records) -> set[Difference]:
    found = set()
    for key in ours.keys() | theirs.keys():
        mine, other = ours.get(key), theirs.get(key)
        if mine is None or other is None:
            here, there = ("present", None) if other is None else (None, "present")
            found.add(Difference(account, subject.table, key, "", here, there))
            continue
        for column in other.keys() - subject.moving:
            if column in subject.late and mine.get(column) is None:
                continue
            if column in mine and _value(mine[column]) != _value(other[column]):
                found.add(Difference(account, subject.table, key, column, _text(mine[column]), _text(other[column])))
    return found


def _value(value: object) -> object:
    """Return a value as it is compared: numbers as numbers; what is absent, empty or zero as 0."""
    text = _text(value)
    if text is None or text in ("", "[]"):
        return Decimal(0)
    if text.startswith(("[", "{")):  # order and spacing of JSON do not matter
        with suppress(msgspec.DecodeError, ArithmeticError, RecursionError):
            return msgspec.json.encode(_read_json(text), order="sorted")
    number = read_number(text) if text.isascii() else None
    return text if number is None else number.normalize()


_read_json: Final = msgspec.json.Decoder(float_hook=Decimal).decode


def _text(value: object) -> str | None:
    match value:
        case None | str():
            return value
        case bool() | list() | dict():
            return msgspec.json.encode(value).decode()
        case _:
            return str(value)
