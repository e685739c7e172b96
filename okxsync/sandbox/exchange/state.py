"""The state of the exchange, and how its changes are pushed. Subclasses add the operations.

An operation changes accounts, appends order rows to the pushes, records what else it changed, and ends with `_flush`,
which pushes the balances and positions of each changed account once. REST's rows are built from the same state, so all
that was pushed can be read.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import count
from random import Random
from typing import Any

from okxsync.sandbox.exchange import balances, rows
from okxsync.sandbox.exchange.instruments import INSTRUMENTS, Instrument
from okxsync.sandbox.exchange.ledger import Account, Position
from okxsync.sandbox.exchange.orders import ZERO, Algo, Fill, Movement, Order, OrderRejected
from okxsync.sandbox.exchange.quotes import Quote
from okxsync.sandbox.exchange.rows import Row

FUNDING_MS = 8 * 3_600_000


@dataclass(frozen=True, slots=True)
class Credentials:
    """An API key; only its name shows in a repr."""

    api_key: str
    secret_key: str = field(repr=False)
    passphrase: str = field(repr=False)


@dataclass(slots=True)
class Member:
    """An account of the exchange; `main_uid` equals `uid` for a master account. `acct_lv` as in ``account/config``."""

    name: str
    uid: str
    main_uid: str
    credentials: Credentials
    demo: bool = True
    perm: str = "read_only,trade"
    ip: str = ""
    vip: int = 0
    acct_lv: str = "2"
    label: str = ""

    @property
    def sub_acct(self) -> str:
        return "" if self.uid == self.main_uid else self.name


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
    positions: dict[tuple[str, str], Position] = field(default_factory=dict)
    trades: list[Row] = field(default_factory=list)
    event: str = "filled"

    def paid(self, *ccys: str) -> None:
        """Record that the cash of some currencies has changed."""
        self.ccys.update(ccys)
        self.cash.update(ccys)


class State:
    """Members, accounts, prices and order books, without the operations."""

    def __init__(self, clock: Callable[[], int], seed: int = 0, *, funding_ms: int = FUNDING_MS) -> None:
        self.members: dict[str, Member] = {}
        self.instruments: dict[str, Instrument] = {each.inst_id: each for each in INSTRUMENTS}
        self.funding_ms = funding_ms
        self._clock = clock
        self._time = clock()
        self._seed = seed
        self._random = Random(f"exchange {seed}")
        self._last_id = 2_500_000_000_000_000_000 + self._random.randrange(10**15)
        self._last_trade = 1_000_000_000 + self._random.randrange(10**6)
        self._accounts: dict[str, Account] = {}
        self._quotes = {each.inst_id: Quote(each, self._time) for each in INSTRUMENTS}
        self._marks = {each.inst_id: each.start_px for each in INSTRUMENTS}
        self._usd = {"USDT": Decimal(1)}
        self._next_funding = self._time - self._time % funding_ms + funding_ms
        # Waiting orders as heaps, nearest price first: (price, entry number, order). Entries are dropped lazily.
        self._entries = count(1)
        self._bids: dict[str, list[tuple[Decimal, int, Order]]] = {inst_id: [] for inst_id in self.instruments}
        self._asks: dict[str, list[tuple[Decimal, int, Order]]] = {inst_id: [] for inst_id in self.instruments}
        self._rising: dict[str, list[tuple[Decimal, int, Algo, str]]] = {inst_id: [] for inst_id in self.instruments}
        self._falling: dict[str, list[tuple[Decimal, int, Algo, str]]] = {inst_id: [] for inst_id in self.instruments}
        self._moving: list[Movement] = []
        self._pushes: list[Push] = []
        self._changes: dict[str, _Changes] = {}
        for inst_id in self._quotes:
            self._remark(inst_id)

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

    def _push_movement(self, movement: Movement) -> None:
        member = self.members[movement.uid]
        deposit = not movement.withdrawn
        row = rows.deposit_row(movement) if deposit else rows.withdrawal_row(movement)
        pushed = rows.pushed(row, movement.uid, member.sub_acct, movement.p_time)
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
                    "posData": [balances.position_data(position) for position in positions],
                    "trades": touched.trades,
                }
                self._pushes.append(Push(uid, "balance_and_position", [change]))
            for ccy in touched.ccys:
                account.change_time[ccy] = now
            self._pushes.append(Push(uid, "account", [self._account_row(uid, touched.ccys)]))
            if positions:
                full_rows = [self._position_row(position) | {"pTime": str(now)} for position in positions]
                self._pushes.append(Push(uid, "positions", full_rows))

    def _account_row(self, uid: str, only: Collection[str] | None) -> Row:
        acct_lv = self.members[uid].acct_lv
        return balances.account_row(self._accounts[uid], acct_lv, self._marks, self._usd, self._time, only)

    def _position_row(self, position: Position) -> Row:
        inst_id = position.instrument.inst_id
        return balances.position_row(position, self._marks[inst_id], self._quotes[inst_id].last_text)

    # Small parts

    def _now(self) -> int:
        """Read the clock; the time of the exchange never goes back."""
        self._time = max(self._time, self._clock())
        return self._time

    def _next_id(self) -> str:
        self._last_id += self._random.randrange(1, 4096)
        return str(self._last_id)

    def _free(self, account: Account, ccy: str) -> Decimal:
        """Return what new orders and withdrawals can use: at most the cash."""
        worth = balances.worths(account, self._marks, (ccy,))[ccy]
        return min(worth.avail, max(worth.cash - worth.reserved, ZERO))

    def _instrument(self, uid: str, request: Mapping[str, Any]) -> Instrument:
        """Find a request's instrument by ``instId`` or by ``instIdCode`` of the member's environment."""
        found = self.instruments.get(str(request.get("instId", "")))
        if found is None and (code := request.get("instIdCode")) not in (None, ""):
            demo = self.members[uid].demo
            found = next((e for e in self.instruments.values() if str(e.inst_id_code(demo)) == str(code)), None)
        if found is None:
            raise OrderRejected("51001", "Instrument ID, Instrument ID code, or Spread ID doesn't exist.")
        return found

    def _remark(self, inst_id: str) -> None:
        quote = self._quotes[inst_id]
        self._marks[inst_id] = quote.mark
        if not quote.instrument.is_swap:
            self._usd[quote.instrument.base] = quote.mark
