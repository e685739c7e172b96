"""Bills, deposits and withdrawals as OKX's wire rows."""

from okxsync.sandbox.exchange.instruments import text
from okxsync.sandbox.exchange.ledger import AssetBill, Bill
from okxsync.sandbox.exchange.orders import Movement
from okxsync.sandbox.exchange.rows import Row


def bill_row(bill: Bill) -> Row:
    """A row of ``GET account/bills``."""
    instrument, order, fill = bill.instrument, bill.order, bill.fill
    contract = instrument is not None and not instrument.is_spot
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
        "fillMarkPx": text(fill.mark) if fill and contract else "",
        "fillMarkVol": "",
        "fillPxUsd": "",
        "fillPxVol": "",
        "fillTime": str(fill.time) if fill else "",
        "from": bill.sent_from,
        "instId": instrument.inst_id if instrument else "",
        "instType": bill.inst_type or (instrument.inst_type if instrument else ""),
        "interest": text(bill.interest),
        "mgnMode": order.td_mode if order else bill.mgn_mode,
        "notes": "",
        "ordId": order.ord_id if order else "",
        "pnl": text(bill.pnl),
        "posBal": text(bill.pos_bal),
        "posBalChg": text(bill.pos_bal_chg),
        "px": text(bill.px) if bill.px is not None else "",
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
