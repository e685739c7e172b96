"""All connections of the settings: which there are, what a change of the settings affects, and what it does not."""

import math
import random
from pathlib import Path

import msgspec
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from okxsync.config.secret import Secret, SecretSource
from okxsync.config.settings import AccountSettings, MarketSettings, Settings
from okxsync.feed.dialers import Dialers
from okxsync.feed.pool import ConnectionPool, specs_of, wanted_channels
from okxsync.feed.reader import PAUSES_S
from okxsync.messages import ConnectionRemoved, Lost, Note, Phase, Subscribed
from tests.support.accounts import SITE, account, channels, settings
from tests.support.connections import running
from tests.support.outbox import queue
from tests.support.scripted_peer import Exchange, FixedClock, Peer


async def take_all(peer: Peer) -> None:
    """Accept every login and subscription; a key "bad" is rejected."""
    while True:
        match await peer.receive():
            case {"op": "login", "args": [{"apiKey": "bad"}]}:
                await peer.reject("60032")
            case {"op": "login"}:
                await peer.send({"event": "login", "code": "0"})
            case {"op": "subscribe", "args": args}:
                for arg in args:
                    await peer.send({"event": "subscribe", "arg": arg})
            case "ping":
                await peer.send("pong")


async def test_a_change_of_the_latency_takes_effect_without_a_reconnection(autojump_clock: MockClock) -> None:
    changed, changes = trio.open_memory_channel[Settings | str](0)
    send, _ = queue()
    pool = ConnectionPool(send, lambda site: FixedClock(), Dialers(), {})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pool.run, settings(), changes)
        for latency, pause_s in PAUSES_S.items():
            await changed.send(msgspec.structs.replace(settings(), latency=latency))
            await wait_all_tasks_blocked()
            assert pool._reader.pause_s == pause_s
        nursery.cancel_scope.cancel()


# What there is


def test_one_connection_per_endpoint_and_account_and_a_public_one_for_the_market() -> None:
    market = MarketSettings("peer", SITE, True, channels("status"))
    found = [
        spec
        for spec, _ in specs_of(
            settings(
                account("alpha", "orders", "orders-algo", "account"),
                account("beta", "deposit-info"),
                account("gamma", enabled=False),
                market=market,
            )
        )
    ]
    assert [(spec.name, spec.account, [one.key for one in spec.subscriptions], spec.url) for spec in found] == [
        ("alpha/private", "alpha", ["orders", "account"], "ws://peer/private"),
        ("alpha/business", "alpha", ["orders-algo"], "ws://peer/business"),
        ("beta/business", "beta", ["deposit-info"], "ws://peer/business"),
        ("market/public", None, ["status"], "ws://peer/public"),
    ]
    assert [(spec.keys is None, spec.demo) for spec in found] == [(False, False)] * 3 + [(True, True)]


def test_the_wanted_channels_are_those_of_all_connections() -> None:
    market = MarketSettings("peer", SITE, True, channels("status"))
    alpha, beta = account("alpha", "orders", "orders-algo"), account("beta", enabled=False)
    assert wanted_channels(settings(alpha, beta, market=market)).channels == [
        ("alpha", "orders"),
        ("alpha", "orders-algo"),
        ("market", "status"),
    ]


def test_the_repr_of_a_spec_shows_no_secret() -> None:
    ((spec, _),) = specs_of(settings(account("alpha", key="very secret")))
    assert "very secret" not in repr(spec)


async def test_connections_keep_the_numbers_of_an_earlier_run_and_new_ones_get_new_numbers(
    exchange: Exchange, autojump_clock: MockClock
) -> None:
    exchange.script = take_all
    known = {("alpha", "private"): 4, ("gone", "private"): 9}
    async with running(exchange, account("alpha"), account("beta"), known_ids=known) as feed:
        await feed.timeline.reaches("live", 2)
        rows = {row.listener: row.connection_id for row in feed.timeline.of(Phase)}
        assert rows == {"alpha": 4, "beta": 10}
    assert known == {("alpha", "private"): 4, ("gone", "private"): 9}


async def test_all_accounts_together_dial_at_the_pace_of_the_site(
    exchange: Exchange, autojump_clock: MockClock
) -> None:
    exchange.script = take_all
    accounts = [account(f"a{number:02}", "orders", "orders-algo") for number in range(15)]
    async with running(exchange, *accounts) as feed:
        await feed.timeline.reaches("live", 30)
        assert exchange.dials[-1] == pytest.approx(9 * 1.005)
        for beyond, first in zip(exchange.dials[3:], exchange.dials, strict=False):
            assert beyond - first > 1.0


