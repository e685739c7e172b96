"""Synthetic fills: pushed without a trade id, and reported by REST with one.

Liquidations and ADL are pushed with the id "0", and have a negative one in REST's lists (OKX docs: order channel; GET
trade/fills). The row made from such a push gets an id of our own, so the same fill would be stored twice. That id holds
how much of the order was filled by then. Once REST's fills up to that time add up to as much, they replace the
synthetic row, and count as pushed. Only the rows decide, so arrival order does not matter.
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import Final, TypeAlias

from okxsync.store.database import Connection
from okxsync.store.decode import number
from okxsync.store.tables import REVISION

OrderKey: TypeAlias = tuple[str, str, str]
"""Account, instrument and order id."""

_OF: Final = "WHERE account = ? AND inst_id = ? AND ord_id = ?"
_OF_ORDER: Final = f"FROM fills {_OF}"

_REPLACED: Final = (
    "INSERT INTO replaced_fills (account, inst_id, ord_id, trade_id, revision)"
    f" VALUES (?, ?, ?, ?, {REVISION}) ON CONFLICT (account, inst_id, ord_id, trade_id)"
    " DO UPDATE SET revision = excluded.revision"
)
"""A reader that follows the changes learns from it that a fill does not exist any more."""


def made_id(acc_fill_sz: str, fill_time: str) -> str:
    """Return a stable id: a repeated push, also with a later uTime, has the same filled amount and fill time."""
    return f"{acc_fill_sz}@{fill_time}"


def drop_made(db: Connection, orders: Iterable[OrderKey]) -> None:
    """Remove the synthetic fills of some orders that REST has reported as well."""
    for order in orders:
        synthetic = db.execute(f"SELECT trade_id, fill_time {_OF_ORDER} AND trade_id_made = 1", order).fetchall()
        if not synthetic:
            continue
        reported = db.execute(f"SELECT fill_time, fill_sz {_OF_ORDER} AND bill_id IS NOT NULL", order).fetchall()
        for trade_id, until in synthetic:
            filled = number(trade_id.partition("@")[0])
            total = sum((number(size) for at, size in reported if (at or 0) <= (until or 0)), Decimal(0))
            if 0 < filled <= total:
                db.execute(_REPLACED, (*order, trade_id))
                db.execute(f"DELETE {_OF_ORDER} AND trade_id = ?", (*order, trade_id))
                db.execute(f"UPDATE fills SET source = 'ws' {_OF} AND fill_time <= ?", (*order, until or 0))
