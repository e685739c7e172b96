"""The exchange's state as OKX's wire rows: camelCase names, all numbers text, ``""`` where a field does not apply.

An order row exists in two readings (OKX docs: order-book-trading-trade-ws-order-channel): a push carries *this* fill
and nothing of earlier ones, REST the *last* fill; totals are the same in both. A position row is the same in both but
for ``pTime``, which only pushes have.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from okxsync.sandbox.instruments import text
from okxsync.sandbox.ledger import Account, AssetBill, Bill, Cycle, Position
from okxsync.sandbox.orders import ZERO, Algo, Fill, Movement, Order

Row = dict[str, Any]
MAINTENANCE = Decimal("0.004")
"""Maintenance margin as a fraction of a position's value."""


def shown(value: Decimal | None) -> str:
    """A number, or nothing."""
    return "" if value is None else text(value)


def _flag(value: bool) -> str:
    return "true" if value else "false"


# Orders


def _order(order: Order) -> Row:
    """The fields that push and REST share and agree on."""
    instrument = order.instrument
    return {
        "accFillSz": text(order.acc_fill_sz),
        "algoClOrdId": order.algo_cl_ord_id,
        "algoId": order.algo_id,
        "attachAlgoClOrdId": "",
        "attachAlgoOrds": [],
        "cTime": str(order.c_time),
        "cancelSource": order.cancel_source,
        "category": order.category,
        "ccy": order.ccy,
        "clOrdId": order.cl_ord_id,
        "fee": text(order.fee),
        "feeCcy": order.fee_ccy,
        "instId": instrument.inst_id,
        "instType": instrument.inst_type,
        "isTpLimit": "false",
        "lever": order.lever,
        "linkedAlgoOrd": {"algoId": ""},
        "notionalUsd": text(
            instrument.value(order.sz, order.px) if order.px else instrument.value(Decimal(1), order.value)
        ),
        "ordId": order.ord_id,
        "ordType": order.ord_type,
        "outcome": "",
        "pnl": text(order.pnl),
        "posSide": order.pos_side,
        "px": shown(order.px),
        "pxType": "",
        "pxUsd": "",
        "pxVol": "",
        "quickMgnType": "",
        "rebate": "0",
        "rebateCcy": instrument.quote if order.buys or instrument.is_swap else instrument.base,
        "reduceOnly": _flag(order.reduce_only),
        "side": order.side,
        "slOrdPx": "",
        "slTriggerPx": "",
        "slTriggerPxType": "",
        "source": order.source,
        "state": order.state,
        "stpId": "",
        "stpMode": "cancel_maker",
        "sz": text(order.sz),
        "tag": order.tag,
        "tdMode": order.td_mode,
        "tgtCcy": order.tgt_ccy,
        "tpOrdPx": "",
        "tpTriggerPx": "",
        "tpTriggerPxType": "",
        "tradeQuoteCcy": "" if instrument.is_swap else instrument.quote,
        "uTime": str(order.u_time),
    }


def order_row(order: Order) -> Row:
    """An order as REST lists it, with its last fill."""
    fill = order.last_fill
    return _order(order) | {
        "avgPx": order.avg_px,
        "cancelSourceReason": "Order canceled by user" if order.cancel_source == "1" else "",
        "fillPx": text(fill.px) if fill else "",
        "fillSz": text(fill.sz) if fill else "0",
        "fillTime": str(fill.time) if fill else "",
        "tradeId": fill.trade_id if fill else "",
    }


def order_push(order: Order, last: str, fill: Fill | None) -> Row:
    """An order as channel ``orders`` pushes it, with the fill that this message tells of, if any."""
    instrument = order.instrument
    return _order(order) | {
        "amendResult": order.amend_result,
        "amendSource": order.amend_source,
        "avgPx": order.avg_px or "0",
        "code": "0",
        "execType": fill.exec_type if fill else "",
        "fillFee": text(fill.fee) if fill else "0",
        "fillFeeCcy": fill.fee_ccy if fill else "",
        "fillFwdPx": "",
        "fillIdxPx": text(fill.mark) if fill else "",
        "fillMarkPx": text(fill.mark) if fill and instrument.is_swap else "",
        "fillMarkVol": "",
        "fillNotionalUsd": text(instrument.value(fill.sz, fill.px)) if fill else "",
        "fillPnl": text(fill.pnl) if fill else "0",
        "fillPx": text(fill.px) if fill else "",
        "fillPxUsd": "",
        "fillPxVol": "",
        "fillSz": text(fill.sz) if fill else "0",
        "fillTime": str(fill.time) if fill else "",
        "lastPx": last,
        "msg": "",
        "reqId": order.req_id,
        "tradeId": fill.trade_id if fill else "",
    }


