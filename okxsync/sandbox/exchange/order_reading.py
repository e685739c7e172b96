"""Reads the body of an order: what is legal depends on account mode, position mode and instrument.

OKX docs: order-book-trading-trade-post-place-order, and the error codes of its page.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from okxsync.sandbox.exchange import leverage, parameters, self_trade
from okxsync.sandbox.exchange.attached import check_prices, read_attached
from okxsync.sandbox.exchange.instruments import Instrument, text
from okxsync.sandbox.exchange.matching import Matching
from okxsync.sandbox.exchange.members import Member
from okxsync.sandbox.exchange.orders import (
    Attached,
    Order,
    OrderRejected,
    check_steps,
    client_id,
    number,
)

ORD_TYPES = frozenset({"market", "limit", "post_only", "fok", "ioc", "optimal_limit_ioc"})


class OrderReading(Matching):
    """Turns valid requests into orders."""

    def _read_order(self, uid: str, request: Mapping[str, Any]) -> Order:
        """Return the order of a valid request; whether the account can pay for it is not checked here."""
        member, account = self.members[uid], self.account(uid)
        parameters.check("order", request)
        instrument = self._instrument(uid, request)
        side = str(request.get("side", ""))
        if side not in ("buy", "sell"):
            raise OrderRejected("51000", "Parameter side error")
        ord_type = _ord_type(request, instrument)
        td_mode = read_td_mode(request, member, instrument)
        margin = instrument.is_spot and td_mode != "cash"
        ccy = read_ccy(request, member, instrument, td_mode)
        pos_side = read_pos_side(request, member, instrument, td_mode)
        reduces = read_reduce_only(request, member, instrument, td_mode)
        cl_ord_id = client_id(request, "clOrdId")
        known = account.client_ids.get(cl_ord_id) if cl_ord_id else None
        if known is not None and known.pending:
            raise OrderRejected("51016", "Client order ID already exists")
        quoted = parameters.choice(request, "tradeQuoteCcy", "", instrument.quote)
        if quoted and not instrument.is_spot:
            raise OrderRejected("51000", "Parameter tradeQuoteCcy error")
        market = ord_type in ("market", "optimal_limit_ioc")
        if market and request.get("px"):
            raise OrderRejected("51000", "Parameter px error")
        sz, px = number(request, "sz"), None if market else number(request, "px")
        if px is not None:
            px = self._within_band(instrument, side, px, clamps=read_clamp(request))
        tgt_ccy = _tgt_ccy(request, instrument, ord_type, side)
        if tgt_ccy == "quote_ccy":
            if sz / self._quotes[instrument.inst_id].ask < instrument.min_sz:
                raise OrderRejected("51020", "Your order should meet or exceed the minimum order amount.")
        else:
            check_steps(instrument, sz, px)
        now = self._time
        order = Order(
            uid,
            self._next_id(),
            instrument,
            side,
            ord_type,
            td_mode,
            sz,
            px,
            now,
            now,
            cap=self.band(instrument.inst_id)[side == "sell"] if market and not instrument.is_spot else None,
            stp_mode=_stp_mode(request, member, ord_type),
            cl_ord_id=cl_ord_id,
            tag=read_tag(request),
            ccy=ccy,
            pos_side=pos_side,
            tgt_ccy=tgt_ccy,
            reduce_only=reduces,
        )
        if td_mode != "cash":
            order.lever = leverage.lever_of(account, leverage.scope_of_order(member, order))
        if order.pos_side in ("long", "short") and not order.opens:
            order.reduce_only = True
        order.attached = self._read_attached(request, order)
        if not parameters.flag(request, "banAmend") and order.inst_type == "SPOT" and order.ord_type == "market":
            self._shrink(order)
        if margin and reduces and self.members[uid].pooled:
            raise OrderRejected("51205", "Reduce Only is not available.")
        return order

    def _within_band(self, instrument: Instrument, side: str, px: Decimal, *, clamps: bool) -> Decimal:
        """Return a price inside the price band; one beyond it is moved to the edge or rejected. Options have none."""
        if instrument.is_option:
            return px
        highest, lowest = self.band(instrument.inst_id)
        edge = min(px, highest) if side == "buy" else max(px, lowest)
        if edge == px or clamps:
            return edge
        if not instrument.is_spot:
            raise OrderRejected("51006", f"Order price is not within the price limit (max buy {highest}, min {lowest})")
        if side == "buy":
            raise OrderRejected("51137", f"The highest price limit for buy orders is {highest}")
        raise OrderRejected("51138", f"The lowest price limit for sell orders is {lowest}")

    def _read_attached(self, request: Mapping[str, Any], order: Order) -> list[Attached]:
        found = read_attached(request.get("attachAlgoOrds"), self._next_id, order.sz)
        if found and order.reduce_only:
            raise OrderRejected("51100", "TP/SL can't be attached to an order that closes a position")
        self._check_attached(order, found)
        return found

    def _check_attached(self, order: Order, found: list[Attached]) -> None:
        quote = self._quotes[order.instrument.inst_id]
        check_prices(found, buys=order.buys, px=order.px, best=quote.ask if order.buys else quote.bid)

    def _shrink(self, order: Order) -> None:
        """Reduce a spot market order to what the account can pay for, unless that is nothing."""
        account, instrument = self.account(order.uid), order.instrument
        quote = self._quotes[instrument.inst_id]
        left = self._cash_left(account, instrument.quote if order.buys else instrument.base)
        if order.buys != order.in_quote:
            px = quote.ask * (1 + self.rules.spot_freeze) if order.buys else quote.bid
            left = left / px if order.buys else left * px
        left = instrument.to_lot(left) if not order.in_quote else round(left, 2)
        least = instrument.min_sz * (quote.ask if order.in_quote else 1)
        if least <= left < order.sz:
            order.sz = left


def _ord_type(request: Mapping[str, Any], instrument: Instrument) -> str:
    ord_type = str(request.get("ordType", ""))
    if ord_type not in ORD_TYPES or (
        ord_type == "optimal_limit_ioc" and instrument.inst_type not in ("SWAP", "FUTURES")
    ):
        raise OrderRejected("51000", "Parameter ordType error")
    if ord_type == "market" and instrument.is_option:
        raise OrderRejected("51066", "Market order isn't supported for option trading.")
    return ord_type


def _stp_mode(request: Mapping[str, Any], member: Member, ord_type: str) -> str:
    """Read ``stpMode``; the default is the account's. Fill-or-kill cannot cancel both."""
    stp_mode = parameters.choice(request, "stpMode", member.acct_stp_mode, *self_trade.MODES)
    if stp_mode == "cancel_both" and ord_type == "fok":
        raise OrderRejected("54036", "FOK orders can't use the self-trade prevention mode cancel_both")
    return stp_mode


