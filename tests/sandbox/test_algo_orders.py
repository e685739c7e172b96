"""Algo orders that trail, are amended, or end with their position; and cancel-all-after."""

from typing import Any

import pytest

from okxsync.sandbox.exchange.exchange import OrderRejected
from tests.sandbox.worlds import World

SWAP = {"instId": "BTC-USDT-SWAP", "tdMode": "cross"}
MARKET = SWAP | {"side": "buy", "ordType": "market", "sz": "2"}
SELL = SWAP | {"side": "sell", "sz": "2", "reduceOnly": True}
TRAIL = SELL | {"ordType": "move_order_stop", "callbackRatio": "0.01"}
OCO = SELL | {"ordType": "oco", "tpTriggerPx": "70000", "tpOrdPx": "-1", "slTriggerPx": "50000", "slOrdPx": "-1"}
TRIGGER = SELL | {"ordType": "trigger", "triggerPx": "65000", "orderPx": "-1"}


def refused(operation: Any, *args: Any) -> str:
    with pytest.raises(OrderRejected) as caught:
        operation(*args)
    return caught.value.code


@pytest.fixture
def world() -> World:
    made = World()
    made.exchange.rules.partial_fills = False
    return made


@pytest.fixture
def uid(world: World) -> str:
    """A member with two contracts bought."""
    uid = world.member("2").uid
    world.exchange.place_order(uid, MARKET)
    world.exchange.take_pushes()
    return uid


def move(world: World, *marks: str) -> None:
    for mark in marks:
        world.exchange.set_mark("BTC-USDT-SWAP", mark)


def state(world: World, uid: str) -> str:
    return str(world.exchange.algo_rows(uid)[0]["state"])


def test_a_trailing_order_follows_the_best_price(world: World, uid: str) -> None:
    world.exchange.place_algo(uid, TRAIL)
    move(world, "61000", "62000", "61500")
    [row] = world.exchange.algo_rows(uid)
    assert (row["moveTriggerPx"], row["callbackRatio"], row["state"]) == ("61380", "0.01", "live")
    move(world, "61380")
    assert state(world, uid) == "effective"
    assert world.exchange.position_rows(uid) == []


def test_a_trailing_order_may_begin_at_a_price_and_keep_a_distance(world: World, uid: str) -> None:
    world.exchange.place_algo(
        uid, TRAIL | {"callbackRatio": "", "callbackSpread": "500", "activePx": "62000", "side": "sell"}
    )
    move(world, "61000", "60000")
    assert world.exchange.algo_rows(uid)[0]["moveTriggerPx"] == ""
    move(world, "62000")
    assert world.exchange.algo_rows(uid)[0]["moveTriggerPx"] == "61500"
    move(world, "61400")
    assert state(world, uid) == "effective"


def test_a_canceled_trailing_order_follows_nothing(world: World, uid: str) -> None:
    algo = world.exchange.place_algo(uid, TRAIL)
    world.exchange.cancel_algo(uid, {"algoId": algo.algo_id})
    move(world, "50000")
    assert state(world, uid) == "canceled"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (TRAIL | {"callbackRatio": ""}, "51000"),
        (TRAIL | {"callbackSpread": "1"}, "51000"),
        (TRAIL | {"callbackRatio": "2"}, "51000"),
        (TRAIL | {"tpTriggerPx": "1"}, "51000"),
        (OCO | {"callbackRatio": "0.1"}, "51000"),
        (OCO | {"ordType": "twap"}, "51000"),
        (OCO | {"ordType": "chase"}, "51000"),
        (OCO | {"advanceOrdType": "ioc"}, "51000"),
        (OCO | {"tpTriggerPx": "59000"}, "51279"),
        (OCO | {"slTriggerPx": "61000"}, "51280"),
        (OCO | {"side": "buy", "reduceOnly": False}, "51277"),
        (OCO | {"side": "buy", "reduceOnly": False, "tpTriggerPx": "50000"}, "51278"),
        (OCO | {"reduceOnly": False, "cxlOnClosePos": True}, "51000"),
    ],
)
def test_an_algo_order_with_invalid_parameters_is_rejected(world: World, uid: str, body: Any, code: str) -> None:
    assert refused(world.exchange.place_algo, uid, body) == code


def test_an_amended_trigger_replaces_the_old_one(world: World, uid: str) -> None:
    algo = world.exchange.place_algo(uid, TRIGGER)
    body = {"algoId": algo.algo_id, "instId": "BTC-USDT-SWAP", "newTriggerPx": "66000", "newSz": "1", "reqId": "r"}
    world.exchange.take_pushes()
    assert world.exchange.amend_algo(uid, body) is algo
    [row] = world.pushed("orders-algo")
    assert (row["triggerPx"], row["sz"], row["reqId"], row["amendResult"]) == ("66000", "1", "r", "0")
    move(world, "65500")
    assert state(world, uid) == "live"
    move(world, "66000")
    assert state(world, uid) == "effective"
    assert world.exchange.position_rows(uid)[0]["pos"] == "1"
    assert refused(world.exchange.amend_algo, uid, body) == "51503"


