"""One scene for each kind of instrument, account mode and bill: what is pushed, and what REST says afterwards."""

from decimal import Decimal
from typing import Any

import pytest

from okxsync.sandbox.exchange.exchange import Exchange, OrderRejected
from okxsync.sandbox.exchange.trader import Trader
from tests.sandbox.worlds import World, rows_of

BTC, SWAP, INVERSE = "BTC-USDT", "BTC-USDT-SWAP", "BTC-USD-SWAP"
MODES = [("1", "net_mode"), ("2", "net_mode"), ("2", "long_short_mode"), ("3", "net_mode"), ("3", "long_short_mode"),
         ("4", "net_mode")]  # fmt: skip


@pytest.fixture
def world() -> World:
    return World()


def market(side: str, sz: str, inst_id: str = SWAP, **more: Any) -> dict[str, Any]:
    return {"instId": inst_id, "tdMode": "cross", "side": side, "ordType": "market", "sz": sz, **more}


def limit(side: str, sz: str, px: str, inst_id: str = SWAP, **more: Any) -> dict[str, Any]:
    return market(side, sz, inst_id) | {"ordType": "limit", "px": px, **more}


def on_margin(side: str, sz: str, td_mode: str = "cross") -> dict[str, Any]:
    return market(side, sz, BTC, tdMode=td_mode, ccy="USDT", tgtCcy="base_ccy")


def detail(exchange: Exchange, uid: str, ccy: str) -> dict[str, Any]:
    return next(row for row in exchange.account_row(uid)["details"] if row["ccy"] == ccy)


def newest_bill(exchange: Exchange, uid: str) -> dict[str, Any]:
    return exchange.bill_rows(uid)[0]


# Modes


@pytest.mark.parametrize(
    ("acct_lv", "body", "code"),
    [
        ("1", market("buy", "1"), "51010"),
        ("1", on_margin("buy", "0.01"), "51010"),
        ("3", market("buy", "0.01", BTC, tdMode="isolated"), "50072"),
        ("3", market("buy", "1", tdMode="isolated"), "50072"),
        ("4", market("buy", "1", reduceOnly=True), "51205"),
        ("2", market("buy", "1", posSide="long"), "51000"),
    ],
)
def test_what_a_mode_does_not_have_is_rejected(world: World, acct_lv: str, body: dict[str, Any], code: str) -> None:
    with pytest.raises(OrderRejected) as caught:
        world.exchange.place_order(world.member(acct_lv).uid, body)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("acct_lv", "pos_mode"), [("1", "long_short_mode"), ("4", "long_short_mode"), ("5", "net_mode")]
)
def test_an_account_mode_that_does_not_exist_is_rejected(world: World, acct_lv: str, pos_mode: str) -> None:
    with pytest.raises(ValueError, match="does not exist"):
        world.member(acct_lv, pos_mode)


@pytest.mark.parametrize(("acct_lv", "pos_mode"), MODES)
def test_the_config_names_the_modes(world: World, acct_lv: str, pos_mode: str) -> None:
    row = world.exchange.config_row(world.member(acct_lv, pos_mode).uid)
    assert (row["acctLv"], row["posMode"], row["autoLoan"]) == (acct_lv, pos_mode, acct_lv in "34")


def test_a_pair_is_listed_as_spot_and_as_margin(world: World) -> None:
    spot, margin = (world.exchange.instrument_rows(kind)[0] for kind in ("SPOT", "MARGIN"))
    assert spot["instId"] == margin["instId"]
    assert (spot["instType"], spot["lever"]) == ("SPOT", "")
    assert (margin["instType"], margin["lever"]) == ("MARGIN", "10")


# Long/short mode


def test_long_and_short_are_two_positions_that_do_not_net(world: World) -> None:
    exchange, uid = world.exchange, world.member("2", "long_short_mode").uid
    exchange.place_order(uid, market("buy", "3", posSide="long"))
    exchange.place_order(uid, market("sell", "2", posSide="short"))
    assert {(row["posSide"], row["pos"]) for row in exchange.position_rows(uid)} == {("long", "3"), ("short", "2")}
    with pytest.raises(OrderRejected, match="51000"):
        exchange.place_order(uid, market("buy", "1"))
    closing = exchange.place_order(uid, market("sell", "5", posSide="long"))
    assert closing.acc_fill_sz == 3  # a close is reduce-only by itself
    assert [(row["posSide"], row["pos"]) for row in exchange.position_rows(uid)] == [("short", "2")]
    exchange.close_position(uid, {"instId": SWAP, "mgnMode": "cross", "posSide": "short"})
    assert exchange.position_rows(uid) == []
    assert {row["subType"] for row in exchange.fill_rows(uid)} == {"3", "4", "5", "6"}