def fill_row(order: Order, fill: Fill) -> Row:
    """A row of ``GET trade/fills``."""
    instrument = order.instrument
    return {
        "billId": fill.bill_id,
        "clOrdId": order.cl_ord_id,
        "execType": fill.exec_type,
        "fee": text(fill.fee),
        "feeCcy": fill.fee_ccy,
        "feeRate": "" if instrument.is_swap else text(-_rate(order, fill)),
        "fillFwdPx": "",
        "fillIdxPx": text(fill.mark),
        "fillMarkPx": text(fill.mark) if instrument.is_swap else "",
        "fillMarkVol": "",
        "fillPnl": text(fill.pnl),
        "fillPx": text(fill.px),
        "fillPxUsd": "",
        "fillPxVol": "",
        "fillSz": text(fill.sz),
        "fillTime": str(fill.time),
        "instId": instrument.inst_id,
        "instType": instrument.inst_type,
        "ordId": order.ord_id,
        "posSide": order.pos_side or "net",
        "side": order.side,
        "subType": trade_sub_type(order),
        "tag": order.tag,
        "tradeId": fill.trade_id,
        "tradeQuoteCcy": "" if instrument.is_swap else instrument.quote,
        "ts": str(fill.time),
    }


def _rate(order: Order, fill: Fill) -> Decimal:
    return order.instrument.maker_rate if fill.exec_type == "M" else order.instrument.taker_rate


def trade_sub_type(order: Order) -> str:
    """Bill and fill sub types of a trade in net mode: 1 buy, 2 sell."""
    return "1" if order.buys else "2"


def algo_row(algo: Algo, last: str) -> Row:
    """An algo order, alike in channel ``orders-algo`` and in REST."""
    instrument = algo.instrument
    triggers = algo.trigger_px is not None
    takes, stops = algo.tp_trigger_px is not None, algo.sl_trigger_px is not None
    return {
        "actualPx": algo.actual_px,
        "actualSide": algo.actual_side,
        "actualSz": text(algo.actual_sz),
        "advanceOrdType": "",
        "algoClOrdId": algo.algo_cl_ord_id,
        "algoId": algo.algo_id,
        "amendPxOnTriggerType": "0",
        "amendResult": "",
        "attachAlgoOrds": [],
        "cTime": str(algo.c_time),
        "ccy": algo.ccy,
        "clOrdId": "",
        "closeFraction": algo.close_fraction,
        "failCode": algo.fail_code,
        "instId": instrument.inst_id,
        "instType": instrument.inst_type,
        "isTradeBorrowMode": "",
        "last": last,
        "lever": algo.lever,
        "linkedOrd": {"ordId": ""},
        "notionalUsd": text(instrument.value(algo.sz, Decimal(last))),
        "ordId": algo.ord_ids[-1] if algo.ord_ids else "",
        "ordIdList": list(algo.ord_ids),
        "ordPx": algo.ord_px,
        "ordType": algo.ord_type,
        "posSide": algo.pos_side,
        "reduceOnly": _flag(algo.reduce_only),
        "reqId": "",
        "side": algo.side,
        "slOrdPx": algo.sl_ord_px,
        "slTriggerPx": shown(algo.sl_trigger_px),
        "slTriggerPxType": algo.px_type if stops else "",
        "state": algo.state,
        "subAlgoIdList": [],
        "sz": text(algo.sz),
        "tag": algo.tag,
        "tdMode": algo.td_mode,
        "tgtCcy": "",
        "tpOrdPx": algo.tp_ord_px,
        "tpTriggerPx": shown(algo.tp_trigger_px),
        "tpTriggerPxType": algo.px_type if takes else "",
        "tradeQuoteCcy": "" if instrument.is_swap else instrument.quote,
        "triggerPx": shown(algo.trigger_px),
        "triggerPxType": algo.px_type if triggers else "",
        "triggerTime": algo.trigger_time,
        "uTime": str(algo.u_time),
    }


# Balances and positions


