"""A seeded stream of users' operations, one valid operation at a time.

It keeps an exchange busy for tests and benchmarks: orders rest, cross, are amended and canceled, positions open, grow,
shrink, close and flip, algo orders wait and trigger, deposits and withdrawals happen. On an exchange that was given
instrument types it also trades these, each account as its mode allows: on margin, in expiring contracts and options,
in blocks and spreads. The number of a member's pending orders stays small in long runs.
"""

from collections.abc import Callable, Collection
from typing import Any

from okxsync.sandbox.exchange.exchange import Exchange
from okxsync.sandbox.exchange.instruments import Instrument, text
from okxsync.sandbox.exchange.ledger import Account
from okxsync.sandbox.exchange.orders import OrderRejected
from okxsync.sandbox.exchange.trader_choices import Choices, NotHere

MAX_PENDING = 20
MAX_WAITING = 8
TRIES = 6
"""Rejected attempts of a step before it makes a deposit, which is never rejected."""


class Trader(Choices):
    """Makes random valid operations on an exchange; equal seeds give equal operations.

    Args:
        types: The instrument types to trade; by default all that the exchange was given.
    """

    def __init__(self, exchange: Exchange, seed: int, types: Collection[str] = ()) -> None:
        super().__init__(exchange, seed, types)
        weights: dict[Callable[[Account], None], int] = {
            self._limit_spot: 14,
            self._limit_contract: 24,
            self._market_spot: 8,
            self._market_contract: 14,
            self._amend: 14,
            self._cancel: 12,
            self._place_algo: 6,
            self._cancel_algo: 3,
            self._close: 4,
            self._flip: 3,
            self._deposit: 1,
            self._withdraw: 1,
        }
        if exchange.types:
            weights |= {
                self._margin: 16,
                self._option: 8,
                self._with_stop: 4,
                self._block: 3,
                self._spread: 3,
                self._liquidated: 1,
            }
        self._operations, self._weights = list(weights), list(weights.values())

    def step(self, uid: str | None = None) -> None:
        """Make one operation on the given or a random member; nothing when there is no member."""
        if not self._exchange.members:
            return
        account = self._exchange.account(uid or self._random.choice(list(self._exchange.members)))
        tries = 0
        while tries < TRIES:
            try:
                self._choose(account)(account)
            except NotHere:
                continue
            except OrderRejected:
                tries += 1
            else:
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
        self._place_spot(account, px=True)

    def _market_spot(self, account: Account) -> None:
        self._place_spot(account)

    def _limit_contract(self, account: Account) -> None:
        self._place_contract(account, self._instrument_of("SWAP", "FUTURES"), px=True)

    def _market_contract(self, account: Account) -> None:
        self._place_contract(account, self._instrument_of("SWAP", "FUTURES"))

    def _option(self, account: Account) -> None:
        self._place_contract(account, self._instrument_of("OPTION"), px=True)

    def _place_spot(self, account: Account, *, px: bool = False) -> None:
        instrument = self._instrument_of("SPOT")
        side = self._random.choice(("buy", "sell"))
        if account.cash[instrument.base] < instrument.min_sz:
            side = "buy"
        sz = self._size(instrument)
        body = self._body(instrument, {"side": side}, "cash") | self._kind(instrument, side, px=px)
        if not px and side == "buy" and self._random.random() < 0.7:
            sz = round(sz * self._mark(instrument), 2)  # in quote currency
        elif not px:
            body["tgtCcy"] = "base_ccy"
        if side == "sell":
            sz = min(sz, instrument.to_lot(account.cash[instrument.base] / 2))
        self._exchange.place_order(account.uid, body | {"sz": text(sz)})

    def _place_contract(self, account: Account, instrument: Instrument, *, px: bool = False) -> None:
        td_mode = self._contract_mode(account, instrument)
        sides = self._sides(account, instrument, td_mode)
        body = self._body(instrument, sides, td_mode) | self._kind(instrument, sides["side"], px=px)
        self._exchange.place_order(account.uid, body | {"sz": text(self._size(instrument))})

    def _kind(self, instrument: Instrument, side: str, *, px: bool) -> dict[str, Any]:
        """Return ``ordType`` and ``px``."""
        if not px:
            return {"ordType": "market"}
        kinds = ("limit",) * 9 + ("post_only", "ioc", "fok")
        return {"ordType": self._random.choice(kinds), "px": text(self._price(instrument, side))}

    def _margin(self, account: Account) -> None:
        """Trade a pair on borrowed money: cross or isolated in Futures mode, from the pool in the pooled modes."""
        member = self._exchange.members[account.uid]
        if member.acct_lv == "1" or "MARGIN" not in self._types:
            raise NotHere
        instrument = self._random.choice([each for each in self._exchange.listed if each.is_spot])
        td_mode = "cross" if member.pooled else self._random.choice(("cross", "isolated"))
        side, px = self._random.choice(("buy", "sell")), self._random.random() < 0.5
        body = self._body(instrument, {"side": side}, td_mode) | self._kind(instrument, side, px=px)
        if not member.pooled:
            body["ccy"] = instrument.quote
        sz = self._size(instrument)
        if not px:
            body["tgtCcy"] = "base_ccy"
        self._exchange.place_order(account.uid, body | {"sz": text(sz)})

    def _with_stop(self, account: Account) -> None:
        """Place an order with a take profit and a stop loss attached."""
        instrument = self._instrument_of("SWAP")
        td_mode = self._contract_mode(account, instrument)
        side = self._random.choice(("buy", "sell"))
        sides = {"side": side}
        if self._exchange.members[account.uid].two_sided:
            sides["posSide"] = "long" if side == "buy" else "short"
        px = self._price(instrument, side)
        above, below = self._around(instrument, px)
        take, stop = (above, below) if side == "buy" else (below, above)
        leg = {"attachAlgoClOrdId": self._name("at"), "tpTriggerPx": take, "tpOrdPx": "-1"}
        if self._random.random() < 0.5:
            leg |= {"slTriggerPx": stop, "slOrdPx": "-1", "slTriggerPxType": "mark"}
        body = self._body(instrument, sides, td_mode) | {"ordType": "limit", "px": text(px)}
        self._exchange.place_order(account.uid, body | {"sz": text(self._size(instrument)), "attachAlgoOrds": [leg]})

    def _block(self, account: Account) -> None:
        instrument = self._instrument_of("SWAP", "FUTURES", "OPTION")
        self._contract_mode(account, instrument)
        side = self._random.choice(("buy", "sell"))
        self._exchange.block_trade(account.uid, instrument.inst_id, side, text(self._size(instrument)))

    def _spread(self, account: Account) -> None:
        """Trade a linear future against the swap of the same underlying."""
        future = self._instrument_of("FUTURES")
        self._contract_mode(account, future)
        if "SWAP" not in self._types:
            raise NotHere
        legs = f"{future.uly}-SWAP", future.inst_id
        side = self._random.choice(("buy", "sell"))
        self._exchange.spread_trade(account.uid, legs, side, text(self._size(future)))

    def _liquidated(self, account: Account) -> None:
        position = self._open_position(account)
        request = {"instId": position.instrument.inst_id, "mgnMode": position.mgn_mode, "posSide": position.pos_side}
        self._exchange.liquidate(account.uid, request, adl=self._random.random() < 0.3)

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
        instrument, random = self._instrument_of("SWAP"), self._random
        td_mode = self._contract_mode(account, instrument)
        above, below = self._around(instrument)
        sides, kind = self._sides(account, instrument, td_mode), random.choice(("trigger", "conditional", "oco"))
        body = self._body(instrument, sides, td_mode) | {"ordType": kind, "sz": text(self._size(instrument))}
        if "clOrdId" in body:
            body["algoClOrdId"] = body.pop("clOrdId")
        take, stop = (above, below) if sides["side"] == "sell" else (below, above)
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
        position = self._open_position(account)
        body = {"instId": position.instrument.inst_id, "mgnMode": position.mgn_mode, "posSide": position.pos_side}
        self._exchange.close_position(account.uid, body | {"autoCxl": True})

    def _flip(self, account: Account) -> None:
        """Reverse a position: sell more than the long one, or buy more than the short one."""
        position = self._open_position(account, flippable=True)
        instrument, pos = position.instrument, position.pos
        side = "sell" if pos > 0 else "buy"
        body = self._body(instrument, {"side": side}, "cross")
        if instrument.is_option:
            body |= {"ordType": "ioc", "px": text(self._price(instrument, side))}
        else:
            body["ordType"] = "market"
        sz = min(abs(pos) * 2, abs(pos) + self._size(instrument))
        self._exchange.place_order(account.uid, body | {"sz": text(sz)})

    def _deposit(self, account: Account) -> None:
        self._exchange.deposit(account.uid, "USDT", str(self._random.randrange(1_000, 20_000)))

    def _withdraw(self, account: Account) -> None:
        self._exchange.withdraw(account.uid, "USDT", str(self._random.randrange(10, 500)))
