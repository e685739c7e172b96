"""OKX's pages of complete lists.

Rows come newest first. ``after`` selects strictly older ones, ``before`` strictly newer ones, and ``before``
alone returns the newest of them, not the nearest (OKX docs: overview-general-info, get-candlesticks). Ids and times are
compared as numbers.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from okxsync.sandbox.exchange.orders import OrderRejected
from okxsync.sandbox.exchange.rows import Row

MAX_ROWS = 100


@dataclass(frozen=True)
class Paging:
    """How a list is paged: the field of its cursor, and the field that ``begin`` and ``end`` (inclusive) filter."""

    cursor: str
    moment: str = ""
    whole_times: bool = False  # rows with equal cursors stay on one page, even beyond the limit


def page(rows: Iterable[Row], paging: Paging, query: Mapping[str, str]) -> list[Row]:
    """Return the page that a query selects, of rows newest first. Raises OrderRejected (51000)."""
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
