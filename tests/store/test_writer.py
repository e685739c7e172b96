"""Nothing is dropped in silence, each batch is atomic, and no secret is stored."""

import os
import resource
from collections.abc import Callable
from typing import get_args

import msgspec
import pytest

from okxsync.messages import Frames, Lost, Message, Note, Phase, Verified
from okxsync.store.database import DatabaseError
from okxsync.store.raw_log import SAMPLES, open_codec
from okxsync.store.transaction import _COLLECTED, _REGISTERED
from tests.support.desk import MS, NOW, Desk, order


def raw(*texts: str) -> Frames:
    return Frames(1, "alpha", [(NOW + number, text) for number, text in enumerate(texts)])


def logged(desk: Desk) -> list[str]:
    codec = open_codec(desk.db)
    return [codec.decompress(body).decode() for (body,) in desk.rows("SELECT body FROM messages ORDER BY id")]


FINE = '{"arg":{"channel":"orders"},"data":[{"ordId":"77","state":"live","uTime":"5"}]}'


@pytest.mark.parametrize(
    ("frame", "event"),
    [
        ('{"arg":{"channel":"orders"},"data":[{"ordId"', "invalid-frame"),
        ("", "invalid-frame"),
        ("hello", "invalid-frame"),
        ("[1,2]", "invalid-frame"),
        ("[" * 100_000, "invalid-frame"),
        ('{"data":[{}]}', "invalid-frame"),
        ('{"arg":"orders","data":[]}', "invalid-frame"),
        ('{"arg":{"channel":"orders"},"data":{"ordId":"1"}}', "invalid-frame"),
        ('{"arg":{"channel":"orders"},"data":[{"ordId":""}]}', "invalid-row"),
        ('{"arg":{"channel":"orders"},"data":[null]}', "invalid-row"),
        ('{"arg":{"channel":"moon-phase"},"data":[{"x":1}]}', "unknown-channel"),
        ('{"arg":{"channel":"orders"},"data":[{"ordId":"1","uTime":"soon"}]}', "invalid-time"),
        ('{"arg":{"channel":"orders"},"data":[{"ordId":"1","state":"pondering"}]}', "unknown-value"),
        ('{"arg":{"channel":"orders"},"data":[{"ordId":"1","sz":1}]}', "unexpected-type"),
        ('{"arg":{"channel":"orders"},"data":[{"ordId":"1","shape":"round"}]}', "unknown-field"),
        ('{"arg":{"channel":"account"},"eventType":"dance","data":[]}', "unknown-value"),
    ],
)
def test_an_anomaly_is_kept_journalled_once_and_counted(desk: Desk, frame: str, event: str) -> None:
    desk.begin("orders")
    desk.apply(raw(frame, FINE))
    desk.apply(raw(frame))
    assert logged(desk) == [frame, FINE, frame]
    assert desk.rows("SELECT event, account FROM journal") == [(event, "alpha")]
    assert desk.rows("SELECT state FROM orders WHERE ord_id = '77'") == [("live",)]
    ((count,),) = desk.rows("SELECT count FROM anomalies WHERE kind = ?", event)
    assert count == 2


def test_every_message_has_its_place() -> None:
    assert {*_COLLECTED, *_REGISTERED} == set(get_args(Message))
    assert not _COLLECTED.keys() & _REGISTERED.keys()


def test_errors_count_what_did_not_reach_its_column(desk: Desk) -> None:
    desk.apply(raw("hello", '{"arg":{"channel":"orders"},"data":[{"ordId":"1","state":"pondering"}]}'))
    assert dict(desk.rows("SELECT name, value FROM counters"))["errors"] == 1


def test_the_other_rows_of_a_frame_are_stored(desk: Desk) -> None:
    desk.push(
        "orders",
        order(1),
        {"ordId": ["no"], "tradeId": {}},
        "text",
        order(2, px="\ud800".encode("utf-8", "replace").decode()),
    )
    assert desk.rows("SELECT ord_id FROM orders WHERE length(ord_id) = 1") == [("1",), ("2",)]


def test_a_row_with_a_lone_surrogate_is_stored(desk: Desk) -> None:
    desk.apply(raw('{"arg":{"channel":"orders"},"data":[{"ordId":"1","tag":"a\\ud83db","px":"5"}]}'))
    assert desk.rows("SELECT tag, px FROM orders") == [("a?b", "5")]


@pytest.mark.parametrize("count", [1, 100])
def test_a_row_with_a_nul_character_is_stored(desk: Desk, count: int) -> None:
    """PostgreSQL has no such character: it is replaced. A backslash, and u0000, are none."""
    rows = [f'{{"ordId":"{number}","tag":"a\\u0000b","px":"\\\\u0000"}}' for number in range(count)]
    desk.apply(raw(f'{{"arg":{{"channel":"orders"}},"data":[{",".join(rows)}]}}'))
    assert desk.rows("SELECT tag, px FROM orders") == [("a\ufffdb", "\\u0000")] * count


