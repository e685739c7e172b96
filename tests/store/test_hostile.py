"""Hostile frames: each one affects at most itself, and the writer goes on."""

from typing import Any

import msgspec
import pytest

from okxsync.messages import ConfiguredAccount, Frames, Message, Note, Rows
from okxsync.okx.control import read_event
from okxsync.store.database import DatabaseError
from okxsync.store.raw_log import open_codec
from tests.support.desk import MS, NOW, Desk, order, phase

DEEP = "[" * 100_000
FINE = '{"arg":{"channel":"orders"},"data":[{"ordId":"77","state":"live","uTime":"5"}]}'


def raw(*texts: str) -> Frames:
    return Frames(1, "alpha", [(NOW + number, text) for number, text in enumerate(texts)])


@pytest.mark.parametrize("frame", ['{"event":"error","x":' + DEEP, '{"event":"error","arg":{"a":' + DEEP])
def test_a_deeply_nested_control_frame_affects_only_itself(desk: Desk, frame: str) -> None:
    assert read_event(frame) is None
    desk.apply(raw(frame, FINE))
    assert desk.rows("SELECT ord_id FROM orders") == [("77",)]
    assert desk.rows("SELECT count(*) FROM messages") == [(2,)]


@pytest.mark.parametrize("size", ["1e99999999", "1e-99999999", "1e999999999999999999", "sNaN", "9" * 5000])
def test_a_row_with_a_huge_number_is_stored(desk: Desk, size: str) -> None:
    desk.apply(raw(FINE.replace('"state"', f'"accFillSz":"{size}","state"')))
    assert desk.rows("SELECT acc_fill_sz FROM orders") == [(size,)]


@pytest.mark.parametrize("name", ['a\\"b', "a\\\\b", "a\\u0001b", "", "learned_0"])
def test_an_unknown_field_with_a_strange_name_does_no_harm_now_or_later(desk: Desk, name: str) -> None:
    desk.apply(raw(FINE.replace('"state"', f'"{name}":1,"state"')))
    assert desk.rows("SELECT ord_id, state FROM orders") == [("77", "live")]
    desk.apply(raw(FINE.replace('"77"', '"78"').replace('"state"', '"fresh":1,"state"')))
    assert desk.rows("SELECT ord_id FROM orders ORDER BY 1") == [("77",), ("78",)]


@pytest.mark.parametrize("named", ["null", '"text"', "{}"])
def test_a_snapshot_with_an_unreadable_row_proves_nothing_absent(desk: Desk, named: str) -> None:
    marks: dict[str, Any] = {"eventType": "snapshot", "curPage": 1, "lastPage": True}
    desk.push("positions", position("1"), position("2"), **marks)
    desk.push("account", {"uTime": "5", "details": [balance("BTC"), balance("ETH")]}, **marks)
    row = msgspec.json.decode(named)
    desk.push("positions", position("1", pTime=str(MS + 9)), row, **marks)
    desk.push("account", {"uTime": str(MS + 9), "details": [balance("BTC"), row]}, **marks)
    assert desk.rows("SELECT pos FROM positions") == [("3",), ("3",)]
    assert desk.rows("SELECT eq FROM balances") == [("7",), ("7",)]


@pytest.mark.parametrize("details", ["null", "{}", '"none"', "absent"])
def test_an_account_without_a_list_of_currencies_does_not_say_that_there_are_none(desk: Desk, details: str) -> None:
    marks: dict[str, Any] = {"eventType": "snapshot", "curPage": 1, "lastPage": True}
    desk.push("account", {"uTime": "5", "details": [balance("BTC")]}, **marks)
    fields = {} if details == "absent" else {"details": msgspec.json.decode(details)}
    desk.push("account", {"uTime": str(MS + 9), **fields}, **marks)
    assert desk.rows("SELECT eq FROM balances") == [("7",)]
    desk.push("account", {"uTime": str(MS + 10), "details": []}, **marks)
    assert desk.rows("SELECT eq FROM balances") == [("0",)]


def position(number: str, **fields: str) -> dict[str, str]:
    return {"posId": number, "instType": "SWAP", "pos": "3", "uTime": str(MS), "pTime": str(MS)} | fields


def balance(ccy: str, **fields: str) -> dict[str, str]:
    return {"ccy": ccy, "eq": "7", "cashBal": "7", "uTime": str(MS)} | fields


# No value is known that a row refuses by accident, so these tests make one, as a bug of ours would.
REFUSE = {
    "sqlite": "CREATE TRIGGER no BEFORE INSERT ON orders WHEN NEW.ord_id = '66' BEGIN SELECT raise(ABORT, 'no'); END",
    "postgres": "ALTER TABLE orders ADD CHECK (ord_id <> '66')",
}
SECRET = '{"event":"error","code":"60012","msg":"Invalid request: {\\"passphrase\\":\\"PASS\\"}"}'


def test_a_rejected_frame_affects_only_itself_and_shows_no_secret(desk: Desk, engine: str) -> None:
    desk.begin("orders")
    desk.db.execute(REFUSE[engine])
    desk.apply(raw(FINE, FINE.replace("77", "66"), SECRET, FINE.replace("77", "78")), Note(NOW, "info", None, "a", "b"))
    assert desk.rows("SELECT ord_id FROM orders ORDER BY 1") == [("77",), ("78",)]
    codec = open_codec(desk.db)
    texts = [codec.decompress(body).decode() for (body,) in desk.rows("SELECT body FROM messages ORDER BY id")]
    assert [len(texts), "PASS" in "".join(texts)] == [4, False]
    assert desk.rows("SELECT messages FROM connections") == [(4,)]


