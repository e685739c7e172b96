"""Take profits and stop losses that an order carries, from its request to their end."""

from typing import Any

import pytest

from okxsync.sandbox.exchange.exchange import OrderRejected
from okxsync.sandbox.exchange.orders import Order
from tests.sandbox.worlds import World

SWAP = {"instId": "BTC-USDT-SWAP", "tdMode": "cross"}
BUY = SWAP | {"side": "buy", "ordType": "limit", "sz": "3", "px": "59000"}
TAKE = {"tpTriggerPx": "70000", "tpOrdPx": "-1"}
STOP = {"slTriggerPx": "50000", "slOrdPx": "-1"}


def refused(operation: Any, *args: Any) -> str:
    with pytest.raises(OrderRejected) as caught:
        operation(*args)
    return caught.value.code


@pytest.fixture
def world() -> World:
    made = World()
    made.exchange.rules.partial_fills = False
    return made


def bought(world: World, uid: str, *elements: dict[str, str], **changes: str) -> Order:
    """Buy at once."""
    body = BUY | {"px": "60500", "attachAlgoOrds": list(elements)} | changes
    return world.exchange.place_order(uid, body)


def algos(world: World, uid: str) -> dict[str, tuple[str, str, str]]:
    """Type, size and state by client id."""
    rows = world.exchange.algo_rows(uid)
    return {row["algoClOrdId"]: (row["ordType"], row["sz"], row["state"]) for row in rows}


def test_split_take_profits_and_one_stop_become_an_algo_order_each(world: World) -> None:
    uid = world.member("2").uid
    order = bought(
        world,
        uid,
        TAKE | {"attachAlgoClOrdId": "t1", "sz": "1"},
        TAKE | {"attachAlgoClOrdId": "t2", "tpTriggerPx": "80000", "sz": "2"},
        STOP | {"attachAlgoClOrdId": "s"},
    )
    assert [row["sz"] for row in world.exchange.order_rows(uid)[0]["attachAlgoOrds"]] == ["1", "2", ""]
    assert order.state == "filled"
    assert algos(world, uid) == {
        "t1": ("conditional", "1", "live"),
        "t2": ("conditional", "2", "live"),
        "s": ("conditional", "3", "live"),
    }
    assert [row["algoClOrdId"] for row in world.pushed("orders-algo")] == ["t1", "t2", "s"]
    world.exchange.set_mark("BTC-USDT-SWAP", "70100")
    assert algos(world, uid)["t1"] == ("conditional", "1", "effective")
    assert world.exchange.position_rows(uid)[0]["pos"] == "2"


@pytest.mark.parametrize(
    ("elements", "code"),
    [
        ([TAKE | {"sz": "1"}, TAKE | {"sz": "1"}], "51083"),
        ([TAKE | {"sz": "1"}, TAKE], "51080"),
        ([STOP, STOP], "51077"),
        ([TAKE | {"sz": "0.25"}] * 12, "51076"),
        ([TAKE | {"attachAlgoClOrdId": "a", "sz": "1"}, TAKE | {"attachAlgoClOrdId": "a", "sz": "2"}], "51068"),
        ([TAKE | {"callbackRatio": "0.01"}], "51000"),
        ([{"callbackRatio": "0.01", "callbackSpread": "5"}], "51000"),
        ([{"activePx": "60000"}], "51000"),
        ([TAKE | {"tpOrdPx": ""}], "51000"),
        ("x", "51000"),
    ],
)
def test_elements_that_do_not_fit_together_are_rejected(world: World, elements: Any, code: str) -> None:
    assert refused(world.exchange.place_order, world.member("2").uid, BUY | {"attachAlgoOrds": elements}) == code


