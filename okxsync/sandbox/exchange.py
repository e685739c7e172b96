"""The state of the exchange: members trade, the clock ticks, and every change is told and can be read at once.

There is no order book of others: an instrument's mark walks (``quotes``), the market stands one tick to either side of
it, taker orders fill there in one to three trades, and limit orders rest until the mark crosses them and then fill at
their price, often in parts over several ticks. Net mode only; spot and linear swaps.

An operation changes the account, appends order rows to the pushes as it goes, and ends in `_flush`, which tells each
touched account's balances and positions once. Reads build rows from the same state, so what was pushed can be read.
Nothing here does I/O: time comes from the clock given, chance from the seed, and the same calls give the same ids.
"""

import hashlib
import heapq
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import count
from random import Random
from typing import Any

from okxsync.sandbox import rows
from okxsync.sandbox.instruments import INSTRUMENTS, Instrument, text
from okxsync.sandbox.ledger import PLACES, Account, Position, reserve_of
from okxsync.sandbox.orders import ZERO, Algo, Fill, Movement, Order, Refusal, number
from okxsync.sandbox.quotes import Quote
from okxsync.sandbox.rows import Row

__all__ = ["Credentials", "Exchange", "Member", "Push", "Refusal"]

FUNDING_MS = 8 * 3_600_000
LEVER = "10"
WITHDRAWAL_FEE = {"USDT": Decimal(1), "BTC": Decimal("0.0001"), "ETH": Decimal("0.001")}
ORD_TYPES = frozenset({"market", "limit", "post_only", "fok", "ioc", "optimal_limit_ioc"})
SLIPPAGE_TICKS = 3
"""A market order is admitted if it can be paid this many ticks away."""


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
    """What the exchange tells subscribers of a channel; `uid` is empty for public channels, `rows` is ``data``."""

    uid: str
    channel: str
    rows: list[Row]


@dataclass(slots=True)
class _Changes:
    """What an operation touched in one account, until it is told."""

    ccys: set[str] = field(default_factory=set)  # cash or frozen
    cash: set[str] = field(default_factory=set)
    positions: dict[tuple[str, str], Position] = field(default_factory=dict)
    trades: list[Row] = field(default_factory=list)
    event: str = "filled"


