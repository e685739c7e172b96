"""What happens by the clock: funding of swaps, interest on debts, and the expiry of futures and options.

Funding of a cross position is paid from the balance; that of an isolated one changes only its margin, so its bill has
``balChg`` 0. Interest accrues on a debt for one period and is charged at the end of the next. At expiry, futures are
delivered at the index, and options are exercised or end without value: fills without an order, and no push of channel
``orders``. Options end without a push of channel ``positions`` too (OKX docs: positions channel).
"""

from decimal import Decimal

from okxsync.sandbox.exchange.instruments import PLACES, Instrument
from okxsync.sandbox.exchange.ledger import Account
from okxsync.sandbox.exchange.off_book import OffBook
from okxsync.sandbox.exchange.orders import ZERO
from okxsync.sandbox.exchange.positions import MarginPosition, Position
from okxsync.sandbox.exchange.state import Push, following

INTEREST = Decimal("0.00001")
"""Interest of a debt in one period."""


class Settlement(OffBook):
    """Periodic changes; `_settle_due` is called at each tick."""

    def _settle_due(self) -> None:
        now = self._time
        if now >= self._next_funding:
            self._settle_funding()
            self._next_funding = following(now, self.funding_ms)
            self._flush()
        if now >= self._next_interest:
            for account in self._accounts.values():
                self._charge_interest(account)
            self._next_interest = following(now, self.interest_ms)
            self._flush()
        if now >= self._next_expiry:
            self.expire()

    # Funding

    def _settle_funding(self) -> None:
        """Longs pay shorts (or the reverse) the rate on their value; one bill of type 8 a position."""
        for account in self._accounts.values():
            for position in account.positions.values():
                if position.pos and position.instrument.is_swap:
                    self._fund(account, position)
        for quote in self._quotes.values():
            if quote.instrument.is_swap:
                quote.funding_rate = Decimal(self._random.randrange(-20, 40)) / 100_000

    def _fund(self, account: Account, position: Position) -> None:
        now, instrument, mark = self._time, position.instrument, self._marks[position.instrument.inst_id]
        rate = self._quotes[instrument.inst_id].funding_rate
        paid = round(-instrument.value(position.pos, mark) * rate, PLACES)
        position.cycles[-1].funding += paid
        position.cycles[-1].u_time = position.u_time = max(now, position.u_time)
        to_margin = paid if position.isolated else ZERO
        position.margin += to_margin
        account.post(
            self._next_id(), now, instrument.settle, "8", "174" if paid > 0 else "173", paid - to_margin,
            pnl=paid, sz=abs(position.pos), px=mark, pos_bal=position.margin, pos_bal_chg=to_margin,
            instrument=instrument, mgn_mode=position.mgn_mode,
        )  # fmt: skip
        touched = self._touch(account.uid)
        touched.event = "funding_fee"
        if not position.isolated:
            touched.paid(instrument.settle)
        touched.positions[position.key] = position

    # Interest

    def _charge_interest(self, account: Account) -> None:
        """Charge what has accrued, and accrue the interest of the next period."""
        for position in account.positions.values():
            if isinstance(position, MarginPosition) and position.liab:
                self._charge_position(account, position)
        for ccy in sorted(account.cash):
            owed, debt = account.interest[ccy], max(-account.cash[ccy], ZERO)
            if owed:
                account.post(self._next_id(), self._time, ccy, "7", "9", -owed, interest=-owed, mgn_mode="cross")
            account.interest[ccy] = round(debt * INTEREST, PLACES)
            if owed or debt:
                touched = self._touch(account.uid)
                touched.event = "interest_deduction"
                touched.ccys.add(ccy)
                if owed:
                    touched.paid(ccy)

    def _charge_position(self, account: Account, position: MarginPosition) -> None:
        """Add the accrued interest to the debt of a margin position; no balance changes."""
        if owed := position.interest:
            position.liab += owed
            account.post(
                self._next_id(), self._time, position.liab_ccy, "7", "9", ZERO, interest=-owed,
                instrument=position.instrument, inst_type="MARGIN", mgn_mode=position.mgn_mode,
                pos_bal=position.margin,
            )  # fmt: skip
        position.interest = round(position.liab * INTEREST, PLACES)
        position.u_time = max(self._time, position.u_time)
        touched = self._touch(account.uid)
        touched.event = "interest_deduction"
        touched.positions[position.key] = position
        touched.ccys.add(position.ccy)

    # Expiry

    def expire(self) -> None:
        """Let the listed futures and options expire, and list the next ones."""
        self._now()
        for instrument in [each for each in self.listed if each.exp_time]:
            px = instrument.payoff(self._index(instrument.inst_id))
            for account in self._accounts.values():
                self._expire(account, instrument, px)
            self.expired.add(instrument.inst_id)
            self._flush()
            self._pushes.append(Push("", "instruments", [instrument.row(demo=True, state="expired")]))
        for listed in self._list_expiring():
            self._pushes.append(Push("", "instruments", [listed.row(demo=True)]))

    def _expire(self, account: Account, instrument: Instrument, px: Decimal) -> None:
        source = "10" if instrument.is_option else "7"
        for order in [each for each in account.pending.values() if each.instrument is instrument]:
            self._finish(order, "canceled", source)
        for algo in [each for each in account.waiting.values() if each.instrument is instrument]:
            self._end_algo(algo, "canceled")
        for position in list(account.positions.values()):
            if position.instrument is instrument and position.pos:
                self._close_off_book(account, position, px)
        self._flush()