@dataclass(frozen=True, slots=True)
class Worth:
    """What one currency of an account comes to, from cash, positions and reserves."""

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
        """What can be used for new orders or moved out; never below zero."""
        return max(self.eq - self.frozen, ZERO)

    @property
    def counts(self) -> bool:
        """Whether OKX calls the currency non-zero."""
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
    """The account object; `only` limits its details to changed currencies, of which zero ones are shown too."""
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
    """A position as REST lists it; a closed one keeps its identity and empties its prices."""
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
        "type": "2" if cycle.done else "1",
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


# Money


def bill_row(bill: Bill) -> Row:
    """A row of ``GET account/bills``."""
    instrument, order, fill = bill.instrument, bill.order, bill.fill
    swap = instrument is not None and instrument.is_swap
    return {
        "bal": text(bill.bal),
        "balChg": text(bill.bal_chg),
        "billId": bill.bill_id,
        "ccy": bill.ccy,
        "clOrdId": order.cl_ord_id if order else "",
        "earnAmt": "",
        "earnApr": "",
        "execType": fill.exec_type if fill else "",
        "fee": text(bill.fee),
        "fillFwdPx": "",
        "fillIdxPx": text(fill.mark) if fill else "",
        "fillMarkPx": text(fill.mark) if fill and swap else "",
        "fillMarkVol": "",
        "fillPxUsd": "",
        "fillPxVol": "",
        "fillTime": str(fill.time) if fill else "",
        "from": bill.sent_from,
        "instId": instrument.inst_id if instrument else "",
        "instType": instrument.inst_type if instrument else "",
        "interest": "0",
        "mgnMode": order.td_mode if order else bill.mgn_mode,
        "notes": "",
        "ordId": order.ord_id if order else "",
        "pnl": text(bill.pnl),
        "posBal": text(bill.pos_bal) if bill.pos_bal is not None else "0",
        "posBalChg": text(bill.pos_bal_chg) if bill.pos_bal_chg is not None else "0",
        "px": shown(bill.px),
        "subType": bill.sub_type,
        "sz": text(bill.sz) if bill.sz is not None else "0",
        "tag": order.tag if order else "",
        "to": bill.sent_to,
        "tradeId": fill.trade_id if fill else "",
        "ts": str(bill.ts),
        "type": bill.type,
    }


def asset_bill_row(bill: AssetBill) -> Row:
    """A row of ``GET asset/bills``."""
    return {
        "bal": text(bill.bal),
        "balChg": text(bill.bal_chg),
        "billId": bill.bill_id,
        "ccy": bill.ccy,
        "clientId": "",
        "notes": "",
        "ts": str(bill.ts),
        "type": bill.type,
    }


def deposit_row(deposit: Movement) -> Row:
    """A deposit as REST lists it; the push adds ``uid``, ``subAcct`` and ``pTime`` (`pushed`)."""
    return {
        "actualDepBlkConfirm": {"0": "0", "1": "1"}.get(deposit.state, "12"),
        "amt": text(deposit.amt),
        "areaCodeFrom": "",
        "ccy": deposit.ccy,
        "chain": f"{deposit.ccy}-Sandbox",
        "depId": deposit.movement_id,
        "from": "",
        "fromWdId": "",
        "state": deposit.state,
        "to": f"sandbox-{deposit.uid}",
        "ts": str(deposit.ts),
        "txId": f"{int(deposit.movement_id):064x}",
    }


def withdrawal_row(withdrawal: Movement) -> Row:
    """A withdrawal as REST lists it; the push adds ``uid``, ``subAcct`` and ``pTime`` (`pushed`)."""
    return {
        "addrEx": None,
        "amt": text(withdrawal.amt),
        "areaCodeFrom": "",
        "areaCodeTo": "",
        "ccy": withdrawal.ccy,
        "chain": f"{withdrawal.ccy}-Sandbox",
        "clientId": "",
        "fee": text(withdrawal.fee),
        "feeCcy": withdrawal.ccy,
        "from": "",
        "memo": "",
        "nonTradableAsset": False,
        "note": "",
        "pmtId": "",
        "state": withdrawal.state,
        "tag": "",
        "to": "sandbox-outside",
        "toAddrType": "1",
        "ts": str(withdrawal.ts),
        "txId": f"{int(withdrawal.movement_id):064x}" if withdrawal.state == "2" else "",
        "wdId": withdrawal.movement_id,
    }


def pushed(row: Row, uid: str, sub_acct: str, p_time: int) -> Row:
    """A deposit's or withdrawal's row as its channel sends it."""
    return row | {"uid": uid, "subAcct": sub_acct, "pTime": str(p_time)}
