"""What is known of an account and a leg before there is a size: checks that need none, prices, leverage, position."""

from decimal import Decimal
from fractions import Fraction

from okxsync.config.trading import TradingSettings
from okxsync.plans.checks import (
    Finding,
    find_known_refusal,
    find_pos_mode,
    find_rail,
    find_stale_price,
    find_unready,
    find_untradable,
    td_mode_of,
)
from okxsync.plans.document import Leg, Plan
from okxsync.plans.drafts import Ground
from okxsync.plans.facts import AccountFacts, Instrument, SystemFacts, usd_rate
from okxsync.plans.prices import Quotes
from okxsync.plans.reasons import Reason
from okxsync.plans.sizing import Holding


def ground_of(
    plan: Plan, leg: Leg, account: AccountFacts, trading: TradingSettings, system: SystemFacts
) -> Ground | Finding:
    """Return what the leg's size is computed from, or why the account is skipped."""
    now_ms = system.now_ms
    finding = (
        find_rail(trading, account, system, leg.instrument)
        or find_unready(account, system)
        or find_untradable(account, leg.instrument, leg.type, now_ms, plan.valid_for * 1000)
    )
    if finding:
        return finding
    assert account.instruments is not None
    instrument = account.instruments[leg.instrument]
    td_mode = td_mode_of(account, leg.margin, instrument)
    if isinstance(td_mode, Finding):
        return td_mode
    long_short = instrument.kind != "spot" and account.pos_mode == "long_short_mode"
    lever = lever_of(account, leg, td_mode) if instrument.kind != "spot" else Decimal(1)
    quotes = system.quotes.get((account.site, account.demo, leg.instrument))
    finding = (
        find_pos_mode(account, instrument)
        or _find_leverage(account, leg, lever)
        or find_known_refusal(account, leg.instrument)
        or find_stale_price(quotes, now_ms)
    )
    if finding:
        return finding
    assert quotes is not None
    reference = reference_of(leg, instrument, quotes)
    if isinstance(reference, Finding):
        return reference
    rate = (Fraction(1), False) if instrument.kind == "inverse" else usd_rate(account.balances, instrument.quote)
    if rate is None:
        return Finding(Reason.PRICE_STALE, f"the price of {instrument.quote} in USD is not known")
    sets = leg.leverage is not None and leg.leverage.set and lever != leg.leverage.value
    if leg.leverage:
        lever = leg.leverage.value
    return Ground(instrument, td_mode, long_short, quotes, reference, *rate, lever, sets)


def reference_of(leg: Leg, instrument: Instrument, quotes: Quotes) -> Decimal | Finding:
    """Return the price of the base of the leg's price; a spot pair without a mark price has its last one."""
    base = leg.price.base if leg.price else None
    found = quotes.of(None if base == "mark" and instrument.kind == "spot" else base)
    if found is None or found <= 0:
        return Finding(Reason.PRICE_STALE, f"no {base or 'mark'} price")
    return found


def lever_of(account: AccountFacts, leg: Leg, td_mode: str) -> Decimal | None:
    """Return the leverage of the position that the leg concerns; None: not known."""
    sides = [leg.pos_side] if leg.pos_side else ["long", "short"]
    keys = [(leg.instrument, td_mode, side) for side in (*sides, "net", "")]
    return min((account.levers[key] for key in keys if key in account.levers), default=None)


def _find_leverage(account: AccountFacts, leg: Leg, lever: Decimal | None) -> Finding | None:
    if leg.leverage is None or lever == leg.leverage.value:
        return None
    if account.mode == "4":
        return Finding(Reason.LEVERAGE, "in Portfolio margin mode an instrument has no leverage of its own")
    if leg.leverage.set:
        return None
    found = "not known" if lever is None else f"{lever:f}"
    return Finding(Reason.LEVERAGE, f"{found}, required is {leg.leverage.value:f}")


def holding_of(account: AccountFacts, instrument: Instrument, td_mode: str) -> Holding:
    """Return the position of an account; for spot the balance of the base currency."""
    if instrument.kind == "spot":
        balance = account.balances.get(instrument.base)
        if not balance or balance.eq <= 0:
            return Holding(free=Fraction(0))
        free = balance.eq if balance.available is None else min(balance.available, balance.eq)
        return Holding(Fraction(balance.eq), free=Fraction(max(free, Decimal(0))))
    long = short = Decimal(0)
    for position in account.positions:
        if position.inst_id != instrument.inst_id or position.margin != td_mode:
            continue
        if position.pos_side == "long" or (position.pos_side != "short" and position.size > 0):
            long += abs(position.size)
        else:
            short += abs(position.size)
    return Holding(Fraction(long), Fraction(short))


def money_of(account: AccountFacts, ground: Ground) -> tuple[Fraction | None, Fraction | None]:
    """Return the equity in the settle currency, and the free equity, both in the currency of T; None: not known."""
    instrument = ground.instrument
    balance = account.balances.get(instrument.settle)
    rate: Fraction | None = None
    if instrument.kind != "inverse" and instrument.settle == instrument.quote:
        rate = Fraction(1)
    elif known := usd_rate(account.balances, instrument.settle):
        rate = known[0] / ground.usd
    settle = free = None
    if balance and rate is not None:
        settle = Fraction(balance.eq) * rate
        free = Fraction(balance.available) * rate if balance.available is not None else None
    if account.free_equity is not None:
        free = Fraction(account.free_equity) / ground.usd
    return settle, free