def read_clamp(request: Mapping[str, Any]) -> bool:
    """Read ``pxAmendType``: whether a price beyond the band is moved to its edge."""
    return parameters.choice(request, "pxAmendType", "0", "1") == "1"


def read_td_mode(request: Mapping[str, Any], member: Member, instrument: Instrument) -> str:
    """Read ``tdMode`` of an account mode and an instrument; isolated options are not offered here."""
    td_mode = str(request.get("tdMode", ""))
    legal = ("cash", "cross", "isolated") if instrument.is_spot else ("cross", "isolated")
    if td_mode not in (("cross",) if instrument.is_option else legal):
        raise OrderRejected("51000", "Parameter tdMode error")
    if member.acct_lv == "1" and td_mode != "cash":
        raise OrderRejected("51010", "You can't complete this request under your current account mode.")
    if td_mode == "isolated" and member.pooled:
        raise OrderRejected("50072", "Isolated margin is not available in your current account mode.")
    return td_mode


def read_ccy(request: Mapping[str, Any], member: Member, instrument: Instrument, td_mode: str) -> str:
    """Read the margin currency: of margin orders in Futures mode, and only the quote currency."""
    ccy = str(request.get("ccy") or "")
    needed = instrument.is_spot and td_mode != "cash" and not member.pooled
    if ccy != (instrument.quote if needed else ""):
        raise OrderRejected("51000", "Parameter ccy error")
    return ccy


def read_pos_side(request: Mapping[str, Any], member: Member, instrument: Instrument, td_mode: str) -> str:
    """Read ``posSide``; it is "" for spot, ``net`` for all that has no two sides."""
    pos_side = str(request.get("posSide") or "")
    if instrument.is_spot or instrument.is_option or not member.two_sided:
        if pos_side not in ("", "net"):
            raise OrderRejected("51000", "Parameter posSide error")
        return "net" if not instrument.is_spot or td_mode != "cash" else ""
    if pos_side not in ("long", "short"):
        raise OrderRejected("51000", "Parameter posSide error")
    return pos_side


def read_reduce_only(request: Mapping[str, Any], member: Member, instrument: Instrument, td_mode: str) -> bool:
    """Read ``reduceOnly``: for margin, futures and swaps in net mode, not in portfolio margin mode."""
    reduces = parameters.flag(request, "reduceOnly")
    if reduces and (td_mode == "cash" or instrument.is_option or member.acct_lv == "4"):
        raise OrderRejected("51205", "Reduce Only is not available.")
    return reduces


def _tgt_ccy(request: Mapping[str, Any], instrument: Instrument, ord_type: str, side: str) -> str:
    """Read the currency of ``sz`` of a market order of a pair; OKX ignores it for contracts."""
    if not instrument.is_spot:
        return ""
    default = "quote_ccy" if side == "buy" else "base_ccy"
    tgt_ccy = parameters.choice(request, "tgtCcy", default, "base_ccy", "quote_ccy")
    if ord_type != "market" and request.get("tgtCcy"):
        raise OrderRejected("51000", "Parameter tgtCcy error")
    return tgt_ccy if ord_type == "market" else ""


def read_tag(request: Mapping[str, Any]) -> str:
    """Read ``tag``: up to 16 letters and digits."""
    tag = str(request.get("tag") or "")
    if len(tag) > 16 or (tag and not (tag.isascii() and tag.isalnum())):
        raise OrderRejected("51000", "Parameter tag error")
    return tag


def read_child_px(request: Mapping[str, Any], *names: str) -> str:
    """Read the price of a child order: a positive price, or ``-1`` for market."""
    given = next((str(request[name]) for name in names if request.get(name)), "")
    return given if given == "-1" else text(number({names[0]: given}, names[0]))
