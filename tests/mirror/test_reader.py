"""Typed answers: exact amounts, aware times, what is not known is None, and each with its freshness."""

import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

import okxsync
from okxsync import Mirror, StoreError, open_mirror
from okxsync.messages import (
    AccountRemoved,
    ConfiguredAccount,
    GapResult,
    Lost,
    Rows,
    Subscribed,
    Unverified,
    Verified,
    WantedChannels,
)
from okxsync.mirror.kinds import INSTRUMENTS, KINDS, MARK_PRICES
from okxsync.store.sqlite.lock import hold
from tests.support.desk import MS, NOW, Desk, order

S = 1_000_000
AT = datetime(2027, 1, 15, 8, tzinfo=UTC)  # NOW


@pytest.fixture
def desk(desk: Desk) -> Desk:
    desk.apply(ConfiguredAccount("alpha", "sandbox", True, NOW, None))
    desk.begin("account", "orders", pid=os.getpid())
    return desk


@pytest.fixture
def mirror(desk: Desk) -> Iterator[Mirror]:
    with Mirror(desk.path, now_us=lambda: NOW + S) as opened:
        yield opened


def test_amounts_are_exact_and_what_is_not_known_is_none(desk: Desk, mirror: Mirror) -> None:
    desk.push("orders", order(1, px="0.10", sz="", avgPx="many", reduceOnly="true"))
    (found,) = mirror.orders()
    assert (str(found.px), found.sz, found.avg_px, found.reduce_only) == ("0.10", None, None, True)
    assert isinstance(found.px, Decimal)
    assert found.u_time == AT
    assert found.c_time is not None
    assert found.c_time.tzinfo is UTC
    assert found.raw is not None
    assert "many" in found.raw
    assert "px=0.10" in repr(found)
    assert "avg_px" not in repr(found)
    with pytest.raises(AttributeError):
        found.px = Decimal(1)  # type: ignore[misc]


@pytest.mark.parametrize("kind", [*KINDS, MARK_PRICES, INSTRUMENTS], ids=lambda kind: kind.table)
def test_every_field_of_a_row_is_a_column_of_its_table(desk: Desk, kind: object) -> None:
    columns = ", ".join(f'"{name}"' for name in kind.columns)  # type: ignore[attr-defined]
    desk.rows(f"SELECT {columns} FROM {kind.table}")  # type: ignore[attr-defined]


def test_open_orders_and_orders_since(desk: Desk, mirror: Mirror) -> None:
    desk.push("orders", order(1), order(2, state="filled", uTime=str(MS + 5)), order(3, uTime=str(MS + 9)))
    assert [one.ord_id for one in mirror.orders()] == ["1", "2", "3"]
    assert [one.ord_id for one in mirror.orders(open=True)] == ["1", "3"]
    assert [one.ord_id for one in mirror.orders(open=False)] == ["2"]
    assert [one.ord_id for one in mirror.orders(since=AT + timedelta(milliseconds=5))] == ["2", "3"]
    with pytest.raises(ValueError, match="time zone"):
        mirror.orders(since=datetime(2027, 1, 1))


def test_positions_are_open_ones_unless_asked_otherwise(desk: Desk, mirror: Mirror) -> None:
    for number, pos in enumerate(("1", "0", "", "-0.5")):
        desk.push("positions", {"posId": str(number), "pos": pos, "uTime": str(MS), "pTime": str(MS)})
    assert [one.pos_id for one in mirror.positions()] == ["0", "2", "3"]  # an unknown size is not zero
    assert [one.pos_id for one in mirror.positions(open=False)] == ["1"]
    assert len(mirror.positions(open=None)) == 4


def test_balances_equity_fills_and_bills(desk: Desk, mirror: Mirror) -> None:
    details = [{"ccy": "USDT", "cashBal": "12.30", "eq": "13", "uTime": str(MS)}]
    desk.push("account", {"uTime": str(MS), "totalEq": "1e3", "details": details})
    desk.push("orders", order(accFillSz="2", fillSz="2", fillPx="7", tradeId="5", fillTime=str(MS + 1), state="filled"))
    desk.apply(Rows("alpha", "bills", '[{"billId":"1","ccy":"USDT","balChg":"-0.1","ts":"1800000000000"}]', NOW))
    assert [(one.ccy, one.cash_bal, one.avail_bal) for one in mirror.balances()] == [("USDT", Decimal("12.30"), None)]
    assert [one.total_eq for one in mirror.equity()] == [Decimal(1000)]
    (fill,) = mirror.fills()
    assert (fill.fill_sz, fill.fill_px, fill.trade_id_made, fill.raw) == (Decimal(2), Decimal(7), False, None)
    assert fill.fill_time == AT + timedelta(milliseconds=1)
    assert [(one.bal_chg, one.ts) for one in mirror.bills()] == [(Decimal("-0.1"), AT)]


