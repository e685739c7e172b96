"""The exchange's state as OKX's wire rows: camelCase names, all numbers text, ``""`` where a field does not apply.

An order row has two forms (OKX docs: order-book-trading-trade-ws-order-channel): a push reports only *this* fill, REST
the *last* fill. Totals are the same in both.
"""

from decimal import Decimal
from typing import Any

from okxsync.sandbox.exchange.instruments import text
from okxsync.sandbox.exchange.ledger import AssetBill, Bill
from okxsync.sandbox.exchange.orders import Algo, Fill, Movement, Order

Row = dict[str, Any]


def shown(value: Decimal | None) -> str:
    """A number, or ""."""
    return "" if value is None else text(value)


def _flag(value: bool) -> str:
    return "true" if value else "false"


# Orders


def _order(order: Order) -> Row:
    """The fields with equal values in push and REST."""
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
        "tradeId": trade_id(order, fill),
    }


def trade_id(order: Order, fill: Fill | None) -> str:
    """The trade id of an order row: 0 for a forced order, whose fills have negative ids."""
    if fill is None:
        return ""
    return "0" if order.forced else fill.trade_id


def order_push(order: Order, last: str, fill: Fill | None) -> Row:
    """An order as channel ``orders`` pushes it, with the fill that this message reports, if any."""
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
        "notionalUsd": text(instrument.value(order.sz, order.px) if order.px else order.value * instrument.ct_val),
        "reqId": order.req_id,
        "tradeId": trade_id(order, fill),
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


def trade_type(order: Order) -> str:
    """The bill type of a trade: 2, or 5 for a liquidation and 9 for auto-deleveraging."""
    return {"full_liquidation": "5", "adl": "9"}.get(order.category, "2")


def trade_sub_type(order: Order) -> str:
    """Bill and fill sub types of a trade in net mode: 1 buy, 2 sell; forced trades name the closed side."""
    sells, buys = {"full_liquidation": ("104", "105"), "adl": ("125", "126")}.get(order.category, ("2", "1"))
    return buys if order.buys else sells


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
        "notionalUsd": text(instrument.value(algo.sz, algo.px)),
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


# Bills, deposits and withdrawals


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
