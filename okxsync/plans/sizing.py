"""How much an account trades: from a rule to orders, in exact arithmetic.

Amounts are fractions until they are rounded to lots. T, the money of a leg, is in the quote currency; for inverse
contracts it is in USD. ``present`` is the position, ``lot`` the smallest step of a size.
"""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Final, Literal

import msgspec

from okxsync.plans.children import plain
from okxsync.plans.document import SPLITS, Leg, Unit
from okxsync.plans.facts import Instrument
from okxsync.plans.prices import Side
from okxsync.plans.reasons import Reason

MAX_SLICES: Final = 100
"""Per order of an account; more are a mistake, not an order."""
PLACES: Final = 12
"""Decimal places of amounts that have no end as a decimal."""


class Holding(msgspec.Struct, frozen=True):
    """A position: one of the two in net mode, maybe both in long/short mode. Spot: the balance of the base currency.

    ``free`` is how much of ``long`` can be sold; None: all of it.
    """

    long: Fraction = Fraction(0)
    short: Fraction = Fraction(0)
    free: Fraction | None = None

    @property
    def net(self) -> Fraction:
        return self.long - self.short

    def after(self, side: Side, size: Fraction, *, reduces: bool, long_short: bool) -> "Holding":
        """Return the position after an order is filled."""
        signed = size if side == "buy" else -size
        if not long_short:
            net = self.net + signed
            free = None if self.free is None else max(self.free + signed, Fraction(0))
            return Holding(max(net, Fraction(0)), max(-net, Fraction(0)), free)
        if (side == "buy") is not reduces:
            return Holding(self.long + signed, self.short)
        return Holding(self.long, self.short - signed)


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """What a rule needs to know about an account.

    Attributes:
        reference: The price with which money becomes a size.
        usd: USD per unit of the currency of T.
        equity: Total in USD; None: not known.
        settle: Equity in the currency of T, of the settle currency alone.
        free: Free equity in the currency of T.
        lever: None: not known.
        lots: The share of a split, in lots.
        exact_lots: The same before rounding.
        scale: By which a share of the equity is reduced, so that cash is left.
        leader: Signed position of the followed account in the unit of ``sz``, per USD of its equity.
    """

    account: str
    instrument: Instrument
    reference: Fraction
    usd: Fraction
    equity: Fraction | None = None
    settle: Fraction | None = None
    free: Fraction | None = None
    lever: Fraction | None = None
    holding: Holding = Holding()
    lots: int | None = None
    exact_lots: Fraction | None = None
    leader: Fraction | None = None
    scale: Fraction = Fraction(1)


class Piece(msgspec.Struct, frozen=True):
    """An order, before it is divided into slices.

    Attributes:
        reduces: Whether it can only reduce the position.
        size: On the lot; what it would be if ``reason`` is set.
        remainder: What rounding leaves, in the currency of T; below 0 for an order that was rounded up.
        reason: Why it is skipped; None: it is not.
    """

    side: Side
    reduces: bool
    size: Decimal
    remainder: Fraction = Fraction(0)
    reason: Reason | None = None
    detail: str = ""


