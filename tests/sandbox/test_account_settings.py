"""Leverage, position mode, sizes and fees of an account, as a client reads and sets them before an order."""

from decimal import Decimal
from typing import Any

import pytest

from okxsync.sandbox.exchange.exchange import Exchange, OrderRejected
from okxsync.sandbox.exchange.instruments import text
from tests.sandbox.worlds import World

SWAP = {"instId": "BTC-USDT-SWAP", "tdMode": "cross"}
REST = SWAP | {"side": "buy", "ordType": "limit", "sz": "1", "px": "59000"}
MARKET = SWAP | {"side": "buy", "ordType": "market", "sz": "1"}


def rejected(operation: Any, *args: Any) -> str:
    with pytest.raises(OrderRejected) as caught:
        operation(*args)
    return caught.value.code


def lever(world: World, uid: str, inst_id: str, mgn_mode: str = "cross") -> list[str]:
    return [row["lever"] for row in world.exchange.leverage_rows(uid, mgn_mode, inst_id)]


def leverage(lever: str, inst_id: str = "BTC-USDT-SWAP", mgn_mode: str = "cross", **more: str) -> dict[str, str]:
    return {"lever": lever, "instId": inst_id, "mgnMode": mgn_mode, **more}


# Leverage


def test_leverage_is_ten_until_it_is_set_and_each_account_has_its_own() -> None:
    world = World()
    first, second = world.member("2"), world.member("2")
    row = world.exchange.set_leverage(first.uid, leverage("3"))
    assert row == {"lever": "3", "mgnMode": "cross", "instId": "BTC-USDT-SWAP", "posSide": ""}
    assert lever(world, first.uid, "BTC-USDT-SWAP") == ["3"]
    assert lever(world, second.uid, "BTC-USDT-SWAP") == ["10"]
    assert world.exchange.place_order(first.uid, MARKET).lever == "3"
    assert world.exchange.position_rows(first.uid)[0]["lever"] == "3"


def test_leverage_of_futures_is_of_all_expiries_and_of_a_swap_only_of_itself() -> None:
    world = World()
    uid = world.member("2").uid
    old = world.listed("FUTURES", "BTC-USDT")
    world.exchange.set_leverage(uid, leverage("5", old))
    world.exchange.expire()
    assert lever(world, uid, world.listed("FUTURES", "BTC-USDT")) == ["5"]
    assert lever(world, uid, "BTC-USDT-SWAP") == ["10"]


def test_isolated_leverage_has_a_side_in_long_short_mode() -> None:
    world = World()
    uid = world.member("2", "long_short_mode").uid
    assert rejected(world.exchange.set_leverage, uid, leverage("5", mgn_mode="isolated")) == "51000"
    world.exchange.set_leverage(uid, leverage("5", mgn_mode="isolated", posSide="short"))
    assert lever(world, uid, "BTC-USDT-SWAP", "isolated") == ["10", "5"]


def test_margin_leverage_is_of_the_pair_or_in_a_pool_of_the_currency() -> None:
    world = World()
    single, pooled = world.member("2").uid, world.member("3").uid
    world.exchange.set_leverage(single, leverage("3", "BTC-USDT"))
    assert lever(world, single, "BTC-USDT") == ["3"]
    world.exchange.set_leverage(pooled, {"ccy": "USDT", "lever": "4", "mgnMode": "cross"})
    assert [(row["ccy"], row["lever"]) for row in world.exchange.leverage_rows(pooled, "cross", "BTC-USDT")] == [
        ("BTC", "10"),
        ("USDT", "4"),
    ]


@pytest.mark.parametrize(
    ("acct_lv", "request_", "code"),
    [
        ("1", leverage("3"), "51010"),
        ("2", leverage("101"), "59102"),
        ("2", leverage("0"), "51000"),
        ("2", leverage("3", mgn_mode=""), "51000"),
        ("2", leverage("3", "NO-SUCH"), "51001"),
        ("2", leverage("3", ccy="USDT"), "51000"),
        ("2", {"lever": "3", "mgnMode": "cross"}, "50014"),
        ("3", leverage("3", mgn_mode="isolated"), "50072"),
        ("4", leverage("3"), "51039"),
    ],
)
def test_leverage_that_the_account_cannot_have_is_rejected(acct_lv: str, request_: dict[str, str], code: str) -> None:
    world = World()
    assert rejected(world.exchange.set_leverage, world.member(acct_lv).uid, request_) == code


