"""Scenes on the exchange: one operation, and all that it must tell and leave behind."""

from collections.abc import Callable
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from okxsync.sandbox.exchange.exchange import Exchange, OrderRejected, Push

START = 1_700_000_000_000
BTC, SWAP = "BTC-USDT", "BTC-USDT-SWAP"


class Clock:
    """Time in ms, moved by hand."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def exchange(clock: Clock) -> Exchange:
    return Exchange(clock, seed=1)


@pytest.fixture
def uid(exchange: Exchange) -> str:
    """A member with 100000 USDT, of whose opening nothing is left to push."""
    uid = exchange.add_member("alice").uid
    exchange.take_pushes()
    return uid


def limit(side: str, sz: str, px: str, inst_id: str = SWAP, **more: Any) -> dict[str, Any]:
    td_mode = "cross" if inst_id.endswith("SWAP") else "cash"
    return {"instId": inst_id, "tdMode": td_mode, "side": side, "ordType": "limit", "sz": sz, "px": px, **more}


def market(side: str, sz: str, inst_id: str = SWAP, **more: Any) -> dict[str, Any]:
    return limit(side, sz, "", inst_id) | {"ordType": "market", **more}


def rows_pushed(pushes: list[Push], channel: str) -> list[dict[str, Any]]:
    return [row for push in pushes if push.channel == channel for row in push.rows]


def tick_until(exchange: Exchange, clock: Clock, done: Callable[[], bool]) -> None:
    for _ in range(500):
        if done():
            return
        clock.now += 100
        exchange.tick()
    raise AssertionError("not reached in 500 ticks")


def refused(code: str, operation: Callable[..., Any], *args: Any) -> None:
    with pytest.raises(OrderRejected) as caught:
        operation(*args)
    assert caught.value.code == code


# Members


def test_a_member_opens_with_its_deposit_billed(exchange: Exchange, uid: str) -> None:
    [bill] = exchange.bill_rows(uid)
    assert (bill["type"], bill["subType"], bill["bal"], bill["balChg"]) == ("1", "11", "100000", "100000")
    assert [row["state"] for row in exchange.deposit_rows(uid)] == ["2"]
    assert [(row["type"], row["balChg"]) for row in exchange.asset_bill_rows(uid)] == [
        ("131", "-100000"),
        ("1", "100000"),
    ]
    assert exchange.asset_balance_rows(uid) == []
    assert [detail["ccy"] for detail in exchange.account_row(uid)["details"]] == ["USDT"]


def test_an_empty_member_has_no_details(exchange: Exchange) -> None:
    row = exchange.account_row(exchange.add_member("empty", deposit={}).uid)
    assert row["details"] == []
    assert row["totalEq"] == "0"


def test_keys_follow_from_seed_and_name_and_do_not_show(clock: Clock) -> None:
    first, again = (Exchange(clock, 5).add_member("bob") for _ in range(2))
    assert first.credentials == again.credentials
    assert Exchange(clock, 6).add_member("bob").credentials != first.credentials
    assert first.credentials.secret_key not in repr(first)
    assert first.credentials.passphrase not in repr(first)


def test_an_exchange_that_is_started_again_gives_no_id_twice(clock: Clock) -> None:
    """Its ids begin with their time, as OKX's do: an older database must not take new orders for its own."""

    def ids(uid: str, exchange: Exchange) -> list[int]:
        exchange.place_order(uid, market("buy", "1"))
        named = [(exchange.order_rows(uid), "ordId"), (exchange.bill_rows(uid), "billId")]
        named += [(exchange.position_rows(uid), "posId"), (exchange.deposit_rows(uid), "depId")]
        return [int(row[name]) for rows, name in named for row in rows]

    def run() -> list[int]:
        exchange = Exchange(clock, 1)
        uid = exchange.add_member("alice").uid
        return [one for _ in range(50) for one in ids(uid, exchange)]

    first, same = run(), run()
    clock.now += 1_000
    later = run()
    assert first == same
    assert max(first) < min(later)
    assert {len(str(one)) for one in later} == {19}


def test_config_distinguishes_master_and_sub_accounts(exchange: Exchange, uid: str) -> None:
    sub = exchange.add_member("sub", main_uid=uid)
    assert exchange.config_row(uid)["type"] == "0"
    assert exchange.config_row(sub.uid)["mainUid"] == uid
    assert exchange.config_row(sub.uid)["type"] == "1"
    assert exchange.config_row(sub.uid)["uid"] != uid


