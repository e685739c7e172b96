"""The settings of trading: ``[trading]`` of accounts.toml, and the keys of single accounts. All is off by default."""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final, Literal, cast, get_args

import msgspec

from okxsync.config.units import number, percent

MAX_IP_RATE: Final = 10_000
Via = Literal["rest", "ws"]


class Limits(msgspec.Struct, frozen=True):
    """The largest that may be traded, in USD; None means no limit.

    Attributes:
        order_usd: A single child order.
        plan_usd: All child orders of a plan.
        day_usd: All approved plans of a day (UTC).
        price_band: How far a price may be from the mark price, as a share of it.
        instruments: What may be traded; None: every instrument.
    """

    order_usd: Decimal | None = None
    plan_usd: Decimal | None = None
    day_usd: Decimal | None = None
    price_band: Decimal = Decimal("0.02")
    instruments: frozenset[str] | None = None


class AccountTrading(msgspec.Struct, frozen=True):
    """Whether an account may trade, and its own limits: ``plan_usd`` and ``day_usd`` are of this account alone."""

    trading: bool = False
    groups: frozenset[str] = frozenset()
    limits: Limits = Limits()


class TradingSettings(msgspec.Struct, frozen=True):
    """What may be traded.

    Attributes:
        live: Whether accounts other than demo accounts may trade.
        limits: Of all accounts together.
        ip_rate: Requests over REST per second from this machine.
        via: How orders are placed and canceled.
        tag: Of each order, at most 16 letters and digits.
        clord_prefix: With which each client order id begins, likewise.
        accounts: By the account's name. Limits of an order, the band and the instruments are the tighter ones already.
    """

    enabled: bool = False
    live: bool = False
    limits: Limits = Limits()
    ip_rate: int = 200
    tag: str = ""
    clord_prefix: str = ""
    accounts: Mapping[str, AccountTrading] = {}
    via: Via = "rest"


class TradingTable(msgspec.Struct, forbid_unknown_fields=True):
    """The structure of ``[trading]``."""

    enabled: bool = False
    live: bool = False
    max_order_usd: str | int | None = None
    max_plan_usd: str | int | None = None
    max_day_usd: str | int | None = None
    price_band: str = "2%"
    instruments: list[str] | None = None
    ip_rate: int = 200
    tag: str = ""
    clord_prefix: str = ""
    via: str = "rest"


class AccountKeys(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The keys of ``[[accounts]]`` that belong to trading."""

    trading: bool = False
    groups: list[str] = []
    max_order_usd: str | int | None = None
    max_plan_usd: str | int | None = None
    max_day_usd: str | int | None = None
    price_band: str | None = None
    instruments: list[str] | None = None


def tighter(common: Limits, own: Limits) -> Limits:
    """Return the limits of one account: the tighter one where both limit the same; its own for its own sums."""
    orders = [one for one in (common.order_usd, own.order_usd) if one is not None]
    lists = [one for one in (common.instruments, own.instruments) if one is not None]
    return Limits(
        order_usd=min(orders, default=None),
        plan_usd=own.plan_usd,
        day_usd=own.day_usd,
        price_band=min(common.price_band, own.price_band),
        instruments=frozenset.intersection(*lists) if lists else None,
    )


_NAME: Final = re.compile(r"[A-Za-z0-9._-]+")
INSTRUMENT_ID: Final = re.compile(r"[A-Z0-9_]+(-[A-Z0-9_]+)+")
_CODE: Final = re.compile(r"[A-Za-z0-9]{0,16}")


def trading_settings(table: TradingTable, accounts: Mapping[str, AccountKeys], problems: list[str]) -> TradingSettings:
    """Return the settings; each mistake is appended to ``problems`` as one line.

    Args:
        table: ``[trading]``.
        accounts: The keys of each account, by its name.
        problems: Is extended.
    """
    common = _limits("[trading] {}", table, problems)
    if not 1 <= table.ip_rate <= MAX_IP_RATE:
        problems.append(f"[trading] ip_rate: must be between 1 and {MAX_IP_RATE}")
    for key, text in (("tag", table.tag), ("clord_prefix", table.clord_prefix)):
        if not _CODE.fullmatch(text):
            problems.append(f'[trading] {key} = "{text}": at most 16 letters and digits')
    if table.via not in get_args(Via):
        problems.append(f'[trading] via = "{table.via}": must be one of {", ".join(get_args(Via))}')
    of_accounts = {}
    for name, keys in accounts.items():
        own = _limits(f'account "{name}", {{}}', keys, problems)
        for group, times in Counter(keys.groups).items():
            if not _NAME.fullmatch(group):
                problems.append(f'account "{name}", groups: invalid name "{group}"; use letters, digits, - _ and .')
            if times > 1:
                problems.append(f'account "{name}", groups: "{group}" is listed {times} times')
        of_accounts[name] = AccountTrading(keys.trading, frozenset(keys.groups), tighter(common, own))
    return TradingSettings(
        table.enabled,
        table.live,
        common,
        table.ip_rate,
        table.tag,
        table.clord_prefix,
        of_accounts,
        cast("Via", table.via),
    )


def _limits(place: str, keys: TradingTable | AccountKeys, problems: list[str]) -> Limits:
    """Return the limits of a table; ``place`` has ``{}`` for the key."""

    def amount(key: str) -> Decimal | None:
        found = _checked(place.format(key), number, getattr(keys, key), problems)
        if found is not None and found <= 0:
            problems.append(f"{place.format(key)}: must be above 0")
        return found

    if (band := _checked(place.format("price_band"), percent, keys.price_band, problems)) is None:
        band = Decimal(1)  # an account without an own band
    elif not 0 < band <= 1:
        problems.append(f"{place.format('price_band')}: must be above 0 and at most 100%")
    wrong = [one for one in keys.instruments or [] if not INSTRUMENT_ID.fullmatch(one)]
    place_of_list = place.format("instruments")
    problems += [f'{place_of_list}: "{one}" is not an instrument id, as "BTC-USDT-SWAP" is' for one in wrong]
    return Limits(
        amount("max_order_usd"),
        amount("max_plan_usd"),
        amount("max_day_usd"),
        band,
        None if keys.instruments is None else frozenset(keys.instruments),
    )


def _checked(place: str, function: Callable[[Any], Decimal], value: object, problems: list[str]) -> Decimal | None:
    if value is None:
        return None
    try:
        return function(value)
    except ValueError as error:
        problems.append(f"{place}: {error}")
        return None
