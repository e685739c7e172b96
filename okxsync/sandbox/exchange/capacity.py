"""How much an account can trade: ``max-size``, ``max-avail-size`` and the check of an order before it is placed.

A size is exact: an order of ``maxBuy`` is admitted, and one lot more is not (OKX docs:
trading-account-rest-api-get-maximum-order-quantity).
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from okxsync.sandbox.exchange import balances, leverage, tiers
from okxsync.sandbox.exchange.instruments import PLACES, Instrument, text
from okxsync.sandbox.exchange.ledger import margin_needed
from okxsync.sandbox.exchange.order_reading import read_td_mode
from okxsync.sandbox.exchange.orders import ZERO, Order, OrderRejected, optional_number
from okxsync.sandbox.exchange.positions import MarginPosition
from okxsync.sandbox.exchange.rows import Row, shown
from okxsync.sandbox.exchange.settings import Settings

CHECKED = ("adjEq", "availBal", "imr", "liab", "mgnRatio", "mmr", "posBal")


class Capacity(Settings):
    """Questions about sizes; nothing here changes the account."""

    def max_size_row(self, uid: str, request: Mapping[str, Any]) -> Row:
        """The row of ``GET account/max-size`` of one instrument."""
        member, instrument = self.members[uid], self._instrument(uid, request)
        td_mode = read_td_mode(request, member, instrument)
        if member.acct_lv == "4" and td_mode == "cross" and not instrument.is_spot:
            raise OrderRejected("51010", "You can't complete this request under your current account mode.")
        sizes = {side: self._max_size(uid, instrument, td_mode, side, request) for side in ("buy", "sell")}
        ccy = str(request.get("ccy") or ("" if instrument.is_spot and td_mode == "cash" else instrument.settle))
        named = {"instId": instrument.inst_id, "ccy": ccy, "tradeQuoteCcy": str(request.get("tradeQuoteCcy") or "")}
        return named | {"maxBuy": text(sizes["buy"]), "maxSell": text(sizes["sell"])}

    def _max_size(
        self, uid: str, instrument: Instrument, td_mode: str, side: str, request: Mapping[str, Any]
    ) -> Decimal:
        member, account, buys = self.members[uid], self.account(uid), side == "buy"
        given = optional_number(request, "px")
        if td_mode == "cash":
            px = given or self._quotes[instrument.inst_id].last
            left = self._cash_left(account, instrument.quote if buys else instrument.base)
            return instrument.to_lot(left / px if buys else left)
        px = given or self._default_px(instrument, buys=buys)
        pos_side = ("long" if buys else "short") if member.two_sided and not instrument.is_spot else "net"
        order = Order(uid, "", instrument, side, "limit", td_mode, ZERO, px, self._time, self._time, pos_side=pos_side)
        lever = optional_number(request, "leverage")
        scope = leverage.scope_of_order(member, order)
        order.lever = text(lever) if lever else leverage.lever_of(account, scope)
        position = account.position(instrument, td_mode, pos_side)
        opposed = position is not None and self._opposes(order, position.direction)
        held = position.closable() if position and position.pos else ZERO
        left = self._margin_left(account, instrument.settle)

        def payable(sz: Decimal) -> bool:
            fee = instrument.coins(sz, px) * instrument.taker_rate
            return margin_needed(order, sz, px) + fee <= left

        per_unit = margin_needed(order, instrument.lot_sz, px) + (
            instrument.coins(instrument.lot_sz, px) * instrument.taker_rate
        )
        opening = instrument.to_lot(left / per_unit * instrument.lot_sz)
        while opening and not payable(opening):  # values of inverse contracts are rounded
            opening -= instrument.lot_sz
        while payable(opening + instrument.lot_sz):
            opening += instrument.lot_sz
        if (most := tiers.largest(instrument, order.lever)) is not None:
            opening = min(opening, max(most - (ZERO if opposed else held) - self._waiting(order), ZERO))
        return opening + (held if opposed else ZERO)

    def _default_px(self, instrument: Instrument, *, buys: bool) -> Decimal:
        """The price of a size without ``px``: the edge of the band for contracts, the last price for all others."""
        if instrument.is_spot or instrument.is_option:
            return self._quotes[instrument.inst_id].last
        return self.band(instrument.inst_id)[0 if buys else 1]

    def max_avail_row(self, uid: str, request: Mapping[str, Any]) -> Row:
        """The row of ``GET account/max-avail-size`` of one instrument."""
        member, account, instrument = self.members[uid], self.account(uid), self._instrument(uid, request)
        td_mode = read_td_mode(request, member, instrument)
        reduces = str(request.get("reduceOnly") or "false").lower() == "true"
        buy = sell = ZERO
        if reduces:
            position = account.position(instrument, td_mode)
            if not isinstance(position, MarginPosition) and instrument.is_spot and td_mode == "cash":
                raise OrderRejected("51000", "Parameter reduceOnly error")
            if position and position.pos:
                buy, sell = (ZERO, position.closable()) if position.direction > 0 else (position.closable(), ZERO)
        elif td_mode == "cash":
            buy, sell = self._cash_left(account, instrument.quote), self._cash_left(account, instrument.base)
        else:
            buy = sell = self._margin_left(account, str(request.get("ccy") or instrument.settle))
            if instrument.is_spot:
                lever = Decimal(leverage.lever_of(account, leverage.scope_of(member, instrument, td_mode, "net")))
                px = self._quotes[instrument.inst_id].last
                buy, sell = buy * lever, buy * lever / px
        named = {"instId": instrument.inst_id, "tradeQuoteCcy": str(request.get("tradeQuoteCcy") or "")}
        return named | {"availBuy": text(round(buy, PLACES)), "availSell": text(round(sell, PLACES))}

    def precheck_row(self, uid: str, request: Mapping[str, Any]) -> Row:
        """The row of ``POST trade/order-precheck``: margins now and after an order; nothing is placed.

        Raises:
            OrderRejected: 51010 in modes 1 and 2, or why the order would be rejected.
        """
        self._now()
        member, account = self.members[uid], self.account(uid)
        if not member.pooled:
            raise OrderRejected("51010", "You can't complete this request under your current account mode.")
        order = self._read_order(uid, request)
        self._admit(order)
        row = balances.account_row(account, member, self._marks, self._usd, self._time)
        px, instrument = self._price_of(order), order.instrument
        usd = self._usd[instrument.settle]
        sz = order.sz / px if order.in_quote else order.sz
        initial = ZERO if order.reduce_only or order.inst_type == "SPOT" else margin_needed(order, sz, px) * usd
        fee = instrument.coins(sz, px) * instrument.taker_rate * usd
        now = {name: str(row.get(name) or "0") for name in CHECKED}
        now["availBal"] = row["availEq"]
        change = dict.fromkeys((f"{name}Chg" for name in CHECKED), "0")
        change |= {"adjEqChg": text(-fee), "imrChg": text(initial), "availBalChg": text(-initial - fee)}
        liquidation = {"liqPx": "", "liqPxDiff": "", "liqPxDiffRatio": "", "type": ""}
        return now | change | liquidation

    def fee_rows(self, uid: str, inst_type: str, *, demo: bool) -> list[Row]:
        """The row of ``GET account/trade-fee``; a negative rate is charged."""
        member = self.members[uid]
        found = [each for each in self.listed if each.inst_type == ("SPOT" if inst_type == "MARGIN" else inst_type)]
        if not found:
            return []
        maker, taker = text(-found[0].maker_rate), text(-found[0].taker_rate)
        contract = not found[0].is_spot
        return [
            {
                "category": "1",
                "delivery": "",
                "exercise": "",
                "feeGroup": [
                    {"groupId": str(found[0].row(demo)["groupId"]), "maker": maker, "rpiMaker": "", "taker": taker}
                ],
                "fiat": [],
                "instType": inst_type,
                "isSpecial": False,
                "level": f"VIP{member.vip}" if member.vip else "Lv1",
                "maker": maker,
                "makerU": maker if contract else "",
                "makerUSDC": "",
                "ruleType": "normal",
                "settle": "",
                "taker": taker,
                "takerU": taker if contract else "",
                "takerUSDC": "",
                "ts": str(self._time),
            }
        ]

    def quota_fields(self, uid: str, inst_id: str) -> Row:
        """The fields of ``GET account/instruments`` that say what the master and its subs may still open, in USD."""
        instrument, main_uid = self.instruments[inst_id], self.members[uid].main_uid
        quota = self.quotas.get((main_uid, inst_id))
        left = {side: self.quota_left(uid, instrument, side) for side in ("buy", "sell")}
        return {
            "longPosRemainingQuota": shown(left["buy"]),
            "maxPlatOILmt": "",
            "posLmtAmt": shown(quota),
            "posLmtPct": "",
            "shortPosRemainingQuota": shown(left["sell"]),
        }

    def risk_row(self, uid: str) -> Row:
        """The row of ``GET account/account-position-risk``: balances and positions of one moment."""
        account, now = self.account(uid), self._now()
        row = self._account_row(uid, None)
        balance = [{"ccy": each["ccy"], "disEq": each["disEq"], "eq": each["eq"]} for each in row["details"]]
        names = "baseBal ccy instId instType mgnMode notionalUsd pos posCcy posId posSide quoteBal".split()
        positions = []
        for position in account.positions.values():
            if position.pos:
                full = self._position_row(position)
                value = position.instrument.coins(abs(position.pos), self._marks[position.instrument.inst_id])
                positions.append({name: full[name] for name in names} | {"notionalCcy": text(value)})
        return {"adjEq": row["adjEq"], "balData": balance, "posData": positions, "ts": str(now)}
