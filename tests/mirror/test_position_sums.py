"""A position is the sum of its fills, however often it was increased, reduced, turned around or closed."""

from dataclasses import fields
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from okxsync.mirror.position_sums import Execution, difference
from okxsync.mirror.rows import Position

BEGIN = datetime(2027, 1, 15, tzinfo=UTC)
sizes = st.decimals("-50", "50", places=3).filter(bool)


def position(pos: Decimal, opened: datetime, **more: Any) -> Position:
    known = {"account": "alpha", "pos_id": "1", "inst_id": "BTC-USD-SWAP", "inst_type": "SWAP", "pos_side": "net"}
    values: dict[str, Any] = {**known, "pos": pos, "c_time": opened, "received_at": BEGIN, "revision": 1, **more}
    every: dict[str, Any] = {one.name: values.get(one.name) for one in fields(Position)}
    return Position(**every)


def execution(at: datetime, signed: Decimal, *, closes: bool) -> Execution:
    return Execution(at, "SWAP", "cross", "net", None, signed > 0, abs(signed), None, Decimal(0), None, closes)


def simulate(changes: list[Decimal], *, renewed: bool) -> tuple[Decimal, datetime, list[Execution]]:
    """Return the position, when it was opened, and its fills.

    ``renewed``: each opening has a time of its own.
    """
    pos, opened, fills = Decimal(0), BEGIN, []
    for number, change in enumerate(changes):
        at = BEGIN + timedelta(seconds=2 * number)
        closes = pos * change < 0
        if renewed and (not pos or pos * (pos + change) < 0):
            opened = at
        pos += change
        fills.append(execution(at, change, closes=closes))
    return pos, opened, fills


@pytest.mark.parametrize("renewed", [False, True])
@given(st.lists(st.one_of(sizes, st.just(Decimal(5)), st.just(Decimal(-5))), min_size=1, max_size=10))
def test_a_net_position_is_the_sum_of_its_fills(renewed: bool, changes: list[Decimal]) -> None:
    pos, opened, fills = simulate(changes, renewed=renewed)
    assert difference(position(pos, opened), fills) is None
    since = [fill for fill in fills if fill.at >= opened]
    assert difference(position(pos, opened), since) is None  # earlier fills do not matter
    if not since[0].closes:  # else its first fill has closed another position, by an amount that is not known
        assert difference(position(pos + 1, opened), fills) == pos


@given(st.lists(sizes, min_size=2, max_size=10), st.data())
def test_a_missing_fill_is_noticed(changes: list[Decimal], data: st.DataObject) -> None:
    pos, opened, fills = simulate(changes, renewed=False)
    fills.pop(data.draw(st.integers(1, len(fills) - 1)))
    assert difference(position(pos, opened), fills) is not None


@given(st.lists(st.decimals("0.001", "50", places=3), min_size=1, max_size=10), st.sampled_from(["1", "-1"]))
def test_a_short_position_counts_sales(amounts: list[Decimal], sign: str) -> None:
    """OKX documents positive sizes in long/short mode; negative ones of short positions are accepted too."""
    fills = [execution(BEGIN, -amount, closes=False) for amount in amounts]
    total = sum(amounts, Decimal(0))
    assert difference(position(total * Decimal(sign), BEGIN, pos_side="short"), fills) is None
    assert difference(position(total + 1, BEGIN, pos_side="short"), fills) == total
