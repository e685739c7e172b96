"""Evidence is written at most a second late, all at once, and never ahead of the data that it is about."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pysqlite3
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from okxsync.messages import Frames, Lost, Message, Pong, Subscribed
from okxsync.store.coverage import FUTURE_US, MARGIN_US
from okxsync.store.database import TransientError
from okxsync.store.deferred import DEFER_US
from okxsync.store.engines import open_reader
from okxsync.store.writer import Writer
from tests.support.desk import MS, NOW, Desk, phase

DEPOSITS = "deposit-info"
"""A channel that answered pings prove; its rows say what was stored."""


@pytest.fixture
def times(desk: Desk) -> list[int]:
    """The time of the desk's writer, which the test changes; a channel is live, and nothing is deferred."""
    desk.begin(DEPOSITS)
    now = [NOW]
    desk.writer = Writer(desk.db, now_us=lambda: now[0])
    desk.writer.apply([Pong(1, "alpha", NOW, 900)])
    desk.writer.flush()
    return now


def deposit(number: int, at: int) -> Frames:
    row = f'{{"depId":"{number}","ccy":"BTC","ts":"{MS}","pTime":"{MS}"}}'
    return Frames(1, "alpha", [(at, f'{{"arg":{{"channel":"{DEPOSITS}"}},"data":[{row}]}}')])


def test_a_time_of_the_future_does_not_hide_later_stalls(desk: Desk) -> None:
    """Such a time would be later than every change that a stalled channel does not push."""
    desk.begin("account")
    desk.writer = Writer(desk.db, now_us=lambda: NOW)
    latest = (NOW + FUTURE_US) // 1000
    for stored, reported in ((0, latest + 1), (latest + 1, MS), (latest, MS)):
        desk.db.execute("UPDATE coverage SET reported_ms = ?", [stored])  # an earlier version stored any time
        row = f'{{"uTime":"{reported}","totalEq":"1","details":[]}}'
        desk.writer.apply([Frames(1, "alpha", [(NOW, f'{{"arg":{{"channel":"account"}},"data":[{row}]}}')])])
        desk.writer.flush()
        assert desk.rows("SELECT reported_ms FROM coverage") == [(latest,)]


def connection(desk: Desk) -> tuple[int | None, ...]:
    ((*found,),) = desk.rows("SELECT last_message_at, messages, answered_at, last_rtt_us FROM connections")
    return tuple(found)


def covered_until(desk: Desk) -> int:
    ((until,),) = desk.rows("SELECT covered_until FROM coverage")
    return int(until)


def test_rows_are_stored_at_once_and_evidence_within_a_second(desk: Desk, times: list[int]) -> None:
    times[0] += 5
    desk.writer.apply([deposit(1, NOW + 5)])
    assert desk.rows("SELECT dep_id FROM deposits") == [("1",)]
    assert connection(desk) == (None, 0, NOW, 900)
    assert 0 < desk.writer.wait_s() <= DEFER_US / 1e6
    times[0] = NOW + DEFER_US
    assert desk.writer.wait_s() == 0
    desk.writer.apply([deposit(2, NOW + DEFER_US)])
    assert connection(desk) == (NOW + DEFER_US, 2, NOW, 900)
    assert desk.writer.wait_s() == float("inf")


def test_the_first_evidence_after_a_quiet_time_is_written_with_its_frame(desk: Desk, times: list[int]) -> None:
    times[0] += 10 * DEFER_US
    desk.writer.apply([deposit(1, times[0])])
    assert connection(desk) == (times[0], 1, NOW, 900)


def test_pongs_alone_need_no_transaction(desk: Desk, times: list[int]) -> None:
    with closing(open_reader(desk.path)) as other:
        before = other.version()
        desk.writer.apply([Pong(1, "alpha", NOW + 7, 800)])
        assert other.version() == before
        desk.writer.apply([deposit(1, NOW + 8)])
        assert other.version() != before
    desk.writer.flush()
    assert connection(desk) == (NOW + 8, 1, NOW + 7, 800)