def test_an_answer_is_live_while_a_daemon_receives_its_channels(desk: Desk, mirror: Mirror) -> None:
    desk.push("orders", order())
    desk.apply(Verified("alpha", "orders", NOW + 1000))
    orders = mirror.orders()
    assert (orders.covered_until, orders.gaps) == (AT + timedelta(milliseconds=1), ())
    assert orders.freshness.complete
    assert repr(orders).startswith("1 row (live, covered until 2027-01-15T08:00:00.001Z)\nOrder(account='alpha'")
    assert pickle.loads(pickle.dumps(orders)).freshness == orders.freshness


def test_a_lost_channel_is_an_open_gap_of_what_it_feeds(desk: Desk, mirror: Mirror) -> None:
    desk.apply(Lost(1, "alpha", ["orders"], NOW, "reset"))
    for answer in (mirror.orders(), mirror.fills()):
        assert not answer.freshness.live
        assert [(gap.channel, gap.reason, gap.from_at, gap.to_at) for gap in answer.gaps] == [
            ("orders", "reset", AT, None)
        ]
        assert "STALE, covered until 2027-01-15T08:00:00.000Z, 1 open gap" in repr(answer)
    assert mirror.equity().freshness.complete
    assert mirror.gaps() == mirror.orders().gaps
    desk.apply(Subscribed(1, "alpha", ["orders"], NOW + S))
    assert mirror.orders().freshness.live
    assert not mirror.orders().freshness.complete  # the gap has an end, and is not backfilled yet
    (gap,) = mirror.gaps()
    assert gap.id is not None
    desk.apply(GapResult(gap.id, NOW + S, "filled", 3, None))
    assert mirror.gaps() == ()
    assert [(one.outcome, one.rows) for one in mirror.gaps(open=False)] == [("filled", 3)]
    assert len(mirror.gaps(open=None)) == 1


def test_without_a_daemon_nothing_is_live_and_the_time_since_is_a_gap(desk: Desk) -> None:
    desk.push("orders", order())
    with Mirror(desk.path, now_us=lambda: NOW + 60 * S) as mirror:
        orders = mirror.orders()
        assert not orders.freshness.live
        assert [(gap.id, gap.reason) for gap in orders.gaps] == [(None, "no daemon is running")]
        assert mirror.status().exit_code == 3


def test_a_channel_that_rest_could_not_verify_is_an_open_gap(desk: Desk, mirror: Mirror) -> None:
    desk.apply(Unverified("alpha", "orders", NOW + 5, "HTTP 500"))
    assert [(gap.id, gap.reason) for gap in mirror.orders().gaps] == [(None, "HTTP 500")]


def test_what_no_channel_covers_is_not_shown_as_fresh(desk: Desk, mirror: Mirror) -> None:
    positions = mirror.positions()
    assert (len(positions), positions.covered_until, positions.freshness.live) == (0, None, False)
    assert repr(positions) == "0 rows (NOT COVERED: alpha)"
    desk.apply(ConfiguredAccount("beta", "sandbox", True, NOW, None))
    assert mirror.orders().freshness.uncovered == ("beta",)
    assert mirror.orders().covered_until is None
    assert mirror.orders(account="alpha").covered_until == AT


def test_the_worst_channel_counts(desk: Desk, mirror: Mirror) -> None:
    desk.apply(Subscribed(1, "alpha", ["balance_and_position"], NOW))
    desk.apply(Lost(1, "alpha", ["balance_and_position"], NOW, "reset"))
    assert not mirror.balances().freshness.live
    desk.apply(WantedChannels([("alpha", "account"), ("alpha", "orders")]))
    assert mirror.balances().freshness.complete


def test_bills_are_covered_up_to_the_last_closed_gap(desk: Desk, mirror: Mirror) -> None:
    assert mirror.bills().covered_until is None
    desk.apply(Lost(1, "alpha", ["account"], NOW, "reset"), Subscribed(1, "alpha", ["account"], NOW + S))
    (gap,) = mirror.gaps()
    assert gap.id is not None
    desk.apply(GapResult(gap.id, NOW + S, "filled", 0, None))
    assert mirror.bills().covered_until == AT + timedelta(seconds=1)


def test_an_account_that_is_no_longer_mirrored_is_read_only_by_name(desk: Desk, mirror: Mirror) -> None:
    desk.push("orders", order())
    desk.apply(WantedChannels([]), AccountRemoved("alpha", NOW))
    assert len(mirror.orders()) == 0
    assert len(mirror.orders(account="alpha")) == 1
    assert not mirror.orders(account="alpha").freshness.live
    (account,) = mirror.accounts()
    assert (account.name, account.removed_at, account.freshness.live) == ("alpha", AT, False)