@pytest.mark.parametrize(
    ("side", "element", "code"),
    [
        ("buy", {"tpTriggerPx": "58000", "tpOrdPx": "-1"}, "51046"),
        ("buy", {"slTriggerPx": "59500", "slOrdPx": "-1"}, "51047"),
        ("sell", {"tpTriggerPx": "61500", "tpOrdPx": "-1"}, "51048"),
        ("sell", {"slTriggerPx": "60500", "slOrdPx": "-1"}, "51049"),
    ],
)
@pytest.mark.parametrize("market", [False, True])
def test_a_trigger_on_the_wrong_side_of_the_price_is_rejected(
    world: World, side: str, element: dict[str, str], code: str, *, market: bool
) -> None:
    body = BUY | {"side": side, "px": "59000" if side == "buy" else "61000", "attachAlgoOrds": [element]}
    if market:
        element = {name: {"59500": "60500", "60500": "59500"}.get(px, px) for name, px in element.items()}
        body |= {"ordType": "market", "px": "", "attachAlgoOrds": [element]}
        code = str(int(code) + 4)
    assert refused(world.exchange.place_order, world.member("2").uid, body) == code


@pytest.mark.parametrize("after_partial", [True, False])
def test_a_part_that_has_filled_gets_its_stop_unless_that_is_switched_off(world: World, *, after_partial: bool) -> None:
    exchange, uid = world.exchange, world.member("2").uid
    exchange.rules.attached_after_partial = after_partial
    exchange.set_depth("BTC-USDT-SWAP", "1")
    order = bought(world, uid, STOP | {"attachAlgoClOrdId": "s"})
    assert (order.state, algos(world, uid)) == ("partially_filled", {})
    exchange.cancel_order(uid, {"instId": "BTC-USDT-SWAP", "ordId": order.ord_id})
    assert algos(world, uid) == ({"s": ("conditional", "1", "live")} if after_partial else {})


def test_a_stop_stays_when_another_order_closes_the_position_and_then_fails(world: World) -> None:
    exchange, uid = world.exchange, world.member("2").uid
    bought(world, uid, STOP | {"attachAlgoClOrdId": "s"})
    exchange.close_position(uid, {"instId": "BTC-USDT-SWAP", "mgnMode": "cross"})
    assert algos(world, uid)["s"] == ("conditional", "3", "live")
    exchange.set_mark("BTC-USDT-SWAP", "49000")
    [row] = exchange.algo_rows(uid)
    assert (row["state"], row["failCode"]) == ("order_failed", "51169")


def test_a_sleeping_element_is_amended_with_its_order(world: World) -> None:
    exchange, uid = world.exchange, world.member("2").uid
    order = exchange.place_order(uid, BUY | {"attachAlgoOrds": [TAKE | STOP | {"attachAlgoClOrdId": "b"}]})
    known = {"instId": "BTC-USDT-SWAP", "ordId": order.ord_id}
    change = {"attachAlgoClOrdId": "b", "newTpTriggerPx": "75000", "newSlTriggerPx": "0"}
    exchange.amend_order(uid, known | {"attachAlgoOrds": [change]})
    [row] = exchange.order_rows(uid)[0]["attachAlgoOrds"]
    assert (row["tpTriggerPx"], row["slTriggerPx"], row["slOrdPx"]) == ("75000", "", "")
    wrong = {"attachAlgoId": row["attachAlgoId"], "newTpTriggerPx": "50000"}
    assert refused(exchange.amend_order, uid, known | {"attachAlgoOrds": [wrong]}) == "51046"
    unknown = {"attachAlgoClOrdId": "z", "newTpTriggerPx": "75000"}
    assert refused(exchange.amend_order, uid, known | {"attachAlgoOrds": [unknown]}) == "51527"
    exchange.amend_order(uid, known | {"attachAlgoOrds": [{"attachAlgoClOrdId": "b", "newTpTriggerPx": "0"}]})
    assert exchange.order_rows(uid)[0]["attachAlgoOrds"] == []


def test_a_trailing_stop_can_be_attached(world: World) -> None:
    exchange, uid = world.exchange, world.member("2").uid
    bought(world, uid, {"callbackRatio": "0.1", "attachAlgoClOrdId": "m"})
    assert algos(world, uid)["m"] == ("move_order_stop", "3", "live")
    exchange.set_mark("BTC-USDT-SWAP", "70000")
    exchange.set_mark("BTC-USDT-SWAP", "62900")
    assert exchange.position_rows(uid) == []
