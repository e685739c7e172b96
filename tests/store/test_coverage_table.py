"""Coverage moves with the data, and each gap is a row."""

from collections.abc import Callable, Iterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from okxsync.messages import (
    AccountRemoved,
    ConfiguredAccount,
    ConnectionRemoved,
    Frames,
    Lost,
    Pong,
    Subscribed,
    SubscriptionRefused,
    Unverified,
    Verified,
    WantedChannels,
)
from okxsync.mirror.queries import Identity, identities
from okxsync.okx.channels import channel_of, subscription
from okxsync.store.coverage import MARGIN_US, Change, Coverage, Gap, first_rejected
from okxsync.store.coverage_table import LOAD, VERIFIED_OVER_REST, answered, load, pushed, save, snapshots
from okxsync.store.database import CHANNEL_NAME, Connection
from okxsync.store.engines import open_database
from tests.support.desk import NOW, Desk, order, phase

S = 1_000_000


def coverage(desk: Desk) -> dict[str, tuple[int, int, int]]:
    """Channel -> covered since, covered until (both seconds since the start), live."""
    rows = desk.rows("SELECT channel, covered_since, covered_until, live FROM coverage")
    return {channel: ((since - NOW) // S, (until - NOW) // S, live) for channel, since, until, live in rows}


def gaps(desk: Desk) -> list[tuple[str, int, int | None, str]]:
    """Channel, from, to (seconds since the start), reason."""
    rows = desk.rows("SELECT channel, from_at, to_at, reason FROM gaps ORDER BY id")
    return [(channel, (from_at - NOW) // S, to_at and (to_at - NOW) // S, why) for channel, from_at, to_at, why in rows]


def frame_at(desk: Desk, second: int) -> Frames:
    return Frames(1, "alpha", [(NOW + second * S, desk.frame("orders", order()).frames[0][1])])


def push_and_check_at(desk: Desk, second: int) -> tuple[Frames, Pong, Verified]:
    """A push, the answer to a ping and a REST check: all channels are covered up to this second."""
    return frame_at(desk, second), pong(second), Verified("alpha", "orders", NOW + second * S)


def pong(second: int) -> Pong:
    """Return the answer to a ping that covers up to this second."""
    return Pong(1, "alpha", NOW + second * S + MARGIN_US, 900)


def subscribed(second: int, *channels: str, number: int = 1) -> Subscribed:
    return Subscribed(number, "alpha", list(channels), NOW + second * S)


def lost(second: int, *channels: str, number: int = 1) -> Lost:
    return Lost(number, "alpha", list(channels), NOW + second * S, "reset by peer")


def test_a_first_subscription_is_covered_from_its_acknowledgement(desk: Desk) -> None:
    desk.begin("orders")
    assert coverage(desk) == {"orders": (0, 0, 1)}
    assert gaps(desk) == []


def test_an_answered_ping_covers_the_live_channels_of_its_connection(desk: Desk) -> None:
    desk.begin("orders", "deposit-info")
    desk.apply(phase(NOW, number=2), Subscribed(2, "alpha", ["withdrawal-info"], NOW))
    desk.apply(frame_at(desk, 3))
    assert coverage(desk) == {"orders": (0, 0, 1), "deposit-info": (0, 0, 1), "withdrawal-info": (0, 0, 1)}
    desk.apply(pong(5))
    assert coverage(desk) == {"orders": (0, 0, 1), "deposit-info": (0, 5, 1), "withdrawal-info": (0, 0, 1)}
    assert desk.rows("SELECT channel FROM coverage WHERE last_push_at = ?", NOW + 3 * S) == [("orders",)]


@pytest.mark.parametrize("channel", ["orders", "orders-algo", "account", "positions", "balance_and_position"])
def test_neither_a_busy_socket_nor_a_push_covers_what_rest_verifies(desk: Desk, channel: str) -> None:
    desk.begin(channel, "deposit-info")
    desk.apply(pong(60))
    assert coverage(desk) == {channel: (0, 0, 1), "deposit-info": (0, 60, 1)}
    desk.apply(Verified("alpha", channel, NOW + 55 * S))
    assert coverage(desk)[channel] == (0, 55, 1)
    push = Frames(1, "alpha", [(NOW + 70 * S, desk.frame(channel).frames[0][1])], 1, NOW + 65 * S)
    desk.apply(push, pong(70))  # it may have stalled, and work again now
    assert desk.rows("SELECT last_push_at FROM coverage WHERE channel = ?", channel) == [(NOW + 70 * S,)]
    assert coverage(desk)[channel] == (0, 55, 1)
    desk.apply(Verified("alpha", channel, NOW + 50 * S), lost(71, channel))
    desk.apply(Verified("alpha", channel, NOW + 72 * S), subscribed(73, channel))
    assert gaps(desk) == [(channel, 55, 73, "reset by peer")]


def page(channel: str, number: int, last: bool, sent_after: int) -> Frames:
    """Return a page of a snapshot that was sent after this second, with the margin."""
    row: dict[str, object] = {"uTime": "5", "details": [{"ccy": f"C{number}", "eq": "1", "uTime": "5"}]}
    if channel == "positions":
        row = {"posId": str(number), "instId": "X", "instType": "SWAP", "pos": "1", "uTime": "5", "pTime": "5"}
    body = {"arg": {"channel": channel}, "eventType": "snapshot", "curPage": number, "lastPage": last, "data": [row]}
    text = msgspec.json.encode(body).decode()
    return Frames(1, "alpha", [(NOW + 90 * S, text)], 1, NOW + sent_after * S + MARGIN_US)


@pytest.mark.parametrize("channel", ["account", "positions"])
def test_a_complete_snapshot_covers_up_to_the_ping_answered_before_its_first_page(desk: Desk, channel: str) -> None:
    desk.begin("account", "positions")
    desk.apply(page(channel, 1, False, 10))
    assert coverage(desk)[channel] == (0, 0, 1)
    desk.apply(page(channel, 2, True, 20))  # the state was read before the first page was sent
    assert coverage(desk) == {"account": (0, 0, 1), "positions": (0, 0, 1)} | {channel: (0, 10, 1)}
    desk.apply(page(channel, 2, True, 30))  # the first page is missing
    assert coverage(desk)[channel] == (0, 10, 1)
    desk.apply(page(channel, 1, True, 40), lost(91, channel), page(channel, 1, True, 50))
    assert coverage(desk)[channel] == (0, 40, 0)
    assert gaps(desk) == [(channel, 40, None, "reset by peer")]


def test_a_snapshot_before_any_answered_ping_or_with_an_invalid_row_covers_nothing(desk: Desk) -> None:
    desk.begin("positions")
    desk.apply(msgspec.structs.replace(page("positions", 1, True, 40), sent_after=0))
    text = page("positions", 1, True, 40).frames[0][1].replace('"posId":"1"', '"posId":""')
    desk.apply(msgspec.structs.replace(page("positions", 1, True, 40), frames=[(NOW, text)]))
    assert coverage(desk)["positions"] == (0, 0, 1)


def test_a_gap_of_a_stalled_channel_begins_where_it_was_verified_even_after_a_crash(desk: Desk) -> None:
    desk.begin("orders", "deposit-info")
    desk.apply(*push_and_check_at(desk, 3), frame_at(desk, 50), pong(60), desk.start(NOW + 62 * S, 2))
    assert gaps(desk) == [("orders", 3, None, "crash"), ("deposit-info", 60, None, "crash")]


def test_a_later_push_does_not_hide_a_missed_one(desk: Desk) -> None:
    desk.begin("orders")
    desk.apply(Verified("alpha", "orders", NOW + 10 * S), frame_at(desk, 90), pong(90))
    desk.apply(Lost(1, "alpha", ["orders"], NOW + 95 * S, "a push was missed"), subscribed(97, "orders"))
    assert gaps(desk) == [("orders", 10, 97, "a push was missed")]


def test_a_loss_opens_a_gap_where_coverage_ended_and_the_next_subscription_closes_it(desk: Desk) -> None:
    desk.begin("orders", "deposit-info")
    desk.apply(*push_and_check_at(desk, 3), lost(7, "orders", "deposit-info"))
    assert gaps(desk) == [("orders", 3, None, "reset by peer"), ("deposit-info", 3, None, "reset by peer")]
    assert coverage(desk)["orders"] == (0, 3, 0)
    desk.apply(subscribed(9, "orders"))
    assert gaps(desk)[0] == ("orders", 3, 9, "reset by peer")
    assert coverage(desk) == {"orders": (0, 9, 1), "deposit-info": (0, 3, 0)}


def test_one_batch_gives_the_same_gaps_as_many(desk: Desk) -> None:
    desk.begin("orders")
    desk.apply(
        *push_and_check_at(desk, 3),
        lost(7, "orders"),
        subscribed(9, "orders"),
        *push_and_check_at(desk, 10),
        lost(12, "orders"),
    )
    assert gaps(desk) == [("orders", 3, 9, "reset by peer"), ("orders", 10, None, "reset by peer")]


def test_frames_after_a_loss_cover_nothing(desk: Desk) -> None:
    desk.begin("orders", "deposit-info")
    desk.apply(lost(1, "orders"), *push_and_check_at(desk, 5))
    assert coverage(desk) == {"orders": (0, 0, 0), "deposit-info": (0, 5, 1)}


def test_a_crash_leaves_a_gap_from_the_last_transaction_to_the_next_subscription(
    make_desk: Callable[[], Desk],
) -> None:
    desk = make_desk()
    desk.begin("orders")
    desk.apply(*push_and_check_at(desk, 3))
    desk.database.close()  # no stop was reported
    desk = make_desk()
    desk.apply(desk.start(NOW + 20 * S, 2))
    assert gaps(desk) == [("orders", 3, None, "crash")]
    desk.apply(subscribed(22, "orders"))
    assert gaps(desk) == [("orders", 3, 22, "crash")]
    desk.database.close()


def test_a_stop_leaves_a_gap_too(desk: Desk) -> None:
    desk.begin("orders")
    desk.apply(*push_and_check_at(desk, 3), desk.heartbeat(NOW + 4 * S, NOW + 4 * S))
    assert gaps(desk) == [("orders", 3, None, "stopped")]
    assert desk.rows("SELECT phase FROM connections") == [("stopped",)]
    desk.apply(desk.start(NOW + 9 * S, 2), subscribed(10, "orders"))
    assert gaps(desk) == [("orders", 3, 10, "stopped")]


def test_a_removed_channel_has_no_gap_until_it_is_subscribed_again(desk: Desk) -> None:
    desk.begin("orders")
    desk.apply(*push_and_check_at(desk, 3), ConnectionRemoved(1, "alpha", NOW + 4 * S))
    assert gaps(desk) == []
    desk.apply(phase(NOW), subscribed(50, "orders"))
    assert gaps(desk) == [("orders", 3, 50, "not subscribed")]


def test_a_second_connection_takes_a_channel_over_and_a_gap_spans_what_the_first_one_did_not_prove(desk: Desk) -> None:
    desk.begin("orders")
    desk.apply(phase(NOW, number=2), subscribed(3, "orders", number=2), lost(5, "orders", number=1))
    assert gaps(desk) == [("orders", 0, 3, "subscribed anew")]
    assert coverage(desk) == {"orders": (0, 3, 1)}


def test_two_losses_in_a_row_are_one_gap(desk: Desk) -> None:
    desk.begin("orders")
    desk.apply(lost(3, "orders"), lost(4, "orders"))
    assert len(gaps(desk)) == 1


def test_a_local_clock_that_steps_back_makes_no_negative_gap(desk: Desk) -> None:
    desk.begin("orders")
    desk.apply(Frames(1, "alpha", [(NOW + S // 2, "{}")]), lost(0, "orders"), subscribed(0, "orders"))
    assert gaps(desk) == [("orders", 0, 0, "reset by peer")]


def test_channels_of_one_name_are_distinguished_by_their_arguments(desk: Desk) -> None:
    swap, spot = "mark-price:instId=BTC-USDT-SWAP", "mark-price:instId=BTC-USDT"
    desk.begin(swap, spot)
    desk.push("mark-price", {"instId": "BTC-USDT", "markPx": "1", "ts": "1"}, arg={"instId": "BTC-USDT"})
    assert desk.rows("SELECT channel FROM coverage WHERE last_push_at IS NOT NULL") == [(spot,)]


def test_the_register_follows_a_connection(desk: Desk) -> None:
    desk.begin("orders")
    desk.apply(*push_and_check_at(desk, 1), Pong(1, "alpha", NOW + 2 * S, 900), phase(NOW + 5 * S, "backing_off"))
    assert desk.rows("SELECT phase, since_at, messages, last_rtt_us, pid FROM connections") == [
        ("backing_off", NOW + 5 * S, 1, 900, 1)
    ]


def test_a_new_run_deletes_the_connections_of_the_previous_one(desk: Desk) -> None:
    desk.begin("orders")
    desk.apply(desk.start(NOW + S, 2))
    assert desk.rows("SELECT count(*) FROM connections") == [(0,)]


def test_each_run_is_a_row_and_processes_shows_the_last_run_of_each_pid(desk: Desk) -> None:
    desk.begin("orders")
    desk.apply(desk.heartbeat(NOW + 5 * S, NOW + 5 * S), desk.start(NOW + 9 * S, 2), desk.start(NOW + 20 * S))
    assert desk.rows("SELECT id, pid, (heartbeat_at - ?) / ?, exit FROM runs", NOW, S) == [
        (1, 1, 5, 0), (2, 2, 9, None), (3, 1, 20, None)
    ]  # fmt: skip
    columns = "pid, (started_at - ?1) / ?2, (heartbeat_at - ?1) / ?2, version, stopped_at, exit"
    assert desk.rows(f"SELECT {columns} FROM processes ORDER BY pid", NOW, S) == [
        (1, 20, 20, "0.1", None, None), (2, 9, 9, "0.1", None, None)
    ]  # fmt: skip
    desk.apply(phase(NOW + 20 * S))
    assert desk.rows("SELECT run_id, pid FROM connections") == [(3, 1)]


def test_an_account_can_be_removed_and_added_again(desk: Desk) -> None:
    config = '{"uid":"7001","mainUid":"7000","acctLv":"2","posMode":"net_mode","perm":"read_only","label":"x"}'
    columns = "SELECT uid, main_uid, acct_lv, pos_mode, perm, removed_at, first_seen_at FROM accounts"
    desk.apply(
        ConfiguredAccount("alpha", "eea", False, NOW, None), ConfiguredAccount("alpha", "eea", False, NOW + 1, config)
    )
    assert desk.rows(columns) == [("7001", "7000", "2", "net_mode", "read_only", None, NOW)]
    desk.apply(AccountRemoved("alpha", NOW + 2))
    assert desk.rows("SELECT removed_at FROM accounts") == [(NOW + 2,)]
    desk.apply(ConfiguredAccount("alpha", "eea", False, NOW + 3, None))
    assert desk.rows(columns) == [("7001", "7000", "2", "net_mode", "read_only", None, NOW)]


def test_a_name_identifies_the_account_whose_rows_are_stored(desk: Desk) -> None:
    desk.apply(ConfiguredAccount("alpha", "eea", True, NOW, None), ConfiguredAccount("alpha", "eea", False, NOW, None))
    assert identities(desk.path) == {}
    desk.apply(ConfiguredAccount("alpha", "eea", False, NOW, '{"uid":"7001"}'), AccountRemoved("alpha", NOW))
    desk.apply(ConfiguredAccount("alpha", "eea", True, NOW, None))  # configured differently, and not identified yet
    assert identities(desk.path) == {"alpha": Identity("7001", False)}


@pytest.mark.parametrize("how", ["crash", "lost"])
def test_a_clock_that_was_set_back_leaves_no_empty_gap(desk: Desk, how: str) -> None:
    """On the new clock the end of coverage is unknown, so everything since the first coverage is a gap."""
    hour = 3_600_000_000
    desk.begin("orders")
    desk.at += hour
    desk.push("orders", order())
    if how == "lost":
        desk.apply(Lost(1, "alpha", ["orders"], desk.at, "closed"))
    desk.at -= hour // 2
    desk.begin("orders", pid=2)
    ((from_at, to_at),) = desk.rows("SELECT from_at, to_at FROM gaps")
    assert from_at <= NOW
    assert to_at == desk.at
    assert desk.rows("SELECT covered_until FROM coverage") == [(desk.at,)]


def test_a_clock_set_back_beyond_the_beginning_leaves_a_gap_too(desk: Desk) -> None:
    desk.begin("orders")
    desk.at -= 3_600_000_000
    desk.begin("orders", pid=2)
    ((from_at, to_at),) = desk.rows("SELECT from_at, to_at FROM gaps")
    assert from_at < to_at == desk.at


def test_unavailable_verification_is_journalled_once_per_account_and_when_it_is_restored(desk: Desk) -> None:
    desk.begin("orders", "orders-algo")
    for second in (100, 200, 300):
        for channel in ("orders", "orders-algo"):
            desk.apply(Unverified("alpha", channel, NOW + second * S, "no answer"))
    journal = "SELECT level, account, event, detail FROM journal"
    warned = ("warning", "alpha", "verification-unavailable", "orders: no answer")
    assert desk.rows(journal) == [warned]
    desk.apply(Verified("alpha", "orders", NOW + 400 * S), Verified("alpha", "orders-algo", NOW + 400 * S))
    assert desk.rows(journal) == [warned, ("info", "alpha", "verification-restored", "orders-algo")]
    desk.apply(Verified("alpha", "orders", NOW + 460 * S))
    assert len(desk.rows(journal)) == 2


# Channels with arguments


WITH_ARGUMENTS = [
    "orders:instType=SWAP",
    "orders-algo:instId=BTC-USDT-SWAP",
    "account:ccy=BTC",
    "positions:instFamily=BTC-USD",
]


@pytest.mark.parametrize("channel", WITH_ARGUMENTS)
def test_a_channel_with_arguments_is_not_covered_by_a_busy_socket_either(desk: Desk, channel: str) -> None:
    desk.begin(channel, "deposit-info", "deposit-info:ccy=BTC")
    desk.apply(pong(60))
    assert coverage(desk) == {channel: (0, 0, 1), "deposit-info": (0, 60, 1), "deposit-info:ccy=BTC": (0, 60, 1)}
    desk.apply(Verified("alpha", channel, NOW + 55 * S))
    assert coverage(desk)[channel] == (0, 55, 1)


@pytest.mark.parametrize("extra", ['{"updateInterval":"0"}', '{"updateInterval":"0","novelty":"1"}'])
def test_pushes_without_the_extra_params_belong_to_their_channel(desk: Desk, extra: str) -> None:
    key = subscription({"channel": "account", "extraParams": extra}).key
    desk.begin(key)
    desk.push("account", {"uTime": "5", "details": []})
    assert desk.rows("SELECT channel FROM coverage WHERE last_push_at IS NOT NULL") == [(key,)]


def test_sql_and_python_agree_on_the_name_of_a_channel(desk: Desk) -> None:
    for key in (*WITH_ARGUMENTS, "orders", 'account:extraParams={"updateInterval":"0"}'):
        ((name,),) = desk.rows(f"SELECT {CHANNEL_NAME} FROM (SELECT ? AS channel)", key)
        assert name == channel_of(key)


# Rejected channels


def rejected(second: int, *channels: str, initial_us: int = 0, number: int = 1) -> SubscriptionRefused:
    return SubscriptionRefused(number, "alpha", list(channels), NOW + second * S, "subscribe: 60018", initial_us)


def test_a_rejected_channel_that_was_never_live_is_a_gap_with_its_reason(desk: Desk) -> None:
    desk.begin("account")
    desk.apply(rejected(1, "orders", initial_us=100 * S))
    assert coverage(desk)["orders"] == (1, 1, 0)
    assert gaps(desk) == [("orders", -99, None, "subscribe: 60018")]
    desk.apply(rejected(2, "orders", initial_us=100 * S), subscribed(9, "orders"))
    assert gaps(desk) == [("orders", -99, 9, "subscribe: 60018")]
    assert coverage(desk)["orders"] == (1, 9, 1)


def test_a_channel_that_is_rejected_after_a_loss_has_one_gap_with_a_note(desk: Desk) -> None:
    desk.begin("orders")
    desk.apply(lost(3, "orders"), rejected(5, "orders", initial_us=100 * S))
    assert gaps(desk) == [("orders", 0, None, "reset by peer")]
    assert desk.rows("SELECT note FROM gaps") == [("subscribe: 60018",)]


def test_a_channel_that_is_configured_again_and_rejected_is_a_gap(desk: Desk) -> None:
    desk.begin("orders")
    desk.apply(*push_and_check_at(desk, 3), ConnectionRemoved(1, "alpha", NOW + 4 * S), rejected(9, "orders"))
    assert gaps(desk) == [("orders", 3, None, "subscribe: 60018")]


def test_a_rejected_successor_does_not_end_the_older_session(desk: Desk) -> None:
    desk.begin("orders")
    desk.apply(rejected(3, "orders"))
    assert (gaps(desk), coverage(desk)) == ([], {"orders": (0, 0, 1)})
    desk.apply(lost(5, "orders"))
    assert gaps(desk) == [("orders", 0, None, "reset by peer")]


# Channels that are no longer configured


def test_a_gap_of_a_channel_that_is_not_configured_waits_and_says_so(desk: Desk) -> None:
    desk.begin("orders", "account")
    desk.apply(lost(3, "orders", "account"), WantedChannels([("alpha", "account")]))
    assert desk.rows("SELECT channel, wanted FROM coverage ORDER BY channel") == [("account", 1), ("orders", 0)]
    noted = "SELECT channel, to_at, outcome, note FROM gaps ORDER BY channel"
    assert desk.rows(noted) == [("account", None, None, None), ("orders", None, None, "no longer subscribed")]
    desk.apply(WantedChannels([("alpha", "orders"), ("alpha", "account")]), subscribed(9, "orders"))
    assert gaps(desk) == [("orders", 0, 9, "reset by peer"), ("account", 0, None, "reset by peer")]
    assert desk.rows("SELECT min(wanted) FROM coverage") == [(1,)]


# The pure value and its rows


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    """A database for all examples of a property."""
    database = open_database(tmp_path_factory.mktemp("coverage") / "okxsync.db")
    yield database
    database.close()


TIMES = st.integers(1, 100)
VALUES = st.builds(
    Coverage,
    since=TIMES,
    until=TIMES,
    live=st.booleans(),
    connection_id=st.none() | st.integers(1, 3),
    last_push_at=st.none() | TIMES,
)
CHANNELS = ["orders", "orders:instType=SWAP", "account", "deposit-info", "orders-algo", "mark-price:instId=X"]


@given(st.dictionaries(st.sampled_from(CHANNELS), VALUES), st.dictionaries(st.integers(1, 3), TIMES))
def test_one_update_advances_all_channels_as_the_pure_value_does(
    db: Connection, values: dict[str, Coverage], pings: dict[int, int]
) -> None:
    db.execute("DELETE FROM coverage")
    pings = {number: at + MARGIN_US for number, at in pings.items()}
    for channel, value in values.items():
        save(db, ("alpha", channel), Change(value))
    answered(db, pings.items())
    for channel, value in values.items():
        expected = value
        if value.connection_id in pings and channel_of(channel) not in VERIFIED_OVER_REST:
            expected = value.answered(pings[value.connection_id])
        assert load(db, ("alpha", channel)) == expected


@given(VALUES, TIMES)
def test_a_snapshot_is_stored_as_the_pure_value_has_it(db: Connection, value: Coverage, at: int) -> None:
    save(db, ("alpha", "orders"), Change(value))
    snapshots(db, [(("alpha", "orders"), at + MARGIN_US)])
    assert load(db, ("alpha", "orders")) == value.snapshot(at + MARGIN_US)


@given(VALUES, TIMES)
def test_a_push_is_stored_as_the_pure_value_has_it(db: Connection, value: Coverage, at: int) -> None:
    save(db, ("alpha", "orders"), Change(value))
    pushed(db, [(("alpha", "orders"), (at, 7))], now_us=at)
    assert load(db, ("alpha", "orders")) == value.pushed(at)


@given(VALUES, st.none() | st.builds(Gap, TIMES, st.none(), st.text("ab", max_size=3), st.none() | st.just("note")))
def test_what_was_saved_is_loaded(db: Connection, value: Coverage, gap: Gap | None) -> None:
    db.execute("DELETE FROM gaps")
    key = ("alpha", "orders")
    save(db, ("beta", "orders"), first_rejected(1, "of another account", 0))
    save(db, key, Change(msgspec.structs.replace(value, gap=gap), (gap,) if gap else ()))
    found = load(db, key)
    assert found
    assert msgspec.structs.replace(found, gap=None) == value
    assert (found.gap and msgspec.structs.replace(found.gap, id=None)) == gap
    if found.gap:
        ended = msgspec.structs.replace(found.gap, until=200)
        save(db, key, Change(value, (ended,)))
        assert load(db, key) == value
        assert db.execute("SELECT id, to_at FROM gaps WHERE account = 'alpha'").fetchall() == [(ended.id, 200)]


def test_a_channel_is_loaded_by_two_index_searches(db: Connection) -> None:
    """Thousands of channels may be lost in one transaction."""
    plan = db.execute(f"EXPLAIN QUERY PLAN {LOAD} WHERE coverage.account = ? AND coverage.channel = ?", ("a", "b"))
    assert all(step.startswith("SEARCH") for *_, step in plan.fetchall())


def test_an_ended_gap_of_a_clock_that_was_ahead_is_backfilled_at_once(desk: Desk) -> None:
    hour = 3_600_000_000
    desk.at += hour
    desk.apply(Subscribed(1, "alpha", ["orders"], desk.at, initial_us=hour // 2))
    desk.apply(Lost(1, "alpha", ["orders"], desk.at, "closed"))
    desk.at -= hour
    desk.apply(Subscribed(1, "alpha", ["orders"], desk.at))
    ends = desk.rows("SELECT from_at <= to_at, to_at FROM gaps WHERE outcome IS NULL")
    assert ends == [(1, desk.at), (1, desk.at)]
