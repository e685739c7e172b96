"""No parameter is accepted and then ignored: each has an effect, or is rejected unless it says what holds anyway."""

from collections.abc import Callable
from typing import Any

import pytest

from okxsync.sandbox.exchange import parameters
from okxsync.sandbox.exchange.exchange import OrderRejected
from okxsync.sandbox.exchange.instruments import text
from okxsync.sandbox.server.endpoints import READ_ENDPOINTS
from tests.sandbox.worlds import World

DOCUMENTED = {
    "order": "instId instIdCode tdMode ccy clOrdId tag side posSide ordType sz px pxUsd pxVol reduceOnly tgtCcy"
    " banAmend slippagePct pxAmendType tradeQuoteCcy stpMode stpId rpiTakerAccess rpiPxRound isElpTakerAccess outcome"
    " speedBump quickMgnType attachAlgoOrds",
    "amend": "instId instIdCode ordId clOrdId cxlOnFail reqId newSz newPx newPxUsd newPxVol pxAmendType attachAlgoOrds"
    " rpiTakerAccess",
    "cancel": "instId instIdCode ordId clOrdId",
    "close": "instId instIdCode mgnMode posSide ccy autoCxl clOrdId tag",
    "algo": "instId instIdCode tdMode ccy side posSide ordType sz tag tgtCcy clOrdId algoClOrdId closeFraction"
    " reduceOnly tradeQuoteCcy tpTriggerPx tpTriggerPxType tpOrdPx tpOrdKind slTriggerPx slTriggerPxType slOrdPx"
    " cxlOnClosePos triggerPx triggerPxType orderPx ordPx advanceOrdType attachAlgoOrds callbackRatio callbackSpread"
    " activePx chaseType chaseVal maxChaseType maxChaseVal pxVar pxSpread szLimit pxLimit timeInterval"
    " amendPxOnTriggerType quickMgnType",
    "leverage": "instId ccy lever mgnMode posSide",
    "position-mode": "posMode",
    "amend-algo": "instId instIdCode algoId algoClOrdId cxlOnFail reqId newSz newTpTriggerPx newTpTriggerPxType"
    " newTpOrdPx newSlTriggerPx newSlTriggerPxType newSlOrdPx newTriggerPx newTriggerPxType newOrdPx attachAlgoOrds",
    "cancel-all-after": "timeOut tag",
    "amend-attached": "attachAlgoId attachAlgoClOrdId newTpTriggerPx newTpTriggerPxType newTpTriggerRatio newTpOrdPx"
    " newTpOrdKind newSlTriggerPx newSlTriggerPxType newSlTriggerRatio newSlOrdPx newSz amendPxOnTriggerType"
    " newCallbackRatio newCallbackSpread newActivePx",
    "cancel-algo": "instId instIdCode algoId algoClOrdId",
    "attached": "attachAlgoClOrdId attachAlgoId tpTriggerPx tpTriggerRatio tpTriggerPxType tpOrdPx tpOrdKind"
    " slTriggerPx slTriggerRatio slTriggerPxType slOrdPx sz amendPxOnTriggerType callbackRatio callbackSpread activePx",
}
"""All parameters of OKX's docs, by operation."""
SWAP = {"instId": "BTC-USDT-SWAP", "tdMode": "cross", "side": "buy", "ordType": "limit", "sz": "1", "px": "50000"}
SPOT = SWAP | {"instId": "BTC-USDT", "tdMode": "cash", "sz": "0.01"}
MARKET = {"ordType": "market", "px": ""}
ALGO = {"instId": "BTC-USDT-SWAP", "tdMode": "cross", "side": "sell", "sz": "1"}
TRIGGER = ALGO | {"ordType": "trigger", "triggerPx": "70000", "orderPx": "-1"}
OCO = ALGO | {"ordType": "oco", "tpTriggerPx": "70000", "tpOrdPx": "-1", "slTriggerPx": "50000", "slOrdPx": "-1"}
LEG = {"tpTriggerPx": "70000", "tpOrdPx": "-1", "slTriggerPx": "40000", "slOrdPx": "-1"}


def rejected(operation: Callable[..., object], *args: object) -> str:
    with pytest.raises(OrderRejected) as caught:
        operation(*args)
    return caught.value.code


@pytest.mark.parametrize("operation", DOCUMENTED)
def test_every_documented_parameter_works_is_fixed_or_is_rejected(operation: str) -> None:
    names = set(DOCUMENTED[operation].split())
    fixed = parameters.FIXED.get(operation, {})
    assert parameters.WORKS[operation] | fixed.keys() <= names
    for name in names - parameters.WORKS[operation]:
        for value in ("1", True, ["x"]):
            assert rejected(parameters.check, operation, {name: value}) == "51000"
    for name, value in fixed.items():
        parameters.check(operation, {name: value})
    assert rejected(parameters.check, operation, {"noSuchName": "1"}) == "51000"


