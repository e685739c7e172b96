"""A live channel is verified by what only REST has reported, once everything is stored that was pushed before."""

import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec
import pytest
import trio
from trio.testing import MockClock

from okxsync.messages import GapResult, Lost, OrdersNotFound, Subscribed, Unverified, Verified
from okxsync.mirror.ledger import check_ledger
from okxsync.okx.compare import ASIDE_MS
from okxsync.reconcile.timings import TIMINGS
from okxsync.store.engines import open_reader
from tests.support.desk import MS, Desk, order
from tests.support.live_accounts import Exchange, LiveAccounts, virtual_time
from tests.support.replies import reply

Rows = dict[str, list[dict[str, Any]]]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path / "okxsync.db")
    yield desk
    desk.database.close()


class Accounts:
    """Accounts that are live, and what REST reports of them, by path."""

    def __init__(self, live: LiveAccounts, rest: Rows) -> None:
        self.live = live
        self.rest = rest

    def push(self, channel: str, *rows: object, account: str = "a0") -> None:
        number = self.live.names.index(account) + 1
        frame = self.live.desk.frame(channel, *rows)
        self.live.send.send_nowait(msgspec.structs.replace(frame, connection_id=number, listener=account))

    def report(self, path: str, *rows: dict[str, Any]) -> None:
        self.rest[path] = list(rows)

    async def stalled(self, within_s: float = 150.0) -> str | None:
        """Return why a channel was found to be stalled, or None if none was."""
        with trio.move_on_after(within_s):
            await until(lambda: bool(self.live.stale))
        return self.live.stale[0][2] if self.live.stale else None


Start = Callable[..., Any]