@pytest.mark.parametrize(
    ("acct_lv", "given", "empty"),
    [
        ("1", {"totalEq", "adjEq", "imr"}, {"isoEq", "availEq", "upl", "notionalUsdForSwap"}),
        ("2", {"totalEq", "isoEq"}, {"availEq", "adjEq", "imr", "mmr", "upl"}),
        ("3", {"totalEq", "isoEq", "availEq", "adjEq", "imr", "upl"}, set()),
        ("4", {"totalEq", "isoEq", "availEq", "adjEq", "imr", "upl", "notionalUsdForSwap"}, set()),
    ],
)
def test_account_fields_are_empty_by_account_mode(
    exchange: Exchange, acct_lv: str, given: set[str], empty: set[str]
) -> None:
    row = exchange.account_row(exchange.add_member("m", acct_lv=acct_lv).uid)
    assert {name for name in given | empty if row[name] != ""} == given


def test_instrument_codes_differ_between_live_and_demo(exchange: Exchange) -> None:
    demo = {row["instId"]: row["instIdCode"] for row in exchange.instrument_rows("SWAP")}
    live = {row["instId"]: row["instIdCode"] for row in exchange.instrument_rows("SWAP", demo=False)}
    assert demo.keys() == live.keys()
    assert not set(demo.values()) & set(live.values())
    uid = exchange.add_member("c").uid
    by_code = limit("buy", "1", "50000") | {"instId": "", "instIdCode": demo[SWAP]}
    assert exchange.place_order(uid, by_code).instrument.inst_id == SWAP
    refused("51001", exchange.place_order, uid, by_code | {"instIdCode": live[SWAP]})


# Orders


def test_a_limit_order_rests_and_freezes(exchange: Exchange, uid: str) -> None:
    order = exchange.place_order(uid, limit("buy", "0.1", "50000", BTC, clOrdId="a1"))
    pushes = exchange.take_pushes()
    [row] = rows_pushed(pushes, "orders")
    assert (row["state"], row["clOrdId"], row["fillSz"], row["tradeId"]) == ("live", "a1", "0", "")
    [account] = rows_pushed(pushes, "account")
    [detail] = account["details"]
    assert (detail["ccy"], detail["cashBal"], detail["ordFrozen"], detail["availBal"]) == (
        "USDT",
        "100000",
        "5000",
        "95000",
    )
    assert rows_pushed(pushes, "balance_and_position") == []
    [row] = exchange.order_rows(uid)
    assert (row["ordId"], row["avgPx"], row["state"]) == (order.ord_id, "", "live")


def test_a_resting_order_fills_in_parts_over_ticks(exchange: Exchange, clock: Clock, uid: str) -> None:
    orders = [exchange.place_order(uid, limit("buy", "10", "59990")) for _ in range(8)]
    exchange.set_mark(SWAP, "59000")
    tick_until(exchange, clock, lambda: not any(order.pending for order in orders))
    rows = rows_pushed(exchange.take_pushes(), "orders")
    for order in orders:
        mine = [row for row in rows if row["ordId"] == order.ord_id]
        fills = mine[1:]
        assert [row["state"] for row in fills] == ["partially_filled"] * (len(fills) - 1) + ["filled"]
        assert sum(Decimal(row["fillSz"]) for row in fills) == 10
        assert {(row["execType"], row["fillPx"]) for row in fills} == {("M", "59990")}
        assert len({row["tradeId"] for row in fills}) == len(fills)
        assert [int(row["uTime"]) for row in mine] == sorted(int(row["uTime"]) for row in mine)
    assert any(row["state"] == "partially_filled" for row in rows)


def test_a_crossing_limit_order_fills_at_once(exchange: Exchange, uid: str) -> None:
    order = exchange.place_order(uid, limit("buy", "1", "60100"))
    rows = rows_pushed(exchange.take_pushes(), "orders")
    assert rows[0]["state"] == "live"
    assert rows[1]["execType"] == "T"
    assert Decimal(rows[1]["fillPx"]) < 60100
    assert order.acc_fill_sz