def test_the_operations_check_their_parameters() -> None:
    world = World()
    exchange, uid = world.exchange, world.member("2").uid
    order = exchange.place_order(uid, SWAP)
    algo = exchange.place_algo(uid, TRIGGER)
    exchange.place_order(uid, SWAP | MARKET)
    known = {"instId": SWAP["instId"], "ordId": order.ord_id}
    bad = {"noSuchName": "1"}
    for operation, body in (
        (exchange.place_order, SWAP),
        (exchange.place_order, SWAP | {"attachAlgoOrds": [LEG | bad]}),
        (exchange.amend_order, known | {"newSz": "2"}),
        (exchange.cancel_order, known),
        (exchange.close_position, {"instId": SWAP["instId"], "mgnMode": "cross"}),
        (exchange.place_algo, TRIGGER),
        (exchange.cancel_algo, {"algoId": algo.algo_id}),
    ):
        assert rejected(operation, uid, body | ({} if "attachAlgoOrds" in body else bad)) == "51000"


@pytest.mark.parametrize(
    ("body", "changes", "field", "shown"),
    [
        (SWAP, {"clOrdId": "mine"}, "clOrdId", "mine"),
        (SWAP, {"tag": "mytag"}, "tag", "mytag"),
        (SWAP, {"side": "sell", "px": "70000"}, "side", "sell"),
        (SWAP, {"ordType": "post_only"}, "ordType", "post_only"),
        (SWAP, {"sz": "2"}, "sz", "2"),
        (SWAP, {"px": "50001"}, "px", "50001"),
        (SWAP, {"tdMode": "isolated"}, "tdMode", "isolated"),
        (SWAP, {"side": "sell", "reduceOnly": True, "px": "61000"}, "reduceOnly", "true"),
        (SWAP, {"stpMode": "cancel_both"}, "stpMode", "cancel_both"),
        (SPOT, {"tdMode": "cross", "ccy": "USDT"}, "ccy", "USDT"),
        (SPOT, {"tradeQuoteCcy": "USDT"}, "tradeQuoteCcy", "USDT"),
        (SPOT, MARKET | {"tgtCcy": "base_ccy"}, "tgtCcy", "base_ccy"),
    ],
)
def test_parameters_of_an_order_show_in_its_row(
    body: dict[str, Any], changes: dict[str, Any], field: str, shown: str
) -> None:
    world = World()
    exchange, uid = world.exchange, world.member("2").uid
    exchange.place_order(uid, SWAP | MARKET)  # something to reduce
    exchange.place_order(uid, body | changes)
    assert exchange.order_rows(uid)[0][field] == shown


@pytest.mark.parametrize(
    ("body", "changes", "code"),
    [
        (SWAP, {"ccy": "USDT"}, "51000"),
        (SWAP, {"tradeQuoteCcy": "USDT"}, "51000"),
        (SWAP, {"stpMode": "odd"}, "51000"),
        (SWAP, {"pxAmendType": "2"}, "51000"),
        (SWAP, {"tag": "not alnum"}, "51000"),
        (SWAP, {"reduceOnly": "perhaps"}, "51000"),
        (SWAP, MARKET | {"px": "60000"}, "51000"),
        (SPOT, {"tradeQuoteCcy": "USDC"}, "51000"),
        (SPOT, {"tgtCcy": "base_ccy"}, "51000"),
        (SPOT, {"reduceOnly": True}, "51205"),
        (SPOT, {"posSide": "long"}, "51000"),
        (SPOT, {"tdMode": "cross"}, "51000"),  # without the margin currency
        (SPOT, {"tdMode": "cross", "ccy": "BTC"}, "51000"),
        (SWAP, {"attachAlgoOrds": [LEG, LEG]}, "51077"),
        (SWAP, {"attachAlgoOrds": [{"attachAlgoClOrdId": "a"}]}, "51000"),
        (SWAP, {"attachAlgoOrds": [{"tpTriggerPx": "70000", "tpOrdPx": "-1", "slOrdPx": "-1"}]}, "51000"),
    ],
)
def test_a_parameter_without_effect_is_rejected(body: dict[str, Any], changes: dict[str, Any], code: str) -> None:
    world = World()
    uid = world.member("2").uid
    assert rejected(world.exchange.place_order, uid, body | changes) == code
    assert world.exchange.order_rows(uid) == []


@pytest.mark.parametrize(
    ("changes", "field", "shown"),
    [
        ({"algoClOrdId": "mine"}, "algoClOrdId", "mine"),
        ({"clOrdId": "mine"}, "clOrdId", "mine"),
        ({"tag": "mytag"}, "tag", "mytag"),
        ({"triggerPxType": "index"}, "triggerPxType", "index"),
        ({"reduceOnly": "true"}, "reduceOnly", "true"),
        ({"sz": "", "closeFraction": "1"}, "closeFraction", "1"),
    ],
)
def test_parameters_of_an_algo_order_show_in_its_row(changes: dict[str, Any], field: str, shown: str) -> None:
    world = World()
    exchange, uid = world.exchange, world.member("2").uid
    exchange.place_order(uid, SWAP | MARKET)
    exchange.place_algo(uid, TRIGGER | changes)
    assert exchange.algo_rows(uid)[0][field] == shown


