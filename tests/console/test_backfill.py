"""The output of backfill contains text of the exchange, whose control characters must be escaped."""

import json

import pytest

from okxsync.console.backfill import Progress, report
from okxsync.reconcile.pull import Window
from okxsync.reconcile.work import Part

EVIL = "broken \x1b[2J\x9b2J \u2028 reply"


def parts() -> list[Part]:
    return [Part("alpha", "orders", Window(0), error=EVIL), Part("beta", "bills", Window(0), unknown=EVIL)]


def test_the_report_has_no_control_characters() -> None:
    for as_json in (False, True):
        text = report(parts(), [], as_json=as_json)
        assert "\x1b" not in text
        assert "\x9b" not in text
        assert "2J" in text
    assert json.loads(report(parts(), [], as_json=True))["parts"][0]["error"] == EVIL


def test_progress_lines_have_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress() as progress:
        progress.update(parts()[0])
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "okxsync: alpha orders: broken \\u001b[2J\\u009b2J \\u2028 reply"
