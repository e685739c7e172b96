"""Facts and plans for the tests of previews."""

from decimal import Decimal
from typing import Any, Final

from msgspec.structs import replace

from okxsync.config.trading import AccountTrading, Limits, TradingSettings
from okxsync.plans.document import Plan
from okxsync.plans.facts import AccountFacts, Balance, Instrument, MaxSize, Position, SystemFacts
from okxsync.plans.plan_file import read
from okxsync.plans.preview import Preview, make_preview
from okxsync.plans.prices import Quotes

D = Decimal
NOW = 1_700_000_000_000
PLAN_ID = "0123456789A"
BTC = "BTC-USDT-SWAP"
INVERSE = "BTC-USD-SWAP"
SPOT = "BTC-USDT"
PX = D("67012.3")

SWAP = Instrument(
    inst_id=BTC,
    inst_type="SWAP",
    kind="linear",
    base="BTC",
    quote="USDT",
    settle="USDT",
    cv=D("0.01"),
    lot=D("0.01"),
    min_size=D("0.01"),
    tick=D("0.1"),
    at_ms=NOW,
)
INVERSE_SWAP = replace(
    SWAP, inst_id=INVERSE, kind="inverse", quote="USD", settle="BTC", cv=D(100), lot=D(1), min_size=D(1)
)
SPOT_PAIR = replace(
    SWAP, inst_id=SPOT, inst_type="SPOT", kind="spot", cv=D(1), lot=D("0.00000001"), min_size=D("0.00001")
)
QUOTES = Quotes(PX, PX, PX - 1, PX + 1, PX, at_ms=NOW)
LARGE = MaxSize(D(10**9), D(10**9), D(10**9), D(10**9))


def account(name: str = "alpha", **changes: Any) -> AccountFacts:
    """An account in Futures mode with 12345.67 USDT, which may trade everything, and has no position."""
    instruments = {one.inst_id: one for one in (SWAP, INVERSE_SWAP, SPOT_PAIR)}
    defaults: dict[str, Any] = {
        "name": name,
        "frame_ms": NOW,
        "mode": "2",
        "pos_mode": "net_mode",
        "permissions": frozenset({"read_only", "trade"}),
        "uid": f"uid-{name}",
        "equity": D("12345.67"),
        "equity_ms": NOW,
        "balances": {"USDT": Balance(D("12345.67"), D("12345.67"), D(10000))},
        "instruments": instruments,
        "levers": {(inst_id, "cross", ""): D(3) for inst_id in instruments},
        "max_sizes": {(inst_id, mode): LARGE for inst_id in instruments for mode in ("cash", "cross", "isolated")},
    }
    return AccountFacts(**(defaults | changes))


def position(size: str, inst_id: str = BTC, pos_side: str = "net", margin: str = "cross") -> Position:
    return Position(inst_id, margin, pos_side, D(size))


def system(**changes: Any) -> SystemFacts:
    quotes = {("global", True, inst_id): QUOTES for inst_id in (BTC, INVERSE, SPOT)}
    return replace(SystemFacts(now_ms=NOW, clock_ms=NOW, clock_error_ms=5, quotes=quotes), **changes)


def trading(*names: str, own: Limits | None = None, **changes: Any) -> TradingSettings:
    each = AccountTrading(True, limits=own or Limits())
    return replace(TradingSettings(enabled=True, accounts=dict.fromkeys(names, each)), **changes)


CONTRACTS: Final = """
title = "contracts at the market"
valid_for = "{valid_for}"
[accounts]
include = ["all"]
order = "name"
[[legs]]
instrument = "BTC-USDT-SWAP"
side = "buy"
price = "mark +1%"
[legs.size]
rule = "contracts"
value = "{contracts}"
[failure]
canary = 0
"""
"""The text of a plan that buys on all accounts at once."""
ONE: Final = 'rule = "contracts"\nvalue = 1'


def plan(size: str = ONE, leg: str = 'side = "buy"', more: str = "", inst: str = BTC) -> Plan:
    """A plan with one leg at the mark price, for all accounts in the order of their names."""
    price = "" if "price" in leg or "type" in leg else 'price = "mark"\n'
    return read(
        f'title = "t"\n[[legs]]\ninstrument = "{inst}"\n{price}{leg}\n[legs.size]\n{size}\n'
        f'[accounts]\ninclude = ["all"]\norder = "name"\n{more}'
    )


def preview(
    of: Plan, *accounts: AccountFacts, rails: TradingSettings | None = None, facts: SystemFacts | None = None
) -> Preview:
    given = accounts or (account(),)
    names = [one.name for one in given]
    return make_preview(of, PLAN_ID, {one.name: one for one in given}, rails or trading(*names), facts or system())
