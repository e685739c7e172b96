"""What the trader can choose from: instruments and modes of an account, sizes and prices near the market."""

from collections.abc import Collection
from decimal import Decimal
from random import Random
from typing import Any

from okxsync.sandbox.exchange.exchange import Exchange
from okxsync.sandbox.exchange.instruments import Instrument, text
from okxsync.sandbox.exchange.ledger import Account
from okxsync.sandbox.exchange.orders import Order, OrderRejected
from okxsync.sandbox.exchange.positions import Position

DEFAULT_TYPES = frozenset({"SPOT", "SWAP"})


class NotHere(OrderRejected):
    """An operation that the account or the exchange does not have."""

    def __init__(self) -> None:
        super().__init__("51010", "not here")


class Choices:
    """Random valid parts of requests; equal seeds give equal ones."""

    def __init__(self, exchange: Exchange, seed: int, types: Collection[str] = ()) -> None:
        self._exchange = exchange
        self._types = frozenset(types) or exchange.types or DEFAULT_TYPES
        self._random = Random(f"trader {seed}")
        self._count = 0

    def _instrument_of(self, *inst_types: str) -> Instrument:
        wanted = self._types.intersection(inst_types)
        found = [each for each in self._exchange.listed if each.inst_type in wanted]
        if not found:
            raise NotHere
        return self._random.choice(found)

    def _contract_mode(self, account: Account, instrument: Instrument) -> str:
        """``tdMode`` of a contract; isolated is for Futures mode only."""
        acct_lv = self._exchange.members[account.uid].acct_lv
        if acct_lv == "1":
            raise NotHere
        may_isolate = acct_lv == "2" and bool(self._exchange.types) and not instrument.is_option
        isolated = may_isolate and self._random.random() < 0.3
        return "isolated" if isolated else "cross"

    def _sides(self, account: Account, instrument: Instrument, td_mode: str) -> dict[str, str]:
        """``side`` and, in long/short mode, ``posSide``; a side is closed only if there is something to close."""
        side = self._random.choice(("buy", "sell"))
        if not self._exchange.members[account.uid].two_sided or instrument.is_spot or instrument.is_option:
            return {"side": side}
        pos_side = self._random.choice(("long", "short"))
        position = account.position(instrument, td_mode, pos_side)
        if position is None or not position.pos:
            side = "buy" if pos_side == "long" else "sell"
        return {"side": side, "posSide": pos_side}

    def _pending(self, account: Account) -> Order:
        if not account.pending:
            raise OrderRejected("51400", "nothing pending")
        return self._random.choice(list(account.pending.values()))

    def _open_position(self, account: Account, *, flippable: bool = False) -> Position:
        held = [
            each
            for each in account.positions.values()
            if each.pos and not (flippable and (each.isolated or each.pos_side != "net" or each.inst_type == "MARGIN"))
        ]
        if not held:
            raise OrderRejected("51023", "nothing open")
        return self._random.choice(held)

    def _body(self, instrument: Instrument, sides: dict[str, str], td_mode: str) -> dict[str, Any]:
        body: dict[str, Any] = {"instId": instrument.inst_id, "tdMode": td_mode, **sides}
        if self._random.random() < 0.5:
            body["clOrdId"] = self._name("sb")
        return body

    def _name(self, prefix: str) -> str:
        self._count += 1
        return f"{prefix}{self._count:010d}"

    def _mark(self, instrument: Instrument) -> Decimal:
        return self._exchange.mark(instrument.inst_id)

    def _worth(self, instrument: Instrument) -> Decimal:
        """What one unit of ``sz`` is worth in dollars."""
        if instrument.inverse:
            return instrument.ct_val
        px = self._exchange.mark(instrument.index) if instrument.is_option else self._mark(instrument)
        return instrument.ct_val * px

    def _size(self, instrument: Instrument) -> Decimal:
        """A size worth 50 to 1500 USDT."""
        worth = Decimal(self._random.randrange(50, 1500))
        return max(instrument.to_lot(worth / self._worth(instrument)), instrument.min_sz)

    def _price(self, instrument: Instrument, side: str) -> Decimal:
        """A price near the mark, mostly one at which the order rests."""
        away = Decimal(self._random.randrange(-3, 20)) / 10_000
        return instrument.to_tick(self._mark(instrument) * (1 - away if side == "buy" else 1 + away))

    def _around(self, instrument: Instrument, px: Decimal | None = None) -> tuple[str, str]:
        """Two prices: one above a price, one below; by default around the mark."""
        mark = px or self._mark(instrument)
        near, far = (Decimal(self._random.randrange(3, 40)) / 10_000 for _ in range(2))
        return text(instrument.to_tick(mark * (1 + near))), text(instrument.to_tick(mark * (1 - far)))