# Inverse contracts


def test_an_inverse_swap_is_settled_in_the_coin(world: World) -> None:
    exchange, uid = world.exchange, world.member("2").uid
    order = exchange.place_order(uid, limit("buy", "60", "60000.1", INVERSE, ordType="fok"))
    assert (order.state, order.fee_ccy) == ("filled", "BTC")
    [row] = exchange.position_rows(uid)
    assert (row["ccy"], row["pos"]) == ("BTC", "60")
    exchange.set_mark(INVERSE, "75000")
    [row] = exchange.position_rows(uid)
    expected = Decimal(6000) / Decimal(row["avgPx"]) - Decimal(6000) / 75000
    assert abs(Decimal(row["upl"]) - expected) < Decimal("1e-9")
    assert newest_bill(exchange, uid)["ccy"] == "BTC"


# Isolated positions


def test_the_margin_of_an_isolated_position_leaves_the_balance_and_returns(world: World) -> None:
    exchange, uid = world.exchange, world.member("2").uid
    exchange.place_order(uid, limit("buy", "1", "60000.1", tdMode="isolated", ordType="fok"))
    [row] = exchange.position_rows(uid)
    bills = [bill for bill in exchange.bill_rows(uid) if bill["type"] == "2"]
    assert (bills[0]["mgnMode"], bills[0]["posBal"]) == ("isolated", row["margin"])
    for bill in bills:
        assert Decimal(bill["balChg"]) == Decimal(bill["fee"]) - Decimal(bill["posBalChg"])
    assert detail(exchange, uid, "USDT")["isoEq"] != "0"
    exchange.close_position(uid, {"instId": SWAP, "mgnMode": "isolated"})
    assert newest_bill(exchange, uid)["posBal"] == "0"
    paid = sum(Decimal(bill["pnl"]) + Decimal(bill["fee"]) for bill in exchange.bill_rows(uid))
    assert Decimal(detail(exchange, uid, "USDT")["cashBal"]) == 100_000 + paid


def test_a_cross_position_has_no_balance_of_its_own(world: World) -> None:
    exchange, uid = world.exchange, world.member("2").uid
    exchange.place_order(uid, market("buy", "1"))
    bill = newest_bill(exchange, uid)
    assert (bill["posBal"], bill["posBalChg"]) == ("0", "0")
    assert Decimal(bill["balChg"]) == Decimal(bill["pnl"]) + Decimal(bill["fee"])


def test_isolated_funding_changes_the_margin_and_no_balance() -> None:
    world = World(funding_ms=1_000)
    exchange, uid = world.exchange, world.member("2").uid
    exchange.place_order(uid, market("buy", "5", tdMode="isolated"))
    before, cash = exchange.position_rows(uid)[0], detail(exchange, uid, "USDT")["cashBal"]
    exchange.take_pushes()
    world.now += 1_000
    exchange.tick()
    pushes = exchange.take_pushes()
    bill, after = newest_bill(exchange, uid), exchange.position_rows(uid)[0]
    assert (bill["type"], bill["balChg"], bill["pnl"]) == ("8", "0", bill["posBalChg"])
    assert Decimal(after["margin"]) == Decimal(before["margin"]) + Decimal(bill["pnl"])
    assert bill["posBal"] == after["margin"]
    assert detail(exchange, uid, "USDT")["cashBal"] == cash
    [event] = rows_of(pushes, "balance_and_position")
    assert (event["eventType"], event["balData"]) == ("funding_fee", [])
    assert rows_of(pushes, "account") == []
    assert rows_of(pushes, "positions")[0]["fundingFee"] == after["fundingFee"]


# Margin


