"""Fills that OKX pushes in other pieces than REST reports them; REST's pieces replace the pushed ones.

A fill without a trade id. Liquidations and ADL are pushed with the id "0", and have a negative one in REST's lists (OKX
docs: order channel; GET trade/fills). The row made from such a push gets an id of our own, which holds how much of the
order was filled by then. So the same fill would be stored twice. REST may give it another time by some milliseconds,
and may report two pushed steps as one row, or one step as two. Its lists arrive page by page, the newest first. The
synthetic row is replaced as soon as REST's rows show one of these:

- rows that add up to all that the order has filled;
- a row of the same size within ``ASIDE_MS`` of which nothing was pushed;
- rows up to the synthetic one's time that add up to what was filled by then.

A replaced fill counts as pushed on the rows that replace it, and on no row more counts than its size: so while REST's
rows are incomplete, no fill disappears. Once they are complete, the place of each fill among them is known from what
was filled before it. So a row of which nothing was pushed shows a lost push (see ``reconcile.lost_pushes``).

A push of several executions has the last one's trade id and the sum of their sizes (OKX docs: fills channel).
REST's row of that id replaces its amounts, and the column ``pushed_sz`` keeps what was pushed (see ``tables.FILLS``).

Only the rows decide, so arrival order does not matter.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Final, TypeAlias

import msgspec

from okxsync.okx.compare import ASIDE_MS
from okxsync.store.database import Connection
from okxsync.store.decode import milliseconds, number
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
    f" FROM fills {_OF_ORDER} AND bill_id IS NOT NULL ORDER BY coalesce(fill_time, 0), length(bill_id), bill_id"
)
_EARLIER: Final = f"SELECT trade_id FROM replaced_fills {_OF_ORDER} ORDER BY trade_id"
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
        return number(self.trade_id.partition("@")[0].partition(":")[0])


def synthetic_id(acc_fill_sz: str, fill_sz: str, fill_time: str) -> str:
    """Return a stable id: a repeated push, also with a later uTime, has the same amounts and fill time.

    Fills of the same size and time have different ones, for each adds to the filled amount.
    """
    return f"{acc_fill_sz}:{fill_sz}@{fill_time}"


def replace_synthetic(db: Connection, orders: Iterable[OrderKey]) -> None:
    """Remove the synthetic fills of some orders that REST has reported as well, and count REST's rows as pushed."""
    for order in orders:
        synthetic = [_fill(*row) for row in db.execute(_SYNTHETIC, order).fetchall()]
        earlier = [_replaced(*row) for row in db.execute(_EARLIER, order).fetchall()]
        if not synthetic and not earlier:
            continue
        reported = [_fill(*row) for row in db.execute(_REPORTED, order).fetchall()]
        filled = db.execute(f"SELECT acc_fill_sz FROM orders {_OF_ORDER}", order).fetchone()
        replaced, pushed = find_replaced(synthetic, reported, number(filled[0]) if filled else Decimal(0), earlier)
        for fill in replaced:
            db.execute(_REPLACED, (*order, fill.trade_id))
            db.execute(f"DELETE FROM fills {_OF_ORDER} AND trade_id = ?", (*order, fill.trade_id))
        for fill in pushed:
            source = "ws" if fill.pushed == fill.size else "rest"
            part = str(fill.pushed) if 0 < fill.pushed < fill.size else None
            statement = f"UPDATE fills SET source = ?, pushed_sz = ? {_OF_ORDER} AND trade_id = ?"
            db.execute(statement, (source, part, *order, fill.trade_id))


