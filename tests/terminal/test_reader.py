"""The terminal's rows are the database's, text by text, whatever is written, lost or replaced meanwhile."""

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from okxsync import Mirror
from okxsync.messages import AccountRemoved, ConfiguredAccount, Lost, Subscribed, Unverified, WantedChannels
from okxsync.okx.channels import DEFAULT_CHANNELS
from okxsync.terminal import topics
from okxsync.terminal.pointer import Pointer
from okxsync.terminal.reader import PROOF_S, Look, Reader, Update
from okxsync.terminal.ring import Ring
from tests.support.desk import MS, NOW, Desk, order, phase
from tests.terminal.test_ring import Page

S = 1_000_000


class Terminal:
    """A reader at a time of the test's choice, and a page that has taken all that was published."""

    def __init__(self, path: Path) -> None:
        self.now_us = NOW + S
        self._at_s = 0.0
        self._rings = {name: Ring(topic) for name, topic in topics.TOPICS.items()}
        self._pointer = Pointer(self._rings)
        self._pointer.subscribe(dict.fromkeys(topics.TOPICS), same_epoch=False)
        self.page = Page()
        self.errors: list[str | None] = []
        self.last: Look | None = None
        self.is_watched = True
        self._reader = Reader(path, self._publish, lambda: self.now_us, is_watched=lambda: self.is_watched)
        self.close = self._reader.close

    def _publish(self, update: Update) -> None:
        self.errors.append(update.error)
        self.last = update.look or self.last
        for diff in update.diffs:
            self._rings[diff.topic.name].add(diff)
        while text := self._pointer.next(None, 0.0):
            self.page.take(text)
            self._pointer.acknowledge(self.page.numbers)

    def look(self) -> None:
        """Look once, with the proof."""
        self._at_s += PROOF_S
        self._reader.look(self._at_s)

    def look_for_rows(self) -> None:
        self._at_s += PROOF_S / 4
        self._reader.look(self._at_s)

    def rows(self, topic: topics.Topic) -> list[dict[str, Any]]:
        return [topic.record(row) for row in self.page.rows.get(topic.name, {}).values()]

    def shown(self) -> dict[str, list[tuple[Any, ...]]]:
        """Return all rows, fills without their numbers."""
        return {
            name: sorted((row[1:] if name == "fills" else row for row in rows.values()), key=repr)
            for name, rows in self.page.rows.items()
        }


@pytest.fixture
def desk(desk: Desk) -> Desk:
    desk.apply(ConfiguredAccount("alpha", "sandbox", True, NOW, None))
    desk.begin(*DEFAULT_CHANNELS, pid=os.getpid())
    return desk


@pytest.fixture
def terminal(desk: Desk) -> Iterator[Terminal]:
    terminal = Terminal(desk.path)
    terminal.look()
    yield terminal
    terminal.close()


def position(number: int, size: str, **fields: str) -> dict[str, str]:
    row = {"posId": str(number), "instId": "BTC-USDT-SWAP", "instType": "SWAP", "mgnMode": "cross", "posSide": "net"}
    return row | {"pos": size, "uTime": str(MS), "cTime": str(MS)} | fields


@pytest.mark.parametrize("text", ["0.000000001", "123456789012345678901234567890.5", "1e-9", "1E+5", "-0", "0", "0.10"])
def test_numbers_are_the_texts_of_the_exchange(desk: Desk, terminal: Terminal, text: str) -> None:
    desk.push("orders", order(1, px=text, sz=""))
    terminal.look_for_rows()
    (one,) = terminal.rows(topics.ORDERS)
    assert (one["px"], one["sz"]) == (text, None)
    assert (one["c_time"], one["u_time"]) == (MS * 1000, MS * 1000)


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", '"', "\\", "\x1f\u202e\u2028", "😀", "'; DROP TABLE x"])
def test_texts_arrive_as_they_are(desk: Desk, terminal: Terminal, text: str) -> None:
    desk.push("orders", order(1, tag=text))
    terminal.look_for_rows()
    assert terminal.rows(topics.ORDERS)[0]["tag"] == text


def test_closed_orders_and_positions_leave(desk: Desk, terminal: Terminal) -> None:
    desk.push("orders", order(1), order(2))
    desk.push("positions", position(1, "3"), position(2, "-0.5"))
    terminal.look_for_rows()
    assert {one["id"] for one in terminal.rows(topics.ORDERS)} == {"1", "2"}
    desk.push("orders", order(1, state="canceled", uTime=str(MS + 1)))
    desk.push("positions", position(1, "0", uTime=str(MS + 1)))
    terminal.look_for_rows()
    assert {one["id"] for one in terminal.rows(topics.ORDERS)} == {"2"}
    assert {one["pos_id"] for one in terminal.rows(topics.POSITIONS)} == {"2"}


