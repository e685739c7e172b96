"""The code in docs/python.md runs as it stands."""

import os
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from okxsync.messages import ConfiguredAccount
from okxsync.runtime.clock import now_us
from tests.support.desk import NOW, Desk, order

DOCS = Path(__file__).parents[2] / "docs" / "python.md"


def test_the_lines_for_a_notebook(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.apply(ConfiguredAccount("alpha", "sandbox", True, NOW, None))
    desk.at = now_us()
    desk.begin("account", "orders", pid=os.getpid())
    now_ms = str(desk.at // 1000)
    desk.push("orders", order(1, px="2.5", sz="4"), order(2, px="1", sz="0.1"))
    desk.push("orders", order(3, state="filled", accFillSz="1", fillSz="1", tradeId="1", fillTime=now_ms))
    monkeypatch.chdir(desk.path.parent)
    assert desk.path.name == "okxsync.db"
    (code,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    found: dict[str, Any] = {}
    exec(code, found)
    assert found["notional"] == Decimal("10.1")
    assert [fill.trade_id for fill in found["today"]] == ["1"]
    assert len(found["changes"].orders) == 3
    assert not found["later"]
    assert capsys.readouterr().out == ""
