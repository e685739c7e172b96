"""Stage rows of the exchange as rows of our tables, for one transaction.

Rows are staged per table and written together; in any order, the newer row stays (see ``tables``). Rows that a complete
snapshot or a complete REST reply does not name are closed afterwards, unless they are newer.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from typing import Any, Final, TypeAlias

import msgspec

from okxsync import events
from okxsync.messages import OrdersNotFound
from okxsync.okx import models
from okxsync.okx.fill_ids import NO_ID, trade_id_of
from okxsync.store import decode, tables
from okxsync.store.database import Connection
from okxsync.store.decode import OnAnomaly, Value, milliseconds, number
from okxsync.store.envelope import Arg
from okxsync.store.fills import OrderKey, replace_synthetic, synthetic_id
from okxsync.store.history import History
from okxsync.store.snapshots import Pages, Snapshot
from okxsync.store.table import Table


class IncomingRows(msgspec.Struct):
    """Rows of one frame, or of one REST reply (``source`` is rest, and there is no frame)."""

    account: str
    arg: Arg
    at: int
    rows: list[msgspec.Raw]
    source: str = "ws"
    event_type: str = ""
    page: int | None = None
    last_page: bool | None = None
    socket: int = 0  # a successor has a higher number
    sent_after: int = 0  # see ``messages.Frames``
    as_of_ms: int = 0  # of REST, see ``messages.Rows``
    complete: bool = False

    def as_of(self, text: str) -> int:
        """Return the time in milliseconds as of which this is true: the row's own, or that of the REST request."""
        return max(milliseconds(text), self.as_of_ms)


Handler: TypeAlias = "Callable[[Staging, IncomingRows], None]"