def test_leverage_does_not_change_under_a_pending_order() -> None:
    world = World()
    uid = world.member("2").uid
    order = world.exchange.place_order(uid, REST)
    assert rejected(world.exchange.set_leverage, uid, leverage("3")) == "59107"
    world.exchange.set_leverage(uid, leverage("10"))  # as it is
    world.exchange.set_leverage(uid, leverage("3", mgn_mode="isolated"))  # another scope
    world.exchange.cancel_order(uid, {"instId": "BTC-USDT-SWAP", "ordId": order.ord_id})
    world.exchange.set_leverage(uid, leverage("3"))
    assert lever(world, uid, "BTC-USDT-SWAP") == ["3"]


def test_lower_leverage_needs_margin_and_higher_one_a_small_enough_position() -> None:
    world = World()
    uid = world.member("2", deposit={"USDT": "1000000"}).uid
    world.exchange.place_order(uid, MARKET | {"sz": "10000"})  # 6 million USD
    assert rejected(world.exchange.set_leverage, uid, leverage("1")) == "59108"
    assert rejected(world.exchange.set_leverage, uid, leverage("100")) == "59104"
    world.exchange.set_leverage(uid, leverage("20"))
    assert world.exchange.position_rows(uid)[0]["lever"] == "20"


def test_the_margin_of_an_isolated_position_follows_its_leverage() -> None:
    world = World()
    uid = world.member("2").uid
    world.exchange.place_order(uid, MARKET | {"tdMode": "isolated", "sz": "10"})
    before = world.exchange.position_rows(uid)[0]
    world.exchange.set_leverage(uid, leverage("5", mgn_mode="isolated"))
    after = world.exchange.position_rows(uid)[0]
    assert Decimal(after["margin"]) == 2 * Decimal(before["margin"])
    cash = sum(Decimal(bill["balChg"]) for bill in world.exchange.bill_rows(uid) if bill["ccy"] == "USDT")
    assert world.exchange.account(uid).cash["USDT"] == cash


def test_portfolio_margin_has_no_leverage_of_contracts() -> None:
    world = World()
    assert rejected(world.exchange.leverage_rows, world.member("4").uid, "cross", "BTC-USDT-SWAP") == "59111"


# Position mode


def test_the_position_mode_changes_only_while_nothing_is_open() -> None:
    world = World()
    uid = world.member("2").uid
    two_sided = {"posMode": "long_short_mode"}
    order = world.exchange.place_order(uid, REST)
    assert rejected(world.exchange.set_position_mode, uid, two_sided) == "59000"
    world.exchange.cancel_order(uid, {"instId": "BTC-USDT-SWAP", "ordId": order.ord_id})
    assert world.exchange.set_position_mode(uid, two_sided) == two_sided
    assert rejected(world.exchange.place_order, uid, MARKET) == "51000"  # posSide is required now
    world.exchange.place_order(uid, MARKET | {"posSide": "long"})
    assert rejected(world.exchange.set_position_mode, uid, {"posMode": "net_mode"}) == "59000"
    assert rejected(world.exchange.set_position_mode, world.member("4").uid, two_sided) == "51010"
    assert rejected(world.exchange.set_position_mode, world.member("2").uid, {"posMode": "hedge"}) == "51000"


# Sizes


