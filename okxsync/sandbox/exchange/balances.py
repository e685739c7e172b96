"""Balances as OKX's wire rows, valued at the mark prices.

The account mode decides which fields have values (OKX docs: trading-account-websocket-account-channel); the others are
``""``. In the pooled modes (multi-currency and portfolio margin) cash below zero is a liability.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from decimal import Decimal

from okxsync.sandbox.exchange.instruments import PLACES, text
from okxsync.sandbox.exchange.ledger import Account
from okxsync.sandbox.exchange.members import Member
from okxsync.sandbox.exchange.orders import ZERO
from okxsync.sandbox.exchange.positions import MarginPosition
from okxsync.sandbox.exchange.rows import Row

Prices = Mapping[str, Decimal]
BORROW_MARGIN = Decimal("0.2")
"""Initial margin of a liability in the pooled modes, as a fraction of its value."""


@dataclass(slots=True)
class Worth:
    """The value of one currency of an account, from cash, positions and reserves."""

    ccy: str
    cash: Decimal = ZERO
    reserved: Decimal = ZERO
    interest: Decimal = ZERO  # accrued on a liability
    upl: Decimal = ZERO  # of cross positions
    options: Decimal = ZERO
    imr: Decimal = ZERO
    mmr: Decimal = ZERO
    iso_margin: Decimal = ZERO
    iso_upl: Decimal = ZERO

    @property
    def iso_eq(self) -> Decimal:
        return self.iso_margin + self.iso_upl

    @property
    def liab(self) -> Decimal:
        return max(-self.cash, ZERO)

    @property
    def eq(self) -> Decimal:
        return self.cash - self.interest + self.upl + self.options + self.iso_eq

    @property
    def frozen(self) -> Decimal:
        return self.imr + self.reserved

    @property
    def avail(self) -> Decimal:
        """What new orders and withdrawals can use; never below zero."""
        return max(self.cash - self.interest + self.upl - self.frozen, ZERO)

    @property
    def counts(self) -> bool:
        """Whether OKX lists the currency as non-zero."""
        return bool(self.eq or self.avail or self.cash)


def worths(account: Account, marks: Prices, ccys: Collection[str] | None = None) -> dict[str, Worth]:
    """Value an account's currencies at the marks."""
    found: dict[str, Worth] = {}

    def of(ccy: str) -> Worth:
        return found.setdefault(ccy, Worth(ccy))

    for position in account.positions.values():
        if not position.pos:
            continue
        worth, mark = of(position.ccy), marks[position.instrument.inst_id]
        gain = position.worth(mark) if isinstance(position, MarginPosition) else position.upl(mark)
        if position.isolated:
            worth.iso_margin += position.margin
            worth.iso_upl += gain
            continue
        if position.instrument.is_option:
            worth.options += position.option_value(mark)
        else:
            worth.upl += gain
        worth.imr += position.initial_margin(mark)
        worth.mmr += position.maintenance(mark)
    for ccy, amount in account.reserved().items():
        of(ccy).reserved = amount
    for ccy, amount in account.interest.items():
        of(ccy).interest = amount
    for ccy, amount in account.cash.items():
        of(ccy).cash = amount
    return {ccy: of(ccy) for ccy in sorted(found if ccys is None else ccys)}


def pool_left(account: Account, marks: Prices, usd: Prices) -> Decimal:
    """What the margin pool of all currencies has left, in USD."""
    left = ZERO
    for ccy, worth in worths(account, marks).items():
        left += (worth.eq - worth.frozen - worth.iso_eq - worth.liab * BORROW_MARGIN) * usd[ccy]
    return max(left, ZERO)