def test_a_spot_market_order_ends_in_a_row_without_fill(exchange: Exchange, uid: str) -> None:
    order = exchange.place_order(uid, market("buy", "1000", BTC))
    rows = rows_pushed(exchange.take_pushes(), "orders")
    assert [row["state"] for row in rows][-1] == "filled"
    assert (rows[-1]["fillSz"], rows[-1]["tradeId"]) == ("0", "")
    fills = rows[1:-1]
    assert {row["state"] for row in fills} == {"partially_filled"}
    assert all(row["tradeId"] for row in fills)
    assert rows[-1]["accFillSz"] == fills[-1]["accFillSz"] == str(sum(Decimal(row["fillSz"]) for row in fills))
    assert rows[-1]["tgtCcy"] == "quote_ccy"
    [row] = exchange.order_rows(uid)
    assert (row["fillSz"], row["tradeId"]) == (fills[-1]["fillSz"], fills[-1]["tradeId"])  # REST: the last fill
    assert 999 < order.value <= 1000


def test_a_swap_market_order_ends_with_its_last_fill(exchange: Exchange, uid: str) -> None:
    exchange.place_order(uid, market("sell", "3"))
    last = rows_pushed(exchange.take_pushes(), "orders")[-1]
    assert last["state"] == "filled"
    assert last["tradeId"]
    assert Decimal(last["fillSz"]) > 0


def test_one_spot_trade_makes_a_bill_per_currency(exchange: Exchange, uid: str) -> None:
    exchange.place_order(uid, market("buy", "0.1", BTC, tgtCcy="base_ccy"))
    fills = exchange.fill_rows(uid)
    bills = [row for row in exchange.bill_rows(uid) if row["type"] == "2"]
    assert len(bills) == 2 * len(fills)
    for fill in fills:
        base, quote = sorted(
            (row for row in bills if row["tradeId"] == fill["tradeId"]), key=lambda row: str(row["ccy"])
        )
        assert fill["billId"] == base["billId"]
        assert Decimal(base["balChg"]) == Decimal(fill["fillSz"]) + Decimal(fill["fee"])
        assert Decimal(quote["balChg"]) == -Decimal(fill["fillSz"]) * Decimal(fill["fillPx"])
        assert (fill["feeCcy"], base["fee"], quote["fee"]) == ("BTC", fill["fee"], "0")


def test_amend_keeps_the_order_and_echoes_the_request(exchange: Exchange, uid: str) -> None:
    order = exchange.place_order(uid, limit("buy", "1", "59000"))
    exchange.take_pushes()
    exchange.amend_order(uid, {"instId": SWAP, "ordId": order.ord_id, "newSz": "2", "newPx": "58000", "reqId": "r1"})
    [row] = rows_pushed(exchange.take_pushes(), "orders")
    assert (row["ordId"], row["sz"], row["px"], row["state"]) == (order.ord_id, "2", "58000", "live")
    assert (row["reqId"], row["amendResult"], row["amendSource"]) == ("r1", "0", "1")
    exchange.set_mark(SWAP, "58500")
    assert order.acc_fill_sz == 0  # its old price is no longer in the book
    exchange.cancel_order(uid, {"instId": SWAP, "ordId": order.ord_id})
    [row] = rows_pushed(exchange.take_pushes(), "orders")
    assert (row["reqId"], row["amendResult"]) == ("", "")


def test_amend_to_what_is_filled_finishes_the_order(exchange: Exchange, clock: Clock, uid: str) -> None:
    order = exchange.place_order(uid, limit("buy", "500", "59990"))
    while not order.acc_fill_sz:
        exchange.set_mark(SWAP, "59989")
    if order.pending:
        exchange.amend_order(uid, {"instId": SWAP, "ordId": order.ord_id, "newSz": "0.01"})
    assert order.state == "filled"
    assert order.sz == order.acc_fill_sz


def test_amend_into_the_market_fills_at_once(exchange: Exchange, uid: str) -> None:
    order = exchange.place_order(uid, limit("buy", "1", "59000"))
    exchange.amend_order(uid, {"instId": SWAP, "ordId": order.ord_id, "newPx": "60500"})
    assert order.acc_fill_sz


def test_amend_beyond_the_balance_is_rejected_or_cancels(exchange: Exchange, uid: str) -> None:
    order = exchange.place_order(uid, limit("buy", "1", "50000", BTC))
    body = {"instId": BTC, "ordId": order.ord_id, "newSz": "3"}
    refused("51008", exchange.amend_order, uid, body)
    assert (str(order.sz), order.state) == ("1", "live")
    exchange.take_pushes()
    exchange.amend_order(uid, body | {"cxlOnFail": True, "reqId": "r2"})
    [row] = rows_pushed(exchange.take_pushes(), "orders")
    assert (row["state"], row["amendResult"], row["reqId"], row["sz"]) == ("canceled", "1", "r2", "1")


