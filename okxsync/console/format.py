"""Numbers in the words of people."""

from collections.abc import Iterator, Sequence
from typing import Final

from rich.text import Text

UNKNOWN: Final = "-"
"""Stands where nothing is known: not zero."""


def age(seconds: float | None) -> str:
    """Return a length of time with one unit; nothing for None."""
    if seconds is None:
        return ""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.1f} s"


def size(count: int) -> str:
    """Return bytes in powers of 1000."""
    rest = float(count)
    for unit in ("B", "KB", "MB"):
        if rest < 1000:
            return f"{rest:.0f} {unit}"
        rest /= 1000
    return f"{rest:.1f} GB"


def and_more(are_well: Sequence[bool], well: str) -> Iterator[Text]:
    """Yield a line that counts the rows which a table does not show, if there are any."""
    ill = are_well.count(False)
    words = [f"{len(are_well) - ill} more that are {well}"] if ill < len(are_well) else []
    words += [f"{ill} more with problems (--problems shows all)"] if ill else []
    if words:
        yield Text(f"and {', and '.join(words)}", "yellow" if ill else "")
