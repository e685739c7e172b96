"""The instruments that an exchange can list: spot pairs, swaps, and contracts that expire.

`INSTRUMENTS` are the ones that an exchange has by default; `catalogue` adds others by type.
"""

from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from okxsync.sandbox.exchange.instruments import Instrument, text

TYPES = ("SPOT", "MARGIN", "SWAP", "FUTURES", "OPTION")
FIRST_EXPIRY = datetime(2026, 12, 25, 8, tzinfo=UTC)
"""The date in the names of the first expiring contracts. Their successors are a week later each, whenever they are
listed: names must not repeat even if an exchange lets contracts expire every few seconds."""
_D = Decimal


def _spot(code: int, base: str, px: str, tick: str, lot: str, least: str) -> Instrument:
    return Instrument(f"{base}-USDT", "SPOT", code, base, "USDT", _D(px), _D(tick), _D(lot), _D(least), max_lever="10")


def _swap(code: int, base: str, px: str, tick: str, ct_val: str) -> Instrument:
    lot = _D("0.01")
    inst_id = f"{base}-USDT-SWAP"
    return Instrument(inst_id, "SWAP", code, base, "USDT", _D(px), _D(tick), lot, lot, _D(ct_val), "100")


INSTRUMENTS = (
    _spot(10461, "BTC", "60000", "0.1", "0.00000001", "0.00001"),
    _spot(10462, "ETH", "2500", "0.01", "0.000001", "0.0001"),
    _swap(10459, "BTC", "60000", "0.1", "0.01"),
    _swap(10463, "ETH", "2500", "0.01", "0.1"),
)
INVERSE = Instrument(
    "BTC-USD-SWAP", "SWAP", 10464, "BTC", "USD", _D(60000), _D("0.1"), _D(1), _D(1), _D(100), "100", inverse=True
)
_LINEAR_FUTURE = replace(INSTRUMENTS[2], inst_id="BTC-USDT", inst_type="FUTURES", code=20001)
_INVERSE_FUTURE = replace(INVERSE, inst_id="BTC-USD", inst_type="FUTURES", code=20002)
_OPTION = Instrument(
    "BTC-USD", "OPTION", 20003, "BTC", "USD", _D("0.03"), _D("0.0001"), _D(1), _D(1), _D("0.01"), stk=_D(60000)
)


def expiring(types: Collection[str], generation: int, exp_time: int) -> list[Instrument]:
    """The futures and options that expire at `exp_time` (ms); each generation has names of its own."""
    date = f"{FIRST_EXPIRY + timedelta(weeks=generation):%y%m%d}"
    found = [replace(each, inst_id=f"{each.inst_id}-{date}") for each in (_LINEAR_FUTURE, _INVERSE_FUTURE)]
    for number, opt_type in enumerate("CP"):
        name = f"{_OPTION.inst_id}-{date}-{text(_OPTION.stk)}-{opt_type}"
        found.append(replace(_OPTION, inst_id=name, opt_type=opt_type, code=_OPTION.code + number))
    return [
        replace(each, exp_time=exp_time, code=each.code + 10 * generation) for each in found if each.inst_type in types
    ]


def catalogue(types: Collection[str]) -> list[Instrument]:
    """The instruments without expiry of these types; spot pairs are always there, because they are the index."""
    found = [each for each in INSTRUMENTS if each.is_spot or each.inst_type in types]
    return [*found, INVERSE] if "SWAP" in types else found