def test_endless_anomalies_do_not_fill_the_journal(desk: Desk) -> None:
    rows = [{"ordId": str(number), "state": f"state{number}"} for number in range(2000)]
    desk.push("orders", *rows)
    assert desk.rows("SELECT count(*) FROM orders") == [(2000,)]
    assert desk.rows("SELECT count(*) < 600 FROM journal") == [(1,)]
    assert desk.rows("SELECT sum(count) FROM anomalies") == [(2000,)]


def test_text_that_may_be_a_secret_is_redacted(desk: Desk) -> None:
    request = {"op": "login", "args": [{"apiKey": "KEY", "passphrase": "PASS", "timestamp": "1", "sign": "SIGN="}]}
    echo = {"event": "error", "code": "60012", "msg": f"Invalid request: {msgspec.json.encode(request).decode()}"}
    whole = msgspec.json.encode(echo).decode()
    desk.apply(raw(whole, msgspec.json.encode(request).decode(), whole[: whole.index("SIGN") + 3]))
    for text in logged(desk):
        assert not any(secret in text for secret in ("KEY", "PASS", "SIG"))
    assert msgspec.json.decode(logged(desk)[0])["code"] == "60012"


def test_control_frames_are_logged_under_their_event(desk: Desk) -> None:
    desk.apply(
        raw('{"event":"subscribe","arg":{"channel":"orders"},"connId":"a"}', '{"event":"notice","code":"64008"}')
    )
    assert desk.rows("SELECT kind, channel FROM messages") == [("subscribe", "orders"), ("notice", None)]


def test_replies_to_orders_are_logged_and_are_no_anomaly_and_no_row(desk: Desk) -> None:
    row = '{"clOrdId":"P1","ordId":"31","sCode":"0"}'
    desk.apply(raw(f'{{"id":"o1","op":"order","code":"0","msg":"","data":[{row}]}}', '{"id":"o1","op":"order"}'))
    assert desk.rows("SELECT kind, channel FROM messages") == [("reply", None), ("unknown", None)]
    assert desk.rows("SELECT kind, count FROM anomalies") == [("invalid-frame", 1)]
    assert desk.rows("SELECT ord_id FROM orders") == []
    assert desk.rows("SELECT messages FROM connections") in ([], [(2,)])


def test_rows_of_a_frame_with_an_event_are_stored(desk: Desk) -> None:
    desk.push("orders", order(1), event="update")
    assert desk.rows("SELECT ord_id FROM orders") == [("1",)]
    assert desk.rows("SELECT kind, channel FROM messages") == [("push", "orders")]


def test_an_unknown_event_is_journalled_once_and_counted(desk: Desk) -> None:
    for _ in range(3):
        desk.apply(raw(*['{"event":"novelty","msg":"x"}'] * 100, '{"event":"notice","code":"1"}'))
    assert desk.rows("SELECT kind, what, count FROM anomalies") == [("unknown-event", "novelty", 300)]
    assert desk.rows("SELECT level, account, event, detail FROM journal") == [
        ("warning", "alpha", "unknown-event", "novelty")
    ]
    assert desk.rows("SELECT count(*) FROM messages WHERE kind = 'novelty'") == [(300,)]


def test_the_log_counts_bytes_as_received_and_as_stored(desk: Desk) -> None:
    desk.apply(raw(FINE, FINE))
    counters = dict(desk.rows("SELECT name, value FROM counters"))
    assert counters["bytes_received"] == 2 * len(FINE)
    assert counters["messages"] == 2
    assert desk.rows("SELECT sum(length(body)), sum(size) FROM messages") == [(counters["bytes"], 2 * len(FINE))]


def test_a_value_that_sqlite_cannot_hold_is_kept_raw_and_the_batch_goes_on(desk: Desk) -> None:
    desk.begin("orders")
    too_big = Phase(2, "alpha", "alpha", "business", "ws://", "sandbox", True, True, "live", 2**70, 0, None, None, None)
    desk.apply(raw(FINE), too_big, Note(NOW, "info", None, "after", "it"))
    assert desk.rows("SELECT state FROM orders") == [("live",)]
    assert [event for (event,) in desk.rows("SELECT event FROM journal ORDER BY event")] == ["after", "invalid-message"]


