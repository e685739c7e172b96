"""Plans as tables."""

from functools import partial
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from okxsync.console.plan import render_list, render_misfires, render_preview, render_progress
from okxsync.console.status import console
from okxsync.plans.children import to_columns
from okxsync.plans.preview import to_plan_columns
from tests.plans.cases import PLAN_ID, plan, preview

HOSTILE = "[/x] [red]y[/red] :smile: [link=http://e]z[/link] \x1b[2J\x1b]0;t\x07 \x9b31m\r\n"
SHOWN = "[/x] [red]y[/red] :smile: [link=http://e]z[/link] \\u001b[2J\\u001b]0;t\\u0007 \\u009b31m\\u000d\\u000a"


@pytest.mark.parametrize("field", ["title", "account", "detail", "note", "site_modes"])
def test_text_of_others_is_shown_as_it_is_without_control_characters(
    field: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rich would take parts of it for markup, and fail on a tag that does not match."""
    found = preview(plan())
    more = {
        "outcome": None,
        "pause_reason": None,
        "unprotected": 0,
        "account": None,
        "doubled": 0,
        "acc_fill_sz": None,
        "avg_px": None,
        "fee": None,
    }
    row: dict[str, Any] = {**more, **to_plan_columns(found), field: HOSTILE}
    refused = {"state": "refused", "reason": "bad-request", "detail": "d", "account": "alpha"}
    order: dict[str, Any] = {**more, **to_columns(PLAN_ID, found.children[0]), **refused, field: HOSTILE}
    misfire = order | {"at": 0, "reason": "stale"}
    out = console()
    for shown in (
        render_preview(row, [order], "1 account"),
        render_progress(row, [order]),
        render_list([row]),
        render_misfires([misfire]),
    ):
        out.print(shown)
    text = capsys.readouterr().out
    assert "".join(SHOWN.split()) in "".join(text.split())
    assert not any((one != "\n" and ord(one) < 0x20) or 0x7F <= ord(one) < 0xA0 for one in text)


@pytest.mark.parametrize(("average", "shown"), [("67079.3123", "+0.100%"), ("66945.2877", "-0.100%"), (None, "-")])
def test_the_average_price_is_compared_with_the_price_of_the_plan(
    average: str | None, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = preview(plan())
    more = {"outcome": None, "pause_reason": None, "doubled": 0, "acc_fill_sz": "1", "avg_px": average, "fee": None}
    order = {**to_columns(PLAN_ID, found.children[0]), **more}
    console().print(render_progress({**more, **to_plan_columns(found)}, [order]))
    assert shown in capsys.readouterr().out.split()


@pytest.mark.parametrize("width", [72, 80, 100, 200])
def test_a_narrow_terminal_shows_all_of_a_plan(width: int) -> None:
    """The names of the accounts were cut away, because numbers keep to one line."""
    found = preview(plan())
    more = {"outcome": None, "pause_reason": None, "unprotected": 0, "doubled": 0}
    done = {"acc_fill_sz": "3.34", "avg_px": "59929.900299401198", "fee": "-1.000829335", "attempts": 7}
    order = {**to_columns(PLAN_ID, found.children[0]), **more, **done, "account": "treasury-main"}
    out = Console(width=width, file=StringIO(), color_system=None)
    for render in (render_progress, partial(render_preview, typed="")):
        with out.capture() as captured:
            out.print(render({**more, **to_plan_columns(found)}, [order]))
        text = captured.get()
        assert max(map(len, text.splitlines())) <= width
        assert "treasury-main" in text
        shown = "".join(text.split())
        if render is render_progress:
            assert all(value in shown for value in ("3.34", "59929.900299401198", "-1.000829335", "7"))
        else:
            assert all(name in text for name in ("equity", "remainder", "margin", "price", "size"))