async def test_sites_that_share_a_host_share_its_pace_and_the_lowest_rate_counts(
    exchange: Exchange, autojump_clock: MockClock
) -> None:
    exchange.script = take_all
    other = msgspec.structs.replace(SITE, rest="http://proxy", dials_per_second=1)
    accounts = [account(f"a{number}") for number in range(5)]
    accounts += [msgspec.structs.replace(account(f"b{n}", site=other), site_name="other") for n in range(5)]
    async with running(exchange, *accounts) as feed:
        await feed.timeline.reaches("live", 10)
        assert exchange.dials == pytest.approx([1.005 * number for number in range(10)])


def assert_within_limit(counted: list[float]) -> None:
    """Assert that no second contains more than three dials, by the exchange's count."""
    for first, beyond in zip(counted, counted[3:], strict=False):
        assert beyond - first > 1.0, counted


async def test_dials_that_wait_on_a_stalled_exchange_are_within_the_limit_when_it_counts_them(
    exchange: Exchange, autojump_clock: MockClock
) -> None:
    exchange.script = take_all
    exchange.count_after = lambda: 15.0 - trio.current_time()
    async with running(exchange, *(account(f"a{number:02}") for number in range(20))) as feed:
        await feed.timeline.reaches("live", 20)
        assert_within_limit(exchange.counted)


@pytest.mark.parametrize("seed", range(5))
async def test_dials_on_a_slow_network_are_within_the_limit_when_they_arrive(
    exchange: Exchange, autojump_clock: MockClock, seed: int
) -> None:
    rng = random.Random(seed)
    exchange.script = take_all
    exchange.count_after = lambda: rng.uniform(0.0, 12.0)  # some are given up before
    exchange.answer_after = lambda: rng.uniform(0.0, 3.0)
    async with running(exchange, *(account(f"a{number:02}") for number in range(20))) as feed:
        await feed.timeline.reaches("live", 20)
        assert_within_limit(exchange.counted)


async def test_dials_that_an_edit_of_the_settings_cancels_are_counted(
    exchange: Exchange, autojump_clock: MockClock
) -> None:
    exchange.script = take_all
    exchange.count_after = lambda: 5.0 - trio.current_time()
    async with running(exchange, *(account(f"a{number}") for number in range(3))) as feed:
        await trio.sleep(1)
        await feed.change(*(account(f"a{number}", "orders") for number in range(3)))
        await feed.timeline.reaches("live", 3)
        assert len(exchange.counted) == 6
        assert_within_limit(exchange.counted)


async def test_connections_that_are_not_answered_wait_behind_all_others(
    exchange: Exchange, autojump_clock: MockClock
) -> None:
    """Their dials occupy their places for long."""
    exchange.upgrades = False
    silent = [account(f"s{number}") for number in range(9)]
    async with running(exchange, *silent) as feed:
        await trio.sleep(120)  # each has been dialled
        seen = len(feed.timeline.of(Phase))
        await feed.change(*silent, *(account(f"a{number}") for number in range(3)))
        await trio.sleep(60)
        dialled = [row.listener for row in feed.timeline.of(Phase)[seen:] if row.phase == "connecting"]
        assert set(dialled[:3]) == {"a0", "a1", "a2"}
        assert len(dialled) > 3


@pytest.mark.parametrize("rate", [1, 5])
async def test_a_changed_rate_of_dials_counts_for_those_who_wait_and_never_adds_to_the_old_one(
    exchange: Exchange, autojump_clock: MockClock, rate: int
) -> None:
    exchange.script = take_all
    accounts = [account(f"a{number:02}") for number in range(20)]
    faster = msgspec.structs.replace(SITE, dials_per_second=rate)
    async with running(exchange, *accounts) as feed:
        await feed.timeline.reaches("live", 6)
        changed = trio.current_time()
        await feed.change(*(msgspec.structs.replace(one, site=faster) for one in accounts))
        await feed.timeline.reaches("live", 20)
        assert len(exchange.dials) == 20
        for first, beyond in zip(exchange.dials, exchange.dials[max(3, rate) :], strict=False):
            assert beyond - first > 1.0
        later = exchange.dials[6:]
        for first, beyond in zip(later, later[rate:], strict=False):
            assert beyond - first > 1.0
        assert later[-1] <= changed + math.ceil(14 / rate) * 1.006


async def test_a_secret_file_reconnects_an_account_only_if_its_content_has_changed(
    exchange: Exchange, autojump_clock: MockClock, tmp_path: Path
) -> None:
    exchange.script = take_all

    def written(passphrase: str) -> AccountSettings:
        (tmp_path / "secret.txt").write_text(passphrase)
        secret = Secret(SecretSource(file="secret.txt"), tmp_path)
        return msgspec.structs.replace(account("alpha"), passphrase=secret)

    async with running(exchange, written("one")) as feed:
        await feed.timeline.reaches("live")
        await feed.change(written("one"))
        await trio.sleep(10)
        assert len(exchange.dials) == 1
        await feed.change(written("two"))
        await feed.timeline.reaches("live", 2)


