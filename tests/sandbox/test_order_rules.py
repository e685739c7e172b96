"""How orders are bounded and filled: price band, market orders of contracts, reduce-only, self-trade prevention."""

import contextlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from okxsync.sandbox.exchange.exchange import OrderRejected
from okxsync.sandbox.exchange.instruments import text
from tests.sandbox.worlds import World

SWAP = {"instId": "BTC-USDT-SWAP", "tdMode": "cross"}
BUY = SWAP | {"side": "buy", "ordType": "limit", "sz": "1", "px": "59000"}
MARKET = SWAP | {"side": "buy", "ordType": "market", "sz": "1"}
REDUCE = SWAP | {"side": "sell", "ordType": "limit", "px": "61000", "reduceOnly": True}


def refused(operation: Any, *args: Any) -> OrderRejected:
    with pytest.raises(OrderRejected) as caught:
        operation(*args)
    return caught.value


@pytest.fixture
def world() -> World:
    made = World()
    made.exchange.rules.partial_fills = False
    return made


# Prices


def test_the_price_band_is_around_the_mark(world: World) -> None:
    row = world.exchange.price_limit_row("BTC-USDT-SWAP")
    assert (row["buyLmt"], row["sellLmt"], row["enabled"]) == ("63000", "57000", True)
    assert world.exchange.price_limit_row(world.listed("OPTION"))["enabled"] is False


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (BUY | {"px": "63000.1"}, "51006"),
        (BUY | {"px": "56999.9", "side": "sell"}, "51006"),
        (BUY | {"px": "63000.1", "instId": "BTC-USDT", "tdMode": "cash", "sz": "0.01"}, "51137"),
        (BUY | {"px": "56999.9", "instId": "BTC-USDT", "tdMode": "cash", "side": "sell", "sz": "0.01"}, "51138"),
    ],
)
def test_a_price_beyond_the_band_is_rejected_or_moved_to_its_edge(world: World, body: Any, code: str) -> None:
    uid = world.member("2").uid
    assert refused(world.exchange.place_order, uid, body).code == code
    order = world.exchange.place_order(uid, body | {"pxAmendType": "1", "ordType": "ioc"})
    assert text(order.px or order.sz) == ("63000" if body["side"] == "buy" else "57000")


def test_an_amended_price_stays_in_the_band_too(world: World) -> None:
    uid = world.member("2").uid
    order = world.exchange.place_order(uid, BUY)
    body = {"instId": "BTC-USDT-SWAP", "ordId": order.ord_id, "newPx": "64000"}
    assert refused(world.exchange.amend_order, uid, body).code == "51006"
    world.exchange.amend_order(uid, body | {"pxAmendType": "1"})
    assert text(order.px or order.sz) == "63000"


def test_the_rest_of_a_market_order_of_a_contract_stays_in_the_book(world: World) -> None:
    exchange, uid = world.exchange, world.member("2").uid
    exchange.set_depth("BTC-USDT-SWAP", "0.4")
    order = exchange.place_order(uid, MARKET)
    assert (order.state, text(order.acc_fill_sz)) == ("partially_filled", "0.4")
    assert exchange.order_rows(uid)[0]["px"] == ""
    assert exchange.account(uid).reserved()["USDT"] > 0
    exchange.set_mark("BTC-USDT-SWAP", "60000")
    assert order.state == "filled"


def test_a_market_order_reserves_the_edge_of_the_band(world: World) -> None:
    uid = world.member("2", deposit={"USDT": "60.9"}).uid
    world.exchange.place_order(uid, BUY | {"px": "60000", "ordType": "ioc"})
    uid = world.member("2", deposit={"USDT": "60.9"}).uid
    rejection = refused(world.exchange.place_order, uid, MARKET)
    assert (rejection.code, rejection.sub_code) == ("51008", "1001")


@pytest.mark.parametrize(
    ("ord_type", "state", "source", "filled"),
    [
        ("fok", "canceled", "13", "0"),
        ("ioc", "canceled", "14", "0.4"),
        ("optimal_limit_ioc", "canceled", "14", "0.4"),
        ("post_only", "canceled", "31", "0"),
        ("limit", "partially_filled", "", "0.4"),
    ],
)
def test_each_order_type_in_a_market_that_offers_too_little(
    world: World, ord_type: str, state: str, source: str, filled: str
) -> None:
    exchange, uid = world.exchange, world.member("2").uid
    exchange.set_depth("BTC-USDT-SWAP", "0.4")
    body = BUY | {"ordType": ord_type} | ({} if ord_type == "optimal_limit_ioc" else {"px": "61000"})
    if ord_type == "optimal_limit_ioc":
        del body["px"]
    order = exchange.place_order(uid, body)
    assert (order.state, order.cancel_source, text(order.acc_fill_sz)) == (state, source, filled)
    pushed = [row["state"] for row in world.pushed("orders")]
    assert pushed[0] == ("canceled" if ord_type == "post_only" else "live")


