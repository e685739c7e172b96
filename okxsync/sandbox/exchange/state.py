"""The state of the exchange, and how its changes are pushed. Subclasses add the operations.

An operation changes accounts, appends order rows to the pushes, records what else it changed, and ends with `_flush`,
which pushes the balances and positions of each changed account once. REST's rows are built from the same state, so all
that was pushed can be read.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import count
from random import Random
from typing import TYPE_CHECKING, Any

from okxsync.sandbox.exchange import balances, money_rows, position_rows, rows
from okxsync.sandbox.exchange.catalogue import INSTRUMENTS, catalogue, expiring
from okxsync.sandbox.exchange.instruments import Instrument
from okxsync.sandbox.exchange.ledger import Account, PositionKey
from okxsync.sandbox.exchange.orders import ZERO, Algo, Fill, Movement, Order, OrderRejected
from okxsync.sandbox.exchange.positions import Position
from okxsync.sandbox.exchange.quotes import Quote
from okxsync.sandbox.exchange.rows import Row
from okxsync.sandbox.exchange.rules import Rules

if TYPE_CHECKING:
    from okxsync.sandbox.exchange.members import Member

FUNDING_MS = 8 * 3_600_000
INTEREST_MS = 3_600_000
EXPIRY_MS = 7 * 86_400_000
IDS_PER_MS_BITS = 20
"""An id begins with its time in milliseconds, and has 19 digits, as OKX's ids have. The other bits are for the ids of
one millisecond; when they overflow, ids run ahead of the time and stay in order."""


@dataclass(frozen=True, slots=True)
class Push:
    """Rows for the subscribers of a channel; `uid` is empty for public channels, `rows` is ``data``."""

    uid: str
    channel: str
    rows: list[Row]


@dataclass(slots=True)
class _Changes:
    """What an operation changed in one account, until it is pushed."""

    ccys: set[str] = field(default_factory=set)  # cash or frozen
    cash: set[str] = field(default_factory=set)
    positions: dict[PositionKey, Position] = field(default_factory=dict)
    unpushed: set[PositionKey] = field(default_factory=set)  # changed without a push of channel positions
    trades: list[Row] = field(default_factory=list)
    event: str = "filled"

    def paid(self, *ccys: str) -> None:
        """Record that the cash of some currencies has changed."""
        self.ccys.update(ccys)
        self.cash.update(ccys)


class State:
    """Members, accounts, prices and order books, without the operations."""

    def __init__(
        self,
        clock: Callable[[], int],
        seed: int = 0,
        *,
        funding_ms: int = FUNDING_MS,
        interest_ms: int = INTEREST_MS,
        expiry_ms: int = EXPIRY_MS,
        types: Collection[str] = (),
    ) -> None:
        self.members: dict[str, Member] = {}
        self.instruments: dict[str, Instrument] = {}
        self.expired: set[str] = set()
        self.types = frozenset(types)
        self.rules = Rules()
        self.quotas: dict[tuple[str, str], Decimal] = {}  # USD, by master account and instrument; see ``admission``
        self.watched: set[str] = set()  # the costly public channels that somebody is subscribed to
        self.closed = False  # no price moves, and nothing is settled, while the market is closed
        self.funding_ms, self.interest_ms, self.expiry_ms = funding_ms, interest_ms, expiry_ms
        self._clock = clock
        self._time = clock()
        self._seed = seed
        self._random = Random(f"exchange {seed}")
        self._last_id = self._random.randrange(10**15)
        self._last_trade = 1_000_000_000 + self._random.randrange(10**6)
        self._accounts: dict[str, Account] = {}
        self._quotes: dict[str, Quote] = {}
        self._marks: dict[str, Decimal] = {}
        self._usd = {"USDT": Decimal(1), "USD": Decimal(1)}
        self._next_funding = following(self._time, funding_ms)
        self._next_interest = following(self._time, interest_ms)
        # Waiting orders as heaps, nearest price first: (price, entry number, order). Entries are dropped lazily.
        self._entries = count(1)
        self._bids: defaultdict[str, list[tuple[Decimal, int, Order]]] = defaultdict(list)
        self._asks: defaultdict[str, list[tuple[Decimal, int, Order]]] = defaultdict(list)
        # Algo orders by instrument and type of price.
        self._rising: defaultdict[tuple[str, str], list[tuple[Decimal, int, Algo, str]]] = defaultdict(list)
        self._falling: defaultdict[tuple[str, str], list[tuple[Decimal, int, Algo, str]]] = defaultdict(list)
        self._trailing: defaultdict[str, dict[str, Algo]] = defaultdict(dict)  # by instrument and id
        self._racing: list[Order] = []  # cancellations that will lose; see `Rules.cancel_loses`
        self._deadlines: dict[str, dict[str, int]] = {}  # of cancel-all-after, by uid and tag
        self._moving: list[Movement] = []
        self._pushes: list[Push] = []
        self._changes: dict[str, _Changes] = {}
        self._generation = 0
        self._list(catalogue(self.types) if self.types else INSTRUMENTS)
        self._list_expiring()

    def take_pushes(self) -> list[Push]:
        """Return the pushes since the last call, oldest first."""
        pushes, self._pushes = self._pushes, []
        return pushes

    def now_ms(self) -> int:
        """The current time of the exchange, in ms UTC."""
        return self._now()

    def mark(self, inst_id: str) -> Decimal:
        """The current mark price."""
        return self._marks[inst_id]

    def band(self, inst_id: str) -> tuple[Decimal, Decimal]:
        """The highest price of a buyer and the lowest of a seller (``GET public/price-limit``)."""
        instrument, mark = self.instruments[inst_id], self._marks[inst_id]
        return instrument.to_tick(mark * (1 + self.rules.band)), instrument.to_tick(mark * (1 - self.rules.band))

    def set_depth(self, inst_id: str, sz: str | None) -> None:
        """Limit what takers can buy and sell until the mark moves, on each side; None for no limit."""
        self._quotes[inst_id].depth = None if sz is None else Decimal(sz)

    def account(self, uid: str) -> Account:
        """The state of a member; read only."""
        return self._accounts[uid]

    # Pushes

    def _touch(self, uid: str) -> _Changes:
        return self._changes.setdefault(uid, _Changes())

    def _push_order(self, order: Order, fill: Fill | None = None) -> None:
        last = self._quotes[order.instrument.inst_id].last_text
        self._pushes.append(Push(order.uid, "orders", [rows.order_push(order, last, fill)]))

    def _push_algo(self, algo: Algo) -> None:
        last = self._quotes[algo.instrument.inst_id].last_text
        self._pushes.append(Push(algo.uid, "orders-algo", [rows.algo_row(algo, last)]))

    def _push_instrument(self, instrument: Instrument) -> None:
        self._pushes.append(Push("", "instruments", [instrument.row(demo=True)]))

    def _push_movement(self, movement: Movement) -> None:
        member = self.members[movement.uid]
        deposit = not movement.withdrawn
        row = money_rows.deposit_row(movement) if deposit else money_rows.withdrawal_row(movement)
        pushed = money_rows.pushed(row, movement.uid, member.sub_acct, movement.p_time)
        self._pushes.append(Push(movement.uid, "deposit-info" if deposit else "withdrawal-info", [pushed]))

    def _flush(self) -> None:
        """Push what has changed: balance_and_position first, as OKX does, then account and positions."""
        now = self._time
        changes, self._changes = self._changes, {}
        for uid, touched in changes.items():
            account = self._accounts[uid]
            positions = [position for position in touched.positions.values() if position.cycles]
            if touched.cash or positions:
                change = {
                    "pTime": str(now),
                    "eventType": touched.event,
                    "balData": [balances.balance_data(account, ccy, now) for ccy in sorted(touched.cash)],
                    "posData": [position_rows.position_data(position) for position in positions],
                    "trades": touched.trades,
                }
                self._pushes.append(Push(uid, "balance_and_position", [change]))
            for ccy in touched.ccys:
                account.change_time[ccy] = now
            if touched.ccys:
                self._pushes.append(Push(uid, "account", [self._account_row(uid, touched.ccys)]))
            if positions := [each for each in positions if each.key not in touched.unpushed]:
                full_rows = [self._position_row(position) | {"pTime": str(now)} for position in positions]
                self._pushes.append(Push(uid, "positions", full_rows))

    def _account_row(self, uid: str, only: Collection[str] | None) -> Row:
        return balances.account_row(self._accounts[uid], self.members[uid], self._marks, self._usd, self._time, only)

    def _position_row(self, position: Position) -> Row:
        inst_id, settle = position.instrument.inst_id, position.instrument.settle
        last, mark = self._quotes[inst_id].last_text, self._marks[inst_id]
        return position_rows.position_row(position, mark, last, self._index(inst_id), self._usd[settle])

    # Small parts

    def _now(self) -> int:
        """Read the clock; the time of the exchange never goes back."""
        self._time = max(self._time, self._clock())
        return self._time

    def _next_id(self) -> str:
        """Return an id that is greater than all earlier ones, also those of an exchange that ran before this one."""
        self._last_id = max(self._last_id, self._time << IDS_PER_MS_BITS) + self._random.randrange(1, 4096)
        return str(self._last_id)

    def _cash_left(self, account: Account, ccy: str) -> Decimal:
        """Return the cash that orders without borrowing, withdrawals and transfers can use."""
        worth = balances.worths(account, self._marks, (ccy,))[ccy]
        return min(worth.avail, max(worth.cash - worth.reserved, ZERO))

    def _margin_left(self, account: Account, ccy: str) -> Decimal:
        """Return what new positions can use as margin; in the pooled modes it comes from all currencies."""
        if not self.members[account.uid].pooled:
            return self._cash_left(account, ccy)
        return balances.pool_left(account, self._marks, self._usd) / self._usd[ccy]

    def _instrument(self, uid: str, request: Mapping[str, Any]) -> Instrument:
        """Find a request's instrument by ``instId`` or by ``instIdCode`` of the member's environment."""
        found = self.instruments.get(str(request.get("instId", "")))
        if found is None and (code := request.get("instIdCode")) not in (None, ""):
            demo = self.members[uid].demo
            found = next((e for e in self.instruments.values() if str(e.inst_id_code(demo)) == str(code)), None)
        if found is None or found.inst_id in self.expired or found.inst_id in self.members[uid].hidden:
            raise OrderRejected("51001", "Instrument ID, Instrument ID code, or Spread ID doesn't exist.")
        return found

    @property
    def listed(self) -> list[Instrument]:
        """The instruments that have not expired."""
        return [each for each in self.instruments.values() if each.inst_id not in self.expired]

    def _index(self, inst_id: str) -> Decimal:
        """The index price of an instrument: the mark of its spot pair."""
        instrument = self.instruments[inst_id]
        return self._marks.get(instrument.index, self._marks[inst_id])

    def _list(self, instruments: Iterable[Instrument]) -> None:
        for each in (replace(found, changes=[]) for found in instruments):
            self.instruments[each.inst_id] = each
            self._quotes[each.inst_id] = Quote(each, self._time)
            self._remark(each.inst_id)

    def _list_expiring(self) -> list[Instrument]:
        """List the next futures and options, and return them."""
        self._next_expiry = self._time + self.expiry_ms
        found = expiring(self.types, self._generation, self._next_expiry)
        self._generation += 1
        self._list(found)
        return found

    def _remark(self, inst_id: str) -> None:
        quote = self._quotes[inst_id]
        self._marks[inst_id] = quote.mark
        if quote.instrument.is_spot:
            self._usd[quote.instrument.base] = quote.mark


def following(now: int, period: int) -> int:
    """Return the end of the period that contains a time."""
    return now - now % period + period