@pytest.mark.parametrize(
    "changes",
    [
        {"tpTriggerPx": "70000"},
        {"slOrdPx": "-1"},
        {"triggerPxType": "odd"},
        {"closeFraction": "0.5"},
        {"closeFraction": "1"},  # beside a size
        {"cxlOnClosePos": True},
        {"advanceOrdType": "chase"},
    ],
)
def test_an_algo_order_with_a_parameter_of_another_kind_is_rejected(changes: dict[str, Any]) -> None:
    world = World()
    exchange, uid = world.exchange, world.member("2").uid
    exchange.place_order(uid, SWAP | MARKET)
    assert rejected(exchange.place_algo, uid, TRIGGER | changes) == "51000"


@pytest.mark.parametrize(("px_type", "triggers"), [("mark", True), ("last", True), ("index", False)])
def test_a_trigger_watches_the_price_that_it_names(px_type: str, triggers: bool) -> None:
    world = World()
    exchange, uid = world.exchange, world.member("2").uid
    exchange.place_algo(uid, OCO | {"tpTriggerPxType": px_type, "slTriggerPxType": px_type})
    exchange.set_mark("BTC-USDT-SWAP", "71000")  # the index is the spot price
    assert (exchange.algo_rows(uid)[0]["state"] == "effective") is triggers
    exchange.set_mark("BTC-USDT", "71000")
    exchange.set_mark("BTC-USDT-SWAP", "71000")
    assert exchange.algo_rows(uid)[0]["state"] == "effective"


def test_a_client_id_of_a_waiting_algo_order_is_taken() -> None:
    world = World()
    exchange, uid = world.exchange, world.member("2").uid
    exchange.place_algo(uid, TRIGGER | {"algoClOrdId": "same"})
    assert rejected(exchange.place_algo, uid, TRIGGER | {"algoClOrdId": "same"}) == "51065"


def test_a_spot_market_order_is_shrunk_to_the_balance_unless_that_is_banned() -> None:
    world = World()
    exchange, uid = world.exchange, world.member("2").uid
    beyond = SPOT | MARKET | {"side": "sell", "sz": "2"}
    assert rejected(exchange.place_order, uid, beyond | {"banAmend": True}) == "51008"
    assert text(exchange.place_order(uid, beyond).acc_fill_sz) == "1"


def test_contracts_are_counted_in_contracts_whatever_tgt_ccy_says() -> None:
    """As OKX does."""
    world = World()
    order = world.exchange.place_order(world.member("2").uid, SWAP | MARKET | {"tgtCcy": "quote_ccy", "sz": "3"})
    assert text(order.acc_fill_sz) == "3"
    assert "tgtCcy" in parameters.IGNORED


def test_a_stop_sleeps_in_its_order_and_waits_when_the_order_has_filled() -> None:
    world = World()
    exchange, uid = world.exchange, world.member("2").uid
    leg = LEG | {"attachAlgoClOrdId": "stop1", "slTriggerPxType": "mark"}
    order = exchange.place_order(uid, SWAP | {"attachAlgoOrds": [leg]})
    [attached] = exchange.order_rows(uid)[0]["attachAlgoOrds"]
    assert {name: attached[name] for name in leg} == leg
    assert attached["tpTriggerPxType"] == "last"
    assert exchange.algo_rows(uid) == []
    exchange.set_mark("BTC-USDT-SWAP", "49000")
    while order.pending:
        exchange.set_mark("BTC-USDT-SWAP", "49000")
    [algo] = exchange.algo_rows(uid)
    assert (algo["algoClOrdId"], algo["ordType"], algo["side"], algo["sz"]) == ("stop1", "oco", "sell", "1")
    assert algo["algoId"] != attached["attachAlgoId"]
    exchange.set_mark("BTC-USDT-SWAP", "39000")
    assert exchange.position_rows(uid) == []


def test_a_stop_is_discarded_with_an_order_that_never_filled() -> None:
    world = World()
    exchange, uid = world.exchange, world.member("2").uid
    order = exchange.place_order(uid, SWAP | {"attachAlgoOrds": [LEG]})
    exchange.cancel_order(uid, {"instId": SWAP["instId"], "ordId": order.ord_id})
    assert exchange.algo_rows(uid) == []


@pytest.mark.parametrize("endpoint", READ_ENDPOINTS, ids=lambda endpoint: endpoint.path)
def test_no_list_accepts_a_parameter_that_it_does_not_know(endpoint: Any) -> None:
    endpoint.check(dict.fromkeys(endpoint.takes.split(), "1"))
    assert rejected(endpoint.check, {"noSuchName": "1"}) == "51000"