class Staging:
    """Stages rows; ``write`` writes them."""

    def __init__(self, pages: Pages, account_of: Callable[[str, str], str | None], anomaly: OnAnomaly) -> None:
        self._pages = pages
        self._account_of = account_of  # by uid, and by the account that received it
        self._anomaly = anomaly
        self._staged: defaultdict[Table, dict[Hashable, list[Value]]] = defaultdict(dict)
        self._closings: list[tuple[str, tuple[Value, ...], set[str]]] = []  # each with the names that stay open
        self._synthetic: set[OrderKey] = set()  # orders whose fills may be stored twice
        self._spared: defaultdict[str, list[set[str]]] = defaultdict(list)  # by account: those of its positions
        self._history = History()
        self._revision: int | None = None  # of this transaction, once it has written
        self.rows = 0
        self.latest_ms = 0  # the latest time in the last push, 0 if it has none
        self.snapshot_sent_after = 0  # see ``messages.Frames``; 0 if the last push has not completed a snapshot

    def stage(self, push: IncomingRows) -> bool:
        """Stage a push; return False if no channel of that name is known."""
        if push.event_type not in _EVENT_TYPES:
            self._anomaly(events.UNKNOWN_VALUE, f"eventType={push.event_type[:40]}")
        self.latest_ms = self.snapshot_sent_after = 0
        handler = HANDLERS.get(push.arg.channel)
        if handler is not None:
            handler(self, push)
        return handler is not None or push.arg.channel in LOGGED_ONLY

    def write(self, db: Connection) -> None:
        if not self._staged and not self._closings:
            return
        revision = self._begin_revision(db)
        for table, staged in self._staged.items():
            for row in staged.values():
                row.append(revision)
            db.upsert(table, staged.values())
        for statement, values, named in self._closings:
            db.execute(statement, (*values, msgspec.json.encode(sorted(named)).decode()))
        replace_synthetic(db, self._synthetic)
        self._history.write(db)
        for written in (self._staged, self._closings, self._synthetic, self._spared):
            written.clear()

    def not_found(self, message: OrdersNotFound, db: Connection) -> None:
        """Give orders that REST did not find their state, after all rows staged before; nothing else changes."""
        self.write(db)
        self._begin_revision(db)
        statement = {"orders": tables.ORDER_NOT_FOUND, "orders-algo": tables.ALGO_NOT_FOUND}[message.channel]
        for name in message.ids:
            db.execute(statement, (message.at, message.as_of_ms, message.listener, name))

    def _begin_revision(self, db: Connection) -> int:
        if self._revision is None:
            self._revision = tables.next_revision(db)
        return self._revision

    def _put_position(self, table: Table, pos_id: str, values: list[Value], account: str) -> None:
        """Stage a position; an earlier snapshot of this batch that has no time must not close it."""
        for spared in self._spared[account]:
            spared.add(pos_id)
        self._put(table, values)

    def _put(self, table: Table, values: list[Value]) -> None:
        self.rows += 1
        table.put(self._staged[table], values)

    def orders(self, push: IncomingRows) -> None:
        table = tables.ORDERS if push.source == "ws" else tables.ORDERS_BY_REST
        for raw in push.rows:
            if (row := decode.ORDER.read(raw, self._anomaly)) is None or not row.ord_id:
                self._anomaly(events.INVALID_ROW, "order")
                continue
            values = decode.ORDER.values(row, self._anomaly)
            values += [push.source, tables.order_rank(row, push.source), push.account, push.at, _text(raw)]
            self._put(table, values)
            if push.source == "ws" and row.fill_sz not in ("", "0") and number(row.fill_sz) > 0:
                self._put(tables.FILLS, self._fill_of(row, values, push))

    def _fill_of(self, row: models.Order, of_order: list[Value], push: IncomingRows) -> list[Value]:
        """Return the fill in an order push (OKX docs: order channel, ``fill*`` belong to this push only)."""
        values = [of_order[index] if index is not None else "" for index in _FROM_ORDER]
        if is_synthetic := row.trade_id in NO_ID:
            self._synthetic.add((push.account, row.inst_id, row.ord_id))
            values[_TRADE_ID] = synthetic_id(row.acc_fill_sz, row.fill_sz, row.fill_time)
        return [*values, int(is_synthetic), "ws", push.account, push.at, ""]

    def algo_orders(self, push: IncomingRows) -> None:
        for raw in push.rows:
            if (row := decode.ALGO_ORDER.read(raw, self._anomaly)) is None or not row.algo_id:
                self._anomaly(events.INVALID_ROW, "algo order")
                continue
            values = decode.ALGO_ORDER.values(row, self._anomaly)
            values += [push.source, tables.algo_rank(row), push.account, push.at, _text(raw)]
            self._put(tables.ALGO_ORDERS, values)

    def fills(self, push: IncomingRows) -> None:
        """Stage REST rows only: channel ``fills`` aggregates executions and omits some (OKX docs: fills channel)."""
        if push.source != "rest":
            return
        for raw in push.rows:
            row = decode.FILL.read(raw, self._anomaly)
            trade_id, is_ours = trade_id_of(row.trade_id, row.bill_id) if row else ("", False)
            if row is None or not trade_id:
                self._anomaly(events.INVALID_ROW, "fill")
                continue
            values = decode.FILL.values(row, self._anomaly)
            values[_TRADE_ID] = trade_id
            values[_FILL_TIME] = values[_FILL_TIME] or values[_FILL_TS]
            self._put(tables.FILLS, [*values, int(is_ours), "rest", push.account, push.at, _text(raw)])
            self._synthetic.add((push.account, row.inst_id, row.ord_id))

    def account(self, push: IncomingRows) -> None:
        table = tables.BALANCES if push.source == "ws" else tables.BALANCES_BY_REST
        named, complete = [], bool(push.rows)
        for raw in push.rows:
            if (row := decode.EQUITY.read(raw, self._anomaly)) is None:
                self._anomaly(events.INVALID_ROW, "account")
                complete = False
                continue
            as_of = push.as_of(row.u_time)
            self.latest_ms = max(self.latest_ms, as_of)
            values = decode.EQUITY.values(row, self._anomaly)
            self._history.add_equity(push.account, as_of, values)
            self._put(tables.EQUITY, [*values, push.account, push.at, as_of, _text(raw)])
            complete &= bool(row.details) or _lists_nothing(raw)
            for detail in row.details:
                if (balance := decode.BALANCE.read(detail, self._anomaly)) is None or not balance.ccy:
                    self._anomaly(events.INVALID_ROW, "balance")
                    complete = False
                    continue
                named.append(balance.ccy)
                of_ccy = decode.BALANCE.values(balance, self._anomaly)
                self._put(table, [*of_ccy, push.source, as_of, push.account, push.at, _text(detail)])
        if snapshot := self._snapshot(push, named, self.latest_ms, complete):
            self._close_balances(push, snapshot)

    def positions(self, push: IncomingRows) -> None:
        table = tables.POSITIONS if push.source == "ws" else tables.POSITIONS_BY_REST
        named, complete = [], True
        for raw in push.rows:
            if (row := decode.POSITION.read(raw, self._anomaly)) is None or not row.pos_id:
                self._anomaly(events.INVALID_ROW, "position")
                complete = False
                continue
            named.append(row.pos_id)
            as_of = push.as_of(row.p_time)
            self.latest_ms = max(self.latest_ms, as_of)
            values = decode.POSITION.values(row, self._anomaly)
            values += [push.source, as_of, push.account, push.at, _text(raw)]
            self._put_position(table, row.pos_id, values, push.account)
        if snapshot := self._snapshot(push, named, self.latest_ms, complete):
            self._close_positions(push, snapshot)

    def balance_and_position(self, push: IncomingRows) -> None:
        """Stage changes, which arrive before the full rows of ``account`` and ``positions``."""
        for raw in push.rows:
            if (row := decode.BALANCE_AND_POSITION.read(raw, self._anomaly)) is None:
                self._anomaly(events.INVALID_ROW, "change")
                continue
            decode.BALANCE_AND_POSITION.values(row, self._anomaly)
            self.latest_ms = max(self.latest_ms, milliseconds(row.p_time))
            for part in row.bal_data:
                if (cash := decode.CASH_BALANCE.read(part, self._anomaly)) is not None and cash.ccy:
                    values = decode.CASH_BALANCE.values(cash, self._anomaly)
                    self._put(tables.CASH_BALANCES, [*values, push.source, push.account, push.at])
                else:
                    self._anomaly(events.INVALID_ROW, "change of a balance")
            for part in row.pos_data:
                if (position := decode.POSITION.read(part, self._anomaly)) is not None and position.pos_id:
                    values = decode.POSITION.values(position, self._anomaly)
                    values += [push.source, push.account, push.at]
                    self._put_position(tables.POSITION_CHANGES, position.pos_id, values, push.account)
                else:
                    self._anomaly(events.INVALID_ROW, "change of a position")

    def instruments(self, push: IncomingRows) -> None:
        """Stage instruments; a push names only what has changed, REST's rows are complete."""
        is_push = push.source == "ws"
        table = tables.INSTRUMENTS if is_push else tables.INSTRUMENTS_BY_REST
        as_of_ms = push.at // 1000 if is_push else push.as_of_ms
        for raw in push.rows:
            row = decode.INSTRUMENT.read(raw, self._anomaly)
            if row is None or not row.inst_id or not (inst_type := row.inst_type or push.arg.inst_type):
                self._anomaly(events.INVALID_ROW, "instrument")
                continue
            values = decode.INSTRUMENT.values(row, self._anomaly)
            values[_INST_TYPE] = inst_type
            self._put(table, [*values, as_of_ms, push.at, _text(raw)])

    def mark_prices(self, push: IncomingRows) -> None:
        self.plain(push, decode.MARK_PRICE, tables.MARK_PRICES, self._history.add_mark_price)

    def plain(
        self,
        push: IncomingRows,
        record: decode.Record[Any],
        table: Table,
        also: Callable[[list[Value]], None] | None = None,
    ) -> None:
        """Stage rows that are stored as they are: only their key, and the times in it, must be there.

        Args:
            also: Takes the values of each row too.
        """
        own = table.columns[len(record.columns) :]
        required = [column for column in table.key if column in record.columns and column not in table.optional]
        key = [record.columns.index(column) for column in required]
        for raw in push.rows:
            row = record.read(raw, self._anomaly)
            values = [] if row is None else record.values(row, self._anomaly)
            if not values or not all(values[index] for index in key):
                self._anomaly(events.INVALID_ROW, table.name)
                continue
            if also:
                also(values)
            uid, sub_acct, p_time = (getattr(row, name, "") for name in ("uid", "sub_acct", "p_time"))
            account = self._account_of(uid, push.account)
            # A master account receives its sub-accounts' deposits too; they must not count as its own.
            if account is None and sub_acct:
                self._anomaly(events.OTHER_ACCOUNT, table.name)
                continue
            ours: dict[str, Value] = {
                "account": account or push.account,
                "received_at": push.at,
                "as_of": push.as_of(p_time),
                "raw": _text(raw),
            }
            self._put(table, values + [ours[column] for column in own])

    def _snapshot(self, push: IncomingRows, named: Iterable[str], time_ms: int, complete: bool) -> Snapshot | None:
        """Return the snapshot that this push completes, or REST's complete state as of the time of the request.

        A push without page marks, or with a row that could not be read, completes no snapshot.
        """
        if push.source == "rest":
            proves = push.complete and complete and push.as_of_ms
            return Snapshot(1, frozenset(named), push.as_of_ms) if proves else None
        if push.event_type != "snapshot" or push.arg.inst_family:
            return None
        source = (push.account, push.arg.channel, push.arg.inst_type, push.arg.inst_id, push.arg.ccy)
        page = push.page if complete else None
        snapshot = self._pages.add(source, push.socket, page, push.last_page, named, time_ms, push.sent_after)
        self.snapshot_sent_after = snapshot.sent_after if snapshot else 0
        return snapshot

    def _close_balances(self, push: IncomingRows, snapshot: Snapshot) -> None:
        values = (snapshot.time_ms or None, push.at, push.source, push.account, push.arg.ccy)
        self._closings.append((tables.ZERO_BALANCES, values, set(snapshot.names)))

    def _close_positions(self, push: IncomingRows, snapshot: Snapshot) -> None:
        named = set(snapshot.names)
        if not snapshot.time_ms:
            self._spared[push.account].append(named)
        inst_type = "" if push.arg.inst_type == "ANY" else push.arg.inst_type
        # The time of the snapshot replaces that of the close; the closed position's own record is fetched over REST.
        values = (snapshot.time_ms or None, push.at, push.source, push.account, inst_type, push.arg.inst_id)
        self._closings.append((tables.CLOSE_POSITIONS, values, named))