def _detail(worth: Worth, usd: Decimal, u_time: int, acct_lv: str) -> Row:
    margin, shared, portfolio = acct_lv != "1", acct_lv in ("3", "4"), acct_lv == "4"
    borrows = acct_lv != "2"  # also Spot mode
    liab, interest = text(worth.liab), text(worth.interest)
    ratio = text(round(worth.eq / worth.mmr, 4)) if worth.mmr > 0 and acct_lv == "2" else ""
    return {
        "accAvgPx": "",
        "autoLendMtAmt": "0",
        "autoLendStatus": "off",
        "availBal": text(worth.avail),
        "availEq": text(worth.avail) if margin else "",
        "borrowFroz": text(worth.liab * BORROW_MARGIN) if borrows else "",
        "cashBal": text(worth.cash),
        "ccy": worth.ccy,
        "clSpotInUseAmt": "0" if portfolio else "",
        "coinUsdPrice": text(usd),
        "colBorrAutoConversion": "0",
        "colRes": "0",
        "collateralEnabled": False,
        "collateralRestrict": False,
        "crossLiab": liab if borrows else "",
        "disEq": text(round(worth.eq * usd, 12)),
        "eq": text(worth.eq),
        "eqUsd": text(round(worth.eq * usd, 12)),
        "fixedBal": "0",
        "frozenBal": text(worth.frozen),
        "imr": text(worth.imr) if margin else "",
        "interest": interest if borrows else "",
        "isoEq": text(worth.iso_eq) if margin else "",
        "isoLiab": "0" if shared else "",
        "isoUpl": text(worth.iso_upl) if margin else "",
        "liab": liab if borrows else "",
        "maxLoan": "1000000" if borrows else "",
        "maxSpotInUseAmt": "0" if portfolio else "",
        "mgnRatio": ratio,
        "mmr": text(worth.mmr) if margin else "",
        "notionalLever": "0" if margin else "",
        "openAvgPx": "",
        "ordFrozen": text(worth.reserved),
        "rewardBal": "0",
        "smtSyncEq": "0",
        "spotBal": "",
        "spotCopyTradingEq": "0",
        "spotInUseAmt": "0" if portfolio else "",
        "spotIsoBal": "0",
        "spotUpl": "",
        "spotUplRatio": "",
        "stgyEq": "0",
        "totalPnl": "",
        "totalPnlRatio": "",
        "twap": "0" if borrows else "",
        "uTime": str(u_time),
        "upl": text(worth.upl) if margin else "",
        "uplLiab": "0" if shared else "",
    }


def account_row(
    account: Account, member: Member, marks: Prices, usd: Prices, now: int, only: Collection[str] | None = None
) -> Row:
    """The account object; `only` limits its details to changed currencies, and includes zero ones."""
    acct_lv, pooled = member.acct_lv, member.pooled
    all_worths = worths(account, marks)
    eq = iso = imr = mmr = upl = held = borrowed = ZERO
    for ccy, worth in all_worths.items():
        eq += worth.eq * usd[ccy]
        iso += worth.iso_eq * usd[ccy]
        imr += (worth.frozen + worth.liab * BORROW_MARGIN) * usd[ccy]
        mmr += worth.mmr * usd[ccy]
        upl += worth.upl * usd[ccy]
        held += worth.reserved * usd[ccy]
        borrowed += worth.liab * usd[ccy]
    notional = _notionals(account, marks, usd) if pooled else {}

    def shown(value: Decimal) -> str:
        """What all modes but Futures mode have."""
        return text(round(value, PLACES)) if acct_lv != "2" else ""

    def of_pool(value: Decimal) -> str:
        return text(round(value, PLACES)) if pooled else ""

    shown_ccys = [ccy for ccy, worth in all_worths.items() if worth.counts] if only is None else sorted(only)
    return {
        "adjEq": shown(eq),
        "availEq": of_pool(max(eq - imr, ZERO)),
        "borrowFroz": shown(borrowed * BORROW_MARGIN),
        "delta": "",
        "deltaLever": "",
        "deltaNeutralStatus": "",
        "details": [
            _detail(all_worths[ccy], usd[ccy], account.change_time.get(ccy, now), acct_lv)
            for ccy in shown_ccys
            if ccy in all_worths
        ],
        "imr": shown(imr),
        "isoEq": text(round(iso, PLACES)) if acct_lv != "1" else "",
        "mgnRatio": shown(round(eq / mmr, 4)) if mmr > 0 else "",
        "mmr": shown(mmr),
        "notionalUsd": shown(sum(notional.values(), borrowed)),
        "notionalUsdForBorrow": shown(borrowed),
        "notionalUsdForFutures": of_pool(notional.get("FUTURES", ZERO)),
        "notionalUsdForOption": shown(notional.get("OPTION", ZERO)),
        "notionalUsdForSwap": of_pool(notional.get("SWAP", ZERO)),
        "ordFroz": shown(held),
        "totalEq": text(round(eq, PLACES)),
        "uTime": str(now),
        "upl": of_pool(upl),
    }


def _notionals(account: Account, marks: Prices, usd: Prices) -> dict[str, Decimal]:
    """What the open contracts are worth in USD, by instrument type."""
    found: dict[str, Decimal] = {}
    for position in account.positions.values():
        instrument = position.instrument
        if position.pos:
            coins = instrument.coins(abs(position.pos), marks[instrument.inst_id])
            found[instrument.inst_type] = found.get(instrument.inst_type, ZERO) + coins * usd[instrument.settle]
    return found


def balance_data(account: Account, ccy: str, now: int) -> Row:
    """A row of ``balData`` in channel ``balance_and_position``."""
    return {"ccy": ccy, "cashBal": text(account.cash[ccy]), "uTime": str(account.cash_time.get(ccy, now))}
