"""Pruning deletes only the oldest frames, in small steps, and shrinks the file."""

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from okxsync.cli import app
from okxsync.messages import GapResult, Lost, Note, Pong, Subscribed
from okxsync.reconcile.held import live_channels
from okxsync.store import prune as pruning
from okxsync.store.engines import Reader, engine_of
from okxsync.store.prune import (
    POLL_S,
    ROW_BYTES,
    LogRow,
    PruneLimits,
    Pruner,
    PruneSchedule,
    delete_old_rows,
    due,
    would_free,
)
from tests.support.desk import NOW, Desk, order
from tests.support.reading import read_status

runner = CliRunner()


@pytest.fixture
def desk(desk: Desk) -> Desk:
    """A log of 3000 frames, a millisecond apart."""
    desk.begin("orders")
    desk.apply(*(desk.frame("orders", order(number, px=str(number**3))) for number in range(3000)))
    return desk


def received(desk: Desk) -> list[int]:
    return [at for (at,) in desk.rows("SELECT received_at FROM messages ORDER BY id")]


def prune(desk: Desk, limits: PruneLimits) -> Pruner:
    pruner = Pruner(desk.db, engine_of(desk.path).vacuum(desk.db))
    while pruner.step(limits):
        pass
    return pruner


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 99))), st.integers(0, 10), st.integers(0, 5000))
def test_only_the_oldest_frames_are_due_and_no_more_than_necessary(
    frames: list[tuple[int, int]], before_us: int, max_bytes: int
) -> None:
    rows: list[LogRow] = [(number, at, size, size) for number, (at, size) in enumerate(frames)]
    held = sum(row[2] + ROW_BYTES for row in rows)
    pruned = due(rows, PruneLimits(before_us, max_bytes), held)
    assert pruned == rows[: len(pruned)]
    kept = rows[len(pruned) :]
    assert not kept or kept[0][1] >= before_us
    assert sum(row[2] + ROW_BYTES for row in kept) <= max_bytes or not kept
    assert due(rows, PruneLimits(), held) == []


def test_pruning_by_age(desk: Desk) -> None:
    before_us = NOW + 1001 * 1000
    assert would_free(desk.db, PruneLimits(before_us=before_us)).messages == 1000
    mirrored = desk.rows("SELECT * FROM orders"), desk.rows("SELECT * FROM coverage"), desk.rows("SELECT * FROM codecs")
    freed = prune(desk, PruneLimits(before_us=before_us)).freed
    assert freed.messages == 1000
    assert received(desk) == [NOW + number * 1000 for number in range(1001, 3001)]
    assert mirrored == (
        desk.rows("SELECT * FROM orders"), desk.rows("SELECT * FROM coverage"), desk.rows("SELECT * FROM codecs"),
    )  # fmt: skip


def test_status_counts_only_the_frames_that_are_left(desk: Desk) -> None:
    prune(desk, PruneLimits(before_us=NOW + 1001 * 1000))
    log = read_status(desk.path, NOW).log
    ((messages, size, stored),) = desk.rows("SELECT count(*), sum(size), sum(length(body)) FROM messages")
    assert (log.messages, log.bytes_received, log.bytes) == (messages, size, stored)