@pytest.mark.parametrize("inst_id", ["BTC-USDT-SWAP", "BTC-USD-SWAP", "ETH-USDT-SWAP"])
@pytest.mark.parametrize(("side", "px"), [("buy", "57000"), ("sell", "62000"), ("buy", ""), ("sell", "")])
@pytest.mark.parametrize("acct_lv", ["2", "3"])
def test_the_largest_size_is_admitted_and_one_lot_more_is_not(inst_id: str, side: str, px: str, acct_lv: str) -> None:
    world = World()
    exchange, uid = world.exchange, world.member(acct_lv).uid
    instrument = exchange.instruments[inst_id]
    if px and instrument.base == "ETH":
        px = text(instrument.to_tick(Decimal(px) / 24))
    question = {"instId": inst_id, "tdMode": "cross"} | ({"px": px} if px else {})
    row = exchange.max_size_row(uid, question)
    most = Decimal(row["maxBuy" if side == "buy" else "maxSell"])
    assert most > 0
    body = {"instId": inst_id, "tdMode": "cross", "side": side, "ordType": "limit" if px else "market", "px": px}
    assert rejected(exchange.place_order, uid, body | {"sz": text(most + instrument.lot_sz)}) == "51008"
    exchange.place_order(uid, body | {"sz": text(most)})


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_the_largest_spot_size_is_in_the_base_currency(side: str) -> None:
    world = World()
    exchange, uid = world.exchange, world.member("1").uid
    row = exchange.max_size_row(uid, {"instId": "BTC-USDT", "tdMode": "cash", "px": "59999"})
    assert (row["maxBuy"], row["maxSell"]) == ("1.66669444", "1")
    avail = exchange.max_avail_row(uid, {"instId": "BTC-USDT", "tdMode": "cash"})
    assert (avail["availBuy"], avail["availSell"]) == ("100000", "1")


def test_a_position_on_the_other_side_adds_to_the_largest_size() -> None:
    world = World()
    exchange, uid = world.exchange, world.member("2").uid
    question = {"instId": "BTC-USDT-SWAP", "tdMode": "cross", "px": "60000"}
    exchange.place_order(uid, MARKET | {"sz": "100"})
    row = exchange.max_size_row(uid, question)
    assert Decimal(row["maxSell"]) == Decimal(row["maxBuy"]) + 100


def test_a_size_stops_at_the_tier_of_the_leverage() -> None:
    world = World()
    exchange, uid = world.exchange, world.member("2", deposit={"USDT": "50000000"}).uid
    exchange.set_leverage(uid, leverage("100"))
    most = exchange.max_size_row(uid, SWAP | {"px": "60000"})["maxBuy"]
    assert most == "3333.33"  # two million USD
    assert rejected(exchange.place_order, uid, REST | {"sz": "3333.34"}) == "51004"
    exchange.place_order(uid, REST | {"sz": most})


def test_portfolio_margin_has_no_largest_size() -> None:
    world = World()
    assert rejected(world.exchange.max_size_row, world.member("4").uid, SWAP) == "51010"


def test_a_precheck_says_what_an_order_would_need_and_places_nothing() -> None:
    world = World()
    exchange, uid = world.exchange, world.member("3").uid
    row = exchange.precheck_row(uid, REST)
    assert (row["imrChg"], row["adjEqChg"]) == ("59", "-0.295")
    assert exchange.order_rows(uid) == []
    assert rejected(exchange.precheck_row, uid, REST | {"sz": "100000"}) == "51008"
    assert rejected(exchange.precheck_row, world.member("2").uid, REST) == "51010"


def test_fees_are_negative_when_charged() -> None:
    world = World()
    [row] = world.exchange.fee_rows(world.member("2").uid, "SWAP", demo=True)
    assert row["feeGroup"] == [{"groupId": "1", "maker": "-0.0002", "rpiMaker": "", "taker": "-0.0005"}]


def test_risk_shows_balances_and_positions_of_one_moment() -> None:
    world = World()
    uid = world.member("2").uid
    world.exchange.place_order(uid, MARKET)
    row = world.exchange.risk_row(uid)
    assert [each["instId"] for each in row["posData"]] == ["BTC-USDT-SWAP"]
    assert {each["ccy"] for each in row["balData"]} == {"BTC", "ETH", "USDT"}


# Instruments


def test_the_arithmetic_of_contracts() -> None:
    """Linear and inverse contracts and a pair at one price (the worked examples of the documents)."""
    instruments, px = World().exchange.instruments, Decimal("67012.3")
    linear, inverse, spot = (instruments[each] for each in ("BTC-USDT-SWAP", "BTC-USD-SWAP", "BTC-USDT"))
    assert linear.to_lot(Decimal("246.9134") / (linear.ct_val * px)) == Decimal("0.36")
    assert linear.value(Decimal("0.36"), px) == Decimal("241.24428")
    assert inverse.to_lot(Decimal("0.05") * px / inverse.ct_val) == 33
    assert inverse.value(Decimal(33), px) == Decimal("0.049244690900")
    assert spot.to_lot(1000 / px) == Decimal("0.01492263")
    assert spot.value(Decimal("0.01492263"), px) == Decimal("999.999758349")


