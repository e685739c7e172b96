"""okxsync: an exact local copy of many OKX accounts, with proof that nothing is missing.

``open_mirror`` reads that copy; the names in ``__all__`` are the public API (see docs/python.md), all else is private.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from okxsync.mirror.changes import Changes, FillKey, Watch
    from okxsync.mirror.freshness import Answer, Freshness, Gap
    from okxsync.mirror.reader import Account, Mirror, open_mirror
    from okxsync.mirror.rows import (
        AlgoOrder,
        Balance,
        Bill,
        ClosedPosition,
        Deposit,
        Equity,
        Fill,
        Instrument,
        MarkPrice,
        Order,
        Position,
        Withdrawal,
    )
    from okxsync.mirror.status import Status
    from okxsync.store.database import StoreError

__version__ = "0.1.0"

__all__ = [
    "Account",
    "AlgoOrder",
    "Answer",
    "Balance",
    "Bill",
    "Changes",
    "ClosedPosition",
    "Deposit",
    "Equity",
    "Fill",
    "FillKey",
    "Freshness",
    "Gap",
    "Instrument",
    "MarkPrice",
    "Mirror",
    "Order",
    "Position",
    "Status",
    "StoreError",
    "Watch",
    "Withdrawal",
    "__version__",
    "open_mirror",
]

_HOME = {
    **dict.fromkeys(["Changes", "FillKey", "Watch"], "okxsync.mirror.changes"),
    **dict.fromkeys(["Answer", "Freshness", "Gap"], "okxsync.mirror.freshness"),
    **dict.fromkeys(["Account", "Mirror", "open_mirror"], "okxsync.mirror.reader"),
    **dict.fromkeys(
        "AlgoOrder Balance Bill ClosedPosition Deposit Equity Fill Instrument MarkPrice Order Position"
        " Withdrawal".split(),
        "okxsync.mirror.rows",
    ),
    "Status": "okxsync.mirror.status",
    "StoreError": "okxsync.store.database",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: ``okxsync --help`` needs none of them."""
    from importlib import import_module

    if (home := _HOME.get(name)) is None:
        raise AttributeError(f"module 'okxsync' has no attribute '{name}'")
    return globals().setdefault(name, getattr(import_module(home), name))


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