@pytest.mark.parametrize(
    ("body", "code", "sub_code"),
    [
        (BUY | {"sz": "100000"}, "51008", "1001"),
        (BUY | {"instId": "BTC-USDT", "tdMode": "cash", "sz": "10"}, "51008", "1000"),
    ],
)
def test_missing_funds_have_a_sub_code(world: World, body: Any, code: str, sub_code: str) -> None:
    rejection = refused(world.exchange.place_order, world.member("2").uid, body)
    assert (rejection.code, rejection.sub_code) == (code, sub_code)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (MARKET | {"sz": "20001"}, "51202"),
        (BUY | {"sz": "40000"}, "51005"),
        (MARKET | {"instId": "BTC-USDT", "tdMode": "cash", "sz": "1000001"}, "51201"),
    ],
)
def test_one_order_can_be_too_large(world: World, body: Any, code: str) -> None:
    uid = world.member("2", deposit={"USDT": "90000000"}).uid
    assert refused(world.exchange.place_order, uid, body).code == code


# Reduce-only


def test_a_reduce_only_order_beyond_the_position_is_cut_or_rejected(world: World) -> None:
    exchange, uid = world.exchange, world.member("2").uid
    exchange.place_order(uid, MARKET | {"sz": "2"})
    exchange.take_pushes()
    order = exchange.place_order(uid, REDUCE | {"sz": "5"})
    [row] = world.pushed("orders")
    assert (row["sz"], row["amendSource"], text(order.sz)) == ("2", "4", "2")
    exchange.cancel_order(uid, {"instId": "BTC-USDT-SWAP", "ordId": order.ord_id})
    exchange.rules.reduce_beyond = "reject"
    assert refused(exchange.place_order, uid, REDUCE | {"sz": "5"}).code == "51112"
    exchange.place_order(uid, REDUCE | {"sz": "2"})


def test_a_cut_post_only_order_is_pushed_twice(world: World) -> None:
    exchange, uid = world.exchange, world.member("2").uid
    exchange.place_order(uid, MARKET | {"sz": "2"})
    exchange.take_pushes()
    exchange.place_order(uid, REDUCE | {"sz": "5", "ordType": "post_only"})
    assert [(row["state"], row["amendSource"]) for row in world.pushed("orders")] == [("live", "4"), ("live", "")]


def test_older_reduce_only_orders_go_first(world: World) -> None:
    exchange, uid = world.exchange, world.member("2").uid
    exchange.place_order(uid, MARKET | {"sz": "3"})
    first, second = (exchange.place_order(uid, REDUCE | {"sz": "2"}) for _ in range(2))
    assert (text(first.sz), text(second.sz)) == ("2", "1")
    third = exchange.place_order(uid, REDUCE | {"sz": "1"})
    assert (third.state, third.cancel_source) == ("canceled", "22")
    exchange.place_order(uid, MARKET | {"side": "sell"})
    assert (text(first.sz), second.cancel_source) == ("2", "22")


def test_reduce_only_orders_end_with_a_position_that_turns(world: World) -> None:
    exchange, uid = world.exchange, world.member("2").uid
    exchange.place_order(uid, MARKET)
    order = exchange.place_order(uid, REDUCE | {"sz": "1"})
    exchange.place_order(uid, MARKET | {"side": "sell", "sz": "2"})
    assert (order.state, order.cancel_source) == ("canceled", "23")


def test_a_close_in_long_short_mode_never_opens_the_other_side(world: World) -> None:
    exchange, uid = world.exchange, world.member("2", "long_short_mode").uid
    exchange.place_order(uid, MARKET | {"posSide": "long", "sz": "2"})
    assert refused(exchange.place_order, uid, MARKET | {"posSide": "short"}).code == "51169"
    order = exchange.place_order(uid, MARKET | {"side": "sell", "posSide": "long", "sz": "5"})
    assert (text(order.sz), exchange.position_rows(uid)) == ("2", [])


STEPS = st.lists(
    st.tuples(st.sampled_from(("buy", "sell")), st.integers(1, 5), st.booleans(), st.sampled_from(("market", "limit"))),
    min_size=3,
    max_size=25,
)


