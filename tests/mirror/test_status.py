"""Status of a daemon that is alive, that stopped, or that was killed."""

import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from okxsync.messages import (
    AccountRemoved,
    ClockOffset,
    ConfiguredAccount,
    Lost,
    Pong,
    Subscribed,
    SubscriptionRefused,
    Unverified,
    Verified,
    WantedChannels,
)
from okxsync.store.database import StoreError
from okxsync.store.sqlite.lock import hold
from tests.support.desk import NOW, Desk, order, phase
from tests.support.reading import read_details, read_status

S = 1_000_000


@pytest.fixture
def desk(desk: Desk) -> Desk:
    desk.begin("orders", pid=os.getpid())
    desk.push("orders", order())
    return desk


def test_all_live(desk: Desk) -> None:
    status = read_status(desk.path, NOW + S)
    assert status.exit_code == 0
    assert status.daemon.alive
    (connection,) = status.connections
    assert (connection.phase, connection.channels, connection.messages) == ("live", ["orders"], 1)
    assert connection.last_message_age_s == pytest.approx(0.999)
    assert (status.gaps.open, status.log.messages, status.writer.rows) == (0, 1, 1)


def test_the_document_has_the_fields_of_the_contract() -> None:
    expected = {
        "daemon": ["alive", "pid", "started_at", "heartbeat_age_s", "version"],
        "connections": [
            *("listener", "endpoint", "site", "demo", "phase", "since", "last_message_age_s", "rtt_ms", "messages"),
            *("reconnects", "channels", "last_error"),
        ],
        "gaps": ["open", "filled", "partial", "seconds_open"],
        "writer": ["queue", "lag_ms", "rows", "errors", "trouble"],
        "log": ["messages", "bytes", "bytes_received", "oldest"],
    }
    from okxsync.mirror import status

    parts = {
        "daemon": status.DaemonState,
        "connections": status.ConnectionState,
        "gaps": status.GapCounts,
        "writer": status.WriterState,
        "log": status.LogState,
    }
    assert list(status.Status.__struct_fields__) == list(expected)
    assert {name: list(part.__struct_fields__) for name, part in parts.items()} == expected


def test_a_lost_channel_is_an_open_gap(desk: Desk) -> None:
    desk.apply(Lost(1, "alpha", ["orders"], NOW + 2 * S, "reset"))
    status = read_status(desk.path, NOW + 4 * S)
    assert status.exit_code == 1
    assert (status.gaps.open, status.gaps.seconds_open) == (1, 4.0)
    assert status.connections[0].channels == []


def test_gaps_of_a_removed_account_do_not_count(desk: Desk) -> None:
    desk.apply(ConfiguredAccount("alpha", "sandbox", True, NOW, None), Lost(1, "alpha", ["orders"], NOW, "reset"))
    desk.apply(AccountRemoved("alpha", NOW))
    assert read_status(desk.path, NOW + S).gaps.open == 0


def test_gaps_of_a_channel_count_only_while_it_is_configured(desk: Desk) -> None:
    desk.apply(
        Subscribed(1, "market", ["status"], NOW),
        Lost(1, "market", ["status"], NOW, "stopped"),
        Lost(1, "alpha", ["orders"], NOW, "stopped"),
        Subscribed(1, "alpha", ["orders"], NOW + S),  # and not backfilled yet
    )
    assert read_status(desk.path, NOW + S).gaps.open == 2
    desk.apply(WantedChannels([("alpha", "account")]))
    status = read_status(desk.path, NOW + S)
    assert (status.gaps.open, status.gaps.seconds_open, status.exit_code) == (0, 0.0, 0)
    desk.apply(WantedChannels([("alpha", "orders"), ("market", "status")]))
    assert read_status(desk.path, NOW + S).gaps.open == 2