def find_replaced(
    synthetic: Sequence[Fill], reported: Sequence[Fill], filled: Decimal, earlier: Sequence[Fill] = ()
) -> tuple[list[Fill], list[Fill]]:
    """Return the synthetic fills that REST's rows of the same order replace, and the rows of which more or less counts
    as pushed now.

    Args:
        reported: REST's rows in the order of time.
        filled: How much of the order is filled.
        earlier: Synthetic fills that were replaced before.
    """
    rows = _Rows(reported)
    repeated = {fill.trade_id for fill in earlier}
    found = [fill for fill in synthetic if fill.trade_id in repeated]  # its push was received again
    pending = sorted((fill for fill in synthetic if fill.trade_id not in repeated), key=lambda fill: fill.filled)
    if 0 < filled == sum(fill.size for fill in reported):
        rows.replace_all([*earlier, *pending] if rows.reset(earlier) else pending)
        return found + pending, rows.changed()
    for replaces in (rows.replace_same, rows.replace_earlier):
        replaced = [fill for fill in pending if replaces(fill)]
        pending = [fill for fill in pending if fill not in replaced]
        found += replaced
    return found, rows.changed()


class _Rows:
    """REST's rows of one order in the order of time, and how much of each was pushed."""

    def __init__(self, reported: Sequence[Fill]) -> None:
        self._reported = reported
        self._rows = list(reported)

    def changed(self) -> list[Fill]:
        return [row for row, before in zip(self._rows, self._reported, strict=True) if row != before]

    def reset(self, earlier: Iterable[Fill]) -> bool:
        """Count no row as pushed any more, if what counts is known to be the fills that were replaced before."""
        is_known = sum(fill.size for fill in earlier) == sum(row.pushed for row in self._rows)
        if is_known:
            self._rows = [msgspec.structs.replace(row, pushed=Decimal(0)) for row in self._rows]
        return is_known

    def replace_all(self, fills: Iterable[Fill]) -> None:
        """Replace fills; these are all rows of the order, so the place of each is known."""
        for fill in fills:
            self._place(fill, len(self._rows))

    def replace_same(self, fill: Fill) -> bool:
        """Replace a fill by the row of the same size that is nearest in time, if there is one."""
        apart = [abs(row.time_ms - fill.time_ms) for row in self._rows]
        same = [index for index, row in enumerate(self._rows) if not row.pushed and row.size == fill.size]
        nearest = min(same, key=apart.__getitem__, default=None)
        if nearest is None or apart[nearest] > ASIDE_MS:
            return False
        self._count(nearest, fill.size)
        return True

    def replace_earlier(self, fill: Fill) -> bool:
        """Replace a fill if the rows up to its time hold all that was filled by then, and it has room in them."""
        earlier = [row for row in self._rows if row.time_ms <= fill.time_ms]
        room = sum((row.size - row.pushed for row in earlier), Decimal(0))
        if not 0 < fill.filled <= sum(row.size for row in earlier) or room < fill.size:
            return False
        self._place(fill, len(earlier))
        return True

    def _place(self, fill: Fill, count: int) -> None:
        """Count a fill as pushed on the first ``count`` rows: where it is among them, else where room is left."""
        left, begin = fill.size, Decimal(0)
        for index, row in enumerate(self._rows[:count]):
            end = begin + row.size
            left -= self._count(index, min(end, fill.filled) - max(begin, fill.filled - fill.size))
            begin = end
        for index in range(count):
            left -= self._count(index, left)

    def _count(self, index: int, size: Decimal) -> Decimal:
        """Count a part of a row as pushed, at most its size, and return how much that is."""
        row = self._rows[index]
        part = max(min(size, row.size - row.pushed), Decimal(0))
        self._rows[index] = msgspec.structs.replace(row, pushed=row.pushed + part)
        return part


def _fill(trade_id: str, size: str | None, time_ms: int | None, pushed: str | None = None) -> Fill:
    return Fill(trade_id, number(size), time_ms or 0, number(pushed))


def _replaced(trade_id: str) -> Fill:
    """Return a replaced fill from its id; its size is zero if the id is from an older version."""
    amounts, _, time_ms = trade_id.partition("@")
    return Fill(trade_id, number(amounts.partition(":")[2]), milliseconds(time_ms))
