"""Whether each row of a REST reply is stored under a key of its own.

The writer rejects a row without a key, and of two rows with the same key only one stays. Neither may pass for complete.
"""

from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

import msgspec

from okxsync.okx.fill_ids import trade_id_of
from okxsync.runtime.text import sanitize
from okxsync.store import tables
from okxsync.store.decode import is_moment
from okxsync.store.table import Table

Key: TypeAlias = tuple[str, ...]

_TABLES: Final[Mapping[str, Table]] = {
    "orders": tables.ORDERS,
    "orders-algo": tables.ALGO_ORDERS,
    "account": tables.BALANCES,
    "positions": tables.POSITIONS,
    "positions-history": tables.CLOSED_POSITIONS,
    "bills": tables.BILLS,
    "deposit-info": tables.DEPOSITS,
    "withdrawal-info": tables.WITHDRAWALS,
}
"""The table of a channel's rows, except for ``fills``; ``account`` has a list of currencies in its only row."""


def _field_of(column: str) -> str:
    first, *others = column.split("_")
    return first + "".join(part.capitalize() for part in others)


_FIELDS: Final = {
    channel: [
        (_field_of(column), column.endswith("_time"), column in table.optional)
        for column in table.key
        if column != "account"
    ]
    for channel, table in _TABLES.items()
}
"""The fields of the key, whether each is a time, and whether a row may lack it."""


_FINAL: Final = frozenset({"fills", "bills"})
"""Channels whose rows never change: other rows may change while they are read, and be listed again."""
_RENEWED: Final = "positions-history"
"""A record that changes while its list is read moves to the front, which was read already. So two rows with one key are
two records: a position id was used again (OKX docs: positions channel, ``posId``)."""


class ReplyCheck:
    """Finds the rows of one list that cannot be stored, page by page."""

    def __init__(self, channel: str) -> None:
        self._channel = channel
        self._previous: dict[Key, object] = {}  # what happened at once may be divided between two pages

    def rejected(self, rows: Iterable[object]) -> list[str]:
        """Return those of a page's rows that have no key, or whose key another row has."""
        found: list[str] = []
        seen: dict[Key, object] = {}
        for row in _parts(self._channel, rows):
            key = _key_of(self._channel, row)
            content = row.get("billId") or row if self._channel == "fills" and isinstance(row, dict) else row
            if key is None or content != seen.setdefault(key, self._previous.get(key, content)):
                found.append(_shortened(row))
        if self._channel == _RENEWED:
            self._previous |= seen
        elif self._channel in _FINAL:
            self._previous = seen
        return found


def _parts(channel: str, rows: Iterable[object]) -> Iterable[object]:
    if channel != "account":
        return rows
    details = (row.get("details") if isinstance(row, dict) else row for row in rows)
    return [part for found in details for part in (found if isinstance(found, list) else [found])]


def _key_of(channel: str, row: object) -> Key | None:
    if not isinstance(row, dict):
        return None
    if channel == "fills":
        trade_id, _ = trade_id_of(_text(row.get("tradeId")), _text(row.get("billId")))
        return (_text(row.get("instId")), _text(row.get("ordId")), trade_id) if trade_id else None
    key = tuple(_text(row.get(name)) for name, _, _ in _FIELDS[channel])
    valid = all(
        (text or is_optional) and (not is_time or is_moment(text))
        for text, (_, is_time, is_optional) in zip(key, _FIELDS[channel], strict=True)
    )
    return key if valid else None


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _shortened(row: object) -> str:
    return sanitize(msgspec.json.encode(row).decode())[:200]