async def test_one_account_s_bad_key_does_not_disturb_the_others(exchange: Exchange, autojump_clock: MockClock) -> None:
    exchange.script = take_all
    async with running(exchange, account("alpha"), account("beta", key="bad"), account("gamma")) as feed:
        await trio.sleep(3600)
        lives = [row.listener for row in feed.timeline.of(Phase) if row.phase == "live"]
        assert sorted(lives) == ["alpha", "gamma"]
        stops = [row.listener for row in feed.timeline.of(Phase) if row.phase == "stopped"]
        assert stops == ["beta", "beta"]
        assert feed.timeline.of(Lost) == []


# What changes


async def test_a_removed_account_is_closed_and_the_others_stay_connected(
    exchange: Exchange, autojump_clock: MockClock
) -> None:
    exchange.script = take_all
    async with running(exchange, account("alpha"), account("beta", "orders", "orders-algo")) as feed:
        await feed.timeline.reaches("live", 3)
        await trio.sleep(1)
        before = feed.reported
        await feed.change(account("alpha"))
        assert exchange.open == 1
        reported = [message.connection_id for message in feed.since(before) if isinstance(message, ConnectionRemoved)]
        assert (reported, feed.reported - before) == ([2, 3], 2)
        await trio.sleep(100)
        assert feed.timeline.of(Phase)[-1].phase == "live"
        assert (len(exchange.dials), exchange.open) == (3, 1)


async def test_the_last_report_about_a_removed_connection_is_its_removal(
    exchange: Exchange, autojump_clock: MockClock
) -> None:
    async def script(peer: Peer) -> None:
        await peer.go_live()
        while True:
            await peer.send('{"data":[]}')

    exchange.script = script
    async with running(exchange, account("alpha")) as feed:
        await feed.timeline.reaches("live")
        await feed.change()
        (last,) = feed.since(feed.reported - 1)
        assert isinstance(last, ConnectionRemoved)
        assert (last.connection_id, last.listener) == (1, "alpha")
        await trio.sleep(100)
        assert feed.timeline.all[-1][1] is last


async def test_a_changed_account_reconnects_under_its_old_number(exchange: Exchange, autojump_clock: MockClock) -> None:
    exchange.script = take_all
    async with running(exchange, account("alpha", "orders"), account("beta")) as feed:
        await feed.timeline.reaches("live", 2)
        await trio.sleep(1)
        before = feed.reported
        await feed.change(account("alpha", "orders", "account"), account("beta"))
        await feed.timeline.reaches("live", 3)
        reported = [
            (type(message).__name__, message.phase if isinstance(message, Phase) else message.channels)
            for message in feed.since(before)
            if isinstance(message, Phase | Subscribed)
        ]
        assert isinstance(feed.since(before)[0], ConnectionRemoved)
        climb = [("Phase", phase) for phase in ("waiting", "connecting", "logging_in", "subscribing")]
        acknowledged = [("Subscribed", ["orders"]), ("Subscribed", ["account"])]
        assert reported == [*climb, *acknowledged, ("Phase", "live")]
        assert {row.connection_id for row in feed.timeline.of(Phase) if row.listener == "alpha"} == {1}
        assert len(exchange.dials) == 3


async def test_an_added_account_is_connected_and_one_that_returns_gets_its_old_number(
    exchange: Exchange, autojump_clock: MockClock
) -> None:
    exchange.script = take_all
    async with running(exchange, account("alpha")) as feed:
        await feed.change(account("alpha"), account("beta"))
        await feed.timeline.reaches("live", 2)
        await feed.change(account("alpha"))
        await feed.change(account("alpha"), account("gamma"))
        await feed.change(account("alpha"), account("gamma"), account("beta"))
        await feed.timeline.reaches("live", 4)
        rows = {row.listener: row.connection_id for row in feed.timeline.of(Phase)}
        assert rows == {"alpha": 1, "beta": 2, "gamma": 3}
        assert len(exchange.dials) == 4


async def test_settings_that_change_nothing_change_nothing(exchange: Exchange, autojump_clock: MockClock) -> None:
    exchange.script = take_all
    async with running(exchange, account("alpha")) as feed:
        await feed.timeline.reaches("live")
        await trio.sleep(1)
        before = feed.reported
        await feed.change(account("alpha"))
        await feed.change(account("alpha"), account("beta", enabled=False))
        assert feed.since(before) == []


