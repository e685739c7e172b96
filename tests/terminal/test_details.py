"""One account and one order with all that belongs to it, and fills of the past, as the server answers."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from okxsync.messages import (
    ConfiguredAccount,
    GapResult,
    Lost,
    Note,
    PlanAttempt,
    PlanCancel,
    PlanProgress,
    Subscribed,
)
from okxsync.mirror import screen
from okxsync.terminal import topics
from okxsync.terminal.details import CONFIGURATION, LISTED, indented
from okxsync.terminal.gallery import FILLS_AT_ONCE, draw
from okxsync.terminal.parameters import MINUTE, BadRequest
from tests.store.test_plans import ARMED, PLAN_ID, PREVIEWED
from tests.support.desk import MS, NOW, Desk, order

HOUR = 60 * MINUTE


@pytest.fixture
def desk(desk: Desk) -> Desk:
    desk.apply(ConfiguredAccount("alpha", "sandbox", True, NOW, None))
    desk.begin("orders", "orders-algo", "account", pid=os.getpid())
    return desk


def answer(path: Path, picture: str, at: int = NOW + HOUR, **given: Any) -> dict[str, Any]:
    return dict(json.loads(draw(path, picture, {name: str(value) for name, value in given.items()}, lambda: at)))


def records(table: dict[str, Any]) -> list[dict[str, Any]]:
    return [dict(zip(table["cols"], row, strict=True)) for row in table["rows"]]


def configure(desk: Desk, **fields: Any) -> None:
    desk.db.execute("UPDATE accounts SET raw = ? WHERE name = 'alpha'", [json.dumps(fields)])


def test_of_a_configuration_only_what_is_listed_is_sent(desk: Desk) -> None:
    """Also what OKX adds later: a new field may be anything."""
    secrets = {name: f"secret-{name}" for name in ("uid", "mainUid", "label", "ip", "newField", "opAuth", "kycLv")}
    configure(desk, acctLv="3", posMode="net_mode", autoLoan=True, level="", **secrets)
    found = answer(desk.path, "account", account="alpha")
    assert "secret" not in json.dumps(found)
    facts = dict(found["facts"])
    assert facts["acctLv"] == "3 (multi-currency margin)"
    assert (facts["posMode"], facts["autoLoan"], facts["site"]) == ("net_mode", "true", "sandbox demo")
    assert "level" not in facts
    assert not {"uid", "mainUid", "label", "ip"} & CONFIGURATION.keys()


@pytest.mark.parametrize("raw", [None, "", "{", "[]", '"text"'])
def test_a_configuration_that_is_none_hides_nothing_else(desk: Desk, raw: str | None) -> None:
    desk.db.execute("UPDATE accounts SET raw = ?", [raw])
    assert [name for name, _ in answer(desk.path, "account", account="alpha")["facts"]] == ["site", "first seen"]


def test_an_account_with_its_rows_its_lanes_its_gaps_and_its_journal(desk: Desk) -> None:
    desk.push("orders", *(order(number, px="0.000000001") for number in range(LISTED + 5)))
    desk.push("account", {"uTime": str(MS), "details": [{"ccy": "USDT", "eq": "1.10", "uTime": str(MS)}]})
    desk.apply(Lost(1, "alpha", ["orders"], NOW + 10 * MINUTE, "reset"))
    desk.apply(Note(NOW, "warning", "alpha", "disconnected", "first"), Note(NOW, "info", "beta", "x", "of another one"))
    found = answer(desk.path, "account", account="alpha")
    assert records(found["balances"])[0]["eq"] == "1.10"
    assert (len(found["orders"]["rows"]), found["orders"]["more"]) == (LISTED, True)
    assert {one["px"] for one in records(found["orders"])} == {"0.000000001"}
    (gap,) = records(found["gaps"])
    assert (gap["channel"], gap["to_at"], gap["reason"]) == ("orders", None, "reset")
    assert {channel for channel, *_ in found["lanes"]} == {"orders", "orders-algo", "account"}
    assert [one["detail"] for one in records(found["journal"])] == ["first"]


def test_an_order_with_its_fills_and_the_gaps_while_it_was_open(desk: Desk) -> None:
    for number, minute in enumerate((1, 20), 1):
        at = str(MS + minute * 60_000)
        desk.push("orders", order(7, uTime=at, fillTime=at, tradeId=str(number), fillSz="0.10", fillPx="1e-9",
                                  accFillSz=f"0.{number}0", state="filled" if number == 2 else "live"))  # fmt: skip
    for minute, channel in ((5, "orders"), (7, "account"), (30, "orders")):
        desk.db.execute("UPDATE coverage SET covered_until = ? WHERE channel = ?", [NOW + minute * MINUTE, channel])
        desk.apply(Lost(1, "alpha", [channel], NOW + minute * MINUTE, f"lost at {minute}"))
        desk.apply(Subscribed(1, "alpha", [channel], NOW + (minute + 1) * MINUTE))
        (gap,) = desk.rows("SELECT max(id) FROM gaps")[0]
        desk.apply(GapResult(gap, NOW + HOUR, "filled", 3, None))
    found = answer(desk.path, "order", account="alpha", kind="order", id="7", inst="-")
    facts = dict(found["facts"])
    assert (facts["ord_id"], facts["state"], facts["acc_fill_sz"]) == ("7", "filled", "0.20")
    assert "raw" not in facts
    fills = records(found["fills"])
    assert [(one["trade_id"], one["fill_px"], one["fill_sz"]) for one in fills] == [
        ("2", "1e-9", "0.10"),
        ("1", "1e-9", "0.10"),
    ]
    assert (found["since"], found["until"]) == (NOW, NOW + 20 * MINUTE + 1)
    assert [one["reason"] for one in records(found["gaps"])] == ["lost at 5"]  # no later one, none of another channel
    assert '"ordId": "7"' in found["raw"]


def test_the_fills_of_an_order_that_is_not_stored(desk: Desk) -> None:
    at = str(MS)
    desk.push("orders", order(7, uTime=at, fillTime=at, tradeId="1", fillSz="1", fillPx="2", accFillSz="1"))
    desk.db.execute("DELETE FROM orders")
    found = answer(desk.path, "order", account="alpha", kind="order", id="7", inst="BTC-USDT-SWAP")
    assert (found["facts"], found["raw"], len(found["fills"]["rows"])) == (None, None, 1)


def test_an_algo_order_has_the_fills_of_the_orders_that_it_placed(desk: Desk) -> None:
    at = str(MS)
    algo = {"algoId": "9", "instId": "BTC-USDT-SWAP", "instType": "SWAP", "ordType": "trigger", "state": "effective",
            "sz": "1", "cTime": at, "uTime": at, "ordIdList": ["7", "8"], "ordId": "7"}  # fmt: skip
    desk.push("orders-algo", algo)
    for number in (7, 8, 10):
        desk.push("orders", order(number, fillTime=at, tradeId=str(number), fillSz="1", fillPx="2", accFillSz="1"))
    found = answer(desk.path, "order", account="alpha", kind="algo", id="9", inst="-")
    assert sorted(one["trade_id"] for one in records(found["fills"])) == ["7", "8"]


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("account", {}),
        ("account", {"account": "nobody"}),
        ("account", {"account": "../../etc/passwd"}),
        ("account", {"account": "alpha' OR '1'='1"}),
        ("order", {"account": "alpha", "kind": "order", "id": "404", "inst": "X"}),
        ("order", {"account": "alpha", "kind": "fills", "id": "1", "inst": "X"}),
        ("order", {"account": "alpha", "kind": "algo", "id": "1 OR 1=1", "inst": "X"}),
        ("fills", {"from": 0, "until": HOUR, "skip": -1}),
        ("fills", {"from": 0, "until": HOUR, "skip": 10**9}),
        ("fills", {"from": HOUR, "until": 0, "skip": 0}),
        ("../accounts.toml", {}),
    ],
)
def test_what_does_not_exist_is_a_bad_request(desk: Desk, kind: str, given: dict[str, Any]) -> None:
    with pytest.raises(BadRequest):
        answer(desk.path, kind, **given)


def test_json_is_indented_and_no_number_changes() -> None:
    assert indented('{"a":1.10,"b":"68000.10","c":12345678901234567890.50}') == (
        '{\n  "a": 1.10,\n  "b": "68000.10",\n  "c": 12345678901234567890.50\n}'
    )
    assert indented("not JSON") == "not JSON"


def fill(desk: Desk, number: int, at_ms: int | None, account: str = "alpha", inst_id: str = "X-Y", ts: int = 0) -> None:
    desk.db.execute(
        "INSERT INTO fills (account, inst_id, ord_id, trade_id, fill_time, ts, trade_id_made, source, received_at)"
        " VALUES (?, ?, '1', ?, ?, ?, 0, 'ws', 1)",
        (account, inst_id, str(number), at_ms, ts),
    )


def test_fills_of_a_time_come_newest_first_some_hundred_at_once(desk: Desk) -> None:
    desk.apply(ConfiguredAccount("beta", "sandbox", True, NOW, None))
    for number in range(FILLS_AT_ONCE + 10):
        fill(desk, number, MS + number)
    fill(desk, 9001, MS - 1)  # before
    fill(desk, 9002, MS + 3_600_000)  # at the end, which does not belong to it
    fill(desk, 9003, None, ts=MS + 5, inst_id="Z")  # without a time of its own
    fill(desk, 9004, MS + 6, account="gone")  # of an account that is not mirrored
    fill(desk, 9005, MS + 7, account="beta")
    given = {"from": NOW, "until": NOW + HOUR}
    first = answer(desk.path, "fills", skip=0, **given)
    rest = answer(desk.path, "fills", skip=FILLS_AT_ONCE, **given)
    assert (len(first["rows"]), first["more"], len(rest["rows"]), rest["more"]) == (FILLS_AT_ONCE, True, 12, False)
    assert tuple(first["cols"]) == topics.FILLS.columns
    found = [*records(first), *records(rest)]
    times = [one["fill_time"] or one["ts"] for one in found]
    assert times == sorted(times, reverse=True)
    assert {one["number"] for one in found} == {
        *(f"alpha/X-Y/1/{number}" for number in range(FILLS_AT_ONCE + 10)), "alpha/Z/1/9003", "beta/X-Y/1/9005",
    }  # fmt: skip
    assert [one["trade_id"] for one in records(answer(desk.path, "fills", skip=0, inst="Z", **given))] == ["9003"]
    assert [one["trade_id"] for one in records(answer(desk.path, "fills", skip=0, acct="bet*", **given))] == ["9005"]


def test_the_newest_fills_are_found_without_sorting_all_of_them(desk: Desk) -> None:
    at = screen.FILL_AT
    for where in (f"{at} >= 0", f"{at} >= 0 AND {at} < 9"):
        plan = desk.rows(f"EXPLAIN QUERY PLAN SELECT * FROM fills WHERE {where} ORDER BY {at} DESC LIMIT 5")
        assert "fills_by_time" in plan[0][3]
        assert not [step for step in plan if "TEMP B-TREE" in step[3]]


def test_an_order_of_a_plan_with_every_attempt_to_send_it(desk: Desk) -> None:
    """With what was asked, the codes of the reply, what they mean and what was proved; also one without a reply."""
    refused = PlanAttempt(
        1, 1, "rest", '{"sz":"1.10"}', MS + 3000, MS, MS + 1, MS + 41, 200, "1", "51008", None, "<b>poor</b>", "1", "2",
        "refused",
    )  # fmt: skip
    open_one = PlanAttempt(1, 2, "rest", '{"sz":"1.10"}', MS + 9000, MS + 6000, MS + 6001)
    cancel = PlanCancel(1, "cancel", 1, "rest", "{}", MS + 8000, MS + 8010, "placed", 200, "0", "0")
    desk.apply(PREVIEWED, ARMED, PlanProgress(PLAN_ID, [], [refused, open_one], [], cancels=[cancel]))
    found = answer(desk.path, "plan_order", plan=PLAN_ID, child=1)
    assert dict(found["facts"])["account"] == "alpha"
    first, second, third = records(found["attempts"])
    assert (first["action"], first["attempt"], first["s_code"], first["verdict"]) == ("send", 1, "51008", "refused")
    assert first["meaning"] == "not enough funds or margin"
    assert (first["s_msg"], first["replied_at"] - first["sent_at"]) == ("<b>poor</b>", 40)
    assert (second["attempt"], second["replied_at"], second["verdict"], second["meaning"]) == (2, None, None, None)
    assert (third["action"], third["verdict"]) == ("cancel", "placed")
    assert json.loads(found["requests"][0]) == {"sz": "1.10"}
    with pytest.raises(BadRequest, match="does not have this order"):
        answer(desk.path, "plan_order", plan=PLAN_ID, child=2)
