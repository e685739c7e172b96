"""A seeded stream of users' operations, one valid operation at a time.

It keeps an exchange busy for tests and benchmarks: orders rest, cross, are amended and canceled, positions
open, grow, shrink, close and flip, algo orders wait and trigger, deposits and withdrawals happen. The
number of a member's pending orders stays small in long runs.
"""

from collections.abc import Callable
from decimal import Decimal
from random import Random
from typing import Any

from okxsync.sandbox.exchange.exchange import Exchange
from okxsync.sandbox.exchange.instruments import Instrument, text
from okxsync.sandbox.exchange.ledger import Account
from okxsync.sandbox.exchange.orders import Order, OrderRejected

MAX_PENDING = 20
MAX_WAITING = 8
TRIES = 6
"""Rejected attempts of a step before it makes a deposit, which is never rejected."""


class Trader:
    """Makes random valid operations on an exchange; equal seeds give equal operations."""

    def __init__(self, exchange: Exchange, seed: int) -> None:
        self._exchange = exchange
        self._random = Random(f"trader {seed}")
        self._count = 0
        self._spots = [each for each in exchange.instruments.values() if not each.is_swap]
        self._swaps = [each for each in exchange.instruments.values() if each.is_swap]
        weights: dict[Callable[[Account], None], int] = {
            self._limit_spot: 14,
            self._limit_swap: 24,
            self._market_spot: 8,
            self._market_swap: 14,
            self._amend: 14,
            self._cancel: 12,
            self._place_algo: 6,
            self._cancel_algo: 3,
            self._close: 4,
            self._flip: 3,
            self._deposit: 1,
            self._withdraw: 1,
        }
        self._operations, self._weights = list(weights), list(weights.values())

    def step(self, uid: str | None = None) -> None:
        """Make one operation on the given or a random member; nothing when there is no member."""
        if not self._exchange.members:
            return
        account = self._exchange.account(uid or self._random.choice(list(self._exchange.members)))
        for _ in range(TRIES):
            try:
                self._choose(account)(account)
            except OrderRejected:
                continue
            return
        self._deposit(account)

    def _choose(self, account: Account) -> Callable[[Account], None]:
        if len(account.pending) >= MAX_PENDING:
            return self._cancel
        if len(account.waiting) >= MAX_WAITING:
            return self._cancel_algo
        return self._random.choices(self._operations, self._weights)[0]

    # Each operation is valid. One that the account cannot pay for is rejected, and `step` tries another.

    def _limit_spot(self, account: Account) -> None:
        self._place(account, self._random.choice(self._spots), "cash", px=True)

    def _limit_swap(self, account: Account) -> None:
        self._place(account, self._random.choice(self._swaps), "cross", px=True)

    def _market_spot(self, account: Account) -> None:
        self._place(account, self._random.choice(self._spots), "cash")

    def _market_swap(self, account: Account) -> None:
        self._place(account, self._random.choice(self._swaps), "cross")

    def _place(self, account: Account, instrument: Instrument, td_mode: str, *, px: bool = False) -> None:
        side = self._random.choice(("buy", "sell"))
        if not instrument.is_swap and account.cash[instrument.base] < instrument.min_sz:
            side = "buy"
        body = self._body(instrument, side, td_mode)
        sz = self._size(instrument)
        if px:
            kinds = ("limit",) * 9 + ("post_only", "ioc", "fok")
            body |= {"ordType": self._random.choice(kinds), "px": text(self._price(instrument, side))}
        else:
            body["ordType"] = "market"
            if not instrument.is_swap and side == "buy" and self._random.random() < 0.7:
                sz = round(instrument.value(sz, self._mark(instrument)), 2)  # in quote currency
            elif not instrument.is_swap:
                body["tgtCcy"] = "base_ccy"
        if not instrument.is_swap and side == "sell":
            sz = min(sz, instrument.to_lot(account.cash[instrument.base] / 2))
        self._exchange.place_order(account.uid, body | {"sz": text(sz)})

    def _amend(self, account: Account) -> None:
        order = self._pending(account)
        body: dict[str, Any] = {"instId": order.instrument.inst_id, "ordId": order.ord_id}
        if self._random.random() < 0.6:
            body["newPx"] = text(self._price(order.instrument, order.side))
        if "newPx" not in body or self._random.random() < 0.3:
            body["newSz"] = text(order.acc_fill_sz + self._size(order.instrument))
        if self._random.random() < 0.5:
            body["reqId"] = self._name("rq")
        self._exchange.amend_order(account.uid, body)

    def _cancel(self, account: Account) -> None:
        order = self._pending(account)
        self._exchange.cancel_order(account.uid, {"instId": order.instrument.inst_id, "ordId": order.ord_id})

    def _place_algo(self, account: Account) -> None:
        instrument, random = self._random.choice(self._swaps), self._random
        mark = self._mark(instrument)
        near, far = (Decimal(random.randrange(3, 40)) / 10_000 for _ in range(2))
        above, below = text(instrument.to_tick(mark * (1 + near))), text(instrument.to_tick(mark * (1 - far)))
        side, kind = random.choice(("buy", "sell")), random.choice(("trigger", "conditional", "oco"))
        body = self._body(instrument, side, "cross") | {"ordType": kind, "sz": text(self._size(instrument))}
        if "clOrdId" in body:
            body["algoClOrdId"] = body.pop("clOrdId")
        take, stop = (above, below) if side == "sell" else (below, above)
        if kind == "trigger":
            body |= {"triggerPx": random.choice((above, below)), "orderPx": "-1", "triggerPxType": "mark"}
        if kind == "oco" or (kind == "conditional" and random.random() < 0.5):
            body |= {"tpTriggerPx": take, "tpOrdPx": "-1"}
        if kind == "oco" or (kind == "conditional" and "tpTriggerPx" not in body):
            body |= {"slTriggerPx": stop, "slOrdPx": "-1"}
        self._exchange.place_algo(account.uid, body)

    def _cancel_algo(self, account: Account) -> None:
        if not account.waiting:
            raise OrderRejected("51400", "nothing to cancel")
        algo = self._random.choice(list(account.waiting.values()))
        self._exchange.cancel_algo(account.uid, {"algoId": algo.algo_id, "instId": algo.instrument.inst_id})

    def _close(self, account: Account) -> None:
        instrument, _ = self._open_position(account)
        self._exchange.close_position(account.uid, {"instId": instrument.inst_id, "mgnMode": "cross", "autoCxl": True})

    def _flip(self, account: Account) -> None:
        """Reverse a position: sell more than the long one, or buy more than the short one."""
        instrument, pos = self._open_position(account)
        body = self._body(instrument, "sell" if pos > 0 else "buy", "cross")
        sz = min(abs(pos) * 2, abs(pos) + self._size(instrument))
        self._exchange.place_order(account.uid, body | {"ordType": "market", "sz": text(sz)})

    def _deposit(self, account: Account) -> None:
        self._exchange.deposit(account.uid, "USDT", str(self._random.randrange(1_000, 20_000)))

    def _withdraw(self, account: Account) -> None:
        self._exchange.withdraw(account.uid, "USDT", str(self._random.randrange(10, 500)))

    # Parts of the operations

    def _pending(self, account: Account) -> Order:
        if not account.pending:
            raise OrderRejected("51400", "nothing pending")
        return self._random.choice(list(account.pending.values()))

    def _open_position(self, account: Account) -> tuple[Instrument, Decimal]:
        held = [each for each in account.positions.values() if each.pos and each.mgn_mode == "cross"]
        if not held:
            raise OrderRejected("51023", "nothing open")
        position = self._random.choice(held)
        return position.instrument, position.pos

    def _body(self, instrument: Instrument, side: str, td_mode: str) -> dict[str, Any]:
        body = {"instId": instrument.inst_id, "side": side, "tdMode": td_mode}
        if self._random.random() < 0.5:
            body["clOrdId"] = self._name("sb")
        return body

    def _name(self, prefix: str) -> str:
        self._count += 1
        return f"{prefix}{self._count:010d}"

    def _mark(self, instrument: Instrument) -> Decimal:
        return self._exchange.mark(instrument.inst_id)

    def _size(self, instrument: Instrument) -> Decimal:
        """A size worth 50 to 1500 USDT."""
        worth = Decimal(self._random.randrange(50, 1500))
        sz = instrument.to_lot(worth / instrument.value(Decimal(1), self._mark(instrument)))
        return max(sz, instrument.min_sz)

    def _price(self, instrument: Instrument, side: str) -> Decimal:
        """A price near the mark, mostly one at which the order rests."""
        away = Decimal(self._random.randrange(-3, 20)) / 10_000
        return instrument.to_tick(self._mark(instrument) * (1 - away if side == "buy" else 1 + away))
