"""What a peer may send that is no mistake any more: each frame costs itself at most, and the writer lives."""

import pytest

from okxsync.okx.frames import read_event
from okxsync.store import batch
from tests.store.desk import NOW, Desk

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
