"""Cutting complete lists into OKX's pages.

Rows come newest first. ``after`` asks for strictly older ones, ``before`` for strictly newer ones, and ``before``
alone gives the newest of them, not the nearest (OKX docs: overview-general-info, get-candlesticks). Ids and times are
compared as numbers.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from okxsync.sandbox.exchange.orders import OrderRejected
from okxsync.sandbox.exchange.rows import Row

MAX_ROWS = 100


@dataclass(frozen=True)
class Paging:
    """How a list is paged: by which field, and on which field ``begin`` and ``end`` (inclusive) filter."""

    cursor: str
    moment: str = ""
    whole_times: bool = False  # rows of one cursor are never parted, even beyond the limit


def page(rows: Iterable[Row], paging: Paging, query: Mapping[str, str]) -> list[Row]:
    """Return the page that a query asks for, of rows newest first. Raises Refusal (51000) for a bad number."""
    limit = min(_number(query, "limit", 0) or MAX_ROWS, MAX_ROWS)
    result: list[Row] = []
    for row in _window(rows, paging, query):
        if len(result) >= limit and not (paging.whole_times and row[paging.cursor] == result[-1][paging.cursor]):
            break
        result.append(row)
    return result


def _window(rows: Iterable[Row], paging: Paging, query: Mapping[str, str]) -> Iterator[Row]:
    after, before = _number(query, "after", 0), _number(query, "before", 0)
    begin, end = _number(query, "begin", 0), _number(query, "end", 0)
    for row in rows:
        cursor = int(row[paging.cursor])
        if (after and cursor >= after) or (before and cursor <= before):
            continue
        if paging.moment and (begin or end):
            moment = int(row[paging.moment])
            if moment < begin or (end and moment > end):
                continue
        yield row


def _number(query: Mapping[str, str], name: str, default: int) -> int:
    given = query.get(name, "")
    if not given:
        return default
    if not (given.isascii() and given.isdecimal()):
        raise OrderRejected("51000", f"Parameter {name} error")
    return int(given)
