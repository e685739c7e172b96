"""The writer process: a normal end loses nothing, its death is reported, and errors of the disk are retried."""

import os
import re
import resource
import select
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path

import msgspec
import pytest
import trio
from pysqlite3 import dbapi2 as sqlite3

from okxsync.messages import Frames, Message, Note, PlanProgress, Retention
from okxsync.store import writer_process
from okxsync.store.database import Connection
from okxsync.store.engines import engine_of, open_database, open_reader
from okxsync.store.handover import WriterDied, run_writer
from okxsync.store.pipe import LENGTH, receive
from okxsync.store.transaction import Written
from okxsync.store.writer import Writer
from okxsync.store.writer_process import ACK_BATCHES, _write_batches, main
from tests.support.desk import NOW, make_database
from tests.support.outbox import queue
from tests.support.processes import writer_of
from tests.support.replay import WITHIN_S, until

pytestmark = pytest.mark.slow


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "okxsync.db"
    make_database(path)
    return path


def notes(count: int) -> list[Message]:
    return [Note(NOW, "info", None, "note", str(number)) for number in range(count)]


def written(path: Path) -> list[int]:
    reader = open_reader(path)
    try:
        return [
            int(detail) for (detail,) in reader.execute("SELECT detail FROM journal WHERE event = 'note' ORDER BY id")
        ]
    finally:
        reader.close()


async def test_all_is_stored_in_order_when_the_last_sender_has_closed(path: Path) -> None:
    send, receive = queue(10)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_writer, path, receive)
        with send:
            for note in notes(5000):
                await send.send(note)
    assert written(path) == list(range(5000))