def test_a_post_only_order_is_not_amended_into_the_market(exchange: Exchange, uid: str) -> None:
    order = exchange.place_order(uid, limit("sell", "1", "61000", ordType="post_only"))
    refused("51511", exchange.amend_order, uid, {"instId": SWAP, "ordId": order.ord_id, "newPx": "59000"})
    assert (str(order.px), order.state) == ("61000", "live")


def test_a_finished_order_is_not_amended(exchange: Exchange, uid: str) -> None:
    filled = exchange.place_order(uid, market("buy", "1"))
    canceled = exchange.place_order(uid, limit("buy", "1", "59000", ordType="fok"))
    refused("51510", exchange.amend_order, uid, {"instId": SWAP, "ordId": filled.ord_id, "newSz": "2"})
    refused("51509", exchange.amend_order, uid, {"instId": SWAP, "ordId": canceled.ord_id, "newSz": "2"})


def test_cancel_says_who_did_it_and_unfreezes(exchange: Exchange, uid: str) -> None:
    order = exchange.place_order(uid, limit("buy", "0.1", "50000", BTC, clOrdId="c1"))
    exchange.take_pushes()
    exchange.cancel_order(uid, {"instId": BTC, "clOrdId": "c1"})
    pushes = exchange.take_pushes()
    [row] = rows_pushed(pushes, "orders")
    assert (row["state"], row["cancelSource"]) == ("canceled", "1")
    assert rows_pushed(pushes, "account")[0]["details"][0]["ordFrozen"] == "0"
    refused("51400", exchange.cancel_order, uid, {"instId": BTC, "ordId": order.ord_id})


def test_post_only_that_would_cross_is_only_canceled(exchange: Exchange, uid: str) -> None:
    exchange.place_order(uid, limit("buy", "1", "61000", ordType="post_only"))
    [row] = rows_pushed(exchange.take_pushes(), "orders")
    assert (row["state"], row["cancelSource"]) == ("canceled", "31")


def test_ioc_and_fok_leave_nothing_in_the_book(exchange: Exchange, uid: str) -> None:
    ioc = exchange.place_order(uid, limit("buy", "1", "59000", ordType="ioc"))
    fok = exchange.place_order(uid, limit("buy", "1", "59000", ordType="fok"))
    assert [(order.state, order.cancel_source) for order in (ioc, fok)] == [("canceled", "14"), ("canceled", "13")]
    assert exchange.place_order(uid, limit("buy", "1", "61000", ordType="fok")).state == "filled"


def test_a_client_id_is_free_again_after_its_order(exchange: Exchange, uid: str) -> None:
    exchange.place_order(uid, limit("buy", "1", "50000", clOrdId="dup"))
    refused("51016", exchange.place_order, uid, limit("buy", "1", "50000", clOrdId="dup"))
    exchange.cancel_order(uid, {"instId": SWAP, "clOrdId": "dup"})
    second = exchange.place_order(uid, limit("buy", "1", "50000", clOrdId="dup"))
    assert exchange.cancel_order(uid, {"instId": SWAP, "clOrdId": "dup"}) is second


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"instId": "NO-SUCH"}, "51001"),
        ({"side": "up"}, "51000"),
        ({"ordType": "odd"}, "51000"),
        ({"tdMode": "cash"}, "51000"),
        ({"sz": ""}, "51000"),
        ({"sz": "x"}, "51000"),
        ({"px": "-1"}, "51000"),
        ({"px": "NaN"}, "51000"),
        ({"sz": "0.001"}, "51020"),
        ({"sz": "1.005"}, "51121"),
        ({"px": "50000.01"}, "51006"),
        ({"sz": "1000000"}, "51008"),
        ({"clOrdId": "not-alnum"}, "51000"),
        ({"reduceOnly": True}, "51169"),
        ({"posSide": "long"}, "51000"),
    ],
)
def test_an_invalid_order_is_rejected_and_changes_nothing(
    exchange: Exchange, uid: str, change: dict[str, Any], code: str
) -> None:
    refused(code, exchange.place_order, uid, limit("buy", "1", "50000") | change)
    assert exchange.order_rows(uid) == []
    assert exchange.take_pushes() == []


