"""The search of the database costs little, however long the history is."""

import threading
import time
from contextlib import closing

import pytest

from okxsync.messages import ConfiguredAccount, GapResult, Lost, Subscribed
from okxsync.reconcile.held import MAX_UNDOCUMENTED, Held, LiveChannel, Reads, last_changes, live_channels
from okxsync.reconcile.rest_only import TRIGGERS
from okxsync.store.engines import Reader
from okxsync.store.tables import ALGO_UNDOCUMENTED, UNDOCUMENTED
from tests.support.desk import NOW, Desk, order

CHANNELS = ("account", "positions", "balance_and_position", "orders", "orders-algo")
ACCOUNTS = 100
S = 1_000_000


@pytest.fixture
def old(desk: Desk) -> Desk:
    """A hundred accounts, all live, with a hundred thousand gaps behind them."""
    names = [f"a{number}" for number in range(ACCOUNTS)]
    desk.apply(*(Subscribed(number, name, [*CHANNELS], NOW) for number, name in enumerate(names, 1)))
    desk.db.execute("BEGIN")
    desk.db.executemany(
        "INSERT INTO gaps (account, channel, from_at, to_at, reason, outcome, rows, attempts)"
        " VALUES (?, ?, ?, ?, 'reset', 'filled', 0, 1)",
        ((names[n % ACCOUNTS], CHANNELS[n // ACCOUNTS % 5], NOW + n, NOW + n + 1) for n in range(100_000)),
    )
    desk.db.execute("COMMIT")
    return desk


def test_live_channels_are_complete_since_their_last_gap(desk: Desk, reader: Reader) -> None:
    desk.begin("orders", "account", "positions")
    desk.apply(Lost(1, "alpha", ["orders", "account"], NOW + S, "reset"))
    desk.apply(Subscribed(1, "alpha", ["orders", "account"], NOW + 5 * S))
    desk.apply(GapResult(1, NOW + 6 * S, "filled", 0, None), Subscribed(2, "beta", ["orders"], NOW + 7 * S))
    found = sorted(live_channels(reader, CHANNELS), key=lambda one: one.key)
    assert found == [
        LiveChannel("alpha", "orders", NOW + 5 * S, NOW + 5 * S, 0, 0, NOW + 6 * S),  # "account" has a gap that is open
        LiveChannel("alpha", "positions", NOW, NOW, 0, 0),
        LiveChannel("beta", "orders", NOW + 7 * S, NOW + 7 * S, 0, 0),
    ]
    assert live_channels(reader, ["orders"], "beta") == [found[2]]


def test_the_search_for_live_channels_does_not_take_longer_with_every_closed_gap(old: Desk, reader: Reader) -> None:
    began = time.process_time()
    assert len(live_channels(reader, CHANNELS)) == 500
    assert time.process_time() - began < 0.15  # it was 0.6 s


def test_a_subscription_does_not_take_longer_with_every_closed_gap(old: Desk) -> None:
    for number in range(1, ACCOUNTS + 1):
        old.apply(Lost(number, f"a{number - 1}", [*CHANNELS], NOW + S, "reset"))
    began = time.process_time()
    old.apply(*(Subscribed(n, f"a{n - 1}", [*CHANNELS], NOW + 2 * S) for n in range(1, ACCOUNTS + 1)))
    assert time.process_time() - began < 0.5  # it was 2 s
    assert old.rows("SELECT count(*) FROM gaps WHERE outcome IS NULL AND to_at = ?", NOW + 2 * S) == [(500,)]


def test_a_gap_that_was_closed_before_its_end_was_known_is_not_opened_again(desk: Desk) -> None:
    desk.begin("orders")
    desk.apply(Lost(1, "alpha", ["orders"], NOW + S, "reset"), GapResult(1, NOW, "partial", 0, "why"))
    desk.apply(Subscribed(1, "alpha", ["orders"], NOW + 3 * S))
    assert desk.rows("SELECT to_at, outcome FROM gaps") == [(None, "partial"), (NOW + 3 * S, None)]


def test_the_last_change_is_one_look_up_per_account(desk: Desk, reader: Reader) -> None:
    desk.begin("positions", "account", "balance_and_position")
    desk.apply(*(ConfiguredAccount(name, "global", False, NOW, None) for name in ("alpha", "beta")))
    desk.push("positions", {"posId": "1", "pos": "0", "uTime": "5"}, {"posId": "2", "pos": "1", "uTime": "7"})
    desk.push("account", {"uTime": "9", "details": [{"ccy": "BTC", "uTime": "8"}, {"ccy": "ETH", "uTime": "6"}]})
    desk.push("balance_and_position", {"pTime": "9", "eventType": "funding_fee", "balData": [], "posData": []})
    assert {subject: last_changes(reader, trigger.changes) for subject, trigger in TRIGGERS.items()} == {
        "bills": {"alpha": 9},
        "closed positions": {"alpha": 7},
        "fills": {},
    }
    for trigger in TRIGGERS.values():
        plan = [step for *_, step in desk.rows(f"EXPLAIN QUERY PLAN {trigger.changes}")]
        scanned = [step for step in plan if step.startswith(("SCAN positions", "SCAN balances"))]
        assert scanned == []
        assert [step for step in plan if step.startswith("SEARCH") and "(account=?)" not in step] == []


def test_orders_were_mirrored_before_a_window_once_the_initial_gap_is_closed(desk: Desk, reader: Reader) -> None:
    held = Held(reader, "alpha")
    began_ms = NOW // 1000 - 86_400_000
    assert not held.has_orders_before(NOW // 1000)
    desk.apply(Subscribed(1, "alpha", ["orders"], NOW, 86_400_000_000))
    assert not held.has_orders_before(NOW // 1000)  # its initial backfill is still pending
    assert not held.has_orders_before(began_ms)
    desk.apply(GapResult(1, NOW + S, "partial", 0, "a note"))
    assert held.has_orders_before(began_ms)
    assert not held.has_orders_before(began_ms - 1)
    desk.apply(Lost(1, "alpha", ["orders"], NOW + S, "reset"))
    assert held.has_orders_before(NOW // 1000)
    assert not held.has_orders_before(NOW // 1000 + 2000)  # behind a gap that is open


def test_an_account_without_an_initial_backfill_is_mirrored_since_its_subscription(desk: Desk, reader: Reader) -> None:
    desk.apply(Subscribed(1, "alpha", ["orders"], NOW + 1))
    assert Held(reader, "alpha").has_orders_before(NOW // 1000)
    assert not Held(reader, "alpha").has_orders_before(NOW // 1000 - 1)


def test_orders_that_are_not_stored_are_found_among_many(desk: Desk, reader: Reader) -> None:
    desk.push("orders", *(order(number) for number in range(1200)))
    ids = {str(number) for number in range(1205)}
    assert Held(reader, "alpha").orders_missing(ids) == {"1200", "1201", "1202", "1203", "1204"}


def test_a_state_that_many_orders_have_is_an_end(desk: Desk, reader: Reader) -> None:
    desk.push("orders", *(order(number, state="expired") for number in range(MAX_UNDOCUMENTED + 5)))
    assert len(Held(reader, "alpha").open_orders(NOW // 1000)) == MAX_UNDOCUMENTED
    plan = desk.rows(f"EXPLAIN QUERY PLAN SELECT ord_id FROM orders WHERE {UNDOCUMENTED} AND account = 'alpha'")
    assert "orders_undocumented" in str(plan)
    plan = desk.rows(f"EXPLAIN QUERY PLAN SELECT algo_id FROM algo_orders WHERE {ALGO_UNDOCUMENTED} AND account = 'a'")
    assert "algo_orders_undocumented" in str(plan)


def test_the_types_of_algo_orders_are_found_by_an_index(desk: Desk, reader: Reader) -> None:
    kinds = ["trigger", "oco", "smart_iceberg"]
    rows = [{"algoId": str(n), "ordType": kinds[n % 3], "state": "canceled"} for n in range(9)]
    desk.push("orders-algo", *rows, {"algoId": "10"})
    assert Held(reader, "alpha").algo_types() == {*kinds}
    plan = desk.rows("EXPLAIN QUERY PLAN SELECT min(ord_type) FROM algo_orders WHERE ord_type > 'a'")
    assert "algo_orders_type" in str(plan)


async def test_the_event_loop_does_not_read(desk: Desk) -> None:
    with closing(Reads(desk.path)) as reads:
        assert await reads.in_thread(lambda reader: threading.get_ident()) != threading.get_ident()
