"""Positions: what fills make of them, and what one open-to-close period adds up to.

A position keeps its ``posId`` over closes; each open-to-close period is a `Cycle`, one row of positions-history.
Averages and pnl are rounded once, where they arise. A fill through zero closes a cycle and opens the next one.

- `Position` is of contracts: net, or one side of long/short mode. `pos` is signed in both.
- `MarginPosition` is of a spot pair on borrowed money: `pos` is the amount held of ``posCcy``, `liab` is owed in the
  other currency. Buying adds to a long position's assets, net of the fee, and to its debt; the proceeds of a
  sale pay the debt first. A short position holds the proceeds of its sales and owes what it sold.

The margin of an isolated position is taken from the balance when it opens and grows, and returns when it shrinks.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from decimal import Decimal

from okxsync.sandbox.exchange.instruments import PLACES, Instrument
from okxsync.sandbox.exchange.orders import ZERO

MAINTENANCE = Decimal("0.004")
"""Maintenance margin as a fraction of a position's value."""
OPTION_MARGIN = Decimal("0.1")
"""Initial margin of a sold option, as a fraction of the underlying coins."""


@dataclass(slots=True, eq=False)
class Cycle:
    """One life of a position from opening to full close, with its totals."""

    direction: str
    c_time: int
    u_time: int
    open_avg_px: Decimal = ZERO
    open_max: Decimal = ZERO
    closed: Decimal = ZERO
    close_value: Decimal = ZERO  # sum of px x size closed
    pnl: Decimal = ZERO
    fee: Decimal = ZERO
    funding: Decimal = ZERO
    done: bool = False
    ended_by: str = "2"  # type of its row once done: 2 closed, 3 liquidated, 5 auto-deleveraged

    @property
    def realized(self) -> Decimal:
        return self.pnl + self.fee + self.funding


@dataclass(frozen=True, slots=True)
class Change:
    """What a fill does besides changing the position: realized pnl, added margin, and the cash of other currencies."""

    pnl: Decimal = ZERO
    margin: Decimal = ZERO
    cash: dict[str, Decimal] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Position:
    """A position of contracts; the sign of `pos` is the direction, zero is closed. `margin` is 0 unless isolated."""

    instrument: Instrument
    pos_id: str
    lever: str
    mgn_mode: str = "cross"
    pos_side: str = "net"
    pos: Decimal = ZERO
    avg_px: Decimal = ZERO
    margin: Decimal = ZERO
    trade_id: str = ""
    c_time: int = 0
    u_time: int = 0
    cycles: list[Cycle] = field(default_factory=list)

    @property
    def key(self) -> tuple[str, str, str]:
        return self.instrument.inst_id, self.mgn_mode, self.pos_side

    @property
    def isolated(self) -> bool:
        return self.mgn_mode == "isolated"

    @property
    def inst_type(self) -> str:
        return self.instrument.inst_type

    @property
    def ccy(self) -> str:
        """The margin currency."""
        return self.instrument.settle

    @property
    def shown_pos(self) -> Decimal:
        """``pos`` as OKX shows it: signed in net mode, else positive."""
        return self.pos if self.pos_side == "net" else abs(self.pos)

    @property
    def direction(self) -> int:
        """1 long, -1 short, 0 closed."""
        return (self.pos > 0) - (self.pos < 0)

    def closable(self) -> Decimal:
        """The size of the order that closes it."""
        return abs(self.pos)

    def apply(self, change: Decimal, px: Decimal, fee: Decimal, now: int) -> Change:
        """Add a signed fill; the fee of a flip belongs to the two cycles in proportion."""
        closing = min(abs(change), abs(self.pos)).copy_sign(change) if self.pos * change < 0 else ZERO
        opening = change - closing
        pnl = ZERO
        margin_before = self.margin
        self.u_time = now
        if closing:
            cycle = self.cycles[-1]
            pnl = round(self.instrument.pnl(-closing, self.avg_px, px), PLACES)
            closing_fee = round(fee * closing / change, PLACES)
            fee -= closing_fee
            self.margin -= round(self.margin * closing / -self.pos, PLACES)
            self.pos += closing
            cycle.closed += abs(closing)
            cycle.close_value += abs(closing) * px
            cycle.pnl += pnl
            cycle.fee += closing_fee
            cycle.u_time = now
            cycle.done = not self.pos
        if opening:
            if not self.pos:
                self.avg_px, self.c_time = ZERO, now
                self.cycles.append(Cycle("long" if opening > 0 else "short", now, now))
            self.avg_px = self.instrument.average(self.pos, self.avg_px, opening, px)
            self.pos += opening
            if self.isolated:
                self.margin += round(self.instrument.value(abs(opening), px) / Decimal(self.lever), PLACES)
            cycle = self.cycles[-1]
            cycle.open_avg_px, cycle.open_max = self.avg_px, max(cycle.open_max, abs(self.pos))
            cycle.fee += fee
            cycle.u_time = now
        return Change(pnl, self.margin - margin_before)

    def upl(self, mark: Decimal) -> Decimal:
        """Unrealized pnl at a price, in the settlement currency."""
        return self.instrument.pnl(self.pos, self.avg_px, mark) if self.pos else ZERO

    def option_value(self, mark: Decimal) -> Decimal:
        """What an option position is worth; the premium was paid when it was opened."""
        return self.instrument.value(self.pos, mark) if self.instrument.is_option else ZERO

    def initial_margin(self, mark: Decimal) -> Decimal:
        """Initial margin at a price, in the settlement currency; a bought option needs none."""
        if self.instrument.is_option:
            return max(-self.pos, ZERO) * self.instrument.ct_val * OPTION_MARGIN
        return self.instrument.value(abs(self.pos), mark) / Decimal(self.lever)

    def maintenance(self, mark: Decimal) -> Decimal:
        if self.instrument.is_option:
            return max(-self.pos, ZERO) * self.instrument.ct_val * MAINTENANCE
        return self.instrument.value(abs(self.pos), mark) * MAINTENANCE


