"""Durations, times, sizes and numbers as the configuration and the command line write them."""

import re
from collections.abc import Collection
from datetime import UTC, datetime
from decimal import Decimal
from typing import TypeVar

_DURATION = re.compile(r"(\d+)([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)B?", re.IGNORECASE)


_MAX_S = 100 * 366 * 86400
_MAX_BYTES = 10**18
"""Larger values are typing errors, and do not fit into 64 bits in microseconds."""


def duration_s(text: str) -> int:
    """Return ``90s``, ``15m``, ``2h``, ``14d`` or ``0`` in seconds. Raises ValueError."""
    if text == "0":
        return 0
    if not (match := _DURATION.fullmatch(text)):
        raise ValueError(f'invalid duration "{text}"; use 90s, 15m, 2h, 14d or 0')
    if (seconds := int(match[1]) * _SECONDS[match[2]]) > _MAX_S:
        raise ValueError(f'duration "{text}" is longer than a century')
    return seconds


def moment_ms(text: str, now_ms: int) -> int:
    """Return a time in milliseconds UTC: ISO 8601 (UTC if there is no zone), or a duration before now.

    Raises:
        ValueError: ``text`` is neither.
    """
    if _DURATION.fullmatch(text):
        return now_ms - duration_s(text) * 1000
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f'invalid time "{text}"; use 2026-11-20T08:00Z, or an age: 3d, 2h') from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def size_bytes(text: str) -> int:
    """Return ``500MB`` or ``2GB`` in bytes. Raises ValueError."""
    if not (match := _SIZE.fullmatch(text)):
        raise ValueError(f'invalid size "{text}"; use 500MB or 2GB')
    if (size := float(match[1]) * 1000 ** " KMGT".index(match[2].upper() or " ")) > _MAX_BYTES:
        raise ValueError(f'size "{text}" is larger than a million TB')
    return int(size)


_NUMBER = re.compile(r"[+-]?[0-9]{1,15}(\.[0-9]{1,13})?")
"""At most 28 digits: with these, decimals are exact."""


def number(value: str | int) -> Decimal:
    """Return a number exactly as it is written. Raises ValueError."""
    text = str(value).strip()
    if not _NUMBER.fullmatch(text):
        raise ValueError(f'invalid number "{value}"; use 5000 or "0.25"')
    return Decimal(text)


def percent(value: str | int) -> Decimal:
    """Return ``2%`` as 0.02. Raises ValueError."""
    text = str(value).strip()
    if not text.endswith("%") or not _NUMBER.fullmatch(text[:-1].rstrip()):
        raise ValueError(f'invalid percentage "{value}"; use "2%"')
    return Decimal(text[:-1].rstrip()).scaleb(-2)


T = TypeVar("T", bound=str)


def one_of(text: str, choices: Collection[T]) -> T:
    """Return a text as the one of ``choices`` that it is, and so with their type. Raises ValueError."""
    for choice in choices:
        if choice == text:
            return choice
    raise ValueError(f'expected one of {", ".join(choices)}, got "{text}"')
