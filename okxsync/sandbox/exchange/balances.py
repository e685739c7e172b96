"""Balances and positions as OKX's wire rows, valued at the mark prices.

A position row is the same in a push and in REST, except for ``pTime``, which only pushes have. The account mode decides
which account fields have values (OKX docs: trading-account-websocket-account-channel); the others are ``""``.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from decimal import Decimal

from okxsync.sandbox.exchange.instruments import text
from okxsync.sandbox.exchange.ledger import Account, Cycle, Position
from okxsync.sandbox.exchange.orders import ZERO
from okxsync.sandbox.exchange.rows import Row

MAINTENANCE = Decimal("0.004")
"""Maintenance margin as a fraction of a position's value."""


@dataclass(frozen=True, slots=True)
class Worth:
    """The value of one currency of an account, from cash, positions and reserves."""

    ccy: str
    cash: Decimal
    upl: Decimal
    imr: Decimal
    mmr: Decimal
    reserved: Decimal
    isolated: Decimal  # equity of isolated positions

    @property
    def eq(self) -> Decimal:
        return self.cash + self.upl

    @property
    def frozen(self) -> Decimal:
        return self.imr + self.reserved

    @property
    def avail(self) -> Decimal:
        """What new orders and withdrawals can use; never below zero."""
        return max(self.eq - self.frozen, ZERO)

    @property
    def counts(self) -> bool:
        """Whether OKX lists the currency as non-zero."""
        return bool(self.eq or self.avail)


def worths(account: Account, marks: Mapping[str, Decimal], ccys: Collection[str] | None = None) -> dict[str, Worth]:
    """Value an account's currencies at the marks."""
    sums: dict[str, list[Decimal]] = {}
    for position in account.positions.values():
        if position.pos:
            mark = marks[position.instrument.inst_id]
            upl, margin = position.upl(mark), position.margin(mark)
            found = sums.setdefault(position.instrument.quote, [ZERO, ZERO, ZERO, ZERO])
            found[0] += upl
            found[1] += margin
            found[2] += position.instrument.value(abs(position.pos), mark) * MAINTENANCE
            if position.mgn_mode == "isolated":
                found[3] += margin + upl
    held = account.reserved()
    wanted = account.cash.keys() | held.keys() | sums.keys() if ccys is None else ccys
    found_worths = {}
    for ccy in sorted(wanted):
        upl, imr, mmr, isolated = sums.get(ccy, (ZERO, ZERO, ZERO, ZERO))
        cash, reserved = account.cash.get(ccy, ZERO), held.get(ccy, ZERO)
        found_worths[ccy] = Worth(ccy, cash, upl, imr, mmr, reserved, isolated)
    return found_worths


def _detail(worth: Worth, usd: Decimal, u_time: int, acct_lv: str) -> Row:
    margin = acct_lv != "1"
    shared = acct_lv in ("3", "4")
    ratio = text(round(worth.eq / worth.mmr, 4)) if worth.mmr > 0 and acct_lv == "2" else ""
    return {
        "accAvgPx": "",
        "autoLendMtAmt": "0",
        "autoLendStatus": "off",
        "availBal": text(worth.avail),
        "availEq": text(worth.avail) if margin else "",
        "borrowFroz": "0" if shared else "",
        "cashBal": text(worth.cash),
        "ccy": worth.ccy,
        "clSpotInUseAmt": "",
        "coinUsdPrice": text(usd),
        "colBorrAutoConversion": "0",
        "colRes": "0",
        "collateralEnabled": False,
        "collateralRestrict": False,
        "crossLiab": "0" if shared else "",
        "disEq": text(round(worth.eq * usd, 12)),
        "eq": text(worth.eq),
        "eqUsd": text(round(worth.eq * usd, 12)),
        "fixedBal": "0",
        "frozenBal": text(worth.frozen),
        "imr": text(worth.imr) if margin else "",
        "interest": "0" if shared else "",
        "isoEq": text(worth.isolated) if margin else "",
        "isoLiab": "0" if shared else "",
        "isoUpl": "0" if margin else "",
        "liab": "0" if shared else "",
        "maxLoan": "0" if shared else "",
        "maxSpotInUseAmt": "",
        "mgnRatio": ratio,
        "mmr": text(worth.mmr) if margin else "",
        "notionalLever": "0" if margin else "",
        "openAvgPx": "",
        "ordFrozen": text(worth.reserved),
        "rewardBal": "0",
        "smtSyncEq": "0",
        "spotBal": "",
        "spotCopyTradingEq": "0",
        "spotInUseAmt": "",
        "spotIsoBal": "0",
        "spotUpl": "",
        "spotUplRatio": "",
        "stgyEq": "0",
        "totalPnl": "",
        "totalPnlRatio": "",
        "twap": "0" if shared else "",
        "uTime": str(u_time),
        "upl": text(worth.upl) if margin else "",
        "uplLiab": "0" if shared else "",
    }


