"""The deframer compared with wsproto, which parses the same bytes in its own way."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto import ConnectionType
from wsproto.connection import Connection
from wsproto.events import Ping, TextMessage

from okxsync.feed.framing import TEXT, Deframer, client_frame

LIMIT = 70_000


def frame(kind: int, payload: bytes, *, last: bool = True, masked: bool = False) -> bytes:
    head = bytes([kind | (0x80 if last else 0)])
    bit = 0x80 if masked else 0
    if len(payload) < 126:
        head += bytes([bit | len(payload)])
    elif len(payload) < 2**16:
        head += struct.pack("!BH", bit | 126, len(payload))
    else:
        head += struct.pack("!BQ", bit | 127, len(payload))
    return head + (b"\0\0\0\0" if masked else b"") + payload


texts = st.one_of(st.text(max_size=20), st.sampled_from(["x" * 125, "é" * 70, "y" * 1200, "z" * 66_000]))
pings = st.binary(max_size=3).map(lambda payload: [frame(0x9, payload)])


@st.composite
def messages(draw: st.DrawFn) -> list[bytes]:
    """One message in one frame, or in several with pings between them."""
    payload = draw(texts).encode()
    cuts = sorted(draw(st.lists(st.integers(0, len(payload)), max_size=2)))
    parts = [payload[since:until] for since, until in zip([0, *cuts], [*cuts, len(payload)], strict=True)]
    made: list[bytes] = []
    for number, part in enumerate(parts):
        made.append(frame(0x0 if number else 0x1, part, last=number == len(parts) - 1))
        made += draw(st.one_of(st.just([]), pings))
    return made


@given(st.lists(st.one_of(messages(), pings), max_size=5), st.lists(st.integers(1, 3000), min_size=1, max_size=8))
def test_it_returns_the_messages_that_wsproto_returns_however_the_bytes_are_split(
    made: list[list[bytes]], sizes: list[int]
) -> None:
    sent = b"".join(part for one in made for part in one)
    theirs = Connection(ConnectionType.CLIENT)
    theirs.receive_data(sent)
    expected, text = [], ""
    pinged: bytes | None = None
    for event in theirs.events():
        if isinstance(event, TextMessage):
            text += event.data
            if event.message_finished:
                expected.append(text)
                text = ""
        if isinstance(event, Ping):
            pinged = bytes(event.payload)
    ours, found, at, turn = Deframer(LIMIT), list[str](), 0, 0
    while at < len(sent):
        found += ours.feed(sent[at : at + sizes[turn % len(sizes)]])
        at += sizes[turn % len(sizes)]
        turn += 1
    assert found == expected
    assert ours.ping == pinged  # the last one
    assert (ours.over, ours.is_too_large, len(ours.other)) == (False, False, 0)


@given(st.binary(max_size=200), st.integers(1, 50))
def test_any_bytes_raise_nothing_and_none_are_kept_for_ever(junk: bytes, size: int) -> None:
    ours = Deframer(10)
    for at in range(0, len(junk), size):
        ours.feed(junk[at : at + size])
        if ours.is_too_large:
            break
    assert len(ours.other) <= len(junk)


@pytest.mark.parametrize(
    "strange",
    [
        frame(0x8, b"\x03\xe8"),  # close
        frame(0x1, b"masked", masked=True),
        frame(0x3, b"reserved"),
        b"\xc1\x01x",  # compressed, which was not negotiated
        frame(0x0, b"continues nothing"),
        frame(0x9, b"a part of a ping", last=False),
        frame(0x9, b"too long for a ping" * 10),
    ],
)
def test_everything_after_a_close_frame_or_a_protocol_error_goes_to_the_library(strange: bytes) -> None:
    ours = Deframer(LIMIT)
    tail = frame(0x1, b"never read")
    assert ours.feed(frame(0x1, b"one") + strange + tail) == ["one"]
    assert ours.over
    assert ours.other == strange + tail


def test_a_message_that_begins_within_another_is_a_protocol_error() -> None:
    ours = Deframer(LIMIT)
    assert ours.feed(frame(0x1, b"a", last=False) + frame(0x1, b"b")) == []
    assert ours.over


def test_invalid_utf_8_is_replaced() -> None:
    sent = frame(0x1, b"\xff{}") + frame(0x2, b"\xfe[]") + frame(0x2, b"pong")
    assert Deframer(LIMIT).feed(sent) == ["\ufffd{}", "\ufffd[]", "pong"]


@pytest.mark.parametrize(
    "sent",
    [
        frame(0x1, b"x" * (LIMIT + 1))[:20],  # known before it is complete
        b"".join(frame(0x0 if n else 0x1, b"x" * 1000, last=False) for n in range(LIMIT // 1000 + 1)),
    ],
)
def test_a_message_that_is_too_large_is_rejected_and_those_before_it_count(sent: bytes) -> None:
    ours = Deframer(LIMIT)
    assert ours.feed(frame(0x1, b"one") + sent) == ["one"]
    assert ours.is_too_large


@pytest.mark.parametrize("text", ["", "ping", "é" * 62, "x" * 125, "x" * 126, "x" * (2**16 - 1), "x" * 2**16])
def test_a_frame_of_the_client_is_one_that_a_server_reads(text: str) -> None:
    server = Connection(ConnectionType.SERVER)
    server.receive_data(client_frame(TEXT, text.encode()))
    assert [*server.events()] == [TextMessage(text)]
