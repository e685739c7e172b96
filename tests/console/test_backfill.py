"""What backfill prints is the exchange's text too: nothing in it may move a terminal's cursor."""

import json

import pytest

from okxsync.console.backfill import Progress, report
from okxsync.reconcile.pull import Window
from okxsync.reconcile.work import Part

EVIL = "broken \x1b[2J\x9b2J \u2028 reply"


def parts() -> list[Part]:
    return [Part("alpha", "orders", Window(0), error=EVIL), Part("beta", "bills", Window(0), unknown=EVIL)]


def test_the_report_is_text_without_controls() -> None:
    for as_json in (False, True):
        said = report(parts(), [], as_json=as_json)
        assert "\x1b" not in said
        assert "\x9b" not in said
        assert "2J" in said
    assert json.loads(report(parts(), [], as_json=True))["parts"][0]["error"] == EVIL


def test_so_are_the_lines_of_its_progress(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress() as progress:
        progress.update(parts()[0])
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "okxsync: alpha orders: broken \\u001b[2J\\u009b2J \\u2028 reply"
