"""What a preview is computed from: the state of accounts, instruments and prices, each with its time.

Frozen values, collected elsewhere. Sizes are in the unit of ``sz``: contracts, for spot the base currency. Times are
the exchange's milliseconds.
"""

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any, Final, Literal

import msgspec

from okxsync.okx import models
from okxsync.plans.prices import Quotes
from okxsync.plans.reasons import Reason


class Instrument(msgspec.Struct, frozen=True, kw_only=True):
    """An instrument as an account may trade it.

    Attributes:
        kind: What a contract is worth: ``linear`` in the quote currency, ``inverse`` in USD.
        cv: Coins per contract; inverse: USD per contract; spot: 1.
        max_limit: The largest order with a price; None: no limit.
        max_market: The largest market order, in the unit of ``sz``; None: no limit, and for spot.
        max_limit_usd: Likewise in USD.
        max_market_usd: Likewise in USD.
        long_quota: In USD, shared by all accounts of a master; None: no limit.
        code: ``instIdCode``, by which a request over WebSocket names it; None: OKX did not say.
        family, group: ``instFamily``, and ``groupId``: the group of instruments with the same fees.
        change_ms: When OKX next changes lot, tick or limits; 0: no change is announced.
    """

    inst_id: str
    inst_type: str
    kind: Literal["linear", "inverse", "spot"]
    base: str
    quote: str
    settle: str
    cv: Decimal
    lot: Decimal
    min_size: Decimal
    tick: Decimal
    max_limit: Decimal | None = None
    max_market: Decimal | None = None
    max_limit_usd: Decimal | None = None
    max_market_usd: Decimal | None = None
    long_quota: Decimal | None = None
    short_quota: Decimal | None = None
    state: str = "live"
    change_ms: int = 0
    at_ms: int = 0
    family: str = ""
    group: str = ""
    code: int | None = None

    @property
    def smallest(self) -> Decimal:
        return max(self.min_size, self.lot)


class Balance(msgspec.Struct, frozen=True):
    """A currency: equity, equity in USD, and what is free."""

    eq: Decimal
    eq_usd: Decimal | None = None
    available: Decimal | None = None


class Position(msgspec.Struct, frozen=True):
    """A position; ``size`` is signed in net mode, and above 0 for ``long`` and ``short``."""

    inst_id: str
    margin: str
    pos_side: str
    size: Decimal


class OpenOrder(msgspec.Struct, frozen=True):
    """A resting order or algo order; ``reduces``: it can only reduce a position.

    ``cl_ord_id`` is the client's id, of either kind.
    """

    inst_id: str
    side: str
    pos_side: str = ""
    reduces: bool = False
    cl_ord_id: str = ""


class MaxSize(msgspec.Struct, frozen=True):
    """Answers of ``max-size`` (unit of ``sz``) and ``max-avail-size`` (spot: buy in quote, sell in base currency)."""

    buy: Decimal | None = None
    sell: Decimal | None = None
    avail_buy: Decimal | None = None
    avail_sell: Decimal | None = None


class AccountFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One account.

    Attributes:
        site: Prices are looked up by it and ``demo``.
        barred: Why the account is not used at all: ``no-key``, ``key-refused``, ``barred``; or None.
        live: Whether the private connection is live.
        frame_ms: When the last frame was received; 0: never.
        gaps: Channels with an open gap, of orders, positions and account.
        doubted: Channels that may have missed a push.
        unmirrored: Channels that trading needs and that are not configured.
        mode: ``acctLv``; ``""``: not known.
        pos_mode: ``net_mode`` or ``long_short_mode``; ``""``: not known.
        permissions: Of the key.
        uid: With ``main_uid``, whose limits it shares.
        lead_instruments: On which the account is a lead trader.
        known: Refusals of the last 24 hours that will be repeated: by instrument id, ``""`` for all.
        equity: Total in USD.
        free_equity: In USD; None: only known by currency.
        instruments: What the account may trade; None: not known.
        levers: By instrument id, margin mode and position side (``""`` in net mode).
        max_sizes: By instrument id and tdMode.
        takers: The fee of a taker, as a share, by instrument id.
    """

    name: str
    site: str = "global"
    demo: bool = True
    barred: Reason | None = None
    barred_detail: str = ""
    live: bool = True
    frame_ms: int = 0
    gaps: tuple[str, ...] = ()
    doubted: tuple[str, ...] = ()
    unmirrored: tuple[str, ...] = ()
    mode: str = ""
    pos_mode: str = ""
    permissions: frozenset[str] = frozenset()
    uid: str = ""
    main_uid: str = ""
    managed_left: bool = False
    lead_instruments: frozenset[str] = frozenset()
    known: Mapping[str, Reason] = {}
    equity: Decimal | None = None
    free_equity: Decimal | None = None
    equity_ms: int = 0
    balances: Mapping[str, Balance] = {}
    positions: tuple[Position, ...] = ()
    positions_ms: int = 0
    open_orders: tuple[OpenOrder, ...] = ()
    instruments: Mapping[str, Instrument] | None = None
    levers: Mapping[tuple[str, str, str], Decimal] = {}
    max_sizes: Mapping[tuple[str, str], MaxSize] = {}
    takers: Mapping[str, Decimal] = {}

    @property
    def master(self) -> str:
        """Accounts of one master share quotas, and their orders never trade with each other."""
        return self.main_uid or self.uid or f"account {self.name}"


class SystemFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What concerns all accounts.

    Attributes:
        now_ms: The exchange's time of the preview or of the check.
        halted: Why trading is halted; ``""``: it is not.
        file_mode: What is wrong with the owner or the mode of the database file; ``""``: nothing.
        clock_ms: When the exchange's clock was measured; 0: never.
        clock_error_ms: How wrong the measurement can be.
        day_usd: Approved today (UTC), and how much of it by account.
        quotes: By site, demo and instrument id.
    """

    now_ms: int
    halted: str = ""
    file_mode: str = ""
    clock_ms: int = 0
    clock_error_ms: int = 0
    day_usd: Decimal = Decimal(0)
    day_usd_of: Mapping[str, Decimal] = {}
    quotes: Mapping[tuple[str, bool, str], Quotes] = {}