def test_while_no_page_is_visible_all_is_read_once_a_second_and_at_once_when_one_becomes_visible(
    desk: Desk, terminal: Terminal
) -> None:
    terminal.is_watched = False
    terminal.look()
    desk.push("orders", order(1))
    terminal.look_for_rows()
    terminal.look()
    assert not terminal.rows(topics.ORDERS)
    terminal.look()
    assert len(terminal.rows(topics.ORDERS)) == 1
    desk.push("orders", order(2))
    terminal.is_watched = True
    terminal.last = None
    terminal.look_for_rows()
    assert len(terminal.rows(topics.ORDERS)) == 2
    assert terminal.last is not None  # with its proof


def test_reading_step_by_step_leads_to_what_reading_at_once_finds(desk: Desk, terminal: Terminal) -> None:
    chance = random.Random(1)
    for step in range(60):
        at = str(MS + step)
        number = chance.randrange(6)
        state = chance.choice(["live", "partially_filled", "filled", "canceled"])
        fields = {"state": state, "uTime": at, "accFillSz": str(step)}
        if state.endswith("filled"):
            fields |= {"fillSz": "1", "fillPx": "7", "tradeId": str(step), "fillTime": at}
        desk.push("orders", order(number, **fields))
        desk.push("positions", position(number, chance.choice(["0", "1", "-2.5"]), uTime=at))
        details = [{"ccy": "USDT", "eq": str(step), "mgnRatio": str(step), "upl": "1", "coinUsdPrice": "1.5"}]
        desk.push("account", {"totalEq": str(step), "uTime": at, "details": details})
        if chance.random() < 0.1:
            desk.apply(Lost(1, "alpha", ["orders"], desk.at, "a reset"))
        if chance.random() < 0.1:
            desk.apply(Subscribed(1, "alpha", ["orders"], desk.at))
        if chance.random() < 0.5:
            chance.choice([terminal.look, terminal.look_for_rows])()
    terminal.look()
    fresh = Terminal(desk.path)
    fresh.look()
    fresh.close()
    assert terminal.errors == [None] * len(terminal.errors)
    assert terminal.shown() == fresh.shown()
    with Mirror(desk.path) as mirror:
        assert {one["id"] for one in terminal.rows(topics.ORDERS)} == {one.ord_id for one in mirror.orders(open=True)}
        assert {one["pos_id"] for one in terminal.rows(topics.POSITIONS)} == {one.pos_id for one in mirror.positions()}
        trades = sorted(one.trade_id for one in mirror.fills())
        assert sorted(one["trade_id"] for one in terminal.rows(topics.FILLS)) == trades
        assert trades


def test_every_column_of_the_wire_is_read(desk: Desk, terminal: Terminal) -> None:
    with Mirror(desk.path) as mirror, mirror.snapshot():
        from okxsync.terminal.reader import _rows

        for name, rows in _rows(mirror.screen(), None).items():
            assert all(len(row) - 1 == len(topics.TOPICS[name].columns) for row in rows if name in topics.TOPICS)


def test_the_head_says_what_status_says(desk: Desk, terminal: Terminal) -> None:
    desk.apply(Lost(1, "alpha", ["orders"], NOW, "a reset"), Unverified("alpha", "positions", NOW + S, "HTTP 503"))
    terminal.now_us = NOW + 3 * S
    terminal.look()
    assert terminal.last
    with Mirror(desk.path, lambda: NOW + 3 * S) as mirror:
        status = mirror.status()
    count, seconds, _ = terminal.last.head["gaps"]
    assert (count, seconds) == (status.gaps.open, status.gaps.seconds_open)
    assert count == 2
    assert (terminal.last.head["live"], terminal.last.head["all"]) == (1, 1)


def state(terminal: Terminal, channel: str = "orders") -> str:
    (found,) = [one["state"] for one in terminal.rows(topics.FRESHNESS) if one["channel"] == channel]
    return str(found)


def test_a_lost_channel_turns_stale_at_the_next_look(desk: Desk, terminal: Terminal) -> None:
    assert state(terminal) == "live"
    desk.apply(Lost(1, "alpha", ["orders"], NOW, "pong late"), phase(NOW, "backing_off"))
    terminal.look()
    assert state(terminal) == "stale"
    assert state(terminal, "positions") == "live"
    (one,) = terminal.rows(topics.ACCOUNTS)
    assert (one["state"], one["reason"]) == ("stale", "pong late")