def test_a_long_margin_position_holds_the_coin_and_owes_the_price(world: World) -> None:
    exchange, uid = world.exchange, world.member("2").uid
    order = exchange.place_order(uid, on_margin("buy", "0.5"))
    [row] = exchange.position_rows(uid)
    assert (row["instType"], row["posSide"], row["posCcy"], row["liabCcy"]) == ("MARGIN", "net", "BTC", "USDT")
    assert Decimal(row["pos"]) == Decimal("0.5") + order.fee  # a buyer pays in what is bought
    assert Decimal(row["liab"]) == -order.value
    assert [one["instType"] for one in exchange.order_rows(uid)] == ["MARGIN"]
    assert detail(exchange, uid, "BTC")["cashBal"] == "1"  # what is borrowed and bought is the position's
    exchange.set_mark(BTC, "66000")
    exchange.close_position(uid, {"instId": BTC, "mgnMode": "cross"})
    assert exchange.position_rows(uid) == []
    gained = Decimal(detail(exchange, uid, "USDT")["cashBal"]) - 100_000
    assert 2_900 < gained < 3_000  # half a coin, 6000 each, minus fees


def test_a_short_margin_position_holds_the_proceeds_and_owes_the_coin(world: World) -> None:
    exchange, uid = world.exchange, world.member("2").uid
    order = exchange.place_order(uid, on_margin("sell", "0.5", "isolated"))
    [row] = exchange.position_rows(uid)
    assert (row["posCcy"], row["liabCcy"], row["liab"], row["mgnMode"]) == ("USDT", "BTC", "-0.5", "isolated")
    assert Decimal(row["pos"]) == order.value
    assert newest_bill(exchange, uid)["posBal"] == row["margin"] != "0"
    exchange.set_mark(BTC, "54000")
    exchange.close_position(uid, {"instId": BTC, "mgnMode": "isolated"})
    assert exchange.position_rows(uid) == []
    [closed] = exchange.positions_history_rows(uid)
    assert (closed["instType"], closed["direction"], closed["type"]) == ("MARGIN", "short", "2")
    assert 2_900 < Decimal(detail(exchange, uid, "USDT")["cashBal"]) - 100_000 < 3_000
    assert abs(Decimal(detail(exchange, uid, "BTC")["cashBal"]) - 1) < Decimal("1e-7")


def test_interest_of_a_margin_position_is_added_to_its_debt() -> None:
    world = World(interest_ms=1_000)
    exchange, uid = world.exchange, world.member("2").uid
    exchange.place_order(uid, on_margin("buy", "0.5"))
    debt = Decimal(exchange.position_rows(uid)[0]["liab"])
    cash = detail(exchange, uid, "USDT")["cashBal"]
    for _ in range(2):  # accrued, then charged
        world.now += 1_000
        exchange.tick()
    bill = newest_bill(exchange, uid)
    assert (bill["type"], bill["subType"], bill["instType"], bill["balChg"]) == ("7", "9", "MARGIN", "0")
    assert Decimal(exchange.position_rows(uid)[0]["liab"]) == debt + Decimal(bill["interest"])
    assert Decimal(exchange.position_rows(uid)[0]["interest"]) > 0
    assert detail(exchange, uid, "USDT")["cashBal"] == cash


@pytest.mark.parametrize("acct_lv", ["3", "4"])
def test_in_the_pooled_modes_cash_below_zero_is_a_liability_with_interest(acct_lv: str) -> None:
    world = World(interest_ms=1_000)
    exchange, uid = world.exchange, world.member(acct_lv, deposit={"USDT": "1000", "BTC": "1"}).uid
    exchange.place_order(uid, market("buy", "0.1", BTC, tgtCcy="base_ccy"))
    row = detail(exchange, uid, "USDT")
    assert Decimal(row["cashBal"]) < 0
    assert row["liab"] == row["crossLiab"] == str(-Decimal(row["cashBal"]))
    assert exchange.position_rows(uid) == []
    assert exchange.account_row(uid)["notionalUsdForBorrow"] == row["liab"]
    world.now += 1_000
    exchange.tick()
    row = detail(exchange, uid, "USDT")
    assert Decimal(row["interest"]) > 0
    assert Decimal(row["eq"]) == Decimal(row["cashBal"]) - Decimal(row["interest"])
    exchange.take_pushes()
    world.now += 1_000
    exchange.tick()
    bill = newest_bill(exchange, uid)
    assert (bill["type"], bill["balChg"]) == ("7", bill["interest"])
    assert rows_of(exchange.take_pushes(), "balance_and_position")[0]["eventType"] == "interest_deduction"
    exchange.place_order(uid, market("sell", "0.2", BTC, tgtCcy="base_ccy"))
    for _ in range(2):
        world.now += 1_000
        exchange.tick()
    row = detail(exchange, uid, "USDT")
    assert (row["liab"], row["interest"]) == ("0", "0")