def test_a_leg_can_be_deleted_and_added_again(world: World, uid: str) -> None:
    algo = world.exchange.place_algo(uid, OCO | {"algoClOrdId": "o"})
    world.exchange.amend_algo(uid, {"algoClOrdId": "o", "newTpTriggerPx": "0"})
    assert (algo.ord_type, algo.tp_trigger_px) == ("conditional", None)
    move(world, "71000")
    assert state(world, uid) == "live"
    world.exchange.amend_algo(uid, {"algoClOrdId": "o", "newTpTriggerPx": "75000", "newTpOrdPx": "-1"})
    assert algo.ord_type == "oco"
    move(world, "75000")
    assert state(world, uid) == "effective"


def test_an_amendment_that_fails_changes_nothing_or_cancels(world: World, uid: str) -> None:
    algo = world.exchange.place_algo(uid, OCO)
    wrong = {"algoId": algo.algo_id, "newSlTriggerPx": "61000"}
    assert refused(world.exchange.amend_algo, uid, wrong) == "51280"
    assert refused(world.exchange.amend_algo, uid, {"algoId": algo.algo_id}) == "51506"
    assert (str(algo.sl_trigger_px), state(world, uid)) == ("50000", "live")
    world.exchange.amend_algo(uid, wrong | {"cxlOnFail": True})
    assert state(world, uid) == "canceled"


@pytest.mark.parametrize("ends", [True, False])
def test_an_algo_order_ends_with_its_position_only_if_it_says_so(world: World, uid: str, *, ends: bool) -> None:
    world.exchange.place_algo(uid, OCO | {"cxlOnClosePos": ends})
    world.exchange.place_order(uid, MARKET | {"side": "sell", "sz": "1"})
    assert state(world, uid) == "live"
    world.exchange.close_position(uid, {"instId": "BTC-USDT-SWAP", "mgnMode": "cross"})
    assert state(world, uid) == ("canceled" if ends else "live")


def test_the_child_of_a_trigger_may_be_ioc(world: World, uid: str) -> None:
    world.exchange.place_algo(uid, TRIGGER | {"advanceOrdType": "ioc"})
    move(world, "65000")
    assert world.exchange.order_rows(uid)[0]["ordType"] == "ioc"
    assert world.exchange.position_rows(uid) == []


# Cancel-all-after


def test_orders_are_canceled_unless_the_client_calls_again(world: World, uid: str) -> None:
    exchange = world.exchange
    rest = SWAP | {"side": "buy", "ordType": "limit", "sz": "1", "px": "40000"}
    tagged, plain = exchange.place_order(uid, rest | {"tag": "mine"}), exchange.place_order(uid, rest)
    other = exchange.place_order(world.member("2").uid, rest)
    row = exchange.cancel_all_after(uid, {"timeOut": "10", "tag": "mine"})
    assert row == {"tag": "mine", "triggerTime": str(world.now // 1000 + 10), "ts": str(world.now // 1000)}
    for _ in range(3):
        world.now += 9_000
        exchange.tick()
        exchange.cancel_all_after(uid, {"timeOut": 10, "tag": "mine"})
    assert tagged.pending
    world.now += 10_000
    exchange.tick()
    assert (tagged.state, tagged.cancel_source, plain.state) == ("canceled", "20", "live")
    exchange.cancel_all_after(uid, {"timeOut": "10"})
    exchange.cancel_all_after(uid, {"timeOut": "0"})
    world.now += 20_000
    exchange.tick()
    assert plain.state == "live"
    exchange.cancel_all_after(uid, {"timeOut": "10"})
    world.now += 20_000
    exchange.tick()
    assert (plain.cancel_source, other.state) == ("20", "live")


@pytest.mark.parametrize("algos", [True, False])
def test_whether_it_cancels_algo_orders_is_a_switch(world: World, uid: str, *, algos: bool) -> None:
    world.exchange.rules.dead_man_algos = algos
    world.exchange.place_algo(uid, OCO)
    world.exchange.cancel_all_after(uid, {"timeOut": "10"})
    world.now += 10_000
    world.exchange.tick()
    assert state(world, uid) == ("canceled" if algos else "live")


@pytest.mark.parametrize("timeout", ["", "9", "121", "x", "-1"])
def test_a_deadline_is_0_or_10_to_120_seconds(world: World, uid: str, timeout: str) -> None:
    assert refused(world.exchange.cancel_all_after, uid, {"timeOut": timeout}) == "51000"


def test_an_account_has_at_most_twenty_tags(world: World, uid: str) -> None:
    for number in range(20):
        world.exchange.cancel_all_after(uid, {"timeOut": "10", "tag": f"t{number}"})
    assert refused(world.exchange.cancel_all_after, uid, {"timeOut": "10", "tag": "more"}) == "51071"
    world.exchange.cancel_all_after(uid, {"timeOut": "10"})
