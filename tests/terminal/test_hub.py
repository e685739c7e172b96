"""The heartbeat says what is wrong, and browsers that are silent are cut."""

import json
from typing import Any

import pytest
from trio.testing import MockClock

from okxsync.terminal.hub import GRACE_S, SILENT_S, Browser, Hub
from okxsync.terminal.reader import Look, Update

NOW = 1_800_000_000_000_000
LOOK = Look(5, {"state": "running"}, {"live": 1}, {"queue": 0})


class Cut:
    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


@pytest.fixture
async def hub() -> Hub:
    return Hub("epoch", lambda: NOW, cut_s=30.0)


def beat(hub: Hub) -> dict[str, Any]:
    hub.beat()
    assert hub.heartbeat
    found: dict[str, Any] = json.loads(hub.heartbeat[1])
    return found


async def test_a_heartbeat_before_the_first_read_promises_nothing(hub: Hub) -> None:
    found = beat(hub)
    assert (found["n"], found["epoch"], found["daemon"], found["head"]) == (1, "epoch", None, None)
    assert beat(hub)["n"] == 2


async def test_its_time_is_that_of_the_database(hub: Hub) -> None:
    hub.publish(Update(look=LOOK))
    assert beat(hub)["at"] == NOW + LOOK.ahead_us


async def test_a_daemon_that_stops_is_said_at_once(hub: Hub) -> None:
    hub.publish(Update(look=LOOK))
    first = hub.heartbeat
    hub.publish(Update(look=LOOK))
    assert hub.heartbeat == first
    hub.publish(Update(look=LOOK._replace(daemon={"state": "stopped"})))
    assert hub.heartbeat
    assert json.loads(hub.heartbeat[1])["daemon"] == {"state": "stopped"}


async def test_a_database_that_cannot_be_read_is_an_error_until_it_can(hub: Hub) -> None:
    hub.publish(Update(look=LOOK))
    hub.publish(Update(error="x.db: no such database"))
    assert hub.heartbeat  # at once
    since = beat(hub)["error"]["since"]
    hub.publish(Update(error="x.db: not an okxsync database"))
    found = beat(hub)
    assert found["error"] == {"text": "x.db: not an okxsync database", "since": since}
    assert found["daemon"] == LOOK.daemon  # as it was
    hub.publish(Update())  # rows alone prove nothing
    assert beat(hub)["error"]
    hub.publish(Update(look=LOOK))
    assert json.loads(hub.heartbeat[1])["error"] is None


async def test_a_reader_that_says_nothing_is_an_error(hub: Hub, mock_clock: MockClock) -> None:
    hub.publish(Update(look=LOOK))
    mock_clock.jump(SILENT_S)
    assert beat(hub)["error"] is None
    mock_clock.jump(1)
    error = beat(hub)["error"]
    assert error["text"] == "the database does not answer"
    assert error["since"] == NOW + LOOK.ahead_us - round((SILENT_S + 1) * 1e6)
    hub.publish(Update(look=LOOK))
    assert beat(hub)["error"] is None


async def test_a_browser_that_acknowledges_is_not_cut(hub: Hub, mock_clock: MockClock) -> None:
    cut = Cut()
    with hub.joined(cut) as browser, browser.scope:
        for _ in range(40):
            hub.beat()
            await browser.next()
            assert hub.heartbeat
            browser.pointer.acknowledge({"now": hub.heartbeat[0]})
            mock_clock.jump(1)
            hub.cut_silent()
    assert not browser.scope.cancelled_caught
    assert cut.count == 0
    assert not hub.browsers


async def silent(hub: Hub, browser: Browser) -> None:
    hub.beat()
    await browser.next()


async def test_a_silent_browser_is_asked_to_go_and_then_cut(hub: Hub, mock_clock: MockClock) -> None:
    cut = Cut()
    with hub.joined(cut) as browser:
        await silent(hub, browser)
        mock_clock.jump(30)
        hub.cut_silent()
        assert not browser.scope.cancel_called
        mock_clock.jump(1)
        assert beat(hub)["screens"] == [31_000_000]
        hub.cut_silent()
        assert browser.scope.cancel_called
        assert cut.count == 0
        mock_clock.jump(GRACE_S)
        hub.cut_silent()
        assert cut.count == 1


async def test_a_send_that_does_not_return_counts_although_all_is_acknowledged(hub: Hub, mock_clock: MockClock) -> None:
    with hub.joined(Cut()) as browser:
        await silent(hub, browser)
        with browser.sending():
            browser.pointer.acknowledge({"now": 1})
            mock_clock.jump(31)
            hub.cut_silent()
            assert browser.scope.cancel_called
        assert browser.lag_s() == 0.0


async def test_the_hub_is_not_watched_while_every_page_is_hidden(hub: Hub) -> None:
    assert not hub.is_watched
    with hub.joined(Cut()) as one, hub.joined(Cut()) as other:
        hub.hide(one, True)
        assert hub.is_watched
        hub.hide(other, True)
        assert not hub.is_watched
        hub.hide(one, False)
        assert hub.is_watched
    assert not hub.is_watched