@dataclass(slots=True, eq=False)
class MarginPosition(Position):
    """A position of a spot pair; `long` is the direction of the current cycle."""

    long: bool = True
    liab: Decimal = ZERO
    interest: Decimal = ZERO  # accrued, not yet added to the debt

    @property
    def inst_type(self) -> str:
        return "MARGIN"

    @property
    def shown_pos(self) -> Decimal:
        return self.pos

    @property
    def direction(self) -> int:
        return (1 if self.long else -1) if self.pos else 0

    @property
    def pos_ccy(self) -> str:
        return self.instrument.base if self.long else self.instrument.quote

    @property
    def liab_ccy(self) -> str:
        return self.instrument.quote if self.long else self.instrument.base

    def closable(self) -> Decimal:
        """The size of the order that closes it; a buyer pays the fee from what is bought."""
        if self.long:
            return self.instrument.to_lot(self.pos)
        needed = (self.liab + self.interest) / (1 - self.instrument.taker_rate)
        return self.instrument.to_lot(needed) + self.instrument.lot_sz

    def apply(self, change: Decimal, px: Decimal, fee: Decimal, now: int) -> Change:
        """Add a signed fill; `fee` is in the base currency of a purchase and in the quote currency of a sale."""
        opposed = bool(self.pos) and (change > 0) != self.long
        closing = min(abs(change), self.closable()) if opposed else ZERO
        opening = abs(change) - closing
        closing_fee = round(fee * closing / abs(change), PLACES)
        cash: defaultdict[str, Decimal] = defaultdict(Decimal)
        margin_before, pnl = self.margin, ZERO
        self.u_time = now
        if closing:
            pnl = self._close(closing, px, closing_fee, cash, now)
        if opening:
            self._open(change > 0, opening, px, fee - closing_fee, cash, now)
        return Change(pnl, self.margin - margin_before, dict(cash))

    def _open(
        self, buys: bool, sz: Decimal, px: Decimal, fee: Decimal, cash: defaultdict[str, Decimal], now: int
    ) -> None:
        if not self.pos:
            self.long, self.liab, self.avg_px, self.c_time = buys, ZERO, ZERO, now
            self.cycles.append(Cycle("long" if buys else "short", now, now))
        cycle = self.cycles[-1]
        opened = self.pos if buys else self.liab
        self.avg_px = round((opened * self.avg_px + sz * px) / (opened + sz), PLACES)
        if buys:
            self.pos += sz + fee
            self.liab += sz * px
        else:
            self.pos += sz * px
            self.liab += sz
            cash[self.instrument.quote] += fee
        if self.isolated:
            self.margin += round(sz * px / Decimal(self.lever), PLACES)
        cycle.open_avg_px, cycle.open_max = self.avg_px, max(cycle.open_max, self.pos)
        cycle.fee += fee if not buys else round(fee * px, PLACES)
        cycle.u_time = now

    def _close(self, sz: Decimal, px: Decimal, fee: Decimal, cash: defaultdict[str, Decimal], now: int) -> Decimal:
        base, quote, cycle = self.instrument.base, self.instrument.quote, self.cycles[-1]
        share = min(sz / self.closable(), Decimal(1))  # of the position that is closed
        self.liab += self.interest
        self.interest = ZERO
        if self.long:
            proceeds = sz * px + fee
            repaid = min(proceeds, self.liab)
            self.pos -= sz
            cash[quote] += proceeds - repaid
            pnl = (px - self.avg_px) * sz
        else:
            repaid = min(sz + fee, self.liab)
            cash[base] += sz + fee - repaid
            paid = min(sz * px, self.pos)
            self.pos -= paid
            cash[quote] -= sz * px - paid
            pnl = (self.avg_px - px) * sz
        self.liab -= repaid
        done = share == 1 or not (self.long or self.liab)
        self.margin -= self.margin if done else round(self.margin * share, PLACES)
        if done:
            cash[self.pos_ccy] += self.pos
            cash[self.liab_ccy] -= self.liab
            self.pos = self.liab = ZERO
        cycle.closed += sz
        cycle.close_value += sz * px
        cycle.pnl += round(pnl, PLACES)
        cycle.fee += fee if self.long else round(fee * px, PLACES)
        cycle.u_time = now
        cycle.done = done
        return round(pnl, PLACES)

    def worth(self, mark: Decimal) -> Decimal:
        """Assets minus debt, in the quote currency."""
        debt = self.liab + self.interest
        return self.pos * mark - debt if self.long else self.pos - debt * mark

    def upl(self, mark: Decimal) -> Decimal:
        if not self.pos:
            return ZERO
        return (mark - self.avg_px) * self.pos if self.long else (self.avg_px - mark) * self.liab

    def initial_margin(self, mark: Decimal) -> Decimal:
        return self.exposure(mark) / Decimal(self.lever)

    def maintenance(self, mark: Decimal) -> Decimal:
        return self.exposure(mark) * MAINTENANCE

    def exposure(self, mark: Decimal) -> Decimal:
        """What the position's base currency is worth."""
        return (self.pos if self.long else self.liab) * mark