def test_an_instrument_that_is_hidden_from_an_account_does_not_exist_for_it() -> None:
    world = World()
    member, other = world.member("2"), world.member("2")
    member.hidden.add("BTC-USDT-SWAP")
    assert rejected(world.exchange.place_order, member.uid, MARKET) == "51001"
    world.exchange.place_order(other.uid, MARKET)


@pytest.mark.parametrize(("state", "code"), [("suspend", "51022"), ("preopen", "51021"), ("post_only", "51110")])
def test_an_instrument_that_is_not_live_takes_no_orders(state: str, code: str) -> None:
    world = World()
    uid = world.member("2").uid
    world.exchange.set_state("BTC-USDT-SWAP", state)
    assert [row["state"] for row in world.pushed("instruments")] == [state]
    assert rejected(world.exchange.place_order, uid, MARKET) == code
    if state == "post_only":
        world.exchange.place_order(uid, REST | {"ordType": "post_only"})


def test_an_announced_lot_size_comes_at_its_time() -> None:
    world = World()
    exchange, uid = world.exchange, world.member("2").uid
    exchange.announce_change("BTC-USDT-SWAP", "lotSz", "1", world.now + 1000)
    [row] = world.pushed("instruments")
    assert row["upcChg"] == [{"param": "lotSz", "newValue": "1", "effTime": str(world.now + 1000)}]
    exchange.place_order(uid, REST | {"sz": "1.5"})
    world.now += 1000
    exchange.tick()
    [row] = world.pushed("instruments")
    assert (row["lotSz"], row["upcChg"]) == ("1", [])
    assert rejected(exchange.place_order, uid, REST | {"sz": "1.5"}) == "51121"
    assert World().exchange.instruments["BTC-USDT-SWAP"].lot_sz == Decimal("0.01")  # of another exchange


def test_each_master_account_has_a_quota_that_its_subs_share() -> None:
    world = World()
    exchange = world.exchange
    master = world.member("2")
    sub = exchange.add_member("sub", main_uid=master.uid)
    other = world.member("2")
    exchange.quotas[master.uid, "BTC-USDT-SWAP"] = Decimal(2000)
    exchange.place_order(master.uid, MARKET | {"sz": "2"})  # 1200 USD
    assert Decimal(exchange.quota_fields(sub.uid, "BTC-USDT-SWAP")["longPosRemainingQuota"]) == 800
    assert rejected(exchange.place_order, sub.uid, MARKET | {"sz": "2"}) == "54030"
    exchange.place_order(sub.uid, REST)  # 600 USD, resting
    assert rejected(exchange.place_order, sub.uid, MARKET) == "54030"
    exchange.place_order(sub.uid, MARKET | {"side": "sell", "sz": "3"})
    exchange.place_order(other.uid, MARKET | {"sz": "10"})


@pytest.mark.parametrize("code", ["54094", "54092", "54109", "59113", "51024", "54031", "51155"])
def test_an_account_can_be_refused_by_code(code: str) -> None:
    world = World()
    exchange, member = world.exchange, world.member("2")
    exchange.place_order(member.uid, MARKET)
    member.refused["BTC-USDT-SWAP"] = code
    assert rejected(exchange.place_order, member.uid, MARKET) == code
    exchange.place_order(member.uid, MARKET | {"instId": "ETH-USDT-SWAP"})
    reducing = MARKET | {"side": "sell", "reduceOnly": True}
    if code == "54094":  # the cool-off lets positions shrink
        exchange.place_order(member.uid, reducing)
    else:
        assert rejected(exchange.place_order, member.uid, reducing) == code


def test_config_can_show_another_role(exchange: Exchange) -> None:
    member = exchange.add_member("lead")
    member.config |= {"roleType": "1", "traderInsts": ["BTC-USDT-SWAP"]}
    assert exchange.config_row(member.uid)["traderInsts"] == ["BTC-USDT-SWAP"]
