"""The findings of ``okxsync check`` as a table: failures first."""

from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from okxsync.accounts.preflight import Finding
from okxsync.runtime.text import CONTROL_ESCAPES

_COLOUR = {"ok": "green", "warn": "yellow", "fail": "red"}
_RANK = {"fail": 0, "warn": 1, "ok": 2}


def _plain(*cells: str) -> list[Text]:
    return [Text(cell.translate(CONTROL_ESCAPES)) for cell in cells]


def render_findings(findings: Sequence[Finding]) -> RenderableType:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("", "what", "found", "to do"):
        table.add_column(name, overflow="fold")
    for one in sorted(findings, key=lambda one: _RANK[one.level]):
        table.add_row(Text(one.level, _COLOUR[one.level]), *_plain(one.subject, one.found, one.todo))
    counts = {level: sum(one.level == level for one in findings) for level in _RANK}
    summary = f"{counts['fail']} failed, {counts['warn']} warnings, {counts['ok']} ok"
    return Group(table, Text(summary, _COLOUR["fail" if counts["fail"] else "warn" if counts["warn"] else "ok"]))