def test_spot_sells_what_it_bought(exchange: Exchange, uid: str) -> None:
    exchange.place_order(uid, market("buy", "0.1", BTC, tgtCcy="base_ccy"))
    bought = Decimal(exchange.account_row(uid)["details"][0]["cashBal"])
    assert bought == Decimal("0.0999")  # the fee is paid in what was bought
    sold = exchange.place_order(uid, market("sell", "0.0999", BTC))
    assert (sold.state, sold.fee_ccy) == ("filled", "USDT")
    assert [detail["ccy"] for detail in exchange.account_row(uid)["details"]] == ["USDT"]


def test_spot_orders_that_can_no_longer_be_paid_are_canceled_at_their_price(exchange: Exchange, uid: str) -> None:
    """A swap loss may eat the cash that a resting spot order counts on."""
    order = exchange.place_order(uid, limit("buy", "1.5", "59000", BTC))
    exchange.place_order(uid, market("buy", "100"))
    exchange.set_mark(SWAP, "1000")
    exchange.close_position(uid, {"instId": SWAP, "mgnMode": "cross"})
    cash = Decimal(exchange.account_row(uid)["details"][0]["cashBal"])
    assert 0 < cash < 59_000 * Decimal("1.5")
    while order.pending:
        exchange.set_mark(BTC, "58000")
    assert (order.state, order.cancel_source) == ("canceled", "2")
    assert all(Decimal(detail["cashBal"]) >= 0 for detail in exchange.account_row(uid)["details"])


def test_spot_accounts_do_not_trade_swaps(exchange: Exchange) -> None:
    uid = exchange.add_member("spot", acct_lv="1").uid
    refused("51010", exchange.place_order, uid, market("buy", "1"))
    assert exchange.place_order(uid, market("buy", "100", BTC)).state == "filled"


def test_spot_cannot_sell_more_than_the_balance(exchange: Exchange, uid: str) -> None:
    refused("51008", exchange.place_order, uid, market("sell", "1", BTC))


def test_unknown_orders_are_rejected(exchange: Exchange, uid: str) -> None:
    refused("51400", exchange.cancel_order, uid, {"instId": SWAP, "ordId": "1"})
    refused("51503", exchange.amend_order, uid, {"instId": SWAP, "ordId": "1", "newSz": "1"})
    refused("51003", exchange.cancel_order, uid, {"instId": SWAP})
    refused("51400", exchange.cancel_algo, uid, {"algoId": "1"})


# Positions


def test_open_add_reduce_close(exchange: Exchange, uid: str) -> None:
    exchange.place_order(uid, market("buy", "2"))
    [opened] = exchange.position_rows(uid)
    exchange.place_order(uid, market("buy", "2"))
    [grown] = exchange.position_rows(uid)
    assert (opened["pos"], grown["pos"], grown["posId"]) == ("2", "4", opened["posId"])
    exchange.set_mark(SWAP, "61000")
    exchange.take_pushes()
    exchange.place_order(uid, market("sell", "1"))
    [history] = exchange.positions_history_rows(uid)
    assert (history["type"], history["closeTotalPos"]) == ("1", "1")
    exchange.place_order(uid, market("sell", "3"))
    rows = rows_pushed(exchange.take_pushes(), "positions")
    assert (rows[-1]["pos"], rows[-1]["avgPx"], rows[-1]["posId"]) == ("0", "", opened["posId"])
    assert exchange.position_rows(uid) == []
    [closed] = exchange.position_rows(uid, with_closed=True)
    assert closed["pos"] == "0"
    [history] = exchange.positions_history_rows(uid)
    assert (history["type"], history["closeTotalPos"], history["openMaxPos"]) == ("2", "4", "4")
    pnl = sum(Decimal(row["fillPnl"]) for row in exchange.fill_rows(uid))
    fee = sum(Decimal(row["fee"]) for row in exchange.fill_rows(uid))
    assert Decimal(history["realizedPnl"]) == pnl + fee
    assert 39 < pnl < 40  # 4 contracts of 0.01 BTC, 1000 USDT a BTC, a few ticks lost


def test_reopening_reuses_the_position_id_in_a_new_cycle(exchange: Exchange, clock: Clock, uid: str) -> None:
    for _ in range(2):
        exchange.place_order(uid, market("buy", "1"))
        exchange.close_position(uid, {"instId": SWAP, "mgnMode": "cross"})
        clock.now += 1000
    first, second = exchange.positions_history_rows(uid)
    assert first["posId"] == second["posId"]
    assert int(first["cTime"]) > int(second["cTime"])