def test_evidence_is_written_before_the_state_of_a_channel_changes(desk: Desk, times: list[int]) -> None:
    at = NOW + 5 * MARGIN_US
    desk.writer.apply([deposit(1, at), Pong(1, "alpha", at, 800)])
    desk.writer.apply([Lost(1, "alpha", [DEPOSITS], at + 1, "closed")])
    assert desk.rows("SELECT from_at FROM gaps WHERE to_at IS NULL") == [(at - MARGIN_US,)]
    assert connection(desk)[:3] == (at, 1, at)


@pytest.mark.sqlite
def test_a_failed_transaction_defers_nothing_twice(desk: Desk, times: list[int]) -> None:
    desk.db.execute("PRAGMA busy_timeout = 0")
    other = pysqlite3.connect(desk.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(TransientError):
        desk.writer.apply([deposit(1, NOW + 5)])
    other.execute("ROLLBACK")
    desk.writer.apply([deposit(1, NOW + 5)])
    other.execute("BEGIN IMMEDIATE")
    times[0] += 2 * DEFER_US
    with pytest.raises(TransientError):
        desk.writer.flush()
    assert desk.writer.wait_s() == DEFER_US / 1e6, "it is due again later, not in a busy loop"
    other.execute("ROLLBACK")
    other.close()
    desk.writer.flush()
    assert connection(desk) == (NOW + 5, 1, NOW, 900)


_AT = st.integers(1, 40).map(lambda tenths: NOW + tenths * DEFER_US // 10)
_SENT = st.one_of(
    st.builds(lambda at: deposit(at, at), _AT),
    st.builds(lambda at: Pong(1, "alpha", at, 700), _AT),
    st.builds(lambda at: Lost(1, "alpha", [DEPOSITS], at, "closed"), _AT),
    st.builds(lambda at: Subscribed(1, "alpha", [DEPOSITS], at), _AT),
)


@settings(max_examples=25)
@given(st.lists(st.lists(_SENT, min_size=1, max_size=4), max_size=8), st.lists(st.integers(0, 900_000), min_size=8))
def test_a_crash_after_any_transaction_leaves_no_claim_ahead_of_its_data(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[Message]], waits: list[int]
) -> None:
    """What is stored after each batch is compared with a writer that defers nothing: no more is claimed."""
    folder = tmp_path_factory.mktemp("desks")
    desk, eager = _live(folder / "deferring.db"), _live(folder / "eager.db")
    now = [NOW]
    writer = Writer(desk.db, now_us=lambda: now[0])
    for batch, wait in zip(batches, waits, strict=False):
        now[0] += wait
        writer.apply(batch)
        eager.apply(*batch)
        assert _stored(desk) == _stored(eager)
        assert covered_until(desk) <= covered_until(eager)
        assert (connection(desk)[0] or 0) <= max((at for one in batches for at in _received(one)), default=0)
        assert writer.wait_s() <= DEFER_US / 1e6 or connection(desk)[:2] == connection(eager)[:2]
    writer.flush()
    assert covered_until(desk) == covered_until(eager)
    assert connection(desk)[:2] == connection(eager)[:2]
    for one in (desk, eager):
        one.database.close()


def _live(path: Path) -> Desk:
    desk = Desk(path)
    desk.apply(desk.start(NOW), phase(NOW), Subscribed(1, "alpha", [DEPOSITS], NOW))
    return desk


def _stored(desk: Desk) -> list[list[tuple[object, ...]]]:
    """Rows, frames, and the state and gaps of the channel."""
    queries = ("dep_id FROM deposits", "received_at FROM messages", "live FROM coverage", "from_at, to_at FROM gaps")
    return [desk.rows(f"SELECT {query} ORDER BY 1") for query in queries]


def _received(batch: list[Message]) -> Iterator[int]:
    for message in batch:
        if isinstance(message, Frames):
            yield from (at for at, _ in message.frames)
