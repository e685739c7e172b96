"""Checks of one account, at preview and again before each send. The first reason that applies is returned.

What concerns several children together is in ``together.py``.
"""

from collections.abc import Iterator
from typing import Final

import msgspec

from okxsync.config.trading import AccountTrading, TradingSettings
from okxsync.plans.document import Margin
from okxsync.plans.facts import AccountFacts, Instrument, SystemFacts
from okxsync.plans.prices import MAX_AGE_MS, Quotes
from okxsync.plans.reasons import Reason

STALE_MS: Final = 15_000
"""OKX pushes ``account`` every few seconds: so long without any frame is no silence of the market."""
CLOCK_AGE_MS: Final = 600_000
CLOCK_ERROR_MS: Final = 250
MODE_NAMES: Final = {"1": "Spot", "2": "Futures", "3": "Multi-currency", "4": "Portfolio margin"}
"""By ``acctLv``."""


class Finding(msgspec.Struct, frozen=True):
    """Why something is not sent."""

    reason: Reason
    detail: str


def find_rail(trading: TradingSettings, account: AccountFacts, system: SystemFacts, inst_id: str) -> Finding | None:
    """Return which safety rail forbids the order, apart from ``halted`` and the limits on sums."""
    return next(_rails(trading, account, system, inst_id), None)


def _rails(trading: TradingSettings, account: AccountFacts, system: SystemFacts, inst_id: str) -> Iterator[Finding]:
    own = trading.accounts.get(account.name, AccountTrading())
    if not trading.enabled:
        yield Finding(Reason.TRADING_OFF, "[trading] enabled = false")
    if not account.demo and not trading.live:
        yield Finding(Reason.NOT_LIVE, "a live account, and [trading] live = false")
    if not own.trading:
        yield Finding(Reason.ACCOUNT_OFF, "trading = false")
    if system.file_mode:
        yield Finding(Reason.FILE_MODE, system.file_mode)
    if own.limits.instruments is not None and inst_id not in own.limits.instruments:
        yield Finding(Reason.INSTRUMENT_NOT_LISTED, inst_id)


def find_unready(account: AccountFacts, system: SystemFacts) -> Finding | None:
    """Return why the state of the account, its connection or its mirror does not allow an order."""
    return next(_unready(account, system), None)


def _unready(account: AccountFacts, system: SystemFacts) -> Iterator[Finding]:
    if account.barred:
        yield Finding(account.barred, account.barred_detail)
    if "trade" not in account.permissions:
        found = ", ".join(sorted(account.permissions)) or "not known"
        yield Finding(Reason.NO_PERMISSION, f"permissions: {found}")
    if not account.live:
        yield Finding(Reason.NOT_CONNECTED, "the private connection is not live")
    if (age := system.now_ms - account.frame_ms) > STALE_MS:
        yield Finding(Reason.STALE, f"the last frame is {age / 1000:.1f} s old" if account.frame_ms else "no frame")
    if account.gaps:
        yield Finding(Reason.ORDERS_UNCOVERED, f"open gap: {', '.join(account.gaps)}")
    if account.doubted:
        yield Finding(Reason.DOUBTED, ", ".join(account.doubted))
    if account.unmirrored:
        yield Finding(Reason.NOT_MIRRORED, f"not configured: {', '.join(account.unmirrored)}")
    if not system.clock_ms or system.now_ms - system.clock_ms > CLOCK_AGE_MS:
        yield Finding(Reason.CLOCK, "not measured in the last 10 minutes")
    if system.clock_error_ms > CLOCK_ERROR_MS:
        yield Finding(Reason.CLOCK, f"the error is {system.clock_error_ms} ms")


def find_untradable(account: AccountFacts, inst_id: str, ord_type: str, now_ms: int, valid_ms: int) -> Finding | None:
    """Return why the account cannot trade the instrument while the plan is valid.

    In the state ``post_only`` OKX accepts orders of that type alone.
    """
    if account.instruments is None:
        return Finding(Reason.NOT_OFFERED, "the instruments of the account are not known")
    if not (instrument := account.instruments.get(inst_id)):
        return Finding(Reason.NOT_OFFERED, inst_id)
    if instrument.state != "live" and not instrument.state == ord_type == "post_only":
        return Finding(Reason.NOT_TRADING, f"state {instrument.state}")
    if instrument.change_ms and now_ms <= instrument.change_ms <= now_ms + valid_ms:
        return Finding(Reason.PRE_CHANGE, f"a change takes effect in {(instrument.change_ms - now_ms) // 1000} s")
    return None


def find_known_refusal(account: AccountFacts, inst_id: str) -> Finding | None:
    """Return what is known about the account that OKX will refuse again."""
    if reason := account.known.get(inst_id) or account.known.get(""):
        return Finding(reason, "OKX has refused this in the last 24 hours")
    if inst_id in account.lead_instruments:
        return Finding(Reason.LEAD_TRADER, inst_id)
    return Finding(Reason.MANAGED_LEFT, "unbound from the trading team") if account.managed_left else None


def td_mode_of(account: AccountFacts, margin: Margin | None, instrument: Instrument) -> str | Finding:
    """Return ``tdMode`` (T 3.1); ``margin`` is what the leg says.

    Only the modes that OKX documents without contradiction are offered: isolated in Futures mode alone, spot without
    borrowing.
    """
    if not (name := MODE_NAMES.get(account.mode)):
        return Finding(Reason.MODE, f'account mode "{account.mode}" is not known')
    if instrument.kind == "spot":
        legal = {"1": "cash", "2": "cash"}.get(account.mode, "cross")
        allowed = {legal}
    else:
        legal = "cross"
        allowed = {"1": set[str](), "2": {"cross", "isolated"}}.get(account.mode, {"cross"})
    chosen = margin or legal
    if chosen not in allowed:
        return Finding(Reason.MODE, f"{instrument.inst_type} {chosen} is not possible in {name} mode")
    return chosen


def find_pos_mode(account: AccountFacts, instrument: Instrument) -> Finding | None:
    """Return whether the position mode is one that plans know."""
    if instrument.kind == "spot" or account.pos_mode in ("net_mode", "long_short_mode"):
        return None
    return Finding(Reason.POS_MODE, f'position mode "{account.pos_mode}" is not known')


def find_stale_price(quotes: Quotes | None, now_ms: int) -> Finding | None:
    """Return whether the reference prices are missing or too old."""
    if quotes is None:
        return Finding(Reason.PRICE_STALE, "no price")
    if (age := now_ms - quotes.at_ms) > MAX_AGE_MS:
        return Finding(Reason.PRICE_STALE, f"the price is {age / 1000:.1f} s old")
    return None
