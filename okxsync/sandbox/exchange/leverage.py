"""The leverage of an account, by its scope (OKX docs: trading-account-rest-api-set-leverage).

A scope is what one setting holds for: the contract of a swap, all expiries of a future in cross mode, one side of an
isolated contract in long/short mode, a pair on margin; in the pooled modes the borrowed currency of cross margin.
"""

from okxsync.sandbox.exchange.instruments import Instrument
from okxsync.sandbox.exchange.ledger import Account
from okxsync.sandbox.exchange.members import Member
from okxsync.sandbox.exchange.orders import Order
from okxsync.sandbox.exchange.positions import Position

DEFAULT = "10"
Scope = tuple[str, str, str]
"""``mgnMode``, instrument or underlying or currency, ``posSide``."""


def scope_of(member: Member, instrument: Instrument, mgn_mode: str, pos_side: str, *, buys: bool = True) -> Scope:
    """The scope that decides the leverage of an order or a position."""
    if instrument.is_spot:
        if mgn_mode == "cross" and member.pooled:
            return mgn_mode, instrument.quote if buys else instrument.base, ""
        return mgn_mode, instrument.inst_id, ""
    if mgn_mode == "cross":
        return mgn_mode, instrument.uly if instrument.inst_type == "FUTURES" else instrument.inst_id, ""
    return mgn_mode, instrument.inst_id, pos_side if member.two_sided else ""


def scope_of_order(member: Member, order: Order) -> Scope:
    return scope_of(member, order.instrument, order.td_mode, order.pos_side, buys=order.buys)


def scope_of_position(member: Member, position: Position) -> Scope:
    return scope_of(member, position.instrument, position.mgn_mode, position.pos_side)


def lever_of(account: Account, scope: Scope) -> str:
    """The leverage of a scope: 10 until it is set."""
    return account.levers.get(scope, DEFAULT)
