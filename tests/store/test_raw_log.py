"""Frames come out of the log as they went in."""

from hypothesis import given
from hypothesis import strategies as st

from okxsync.store.raw_log import SAMPLES, Codec, learn, learns, open_codec
from tests.support.desk import Desk

PLAIN = Codec([])


@given(st.binary())
def test_any_bytes_come_back(frame: bytes) -> None:
    assert PLAIN.decompress(PLAIN.compress(frame)) == frame


def test_bodies_made_without_a_dictionary_and_with_it_can_be_read_side_by_side(desk: Desk) -> None:
    frames = [f'{{"arg":{{"channel":"orders"}},"data":[{{"ordId":"{number}"}}]}}'.encode() for number in range(SAMPLES)]
    assert learns(desk.db)
    before = PLAIN.compress(frames[0])
    learned = learn(desk.db, frames)
    assert not learns(desk.db)
    after = learned.compress(frames[0])
    assert len(after) < len(before)
    for codec in (learned, open_codec(desk.db)):
        assert [codec.decompress(body) for body in (before, after)] == [frames[0]] * 2


def test_a_database_with_the_dictionary_of_an_earlier_version_still_learns(desk: Desk) -> None:
    frames = [f"frame {number} of an account".encode() * 3 for number in range(SAMPLES)]
    learn(desk.db, frames)
    desk.db.execute("UPDATE codecs SET id = 1")
    assert learns(desk.db)