@pytest.fixture
async def start(
    tmp_path: Path, desk: Desk, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> Callable[..., Any]:
    """Returns what starts to verify accounts that are live on some channels, in virtual time."""
    virtual_time(monkeypatch, autojump_clock)

    @asynccontextmanager
    async def started(*channels: str, accounts: int = 1, rejected: str = "") -> AsyncIterator[Accounts]:
        rest: Rows = {}

        async def answer(request: httpx.Request) -> httpx.Response:
            await trio.sleep(random.Random(len(exchange.asked)).uniform(0.05, 0.5))
            path = request.url.path.removeprefix("/api/v5/")
            return reply({"code": "59999" if path == rejected else "0", "data": rest.get(path, [])})

        exchange = Exchange(answer)
        live = LiveAccounts(tmp_path, desk, exchange, accounts, *channels)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(live.write)
            nursery.start_soon(live.reconciler(live.stalled_source()).run)
            await trio.sleep(10)
            yield Accounts(live, rest)
            nursery.cancel_scope.cancel()

    return started


async def until(holds: Callable[[], bool]) -> None:
    """Wait, in virtual time."""
    while not holds():  # noqa: ASYNC110 - the database has no event
        await trio.sleep(0.5)


def now_ms() -> int:
    return MS + int(trio.current_time() * 1000)


def verified(accounts: Accounts) -> int:
    return sum(isinstance(one, Verified) for one in accounts.live.received())


# Orders and fills


async def test_an_order_that_only_rest_knows_shows_that_orders_is_stalled(
    start: Start, autojump_clock: MockClock
) -> None:
    async with start("orders") as accounts:
        accounts.report("trade/orders-pending", order(7, uTime=str(now_ms())))
        assert await accounts.stalled() == ("orders: channel stalled on a live connection (order 7 was missed)")
        assert [row[0] for row in accounts.live.desk.rows("SELECT ord_id FROM orders")] == ["7"]  # repaired at once


async def test_an_order_whose_only_push_is_its_cancellation_is_complete(
    start: Start, autojump_clock: MockClock
) -> None:
    """A ``post_only`` order that would take liquidity is never pushed as ``live`` (OKX changelog, 2026-08-20)."""
    async with start("orders") as accounts:
        cancelled = {"state": "canceled", "ordType": "post_only", "cancelSource": "31", "uTime": str(now_ms())}
        accounts.push("orders", order(7, **cancelled))
        accounts.report("trade/orders-history", order(7, **cancelled))
        assert await accounts.stalled(600) is None
        assert verified(accounts) > 0
        desk = accounts.live.desk
        assert desk.rows("SELECT ord_id, state, source FROM orders") == [("7", "canceled", "ws")]
        assert desk.rows("SELECT * FROM anomalies") == desk.rows("SELECT * FROM gaps") == []
        assert desk.rows("SELECT event FROM journal") == []
        assert check_ledger(desk.path, accounts.live.names) == []


async def test_a_reconnect_while_a_verdict_is_pending_ends_the_verdict(start: Start, autojump_clock: MockClock) -> None:
    """What the old connection missed is in its gap, and says nothing about the new one."""
    async with start("orders") as accounts:
        accounts.report("trade/orders-pending", order(7, uTime=str(now_ms())))
        stored = accounts.live.desk.rows
        await until(lambda: bool(stored("SELECT 1 FROM orders")))  # REST has reported it: the verdict is pending
        accounts.live.send.send_nowait(Lost(1, "a0", ["orders"], now_ms() * 1000, "closed with 1001"))
        accounts.live.send.send_nowait(Subscribed(1, "a0", ["orders"], now_ms() * 1000))
        assert await accounts.stalled(600) is None


async def test_an_order_that_rest_reports_before_its_push_arrives_is_not_a_lost_push(
    start: Start, autojump_clock: MockClock
) -> None:
    async with start("orders") as accounts:
        row = order(7, uTime=str(now_ms()))
        accounts.report("trade/orders-pending", row)
        await until(lambda: bool(accounts.live.desk.rows("SELECT 1 FROM orders")))
        await trio.sleep(TIMINGS.push_lag_s - 1)
        accounts.push("orders", row | {"uTime": str(int(row["uTime"]) - 3)})  # and gives it another time
        assert await accounts.stalled() is None
        assert verified(accounts)


async def test_a_lost_end_a_lost_amendment_and_a_lost_fill_are_found(
    start: Start, autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with start("orders") as accounts:
        accounts.push("orders", order(1, px="5", uTime=str(now_ms())))
        await trio.sleep(70)
        accounts.report("trade/orders-pending", order(1, px="6", uTime=str(now_ms())))
        assert "order 1 was missed" in (await accounts.stalled() or "")


async def test_a_lost_fill_is_found_though_the_order_was_pushed_again(start: Start, autojump_clock: MockClock) -> None:
    async with start("orders") as accounts:
        await trio.sleep(10)
        at = str(now_ms())
        part = {"state": "partially_filled", "uTime": at, "cTime": at, "fillTime": at}
        partly = order(1, **part, accFillSz="6", fillSz="1", tradeId="9")
        accounts.push("orders", partly)  # 8, of 5, was not pushed
        accounts.report("trade/orders-pending", partly)
        fill = {"instId": "BTC-USDT-SWAP", "instType": "SWAP", "ordId": "1", "ts": at, "fillTime": at}
        fills = [
            fill | {"tradeId": "8", "billId": "2", "fillSz": "5"},
            fill | {"tradeId": "9", "billId": "3", "fillSz": "1"},
        ]
        accounts.report("trade/fills", *fills)
        assert "a fill of order 1 was missed" in (await accounts.stalled() or "")


async def test_fills_that_were_pushed_as_one_are_not_lost_pushes(start: Start, autojump_clock: MockClock) -> None:
    async with start("orders") as accounts:
        await trio.sleep(10)
        at = str(now_ms())
        part = {"state": "partially_filled", "uTime": at, "cTime": at, "fillTime": at}
        aggregated = order(1, **part, accFillSz="6", fillSz="6", tradeId="9")
        accounts.push("orders", aggregated)
        accounts.report("trade/orders-pending", aggregated)
        fill = {"instId": "BTC-USDT-SWAP", "instType": "SWAP", "ordId": "1", "ts": at, "fillTime": at}
        fills = [
            fill | {"tradeId": "8", "billId": "2", "fillSz": "5"},
            fill | {"tradeId": "9", "billId": "3", "fillSz": "1"},
        ]
        accounts.report("trade/fills", *fills)
        assert await accounts.stalled() is None


async def test_fills_pushed_as_one_are_not_lost_pushes_of_an_order_that_filled_before_the_stored_history(
    start: Start, autojump_clock: MockClock
) -> None:
    async with start("orders") as accounts:
        await trio.sleep(10)
        at = str(now_ms())
        part = {"state": "partially_filled", "uTime": at, "cTime": str(MS - 30 * 86_400_000), "fillTime": at}
        aggregated = order(1, **part, accFillSz="8", fillSz="6", tradeId="9")  # 2 were filled a month ago
        accounts.push("orders", aggregated)
        accounts.report("trade/orders-pending", aggregated)
        fill = {"instId": "BTC-USDT-SWAP", "instType": "SWAP", "ordId": "1", "ts": at, "fillTime": at}
        first, second = {"tradeId": "8", "billId": "2", "fillSz": "5"}, {"tradeId": "9", "billId": "3", "fillSz": "1"}
        accounts.report("trade/fills", fill | first, fill | second)
        assert await accounts.stalled() is None


async def test_a_fill_without_an_order_is_not_a_push_of_this_channel(start: Start, autojump_clock: MockClock) -> None:
    """Block trades and the like have none."""
    async with start("orders") as accounts:
        await trio.sleep(10)
        at = str(now_ms())
        fill = {"instId": "BTC-USDT-SWAP", "instType": "SWAP", "ordId": "77", "ts": at, "fillTime": at}
        accounts.report("trade/fills", fill | {"tradeId": "8", "billId": "2", "fillSz": "5"})
        assert await accounts.stalled() is None
        assert accounts.live.desk.rows("SELECT trade_id FROM fills") == [("8",)]


@pytest.mark.parametrize("category", ["adl", "delivery", "auto_conversion"])
async def test_an_order_that_okx_executes_by_itself_need_not_have_been_pushed(
    start: Start, autojump_clock: MockClock, category: str
) -> None:
    async with start("orders") as accounts:
        await trio.sleep(10)
        at = str(now_ms())
        ended = order(7, category=category, state="filled", accFillSz="5", uTime=at)
        fill = {"instId": "BTC-USDT-SWAP", "instType": "SWAP", "ordId": "7", "ts": at, "fillTime": at}
        accounts.report("trade/orders-history", ended)
        accounts.report("trade/fills", fill | {"tradeId": "-8", "billId": "2", "fillSz": "5"})
        assert await accounts.stalled() is None
        desk = accounts.live.desk
        assert desk.rows("SELECT source FROM orders") == desk.rows("SELECT source FROM fills") == [("rest",)]


async def test_only_what_a_subscription_reports_can_be_a_lost_push(start: Start, autojump_clock: MockClock) -> None:
    async with start("orders:instType=SWAP") as accounts:
        spot = order(7, uTime=str(now_ms())) | {"instType": "SPOT", "instId": "BTC-USDT"}
        accounts.report("trade/orders-pending", spot)
        assert await accounts.stalled() is None
        assert accounts.live.desk.rows("SELECT ord_id FROM orders") == []
        accounts.report("trade/orders-pending", spot, order(8, uTime=str(now_ms())))
        assert "order 8" in (await accounts.stalled() or "")


async def test_what_happened_before_the_subscription_is_not_a_lost_push(
    start: Start, autojump_clock: MockClock
) -> None:
    async with start("orders") as accounts:
        accounts.report("trade/orders-pending", order(7, uTime=str(MS + ASIDE_MS)))
        assert await accounts.stalled() is None


@pytest.mark.parametrize("rest_has", ["the earlier", "the later", "a still later"])
@pytest.mark.parametrize("rest_is_first", [False, True])
async def test_an_end_that_is_pushed_twice_with_different_times_is_no_lost_push(
    start: Start, autojump_clock: MockClock, rest_has: str, rest_is_first: bool
) -> None:
    """OKX may send the same message more than once, perhaps with another uTime (OKX docs: order channel)."""
    async with start("orders") as accounts:
        await trio.sleep(10)
        at = now_ms()
        end = {"state": "filled", "accFillSz": "1", "fillSz": "1", "tradeId": "9", "fillTime": str(at)}
        once, again = (order(1, **end, uTime=str(at + later), cTime=str(at - 5)) for later in (0, 40))
        of_rest = at + {"the earlier": 0, "the later": 40, "a still later": 55}[rest_has]
        fill = {"instId": "BTC-USDT-SWAP", "instType": "SWAP", "ordId": "1", "tradeId": "9", "billId": "2"}

        def report() -> None:
            accounts.report("trade/orders-history", order(1, **end, uTime=str(of_rest), cTime=str(at - 5)))
            accounts.report("trade/fills", fill | {"fillSz": "1", "ts": str(at), "fillTime": str(at)})

        if rest_is_first:
            report()
            await until(lambda: bool(accounts.live.desk.rows("SELECT 1 FROM orders")))
        accounts.push("orders", once)
        await trio.sleep(0.1)
        accounts.push("orders", again)
        report()
        assert await accounts.stalled() is None
        assert verified(accounts)


@pytest.mark.parametrize("rest_has", [0, 40, 55])
async def test_an_end_of_an_algo_order_that_is_pushed_twice_is_no_lost_push(
    start: Start, autojump_clock: MockClock, rest_has: int
) -> None:
    async with start("orders-algo") as accounts:
        await trio.sleep(10)
        at = now_ms()
        end = {
            "algoId": "5",
            "ordType": "trigger",
            "state": "effective",
            "instId": "X",
            "sz": "1",
            "cTime": str(at - 5),
        }
        accounts.push("orders-algo", end | {"uTime": str(at)})
        accounts.push("orders-algo", end | {"uTime": str(at + 40)})
        accounts.report("trade/orders-algo-history", end | {"uTime": str(at + rest_has)})
        assert await accounts.stalled() is None
        assert verified(accounts)


@pytest.mark.parametrize("later_ms", [0, 1])
async def test_a_liquidation_that_rest_reports_under_another_id_is_no_lost_push(
    start: Start, autojump_clock: MockClock, later_ms: int
) -> None:
    """Pushed in two steps without a trade id, and one row of REST."""
    async with start("orders") as accounts:
        await trio.sleep(10)
        at = now_ms()
        step = {"tradeId": "0", "cTime": str(at), "category": "full_liquidation"}
        first = order(1, **step, state="partially_filled", accFillSz="2", fillSz="2", fillTime=str(at), uTime=str(at))
        last = {"state": "filled", "accFillSz": "5", "fillSz": "3", "fillTime": str(at + 200), "uTime": str(at + 200)}
        accounts.push("orders", first)
        accounts.push("orders", order(1, **step, **last))
        fill = {"instId": "BTC-USDT-SWAP", "instType": "SWAP", "ordId": "1", "tradeId": "-1", "billId": "2"}
        time = str(at + 200 + later_ms)
        accounts.report("trade/orders-history", order(1, **step, **last))
        accounts.report("trade/fills", fill | {"fillSz": "5", "ts": time, "fillTime": time})
        assert await accounts.stalled() is None
        assert accounts.live.desk.rows("SELECT trade_id, fill_sz FROM fills") == [("-1", "5")]


# Algo orders


async def test_an_algo_order_that_only_rest_knows_shows_that_its_channel_is_stalled(
    start: Start, autojump_clock: MockClock
) -> None:
    async with start("orders-algo") as accounts:
        at = str(now_ms())
        algo = {"algoId": "5", "ordType": "trigger", "state": "canceled", "cTime": at, "uTime": at, "instId": "X"}
        accounts.report("trade/orders-algo-history", algo | {"ordType": "iceberg"})  # of another channel
        assert await accounts.stalled() is None
        at = str(now_ms())
        accounts.report("trade/orders-algo-history", algo | {"algoId": "6", "uTime": at})
        assert "algo order 6 was missed" in (await accounts.stalled() or "")


# Balances and positions


def cash(amount: str, at_ms: int) -> dict[str, Any]:
    return {"ccy": "USDT", "cashBal": amount, "uTime": str(at_ms)}


def totals(amount: str, at_ms: int) -> dict[str, Any]:
    return {"uTime": str(at_ms), "details": [cash(amount, at_ms)]}


def change(amount: str, at_ms: int) -> dict[str, Any]:
    return {"pTime": str(at_ms), "eventType": "transferred", "balData": [cash(amount, at_ms)], "posData": []}


async def test_a_balance_that_only_rest_knows_shows_that_account_is_stalled(
    start: Start, autojump_clock: MockClock
) -> None:
    async with start("account") as accounts:
        accounts.push("account", totals("5", now_ms()))
        accounts.report("account/balance", totals("7", now_ms() + 5000))
        assert "account: channel stalled" in (await accounts.stalled() or "")


async def test_a_currency_that_rest_lists_with_nothing_in_it_need_not_have_been_pushed(
    start: Start, autojump_clock: MockClock
) -> None:
    async with start("account", "positions") as accounts:
        accounts.push("account", totals("5", now_ms()))
        dust = {"ccy": "DUST", "cashBal": "0", "uTime": str(now_ms() + 5000)}
        accounts.report("account/balance", {"uTime": str(now_ms()), "details": [cash("5", now_ms()), dust]})
        empty = {"posId": "9", "instId": "X", "instType": "MARGIN", "pos": "0", "uTime": str(now_ms() + 5000)}
        accounts.report("account/positions", empty)
        assert await accounts.stalled() is None


async def test_an_unchanged_account_that_pushes_nothing_is_not_stalled(start: Start, autojump_clock: MockClock) -> None:
    async with start("account", "positions", "balance_and_position") as accounts:
        accounts.push("account", totals("5", now_ms()))
        accounts.report("account/balance", totals("5.00", now_ms()))
        assert await accounts.stalled() is None
        assert verified(accounts) >= 6


async def test_a_change_that_only_another_channel_reports_shows_that_account_is_stalled(
    start: Start, autojump_clock: MockClock
) -> None:
    async with start("account", "balance_and_position") as accounts:
        accounts.push("account", totals("5", now_ms()))
        accounts.push("balance_and_position", change("5", now_ms()))
        await trio.sleep(20)
        accounts.push("balance_and_position", change("7", now_ms()))
        accounts.report("account/balance", totals("7", now_ms()))
        assert "account: channel stalled" in (await accounts.stalled() or "")


@pytest.mark.parametrize("kind", ["12", "22", "30", "381", "9999", ""])
async def test_income_that_has_no_event_never_makes_its_channel_look_stalled(
    start: Start, autojump_clock: MockClock, kind: str
) -> None:
    """Hour after hour, as auto-earn pays: ``account`` reports the cash, and ``balance_and_position`` nothing."""
    async with start("account", "balance_and_position") as accounts:
        accounts.push("account", totals("5", now_ms()))
        accounts.push("balance_and_position", change("5", now_ms()))
        for hour in range(4):
            await trio.sleep(120)
            at = now_ms()
            accounts.push("account", totals(f"5.{hour}", at))
            accounts.report("account/balance", totals(f"5.{hour}", at))
            bill = {"billId": str(hour), "type": kind, "ts": str(at), "balChg": "0.1", "ccy": "USDT"}
            accounts.report("account/bills", bill)
            assert await accounts.stalled(120) is None


@pytest.mark.parametrize("kind", ["1", "2", "8"])
async def test_a_bill_that_has_an_event_shows_that_its_channel_is_stalled(
    start: Start, autojump_clock: MockClock, kind: str
) -> None:
    async with start("balance_and_position") as accounts:
        accounts.push("balance_and_position", change("5", now_ms()))
        await trio.sleep(20)
        bill = {"billId": "1", "type": kind, "ts": str(now_ms()), "balChg": "0.5", "ccy": "USDT"}
        accounts.report("account/bills", bill)
        assert "balance_and_position: channel stalled" in (await accounts.stalled() or "")


async def test_an_event_that_was_lost_before_a_later_one_is_repaired_by_the_verification(
    start: Start, autojump_clock: MockClock
) -> None:
    """The later event hides that the channel had stalled; no other channel reports balances."""
    balances = "SELECT ccy, cash_bal FROM balances ORDER BY ccy"
    async with start("balance_and_position") as accounts:
        accounts.push("balance_and_position", change("5", now_ms()))
        await trio.sleep(20)
        lost_ms = now_ms()
        await trio.sleep(3)
        accounts.push("balance_and_position", change("9", now_ms()))
        bitcoin = {"ccy": "BTC", "cashBal": "1", "uTime": str(lost_ms)}
        accounts.report("account/balance", {"uTime": str(now_ms()), "details": [bitcoin, cash("9", now_ms())]})
        bill = {"billId": "1", "type": "1", "ts": str(lost_ms), "balChg": "1", "ccy": "BTC"}
        accounts.report("account/bills", bill)
        covered = "SELECT 1 FROM coverage WHERE covered_until > ?"
        await until(lambda: bool(accounts.live.desk.rows(covered, lost_ms * 1000)))
        assert accounts.live.desk.rows(balances) == [("BTC", "1"), ("USDT", "9")]


@pytest.mark.parametrize(("billed", "dead"), [(True, True), (False, False)])
async def test_a_changed_position_shows_that_the_events_are_stalled_only_with_a_bill_of_it(
    start: Start, autojump_clock: MockClock, billed: bool, dead: bool
) -> None:
    """A fill without fee, or the interest of a margin position, which has no event."""
    async with start("positions", "balance_and_position") as accounts:
        row = {"posId": "1", "instId": "X", "instType": "SWAP", "pos": "5", "uTime": str(now_ms())}
        accounts.push("positions", row | {"pTime": str(now_ms())})
        accounts.push("balance_and_position", change("5", now_ms()))
        await trio.sleep(20)
        later = row | {"interest": "0.1", "uTime": str(now_ms())}
        accounts.push("positions", later | {"pTime": str(now_ms())})
        accounts.report("account/positions", later)
        if billed:
            accounts.report(
                "account/bills", {"billId": "1", "type": "2", "ts": str(now_ms()), "balChg": "0", "instId": "X"}
            )
        assert (await accounts.stalled() is not None) == dead


async def test_a_position_that_only_rest_knows_to_be_closed_shows_that_positions_is_stalled(
    start: Start, autojump_clock: MockClock
) -> None:
    async with start("positions") as accounts:
        at = str(now_ms())
        row = {"posId": "1", "instId": "X", "instType": "SWAP", "pos": "5", "uTime": at, "pTime": at}
        accounts.push("positions", row)
        accounts.report("account/positions", row)
        assert await accounts.stalled() is None
        accounts.report("account/positions")
        assert "a change of position 1 was missed" in (await accounts.stalled() or "")


# The verdict comes behind all that was pushed


BUSY: Final = 5
MINUTES: Final = 10


async def test_busy_accounts_are_never_found_stalled_however_late_the_writer_is(
    start: Start, desk: Desk, autojump_clock: MockClock
) -> None:
    """Ten minutes: cash changes twenty times a second, REST takes 50 to 500 ms, and nothing is written for 20 s by a
    lock, and for a minute by a full disk.
    """
    async with start("account", "positions", "balance_and_position", "orders", accounts=BUSY) as accounts:
        write, behind = accounts.live._write, [(60.0, 80.0), (200.0, 260.0), (400.0, 420.0)]

        def hold_up(*, pongs: bool = True) -> None:
            if not any(begin <= trio.current_time() < end for begin, end in behind):
                write(pongs=pongs)

        accounts.live._write = hold_up
        number = 0
        while trio.current_time() < MINUTES * 60:
            number += 1
            at = now_ms()
            amount = str(number)
            name = accounts.live.names[number % BUSY]
            accounts.push("balance_and_position", change(amount, at), account=name)
            accounts.push("account", totals(amount, at), account=name)
            filled = order(
                number, state="filled", accFillSz="10", fillSz="10", tradeId=amount, uTime=str(at), cTime=str(at)
            )
            accounts.report("account/balance", totals(amount, at))
            await trio.sleep(0.05)
            accounts.push("orders", filled, account=name)
        assert accounts.live.stale == []
        received = accounts.live.received()
        assert not any(isinstance(one, Unverified) for one in received)
        assert {one.listener for one in received if isinstance(one, Verified)} == set(accounts.live.names)


async def test_a_stalled_writer_delays_a_verdict_and_does_not_falsify_it(
    start: Start, desk: Desk, autojump_clock: MockClock
) -> None:
    async with start("orders") as accounts:
        write = accounts.live._write
        accounts.live._write = lambda **_: None
        row = order(7, uTime=str(now_ms()))
        accounts.push("orders", row)
        accounts.report("trade/orders-pending", row)
        assert await accounts.stalled(600) is None
        accounts.live._write = write
        assert await accounts.stalled() is None
        assert verified(accounts)


@pytest.mark.parametrize("filled", [False, True])
async def test_a_verdict_that_is_pending_while_its_channel_reconnects_is_dropped(
    start: Start, autojump_clock: MockClock, filled: bool
) -> None:
    """What was not pushed before belongs to the gap, whether that is backfilled before or after the verdict is due."""
    async with start("orders") as accounts:
        desk = accounts.live.desk
        accounts.report("trade/orders-pending", order(7, uTime=str(now_ms())))
        await until(lambda: bool(desk.rows("SELECT 1 FROM orders")))  # the verdict waits for a ping
        assert not verified(accounts)
        lost_us = now_ms() * 1000
        live_us = lost_us + 1_000_000
        desk.apply(Lost(1, "a0", ["orders"], lost_us, "reset"), Subscribed(1, "a0", ["orders"], live_us))
        close_gap = GapResult(1, live_us, "filled", 1, None)
        if filled:
            desk.apply(close_gap)
        await trio.sleep(2 * TIMINGS.push_lag_s + 2 * TIMINGS.poll_s)
        assert not verified(accounts)
        desk.apply(close_gap)
        assert await accounts.stalled(200) is None
        until_us = [one.at for one in accounts.live.received() if isinstance(one, Verified)]
        assert until_us
        assert min(until_us) > live_us


async def test_a_verdict_is_not_about_the_subscription_after_the_one_that_stalled(
    start: Start, autojump_clock: MockClock
) -> None:
    """While one account is reconnected, the connection of the other is lost and live again."""
    async with start("orders", accounts=2) as accounts:
        desk, reported = accounts.live.desk, accounts.live.mark_stale
        accounts.report("trade/orders-pending", order(7, uTime=str(now_ms())))

        async def reconnect(account: str, channel: str, why: str) -> None:
            await reported(account, channel, why)
            for number, name in enumerate(accounts.live.names, 1):
                lost_us = now_ms() * 1000
                live_us = lost_us + 1_000_000
                desk.apply(Lost(number, name, ["orders"], lost_us, why), Subscribed(number, name, ["orders"], live_us))

        accounts.live.mark_stale = reconnect
        await until(lambda: bool(accounts.live.stale))
        await trio.sleep(2 * TIMINGS.push_lag_s + 2 * TIMINGS.poll_s)
        assert len(accounts.live.stale) == 1


@pytest.mark.parametrize("found_missing_by", ["the backfill", "a verification"])
async def test_an_order_that_the_backfill_of_a_gap_does_not_find_is_no_lost_push(
    start: Start, autojump_clock: MockClock, found_missing_by: str
) -> None:
    """It ended during the gap, whose note counts it; what disappears later should have been pushed."""
    async with start("orders") as accounts:
        desk = accounts.live.desk
        accounts.push("orders", order(7, uTime=str(now_ms())))
        await trio.sleep(1)
        lost_us = now_ms() * 1000
        live_us = lost_us + 1_000_000
        desk.apply(Lost(1, "a0", ["orders"], lost_us, "reset"), Subscribed(1, "a0", ["orders"], live_us))
        await trio.sleep(20)
        closed = GapResult(1, now_ms() * 1000, "partial", 0, "1 order was not found")
        if found_missing_by == "the backfill":
            desk.apply(OrdersNotFound("a0", "orders", ["7"], now_ms() * 1000, now_ms() - 1), closed)
            assert await accounts.stalled() is None
            assert verified(accounts)
        else:
            await trio.sleep(1)
            desk.apply(closed, OrdersNotFound("a0", "orders", ["7"], now_ms() * 1000, now_ms() + 1))
            assert "order 7" in (await accounts.stalled() or "")


PLANS: Final = {
    "SELECT 1 FROM orders WHERE account = 'a' AND source = 'rest' AND u_time > 1 AND u_time <= 2": "orders_by_rest",
    "SELECT 1 FROM orders WHERE account = 'a' AND not_found_at > 1": "orders_not_found",
    "SELECT 1 FROM algo_orders WHERE account = 'a' AND source = 'rest' AND u_time > 1": "algo_orders_by_rest",
    "SELECT 1 FROM algo_orders WHERE account = 'a' AND not_found_at > 1": "algo_orders_not_found",
    "SELECT 1 FROM fills WHERE account = 'a' AND source = 'rest' AND fill_time > 1": "fills_by_rest",
    "SELECT 1 FROM algo_orders WHERE account = 'a' AND state IN ('live', 'pause', 'partially_effective')":
        "algo_orders_open",
    "SELECT 1 FROM orders WHERE account = 'a' AND state IN ('live', 'partially_filled')": "orders_open",
    "SELECT 1 FROM fills WHERE account = 'a' AND inst_id = 'b' AND ord_id = 'c' AND trade_id_made = 1": "fills_made",
}  # fmt: skip


@pytest.mark.parametrize("sql", PLANS)
def test_few_rows_are_found_among_many_by_an_index(desk: Desk, sql: str) -> None:
    reader = open_reader(desk.path)
    plan = "; ".join(str(row[3]) for row in reader.execute(f"EXPLAIN QUERY PLAN {sql}"))
    reader.close()
    assert PLANS[sql] in plan


async def test_a_row_that_cannot_be_stored_is_a_partial_gap_of_a_channel_that_stays_verified(
    start: Start, autojump_clock: MockClock
) -> None:
    """Another request would report the same row, and no reconnect would help."""
    gaps = "SELECT from_at / 1000, to_at / 1000, outcome, filled_at IS NOT NULL, note FROM gaps"
    async with start("orders") as accounts:
        rejected_ms = now_ms()
        accounts.report("trade/fills", {"instId": "BTC-USDT-SWAP", "ordId": "", "tradeId": "", "ts": str(rejected_ms)})
        await trio.sleep(300)  # several checks report it
        accounts.report("trade/fills")
        [(begin_ms, end_ms, *ended)] = accounts.live.desk.rows(gaps)
        assert begin_ms <= rejected_ms <= end_ms
        assert ended[:2] == ["partial", 1]
        assert "trade/fills: a row cannot be stored" in ended[2]
        await trio.sleep(300)
        assert not any(isinstance(one, Unverified) for one in accounts.live.received())
        [(_, later_ms, *_)] = accounts.live.desk.rows(gaps)
        [(covered_ms,)] = accounts.live.desk.rows("SELECT covered_until / 1000 FROM coverage WHERE live = 1")
        assert later_ms < covered_ms - 100_000
        assert not accounts.live.stale


async def test_a_lost_push_is_found_beside_a_row_that_cannot_be_stored(start: Start, autojump_clock: MockClock) -> None:
    async with start("orders") as accounts:
        accounts.report("trade/orders-pending", {"ordId": ""}, order(7, uTime=str(now_ms())))
        assert "order 7 was missed" in str(await accounts.stalled())


async def test_a_rejected_request_verifies_nothing(start: Start, autojump_clock: MockClock) -> None:
    """Unlike a row that cannot be stored, it says nothing about all other rows."""
    async with start("orders", rejected="trade/fills") as accounts:
        await trio.sleep(200)
        assert verified(accounts) == 0
        assert accounts.live.desk.rows("SELECT channel FROM unverified") == [("orders",)]
