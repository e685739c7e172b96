"""How long the event loop sleeps before it polls its sockets again."""

import time

import pytest

from okxsync.feed.coalesce import BURST_S, INTERVAL_S, ReadCoalescer
from okxsync.messages import Note
from tests.support.outbox import queue, queued


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that moves by sleeping alone."""
    pauses: list[float] = []
    monkeypatch.setattr(time, "monotonic", lambda: 1000.0 + sum(pauses))
    monkeypatch.setattr(time, "sleep", pauses.append)
    return pauses


def look(rest: ReadCoalescer, timeout: float = 5.0) -> None:
    rest.before_io_wait(timeout)
    rest.after_io_wait(timeout)


def test_occasional_frames_are_served_at_once_and_a_stream_thirty_times_a_second(slept: list[float]) -> None:
    rest = ReadCoalescer(queue()[0])
    for _ in range(round(BURST_S / INTERVAL_S)):
        look(rest)
    assert sum(slept) == pytest.approx(0.0)
    for _ in range(50):
        look(rest)
    assert sum(slept) == pytest.approx(50 * INTERVAL_S, abs=2 * INTERVAL_S)
    assert max(slept) <= INTERVAL_S + 1e-9


def test_the_loop_does_not_sleep_while_a_task_is_ready_or_a_message_is_queued(slept: list[float]) -> None:
    send, receive = queue()
    rest = ReadCoalescer(send)
    for _ in range(100):
        look(rest, timeout=0)
    send.send_nowait(Note(1, "info", None, "a", "b"))
    for _ in range(1000):
        look(rest)
    assert sum(slept) == 0
    assert len(queued(receive)) == 1
    look(rest)
    assert sum(slept) <= INTERVAL_S + 1e-9  # and what it did not rest then it need not make up for


def test_it_never_sleeps_past_a_deadline(slept: list[float]) -> None:
    rest = ReadCoalescer(queue()[0])
    for _ in range(100):
        look(rest, timeout=0.001)
    assert max(slept) <= 0.001