NEVER_MS: Final = 0


def instrument_of(row: models.Instrument, at_ms: int) -> Instrument | None:
    """Return an instrument from a row of ``account/instruments``; None if a number that trading needs is missing."""
    parts = row.inst_id.split("-")
    spot = row.inst_type == "SPOT"
    cv = Decimal(1)
    if not spot:
        value, mult = decimal_of(row.ct_val), decimal_of(row.ct_mult) or Decimal(1)
        if value is None or row.ct_type not in ("linear", "inverse"):
            return None
        cv = value * mult
    lot, min_size, tick = decimal_of(row.lot_sz), decimal_of(row.min_sz), decimal_of(row.tick_sz)
    if not (lot and min_size and tick and len(parts) > 1 and min(cv, lot, min_size, tick) > 0):
        return None
    quote = row.quote_ccy or parts[1].partition("_")[0]
    return Instrument(
        inst_id=row.inst_id,
        inst_type=row.inst_type,
        kind="spot" if spot else "linear" if row.ct_type == "linear" else "inverse",
        base=row.base_ccy or parts[0],
        quote=quote,
        settle=row.settle_ccy or quote,
        cv=cv,
        lot=lot,
        min_size=min_size,
        tick=tick,
        max_limit=decimal_of(row.max_lmt_sz),
        max_market=None if spot else decimal_of(row.max_mkt_sz),
        max_limit_usd=decimal_of(row.max_lmt_amt),
        max_market_usd=decimal_of(row.max_mkt_amt),
        long_quota=decimal_of(row.long_pos_remaining_quota),
        short_quota=decimal_of(row.short_pos_remaining_quota),
        state=row.state,
        change_ms=_next_change(row.upc_chg, at_ms),
        at_ms=at_ms,
        family=row.inst_family,
        group=row.group_id,
        code=int(code) if (code := str(row.inst_id_code)).isascii() and code.isdigit() else None,
    )


MAX_DIGITS: Final = 60
"""Before and after the decimal point. Arithmetic with ``1e999999`` would overflow, or take minutes."""


def decimal_of(text: object) -> Decimal | None:
    """Return a number of OKX; None if there is none, or one that no amount can have."""
    try:
        found = Decimal(str(text))
    except InvalidOperation:
        return None
    if not found.is_finite() or len(found.as_tuple().digits) > MAX_DIGITS or abs(found.adjusted()) > MAX_DIGITS:
        return None
    return found


def _next_change(announced: msgspec.Raw | bytes | str, at_ms: int) -> int:
    """Return when the first announced change after ``at_ms`` takes effect; 0: none is announced."""
    try:
        rows = msgspec.json.decode(announced, type=list[dict[str, Any]])
    except msgspec.MsgspecError:
        return NEVER_MS
    times = [int(text) for row in rows if (text := str(row.get("effTime", ""))).isdigit()]
    return min((time for time in times if time > at_ms), default=NEVER_MS)


def usd_rate(balances: Mapping[str, Balance], ccy: str) -> tuple[Fraction, bool] | None:
    """Return USD per unit of a currency, and whether that is an assumption.

    It comes from the account's own balance. Without one, a currency whose name begins with USD counts as 1; the rate of
    any other is not known.
    """
    if ccy == "USD":
        return Fraction(1), False
    held = balances.get(ccy)
    if held and held.eq and held.eq_usd and held.eq_usd / held.eq > 0:
        return Fraction(held.eq_usd) / Fraction(held.eq), False
    return (Fraction(1), True) if ccy.startswith("USD") else None
