"""The exchange's state as OKX's wire rows: camelCase names, all numbers text, ``""`` where a field does not apply.

An order row has two forms (OKX docs: order-book-trading-trade-ws-order-channel): a push reports only *this* fill, REST
the *last* fill. Totals are the same in both.
"""

from decimal import Decimal
from typing import Any

from okxsync.sandbox.exchange.instruments import PLACES, text
from okxsync.sandbox.exchange.orders import Algo, Fill, Order

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
        "attachAlgoOrds": [each.row() for each in order.attached],
        "cTime": str(order.c_time),
        "cancelSource": order.cancel_source,
        "category": order.category,
        "ccy": order.ccy,
        "clOrdId": order.cl_ord_id,
        "fee": text(order.fee),
        "feeCcy": order.fee_ccy,
        "instId": instrument.inst_id,
        "instType": order.inst_type,
        "isTpLimit": "false",
        "lever": "" if instrument.is_option else order.lever,
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
        "rebateCcy": instrument.base if instrument.is_spot and not order.buys else instrument.settle,
        "reduceOnly": _flag(order.reduce_only),
        "side": order.side,
        "slOrdPx": "",
        "slTriggerPx": "",
        "slTriggerPxType": "",
        "source": order.source,
        "state": order.state,
        "stpId": "",
        "stpMode": order.stp_mode,
        "sz": text(order.sz),
        "tag": order.tag,
        "tdMode": order.td_mode,
        "tgtCcy": order.tgt_ccy,
        "tpOrdPx": "",
        "tpTriggerPx": "",
        "tpTriggerPxType": "",
        "tradeQuoteCcy": instrument.quote if instrument.is_spot else "",
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
        "fillMarkPx": text(fill.mark) if fill and not instrument.is_spot else "",
        "fillMarkVol": "",
        "fillNotionalUsd": text(round(instrument.value(fill.sz, fill.px), PLACES)) if fill else "",
        "fillPnl": text(fill.pnl) if fill else "0",
        "fillPx": text(fill.px) if fill else "",
        "fillPxUsd": "",
        "fillPxVol": "",
        "fillSz": text(fill.sz) if fill else "0",
        "fillTime": str(fill.time) if fill else "",
        "lastPx": last,
        "msg": "",
        "notionalUsd": text(_notional(order)),
        "reqId": order.req_id,
        "tradeId": trade_id(order, fill),
    }


def _notional(order: Order) -> Decimal:
    instrument = order.instrument
    if instrument.inverse:
        return order.sz * instrument.ct_val
    return instrument.value(order.sz, order.px) if order.px else order.value * instrument.ct_val


def fill_row(order: Order, fill: Fill) -> Row:
    """A row of ``GET trade/fills``."""
    instrument = order.instrument
    return {
        "billId": fill.bill_id,
        "clOrdId": order.cl_ord_id,
        "execType": fill.exec_type,
        "fee": text(fill.fee),
        "feeCcy": fill.fee_ccy,
        "feeRate": text(-_rate(order, fill)) if instrument.is_spot else "",
        "fillFwdPx": "",
        "fillIdxPx": text(fill.mark),
        "fillMarkPx": "" if instrument.is_spot else text(fill.mark),
        "fillMarkVol": "",
        "fillPnl": text(fill.pnl),
        "fillPx": text(fill.px),
        "fillPxUsd": "",
        "fillPxVol": "",
        "fillSz": text(fill.sz),
        "fillTime": str(fill.time),
        "instId": instrument.inst_id,
        "instType": order.inst_type,
        "ordId": order.ord_id,
        "posSide": order.pos_side or "net",
        "side": order.side,
        "subType": fill.sub_type,
        "tag": order.tag,
        "tradeId": fill.trade_id,
        "tradeQuoteCcy": instrument.quote if instrument.is_spot else "",
        "ts": str(fill.time),
    }


