"""Requests are answered once, in order, and not after they have expired."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from okxsync.plans.requests import Answered, Request, Requests
from okxsync.reconcile.held import Reads
from okxsync.runtime.outbox import open_outbox
from tests.support.desk import NOW, Desk

INSERT = "INSERT INTO requests (at, kind, plan_id, body, by, expires_at) VALUES (?, ?, 'P', '{}', 'me', ?)"


@pytest.fixture
def reads(desk: Desk) -> Iterator[Reads]:
    with closing(Reads(desk.path)) as found:
        yield found


async def test_each_request_is_answered_once_and_an_expired_one_is_not_executed(desk: Desk, reads: Reads) -> None:
    send, receive = open_outbox(10, 1000)
    handled: list[str] = []

    async def handle(request: Request) -> Answered:
        handled.append(request.kind)
        return Answered("accepted")

    requests = Requests(reads, send, handle, wall_us=lambda: NOW)
    desk.db.execute(INSERT, (NOW - 40, "execute", NOW))
    desk.db.execute(INSERT, (NOW, "preview", NOW + 1))
    await requests.take_new()
    await requests.take_new()
    desk.apply(*receive.receive_batch_nowait(10, 1000))
    assert handled == ["preview"]
    assert desk.rows("SELECT request_id, outcome FROM answers") == [(1, "stale-request"), (2, "accepted")]
    await Requests(reads, send, handle, wall_us=lambda: NOW).take_new()  # as after a restart
    assert handled == ["preview"]