def test_a_flip_closes_one_cycle_and_opens_the_other(exchange: Exchange, uid: str) -> None:
    exchange.place_order(uid, limit("buy", "2", "59999.9"))
    exchange.set_mark(SWAP, "59999")
    while exchange.account(uid).pending:
        exchange.set_mark(SWAP, "59999")
    exchange.place_order(uid, limit("sell", "5", "60100"))
    while exchange.account(uid).pending:
        exchange.set_mark(SWAP, "60100")
    [row] = exchange.position_rows(uid)
    assert (row["pos"], row["avgPx"], row["pnl"]) == ("-3", "60100", "0")
    [closed] = exchange.positions_history_rows(uid)
    assert (closed["direction"], closed["openMaxPos"], closed["pnl"]) == ("long", "2", "2.002")


def test_close_position_is_a_reduce_only_market_order(exchange: Exchange, uid: str) -> None:
    refused("51023", exchange.close_position, uid, {"instId": SWAP, "mgnMode": "cross"})
    exchange.place_order(uid, market("sell", "3"))
    closing = exchange.place_order(uid, limit("buy", "3", "50000", reduceOnly=True))
    refused("51115", exchange.close_position, uid, {"instId": SWAP, "mgnMode": "cross"})
    exchange.take_pushes()
    exchange.close_position(uid, {"instId": SWAP, "mgnMode": "cross", "autoCxl": True})
    rows = rows_pushed(exchange.take_pushes(), "orders")
    assert (rows[0]["ordId"], rows[0]["state"]) == (closing.ord_id, "canceled")
    assert (rows[-1]["side"], rows[-1]["reduceOnly"], rows[-1]["state"]) == ("buy", "true", "filled")
    assert exchange.position_rows(uid) == []


def test_reduce_only_is_cut_to_the_position_and_ends_with_it(exchange: Exchange, clock: Clock, uid: str) -> None:
    exchange.place_order(uid, market("buy", "2"))
    refused("51170", exchange.place_order, uid, limit("buy", "1", "50000", reduceOnly=True))
    order = exchange.place_order(uid, limit("sell", "5", "61000", reduceOnly=True))
    assert order.sz == 2
    exchange.place_order(uid, market("sell", "2"))
    assert (order.state, order.cancel_source) == ("canceled", "17")  # with the position, not when its price comes
    assert not order.acc_fill_sz


def test_cross_and_isolated_positions_are_two(exchange: Exchange, uid: str) -> None:
    exchange.place_order(uid, market("buy", "1"))
    exchange.place_order(uid, market("sell", "1", tdMode="isolated"))
    rows = exchange.position_rows(uid)
    assert {(row["mgnMode"], row["pos"]) for row in rows} == {("cross", "1"), ("isolated", "-1")}
    assert len({row["posId"] for row in rows}) == 2


def test_marks_move_prices_of_a_position_but_not_its_time(exchange: Exchange, clock: Clock, uid: str) -> None:
    exchange.place_order(uid, market("buy", "1"))
    [before] = exchange.position_rows(uid)
    clock.now += 5000
    exchange.set_mark(SWAP, "61000")
    [after] = exchange.position_rows(uid)
    assert before["uTime"] == after["uTime"]
    assert (before["markPx"], before["upl"]) != (after["markPx"], after["upl"])


def test_balance_and_position_reports_only_changes(exchange: Exchange, uid: str) -> None:
    exchange.place_order(uid, market("buy", "1"))
    [row] = rows_pushed(exchange.take_pushes(), "balance_and_position")
    assert row["eventType"] == "filled"
    assert [each["ccy"] for each in row["balData"]] == ["USDT"]
    assert [each["pos"] for each in row["posData"]] == ["1"]
    assert {each["tradeId"] for each in row["trades"]} == {each["tradeId"] for each in exchange.fill_rows(uid)}
    snapshot = exchange.balance_and_position_row(uid)
    assert (snapshot["eventType"], snapshot["balData"]) == ("snapshot", row["balData"])


