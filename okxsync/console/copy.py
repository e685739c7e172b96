"""Progress of a copy, as a bar on a terminal, and its result as a table."""

import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Final

import msgspec
import rich.progress
from rich.console import Console

from okxsync.store.copy import Compared

SHOWN: Final = 16
"""Characters of a hash that the table shows."""


class Progress:
    """A line for what is done, with the rows so far, on stderr; nothing if that is not a terminal."""

    def __init__(self) -> None:
        self._lines = rich.progress.Progress(
            rich.progress.SpinnerColumn(),
            "{task.description}",
            "{task.completed} rows",
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
        )
        self._tasks: dict[str, rich.progress.TaskID] = {}

    def __enter__(self) -> "Progress":
        self._lines.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lines.stop()

    def update(self, action: str, table: str, rows: int) -> None:
        """Show that ``rows`` more rows of a table are copied or compared."""
        if action not in self._tasks:
            self._tasks[action] = self._lines.add_task("", total=None)
        self._lines.update(self._tasks[action], description=f"{action} {table}", advance=rows)


def report(tables: Sequence[Compared], *, as_json: bool) -> str:
    """Return the result as text or as one JSON document."""
    differing = sum(not one.identical for one in tables)
    if as_json:
        rows = [{**msgspec.to_builtins(one), "identical": one.identical} for one in tables]
        return msgspec.json.encode({"identical": not differing, "tables": rows}).decode()
    width = max((len(one.table) for one in tables), default=0)
    lines = [f"{'table':{width}}  {'FROM rows':>12}  {'TO rows':>12}  content"]
    for one in tables:
        same = f"identical  {one.source_hash[:SHOWN]}"
        content = same if one.identical else f"DIFFERS    {one.source_hash[:SHOWN]} {one.destination_hash[:SHOWN]}"
        lines.append(f"{one.table:{width}}  {one.source_rows:12}  {one.destination_rows:12}  {content}")
    rows_in_all = sum(one.source_rows for one in tables)
    end = f"{differing} tables differ: one of the databases was changed meanwhile" if differing else "all identical"
    return "\n".join([*lines, f"{len(tables)} tables, {rows_in_all} rows, {end}"])