async def test_a_stopped_account_reconnects_at_once_when_its_key_changes(
    exchange: Exchange, autojump_clock: MockClock
) -> None:
    exchange.script = take_all
    async with running(exchange, account("alpha", key="bad")) as feed:
        await feed.timeline.reaches("stopped")
        await trio.sleep(100)
        await feed.change(account("alpha", key="good"))
        await feed.timeline.reaches("live")
        assert trio.current_time() == pytest.approx(100)


@pytest.mark.parametrize("after_s", [0.0, 5.0])
async def test_a_change_is_applied_at_once_even_while_connections_hang(
    exchange: Exchange, autojump_clock: MockClock, after_s: float
) -> None:
    exchange.upgrades = False
    async with running(exchange, *(account(f"a{number}") for number in range(10))) as feed:
        await trio.sleep(after_s)
        await feed.change()
        assert trio.current_time() == after_s
        assert exchange.open == 0
        assert len(feed.timeline.of(ConnectionRemoved)) == 10


async def test_cancelling_the_feed_closes_every_socket(exchange: Exchange, autojump_clock: MockClock) -> None:
    exchange.script = take_all
    async with running(exchange, *(account(f"a{number}") for number in range(5))) as feed:
        await feed.timeline.reaches("live", 5)
        assert exchange.open == 5
    assert exchange.open == 0


async def test_a_blocked_account_is_stopped_until_it_is_unblocked_and_the_others_stay_connected(
    exchange: Exchange, autojump_clock: MockClock
) -> None:
    exchange.script = take_all
    async with running(exchange, account("alpha"), account("beta")) as feed:
        await trio.sleep(5)
        before = feed.reported
        await feed.block("alpha", "two names")
        reported = [one for one in feed.since(before) if isinstance(one, Phase | ConnectionRemoved)]
        assert [(type(one).__name__, one.listener) for one in reported] == [
            ("ConnectionRemoved", "alpha"),
            ("Phase", "alpha"),
        ]
        assert isinstance(reported[1], Phase)
        assert (reported[1].phase, reported[1].last_error) == ("stopped", "two names")
        assert exchange.open == 1
        await trio.sleep(10_000)
        assert exchange.open == 1
        await feed.block("alpha", None)
        await trio.sleep(5)
        assert exchange.open == 2
        assert not any(isinstance(one, Phase | Lost) and one.listener == "beta" for one in feed.since(before))


async def test_an_account_that_may_be_another_one_is_not_dialled(exchange: Exchange, autojump_clock: MockClock) -> None:
    exchange.script = take_all
    async with running(exchange, account("alpha")) as feed:
        await feed.block("alpha", "")
        await trio.sleep(100)
        assert exchange.open == 0
        await feed.change(account("alpha"), account("beta"))
        await trio.sleep(5)
        assert exchange.open == 1
        await feed.block("alpha", None)
        await trio.sleep(5)
        assert exchange.open == 2


# Internal errors


class BrokenSecret(Secret):
    """Raises an unexpected error at the second login."""

    read = 0

    def reveal(self) -> str:
        self.read += 1
        return super().reveal() if self.read != 2 else str(1 / 0)


@pytest.mark.parametrize("taken_over", [False, True])
async def test_an_internal_error_of_one_account_is_reported_and_retried_and_the_others_stay_connected(
    exchange: Exchange, autojump_clock: MockClock, taken_over: bool
) -> None:
    async def script(peer: Peer) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(take_all, peer)
            if peer.number == 0:
                await trio.sleep(3)
                if taken_over:  # the first socket is live while the second one logs in
                    await peer.send({"event": "notice", "code": "64008", "msg": "The connection will soon be closed"})
                else:
                    await peer.close(1001)

    exchange.script = script
    mad = msgspec.structs.replace(account("alpha"), passphrase=BrokenSecret("secret", Path()))
    async with running(exchange, mad) as feed:
        await feed.timeline.reaches("live")
        await feed.change(mad, account("beta"))
        await feed.timeline.reaches("live", 3)
        (note,) = [one for one in feed.timeline.of(Note) if one.event == "internal-error"]
        assert (note.level, note.account) == ("error", "alpha")
        assert note.detail.startswith("alpha/private: ZeroDivisionError at config/reveal.py:")
        row = next(one for one in feed.timeline.of(Phase) if (one.last_error or "").startswith("internal error ("))
        assert (row.phase, row.listener) == ("backing_off", "alpha")
        assert row.next_attempt_at == row.since_at + 60_000_000
        assert feed.timeline.of(Phase)[-1].since_at >= row.next_attempt_at
        assert {one.listener for one in feed.timeline.of(Lost)} == {"alpha"}
        assert {key for one in feed.timeline.of(Lost) for key in one.channels} == {"orders", "account"}
        assert exchange.open == 2
