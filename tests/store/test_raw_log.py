"""Frames come out of the log as they went in."""

from hypothesis import given
from hypothesis import strategies as st

from okxsync.store.raw_log import Codec, train

DICTIONARY = train().as_bytes()
OLD, NEW = Codec([(1, DICTIONARY)]), Codec([])


def test_the_dictionary_is_the_same_each_time() -> None:
    assert train().as_bytes() == DICTIONARY


@given(st.binary())
def test_any_bytes_come_back(frame: bytes) -> None:
    assert OLD.decompress(OLD.compress(frame)) == frame


@given(st.binary())
def test_bodies_made_without_a_dictionary_can_still_be_read(frame: bytes) -> None:
    assert OLD.decompress(NEW.compress(frame)) == frame