class Exchange:
    """The whole exchange.

    Args:
        clock: Returns the time in ms UTC; a clock that goes back is read as standing still.
        seed: Decides ids, keys, the walk of prices and the sizes of partial fills.
        funding_ms: The funding interval of all swaps.
    """

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

    # Members

    def add_member(
        self,
        name: str,
        *,
        demo: bool = True,
        deposit: Mapping[str, str] | None = None,
        main_uid: str | None = None,
        perm: str = "read_only,trade",
        ip: str = "",
        vip: int = 0,
        acct_lv: str = "2",
    ) -> Member:
        """Open an account, with 100000 USDT unless said otherwise; its keys follow from the seed and the name."""
        digest = hashlib.sha256(f"{self._seed} {name}".encode()).hexdigest()
        key = f"{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:32]}"
        secret = hashlib.sha256(f"secret {digest}".encode()).hexdigest()[:32].upper()
        uid = str(700_000_000_000 + len(self.members) + 1)
        credentials = Credentials(key, secret, f"Pass-{digest[32:44]}")
        member = Member(name, uid, main_uid or uid, credentials, demo, perm, ip, vip, acct_lv, label=name)
        self.members[uid] = member
        self._accounts[uid] = Account(uid)
        for ccy, amt in ({"USDT": "100000"} if deposit is None else deposit).items():
            movement = self._movement(uid, ccy, Decimal(amt), ZERO)
            self._accounts[uid].deposits.append(movement)
            movement.state = "2"
            self._credit(movement)
            self._into_trading(movement)
        self._flush()
        return member

    # Orders

    def place_order(self, uid: str, request: Mapping[str, Any]) -> Order:
        """Place an order by the body of ``POST trade/order``; numbers are strings, ``instIdCode`` is understood."""
        self._now()
        order = self._read_order(uid, request)
        self._admit(order)
        self._accept(order)
        self._flush()
        return order

    def amend_order(self, uid: str, request: Mapping[str, Any]) -> Order:
        """Change ``newSz`` and/or ``newPx`` of a pending order; it keeps its ``ordId``."""
        now = self._now()
        account = self.account(uid)
        order = self._find_order(account, request, "51503", "Order amendment failed as the order does not exist")
        if order.state == "filled":
            raise Refusal("51510", "Modification failed as the order has been completed")
        if order.state == "canceled":
            raise Refusal("51509", "Modification failed as the order has been canceled")
        sz = number(request, "newSz", required=False) or order.sz
        px = number(request, "newPx", required=False) or order.px
        if (sz, px) == (order.sz, order.px):
            raise Refusal("51506", "Order modification failed: nothing to modify")
        self._check_steps(order.instrument, sz, px)
        was = order.sz, order.px
        reserved_before = reserve_of(order)
        order.sz, order.px = max(sz, order.acc_fill_sz), px
        order.req_id, order.amend_source = str(request.get("reqId") or ""), "1"
        ccy, reserve = reserve_of(order)
        if reserve - reserved_before[1] > self._free(account, ccy) and reserve > reserved_before[1]:
            order.sz, order.px = was
            order.amend_source = ""
            if str(request.get("cxlOnFail", "")).lower() == "true":
                order.amend_result = "1"
                self._finish(order, "canceled", "0")
                self._flush()
                return order
            order.req_id = ""
            raise Refusal("51008", "Order failed. Insufficient balance")
        order.amend_result = "0"
        self._touch(uid).ccys.add(ccy)
        if not order.left:
            self._finish(order, "filled")
        else:
            order.u_time = max(now, order.u_time)
            self._tell_order(order)
        order.req_id = order.amend_result = order.amend_source = ""
        if order.pending:
            self._match(order)
        self._flush()
        return order

    def cancel_order(self, uid: str, request: Mapping[str, Any]) -> Order:
        """Cancel a pending order by ``ordId`` or ``clOrdId``."""
        self._now()
        gone = "Cancellation failed as the order has been filled, canceled or does not exist"
        order = self._find_order(self.account(uid), request, "51400", gone)
        if not order.pending:
            raise Refusal("51400", gone)
        self._finish(order, "canceled", "1")
        self._flush()
        return order

    def close_position(self, uid: str, request: Mapping[str, Any]) -> Order:
        """Close a swap position at market (``POST trade/close-position``); ``autoCxl`` cancels closing orders first."""
        self._now()
        account = self.account(uid)
        instrument = self._instrument(uid, request)
        mgn_mode = str(request.get("mgnMode") or "cross")
        position = account.position(instrument, mgn_mode)
        if position is None or not position.pos:
            raise Refusal("51023", "Position does not exist")
        closing = [each for each in account.pending.values() if each.reduce_only and each.instrument is instrument]
        if closing and str(request.get("autoCxl", "")).lower() != "true":
            raise Refusal("51115", "Cancel all pending close-orders before liquidation")
        for each in closing:
            self._finish(each, "canceled", "1")
        body = {
            "instId": instrument.inst_id,
            "tdMode": mgn_mode,
            "side": "sell" if position.pos > 0 else "buy",
            "ordType": "market",
            "sz": text(abs(position.pos)),
            "reduceOnly": True,
            "clOrdId": request.get("clOrdId"),
            "tag": request.get("tag"),
        }
        order = self._read_order(uid, body)
        self._accept(order)
        self._flush()
        return order

    def _read_order(self, uid: str, request: Mapping[str, Any]) -> Order:
        """Make an order of a request, checked by itself; whether the account can carry it is `_admit`'s."""
        member, account = self.members[uid], self.account(uid)
        instrument = self._instrument(uid, request)
        swap = instrument.is_swap
        side, ord_type = str(request.get("side", "")), str(request.get("ordType", ""))
        td_mode = str(request.get("tdMode", ""))
        if side not in ("buy", "sell"):
            raise Refusal("51000", "Parameter side error")
        if ord_type not in ORD_TYPES or (ord_type == "optimal_limit_ioc" and not swap):
            raise Refusal("51000", "Parameter ordType error")
        if td_mode not in (("cross", "isolated") if swap else ("cash", "cross")):
            raise Refusal("51000", "Parameter tdMode error")
        if swap and member.acct_lv == "1":
            raise Refusal("51010", "You can't complete this request under your current account mode")
        if (pos_side := str(request.get("posSide") or "")) not in ("", "net"):
            raise Refusal("51000", "Parameter posSide error")
        cl_ord_id = self._client_id(request, "clOrdId")
        known = account.client_ids.get(cl_ord_id) if cl_ord_id else None
        if known is not None and known.pending:
            raise Refusal("51016", "Client order ID already exists")
        market = ord_type in ("market", "optimal_limit_ioc")
        sz, px = number(request, "sz"), None if market else number(request, "px")
        assert sz is not None
        tgt_ccy = ""
        if market and not swap:
            tgt_ccy = str(request.get("tgtCcy") or ("quote_ccy" if side == "buy" else "base_ccy"))
            if tgt_ccy not in ("base_ccy", "quote_ccy"):
                raise Refusal("51000", "Parameter tgtCcy error")
        if tgt_ccy == "quote_ccy":
            if sz / self._quotes[instrument.inst_id].ask < instrument.min_sz:
                raise Refusal("51020", "Your order should meet or exceed the minimum order amount.")
        else:
            self._check_steps(instrument, sz, px)
        now = self._time
        return Order(
            uid,
            self._next_id(),
            instrument,
            side,
            ord_type,
            td_mode,
            sz,
            px,
            now,
            now,
            cl_ord_id=cl_ord_id,
            tag=str(request.get("tag") or ""),
            ccy=str(request.get("ccy") or ""),
            pos_side="net" if swap else pos_side,
            tgt_ccy=tgt_ccy,
            lever=LEVER if swap else "",
            reduce_only=swap and str(request.get("reduceOnly", "")).lower() == "true",
        )

    def _admit(self, order: Order) -> None:
        """Refuse what the account cannot carry; cut a reduce-only order to the position."""
        account, instrument = self.account(order.uid), order.instrument
        quote = self._quotes[instrument.inst_id]
        slip = instrument.tick_sz * SLIPPAGE_TICKS
        px = order.px or (quote.ask + slip if order.buys else quote.bid)
        held = ZERO
        if instrument.is_swap:
            position = account.position(instrument, order.td_mode)
            held = position.pos if position else ZERO
        against = held * (1 if order.buys else -1) < 0
        if order.reduce_only:
            if not held:
                raise Refusal("51169", "You don't have any positions in this contract to reduce or close")
            if not against:
                raise Refusal("51170", "Order failed: a reduce-only order can't be the same direction as the position")
            order.sz = min(order.sz, abs(held))
            return
        if instrument.is_swap:
            opening = max(order.sz - abs(held), ZERO) if against else order.sz
            needed = instrument.value(opening, px) * (1 / Decimal(order.lever) + instrument.taker_rate)
            ccy = instrument.quote
        elif order.buys:
            needed, ccy = (order.sz if order.in_quote else order.sz * px), instrument.quote
        else:
            needed, ccy = (order.sz / quote.bid if order.in_quote else order.sz), instrument.base
        if needed > self._free(account, ccy):
            raise Refusal("51008", f"Order failed. Insufficient {ccy} balance in account")

    def _accept(self, order: Order) -> None:
        """Take an order in: from here on it exists, whatever becomes of it."""
        account = self.account(order.uid)
        account.orders[order.ord_id] = order
        if order.cl_ord_id:
            account.client_ids[order.cl_ord_id] = order
        account.pending[order.ord_id] = order
        if order.ord_type == "post_only" and self._crosses(order):
            self._finish(order, "canceled", "31")
            return
        self._tell_order(order)
        self._touch(order.uid).ccys.add(reserve_of(order)[0])
        self._match(order)

    # Matching

    def _crosses(self, order: Order) -> bool:
        """Whether a new limit order would take from the market."""
        quote = self._quotes[order.instrument.inst_id]
        if order.px is None:
            return True
        return order.px >= quote.ask if order.buys else order.px <= quote.bid

    def _match(self, order: Order) -> None:
        """Fill what takes; let the rest of a limit order rest."""
        if self._crosses(order):
            self._take(order)
        if not order.pending:
            return
        if order.ord_type == "fok":
            self._finish(order, "canceled", "13")
        elif order.ord_type in ("ioc", "optimal_limit_ioc"):
            self._finish(order, "canceled", "14")
        elif order.ord_type == "market":  # the rest was less than a lot, or there was nothing left to pay with
            self._finish(order, *(("filled",) if order.acc_fill_sz else ("canceled", "2")))
        else:
            self._rest(order)

    def _rest(self, order: Order) -> None:
        """Put an order's present price into the book; earlier entries become stale."""
        assert order.px is not None
        order.place = next(self._entries)
        book = self._bids if order.buys else self._asks
        heapq.heappush(book[order.instrument.inst_id], (-order.px if order.buys else order.px, order.place, order))

    def _take(self, order: Order) -> None:
        """Fill an order at the market in one to three trades, each a tick worse; limit orders may stay partly open."""
        instrument, random = order.instrument, self._random
        quote = self._quotes[instrument.inst_id]
        best = quote.ask if order.buys else quote.bid
        step = instrument.tick_sz if order.buys else -instrument.tick_sz
        parts = random.choice((1, 1, 2, 3))
        total = order.sz if order.in_quote else order.left
        if order.ord_type not in ("market", "fok", "optimal_limit_ioc") and random.random() < 0.4:
            total = total * random.randrange(20, 80) / 100
        spent = ZERO
        for part in range(parts):
            px = best + step * part
            if order.px is not None:
                px = min(px, order.px) if order.buys else max(px, order.px)
            share = total - spent if part == parts - 1 else total / parts
            sz = instrument.to_lot(share / px if order.in_quote else share)
            if sz:
                spent += sz * px if order.in_quote else sz
                self._fill(order, sz, px, "T")
            if not order.pending:
                return

    def _cross(self, inst_id: str) -> None:
        """Fill resting orders that the mark has crossed, often in part; the rest of them waits for the next tick."""
        quote, random = self._quotes[inst_id], self._random
        for book, limit in ((self._bids[inst_id], -quote.mark), (self._asks[inst_id], quote.mark)):
            waiting = []
            while book and book[0][0] <= limit:
                entry = heapq.heappop(book)
                _, place, order = entry
                if place != order.place or not order.pending or order.px is None:
                    continue
                sz = order.left
                if random.random() < 0.5:
                    sz = max(order.instrument.to_lot(sz * random.randrange(20, 80) / 100), order.instrument.lot_sz)
                self._fill(order, min(sz, order.left), order.px, "M")
                if order.pending:
                    waiting.append(entry)
            for entry in waiting:
                heapq.heappush(book, entry)

    def _fill(self, order: Order, sz: Decimal, px: Decimal, exec_type: str) -> None:
        """Execute one trade: bills, position, totals, push. Cuts it to what there is, cancels when nothing is."""
        account, instrument, now = self.account(order.uid), order.instrument, self._time
        position: Position | None = None
        if instrument.is_swap:
            position = self._position(account, order)
            if order.reduce_only:
                against = position.pos * (1 if order.buys else -1) < 0
                sz = min(sz, abs(position.pos)) if against else ZERO
        elif order.buys:
            sz = min(sz, instrument.to_lot(max(account.cash[instrument.quote], ZERO) / px))
        else:
            sz = min(sz, instrument.to_lot(max(account.cash[instrument.base], ZERO)))
        if not sz:
            self._finish(order, "canceled", "2")
            return
        rate = instrument.maker_rate if exec_type == "M" else instrument.taker_rate
        paid_in_base = order.buys and not instrument.is_swap
        fee = -round((sz if paid_in_base else instrument.value(sz, px)) * rate, PLACES)
        change = sz if order.buys else -sz
        pnl = ZERO
        self._last_trade += self._random.randrange(1, 5)
        trade_id, bill_id = str(self._last_trade), self._next_id()
        if position is not None:
            position.trade_id = trade_id
            pnl = position.apply(change, px, fee, now)
        mark = self._marks[instrument.inst_id]
        fill = Fill(trade_id, bill_id, sz, px, mark, fee, order.fee_ccy, pnl, exec_type, now)
        told: dict[str, Any] = {"sz": sz, "px": px, "instrument": instrument, "order": order, "fill": fill}
        touched = self._touch(order.uid)
        kind = rows.trade_sub_type(order)
        if position is not None:
            told |= {"pnl": pnl, "fee": fee, "pos_bal": position.pos, "pos_bal_chg": change}
            account.post(bill_id, now, instrument.quote, "2", kind, pnl + fee, **told)
            touched.positions[instrument.inst_id, order.td_mode] = position
            touched.ccys.add(instrument.quote)
            touched.cash.add(instrument.quote)
        else:
            base_fee, quote_fee = (fee, ZERO) if paid_in_base else (ZERO, fee)
            account.post(bill_id, now, instrument.base, "2", kind, change + base_fee, fee=base_fee, **told)
            cost = round(-change * px, PLACES)
            account.post(self._next_id(), now, instrument.quote, "2", kind, cost + quote_fee, fee=quote_fee, **told)
            touched.ccys.update((instrument.base, instrument.quote))
            touched.cash.update((instrument.base, instrument.quote))
        touched.trades.append({"instId": instrument.inst_id, "tradeId": trade_id})
        order.acc_fill_sz += sz
        order.value += sz * px
        order.fee += fee
        order.pnl += pnl
        order.last_fill = fill
        order.u_time = max(now, order.u_time)
        account.fills.append((order, fill))
        self._quotes[instrument.inst_id].trade(px, sz, now)
        # A spot market order is declared filled by a row of its own (`_match`), after all its fills.
        if not order.left and (instrument.is_swap or order.ord_type != "market"):
            self._finish(order, "filled", fill=fill)
        else:
            order.state = "partially_filled"
            self._tell_order(order, fill)

    def _finish(self, order: Order, state: str, cancel_source: str = "", fill: Fill | None = None) -> None:
        """Bring an order to its final state and tell it."""
        order.state, order.cancel_source = state, cancel_source
        order.u_time = max(self._time, order.u_time)
        self.account(order.uid).pending.pop(order.ord_id, None)
        self._touch(order.uid).ccys.add(reserve_of(order)[0])
        self._tell_order(order, fill)

    # Algo orders

    def place_algo(self, uid: str, request: Mapping[str, Any]) -> Algo:
        """Place a ``trigger``, ``conditional`` or ``oco`` order by the body of ``POST trade/order-algo``."""
        now = self._now()
        account, instrument = self.account(uid), self._instrument(uid, request)
        ord_type, side = str(request.get("ordType", "")), str(request.get("side", ""))
        td_mode = str(request.get("tdMode", ""))
        if ord_type not in ("trigger", "conditional", "oco"):
            raise Refusal("51000", "Parameter ordType error")
        if side not in ("buy", "sell"):
            raise Refusal("51000", "Parameter side error")
        if td_mode not in (("cross", "isolated") if instrument.is_swap else ("cash", "cross")):
            raise Refusal("51000", "Parameter tdMode error")
        closes = str(request.get("closeFraction") or "")
        position = account.position(instrument, td_mode)
        if closes:
            if position is None or not position.pos:
                raise Refusal("51023", "Position does not exist")
            sz: Decimal | None = abs(position.pos)
        else:
            sz = number(request, "sz")
        assert sz is not None
        self._check_steps(instrument, sz, None)
        algo = Algo(
            uid,
            self._next_id(),
            instrument,
            side,
            ord_type,
            td_mode,
            sz,
            now,
            now,
            algo_cl_ord_id=self._client_id(request, "algoClOrdId"),
            tag=str(request.get("tag") or ""),
            ccy=str(request.get("ccy") or ""),
            pos_side="net" if instrument.is_swap else "",
            lever=LEVER if instrument.is_swap else "",
            reduce_only=bool(closes) or str(request.get("reduceOnly", "")).lower() == "true",
            close_fraction=closes,
        )
        if ord_type == "trigger":
            algo.trigger_px = number(request, "triggerPx")
            algo.ord_px = self._child_px(request, "orderPx", "ordPx")
        else:
            both = ord_type == "oco"
            algo.tp_trigger_px = number(request, "tpTriggerPx", required=both)
            algo.sl_trigger_px = number(request, "slTriggerPx", required=both)
            if (algo.tp_trigger_px is None) == (algo.sl_trigger_px is None) and not both:
                raise Refusal("51000", "Parameter tpTriggerPx or slTriggerPx error")
            if algo.tp_trigger_px is not None:
                algo.tp_ord_px = self._child_px(request, "tpOrdPx")
            if algo.sl_trigger_px is not None:
                algo.sl_ord_px = self._child_px(request, "slOrdPx")
        account.algos[algo.algo_id] = algo
        account.waiting[algo.algo_id] = algo
        self._await(algo)
        self._tell_algo(algo)
        self._flush()
        return algo

    def cancel_algo(self, uid: str, request: Mapping[str, Any]) -> Algo:
        """Cancel a waiting algo order by ``algoId`` or ``algoClOrdId``."""
        self._now()
        account = self.account(uid)
        algo = account.waiting.get(str(request.get("algoId") or ""))
        if algo is None and (client_id := request.get("algoClOrdId")):
            algo = next((each for each in account.waiting.values() if each.algo_cl_ord_id == client_id), None)
        if algo is None:
            raise Refusal("51400", "Cancellation failed as the order has been filled, canceled or does not exist")
        self._end_algo(algo, "canceled")
        self._flush()
        return algo

    def _await(self, algo: Algo) -> None:
        """Watch an algo order's prices: take profit with the trade's favour, stop loss against it."""
        inst_id, mark = algo.instrument.inst_id, self._marks[algo.instrument.inst_id]
        sells = algo.side == "sell"
        watched = []
        if algo.trigger_px is not None:
            watched.append((algo.trigger_px, algo.trigger_px > mark, ""))
        if algo.tp_trigger_px is not None:
            watched.append((algo.tp_trigger_px, sells, "tp"))
        if algo.sl_trigger_px is not None:
            watched.append((algo.sl_trigger_px, not sells, "sl"))
        for px, rising, leg in watched:
            heap = self._rising[inst_id] if rising else self._falling[inst_id]
            heapq.heappush(heap, (px if rising else -px, next(self._entries), algo, leg))

    def _trigger(self, inst_id: str) -> None:
        """Trigger the algo orders whose price the mark has reached."""
        mark = self._marks[inst_id]
        for heap, limit in ((self._rising[inst_id], mark), (self._falling[inst_id], -mark)):
            while heap and heap[0][0] <= limit:
                _, _, algo, leg = heapq.heappop(heap)
                if algo.pending:
                    self._place_child(algo, leg)

    def _place_child(self, algo: Algo, leg: str) -> None:
        """Place the order that an algo order was waiting to place; a refusal makes it ``order_failed``."""
        px = {"": algo.ord_px, "tp": algo.tp_ord_px, "sl": algo.sl_ord_px}[leg]
        body: Row = {
            "instId": algo.instrument.inst_id,
            "tdMode": algo.td_mode,
            "side": algo.side,
            "sz": text(algo.sz),
            "ordType": "market" if px == "-1" else "limit",
            "px": px,
            "tgtCcy": "base_ccy",
            "reduceOnly": algo.reduce_only,
            "ccy": algo.ccy,
            "tag": algo.tag,
        }
        algo.actual_side = leg
        algo.trigger_time = str(self._time)
        try:
            order = self._read_order(algo.uid, body)
            order.algo_id, order.algo_cl_ord_id = algo.algo_id, algo.algo_cl_ord_id
            order.source = "7" if leg else "6"
            self._admit(order)
        except Refusal as refusal:
            algo.fail_code = refusal.code
            self._end_algo(algo, "order_failed")
            return
        algo.ord_ids.append(order.ord_id)
        algo.actual_sz = order.sz
        algo.actual_px = text(order.px or self._marks[algo.instrument.inst_id])
        self._end_algo(algo, "effective")
        self._accept(order)

    def _end_algo(self, algo: Algo, state: str) -> None:
        algo.state = state
        algo.u_time = max(self._time, algo.u_time)
        self.account(algo.uid).waiting.pop(algo.algo_id, None)
        self._tell_algo(algo)

    # Money in and out

    def deposit(self, uid: str, ccy: str, amt: str) -> Movement:
        """Announce a deposit; ticks credit it to the funding account and then move it into the trading account."""
        self._now()
        movement = self._movement(uid, ccy, Decimal(amt), ZERO)
        self.account(uid).deposits.append(movement)
        self._moving.append(movement)
        self._tell_movement(movement)
        return movement

    def withdraw(self, uid: str, ccy: str, amt: str) -> Movement:
        """Withdraw from the trading account, through the funding account; a fee comes on top, ticks bring it out."""
        now = self._now()
        account = self.account(uid)
        amount, fee = Decimal(amt), WITHDRAWAL_FEE.get(ccy, ZERO)
        if amount <= 0 or amount + fee > self._free(account, ccy):
            raise Refusal("58350", "Insufficient balance")
        total = amount + fee
        account.post(self._next_id(), now, ccy, "1", "12", -total, sz=total, sent_from="18", sent_to="6")
        account.post_asset(self._next_id(), now, ccy, "130", total)
        account.post_asset(self._next_id(), now, ccy, "2", -total)
        movement = self._movement(uid, ccy, amount, fee)
        movement.withdrawn = True
        account.withdrawals.append(movement)
        self._moving.append(movement)
        self._transferred(uid, ccy)
        self._tell_movement(movement)
        self._flush()
        return movement

    def _movement(self, uid: str, ccy: str, amt: Decimal, fee: Decimal) -> Movement:
        if ccy not in self._usd:
            raise Refusal("58111", f"Currency {ccy} is unknown")
        return Movement(uid, self._next_id(), ccy, amt, fee, self._time, self._time)

    def _advance(self) -> None:
        """Bring every deposit and withdrawal one step on."""
        moving, self._moving = self._moving, []
        for movement in moving:
            movement.state = str(int(movement.state) + 1)
            movement.p_time = max(self._time, movement.p_time)
            if not movement.withdrawn:
                if movement.state == "1":
                    self._credit(movement)
                else:
                    self._into_trading(movement)
            self._tell_movement(movement)
            if movement.state != "2":
                self._moving.append(movement)

    def _credit(self, deposit: Movement) -> None:
        """A deposit arrives in the funding account."""
        account = self.account(deposit.uid)
        account.post_asset(self._next_id(), self._time, deposit.ccy, "1", deposit.amt)

    def _into_trading(self, deposit: Movement) -> None:
        """A deposit goes on from the funding to the trading account."""
        account, now, ccy, amt = self.account(deposit.uid), self._time, deposit.ccy, deposit.amt
        account.post_asset(self._next_id(), now, ccy, "131", -amt)
        account.post(self._next_id(), now, ccy, "1", "11", amt, sz=amt, sent_from="6", sent_to="18")
        self._transferred(deposit.uid, ccy)

    def _transferred(self, uid: str, ccy: str) -> None:
        touched = self._touch(uid)
        touched.ccys.add(ccy)
        touched.cash.add(ccy)
        touched.event = "transferred"

    # Time

    def tick(self) -> None:
        """Let time pass: prices move, orders fill and trigger, money in transit moves on, funding is settled."""
        now = self._now()
        for inst_id, quote in self._quotes.items():
            quote.step(self._random, now)
            self._remark(inst_id)
            self._cross(inst_id)
            self._trigger(inst_id)
        self._advance()
        self._flush()
        if now >= self._next_funding:
            self._settle_funding()
            self._next_funding = now - now % self.funding_ms + self.funding_ms
            self._flush()
        self._tell_market()

    def set_mark(self, inst_id: str, px: str) -> None:
        """Move one mark to a price, for scripted scenes; orders fill and trigger as by a tick."""
        self._quotes[inst_id].set_mark(Decimal(px), self._now())
        self._remark(inst_id)
        self._cross(inst_id)
        self._trigger(inst_id)
        self._flush()
        self._tell_market()

    def _settle_funding(self) -> None:
        """Longs pay shorts (or the reverse) the rate on their value; one bill of type 8 a position."""
        now = self._time
        for account in self._accounts.values():
            for key, position in account.positions.items():
                if not position.pos:
                    continue
                instrument, mark = position.instrument, self._marks[position.instrument.inst_id]
                rate = self._quotes[instrument.inst_id].funding_rate
                paid = round(-position.pos * instrument.ct_val * mark * rate, PLACES)
                position.cycles[-1].funding += paid
                position.cycles[-1].u_time = position.u_time = max(now, position.u_time)
                account.post(
                    self._next_id(),
                    now,
                    instrument.quote,
                    "8",
                    "174" if paid > 0 else "173",
                    paid,
                    pnl=paid,
                    sz=abs(position.pos),
                    px=mark,
                    pos_bal=position.pos,
                    instrument=instrument,
                    mgn_mode=position.mgn_mode,
                )
                touched = self._touch(account.uid)
                touched.event = "funding_fee"
                touched.ccys.add(instrument.quote)
                touched.cash.add(instrument.quote)
                touched.positions[key] = position
        for quote in self._quotes.values():
            if quote.instrument.is_swap:
                quote.funding_rate = Decimal(self._random.randrange(-20, 40)) / 100_000

    def _remark(self, inst_id: str) -> None:
        quote = self._quotes[inst_id]
        self._marks[inst_id] = quote.mark
        if not quote.instrument.is_swap:
            self._usd[quote.instrument.base] = quote.mark

    # Telling

    def take_pushes(self) -> list[Push]:
        """Hand over what there is to push, oldest first, each once."""
        pushes, self._pushes = self._pushes, []
        return pushes

    def _touch(self, uid: str) -> _Changes:
        return self._changes.setdefault(uid, _Changes())

    def _tell_order(self, order: Order, fill: Fill | None = None) -> None:
        last = self._quotes[order.instrument.inst_id].last_text
        self._pushes.append(Push(order.uid, "orders", [rows.order_push(order, last, fill)]))

    def _tell_algo(self, algo: Algo) -> None:
        last = self._quotes[algo.instrument.inst_id].last_text
        self._pushes.append(Push(algo.uid, "orders-algo", [rows.algo_row(algo, last)]))

    def _tell_movement(self, movement: Movement) -> None:
        member = self.members[movement.uid]
        deposit = not movement.withdrawn
        row = rows.deposit_row(movement) if deposit else rows.withdrawal_row(movement)
        told = rows.pushed(row, movement.uid, member.sub_acct, movement.p_time)
        self._pushes.append(Push(movement.uid, "deposit-info" if deposit else "withdrawal-info", [told]))

    def _tell_market(self) -> None:
        now = self._time
        for inst_id, quote in self._quotes.items():
            if quote.due("mark-price", text(quote.mark), now):
                self._pushes.append(Push("", "mark-price", [quote.mark_row()]))
            if quote.due("tickers", quote.last_text, now):
                self._pushes.append(Push("", "tickers", [quote.ticker_row()]))
            if quote.instrument.is_swap and quote.due("funding-rate", "", now):
                self._pushes.append(Push("", "funding-rate", [self.funding_rate_row(inst_id)]))

    def _flush(self) -> None:
        """Tell what was touched: balance_and_position first, as OKX does, then account and positions."""
        now = self._time
        changes, self._changes = self._changes, {}
        for uid, touched in changes.items():
            account = self._accounts[uid]
            positions = [position for position in touched.positions.values() if position.cycles]
            if touched.cash or positions:
                told = {
                    "pTime": str(now),
                    "eventType": touched.event,
                    "balData": [rows.balance_data(account, ccy, now) for ccy in sorted(touched.cash)],
                    "posData": [rows.position_data(position) for position in positions],
                    "trades": touched.trades,
                }
                self._pushes.append(Push(uid, "balance_and_position", [told]))
            for ccy in touched.ccys:
                account.change_time[ccy] = now
            self._pushes.append(Push(uid, "account", [self._account_row(uid, touched.ccys)]))
            if positions:
                told_rows = [self._position_row(position) | {"pTime": str(now)} for position in positions]
                self._pushes.append(Push(uid, "positions", told_rows))

    # Reading: complete lists, newest first

    def account_row(self, uid: str) -> Row:
        """The row of ``GET account/balance``, with all non-zero currencies."""
        self._now()
        return self._account_row(uid, None)

    def _account_row(self, uid: str, only: Collection[str] | None) -> Row:
        acct_lv = self.members[uid].acct_lv
        return rows.account_row(self._accounts[uid], acct_lv, self._marks, self._usd, self._time, only)

    def _position_row(self, position: Position) -> Row:
        inst_id = position.instrument.inst_id
        return rows.position_row(position, self._marks[inst_id], self._quotes[inst_id].last_text)

    def position_rows(self, uid: str, *, with_closed: bool = False) -> list[Row]:
        """The rows of ``GET account/positions``; closed ones have ``pos`` 0."""
        held = [each for each in self.account(uid).positions.values() if each.pos or (with_closed and each.cycles)]
        return [self._position_row(each) for each in sorted(held, key=lambda each: int(each.pos_id), reverse=True)]

    def balance_and_position_row(self, uid: str) -> Row:
        """The snapshot of channel ``balance_and_position``."""
        account, now = self.account(uid), self._now()
        return {
            "pTime": str(now),
            "eventType": "snapshot",
            "balData": [rows.balance_data(account, ccy, now) for ccy in sorted(account.cash) if account.cash[ccy]],
            "posData": [rows.position_data(each) for each in account.positions.values() if each.pos],
            "trades": [],
        }

    def order_rows(self, uid: str) -> list[Row]:
        """All orders ever, in REST's reading."""
        return [rows.order_row(order) for order in reversed(self.account(uid).orders.values())]

    def algo_rows(self, uid: str) -> list[Row]:
        """All algo orders ever, in any state."""
        algos = reversed(self.account(uid).algos.values())
        return [rows.algo_row(algo, self._quotes[algo.instrument.inst_id].last_text) for algo in algos]

    def fill_rows(self, uid: str) -> list[Row]:
        return [rows.fill_row(order, fill) for order, fill in reversed(self.account(uid).fills)]

    def bill_rows(self, uid: str) -> list[Row]:
        return [rows.bill_row(bill) for bill in reversed(self.account(uid).bills)]

    def positions_history_rows(self, uid: str) -> list[Row]:
        """One row a position's life, from its first partial close; newest change first."""
        lives = [
            (cycle, position)
            for position in self.account(uid).positions.values()
            for cycle in position.cycles
            if cycle.closed
        ]
        lives.sort(key=lambda life: (life[0].u_time, life[0].c_time), reverse=True)
        return [rows.cycle_row(position, cycle) for cycle, position in lives]

    def deposit_rows(self, uid: str) -> list[Row]:
        return [rows.deposit_row(deposit) for deposit in reversed(self.account(uid).deposits)]

    def withdrawal_rows(self, uid: str) -> list[Row]:
        return [rows.withdrawal_row(each) for each in reversed(self.account(uid).withdrawals)]

    def asset_bill_rows(self, uid: str) -> list[Row]:
        return [rows.asset_bill_row(bill) for bill in reversed(self.account(uid).asset_bills)]

    def asset_balance_rows(self, uid: str) -> list[Row]:
        """Non-zero balances of the funding account."""
        funds = self.account(uid).funds
        return [
            {"availBal": text(bal), "bal": text(bal), "ccy": ccy, "frozenBal": "0"}
            for ccy, bal in sorted(funds.items())
            if bal
        ]

    def config_row(self, uid: str) -> Row:
        """The row of ``GET account/config``."""
        member = self.members[uid]
        return {
            "acctLv": member.acct_lv,
            "acctStpMode": "cancel_maker",
            "autoLoan": False,
            "ctIsoMode": "automatic",
            "enableSpotBorrow": False,
            "feeType": "0",
            "greeksType": "PA",
            "ip": member.ip,
            "kycLv": "2",
            "label": member.label,
            "level": f"Lv{member.vip or 1}" if member.vip < 1 else f"VIP{member.vip}",
            "levelTmp": "",
            "liquidationGear": "-1",
            "mainUid": member.main_uid,
            "mgnIsoMode": "automatic",
            "opAuth": "0",
            "perm": member.perm,
            "posMode": "net_mode",
            "roleType": "0",
            "settleCcy": "USDT",
            "settleCcyList": ["USDT"],
            "spotBorrowAutoRepay": False,
            "spotOffsetType": "",
            "spotRoleType": "0",
            "spotTraderInsts": [],
            "stgyType": "0",
            "traderInsts": [],
            "type": "0" if member.uid == member.main_uid else "1",
            "uid": member.uid,
        }

    def instrument_rows(self, inst_type: str, *, demo: bool = True) -> list[Row]:
        """The rows of ``GET public/instruments``; codes differ between demo and live trading."""
        return [each.row(demo) for each in self.instruments.values() if each.inst_type == inst_type]

    def mark_price_rows(self, inst_type: str) -> list[Row]:
        return [quote.mark_row() for quote in self._quotes.values() if quote.instrument.inst_type == inst_type]

    def ticker_rows(self, inst_type: str) -> list[Row]:
        return [quote.ticker_row() for quote in self._quotes.values() if quote.instrument.inst_type == inst_type]

    def funding_rate_row(self, inst_id: str) -> Row:
        """The row of ``GET public/funding-rate``; only swaps have one."""
        return self._quotes[inst_id].funding_row(self._next_funding, self.funding_ms, self._time)

    # Small parts

    def _now(self) -> int:
        """Read the clock; time never goes back here."""
        self._time = max(self._time, self._clock())
        return self._time

    def _next_id(self) -> str:
        self._last_id += self._random.randrange(1, 4096)
        return str(self._last_id)

    def mark(self, inst_id: str) -> Decimal:
        """The present mark price."""
        return self._marks[inst_id]

    def account(self, uid: str) -> Account:
        """A member's state, to look at."""
        return self._accounts[uid]

    def _free(self, account: Account, ccy: str) -> Decimal:
        """What new orders and withdrawals can use: never more than the cash there is."""
        worth = rows.worths(account, self._marks, (ccy,))[ccy]
        return min(worth.avail, max(worth.cash - worth.reserved, ZERO))

    def _position(self, account: Account, order: Order) -> Position:
        key = order.instrument.inst_id, order.td_mode
        if key not in account.positions:
            account.positions[key] = Position(order.instrument, self._next_id(), order.lever, order.td_mode)
        return account.positions[key]

    def _instrument(self, uid: str, request: Mapping[str, Any]) -> Instrument:
        """Find a request's instrument by ``instId`` or by ``instIdCode`` of the member's environment."""
        found = self.instruments.get(str(request.get("instId", "")))
        if found is None and (code := request.get("instIdCode")) not in (None, ""):
            demo = self.members[uid].demo
            found = next((e for e in self.instruments.values() if str(e.inst_id_code(demo)) == str(code)), None)
        if found is None:
            raise Refusal("51001", "Instrument ID, Instrument ID code, or Spread ID doesn't exist.")
        return found

    def _find_order(self, account: Account, request: Mapping[str, Any], code: str, message: str) -> Order:
        ord_id, cl_ord_id = str(request.get("ordId") or ""), str(request.get("clOrdId") or "")
        if not ord_id and not cl_ord_id:
            raise Refusal("51003", "Either client order ID or order ID is required")
        instrument = self._instrument(account.uid, request)
        order = account.orders.get(ord_id) if ord_id else account.client_ids.get(cl_ord_id)
        if order is None or order.instrument is not instrument:
            raise Refusal(code, message)
        return order

    @staticmethod
    def _client_id(request: Mapping[str, Any], name: str) -> str:
        given = str(request.get(name) or "")
        if given and not (len(given) <= 32 and given.isascii() and given.isalnum()):
            raise Refusal("51000", f"Parameter {name} error")
        return given

    @staticmethod
    def _child_px(request: Mapping[str, Any], *names: str) -> str:
        """Read the price of a child order: a positive price, or ``-1`` for market."""
        given = next((str(request[name]) for name in names if request.get(name)), "")
        if given == "-1":
            return given
        px = number({names[0]: given}, names[0])
        assert px is not None
        return text(px)

    @staticmethod
    def _check_steps(instrument: Instrument, sz: Decimal, px: Decimal | None) -> None:
        if sz < instrument.min_sz:
            raise Refusal("51020", "Your order should meet or exceed the minimum order amount.")
        if sz % instrument.lot_sz:
            raise Refusal("51121", "Order quantity must be a multiple of the lot size.")
        if px is not None and px % instrument.tick_sz:
            raise Refusal("51006", "Order price is not within the price limit or not a multiple of the tick size")
