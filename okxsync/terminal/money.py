"""The money of one account in USD: as OKX gives it, or the exact sum of what it gives instead. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

from okxsync.terminal import topics
from okxsync.terminal.exact import number, product, total

Row: TypeAlias = tuple[Any, ...]

EQUITY: Final = ("account", "equity", "upl", "notional_usd", "mgn_ratio", "u_time", "received_at")
BALANCES: Final = ("account", "ccy", "mgn_ratio", "upl", "coin_usd_price")
"""The columns of the tables ``equity`` and ``balances`` that are needed."""
_NO_EQUITY: Final[Row] = (None,) * len(EQUITY)
_NOTIONAL: Final = topics.POSITIONS.columns.index("notional_usd")


def money_of(equity: Row | None, balances: Mapping[str, Row], positions: Sequence[Row]) -> dict[str, Any]:
    """Return the columns of ``accounts`` that are about money.

    Not every account mode has totals of profit, notional and margin: these are made of its currencies and positions.

    Args:
        balances: ``mgn_ratio``, ``upl`` and ``coin_usd_price`` by currency.
    """
    _, total_eq, upl, notional, ratio, u_time, received_at = equity or _NO_EQUITY
    derived = []
    if upl is None and (upl := _upl_of_currencies(balances)) is not None:
        derived.append("upl")
    if notional is None and (notional := _notional_of_positions(positions)) is not None:
        derived.append("notional_usd")
    ratio, ccy = (ratio, None) if ratio is not None else _lowest_ratio(balances)
    return {
        "equity": total_eq,
        "upl": upl,
        "notional_usd": notional,
        "derived": " ".join(derived) or None,
        "mgn_ratio": ratio,
        "mgn_ccy": ccy,
        "u_time": u_time,
        "received_at": received_at,
    }


def _upl_of_currencies(balances: Mapping[str, Row]) -> str | None:
    """Return the sum in USD; None if no currency has one, or a price is missing."""
    parts = [
        product(upl, usd) if number(upl) else upl  # zero needs no price
        for _, upl, usd in balances.values()
        if upl is not None
    ]
    known = [part for part in parts if part is not None]
    return total(known) if parts and len(known) == len(parts) else None


def _notional_of_positions(positions: Sequence[Row]) -> str | None:
    parts = [row[_NOTIONAL] for row in positions]
    return total(parts) if parts and None not in parts else None


def _lowest_ratio(balances: Mapping[str, Row]) -> tuple[str | None, str | None]:
    """Return the lowest margin ratio of the currencies, and the currency."""
    known = [(value, ratio, ccy) for ccy, (ratio, *_) in balances.items() if (value := number(ratio)) is not None]
    _, ratio, ccy = min(known, default=(None, None, None))
    return ratio, ccy
