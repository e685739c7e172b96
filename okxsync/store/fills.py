"""Fills that OKX pushes in other pieces than REST reports them; REST's pieces replace the pushed ones.

A fill without a trade id. Liquidations and ADL are pushed with the id "0", and have a negative one in REST's lists (OKX
docs: order channel; GET trade/fills). The row made from such a push gets an id of our own, which holds how much of the
order was filled by then. So the same fill would be stored twice. REST may give it another time by some milliseconds,
and may report two pushed steps as one row. The synthetic row is replaced as soon as REST's rows show one of these:

- a row of the same size within ``ASIDE_MS`` that was not pushed;
- rows up to the synthetic one's time that add up to what was filled by then;
- rows that add up to all that the order has filled.

A push of several executions has the last one's trade id and the sum of their sizes (OKX docs: fills channel).
REST's row of that id replaces its amounts, and the column ``pushed_sz`` keeps what was pushed (see ``tables.FILLS``).

Only the rows decide, so arrival order does not matter.
"""

from collections.abc import Collection, Iterable, Sequence
from decimal import Decimal
from typing import Final, TypeAlias

import msgspec

from okxsync.okx.compare import ASIDE_MS
from okxsync.store.database import Connection
from okxsync.store.decode import number
from okxsync.store.table import case
from okxsync.store.tables import REVISION

OrderKey: TypeAlias = tuple[str, str, str]
"""Account, instrument and order id."""

_OF_ORDER: Final = "WHERE account = ? AND inst_id = ? AND ord_id = ?"
_SYNTHETIC: Final = (
    f"SELECT trade_id, fill_sz, fill_time FROM fills {_OF_ORDER} AND trade_id_made = 1 AND bill_id IS NULL"
)
_REPORTED: Final = (
    "SELECT trade_id, fill_sz, fill_time, coalesce(pushed_sz, CASE WHEN source = 'ws' THEN fill_sz END)"
    f" FROM fills {_OF_ORDER} AND bill_id IS NOT NULL ORDER BY fill_time, trade_id"
)
_REPLACED: Final = (
    "INSERT INTO replaced_fills (account, inst_id, ord_id, trade_id, revision)"
    f" SELECT account, inst_id, ord_id, trade_id, {case(f'revision < {REVISION}', REVISION, '0')}"
    f" FROM fills {_OF_ORDER} AND trade_id = ? ON CONFLICT (account, inst_id, ord_id, trade_id)"
    " DO UPDATE SET revision = excluded.revision WHERE excluded.revision > replaced_fills.revision"
)
"""A reader that follows the changes learns from it that a fill does not exist any more. A fill that this transaction
has added was never visible to a reader: it is stored only so that its repeated push is recognized."""


class Fill(msgspec.Struct, frozen=True):
    """One row of ``fills``.

    Attributes:
        time_ms: When it was executed, the exchange's time; 0 if that is absent.
        pushed: How much of it pushes have reported; of REST's rows.
    """

    trade_id: str
    size: Decimal
    time_ms: int
    pushed: Decimal = Decimal(0)

    @property
    def filled(self) -> Decimal:
        """How much of the order was filled by then; of a synthetic fill."""
        return number(self.trade_id.partition("@")[0])


def synthetic_id(acc_fill_sz: str, fill_time: str) -> str:
    """Return a stable id: a repeated push, also with a later uTime, has the same filled amount and fill time."""
    return f"{acc_fill_sz}@{fill_time}"


def replace_synthetic(db: Connection, orders: Iterable[OrderKey]) -> None:
    """Remove the synthetic fills of some orders that REST has reported as well, and count REST's rows as pushed."""
    for order in orders:
        synthetic = [_fill(*row) for row in db.execute(_SYNTHETIC, order).fetchall()]
        if not synthetic:
            continue
        reported = [_fill(*row) for row in db.execute(_REPORTED, order).fetchall()]
        filled = db.execute(f"SELECT acc_fill_sz FROM orders {_OF_ORDER}", order).fetchone()
        earlier = db.execute(f"SELECT trade_id FROM replaced_fills {_OF_ORDER}", order).fetchall()
        repeated = {trade_id for (trade_id,) in earlier}  # the push of a fill that was replaced was received again
        replaced = find_replaced(synthetic, reported, number(filled[0]) if filled else Decimal(0), repeated)
        for fill in replaced:
            db.execute(_REPLACED, (*order, fill.trade_id))
            db.execute(f"DELETE FROM fills {_OF_ORDER} AND trade_id = ?", (*order, fill.trade_id))
        pushed = sum((fill.size for fill in replaced if fill.trade_id not in repeated), Decimal(0))
        for fill in spread(pushed, reported):
            source, part = ("ws", None) if fill.pushed == fill.size else ("rest", str(fill.pushed))
            statement = f"UPDATE fills SET source = ?, pushed_sz = ? {_OF_ORDER} AND trade_id = ?"
            db.execute(statement, (source, part, *order, fill.trade_id))


def find_replaced(
    synthetic: Sequence[Fill], reported: Sequence[Fill], filled: Decimal, repeated: Collection[str] = ()
) -> list[Fill]:
    """Return the synthetic fills that REST's rows of the same order replace.

    Args:
        reported: REST's rows.
        filled: How much of the order is filled.
        repeated: Ids of synthetic fills that were replaced before.
    """
    if 0 < filled == sum(fill.size for fill in reported):
        return list(synthetic)
    unpushed = [fill for fill in reported if not fill.pushed]
    found = []
    for fill in synthetic:
        so_far = sum((one.size for one in reported if one.time_ms <= fill.time_ms), Decimal(0))
        same = [one for one in unpushed if one.size == fill.size and abs(one.time_ms - fill.time_ms) <= ASIDE_MS]
        if fill.trade_id in repeated or 0 < fill.filled <= so_far:
            found.append(fill)
        elif same:
            unpushed.remove(same[0])
            found.append(fill)
    return found


def spread(pushed: Decimal, reported: Iterable[Fill]) -> list[Fill]:
    """Return those of REST's rows, the earliest first, of which more counts as pushed when ``pushed`` is added."""
    found = []
    for fill in reported:
        if (part := min(pushed, fill.size - fill.pushed)) > 0:
            pushed -= part
            found.append(msgspec.structs.replace(fill, pushed=fill.pushed + part))
    return found


def _fill(trade_id: str, size: str | None, time_ms: int | None, pushed: str | None = None) -> Fill:
    return Fill(trade_id, number(size), time_ms or 0, number(pushed))
