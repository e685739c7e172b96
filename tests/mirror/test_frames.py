"""The raw log is read as it was written: every frame that matches, nothing else, and nothing twice."""

import json
import re
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from okxsync.cli import app
from okxsync.console.frames import as_json, as_text
from okxsync.messages import Frames
from okxsync.mirror import frames
from okxsync.mirror.frames import FrameFilter
from okxsync.mirror.reader import open_mirror
from tests.support.desk import NOW, Desk, order

runner = CliRunner()


def send(desk: Desk, listener: str, *texts: str, at: int = NOW) -> None:
    desk.apply(Frames(1, listener, [(at + number, text) for number, text in enumerate(texts)]))


def push(channel: str, number: int = 1) -> str:
    return f'{{"arg":{{"channel":"{channel}"}},"data":[{json.dumps(order(number))}]}}'


def read(desk: Desk, wanted: FrameFilter) -> list[str]:
    with open_mirror(desk.path) as mirror:
        return [frame.text for page in mirror.frames(wanted).pages() for frame in page]


def test_a_frame_is_found_among_later_ones_that_have_an_earlier_time(desk: Desk) -> None:
    """Frames that were read after a stall have the time of its beginning."""
    for number, second in enumerate((100, 60, 61, 62)):
        send(desk, "alpha", push("orders", number), at=NOW + second * 1_000_000)
    assert read(desk, FrameFilter(since_us=NOW + 80_000_000)) == [push("orders", 0)]


def test_frames_are_read_in_order_through_pages_and_spans(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "SPAN", 70)
    sent = [push("orders", number) for number in range(500)]
    send(desk, "alpha", *sent)
    assert read(desk, FrameFilter()) == sent


def test_by_account_channel_and_text(desk: Desk) -> None:
    send(desk, "alpha", push("orders", 1), push("positions"))
    send(desk, "beta", push("orders", 2))
    send(desk, "market", push("mark-price"))
    assert read(desk, FrameFilter(accounts=["alpha"])) == [push("orders", 1), push("positions")]
    assert read(desk, FrameFilter(channels=["orders"])) == [push("orders", 1), push("orders", 2)]
    assert read(desk, FrameFilter(accounts=["beta", "market"])) == [push("orders", 2), push("mark-price")]
    assert read(desk, FrameFilter(grep=re.compile('"ordId": "2"'))) == [push("orders", 2)]


def test_by_time_even_if_frames_are_out_of_order(desk: Desk) -> None:
    minute = 60_000_000
    for number in range(200):
        send(desk, "alpha", push("orders", number), at=NOW + number * minute - (number % 2) * minute // 2)
    ids = [NOW + number * minute - (number % 2) * minute // 2 for number in range(200)]
    since, until = NOW + 50 * minute, NOW + 99 * minute
    expected = [push("orders", number) for number, at in enumerate(ids) if since <= at <= until]
    assert read(desk, FrameFilter(since_us=since, until_us=until)) == expected


def test_it_follows_across_a_new_dictionary(desk: Desk) -> None:
    with open_mirror(desk.path) as mirror:
        reader = mirror.frames(FrameFilter(), only_new=True)
        assert list(reader.pages()) == []
        sent = [push("orders", number) for number in range(4000)]
        for start in range(0, 4000, 500):
            send(desk, "alpha", *sent[start : start + 500])
        assert [frame.text for page in reader.pages() for frame in page] == sent
        assert list(reader.pages()) == []


def test_a_frame_is_one_printable_line() -> None:
    for text in ('{"a":"b"}', "\x1b[2J\n\x07 no JSON", '{\n"a": 1}', '{"a":"\x9b31m\u2028"}'):
        frame = frames.LoggedFrame(1, NOW, 1, "alpha", None, "unknown\x1b[31m", text)
        for line in (as_text(frame), as_json(frame)):
            assert line.isprintable()
        found = json.loads(as_json(frame))["frame"]
        assert found == text or found == json.loads(text)


def test_the_command_in_a_pipe(desk: Desk) -> None:
    desk.apply(*(desk.frame("orders", order(number)) for number in range(3000)))
    command = [sys.executable, "-m", "okxsync", "log", "--db", str(desk.path), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stderr
        first = json.loads(process.stdout.readline())
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(20) == 0
    assert (first["account"], first["channel"], first["frame"]["data"][0]["ordId"]) == ("alpha", "orders", "0")


@pytest.mark.parametrize(
    "given", [["--since", "soon"], ["--grep", "("], ["--since", "1h", "--until", "2h"], ["--follow", "--until", "1h"]]
)
def test_bad_input_is_one_line(desk: Desk, given: list[str]) -> None:
    result = runner.invoke(app, ["log", "--db", str(desk.path), *given])
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