def _rate(order: Order, fill: Fill) -> Decimal:
    return order.instrument.maker_rate if fill.exec_type == "M" else order.instrument.taker_rate


_BILL_TYPES = {"full_liquidation": "5", "adl": "9", "delivery": "3", "exercise": "3"}
_SUB_TYPES = {  # buy and sell; then open long, open short, close long, close short of long/short mode
    "normal": ("1", "2", "3", "4", "5", "6"),
    "full_liquidation": ("106", "107", "", "", "104", "105"),
    "adl": ("127", "128", "", "", "125", "126"),
    "block_trade": ("204", "205", "206", "207", "208", "209"),
    "spread": ("270", "271", "272", "273", "274", "275"),
    "delivery": ("113", "112", "", "", "112", "113"),
}
"""Sub types of fills and bills, by category (OKX docs: order-book-trading-trade-get-transaction-details)."""


def trade_type(order: Order) -> str:
    """The bill type of a trade: 2, or 3 for a delivery, 5 for a liquidation and 9 for auto-deleveraging."""
    return _BILL_TYPES.get(order.category, "2")


def trade_sub_type(order: Order) -> str:
    """The sub type of a trade."""
    if order.category == "exercise":
        return order.source
    if order.pos_side not in ("long", "short"):
        return _SUB_TYPES[order.category][0 if order.buys else 1]
    return _SUB_TYPES[order.category][(2 if order.opens else 4) + (order.pos_side == "short")]


def algo_row(algo: Algo, last: str) -> Row:
    """An algo order, alike in channel ``orders-algo`` and in REST."""
    instrument = algo.instrument
    return {
        "actualPx": algo.actual_px,
        "actualSide": algo.actual_side,
        "activePx": shown(algo.active_px),
        "actualSz": text(algo.actual_sz),
        "advanceOrdType": algo.advance_ord_type,
        "algoClOrdId": algo.algo_cl_ord_id,
        "algoId": algo.algo_id,
        "amendPxOnTriggerType": "0",
        "amendResult": algo.amend_result,
        "attachAlgoOrds": [],
        "cTime": str(algo.c_time),
        "callbackRatio": shown(algo.callback_ratio),
        "callbackSpread": shown(algo.callback_spread),
        "ccy": algo.ccy,
        "clOrdId": algo.cl_ord_id,
        "closeFraction": algo.close_fraction,
        "failCode": algo.fail_code,
        "instId": instrument.inst_id,
        "instType": algo.inst_type,
        "isTradeBorrowMode": "",
        "last": last,
        "lever": algo.lever,
        "linkedOrd": {"ordId": ""},
        "moveTriggerPx": shown(algo.move_trigger_px),
        "notionalUsd": text(round(instrument.value(algo.sz, algo.px), PLACES)),
        "ordId": algo.ord_ids[-1] if algo.ord_ids else "",
        "ordIdList": list(algo.ord_ids),
        "ordPx": algo.ord_px,
        "ordType": algo.ord_type,
        "posSide": algo.pos_side,
        "reduceOnly": _flag(algo.reduce_only),
        "reqId": algo.req_id,
        "side": algo.side,
        "slOrdPx": algo.sl_ord_px,
        "slTriggerPx": shown(algo.sl_trigger_px),
        "slTriggerPxType": algo.px_types.get("sl", ""),
        "state": algo.state,
        "subAlgoIdList": [],
        "sz": text(algo.sz),
        "tag": algo.tag,
        "tdMode": algo.td_mode,
        "tgtCcy": "",
        "tpOrdPx": algo.tp_ord_px,
        "tpTriggerPx": shown(algo.tp_trigger_px),
        "tpTriggerPxType": algo.px_types.get("tp", ""),
        "tradeQuoteCcy": instrument.quote if instrument.is_spot else "",
        "triggerPx": shown(algo.trigger_px),
        "triggerPxType": algo.px_types.get("", ""),
        "triggerTime": algo.trigger_time,
        "uTime": str(algo.u_time),
    }