def test_a_daemon_whose_heartbeat_stops_makes_everything_stale(desk: Desk, terminal: Terminal) -> None:
    assert terminal.last
    assert terminal.last.daemon["state"] == "running"
    terminal.now_us = NOW + 6 * S  # no commit tells it: time passes
    terminal.look()
    assert terminal.last.daemon["state"] == "stopped"
    assert {one["state"] for one in terminal.rows(topics.FRESHNESS)} == {"stale"}
    assert {one["state"] for one in terminal.rows(topics.ACCOUNTS)} == {"stale"}


def test_a_daemon_that_stopped_says_when(desk: Desk, terminal: Terminal) -> None:
    desk.apply(desk.heartbeat(NOW + S, stopped_at=NOW + S))
    terminal.look()
    assert terminal.last
    assert (terminal.last.daemon["state"], terminal.last.daemon["stopped_at"]) == ("stopped", NOW + S)
    assert terminal.last.daemon["exit"] == 0


def test_an_account_that_is_removed_leaves_and_one_that_is_added_comes(desk: Desk, terminal: Terminal) -> None:
    desk.push("orders", order(1))
    desk.apply(ConfiguredAccount("beta", "sandbox", True, NOW, None))
    terminal.look()
    assert {one["account"] for one in terminal.rows(topics.ACCOUNTS)} == {"alpha", "beta"}
    (beta,) = [one for one in terminal.rows(topics.ACCOUNTS) if one["account"] == "beta"]
    assert (beta["state"], beta["equity"], beta["open_orders"]) == ("never", None, None)
    desk.apply(AccountRemoved("alpha", NOW))
    terminal.look()
    assert {one["account"] for one in terminal.rows(topics.ACCOUNTS)} == {"beta"}
    assert terminal.rows(topics.ORDERS) == []
    assert {one["account"] for one in terminal.rows(topics.FRESHNESS)} == {"beta"}


def test_a_channel_that_is_not_configured_any_more_is_not_live(desk: Desk, terminal: Terminal) -> None:
    desk.apply(WantedChannels([("alpha", "account")]))
    terminal.look()
    assert (state(terminal, "account"), state(terminal, "orders")) == ("live", "never")


def test_a_database_that_is_gone_is_an_error_until_another_one_comes(desk: Desk, terminal: Terminal) -> None:
    desk.push("orders", order(1))
    terminal.look()
    desk.database.close()
    for path in desk.path.parent.glob("okxsync.db*"):  # the terminal still has it open
        path.rename(path.with_name(path.name.replace("okxsync", "kept")))
    terminal.look()
    assert "no such database" in (terminal.errors[-1] or "")
    assert [one["id"] for one in terminal.rows(topics.ORDERS)] == ["1"]  # what it has, as of then
    other = Desk(desk.path)
    other.apply(ConfiguredAccount("beta", "sandbox", True, NOW, None))
    terminal.look()
    assert terminal.errors[-1] is None
    assert terminal.rows(topics.ORDERS) == []
    assert {one["account"] for one in terminal.rows(topics.ACCOUNTS)} == {"beta"}
    other.database.close()


def test_no_database_yet(tmp_path: Path, make_desk: Any) -> None:
    terminal = Terminal(tmp_path / "okxsync.db")
    terminal.look()
    assert "no such database" in (terminal.errors[-1] or "")
    assert terminal.page.rows == {}
    terminal.look_for_rows()
    assert len(terminal.errors) == 1  # it is not tried a hundred times a second
    terminal.close()


def test_nothing_is_read_unless_something_was_written(desk: Desk, terminal: Terminal) -> None:
    looks = len(terminal.errors)
    terminal.look_for_rows()
    assert len(terminal.errors) == looks
    desk.push("orders", order(1))
    terminal.look_for_rows()
    assert len(terminal.errors) == looks + 1


def test_no_transaction_stays_open_between_looks(desk: Desk, terminal: Terminal) -> None:
    desk.push("orders", order(1))
    terminal.look()
    busy, *_ = desk.rows("PRAGMA wal_checkpoint(TRUNCATE)")[0]
    assert busy == 0


def test_the_thread_ends_when_it_is_told(desk: Desk) -> None:
    class EndError(Exception):
        pass

    began_s = time.monotonic()
    updates: list[Update] = []

    def check() -> None:
        if len(updates) >= 3:
            raise EndError

    with pytest.raises(EndError):
        Reader(desk.path, updates.append).run(check)
    assert time.monotonic() - began_s >= PROOF_S / 2