def test_a_channel_whose_first_subscription_was_rejected_is_an_open_gap(desk: Desk) -> None:
    assert read_status(desk.path, NOW + S).exit_code == 0
    desk.apply(SubscriptionRefused(1, "alpha", ["account"], NOW, "subscribe account: 60018"))
    status = read_status(desk.path, NOW + S)
    assert (status.exit_code, status.gaps.open) == (1, 1)
    assert status.connections[0].channels == ["orders"]


def test_a_daemon_that_stopped(desk: Desk) -> None:
    desk.apply(desk.heartbeat(NOW + S, NOW + S))
    status = read_status(desk.path, NOW + 2 * S)
    assert status.exit_code == 3
    assert not status.daemon.alive
    assert status.connections[0].phase == "stopped"
    assert status.gaps.open == 1


def test_a_daemon_that_was_killed(desk: Desk) -> None:
    status = read_status(desk.path, NOW + 61 * S)  # no heartbeat for a minute
    assert status.exit_code == 3
    assert status.connections[0].phase == "stopped"
    assert status.connections[0].channels == []
    assert (status.gaps.open, round(status.gaps.seconds_open)) == (1, 61)


def test_a_process_that_does_not_exist_is_not_alive_however_fresh_its_heartbeat(desk: Desk) -> None:
    missing = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(missing, 0)
    desk.apply(desk.start(NOW + S, missing))
    assert not read_status(desk.path, NOW + S).daemon.alive


def test_it_is_json(desk: Desk) -> None:
    document = msgspec.json.decode(msgspec.json.encode(read_status(desk.path, NOW + S)))
    assert document["log"]["oldest"].endswith("Z")
    assert document["connections"][0]["rtt_ms"] is None


