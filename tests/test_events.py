"""The journal's events and their documentation are one."""

import ast
from pathlib import Path

from okxsync.events import BY_NAME, EVENTS, markdown_table

ROOT = Path(__file__).parents[1]


def test_the_documentation_has_the_table_of_events() -> None:
    assert markdown_table() in (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")


def test_each_event_has_a_name_of_its_own() -> None:
    assert len(BY_NAME) == len(EVENTS)


def test_each_event_is_used() -> None:
    """What nobody journals any more must not stay in the table."""
    used: set[str] = set()
    for path in (ROOT / "okxsync").rglob("*.py"):
        if path.name != "events.py":
            used |= {
                node.attr for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Attribute)
            }
    names = {name for name, value in vars(__import__("okxsync.events", fromlist=["x"])).items() if value in EVENTS}
    assert names <= used
