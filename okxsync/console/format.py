"""Durations, sizes and counts for people."""

from collections.abc import Iterator, Sequence
from typing import Final

from rich.text import Text

UNKNOWN: Final = "-"
"""Shown for an unknown value, which is not zero."""


def age(seconds: float | None) -> str:
    """Return a duration with one unit; "" for None."""
    if seconds is None:
        return ""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.1f} s"


def size(count: int) -> str:
    """Return a number of bytes with a decimal unit (1 KB is 1000 bytes)."""
    rest = float(count)
    for unit in ("B", "KB", "MB"):
        if rest < 1000:
            return f"{rest:.0f} {unit}"
        rest /= 1000
    return f"{rest:.1f} GB"


def and_more(are_healthy: Sequence[bool], healthy: str) -> Iterator[Text]:
    """Yield a line that counts the rows which the table does not show, if there are any.

    ``healthy`` describes a row without problems.
    """
    problems = are_healthy.count(False)
    parts = [f"{len(are_healthy) - problems} more {healthy}"] if problems < len(are_healthy) else []
    parts += [f"{problems} more with problems (--problems shows all)"] if problems else []
    if parts:
        yield Text(f"and {', and '.join(parts)}", "yellow" if problems else "")