def test_a_missing_database_is_reported(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no such database"):
        read_status(tmp_path / "none.db", NOW)


def test_a_heartbeat_in_the_future_does_not_count(desk: Desk) -> None:
    hour = 3600 * S
    assert not read_status(desk.path, NOW - hour).daemon.alive  # the clock was set back, and no heartbeat came since
    assert read_status(desk.path, NOW - hour).exit_code == 3
    desk.apply(desk.heartbeat(NOW - hour))
    assert read_status(desk.path, NOW - hour + S).daemon.alive


@pytest.mark.parametrize("wall_ahead_s", [-7200, 7200])
def test_ages_are_right_whatever_the_wall_clock_says(desk: Desk, wall_ahead_s: int) -> None:
    desk.begin("orders", pid=os.getpid())
    desk.apply(ClockOffset(NOW * 1000, -wall_ahead_s * S))
    wall_us = NOW + (wall_ahead_s + 3) * S
    status = read_status(desk.path, wall_us)
    assert status.daemon.alive
    assert status.daemon.heartbeat_age_s == pytest.approx(3.0, abs=0.01)
    details = read_details(desk.path, wall_us, storing=True)
    assert all(one.age_s == pytest.approx(3.0, abs=0.01) for one in details.accounts)


def test_a_run_whose_clock_was_ahead_does_not_hide_the_one_that_runs(make_desk: Callable[[], Desk]) -> None:
    desk = make_desk()
    missing = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(missing, 0)
    hour = 3600 * S
    desk.apply(desk.start(NOW + hour, missing))  # killed
    desk.database.close()
    desk = make_desk()
    desk.begin("orders", pid=os.getpid())
    daemon = read_status(desk.path, NOW + S).daemon
    details = read_details(desk.path, NOW + S, storing=daemon.alive)
    desk.database.close()
    assert (daemon.alive, daemon.pid, daemon.heartbeat_age_s) == (True, os.getpid(), 1.0)
    assert details.trouble == ""  # the daemon's process exists


def test_a_live_channel_that_cannot_be_verified_is_open_since_it_was_verified_last(desk: Desk) -> None:
    desk.apply(ConfiguredAccount("alpha", "sandbox", True, NOW, None))
    desk.apply(Verified("alpha", "orders", NOW + 2 * S), desk.heartbeat(NOW + 62 * S))
    desk.apply(Unverified("alpha", "orders", NOW + 60 * S, "trade/orders-pending: no answer within 10 s"))
    status = read_status(desk.path, NOW + 62 * S)
    assert (status.exit_code, status.gaps.open, status.gaps.seconds_open) == (1, 1, 60.0)
    (alpha,) = read_details(desk.path, NOW + 62 * S, storing=True).accounts
    assert (alpha.gaps_open, alpha.is_well) == (1, False)
    desk.apply(Verified("alpha", "orders", NOW + 61 * S))
    assert read_status(desk.path, NOW + 62 * S).exit_code == 0
    (alpha,) = read_details(desk.path, NOW + 62 * S, storing=True).accounts
    assert alpha.is_well


def test_a_later_snapshot_proves_an_unverified_channel_and_a_later_push_does_not(desk: Desk) -> None:
    desk.apply(Subscribed(1, "alpha", ["account"], NOW), Unverified("alpha", "account", NOW + S, "no answer"))
    assert read_status(desk.path, NOW + S).gaps.open == 1
    desk.at = NOW + 3 * S
    totals = {"uTime": "5", "details": []}
    desk.push("account", totals, eventType="event_update")
    desk.apply(Pong(1, "alpha", NOW + 4 * S, 1))
    assert read_status(desk.path, NOW + 4 * S).gaps.open == 1
    snapshot = desk.frame("account", totals, eventType="snapshot", curPage=1, lastPage=True)
    desk.apply(msgspec.structs.replace(snapshot, sent_after=NOW + 4 * S))
    assert read_status(desk.path, NOW + 5 * S).gaps.open == 0


def test_an_account_removed_while_a_container_was_down_is_not_live(make_desk: Callable[[], Desk]) -> None:
    """In a container every run has the same pid, so a pid does not tell runs apart."""
    desk = make_desk()
    desk.begin("orders", pid=os.getpid())
    desk.apply(phase(NOW, number=2, listener="beta"), Subscribed(2, "beta", ["orders"], NOW))
    desk.database.close()  # killed; beta is removed from accounts.toml
    desk = make_desk()
    desk.at = NOW + 60 * S
    desk.begin("orders", pid=os.getpid())
    status = read_status(desk.path, NOW + 60 * S)
    desk.database.close()
    assert [one.listener for one in status.connections] == ["alpha"]


def test_the_heartbeat_alone_counts_for_a_run_on_another_host(desk: Desk) -> None:
    """Another container or host has other pids."""
    missing = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(missing, 0)
    desk.apply(desk.start(NOW, missing))
    desk.db.execute("UPDATE runs SET host = 'elsewhere'")
    assert read_status(desk.path, NOW + S).daemon.alive
    assert not read_status(desk.path, NOW + 61 * S).daemon.alive
    assert read_details(desk.path, NOW + S, storing=True).trouble is None  # its lock file cannot be judged from here


def test_a_daemon_that_cannot_write_is_alive(desk: Desk) -> None:
    with hold(desk.path) as lock:
        assert read_status(desk.path, NOW + S).writer.trouble is None
        lock.report("cannot be written: database or disk is full")
        status = read_status(desk.path, NOW + 60 * S)  # the last heartbeat that is stored
        assert (status.daemon.alive, status.exit_code) == (True, 1)
        assert status.writer.trouble == "cannot be written: database or disk is full"
        assert status.connections[0].phase == "live"
        assert (status.gaps.open, status.gaps.seconds_open) == (1, 60.0)
        assert read_status(desk.path, NOW + S).exit_code == 1
        lock.report("")
        assert read_status(desk.path, NOW + 60 * S).writer.trouble == "the disk does not respond"
        os.utime(f"{desk.path}-lock", (0, 0))  # suspended: it does not even touch its lock
        status = read_status(desk.path, NOW + 60 * S)
        assert (status.daemon.alive, status.exit_code, status.writer.trouble) == (False, 3, None)
    os.utime(f"{desk.path}-lock")
    desk.apply(desk.heartbeat(NOW + S, stopped_at=NOW + S))
    assert not read_status(desk.path, NOW + S).daemon.alive
