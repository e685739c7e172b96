"""Checks of one order that need its size: limits, price, trigger prices, slices, funds."""

from decimal import Decimal
from fractions import Fraction

from okxsync.config.trading import AccountTrading, TradingSettings
from okxsync.plans.checks import Finding
from okxsync.plans.children import plain
from okxsync.plans.document import Plan
from okxsync.plans.drafts import Draft, Ground
from okxsync.plans.prices import order_price, trigger_price, why_outside, why_wrong_side
from okxsync.plans.reasons import Reason
from okxsync.plans.sizing import in_cents, in_rounds, notional, slices, to_decimal


class SizeChecks:
    """The checks of one plan; funds that one order uses are not there for the next one of the account."""

    def __init__(self, plan: Plan, trading: TradingSettings) -> None:
        self.plan = plan
        self._trading = trading
        self._used: dict[tuple[str, str, str, str], Fraction] = {}
        self._reduces: set[str] = set()

    def find(self, draft: Draft, ground: Ground) -> Finding | None:
        """Set price, trigger prices and slices of a draft with a size; return why it is skipped."""
        leg, side = draft.leg, draft.side
        assert side
        limits = self._trading.accounts.get(draft.account.name, AccountTrading()).limits
        highest = [one for one in (limits.order_usd, self.plan.limits.max_order_usd) if one is not None]
        if highest and draft.usd > Fraction(min(highest)):
            return Finding(Reason.LIMIT_ORDER, f"{in_cents(draft.usd)} USD, at most {plain(min(highest))}")
        opposite = draft.before.short if side == "buy" else draft.before.long
        if leg.pos_side and not ground.long_short and not draft.reduces and opposite:
            return Finding(Reason.POS_MODE, f"in net mode this {side} reduces the opposite position")
        tick = ground.instrument.tick
        if leg.price:
            draft.px = order_price(leg.price, ground.reference, side, tick, aggressive=leg.side == "auto")
            if why := why_outside(draft.px, side, ground.quotes, limits.price_band):
                return Finding(Reason.OUTSIDE_BAND, why)
        if leg.protect and not draft.reduces and (why := _protect(draft, ground)):
            return Finding(Reason.OUTSIDE_BAND, why)
        ceiling = _ceiling(draft, ground)
        for size in in_rounds(draft.size, self.plan.rounds, ground.instrument):
            if (parts := slices(size, ceiling, ground.instrument)) is None:
                return Finding(Reason.OVER_MAX, f"{plain(size)} cannot be divided into orders that OKX allows")
            draft.rounds.append(parts)
        if draft.reduces:
            _warn_of_own_orders(draft)
            self._reduces.add(draft.account.name)
            return None
        return self._find_no_margin(draft, ground)

    def _find_no_margin(self, draft: Draft, ground: Ground) -> Finding | None:
        """Compare with what OKX says is possible; all legs of an account count together."""
        spot = ground.instrument.kind == "spot"
        found = draft.account.max_sizes.get((draft.leg.instrument, ground.td_mode))
        buys = draft.side == "buy"
        px = max(draft.px or ground.reference, ground.reference)
        need, possible = Fraction(draft.size), None
        if found:
            possible = found.buy if buys else found.sell
            if spot and buys and found.avail_buy is not None:
                need, possible = notional(ground.instrument, draft.size, px), found.avail_buy
            elif spot and not buys and found.avail_sell is not None:
                possible = found.avail_sell
        if possible is None:
            draft.warnings.append("the largest possible size is not known")
            return None
        key = (draft.account.name, draft.leg.instrument, ground.td_mode, str(draft.side))
        used = self._used.get(key, Fraction(0))
        if need + used > Fraction(possible):
            detail = f"{plain(to_decimal(need + used))} needed, {plain(possible)} possible"
            if draft.account.name not in self._reduces:
                return Finding(Reason.NO_MARGIN, detail)
            draft.warnings.append(f"{detail} before the reductions of the plan")
        self._used[key] = used + need
        return None


def _protect(draft: Draft, ground: Ground) -> str:
    """Set the trigger prices; return why OKX would reject them."""
    protect, side = draft.leg.protect, draft.side
    assert protect
    assert side
    px = draft.px or ground.reference
    take_profit, stop_loss = (
        trigger_price(offset, px, side, ground.instrument.tick, in_favour=draft.leg.side == "auto") if offset else None
        for offset in (protect.take_profit, protect.stop_loss)
    )
    draft.take_profit, draft.stop_loss = take_profit, stop_loss
    return why_wrong_side(side, px, take_profit, stop_loss, ground.quotes.of(protect.trigger))


def _ceiling(draft: Draft, ground: Ground) -> Decimal | None:
    """Return the largest order in the unit of ``sz``; None: there is no limit."""
    instrument = ground.instrument
    market = draft.leg.type == "market"
    by_size = instrument.max_market if market else instrument.max_limit
    by_usd = instrument.max_market_usd if market else instrument.max_limit_usd
    found = [] if not by_size else [by_size]
    if by_usd:
        worth_of_one = notional(instrument, Decimal(1), max(draft.px or ground.reference, ground.reference))
        found.append(to_decimal(Fraction(by_usd) / (worth_of_one * ground.usd)))
    return min(found, default=None)


def _warn_of_own_orders(draft: Draft) -> None:
    if any(
        order.inst_id == draft.leg.instrument and order.reduces and order.side == draft.side
        for order in draft.account.open_orders
    ):
        draft.warnings.append(Reason.OWN_ORDER_AHEAD.value)