@pytest.mark.sqlite
def test_a_full_disk_undoes_the_batch_and_the_same_batch_works_later(make_desk: Callable[[], Desk]) -> None:
    desk = make_desk()
    desk.begin("orders", "account")
    desk.push("account", {"uTime": "5", "details": []}, eventType="snapshot", curPage=1, lastPage=False)
    before = desk.rows("SELECT covered_until FROM coverage")
    frames = Frames(1, "alpha", [(NOW + 9000, FINE.replace("77", os.urandom(2000).hex())) for _ in range(500)])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    desk.db.execute("PRAGMA cache_size = 10")  # so that it must write within the transaction
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
    try:
        with pytest.raises(DatabaseError):
            desk.apply(frames, Verified("alpha", "orders", NOW + 9000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert desk.rows("SELECT count(*) FROM orders") == [(0,)]
    assert desk.rows("SELECT covered_until FROM coverage") == before
    desk.apply(frames, Verified("alpha", "orders", NOW + 9000))
    assert desk.rows("SELECT count(*) FROM messages") == [(501,)]
    assert desk.rows("SELECT covered_until FROM coverage WHERE channel = 'orders'") == [(NOW + 9000,)]
    desk.database.close()


def test_the_log_learns_from_received_frames_and_stays_readable(desk: Desk) -> None:
    frames = [desk.frame("orders", order(number, px=str(number * 7919 % 10007))) for number in range(4000)]
    for start in range(0, 4000, 500):
        desk.apply(*frames[start : start + 500])
    assert logged(desk) == [frame.frames[0][1] for frame in frames]
    (before, after) = desk.rows(f"SELECT sum(length(body)) FROM messages GROUP BY id > {SAMPLES}")
    assert after[0] / (4000 - SAMPLES) < before[0] / SAMPLES / 2
    assert desk.rows("SELECT count(*) FROM codecs") == [(1,)]


@pytest.mark.sqlite
def test_a_dictionary_that_cannot_be_stored_is_made_of_later_frames(desk: Desk) -> None:
    frames = [desk.frame("orders", order(number, px=str(number * 7919 % 10007))) for number in range(2 * SAMPLES)]
    desk.apply(*frames[: SAMPLES - 1])
    ((pages,),) = desk.rows("PRAGMA page_count")
    desk.db.execute(f"PRAGMA max_page_count = {pages + 3}")  # room for one frame more, and not for 24 KB
    desk.apply(frames[SAMPLES - 1])
    assert desk.rows("SELECT count(*) FROM codecs") == [(0,)]
    desk.db.execute("PRAGMA max_page_count = 1000000")
    desk.apply(*frames[SAMPLES:])
    assert desk.rows("SELECT count(*) FROM codecs") == [(1,)]
    assert logged(desk) == [frame.frames[0][1] for frame in frames]


def test_a_later_writer_uses_what_was_learned(make_desk: Callable[[], Desk]) -> None:
    desk = make_desk()
    desk.apply(*(desk.frame("orders", order(number)) for number in range(SAMPLES)))
    desk.database.close()
    desk = make_desk()
    desk.apply(desk.frame("orders", order(1)))
    assert len(logged(desk)) == SAMPLES + 1
    assert desk.writer.state.samples is None
    desk.database.close()


def test_a_snapshot_is_complete_though_its_last_page_was_rolled_back_once(desk: Desk) -> None:
    """The transaction with the last page fails; the same batch is applied again."""
    desk.begin("positions")
    row = {"instId": "X", "instType": "SWAP", "pos": "5", "uTime": str(MS), "pTime": str(MS)}
    desk.push("positions", *({**row, "posId": name} for name in "12"))
    later = {**row, "posId": "1", "pTime": str(MS + 5)}
    arg = {"instType": "ANY"}
    desk.push("positions", later, arg=arg, eventType="snapshot", curPage=1, lastPage=False)
    last = desk.frame("positions", {**later, "posId": "3"}, arg=arg, eventType="snapshot", curPage=2, lastPage=True)
    desk.db.execute("ALTER TABLE messages RENAME TO missing")
    with pytest.raises(DatabaseError):
        desk.apply(last)
    desk.db.execute("ALTER TABLE missing RENAME TO messages")
    desk.apply(last)
    assert desk.rows("SELECT pos_id, pos FROM positions ORDER BY 1") == [("1", "5"), ("2", "0"), ("3", "5")]


def test_a_push_of_a_lost_channel_is_not_its_last_push(desk: Desk) -> None:
    desk.begin("orders")
    desk.push("orders", order())
    pushed = desk.rows("SELECT last_push_at FROM coverage")
    desk.apply(Lost(1, "alpha", ["orders"], desk.at, "reset"))
    desk.push("orders", order(2))
    assert desk.rows("SELECT last_push_at FROM coverage") == pushed
