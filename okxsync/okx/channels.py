"""The channels, their endpoints, and the arguments that a subscription to each needs.

OKX docs: the URL path of each channel. A channel given by its name gets the arguments that OKX requires. A table of
OKX's own arguments is sent unchanged.
"""

import difflib
import re
from collections.abc import Mapping
from typing import Final

import msgspec

_ANY: Final = {"instType": "ANY"}

PRIVATE: Final[dict[str, dict[str, str]]] = {
    "account": {},
    "positions": _ANY,
    "balance_and_position": {},
    "orders": _ANY,
    "fills": {},
    "liquidation-warning": _ANY,
    "account-greeks": {},
}
BUSINESS: Final[dict[str, dict[str, str]]] = {
    "orders-algo": _ANY,
    "algo-advance": _ANY,
    "deposit-info": {},
    "withdrawal-info": {},
}
PUBLIC: Final[dict[str, dict[str, str] | None]] = {  # None: an instrument is required
    "mark-price": None,
    "tickers": None,
    "index-tickers": None,
    "funding-rate": None,
    "open-interest": None,
    "instruments": {"instType": "SWAP"},
    "status": {},
}
CHANNELS: Final[Mapping[str, Mapping[str, Mapping[str, str] | None]]] = {
    "private": PRIVATE,
    "business": BUSINESS,
    "public": PUBLIC,
}
DEFAULT_CHANNELS: Final = ("account", "positions", "balance_and_position", "orders", "orders-algo")

NOT_REPEATED: Final = frozenset({"extraParams"})
"""Arguments that do not filter rows but set how often they are pushed. Pushes do not repeat them (OKX docs: account
channel)."""
_INSTRUMENTS: Final = frozenset({"instType", "instFamily", "instId"})
_NARROWED: Final[Mapping[str, frozenset[str]]] = {
    "account": frozenset({"ccy"}),
    "positions": _INSTRUMENTS,
    "orders": _INSTRUMENTS,
    "orders-algo": _INSTRUMENTS,
}
"""The arguments by which each channel filters rows (OKX docs: the channel of each)."""


class Subscription(msgspec.Struct, frozen=True):
    """One channel of one connection: ``key`` names it in coverage and status, ``arg`` is sent to OKX."""

    key: str
    channel: str
    endpoint: str
    arg: Mapping[str, str]


def subscription(wanted: str | Mapping[str, str]) -> Subscription:
    """Return the subscription for a channel's name or for a table of OKX's own arguments.

    Raises:
        ValueError: the channel is unknown, or needs an instrument. The message says what is expected.
    """
    given = {"channel": wanted} if isinstance(wanted, str) else dict(wanted)
    channel = given.pop("channel", "")
    endpoint = next((name for name, channels in CHANNELS.items() if channel in channels), None)
    if endpoint is None:
        raise ValueError(_unknown(channel))
    needed = CHANNELS[endpoint][channel]
    if needed is None and "instId" not in given:
        raise ValueError(
            f'channel "{channel}" needs an instrument: {{ channel = "{channel}", instId = "BTC-USDT-SWAP" }}'
        )
    arg = {**(needed or {}), **given}
    named = ",".join(f"{name}={value}" for name, value in sorted(arg.items()) if (needed or {}).get(name) != value)
    return Subscription(f"{channel}:{named}" if named else channel, channel, endpoint, {"channel": channel, **arg})


def channel_of(key: str) -> str:
    """Return the channel of a subscription's key, without its arguments."""
    return key.partition(":")[0]


def arguments_of(key: str) -> dict[str, str]:
    """Return the user's own arguments in a subscription's key, as far as pushes repeat them."""
    _, *parts = re.split(r"(?:^|,)(\w+)=", key.partition(":")[2])  # a value may be JSON, which contains commas
    return {name: value for name, value in zip(parts[::2], parts[1::2], strict=True) if name not in NOT_REPEATED}


def is_understood(key: str) -> bool:
    """Whether it is known which rows the arguments of a subscription's key filter out."""
    return arguments_of(key).keys() <= _NARROWED.get(channel_of(key), frozenset())


def covers_row(arguments: Mapping[str, str], row: Mapping[str, object]) -> bool:
    """Whether a subscription with these arguments reports a row. ``row`` has OKX's field names."""
    family = arguments.get("instFamily")
    if family is not None and not str(row.get("instId")).startswith(f"{family}-"):
        return False
    return all(row.get(name) == value for name, value in arguments.items() if name != "instFamily")


def _unknown(channel: str) -> str:
    known = [*PRIVATE, *BUSINESS, *PUBLIC]
    near = difflib.get_close_matches(channel, known, n=1)
    hint = f'did you mean "{near[0]}"?' if near else "known channels: " + ", ".join(known)
    return f'unknown channel "{channel}": {hint}'