def account_row(
    account: Account,
    acct_lv: str,
    marks: Mapping[str, Decimal],
    usd: Mapping[str, Decimal],
    now: int,
    only: Collection[str] | None = None,
) -> Row:
    """The account object; `only` limits its details to changed currencies, and includes zero ones."""
    all_worths = worths(account, marks)
    total = {"eq": ZERO, "iso": ZERO, "imr": ZERO, "mmr": ZERO, "upl": ZERO, "held": ZERO}
    for ccy, worth in all_worths.items():
        total["eq"] += worth.eq * usd[ccy]
        total["iso"] += worth.isolated * usd[ccy]
        total["imr"] += worth.frozen * usd[ccy]
        total["mmr"] += worth.mmr * usd[ccy]
        total["upl"] += worth.upl * usd[ccy]
        total["held"] += worth.reserved * usd[ccy]
    sums = {name: text(round(value, 12)) for name, value in total.items()}
    shared = acct_lv in ("3", "4")
    notional = ZERO
    if shared:
        for position in account.positions.values():
            notional += position.instrument.value(abs(position.pos), marks[position.instrument.inst_id])
    shown_ccys = [ccy for ccy, worth in all_worths.items() if worth.counts] if only is None else sorted(only)
    return {
        "adjEq": sums["eq"] if shared else "",
        "availEq": text(round(max(total["eq"] - total["imr"], ZERO), 12)) if shared else "",
        "borrowFroz": "0" if shared else "",
        "delta": "",
        "deltaLever": "",
        "deltaNeutralStatus": "",
        "details": [
            _detail(all_worths[ccy], usd[ccy], account.change_time.get(ccy, now), acct_lv)
            for ccy in shown_ccys
            if ccy in all_worths
        ],
        "imr": sums["imr"] if shared else "",
        "isoEq": sums["iso"] if acct_lv != "1" else "",
        "mgnRatio": text(round(total["eq"] / total["mmr"], 4)) if shared and total["mmr"] > 0 else "",
        "mmr": sums["mmr"] if shared else "",
        "notionalUsd": text(notional) if shared else "",
        "notionalUsdForBorrow": "0" if shared else "",
        "notionalUsdForFutures": "0" if shared else "",
        "notionalUsdForOption": "0" if shared else "",
        "notionalUsdForSwap": text(notional) if shared else "",
        "ordFroz": sums["held"] if shared else "",
        "totalEq": sums["eq"],
        "uTime": str(now),
        "upl": sums["upl"] if shared else "",
    }