@settings(max_examples=40)
@given(steps=STEPS, seed=st.integers(0, 50), two_sided=st.booleans())
def test_no_reduce_only_order_opens_or_reverses_a_position(
    steps: list[tuple[str, int, bool, str]], seed: int, *, two_sided: bool
) -> None:
    """Whatever else is traded, what rests reduce-only is never more than the position that it reduces."""
    world = World(seed)
    exchange, uid = world.exchange, world.member("2", "long_short_mode" if two_sided else "net_mode").uid
    account = exchange.account(uid)
    for side, sz, reduces, kind in steps:
        px = {"buy": "59990", "sell": "60010"}[side] if kind == "limit" else ""
        body: dict[str, Any] = SWAP | {"side": side, "ordType": kind, "sz": str(sz), "px": px}
        if two_sided:
            body["posSide"] = "short" if (side == "buy") is reduces else "long"
        else:
            body["reduceOnly"] = reduces
        before = {key: each.pos for key, each in account.positions.items()}
        with contextlib.suppress(OrderRejected):
            order = exchange.place_order(uid, body)
            if order.reduce_only:
                for key, each in account.positions.items():
                    assert abs(each.pos) <= abs(before[key])
                    assert each.pos * before[key] >= 0
        for each in account.positions.values():
            resting = [
                order
                for order in account.pending.values()
                if order.reduce_only and order.pos_side == each.pos_side and order.td_mode == each.mgn_mode
            ]
            assert sum(order.left for order in resting) <= abs(each.pos)
        world.now += 100
        exchange.tick()


# Self-trade prevention


@pytest.mark.parametrize(
    ("mode", "maker", "taker"),
    [
        ("cancel_maker", ("canceled", "32"), ("filled", "")),
        ("cancel_taker", ("live", ""), ("canceled", "32")),
        ("cancel_both", ("canceled", "32"), ("canceled", "32")),
    ],
)
@pytest.mark.parametrize("by_account", [True, False])
def test_accounts_of_one_master_do_not_trade_with_each_other(
    world: World, mode: str, maker: Any, taker: Any, *, by_account: bool
) -> None:
    exchange = world.exchange
    master = world.member("2")
    sub = exchange.add_member("sub", main_uid=master.uid)
    resting = exchange.place_order(master.uid, BUY | {"side": "sell", "px": "60000.1"})
    if by_account:
        sub.acct_stp_mode = mode
    body = MARKET | ({} if by_account else {"stpMode": mode})
    crossing = exchange.place_order(sub.uid, body)
    assert (resting.state, resting.cancel_source) == maker
    assert (crossing.state, crossing.cancel_source) == taker


def test_self_trade_prevention_ignores_other_masters(world: World) -> None:
    exchange = world.exchange
    first, second = world.member("2"), world.member("2")
    resting = exchange.place_order(first.uid, BUY | {"side": "sell", "px": "60000.1"})
    exchange.place_order(second.uid, MARKET)
    assert resting.state == "live"


def test_fill_or_kill_cannot_cancel_both(world: World) -> None:
    body = BUY | {"ordType": "fok", "stpMode": "cancel_both"}
    assert refused(world.exchange.place_order, world.member("2").uid, body).code == "54036"


# Spot purchases, and cancellations that come too late


def test_a_spot_purchase_in_coins_freezes_more_than_the_best_price(world: World) -> None:
    exchange, uid = world.exchange, world.member("2", deposit={"USDT": "60100"}).uid
    body = MARKET | {"instId": "BTC-USDT", "tdMode": "cash", "tgtCcy": "base_ccy"}
    assert refused(exchange.place_order, uid, body | {"banAmend": True}).code == "51008"
    order = exchange.place_order(uid, body)  # shrunk to what 60100 USDT pay at 5 % more
    assert text(order.acc_fill_sz) == "0.95396666"


def test_an_accepted_cancellation_can_lose_the_race(world: World) -> None:
    exchange, uid = world.exchange, world.member("2").uid
    order = exchange.place_order(uid, BUY)
    exchange.rules.cancel_loses = True
    exchange.cancel_order(uid, {"instId": "BTC-USDT-SWAP", "ordId": order.ord_id})
    assert order.state == "live"
    exchange.tick()
    assert order.state == "filled"
    assert refused(exchange.cancel_order, uid, {"instId": "BTC-USDT-SWAP", "ordId": order.ord_id}).code == "51400"
