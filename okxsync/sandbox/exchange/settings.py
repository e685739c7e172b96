"""Settings of an account that a request changes: leverage and position mode.

OKX docs: trading-account-rest-api-set-leverage, trading-account-rest-api-set-position-mode.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from okxsync.sandbox.exchange import parameters, tiers
from okxsync.sandbox.exchange.instruments import PLACES, text
from okxsync.sandbox.exchange.leverage import Scope, lever_of, scope_of, scope_of_order, scope_of_position
from okxsync.sandbox.exchange.members import Member
from okxsync.sandbox.exchange.orders import OrderRejected, number
from okxsync.sandbox.exchange.positions import MarginPosition, Position
from okxsync.sandbox.exchange.rows import Row
from okxsync.sandbox.exchange.settlement import Settlement

MAX_CURRENCY_LEVER = Decimal(10)
"""The maximum leverage of a currency of the margin pool."""


class Settings(Settlement):
    """Operations on the settings of an account."""

    def set_leverage(self, uid: str, request: Mapping[str, Any]) -> Row:
        """Set the leverage of a scope by the body of ``POST account/set-leverage``. The same one again is fine."""
        self._now()
        parameters.check("leverage", request)
        member, account = self.members[uid], self.account(uid)
        mgn_mode = parameters.choice(request, "mgnMode", "", "cross", "isolated")
        if not mgn_mode:
            raise OrderRejected("51000", "Parameter mgnMode error")
        lever = number(request, "lever")
        scope, most = self._scope(member, request, mgn_mode)
        if lever > most:
            raise OrderRejected("59102", f"Leverage exceeds the maximum limit. The maximum is {most}.")
        if lever < 1 or lever != round(lever, 2):
            raise OrderRejected("51000", "Parameter lever error")
        if text(lever) != lever_of(account, scope):
            self._relever(member, scope, lever)
        given = {name: str(request.get(name) or "") for name in ("instId", "ccy", "posSide")}
        return {"lever": text(lever), "mgnMode": mgn_mode, "instId": given["instId"], "posSide": given["posSide"]}

    def _scope(self, member: Member, request: Mapping[str, Any], mgn_mode: str) -> tuple[Scope, Decimal]:
        """Return the scope of a request, and its maximum leverage."""
        if member.acct_lv == "1":
            raise OrderRejected("51010", "You can't complete this request under your current account mode.")
        pos_side, ccy = str(request.get("posSide") or ""), str(request.get("ccy") or "")
        if mgn_mode == "isolated" and member.pooled:
            raise OrderRejected("50072", "Isolated margin is not available in your current account mode.")
        if not request.get("instId"):
            if not ccy:
                raise OrderRejected("50014", "Parameter instId can not be empty")
            if not member.pooled or mgn_mode != "cross" or ccy not in self._usd or pos_side:
                raise OrderRejected("51000", "Parameter ccy error")
            return (mgn_mode, ccy, ""), MAX_CURRENCY_LEVER
        instrument = self._instrument(member.uid, request)
        if ccy or instrument.is_option:
            raise OrderRejected("51000", "Parameter instId error")
        if instrument.is_spot and member.pooled:
            raise OrderRejected("51000", "Parameter instId error: leverage is set by ccy in this account mode")
        if member.acct_lv == "4":
            raise OrderRejected("51039", "Leverage can't be changed for cross derivatives in Portfolio margin mode.")
        sided = mgn_mode == "isolated" and member.two_sided and not instrument.is_spot
        if pos_side not in (("long", "short") if sided else ("", "net", "long", "short")):
            raise OrderRejected("51000", "Parameter posSide error")
        return scope_of(member, instrument, mgn_mode, pos_side), Decimal(instrument.max_lever)

    def _relever(self, member: Member, scope: Scope, lever: Decimal) -> None:
        """Change the leverage of a scope, and the margin of its positions."""
        account, isolated = self.account(member.uid), scope[0] == "isolated"
        for order in account.pending.values():
            if order.inst_type != "SPOT" and scope_of_order(member, order) == scope:
                code = "59101" if isolated else "59107"
                raise OrderRejected(code, "Leverage can't be modified. Please cancel all pending orders first.")
        positions = [
            each for each in account.positions.values() if each.pos and scope_of_position(member, each) == scope
        ]
        for position in positions:
            most = tiers.largest(position.instrument, text(lever))
            if most is not None and not position.instrument.is_spot and abs(position.pos) > most:
                raise OrderRejected("59104", "Leverage is too high. The position exceeds the limit of this leverage.")
            more = self._margin_at(position, lever) - self._margin_at(position, Decimal(position.lever))
            if more > self._margin_left(account, position.ccy):
                raise OrderRejected("59108", "Your account leverage is too low and has insufficient margin.")
        account.levers[scope] = text(lever)
        touched = self._touch(member.uid)
        for position in account.positions.values():
            if scope_of_position(member, position) != scope:
                continue
            if position.pos and position.isolated:
                self._add_margin(position, member.uid, self._margin_at(position, lever) - position.margin)
            position.lever = text(lever)
            if position.pos:
                touched.positions[position.key] = position
                touched.ccys.add(position.ccy)
        self._flush()

    def _margin_at(self, position: Position, lever: Decimal) -> Decimal:
        """The margin of a position at another leverage: at its average price if isolated, else at the mark."""
        instrument, mark = position.instrument, self._marks[position.instrument.inst_id]
        if isinstance(position, MarginPosition):
            return round(position.exposure(position.avg_px if position.isolated else mark) / lever, PLACES)
        return round(
            instrument.value(abs(position.pos), position.avg_px if position.isolated else mark) / lever, PLACES
        )

    def _add_margin(self, position: Position, uid: str, amount: Decimal) -> None:
        """Move margin between the balance and an isolated position; a bill of type 6."""
        position.margin += amount
        self.account(uid).post(
            self._next_id(), self._time, position.ccy, "6", "160" if amount > 0 else "161", -amount,
            sz=abs(amount), pos_bal=position.margin, pos_bal_chg=amount, instrument=position.instrument,
            mgn_mode="isolated", inst_type=position.inst_type,
        )  # fmt: skip
        self._touch(uid).paid(position.ccy)

    def set_position_mode(self, uid: str, request: Mapping[str, Any]) -> Row:
        """Set ``posMode`` by the body of ``POST account/set-position-mode``; nothing may be open or pending."""
        self._now()
        parameters.check("position-mode", request)
        member, account = self.members[uid], self.account(uid)
        pos_mode = parameters.choice(request, "posMode", "", "net_mode", "long_short_mode")
        if not pos_mode:
            raise OrderRejected("51000", "Parameter posMode error")
        if member.acct_lv not in ("2", "3"):
            raise OrderRejected("51010", "You can't complete this request under your current account mode.")
        open_ones = any(each.pos for each in account.positions.values() if not each.instrument.is_spot)
        waiting = [each.instrument for each in account.pending.values()]
        waiting += [each.instrument for each in account.waiting.values()]
        contracts = any(not instrument.is_spot for instrument in waiting)
        if pos_mode != member.pos_mode and (open_ones or contracts):
            raise OrderRejected(
                "59000", "Setting failed. Cancel any open orders, close positions, and stop trading bots first."
            )
        member.pos_mode = pos_mode
        return {"posMode": pos_mode}

    def leverage_rows(self, uid: str, mgn_mode: str, inst_id: str = "", ccy: str = "") -> list[Row]:
        """The rows of ``GET account/leverage-info`` of one instrument or currency: one a side in long/short mode."""
        member, account = self.members[uid], self.account(uid)
        if mgn_mode not in ("cross", "isolated"):
            raise OrderRejected("51000", "Parameter mgnMode error")
        if not inst_id:
            if not member.pooled or ccy not in self._usd:
                raise OrderRejected("51000", "Parameter ccy error")
            return [_leverage_row("", ccy, mgn_mode, "", lever_of(account, (mgn_mode, ccy, "")))]
        instrument = self._instrument(uid, {"instId": inst_id})
        if member.acct_lv == "4" and mgn_mode == "cross" and not instrument.is_spot:
            raise OrderRejected("59111", "Leverage query isn't supported in portfolio margin account mode")
        if instrument.is_spot and mgn_mode == "cross" and member.pooled:
            return [
                _leverage_row(inst_id, each, mgn_mode, "", lever_of(account, (mgn_mode, each, "")))
                for each in (instrument.base, instrument.quote)
            ]
        sides = ("long", "short") if member.two_sided and not instrument.is_spot else ("net",)
        levers = [lever_of(account, scope_of(member, instrument, mgn_mode, side)) for side in sides]
        return [_leverage_row(inst_id, "", mgn_mode, side, lever) for side, lever in zip(sides, levers, strict=True)]

    # Instruments that change while they are listed

    def set_state(self, inst_id: str, state: str) -> None:
        """Set the ``state`` of an instrument, and push it: ``suspend``, ``preopen``, ``post_only``, ``live`` …"""
        self._now()
        self.instruments[inst_id].state = state
        self._push_instrument(self.instruments[inst_id])

    def announce_change(self, inst_id: str, param: str, value: str, at_ms: int) -> None:
        """Announce a new ``tickSz``, ``lotSz``, ``minSz`` or ``maxMktSz`` (``upcChg``), made by a tick then."""
        if param not in _STEPS:
            raise ValueError(f"{param} is not one of {', '.join(_STEPS)}")
        self._now()
        change = {"param": param, "newValue": value, "effTime": str(at_ms)}
        self.instruments[inst_id].changes.append(change)
        self._push_instrument(self.instruments[inst_id])

    def _change_due(self) -> None:
        """Make the announced changes of instruments whose time has come."""
        for instrument in self.listed:
            for change in list(instrument.changes):
                if int(change["effTime"]) <= self._time:
                    setattr(instrument, _STEPS[change["param"]], Decimal(change["newValue"]))
                    instrument.changes.remove(change)
                    self._push_instrument(instrument)


_STEPS = {"tickSz": "tick_sz", "lotSz": "lot_sz", "minSz": "min_sz", "maxMktSz": "max_mkt_sz"}


def _leverage_row(inst_id: str, ccy: str, mgn_mode: str, pos_side: str, lever: str) -> Row:
    return {"ccy": ccy, "instId": inst_id, "lever": lever, "mgnMode": mgn_mode, "posSide": pos_side}