@pytest.mark.parametrize(
    ("adl", "category", "event", "bill_type", "cycle_type"),
    [(False, "full_liquidation", "liquidation", "5", "3"), (True, "adl", "adl", "9", "5")],
)
def test_a_liquidation_is_marked_and_hides_its_trade_ids(
    exchange: Exchange, uid: str, adl: bool, category: str, event: str, bill_type: str, cycle_type: str
) -> None:
    exchange.place_order(uid, market("buy", "2"))
    resting = exchange.place_order(uid, limit("buy", "1", "50000"))
    exchange.take_pushes()
    exchange.liquidate(uid, {"instId": SWAP, "mgnMode": "cross"}, adl=adl)
    pushes = exchange.take_pushes()
    rows = rows_pushed(pushes, "orders")
    assert (rows[0]["ordId"], rows[0]["state"]) == (resting.ord_id, "canceled")
    assert (rows[-1]["state"], rows[-1]["category"], rows[-1]["tradeId"]) == ("filled", category, "0")
    assert rows_pushed(pushes, "balance_and_position")[0]["eventType"] == event
    assert rows_pushed(pushes, "positions")[0]["pos"] == "0"
    fill, bill = exchange.fill_rows(uid)[0], exchange.bill_rows(uid)[0]
    assert (int(fill["tradeId"]) < 0, fill["execType"], bill["type"]) == (True, "", bill_type)
    assert exchange.positions_history_rows(uid)[0]["type"] == cycle_type


# Algo orders


def trigger(side: str, sz: str, px: str, **more: Any) -> dict[str, Any]:
    body = {"instId": SWAP, "tdMode": "cross", "side": side, "ordType": "trigger", "sz": sz}
    return body | {"triggerPx": px, "orderPx": "-1", **more}


def test_a_trigger_order_places_its_child(exchange: Exchange, uid: str) -> None:
    algo = exchange.place_algo(uid, trigger("buy", "1", "60500", algoClOrdId="t1"))
    [row] = rows_pushed(exchange.take_pushes(), "orders-algo")
    assert (row["state"], row["triggerPx"], row["ordPx"], row["ordIdList"]) == ("live", "60500", "-1", [])
    exchange.set_mark(SWAP, "60499")
    assert rows_pushed(exchange.take_pushes(), "orders-algo") == []
    exchange.set_mark(SWAP, "60500")
    pushes = exchange.take_pushes()
    [row] = rows_pushed(pushes, "orders-algo")
    child = rows_pushed(pushes, "orders")[0]
    assert (row["state"], row["ordIdList"]) == ("effective", [child["ordId"]])
    assert (child["algoId"], child["algoClOrdId"], child["source"]) == (algo.algo_id, "t1", "6")
    assert [each["pos"] for each in exchange.position_rows(uid)] == ["1"]


def test_oco_triggers_one_leg_once(exchange: Exchange, uid: str) -> None:
    exchange.place_order(uid, market("buy", "2"))
    body = {"instId": SWAP, "tdMode": "cross", "side": "sell", "ordType": "oco", "closeFraction": "1"}
    algo = exchange.place_algo(
        uid, body | {"tpTriggerPx": "61000", "tpOrdPx": "-1", "slTriggerPx": "59000", "slOrdPx": "-1"}
    )
    exchange.set_mark(SWAP, "58900")
    assert (algo.state, algo.actual_side) == ("effective", "sl")
    exchange.set_mark(SWAP, "61500")
    assert len(algo.ord_ids) == 1
    assert exchange.position_rows(uid) == []
    assert exchange.order_rows(uid)[0]["source"] == "7"


def test_a_rejected_child_fails_the_algo_order(exchange: Exchange, uid: str) -> None:
    algo = exchange.place_algo(uid, trigger("buy", "1", "59000", reduceOnly=True))
    exchange.take_pushes()
    exchange.set_mark(SWAP, "58000")
    [row] = rows_pushed(exchange.take_pushes(), "orders-algo")
    assert (row["algoId"], row["state"], row["failCode"]) == (algo.algo_id, "order_failed", "51169")


def test_a_conditional_limit_child_rests(exchange: Exchange, uid: str) -> None:
    body = {"instId": SWAP, "tdMode": "cross", "side": "sell", "sz": "1", "ordType": "conditional"}
    body |= {"tpTriggerPx": "60500", "tpOrdPx": "61000"}
    exchange.place_algo(uid, body)
    exchange.set_mark(SWAP, "60600")
    [row] = exchange.order_rows(uid)
    assert (row["state"], row["px"], row["ordType"]) == ("live", "61000", "limit")


def test_a_canceled_algo_order_never_triggers(exchange: Exchange, uid: str) -> None:
    algo = exchange.place_algo(uid, trigger("buy", "1", "60500"))
    exchange.cancel_algo(uid, {"algoId": algo.algo_id})
    exchange.set_mark(SWAP, "61000")
    assert exchange.order_rows(uid) == []
    assert [row["state"] for row in exchange.algo_rows(uid)] == ["canceled"]


# Money and time


