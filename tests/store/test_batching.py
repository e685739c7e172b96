"""Where one batch ends and the next one begins makes no difference to what is in the tables."""

from typing import Any

import pytest

from okxsync.messages import Message, Rows
from tests.support.desk import MS, Desk, order


def apply(desk: Desk, together: bool, *messages: Message) -> None:
    if together:
        desk.apply(*messages)
    else:
        for message in messages:
            desk.apply(message)


@pytest.mark.parametrize("together", [False, True])
def test_two_changes_of_one_instrument_are_both_kept(desk: Desk, together: bool) -> None:
    changes = ({"instId": "BTC-USDT", "tickSz": "0.1"}, {"instId": "BTC-USDT", "lotSz": "2"})
    apply(desk, together, *(desk.frame("instruments", change, arg={"instType": "SPOT"}) for change in changes))
    assert desk.rows("SELECT tick_sz, lot_sz FROM instruments") == [("0.1", "2")]


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("rest_first", [False, True])
def test_a_fill_keeps_what_each_of_its_sources_reports(desk: Desk, together: bool, rest_first: bool) -> None:
    push = desk.frame("orders", order(1, fillSz="2", tradeId="9", fillPx="5", fillFwdPx="4", accFillSz="2"))
    row = '[{"instId":"BTC-USDT-SWAP","ordId":"1","tradeId":"9","billId":"33","fillSz":"2","fillPx":"5"}]'
    rest = Rows("alpha", "fills", row, desk.at)
    apply(desk, together, *((rest, push) if rest_first else (push, rest)))
    assert desk.rows("SELECT bill_id, fill_px, fill_fwd_px FROM fills") == [("33", "5", "4")]


SNAPSHOT: dict[str, Any] = {"eventType": "snapshot", "curPage": 1, "lastPage": True}


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("clock_ms", [-3_600_000, 0, 3_600_000])
def test_a_snapshot_without_positions_closes_those_before_it_and_none_after(
    desk: Desk, together: bool, clock_ms: int
) -> None:
    """Whatever the local clock says, for an empty snapshot carries no time of the exchange."""
    desk.push("positions", position("1", MS - 1000), **SNAPSHOT)
    desk.at = (MS + clock_ms) * 1000
    apply(
        desk,
        together,
        desk.frame("positions", **SNAPSHOT),
        desk.frame("positions", position("2", MS - 500), eventType="event_update"),
        desk.frame("balance_and_position", {"posData": [position("3", MS - 400)]}),
    )
    assert desk.rows("SELECT pos_id, pos FROM positions ORDER BY 1") == [("1", "0"), ("2", "3"), ("3", "3")]


def position(number: str, at: int) -> dict[str, str]:
    return {"posId": number, "instType": "SWAP", "pos": "3", "uTime": str(at), "pTime": str(at)}