def position_row(position: Position, mark: Decimal, last: str) -> Row:
    """A position as REST lists it; a closed one keeps its ids, and its prices are empty."""
    instrument, pos = position.instrument, position.pos
    cycle = position.cycles[-1]
    value = instrument.value(abs(pos), mark)
    margin = position.margin(mark)
    upl, upl_last = position.upl(mark), position.upl(Decimal(last))
    lever = Decimal(position.lever)
    isolated = position.mgn_mode == "isolated"

    def when_open(number: Decimal) -> str:
        return text(round(number, 12)) if pos else ""

    away = (1 / lever - MAINTENANCE).copy_sign(-pos) if pos else ZERO
    break_even = position.avg_px - cycle.realized / (pos * instrument.ct_val) if pos else ZERO
    return {
        "adl": "1" if pos else "0",
        "availPos": "",
        "avgPx": when_open(position.avg_px),
        "baseBal": "",
        "baseBorrowed": "",
        "baseInterest": "",
        "bePx": when_open(break_even),
        "bizRefId": "",
        "bizRefType": "",
        "cTime": str(position.c_time),
        "ccy": instrument.quote,
        "clSpotInUseAmt": "",
        "closeOrderAlgo": [],
        "deltaBS": "",
        "deltaPA": "",
        "fee": text(cycle.fee),
        "fundingFee": text(cycle.funding),
        "gammaBS": "",
        "gammaPA": "",
        "hedgedPos": "",
        "idxPx": text(mark),
        "imr": when_open(margin) if not isolated else "",
        "instId": instrument.inst_id,
        "instType": instrument.inst_type,
        "interest": "",
        "last": last,
        "lever": position.lever,
        "liab": "",
        "liabCcy": "",
        "liqPenalty": "0",
        "liqPx": when_open(position.avg_px * (1 + away)),
        "margin": when_open(margin) if isolated else "",
        "markPx": text(mark),
        "maxSpotInUseAmt": "",
        "mgnMode": position.mgn_mode,
        "mgnRatio": when_open((margin + upl) / (value * MAINTENANCE)) if value else "",
        "mmr": when_open(value * MAINTENANCE),
        "nonSettleAvgPx": "",
        "notionalUsd": when_open(value),
        "optVal": "",
        "pendingCloseOrdLiabVal": "",
        "pnl": text(cycle.pnl),
        "pos": text(pos),
        "posCcy": "",
        "posId": position.pos_id,
        "posSide": "net",
        "quoteBal": "",
        "quoteBorrowed": "",
        "quoteInterest": "",
        "realizedPnl": text(cycle.realized),
        "settledPnl": "",
        "spotInUseAmt": "",
        "spotInUseCcy": "",
        "thetaBS": "",
        "thetaPA": "",
        "tradeId": position.trade_id,
        "uTime": str(position.u_time),
        "upl": when_open(upl),
        "uplLastPx": when_open(upl_last),
        "uplRatio": when_open(upl / margin) if margin else "",
        "uplRatioLastPx": when_open(upl_last / margin) if margin else "",
        "usdPx": "1",
        "vegaBS": "",
        "vegaPA": "",
    }


def cycle_row(position: Position, cycle: Cycle) -> Row:
    """A row of ``GET account/positions-history``; it exists from the first partial close on."""
    instrument = position.instrument
    cost = instrument.value(cycle.closed, cycle.open_avg_px) / Decimal(position.lever)
    return {
        "cTime": str(cycle.c_time),
        "ccy": instrument.quote,
        "closeAvgPx": text(round(cycle.close_value / cycle.closed, 12)),
        "closeTotalPos": text(cycle.closed),
        "direction": cycle.direction,
        "fee": text(cycle.fee),
        "fundingFee": text(cycle.funding),
        "instId": instrument.inst_id,
        "instType": instrument.inst_type,
        "lever": position.lever,
        "liqPenalty": "0",
        "mgnMode": position.mgn_mode,
        "nonSettleAvgPx": "",
        "openAvgPx": text(cycle.open_avg_px),
        "openMaxPos": text(cycle.open_max),
        "pnl": text(cycle.pnl),
        "pnlRatio": text(round(cycle.realized / cost, 12)),
        "posId": position.pos_id,
        "posSide": "net",
        "realizedPnl": text(cycle.realized),
        "settledPnl": "",
        "triggerPx": "",
        "type": cycle.ended_by if cycle.done else "1",
        "uTime": str(cycle.u_time),
        "uly": instrument.uly,
    }


def balance_data(account: Account, ccy: str, now: int) -> Row:
    """A row of ``balData`` in channel ``balance_and_position``."""
    return {"ccy": ccy, "cashBal": text(account.cash[ccy]), "uTime": str(account.cash_time.get(ccy, now))}


def position_data(position: Position) -> Row:
    """A row of ``posData`` in channel ``balance_and_position``."""
    return {
        "avgPx": text(position.avg_px) if position.pos else "",
        "ccy": position.instrument.quote,
        "instId": position.instrument.inst_id,
        "instType": position.instrument.inst_type,
        "mgnMode": position.mgn_mode,
        "nonSettleAvgPx": "",
        "pos": text(position.pos),
        "posCcy": "",
        "posId": position.pos_id,
        "posSide": "net",
        "settledPnl": "",
        "tradeId": position.trade_id,
        "uTime": str(position.u_time),
    }