def test_cash_orders_never_borrow(world: World) -> None:
    exchange, uid = world.exchange, world.member("3", deposit={"USDT": "1000", "BTC": "1"}).uid
    with pytest.raises(OrderRejected, match="51008"):
        exchange.place_order(uid, market("buy", "0.1", BTC, tdMode="cash", tgtCcy="base_ccy", banAmend=True))


# Expiry


def test_a_future_is_delivered_at_the_index_without_an_order(world: World) -> None:
    exchange, uid = world.exchange, world.member("2").uid
    future = world.listed("FUTURES", "BTC-USDT")
    exchange.place_order(uid, market("buy", "2", future))
    resting = exchange.place_order(uid, limit("buy", "1", "50000", future))
    orders = len(exchange.order_rows(uid))
    exchange.take_pushes()
    exchange.expire()
    pushes = exchange.take_pushes()
    assert (resting.state, resting.cancel_source) == ("canceled", "7")
    fill, bill = exchange.fill_rows(uid)[0], newest_bill(exchange, uid)
    assert (fill["ordId"], fill["tradeId"], fill["subType"], fill["execType"]) == ("", "0", "112", "")
    assert fill["fillPx"] == "60000"
    assert (bill["type"], bill["subType"], bill["ordId"]) == ("3", "112", "")
    assert fill["billId"] == bill["billId"]
    assert len(exchange.order_rows(uid)) == orders
    assert [row["state"] for row in rows_of(pushes, "orders")] == ["canceled"]
    assert rows_of(pushes, "positions")[0]["pos"] == "0"
    assert rows_of(pushes, "balance_and_position")[-1]["eventType"] == "delivered"
    changed = rows_of(pushes, "instruments")
    assert (changed[0]["instId"], changed[0]["state"]) == (future, "expired")
    assert world.listed("FUTURES", "BTC-USDT") != future
    with pytest.raises(OrderRejected, match="51001"):
        exchange.place_order(uid, market("buy", "2", future))


@pytest.mark.parametrize(
    ("side", "opt_type", "index", "sub_type", "value"),
    [
        ("buy", "C", "75000", "170", "0.002"),
        ("buy", "P", "75000", "172", "0"),
        ("sell", "C", "75000", "171", "-0.002"),
        ("sell", "P", "48000", "171", "-0.0025"),
    ],
)
def test_an_option_is_exercised_or_ends_without_a_push_of_its_position(
    world: World, side: str, opt_type: str, index: str, sub_type: str, value: str
) -> None:
    exchange, uid = world.exchange, world.member("2").uid
    option = next(each.inst_id for each in exchange.listed if each.opt_type == opt_type)
    px = "0.0301" if side == "buy" else "0.0299"
    exchange.place_order(uid, limit(side, "1", px, option, ordType="fok"))
    [row] = exchange.position_rows(uid)
    assert (row["ccy"], row["liqPx"], Decimal(row["optVal"])) == ("BTC", "", Decimal(row["pos"]) * Decimal("0.0003"))
    exchange.set_mark(BTC, index)
    exchange.take_pushes()
    exchange.expire()
    pushes = exchange.take_pushes()
    fill, bill = exchange.fill_rows(uid)[0], newest_bill(exchange, uid)
    assert (fill["subType"], fill["ordId"], bill["type"]) == (sub_type, "", "3")
    assert Decimal(bill["balChg"]) == Decimal(value) + Decimal(bill["fee"])
    assert rows_of(pushes, "positions") == rows_of(pushes, "orders") == []
    [event] = rows_of(pushes, "balance_and_position")
    assert (event["eventType"], event["posData"][0]["pos"]) == ("exercised", "0")
    assert exchange.position_rows(uid) == []


def test_market_orders_of_options_do_not_exist(world: World) -> None:
    with pytest.raises(OrderRejected, match="51066"):
        world.exchange.place_order(world.member("2").uid, market("buy", "1", world.listed("OPTION")))


# Off the book


