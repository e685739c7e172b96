"""Positions as OKX's wire rows: in ``account/positions``, in channel ``balance_and_position``, in positions-history.

A position row is the same in a push and in REST, except for ``pTime``, which only pushes have.
"""

from decimal import Decimal

from okxsync.sandbox.exchange.instruments import PLACES, text
from okxsync.sandbox.exchange.positions import MAINTENANCE, Cycle, MarginPosition, Position
from okxsync.sandbox.exchange.rows import Row


def position_row(position: Position, mark: Decimal, last: str, index: Decimal, usd: Decimal) -> Row:
    """A position as REST lists it; a closed one keeps its ids, and its prices are empty.

    Args:
        index: The price of the underlying.
        usd: What the margin currency is worth.
    """
    instrument, held, cycle = position.instrument, bool(position.pos), position.cycles[-1]
    on_margin = position if isinstance(position, MarginPosition) else None
    option, contract = instrument.is_option, on_margin is None
    value = on_margin.exposure(mark) if on_margin else instrument.coins(abs(position.pos), mark)
    isolated, initial, maintenance = position.isolated, position.initial_margin(mark), position.maintenance(mark)
    margin = position.margin if isolated else initial
    upl, upl_last = position.upl(mark), position.upl(Decimal(last))

    def shown(number: Decimal) -> str:
        return text(round(number, PLACES)) if held else ""

    def of_margin(value: str) -> str:
        return value if on_margin else ""

    def of_contract(number: Decimal) -> str:
        return text(number) if contract else ""

    away = (1 / Decimal(position.lever) - MAINTENANCE) * -position.direction
    greek = text(position.pos * instrument.ct_val / 2) if option and held else ""
    return {
        "adl": "1" if held else "0",
        "availPos": text(abs(position.pos)) if on_margin or option else "",
        "avgPx": shown(position.avg_px),
        "baseBal": "",
        "baseBorrowed": "",
        "baseInterest": "",
        "bePx": shown(position.avg_px),
        "bizRefId": "",
        "bizRefType": "",
        "cTime": str(position.c_time),
        "ccy": position.ccy,
        "clSpotInUseAmt": "",
        "closeOrderAlgo": [],
        "deltaBS": greek,
        "deltaPA": greek,
        "fee": of_contract(cycle.fee),
        "fundingFee": of_contract(cycle.funding),
        "gammaBS": "0" if greek else "",
        "gammaPA": "0" if greek else "",
        "hedgedPos": "",
        "idxPx": text(index),
        "imr": shown(initial) if not isolated else "",
        "instId": instrument.inst_id,
        "instType": position.inst_type,
        "interest": text(on_margin.interest) if on_margin else "",
        "last": last,
        "lever": position.lever if not option else "",
        "liab": text(-on_margin.liab) if on_margin else "",
        "liabCcy": on_margin.liab_ccy if on_margin else "",
        "liqPenalty": "0" if contract else "",
        "liqPx": shown(position.avg_px * (1 + away)) if not option else "",
        "margin": shown(margin) if isolated else "",
        "markPx": text(mark),
        "maxSpotInUseAmt": "",
        "mgnMode": position.mgn_mode,
        "mgnRatio": shown((margin + upl) / maintenance) if maintenance else "",
        "mmr": shown(maintenance),
        "nonSettleAvgPx": shown(position.avg_px) if instrument.inst_type == "FUTURES" else "",
        "notionalUsd": shown(value * usd),
        "optVal": shown(position.option_value(mark)) if option else "",
        "pendingCloseOrdLiabVal": of_margin("0"),
        "pnl": of_contract(cycle.pnl),
        "pos": text(position.shown_pos),
        "posCcy": on_margin.pos_ccy if on_margin else "",
        "posId": position.pos_id,
        "posSide": position.pos_side,
        "quoteBal": "",
        "quoteBorrowed": "",
        "quoteInterest": "",
        "realizedPnl": of_contract(cycle.realized),
        "settledPnl": "",
        "spotInUseAmt": "",
        "spotInUseCcy": "",
        "thetaBS": "0" if greek else "",
        "thetaPA": "0" if greek else "",
        "tradeId": position.trade_id,
        "uTime": str(position.u_time),
        "upl": shown(upl),
        "uplLastPx": shown(upl_last),
        "uplRatio": shown(upl / margin) if margin else "",
        "uplRatioLastPx": shown(upl_last / margin) if margin else "",
        "usdPx": text(usd),
        "vegaBS": "0" if greek else "",
        "vegaPA": "0" if greek else "",
    }


def cycle_row(position: Position, cycle: Cycle) -> Row:
    """A row of ``GET account/positions-history``; it exists from the first partial close on."""
    instrument = position.instrument
    cost = instrument.value(cycle.closed, cycle.open_avg_px) / Decimal(position.lever)
    return {
        "cTime": str(cycle.c_time),
        "ccy": position.ccy,
        "closeAvgPx": text(round(cycle.close_value / cycle.closed, PLACES)),
        "closeTotalPos": text(cycle.closed),
        "direction": cycle.direction,
        "fee": text(cycle.fee),
        "fundingFee": text(cycle.funding),
        "instId": instrument.inst_id,
        "instType": position.inst_type,
        "lever": position.lever,
        "liqPenalty": "0",
        "mgnMode": position.mgn_mode,
        "nonSettleAvgPx": "",
        "openAvgPx": text(cycle.open_avg_px),
        "openMaxPos": text(cycle.open_max),
        "pnl": text(cycle.pnl),
        "pnlRatio": text(round(cycle.realized / cost, PLACES)),
        "posId": position.pos_id,
        "posSide": position.pos_side,
        "realizedPnl": text(cycle.realized),
        "settledPnl": "",
        "triggerPx": "",
        "type": cycle.ended_by if cycle.done else "1",
        "uTime": str(cycle.u_time),
        "uly": instrument.uly or instrument.inst_id,
    }


def position_data(position: Position) -> Row:
    """A row of ``posData`` in channel ``balance_and_position``."""
    return {
        "avgPx": text(position.avg_px) if position.pos else "",
        "ccy": position.ccy,
        "instId": position.instrument.inst_id,
        "instType": position.inst_type,
        "mgnMode": position.mgn_mode,
        "nonSettleAvgPx": "",
        "pos": text(position.shown_pos),
        "posCcy": position.pos_ccy if isinstance(position, MarginPosition) else "",
        "posId": position.pos_id,
        "posSide": position.pos_side,
        "settledPnl": "",
        "tradeId": position.trade_id,
        "uTime": str(position.u_time),
    }
