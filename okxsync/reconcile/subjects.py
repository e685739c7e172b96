"""What must be pulled over REST for a channel, and what a gap's outcome is once it was."""

from collections.abc import Mapping
from typing import Final

from okxsync.okx.channels import channel_of
from okxsync.okx.endpoints import DAY_MS

SUBJECTS: Final[Mapping[str, tuple[str, ...]]] = {
    "orders": ("orders", "fills"),
    "fills": ("fills",),
    "orders-algo": ("algo orders",),
    "algo-advance": ("algo orders",),
    "account": ("balances", "bills"),
    "balance_and_position": ("balances", "bills", "positions", "closed positions"),
    "positions": ("positions", "closed positions"),
    "deposit-info": ("deposits",),
    "withdrawal-info": ("withdrawals",),
}
"""What must be pulled to backfill a channel, by its name; other channels cannot be backfilled."""
TO_VERIFY: Final[Mapping[str, tuple[str, ...]]] = {
    "orders": ("orders", "fills"),
    "orders-algo": ("algo orders",),
    "account": ("balances",),
    "positions": ("positions",),
    "balance_and_position": ("new bills", "positions", "balances"),
}
"""What shows whether a live channel has pushed everything, and repairs what it has not: a bill whose time lies before a
later event shows nothing, so the balances are stored too."""

UNFILLED_KEPT_MS: Final = 2 * 3600 * 1000
"""Orders that were cancelled without a fill are in no list after two hours (OKX docs: GET trade/orders-history)."""
DEEPEST_MS: Final = 90 * DAY_MS
NOT_KEPT: Final = "OKX keeps no history of this channel"
NOT_ASKED: Final = "not backfilled: the complete list is loaded again"


def subjects_of(key: str) -> tuple[str, ...]:
    """Return what must be pulled to backfill a channel; that may include rows that its arguments leave out."""
    return SUBJECTS.get(channel_of(key), ())


def outcome_of(key: str, from_ms: int, now_ms: int, unknown: str | None = None) -> tuple[str, str | None]:
    """Return the outcome of a gap whose every request has succeeded: ``filled``, or ``partial`` with a note.

    Args:
        key: The channel's, as in coverage.
        unknown: What OKX cannot report.
    """
    if unknown:
        return "partial", unknown
    channel = channel_of(key)
    if channel not in SUBJECTS:
        return "partial", NOT_ASKED if channel == "instruments" else NOT_KEPT
    if now_ms - from_ms > DEEPEST_MS:
        return "partial", "beyond OKX's retention of three months"
    if channel == "orders" and now_ms - from_ms > UNFILLED_KEPT_MS:
        return "partial", "orders cancelled without a fill are not kept by OKX for more than two hours"
    return "filled", None