def test_a_block_trade_is_a_fill_without_an_order(world: World) -> None:
    exchange, uid = world.exchange, world.member("2").uid
    exchange.block_trade(uid, SWAP, "buy", "10")
    pushes = exchange.take_pushes()
    assert rows_of(pushes, "orders") == exchange.order_rows(uid) == []
    [fill] = exchange.fill_rows(uid)
    assert (fill["ordId"], fill["clOrdId"], fill["subType"], fill["tradeId"] != "0") == ("", "", "204", True)
    assert newest_bill(exchange, uid)["billId"] == fill["billId"]
    assert rows_of(pushes, "positions")[0]["pos"] == "10"
    [event] = rows_of(pushes, "balance_and_position")
    assert event["trades"] == [{"instId": SWAP, "tradeId": fill["tradeId"]}]


def test_a_spread_is_a_fill_of_each_leg(world: World) -> None:
    exchange, uid = world.exchange, world.member("2", "long_short_mode").uid
    future = world.listed("FUTURES", "BTC-USDT")
    exchange.spread_trade(uid, (SWAP, future), "buy", "4")
    assert {(row["instId"], row["subType"], row["ordId"]) for row in exchange.fill_rows(uid)} == {
        (SWAP, "273", ""),
        (future, "272", ""),
    }
    assert {(row["instId"], row["posSide"]) for row in exchange.position_rows(uid)} == {
        (SWAP, "short"),
        (future, "long"),
    }


# All together


@pytest.mark.parametrize(("acct_lv", "pos_mode"), MODES)
def test_bills_add_up_and_positions_are_their_fills_in_every_mode(acct_lv: str, pos_mode: str) -> None:
    world = World(3, funding_ms=3_000, interest_ms=2_000, expiry_ms=15_000)
    exchange = world.exchange
    uid = world.member(acct_lv, pos_mode).uid
    trader = Trader(exchange, 3)
    for _ in range(700):
        trader.step()
        world.now += 50
        exchange.tick()
    running: dict[str, Decimal] = {}
    for bill in reversed(exchange.bill_rows(uid)):
        running[bill["ccy"]] = running.get(bill["ccy"], Decimal(0)) + Decimal(bill["balChg"])
        assert Decimal(bill["bal"]) == running[bill["ccy"]]
    cash = {row["ccy"]: Decimal(row["cashBal"]) for row in exchange.account_row(uid)["details"]}
    assert {ccy: amount for ccy, amount in running.items() if amount} == {ccy: had for ccy, had in cash.items() if had}
    held: dict[tuple[str, str], Decimal] = {}
    for fill in exchange.fill_rows(uid):
        if fill["instType"] in ("SWAP", "FUTURES", "OPTION"):
            signed = Decimal(fill["fillSz"]) * (1 if fill["side"] == "buy" else -1)
            key = fill["instId"], fill["posSide"]
            held[key] = held.get(key, Decimal(0)) + signed
    shown: dict[tuple[str, str], Decimal] = {}
    for row in exchange.position_rows(uid):
        if row["instType"] != "MARGIN":
            key = row["instId"], row["posSide"]
            signed = Decimal(row["pos"]) * (-1 if row["posSide"] == "short" else 1)
            shown[key] = shown.get(key, Decimal(0)) + signed
    assert {key: sz for key, sz in held.items() if sz} == {key: sz for key, sz in shown.items() if sz}
    kinds = {(bill["instType"], bill["type"]) for bill in exchange.bill_rows(uid)}
    if acct_lv == "1":
        assert {inst_type for inst_type, _ in kinds} == {"", "SPOT"}
    else:
        assert {("SWAP", "8"), ("FUTURES", "3"), ("OPTION", "3"), ("MARGIN", "2"), ("SPOT", "2")} <= kinds


@pytest.mark.parametrize("inst_type", ["SPOT", "MARGIN", "SWAP", "FUTURES", "OPTION"])
def test_a_trader_of_one_type_trades_nothing_else(world: World, inst_type: str) -> None:
    exchange, uid = world.exchange, world.member("2").uid
    trader = Trader(exchange, 3, {inst_type})
    for _ in range(100):
        trader.step()
        world.now += 50
        exchange.tick()
    assert {row["instType"] for row in exchange.fill_rows(uid)} == {inst_type}


def test_nothing_moves_while_the_market_is_closed(world: World) -> None:
    exchange, uid = world.exchange, world.member("2").uid
    exchange.place_order(uid, market("buy", "1"))
    exchange.closed = True
    before = exchange.position_rows(uid), exchange.bill_rows(uid)
    exchange.take_pushes()
    world.now += 30 * 86_400_000
    exchange.tick()
    assert (exchange.position_rows(uid), exchange.bill_rows(uid)) == before
    assert exchange.take_pushes() == []