@pytest.mark.sqlite
def test_pruning_by_size_shrinks_the_file(desk: Desk) -> None:
    desk.db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    pages = desk.rows("PRAGMA page_count")[0][0]
    held = sum(size + ROW_BYTES for (size,) in desk.rows("SELECT length(body) FROM messages"))
    prune(desk, PruneLimits(max_bytes=held // 4))
    left = sum(size + ROW_BYTES for (size,) in desk.rows("SELECT length(body) FROM messages"))
    assert held // 4 - 300 < left <= held // 4
    assert desk.rows("PRAGMA freelist_count") == [(0,)]
    assert desk.rows("PRAGMA page_count")[0][0] < pages - 50
    assert desk.rows("PRAGMA integrity_check") == [("ok",)]


def test_the_newest_frame_is_kept(desk: Desk) -> None:
    prune(desk, PruneLimits(before_us=NOW * 2, max_bytes=0))
    assert received(desk) == [NOW + 3000 * 1000]


def test_a_slow_disk_gets_smaller_steps(desk: Desk) -> None:
    ticks = itertools.count(step=1.0)  # each step takes a second
    pruner = Pruner(desk.db, engine_of(desk.path).vacuum(desk.db), clock=lambda: next(ticks))
    deleted = []
    for _ in range(4):
        before = pruner.freed.messages
        assert pruner.step(PruneLimits(before_us=NOW * 2))
        deleted.append(pruner.freed.messages - before)
    assert deleted == [200, 100, 50, 50]


def test_the_daemon_pauses_between_steps_and_longer_when_nothing_is_due(desk: Desk) -> None:
    now = itertools.count(step=0.01)
    upkeep = PruneSchedule(desk.db, engine_of(desk.path).vacuum(desk.db), clock=lambda: next(now))
    upkeep.run_due(0, None, NOW * 2)
    assert 0.05 < upkeep.wait_s() < 0.1
    upkeep.run_due(0, None, NOW * 2)  # not due
    left = len(received(desk))
    assert 1 < left < 3000
    while upkeep.wait_s() < POLL_S / 2:
        upkeep.run_due(0, None, NOW * 2)
    assert len(received(desk)) == 1


def delete_all_old(desk: Desk, kept: int) -> int:
    """Return how many steps it took."""
    return 1 + sum(1 for _ in iter(lambda: delete_old_rows(desk.db, kept, at_once=10), False))


def test_the_newest_rows_of_the_journal_are_kept(desk: Desk) -> None:
    desk.apply(*(Note(NOW, "info", None, "note", str(number)) for number in range(100)))
    assert delete_all_old(desk, 30) == 7
    assert [int(detail) for (detail,) in desk.rows("SELECT detail FROM journal ORDER BY id")] == list(range(70, 100))
    assert delete_all_old(desk, 30) == 1
    desk.apply(Note(NOW, "info", None, "note", "100"))
    assert desk.rows("SELECT max(id) FROM journal") == [(101,)]


def test_the_newest_runs_are_kept(desk: Desk) -> None:
    for second in range(100):
        desk.apply(desk.start(NOW + second))
    last = desk.run.id
    assert delete_all_old(desk, 30) == 8
    assert [number for (number,) in desk.rows("SELECT id FROM runs ORDER BY id")] == list(range(last - 29, last + 1))


def with_gaps(desk: Desk, *outcomes: str | None, channel: str = "orders") -> None:
    """Gaps of a second each, one right after the other; the last one that is open has no end."""
    first = desk.rows("SELECT coalesce(max(id), 0) FROM gaps")[0][0]
    for number, outcome in enumerate(outcomes, first + 1):
        at = desk.at + number * 1_000_000
        desk.apply(Pong(1, "alpha", at, 1), Lost(1, "alpha", [channel], at, "reset"))
        desk.apply(Subscribed(1, "alpha", [channel], at + 500_000))
        desk.apply(GapResult(number, at, outcome, 0, None))


def gaps_left(desk: Desk) -> list[int]:
    return [number for (number,) in desk.rows("SELECT id FROM gaps ORDER BY id")]


def test_old_gaps_are_deleted_but_not_open_ones_and_not_the_latest_of_a_channel(desk: Desk, reader: Reader) -> None:
    desk.apply(Subscribed(1, "alpha", ["deposit-info"], NOW))
    with_gaps(desk, "filled", channel="deposit-info")  # 1, its only one
    with_gaps(desk, "filled", None, *["filled"] * 28)  # number 3 stays open
    since = live_channels(reader, ["orders", "deposit-info"])
    status = read_status(desk.path, NOW)
    assert delete_all_old(desk, 5) == 3
    assert gaps_left(desk) == [1, 3, *range(27, 32)]
    assert live_channels(reader, ["orders", "deposit-info"]) == since
    assert read_status(desk.path, NOW).gaps.open == status.gaps.open == 1


def test_coverage_begins_after_the_last_partial_gap_that_was_deleted(desk: Desk) -> None:
    (began,) = desk.rows("SELECT covered_since FROM coverage")
    with_gaps(desk, "filled", "partial", "filled", "partial", "filled", "filled")
    ends = dict(desk.rows("SELECT id, to_at FROM gaps"))
    delete_old_rows(desk.db, 5)
    assert desk.rows("SELECT covered_since FROM coverage") == [began]  # a filled gap is covered
    delete_old_rows(desk.db, 3)
    assert desk.rows("SELECT covered_since FROM coverage") == [(ends[2],)]
    delete_old_rows(desk.db, 0)
    assert desk.rows("SELECT covered_since FROM coverage") == [(ends[4],)]
    assert gaps_left(desk) == [6]


def test_the_daemon_deletes_old_rows_with_and_without_limits_of_the_log(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning.delete_old_rows, "__defaults__", (10, 4))
    now = itertools.count(step=1.0)
    upkeep = PruneSchedule(desk.db, engine_of(desk.path).vacuum(desk.db), clock=lambda: next(now))
    for keep_s in (None, 10**6):
        desk.apply(*(Note(NOW, "info", None, "note", str(number)) for number in range(30)))
        for _ in range(150):
            upkeep.run_due(keep_s, None, NOW)
        assert desk.rows("SELECT count(*) FROM journal") == [(10,)]


def test_the_command(desk: Desk, tmp_path: Path) -> None:
    """The desk's frames are from 2027, so they are pruned by size."""
    db = ["--db", str(desk.path)]
    dry = runner.invoke(app, ["prune", *db, "--max-size", "0B", "--dry-run"])
    assert (dry.exit_code, dry.stdout.split()[:3]) == (0, ["would", "prune", "2999"])
    assert len(received(desk)) == 3000
    wet = runner.invoke(app, ["prune", *db, "--max-size", "0B"])
    assert (wet.exit_code, wet.stdout.split()[:2]) == (0, ["pruned", "2999"])
    assert len(received(desk)) == 1


@pytest.mark.parametrize(
    "given",
    [["--older-than", "soon"], ["--max-size", "much"], ["--config", "none.toml"]],
)
def test_bad_input_is_one_line(given: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = runner.invoke(app, ["prune", "--db", "none.db", *given])
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1


def test_the_command_creates_no_database(tmp_path: Path) -> None:
    result = runner.invoke(app, ["prune", "--db", str(tmp_path / "none.db"), "--older-than", "1d"])
    assert result.exit_code == 1
    assert not (tmp_path / "none.db").exists()
