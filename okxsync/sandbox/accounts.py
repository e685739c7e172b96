"""Which accounts and instruments an exchange is opened with: the options of ``okxsync sandbox``."""

from collections.abc import Iterable, Sequence
from typing import Final

from okxsync.sandbox.exchange.catalogue import TYPES
from okxsync.sandbox.exchange.exchange import POS_MODES, Exchange

Mode = tuple[str, str]
"""``acctLv`` and ``posMode``."""
MODES: Final = {
    acct_lv + ("" if pos_mode == "net_mode" else "-long-short"): (acct_lv, pos_mode)
    for acct_lv, pos_modes in POS_MODES.items()
    for pos_mode in pos_modes
}
"""The names of the modes: ``1``, ``2``, ``2-long-short``, ``3``, ``3-long-short``, ``4``."""
DEPOSITS: Final = {"USDT": "100000", "BTC": "1", "ETH": "10"}
POOLED_DEPOSITS: Final = {"USDT": "2000", "BTC": "1", "ETH": "10"}
"""In the modes with one margin pool, little USDT: whoever buys with it borrows it."""


def types_of(text: str) -> frozenset[str]:
    """Read instrument types, comma-separated, or ``all``; "" is the default of the exchange.

    Raises:
        ValueError: there is no such type; the message is one line.
    """
    names = {name.upper() for name in text.split(",") if name}
    if names == {"ALL"}:
        return frozenset(TYPES)
    if unknown := names - set(TYPES):
        raise ValueError(f"{', '.join(sorted(unknown))} is not a type: use {', '.join(TYPES)}, or all")
    return frozenset(names)


def modes_of(text: str) -> list[Mode]:
    """Read account modes, comma-separated, or ``all``.

    Raises:
        ValueError: there is no such mode; the message is one line.
    """
    names = [name for name in text.split(",") if name]
    if names == ["all"]:
        return list(MODES.values())
    if unknown := set(names) - MODES.keys():
        raise ValueError(f"{', '.join(sorted(unknown))} is not a mode: use {', '.join(MODES)}, or all")
    return [MODES[name] for name in names] or [MODES["2"]]


def open_accounts(exchange: Exchange, names: Iterable[str], modes: Sequence[Mode]) -> None:
    """Open accounts whose modes alternate."""
    for number, name in enumerate(names):
        acct_lv, pos_mode = modes[number % len(modes)]
        deposit = None if not exchange.types else POOLED_DEPOSITS if acct_lv in ("3", "4") else DEPOSITS
        exchange.add_member(name, acct_lv=acct_lv, pos_mode=pos_mode, deposit=deposit)