async def test_its_death_is_reported(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    send, receive = queue(10)
    with pytest.RaisesGroup(pytest.RaisesExc(WriterDied, match="SIGKILL"), flatten_subgroups=True):
        async with trio.open_nursery() as nursery:
            acknowledged = trio.Event()
            nursery.start_soon(lambda: run_writer(path, receive, on_written=lambda _: acknowledged.set()))
            await send.send(notes(1)[0])
            await acknowledged.wait()
            os.kill(writer_of(), signal.SIGKILL)
    assert written(path) == [0]


async def test_terminal_signals_do_not_end_it(path: Path) -> None:
    send, receive = queue(10)
    async with trio.open_nursery() as nursery:
        acknowledged = trio.Event()
        nursery.start_soon(lambda: run_writer(path, receive, on_written=lambda _: acknowledged.set()))
        with send:
            await send.send(notes(1)[0])
            await acknowledged.wait()
            for number in (signal.SIGINT, signal.SIGTERM):
                os.kill(writer_of(), number)
            await send.send(notes(2)[1])
    assert written(path) == [0, 1]


async def test_a_full_disk_costs_time_but_no_row(path: Path) -> None:
    send, receive = queue(10)
    answers: list[Written] = []
    async with trio.open_nursery() as nursery:
        first, failed = trio.Event(), trio.Event()

        def take(written: Written) -> None:
            answers.append(written)
            (failed if written.error else first).set()

        nursery.start_soon(lambda: run_writer(path, receive, on_written=take))
        with send:
            await send.send(notes(1)[0])
            await first.wait()
            # SQLite sees the same failure when a file reaches its size limit and when the disk is full.
            _, most = resource.prlimit(writer_of(), resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
            await send.send(notes(2)[1])
            await failed.wait()
            resource.prlimit(writer_of(), resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, most))
    assert written(path) == [0, 1]
    assert not any(one.permanent for one in answers)
    assert len(failures(path)) == 1


def failures(path: Path) -> list[str]:
    """Return what the journal says about times in which nothing could be written."""
    with closing(open_reader(path)) as db:
        return [detail for (detail,) in db.execute("SELECT detail FROM journal WHERE event = 'write-failed'")]


def test_the_journal_says_from_when_to_when_nothing_could_be_written_and_why(path: Path) -> None:
    parent, child = socket.socketpair()
    parent.settimeout(WITHIN_S)
    body = msgspec.msgpack.encode(notes(1))
    parent.sendall(len(body).to_bytes(4, "big") + body)
    times = count(NOW, 5_000_000)
    with child, closing(open_database(path)) as database, ThreadPoolExecutor(1) as thread:
        database.execute("PRAGMA busy_timeout = 0")
        blocker = sqlite3.connect(path, isolation_level=None)
        with engine_of(path).upkeep(database) as upkeep, closing(blocker):
            blocker.execute("BEGIN IMMEDIATE")
            writer = Writer(database, now_us=lambda: next(times))
            ended = thread.submit(_write_batches, child, writer, upkeep)
            parent.recv(1)  # the error
            blocker.execute("ROLLBACK")
            while written(path) != [0]:
                parent.recv(100)  # the rest of it, and the acknowledgement
            parent.close()
            ended.result(timeout=WITHIN_S)
    (said,) = failures(path)
    found = re.fullmatch(r"from (2027-01-15T08:\S+Z) to (2027-01-15T08:\S+Z): database is locked", said)
    assert found
    assert found[1] < found[2]


async def end_of_writer(path: Path, *messages: Message) -> str:
    """Return the one line with which the writer ends by itself."""
    send, receive = queue(10)
    try:
        with send:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(run_writer, path, receive)
                for message in messages:
                    await send.send(message)
                await trio.sleep_forever()  # the nursery ends by the writer's error
    except* WriterDied as group:
        (error,) = group.exceptions
    return str(error)


async def test_a_statement_that_can_never_succeed_ends_it_with_one_line(
    path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("DROP TABLE journal")
    blocker.close()
    line = await end_of_writer(path, *notes(1))
    advice = "another program changed the database, or this is a bug: report it"
    assert line == f"{path}: no such table: journal; {advice}"
    assert capfd.readouterr().err == ""  # whoever runs it prints the line


async def test_a_damaged_database_ends_it_with_one_line(path: Path) -> None:
    blocker = sqlite3.connect(path, isolation_level=None)
    page_size, root = blocker.execute("PRAGMA page_size").fetchone()[0], root_of(blocker, "journal")
    blocker.close()
    with path.open("r+b") as file:
        file.seek((root - 1) * page_size)
        file.write(b"\xff" * page_size)
    line = await end_of_writer(path, *notes(1))
    assert line == (
        f"{path}: database disk image is malformed; restore a backup, or move the file away and start with a new one"
    )


def root_of(db: Connection, table: str) -> int:
    return int(db.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", [table]).fetchone()[0])


async def test_cancelling_it_leaves_no_process(path: Path) -> None:
    send, receive = queue(10)
    async with trio.open_nursery() as nursery:
        acknowledged = trio.Event()
        nursery.start_soon(lambda: run_writer(path, receive, on_written=lambda _: acknowledged.set()))
        await send.send(notes(1)[0])
        await acknowledged.wait()
        child = writer_of()
        nursery.cancel_scope.cancel()
    send.close()
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_a_parent_that_dies_with_answers_unread_is_an_end_like_any_other(path: Path) -> None:
    parent, child = socket.socketpair()
    body = msgspec.msgpack.encode(notes(1))
    parent.sendall(len(body).to_bytes(4, "big") + body)
    child.sendall(b"an answer")
    parent.close()
    before = [signal.getsignal(number) for number in SIGNALS]
    try:
        with child:
            main(path, child)
    finally:
        for number, handler in zip(SIGNALS, before, strict=True):
            signal.signal(number, handler)
    assert written(path) == [0]


def test_a_parent_that_dies_while_the_disk_fails_ends_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(select, "POLLRDHUP")  # macOS has none
    parent, child = socket.socketpair()
    body = msgspec.msgpack.encode(notes(1))
    parent.sendall(len(body).to_bytes(4, "big") + body)
    with child, closing(open_database(path)) as database, ThreadPoolExecutor(1) as thread:
        database.execute("PRAGMA busy_timeout = 0")
        blocker = sqlite3.connect(path, isolation_level=None)
        with engine_of(path).upkeep(database) as upkeep, closing(blocker):
            blocker.execute("BEGIN IMMEDIATE")
            ended = thread.submit(_write_batches, child, Writer(database), upkeep)
            parent.recv(1)  # the error
            parent.sendall(len(body).to_bytes(4, "big") + body)  # stays unread
            parent.close()
            ended.result(timeout=WITHIN_S)
    assert written(path) == []


def test_what_arrives_together_is_stored_and_acknowledged_together(path: Path) -> None:
    with writing(path) as parent:
        send_batches(parent, notes(1), notes(2)[1:], notes(3)[2:])
        assert next_acknowledgement(parent).batches == 3
    assert written(path) == [0, 1, 2]


def test_a_steady_stream_is_acknowledged_after_several_batches(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_process, "ACK_S", WITHIN_S)
    with writing(path) as parent:
        for number in range(ACK_BATCHES):
            send_batches(parent, notes(number + 1)[number:])
            while len(written(path)) <= number:
                time.sleep(0.001)
        assert next_acknowledgement(parent).batches == ACK_BATCHES


def test_a_receipt_waits_for_no_other_batch(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_process, "ACK_S", 100 * WITHIN_S)
    with writing(path) as parent:
        send_batches(parent, notes(1), [PlanProgress("none", [], [], [], {}, receipt=7)])
        assert next_acknowledgement(parent).receipts == [7]


@contextmanager
def writing(path: Path) -> Iterator[socket.socket]:
    """Run the writer in a thread; yield the parent's end."""
    parent, child = socket.socketpair()
    parent.settimeout(WITHIN_S)
    with (
        child,
        closing(open_database(path)) as database,
        ThreadPoolExecutor(1) as thread,
        engine_of(path).upkeep(database) as upkeep,
        closing(parent),
    ):
        ended = thread.submit(_write_batches, child, Writer(database), upkeep)
        yield parent
        parent.shutdown(socket.SHUT_WR)
        ended.result(timeout=WITHIN_S)


def send_batches(parent: socket.socket, *batches: list[Message]) -> None:
    bodies = [msgspec.msgpack.encode(batch) for batch in batches]
    parent.sendall(b"".join(LENGTH.pack(len(body)) + body for body in bodies))


def next_acknowledgement(parent: socket.socket) -> Written:
    body = receive(parent)
    assert body
    return msgspec.msgpack.decode(body, type=Written)


SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def message_count(path: Path) -> int:
    database = open_reader(path)
    try:
        return int(database.execute("SELECT count(*) FROM messages").fetchone()[0])
    finally:
        database.close()


async def test_it_prunes_between_batches_and_stores_all_the_same(path: Path) -> None:
    send, receive = queue()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_writer, path, receive)
        with send:
            frames = [(NOW + number, '{"event":"error","code":"1"}') for number in range(3000)]
            await send.send(Frames(1, "alpha", frames))
            await until(lambda: message_count(path) == 3000)
            await send.send(Retention(None, 20_000))
            for message in notes(100):
                await send.send(message)
            await until(lambda: 1 < message_count(path) < 400)
    assert written(path) == list(range(100))
