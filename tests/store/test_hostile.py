"""What a peer may send that is no mistake any more: each frame costs itself at most, and the writer lives."""

import msgspec
import pytest

from okxsync.okx.frames import read_event
from okxsync.store import batch
from tests.store.desk import MS, NOW, Desk

DEEP = "[" * 100_000
FINE = '{"arg":{"channel":"orders"},"data":[{"ordId":"77","state":"live","uTime":"5"}]}'


def raw(*texts: str) -> batch.Frames:
    return batch.Frames(1, "alpha", [(NOW + number, text) for number, text in enumerate(texts)])


@pytest.mark.parametrize("frame", ['{"event":"error","x":' + DEEP, '{"event":"error","arg":{"a":' + DEEP])
def test_a_bottomless_control_frame_is_no_event_and_costs_only_itself(desk: Desk, frame: str) -> None:
    assert read_event(frame) is None
    desk.apply(raw(frame, FINE))
    assert desk.rows("SELECT ord_id FROM orders") == [("77",)]
    assert desk.rows("SELECT count(*) FROM messages") == [(2,)]


@pytest.mark.parametrize("size", ["1e99999999", "1e-99999999", "1e999999999999999999", "sNaN", "9" * 5000])
def test_a_number_beyond_all_bounds_costs_no_row(desk: Desk, size: str) -> None:
    desk.apply(raw(FINE.replace('"state"', f'"accFillSz":"{size}","state"')))
    assert desk.rows("SELECT acc_fill_sz FROM orders") == [(size,)]


@pytest.mark.parametrize("name", ['a\\"b', "a\\\\b", "a\\u0001b", "", "learned_0"])
def test_a_strange_new_field_costs_nothing_now_or_later(desk: Desk, name: str) -> None:
    desk.apply(raw(FINE.replace('"state"', f'"{name}":1,"state"')))
    assert desk.rows("SELECT ord_id, state FROM orders") == [("77", "live")]
    desk.apply(raw(FINE.replace('"77"', '"78"').replace('"state"', '"fresh":1,"state"')))
    assert desk.rows("SELECT ord_id FROM orders ORDER BY 1") == [("77",), ("78",)]


@pytest.mark.parametrize("named", ["null", '"text"', "{}"])
def test_a_snapshot_with_an_unreadable_row_proves_nothing_absent(desk: Desk, named: str) -> None:
    marks = {"eventType": "snapshot", "curPage": 1, "lastPage": True}
    desk.push("positions", position("1"), position("2"), **marks)
    desk.push("account", {"uTime": "5", "details": [balance("BTC"), balance("ETH")]}, **marks)
    row = msgspec.json.decode(named)
    desk.push("positions", position("1", pTime=str(MS + 9)), row, **marks)
    desk.push("account", {"uTime": str(MS + 9), "details": [balance("BTC"), row]}, **marks)
    assert desk.rows("SELECT pos FROM positions") == [("3",), ("3",)]
    assert desk.rows("SELECT eq FROM balances") == [("7",), ("7",)]


@pytest.mark.parametrize("details", ["null", "{}", '"none"', "absent"])
def test_an_account_without_a_list_of_currencies_does_not_say_that_there_are_none(desk: Desk, details: str) -> None:
    marks = {"eventType": "snapshot", "curPage": 1, "lastPage": True}
    desk.push("account", {"uTime": "5", "details": [balance("BTC")]}, **marks)
    told = {} if details == "absent" else {"details": msgspec.json.decode(details)}
    desk.push("account", {"uTime": str(MS + 9), **told}, **marks)
    assert desk.rows("SELECT eq FROM balances") == [("7",)]
    desk.push("account", {"uTime": str(MS + 10), "details": []}, **marks)
    assert desk.rows("SELECT eq FROM balances") == [("0",)]


def position(number: str, **fields: str) -> dict[str, str]:
    return {"posId": number, "instType": "SWAP", "pos": "3", "uTime": str(MS), "pTime": str(MS)} | fields


def balance(ccy: str, **fields: str) -> dict[str, str]:
    return {"ccy": ccy, "eq": "7", "cashBal": "7", "uTime": str(MS)} | fields