def test_an_unknown_account_is_an_error(mirror: Mirror) -> None:
    with pytest.raises(LookupError, match='no account "alhpa"; did you mean "alpha"'):
        mirror.orders(account="alhpa")


def test_a_reader_stays_open_beside_a_writer(desk: Desk, mirror: Mirror) -> None:
    for number in range(1, 4):
        desk.push("orders", order(number))
        assert len(mirror.orders()) == number
    desk.apply(desk.heartbeat(NOW, stopped_at=NOW))
    assert not mirror.orders().freshness.live


def test_what_cannot_be_opened_says_why(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no such database"):
        open_mirror(tmp_path / "none.db")
    with pytest.raises(StoreError, match=r"^postgresql:///okx\?host=/none: cannot be opened \("):
        open_mirror("postgresql:///okx?host=/none")


def test_the_public_names_are_there_and_cost_nothing_until_used() -> None:
    for name in okxsync.__all__:
        assert getattr(okxsync, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        okxsync.nothing  # noqa: B018
    code = "import sys, okxsync; print([name for name in sys.modules if name.startswith('okxsync.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_deposits_withdrawals_and_closed_positions(desk: Desk, mirror: Mirror) -> None:
    deposit = {"depId": "1", "ccy": "USDT", "amt": "0.10", "state": "2", "ts": str(MS)}
    desk.push("deposit-info", deposit, deposit | {"depId": "2", "ts": str(MS + 5)})
    desk.push("withdrawal-info", {"wdId": "3", "ccy": "BTC", "amt": "1", "fee": "0.0001", "state": "0", "ts": str(MS)})
    closed = '[{"posId":"7","cTime":"1799999999000","uTime":"1800000000000","realizedPnl":"-0.5","type":"2"}]'
    desk.apply(Rows("alpha", "positions-history", closed, NOW))
    assert [one.dep_id for one in mirror.deposits()] == ["1", "2"]
    (later,) = mirror.deposits(account="alpha", since=AT + timedelta(milliseconds=5))
    assert (later.amt, later.state, later.ts) == (Decimal("0.10"), "2", AT + timedelta(milliseconds=5))
    assert [(one.wd_id, one.fee) for one in mirror.withdrawals()] == [("3", Decimal("0.0001"))]
    (position,) = mirror.closed_positions()
    assert (position.pos_id, position.realized_pnl, position.c_time) == (
        "7",
        Decimal("-0.5"),
        AT - timedelta(seconds=1),
    )
    assert mirror.deposits().freshness.uncovered == ("alpha",)  # the channel is not subscribed
    changes = mirror.changes(0)
    assert (len(changes.deposits), len(changes.withdrawals), len(changes.closed_positions)) == (2, 1, 1)


def test_mark_prices_and_instruments_belong_to_the_market(desk: Desk, mirror: Mirror) -> None:
    desk.apply(Subscribed(2, "market", ["mark-price:instId=BTC-USDT-SWAP"], NOW))
    price = {"instId": "BTC-USDT-SWAP", "instType": "SWAP", "markPx": "1.50", "ts": str(MS)}
    desk.push("mark-price", price, price | {"instId": "ETH-USDT-SWAP", "markPx": "0.1"})
    desk.push("instruments", {"instId": "BTC-USDT-SWAP", "instType": "SWAP", "ctVal": "0.01", "expTime": ""})
    assert [(one.inst_id, one.mark_px) for one in mirror.mark_prices()] == [
        ("BTC-USDT-SWAP", Decimal("1.50")),
        ("ETH-USDT-SWAP", Decimal("0.1")),
    ]
    (one,) = prices = mirror.mark_prices(inst_id="BTC-USDT-SWAP")
    assert (one.ts, prices.freshness.complete, prices.covered_until) == (AT, True, AT)
    (instrument,) = mirror.instruments(inst_type="SWAP")
    assert (instrument.ct_val, instrument.exp_time) == (Decimal("0.01"), None)
    assert mirror.instruments(inst_id="none") == ()
    assert mirror.instruments().freshness.covered_until is None  # the channel is not subscribed


def test_a_snapshot_is_one_moment(desk: Desk, mirror: Mirror) -> None:
    desk.push("orders", order(1))
    with mirror.snapshot() as at:
        assert at == AT + timedelta(seconds=1)
        before = mirror.orders()
        desk.push("orders", order(2))
        assert mirror.orders() == before
    assert len(mirror.orders()) == 2


def test_while_the_daemon_cannot_write_nothing_is_live(desk: Desk) -> None:
    with hold(desk.path) as lock:
        lock.report("cannot be written: database or disk is full")
        with Mirror(desk.path, now_us=lambda: NOW + 60 * S) as mirror:
            orders = mirror.orders()
            assert not orders.freshness.live
            assert [gap.reason for gap in orders.gaps] == ["the daemon cannot write"]
