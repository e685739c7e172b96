"""A table of which nothing is lost in a narrow terminal."""

from collections.abc import Sequence
from typing import Final

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

FOLDED: Final = 14
"""Characters that a column of text which may be folded has at least: an instrument's name fits."""
_PADDING: Final = 3
"""Characters between two columns: one of the box, and a space on each side."""


class FittedTable:
    """Rows of named columns; columns that do not fit the terminal are written into the last one, with their names.

    Args:
        columns: Their names.
        right: Those that are aligned to the right.
        folded: Those whose text may be folded; all others keep to one line.
        moved: Those that the last column, which may be folded then, takes; the first of them first.
    """

    def __init__(
        self, columns: Sequence[str], *, right: frozenset[str], folded: frozenset[str], moved: Sequence[str] = ()
    ) -> None:
        self._columns = columns
        self._right = right
        self._folded = folded | {columns[-1]} if moved else folded
        self._moved = moved
        self._rows: list[list[Text]] = []

    def add_row(self, *cells: str | Text) -> None:
        self._rows.append([Text(cell) if isinstance(cell, str) else cell for cell in cells])

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        moved: list[str] = []
        widths = [self._width(place) + _PADDING for place in range(len(self._columns))]
        for name in self._moved:
            if sum(widths) <= options.max_width:
                break
            moved.append(name)
            widths[self._columns.index(name)] = 0
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for name in self._columns:
            if name not in moved:
                fold = name in self._folded
                table.add_column(name, justify="right" if name in self._right else "left", no_wrap=not fold,
                                 overflow="fold", min_width=FOLDED if fold else None)  # fmt: skip
        for row in self._rows:
            table.add_row(*self._without(row, moved))
        yield table

    def _without(self, row: list[Text], moved: list[str]) -> list[Text]:
        cells = dict(zip(self._columns, row, strict=True))
        others = Text(", ").join(
            Text(f"{name} ").append_text(cell) for name in moved if (cell := cells.pop(name)).plain
        )
        *kept, last = cells.values()
        return [*kept, Text("; ").join(part for part in (last, others) if part.plain)]

    def _width(self, place: int) -> int:
        name = self._columns[place]
        if name in self._folded:
            return FOLDED
        return max(cell_len(name), *(row[place].cell_len for row in self._rows), 0)