def test_a_deposit_comes_in_by_steps(exchange: Exchange, uid: str) -> None:
    exchange.deposit(uid, "BTC", "0.5")
    for _ in range(3):
        exchange.tick()
    pushes = exchange.take_pushes()
    rows = rows_pushed(pushes, "deposit-info")
    assert [row["state"] for row in rows] == ["0", "1", "2"]
    assert {(row["uid"], row["subAcct"], row["amt"]) for row in rows} == {(uid, "", "0.5")}
    [event] = rows_pushed(pushes, "balance_and_position")
    assert (event["eventType"], event["balData"][0]["cashBal"]) == ("transferred", "0.5")
    assert exchange.bill_rows(uid)[0]["balChg"] == "0.5"
    assert exchange.asset_balance_rows(uid) == []


def test_a_withdrawal_goes_out_by_steps(exchange: Exchange, uid: str) -> None:
    refused("58350", exchange.withdraw, uid, "USDT", "100000")
    exchange.withdraw(uid, "USDT", "1000")
    assert exchange.bill_rows(uid)[0]["bal"] == "98999"  # and one for the fee
    for _ in range(3):
        exchange.tick()
    rows = rows_pushed(exchange.take_pushes(), "withdrawal-info")
    assert [row["state"] for row in rows] == ["0", "1", "2"]
    assert exchange.withdrawal_rows(uid)[0]["fee"] == "1"


def test_currencies_that_nothing_trades_in_can_be_held(exchange: Exchange) -> None:
    coins = {f"COIN{number}": "7" for number in range(30)}
    row = exchange.account_row(exchange.add_member("many", deposit=coins).uid)
    assert {detail["ccy"]: detail["eqUsd"] for detail in row["details"]} == coins
    refused("58111", exchange.deposit, next(iter(exchange.members)), "no coin", "1")
    refused("51000", exchange.deposit, next(iter(exchange.members)), "BTC", "-1")


def test_a_sub_account_is_named_in_its_deposits(exchange: Exchange, uid: str) -> None:
    sub = exchange.add_member("sub", main_uid=uid).uid
    exchange.deposit(sub, "USDT", "5")
    [row] = rows_pushed(exchange.take_pushes(), "deposit-info")
    assert (row["uid"], row["subAcct"]) == (sub, "sub")


def test_funding_is_billed_each_interval(clock: Clock) -> None:
    exchange = Exchange(clock, funding_ms=60_000)
    uid = exchange.add_member("alice").uid
    exchange.place_order(uid, market("buy", "10"))
    due = int(exchange.funding_rate_row(SWAP)["fundingTime"])
    rate = Decimal(exchange.funding_rate_row(SWAP)["fundingRate"])
    clock.now = due - 1
    exchange.tick()
    assert [row["type"] for row in exchange.bill_rows(uid)].count("8") == 0
    clock.now = due
    exchange.take_pushes()
    exchange.tick()
    pushes = exchange.take_pushes()
    bill = exchange.bill_rows(uid)[0]
    paid = -10 * Decimal("0.01") * exchange.mark(SWAP) * rate
    assert (bill["type"], bill["subType"], Decimal(bill["balChg"]), bill["pnl"]) == ("8", "173", paid, bill["balChg"])
    assert rows_pushed(pushes, "balance_and_position")[-1]["eventType"] == "funding_fee"
    assert rows_pushed(pushes, "positions")[-1]["fundingFee"] == bill["balChg"]
    assert int(exchange.funding_rate_row(SWAP)["fundingTime"]) == due + 60_000


def test_public_channels_keep_their_pace(exchange: Exchange, clock: Clock) -> None:
    times: dict[tuple[str, str], list[int]] = {}
    for _ in range(200):
        clock.now += 50
        exchange.tick()
        for push in exchange.take_pushes():
            assert push.uid == ""
            times.setdefault((push.channel, push.rows[0]["instId"]), []).append(clock.now)
    for (channel, _), told_at in times.items():
        least = {"mark-price": 200, "tickers": 100, "funding-rate": 60_000}[channel]
        assert all(later - earlier >= least for earlier, later in pairwise(told_at))
    assert {channel for channel, _ in times} == {"mark-price", "tickers", "funding-rate"}


def test_time_stands_still_while_the_clock_goes_back(exchange: Exchange, clock: Clock, uid: str) -> None:
    order = exchange.place_order(uid, limit("buy", "1", "50000"))
    clock.now -= 10_000
    exchange.cancel_order(uid, {"instId": SWAP, "ordId": order.ord_id})
    assert order.u_time == START
