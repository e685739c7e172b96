"""The random trader: deterministic, varied, fast; and whatever it does, what is pushed can be read at once."""

import sys
from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from okxsync.sandbox.exchange.exchange import Exchange, Push
from okxsync.sandbox.exchange.trader import MAX_PENDING, Trader

START = 1_700_000_000_000


class World:
    """An exchange with a trader and a clock."""

    def __init__(self, seed: int, members: int = 2, **more: Any) -> None:
        self.now = START
        self.exchange = Exchange(lambda: self.now, seed, **more)
        self.uids = [self.exchange.add_member(f"member{number}").uid for number in range(members)]
        self.trader = Trader(self.exchange, seed)

    def step(self) -> None:
        self.now += 50
        self.trader.step()
        self.exchange.tick()


def test_equal_seeds_make_equal_worlds() -> None:
    def history(seed: int) -> list[Push]:
        world = World(seed)
        for _ in range(150):
            world.step()
        return world.exchange.take_pushes()

    assert history(7) == history(7)
    assert history(7) != history(8)


def test_all_kinds_of_operations_happen() -> None:
    world = World(3, funding_ms=5_000)
    seen: Counter[str] = Counter()
    for _ in range(3_000):
        world.step()
        for push in world.exchange.take_pushes():
            for row in push.rows:
                seen[f"{push.channel} {row.get('state', row.get('eventType', ''))}"] += 1
                if push.channel == "orders":
                    seen[f"cancelSource {row['cancelSource']}"] += 1
                    seen[f"amendResult {row['amendResult']}"] += 1
                    seen[f"source {row['source']}"] += 1
                    seen[f"ordType {row['instType']} {row['ordType']}"] += 1
                if push.channel == "positions":
                    seen["closed" if row["pos"] == "0" else "short" if row["pos"].startswith("-") else "long"] += 1
    for kinds in (
        "orders live,orders partially_filled,orders filled,orders canceled,amendResult 0,source 6,source 7",
        "cancelSource 1,cancelSource 13,cancelSource 14,cancelSource 31",
        "ordType SPOT market,ordType SWAP market,ordType SPOT limit,ordType SWAP limit",
        "orders-algo live,orders-algo effective,orders-algo canceled,closed,short,long",
        "deposit-info 0,deposit-info 1,deposit-info 2,withdrawal-info 0,withdrawal-info 1,withdrawal-info 2",
        "balance_and_position filled,balance_and_position transferred,balance_and_position funding_fee",
    ):
        assert [kind for kind in kinds.split(",") if not seen[kind]] == []
    for uid in world.uids:
        assert len(world.exchange.account(uid).pending) <= MAX_PENDING + 8  # triggered algo orders come on top


def test_a_given_member_is_the_one_that_trades() -> None:
    world = World(4)
    first, second = world.uids
    for _ in range(50):
        world.trader.step(second)
    assert world.exchange.order_rows(second)
    assert not world.exchange.order_rows(first)


def test_a_poor_member_still_gets_a_valid_operation() -> None:
    exchange = Exchange(lambda: START)
    uid = exchange.add_member("poor", deposit={}).uid
    trader = Trader(exchange, 1)
    for _ in range(50):
        trader.step(uid)
        exchange.tick()
    assert exchange.deposit_rows(uid)


def check_readable(exchange: Exchange, pushes: list[Push]) -> None:
    """The last push of everything says what the read methods say."""
    last: dict[tuple[str, str, str], dict[str, Any]] = {}
    keys = {
        "orders": "ordId",
        "orders-algo": "algoId",
        "positions": "posId",
        "deposit-info": "depId",
        "withdrawal-info": "wdId",
    }
    details: dict[tuple[str, str], dict[str, Any]] = {}
    for push in pushes:
        for row in push.rows:
            if push.channel in keys:
                last[push.uid, push.channel, row[keys[push.channel]]] = row
            elif push.channel == "account":
                details |= {(push.uid, detail["ccy"]): detail for detail in row["details"]}
    for (uid, channel, name), row in last.items():
        found = {
            "orders": exchange.order_rows,
            "orders-algo": exchange.algo_rows,
            "positions": lambda uid: exchange.position_rows(uid, with_closed=True),
            "deposit-info": exchange.deposit_rows,
            "withdrawal-info": exchange.withdrawal_rows,
        }[channel](uid)
        [read] = [each for each in found if each[keys[channel]] == name]
        # This fill against the last fill, and "0" against "": the two readings of an order.
        apart = {"fillPx", "fillSz", "fillTime", "tradeId"} if channel == "orders" else {"last"}
        if row.get("accFillSz") == "0":
            apart.add("avgPx")
        common = (row.keys() & read.keys()) - apart
        assert {field: row[field] for field in common} == {field: read[field] for field in common}
        if channel == "orders" and row["tradeId"]:
            assert {field: row[field] for field in apart} == {field: read[field] for field in apart}
    for (uid, ccy), detail in details.items():
        found_details = [each for each in exchange.account_row(uid)["details"] if each["ccy"] == ccy]
        assert found_details == [detail] or (not found_details and detail["eq"] == "0")


@given(seed=st.integers(0, 10**6), steps=st.integers(1, 120))
@settings(max_examples=15)
def test_what_is_pushed_can_be_read_at_once(seed: int, steps: int) -> None:
    world = World(seed, funding_ms=500)
    exchange = world.exchange
    exchange.take_pushes()
    for _ in range(steps):
        world.now += 30
        world.trader.step()
        check_readable(exchange, exchange.take_pushes())
        exchange.tick()
        check_readable(exchange, exchange.take_pushes())


@given(seed=st.integers(0, 10**6))
@settings(max_examples=5)
def test_order_pushes_never_go_back(seed: int) -> None:
    world = World(seed)
    seen: dict[str, tuple[int, float, bool]] = {}
    trades = set()
    for _ in range(300):
        world.step()
        for push in world.exchange.take_pushes():
            if push.channel != "orders":
                continue
            [row] = push.rows
            u_time, filled, final = seen.get(row["ordId"], (0, 0.0, False))
            assert int(row["uTime"]) >= u_time
            assert float(row["accFillSz"]) >= filled
            assert not final
            if row["tradeId"]:
                assert row["tradeId"] not in trades
                trades.add(row["tradeId"])
            ended = row["state"] in ("filled", "canceled")
            seen[row["ordId"]] = int(row["uTime"]), float(row["accFillSz"]), ended


def test_a_long_history_does_not_slow_a_tick() -> None:
    """A hundred members, ever more finished orders: a late step takes about as many calls as an early one."""
    world = World(1, members=100)
    calls = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        calls += 1

    def cost(steps: int) -> float:
        nonlocal calls
        calls = 0
        before = sys.getprofile()
        sys.setprofile(count)
        try:
            for _ in range(steps):
                world.step()
                world.exchange.take_pushes()
        finally:
            sys.setprofile(before)
        return calls / steps

    cost(500)
    early = cost(1_500)
    late = cost(1_500)
    assert late < early * 3