_OF_THE_FILL: Final = {"fee": "fill_fee", "fee_ccy": "fill_fee_ccy"}
"""Names of the fill's own columns in an order push; ``fee`` and ``fee_ccy`` belong to the complete order."""
_FROM_ORDER: Final = [
    decode.ORDER.columns.index(name) if (name := _OF_THE_FILL.get(column, column)) in decode.ORDER.columns else None
    for column in decode.FILL.columns
]
_TRADE_ID, _FILL_TIME, _FILL_TS = (decode.FILL.columns.index(name) for name in ("trade_id", "fill_time", "ts"))
_INST_TYPE: Final = decode.INSTRUMENT.columns.index("inst_type")
_EVENT_TYPES: Final = frozenset({"", "snapshot", "event_update"})


def _text(raw: msgspec.Raw) -> str:
    return str(raw, "utf-8")


class _Details(msgspec.Struct):
    details: list[msgspec.Raw]


def _lists_nothing(account: msgspec.Raw) -> bool:
    """Whether the list of currencies is present and empty."""
    try:
        return not msgspec.json.decode(account, type=_Details).details
    except msgspec.DecodeError:
        return False


def _plain(record: decode.Record[Any], table: Table) -> Handler:
    return lambda staging, push: staging.plain(push, record, table)


HANDLERS: Final[dict[str, Handler]] = {
    "orders": Staging.orders,
    "account": Staging.account,
    "positions": Staging.positions,
    "balance_and_position": Staging.balance_and_position,
    "orders-algo": Staging.algo_orders,
    "algo-advance": Staging.algo_orders,
    "fills": Staging.fills,
    "deposit-info": _plain(decode.DEPOSIT, tables.DEPOSITS),
    "withdrawal-info": _plain(decode.WITHDRAWAL, tables.WITHDRAWALS),
    "mark-price": Staging.mark_prices,
    "instruments": Staging.instruments,
    "positions-history": _plain(decode.CLOSED_POSITION, tables.CLOSED_POSITIONS),  # this and bills by REST alone
    "bills": _plain(decode.BILL, tables.BILLS),
}
LOGGED_ONLY: Final = frozenset(
    "liquidation-warning account-greeks tickers index-tickers funding-rate open-interest status".split()
)
"""Channels without a table: their frames are in the raw log only."""