def test_a_rejected_rest_row_affects_only_itself(desk: Desk, engine: str) -> None:
    desk.begin("orders")
    desk.db.execute(REFUSE[engine])
    rows = msgspec.json.encode([order(65), order(66), order(67)]).decode()
    desk.apply(Rows("alpha", "orders", rows, NOW), Note(NOW, "info", None, "a", "b"))
    assert desk.rows("SELECT ord_id FROM orders ORDER BY 1") == [("65",), ("67",)]
    assert desk.rows("SELECT count FROM anomalies WHERE kind = 'invalid-message'") == [(1,)]


def test_a_failure_while_a_batch_is_written_one_by_one_stores_nothing_twice(desk: Desk) -> None:
    desk.begin("orders")
    desk.db.execute("ALTER TABLE journal RENAME TO away")  # as if the disk failed when the anomaly is journalled
    messages: list[Message] = [raw(FINE), phase(2**70)]
    with pytest.raises(DatabaseError):
        desk.apply(*messages)
    assert desk.rows("SELECT count(*) FROM messages") == [(0,)]
    desk.db.execute("ALTER TABLE away RENAME TO journal")
    desk.apply(*messages)
    assert desk.rows("SELECT count(*) FROM messages") == [(1,)]


def test_an_unknown_field_of_a_batch_that_was_rolled_back_is_journalled_when_it_is_stored(desk: Desk) -> None:
    new = raw('{"arg":{"channel":"orders"},"data":[{"ordId":"1","fieldOfARolledBackBatch":""}]}')
    desk.db.execute("ALTER TABLE orders RENAME TO away")
    with pytest.raises(DatabaseError):
        desk.apply(new)
    desk.db.execute("ALTER TABLE away RENAME TO orders")
    desk.apply(new)
    assert desk.rows("SELECT kind, what, count FROM anomalies") == [
        ("unknown-field", "orders: fieldOfARolledBackBatch", 1)
    ]
    assert desk.rows("SELECT event FROM journal") == [("unknown-field",)]


def test_an_unknown_field_is_counted_in_each_row_that_has_it(desk: Desk) -> None:
    rows = [{"ordId": str(number), **({"fieldOfSomeRows": ""} if number % 2 else {})} for number in range(100)]
    desk.push("orders", *rows)
    assert desk.rows("SELECT kind, count FROM anomalies") == [("unknown-field", 50)]


def test_a_batch_that_is_rolled_back_adds_no_samples(desk: Desk) -> None:
    desk.db.execute("ALTER TABLE orders RENAME TO away")
    for _ in range(3):
        with pytest.raises(DatabaseError):
            desk.apply(raw(FINE, FINE))
    assert desk.writer.state.samples == []


def test_an_account_config_of_unexpected_types_is_an_anomaly(desk: Desk) -> None:
    desk.apply(ConfiguredAccount("alpha", "global", False, NOW, '{"uid":7001,"mainUid":[1]}'))
    assert desk.rows("SELECT name, uid FROM accounts") == [("alpha", "7001")]
    assert desk.rows("SELECT event, detail FROM journal ORDER BY 2") == [
        ("unexpected-type", "account/config: mainUid"),
        ("unexpected-type", "account/config: uid"),
    ]


def test_an_account_config_that_is_no_object_is_an_anomaly(desk: Desk) -> None:
    desk.apply(ConfiguredAccount("alpha", "global", False, NOW, "[7001]"))
    assert desk.rows("SELECT name FROM accounts UNION SELECT event FROM journal") == [("invalid-message",)]


ROW = '"data":[{"ordId":"1","state":"live"}]}'


@pytest.mark.parametrize(
    "head",
    [
        '{"arg":{"channel":"orders"},"eventType":null,',
        '{"arg":{"channel":"orders"},"eventType":5,"curPage":"1","lastPage":"true",',
        '{"arg":{"channel":"orders","instType":null},',
        '{"arg":{"channel":"orders","instId":5},',
    ],
)
def test_a_page_mark_of_an_unexpected_type_loses_no_row(desk: Desk, head: str) -> None:
    desk.begin("orders")
    desk.apply(raw(head + ROW, FINE))
    assert desk.rows("SELECT ord_id FROM orders ORDER BY 1") == [("1",), ("77",)]
    assert desk.rows("SELECT kind, what FROM anomalies") == [("unexpected-type", "envelope")]
    assert desk.rows("SELECT channel, kind FROM messages") == [("orders", "push")] * 2


def test_page_marks_of_another_type_prove_nothing_absent(desk: Desk) -> None:
    desk.push("positions", position("1"))
    desk.push("positions", eventType="snapshot", curPage="1", lastPage="true")
    assert desk.rows("SELECT pos FROM positions") == [("3",)]


def test_a_change_that_names_nothing_is_not_dropped_in_silence(desk: Desk) -> None:
    desk.push("balance_and_position", {"balData": [{"cashBal": "1"}], "posData": [None]})
    assert desk.rows("SELECT kind FROM anomalies") == [("invalid-row",), ("invalid-row",)]


def test_null_in_place_of_a_list_is_null(desk: Desk) -> None:
    desk.push("orders", {"ordId": "1", "attachAlgoOrds": None})
    assert desk.rows("SELECT attach_algo_ords FROM orders") == [(None,)]
