"""Progress of a backfill, as bars on a terminal and as lines elsewhere, and its report."""

import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import msgspec
import rich.progress
from rich.console import Console

from okxsync.reconcile.work import Part
from okxsync.runtime.text import CONTROL_ESCAPES


class Progress:
    """Progress bars on a terminal; one line for each finished part elsewhere. All on stderr."""

    def __init__(self) -> None:
        self._bars = rich.progress.Progress(
            rich.progress.SpinnerColumn(),
            "{task.description}",
            "{task.completed} rows",
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
        )
        self._tasks: dict[tuple[str, str], rich.progress.TaskID] = {}

    def __enter__(self) -> "Progress":
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def update(self, part: Part) -> None:
        """Show the current state of a part."""
        name = f"{part.account} {part.subject}"
        if self._bars.disable:
            if part.done or part.error:
                text = part.error or f"{part.rows} rows"
                print(f"okxsync: {name}: {text}".translate(CONTROL_ESCAPES), file=sys.stderr)
            return
        key = (part.account, part.subject)
        if key not in self._tasks:
            self._tasks[key] = self._bars.add_task(name, total=None)
        total = part.rows if part.done else None
        self._bars.update(self._tasks[key], completed=part.rows, total=total)


def report(parts: Sequence[Part], too_deep: Sequence[str], *, as_json: bool) -> str:
    """Return the result as text or as one JSON document."""
    failed = [part for part in parts if part.error]
    if as_json:
        document: dict[str, Any] = {
            "complete": not failed,
            "rows": sum(part.rows for part in parts),
            "parts": [
                {
                    "account": part.account,
                    "subject": part.subject,
                    "rows": part.rows,
                    "error": part.error,
                    "unknown": part.unknown,
                }
                for part in parts
            ],
            "not_kept": list(too_deep),
        }
        return msgspec.json.encode(document).decode().translate(CONTROL_ESCAPES)
    if not parts:
        return "no open gaps"
    rows = sum(part.rows for part in parts)
    accounts = len({part.account for part in parts})
    lines = [f"{rows} rows for {accounts} accounts" + (f", {len(failed)} parts failed:" if failed else ", complete")]
    lines += [f"  {part.account} {part.subject}: {part.error}" for part in failed]
    lines += [f"  {part.account} {part.unknown}" for part in parts if part.unknown]
    return "\n".join(line.translate(CONTROL_ESCAPES) for line in lines)