class Refusal(Exception):
    """The rule gives no order for this account."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


# Arithmetic (T 8)


def notional(instrument: Instrument, size: Decimal | Fraction, px: Decimal | Fraction) -> Fraction:
    """Return what a size is worth: in the quote currency, for inverse contracts in USD."""
    return Fraction(size) * _worth(instrument, Fraction(px))


def coins(instrument: Instrument, size: Decimal | Fraction, px: Decimal | Fraction) -> Fraction:
    """Return a size in the base currency."""
    amount = Fraction(size) * Fraction(instrument.cv)
    return amount / Fraction(px) if instrument.kind == "inverse" else amount


def size_of_money(instrument: Instrument, money: Fraction, px: Fraction) -> Fraction:
    """Return the exact size of an amount of money; the opposite of ``notional``."""
    return money / _worth(instrument, px)


def size_in(unit: Unit, instrument: Instrument, amount: Fraction, px: Fraction) -> Fraction:
    """Return an amount of contracts, coins or money as an exact size."""
    match unit:
        case "contracts":
            return amount
        case "coins":
            per_contract = Fraction(instrument.cv)
            return amount * px / per_contract if instrument.kind == "inverse" else amount / per_contract
        case "quote":
            return size_of_money(instrument, amount, px)


def _worth(instrument: Instrument, px: Fraction) -> Fraction:
    """Return what a size of 1 is worth."""
    return Fraction(instrument.cv) if instrument.kind == "inverse" else Fraction(instrument.cv) * px


def floor_lot(size: Fraction, lot: Decimal) -> Decimal:
    """Return a size rounded to whole lots, towards zero."""
    lots = abs(size) // Fraction(lot)
    return lot * lots if size >= 0 else -lot * lots


def to_decimal(amount: Fraction) -> Decimal:
    """Return an amount exactly; one without an end as a decimal is rounded towards zero."""
    scaled = amount * 10**PLACES
    whole = scaled.__trunc__()
    if scaled != whole:
        found = Decimal(amount.numerator) / Decimal(amount.denominator)
        if Fraction(found) == amount:
            return found
    return Decimal(plain(Decimal(f"{whole}e-{PLACES}")))  # not ``scaleb``, which rounds to 28 digits


def in_cents(usd: Fraction | Decimal) -> str:
    """Return an amount of money of any size, rounded to cents; ``Decimal.quantize`` fails above 28 digits."""
    return plain(Decimal(f"{round(Fraction(usd) * 100)}e-2"))


def slices(size: Decimal, ceiling: Decimal | None, instrument: Instrument) -> list[Decimal] | None:
    """Return the sizes of the orders that ``size`` is divided into; None if that is not possible.

    Each is of whole lots, not above the ceiling and not below the smallest order.
    """
    if ceiling is None or size <= ceiling:
        return [size]
    largest = floor_lot(Fraction(ceiling), instrument.lot)
    if largest < instrument.smallest or size > largest * MAX_SLICES:
        return None
    found = [largest] * int(size // largest)
    if rest := size - largest * len(found):
        found.append(rest)
        if rest < instrument.smallest:
            missing = _up_to_lot(instrument.smallest - rest, instrument.lot)
            found[-2:] = [largest - missing, rest + missing]
            if found[-2] < instrument.smallest:
                return None
    return found


def in_rounds(size: Decimal, rounds: int, instrument: Instrument) -> list[Decimal]:
    """Return the sizes of the rounds of an order, each of whole lots and not below the smallest order.

    They differ by one lot at most. A size that is too small has fewer rounds.
    """
    lots = Fraction(size) // Fraction(instrument.lot)
    smallest = -(-Fraction(instrument.smallest) // Fraction(instrument.lot))
    count = max(min(rounds, lots // smallest), 1)
    each, rest = divmod(lots, count)
    return [instrument.lot * (each + (number < rest)) for number in range(count)]


def _up_to_lot(size: Decimal, lot: Decimal) -> Decimal:
    return lot * -(-Fraction(size) // Fraction(lot))


def split_lots(
    exact: Mapping[str, Fraction], remainder: Literal["largest", "first", "none"], order: Sequence[str]
) -> dict[str, int]:
    """Return whole lots for each account, together not more than the exact shares.

    Args:
        exact: The share of each account, in lots.
        remainder: Who receives the lots that are left: the largest fractions (ties by name), the first account, or no
            account.
        order: The accounts in the order of the plan.
    """
    whole = {name: share.__floor__() for name, share in exact.items()}
    left = sum(exact.values(), Fraction(0)).__floor__() - sum(whole.values())
    if remainder == "largest":
        by_fraction = sorted(exact, key=lambda name: (whole[name] - exact[name], name))
        for name in by_fraction[:left]:
            whole[name] += 1
    elif remainder == "first" and whole:
        whole[next(name for name in order if name in whole)] += left
    return whole


# Rules


def pieces(leg: Leg, at: Situation) -> list[Piece]:
    """Return the orders of a leg for an account: at most one that reduces and one that opens, for each position side.

    Raises:
        Refusal: there are none.
    """
    match leg.size.rule:
        case "close":
            wanted = [*_each_side(leg, at.holding, Fraction(-1))]
        case "change":
            assert leg.size.value is not None
            wanted = [*_each_side(leg, at.holding, Fraction(leg.size.value))]
        case "target" | "target_equity" | "follow":
            wanted = [*_towards(leg, at, _target(leg, at))]
        case "leverage":
            assert leg.size.value is not None
            exposure = size_of_money(at.instrument, Fraction(leg.size.value) * _equity(at) / at.usd, at.reference)
            wanted = [*_towards(leg, at, exposure if leg.side == "buy" else -exposure)]
        case _:
            wanted = [_fixed(leg, at)]
    if not wanted:
        reduces = leg.intent == "reduce" or leg.size.rule in ("close", "change")
        raise Refusal(*((Reason.NO_POSITION, "no position") if reduces else (Reason.NOTHING_TO_DO, "as wanted")))
    return [_rounded(leg, at, *one) for one in wanted]


_Wanted = tuple[Side, bool, Fraction]
"""Side, whether it reduces, exact size."""


def _fixed(leg: Leg, at: Situation) -> _Wanted:
    assert leg.side != "auto"
    exact = _amount(leg, at)
    if leg.intent != "reduce":
        return leg.side, False, exact
    return leg.side, True, min(exact, _reducible(leg.side, at.holding))


def _reducible(side: Side, holding: Holding) -> Fraction:
    """Return how much an order of a side can reduce. Raises Refusal."""
    found = holding.short if side == "buy" else holding.long
    if side == "sell" and holding.free is not None:
        found = min(found, holding.free)
    if found <= 0:
        raise Refusal(Reason.NO_POSITION, f"no position that a {side} reduces")
    return found


def _amount(leg: Leg, at: Situation) -> Fraction:
    """Return the exact size of a rule that does not look at the position."""
    size, instrument = leg.size, at.instrument
    if size.rule in SPLITS:
        assert at.lots is not None
        return at.lots * Fraction(instrument.lot)
    if size.rule == "table":
        if not (amount := Fraction(size.sizes.get(at.account, Decimal(0)))):
            raise Refusal(Reason.NOTHING_TO_DO, "no size in the table")
        return size_in(size.unit, instrument, amount, at.reference)
    assert size.value is not None
    value = Fraction(size.value)
    match size.rule:
        case "contracts" | "coins" | "quote":
            return size_in(size.rule, instrument, value, at.reference)
        case "equity":
            money = value * _settle(at) if size.basis == "settle" else value * _equity(at) / at.usd
        case "available":
            if at.free is None:
                raise Refusal(Reason.NOT_MIRRORED, "the free equity is not known")
            money = value * at.free
        case "margin":
            if at.lever is None:
                raise Refusal(Reason.LEVERAGE, "the leverage is not known")
            money = value * at.lever
        case _:
            raise AssertionError(size.rule)
    return size_of_money(instrument, money, at.reference)


def _equity(at: Situation) -> Fraction:
    if at.equity is None:
        raise Refusal(Reason.NOT_MIRRORED, "the equity is not known")
    return max(at.equity, Fraction(0))


def _settle(at: Situation) -> Fraction:
    if at.settle is None:
        raise Refusal(Reason.NOT_MIRRORED, f"the equity in {at.instrument.settle} is not known")
    return max(at.settle, Fraction(0))


def _target(leg: Leg, at: Situation) -> Fraction:
    """Return the signed position that is wanted, exactly."""
    size = leg.size
    if size.rule == "follow":
        if at.leader is None:
            raise Refusal(Reason.NOT_MIRRORED, f'position or equity of "{size.leader}" is not known')
        return at.leader * _equity(at)
    assert size.value is not None
    if size.rule == "target":
        return size_in(size.unit, at.instrument, Fraction(size.value), at.reference)
    base = _settle(at) if size.basis == "settle" else _equity(at) / at.usd
    return size_of_money(at.instrument, Fraction(size.value) * at.scale * base, at.reference)


def _towards(leg: Leg, at: Situation, target: Fraction) -> Iterator[_Wanted]:
    """Yield what leads from the position to the target, which is rounded to lots towards zero."""
    holding = _own_side(leg, at.holding)
    rounded = Fraction(floor_lot(target, at.instrument.lot))
    delta = rounded - holding.net
    if rounded and _is_small(leg, at, abs(delta), abs(rounded)):
        return
    side: Side = "buy" if delta > 0 else "sell"
    if not delta or leg.side not in ("auto", side):
        return
    opposite = holding.short if side == "buy" else holding.long
    reducing = min(abs(delta), opposite)
    opening = abs(delta) - reducing
    if side == "sell" and holding.free is not None:
        reducing = min(reducing, holding.free)
    if leg.pos_side and (side == "buy") is (leg.pos_side == "short"):
        opening = Fraction(0)  # it would open the other side
    if leg.size.rule == "leverage":  # one order of the leg's side, as each rule that is given a side
        reducing, opening = Fraction(0), abs(delta)
    if reducing and leg.intent != "open":
        yield side, True, reducing
    if opening and leg.intent != "reduce" and not (leg.intent == "open" and reducing):
        yield side, False, opening


def _is_small(leg: Leg, at: Situation, delta: Fraction, target: Fraction) -> bool:
    size = leg.size
    if size.band is not None and delta < target * Fraction(size.band):
        return True
    worth = notional(at.instrument, delta, at.reference) * at.usd
    return size.min_trade_usd is not None and worth < Fraction(size.min_trade_usd)


def _each_side(leg: Leg, holding: Holding, share: Fraction) -> Iterator[_Wanted]:
    """Yield a change of each position by a share of it; -1 closes it."""
    own = _own_side(leg, holding)
    for long, size in ((True, own.long), (False, own.short)):
        side: Side = "buy" if long is (share > 0) else "sell"
        reduces = share < 0
        if not size or leg.side not in ("auto", side) or leg.intent == ("open" if reduces else "reduce"):
            continue
        wanted = size * abs(share)
        if long and reduces and holding.free is not None:
            wanted = min(wanted, holding.free)
        yield side, reduces, wanted


def _own_side(leg: Leg, holding: Holding) -> Holding:
    """Return the part of a position that the leg concerns."""
    match leg.pos_side:
        case "long":
            return Holding(holding.long, Fraction(0), holding.free)
        case "short":
            return Holding(Fraction(0), holding.short)
    return holding


def _rounded(leg: Leg, at: Situation, side: Side, reduces: bool, exact: Fraction) -> Piece:
    """Return the order of an exact size, on the lot and not below the smallest order."""
    instrument = at.instrument
    size = floor_lot(exact, instrument.lot)
    smallest = instrument.smallest
    reason: Reason | None = None
    detail = ""
    if size < smallest:
        largest = _reducible(side, at.holding) if reduces else None
        raises = leg.size.below_min == "min" and exact > 0 and (largest is None or smallest <= largest)
        if raises:
            size = _up_to_lot(smallest, instrument.lot)
        else:
            reason, detail = Reason.BELOW_MIN, f"{plain(to_decimal(exact))} is below {plain(smallest)}"
    wanted = exact if at.exact_lots is None else at.exact_lots * Fraction(instrument.lot)
    placed = Fraction(0) if reason else Fraction(size)
    return Piece(side, reduces, size, notional(instrument, wanted - placed, at.reference), reason, detail)
