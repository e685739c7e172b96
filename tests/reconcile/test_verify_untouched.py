"""An account that nobody touches is identical, for every type of instrument and account mode.

Each row is complete: every column that the table has. It is pushed in one spelling, and REST reports it in another one.
"""

from typing import Any

import msgspec
import pytest
from trio.testing import MockClock

from okxsync.okx import compare
from okxsync.okx.channels import subscription
from okxsync.okx.models import AlgoOrder, Balance, Order, Position
from okxsync.reconcile.verify import verify
from tests.support.desk import MS, Desk
from tests.support.scripted_rest import Exchange

INSTRUMENTS = {
    "SPOT": "BTC-USDT", "MARGIN": "BTC-USDT", "SWAP": "BTC-USDT-SWAP", "FUTURES": "BTC-USD-261225",
    "OPTION": "BTC-USD-261225-100000-C", "EVENTS": "EVENT-1",
}  # fmt: skip
SIDES = {"SPOT": ("", "net"), "MARGIN": ("net", ""), "EVENTS": ("", "net")}
TEXTS = {
    "instId", "instType", "ordId", "algoId", "posId", "ccy", "clOrdId", "tag", "state", "side", "posSide", "ordType",
    "tdMode", "mgnMode", "feeCcy", "rebateCcy", "posCcy", "liabCcy", "spotInUseCcy", "tradeQuoteCcy", "tgtCcy",
    "algoClOrdId", "attachAlgoClOrdId", "stpMode", "category", "outcome", "actualSide", "uTime", "cTime", "reqId",
    "fillTime", "pTime", "triggerTime",
}  # fmt: skip
"""Fields that are no number."""
LEGS = [{"attachAlgoId": "5", "tpTriggerPx": "150.0", "tpTriggerPxType": "last", "sz": ""},
        {"attachAlgoId": "6", "slTriggerPx": "90", "slTriggerPxType": "mark", "sz": "1"}]  # fmt: skip


def complete(model: type[msgspec.Struct], **fields: Any) -> dict[str, Any]:
    """Return a row with a number in every field that may have one."""
    row: dict[str, Any] = {}
    for number, field in enumerate(msgspec.structs.fields(model), 1):
        name = field.encode_name
        if field.type is str:
            row[name] = f"id{number}" if name.endswith("Id") else "" if name in TEXTS else f"{number}.50"
        elif name in ("reduceOnly", "isTpLimit", "isTradeBorrowMode", "collateralEnabled", "collateralRestrict"):
            row[name] = "false"
        else:
            row[name] = LEGS if "List" not in name else ["1", "2"]
    row.pop("maxSpotInUse", None)
    return row | {"uTime": str(MS), "cTime": str(MS)} | fields


def respelled(row: dict[str, Any], table: compare.Rules) -> dict[str, Any]:
    """Return what REST may report of the same: other formats, other orders, other prices, fields of its own."""
    other: dict[str, Any] = {}
    for name, value in row.items():
        column = compare._snake(name)
        if column in table.moving:
            other[name] = "12345" if column not in ("p_time", "fill_time") else ""
        elif isinstance(value, list):
            other[name] = [{**one, "failCode": "1"} if isinstance(one, dict) else one for one in reversed(value)]
        elif value in ("net", "last", "false"):
            other[name] = ""
        elif value == "" and name.endswith("PosSide"):
            other[name] = "net"
        elif name not in TEXTS and value.endswith(".50"):
            other[name] = f"{value}00" if len(name) % 2 else value[:-1]
        else:
            other[name] = value
    other.pop("pTime", None)
    return other | {"fieldOfTomorrow": "1"}


@pytest.fixture
def desk(desk: Desk) -> Desk:
    desk.begin("account", "positions", "orders", "orders-algo")
    return desk


async def differences(desk: Desk, channel: str, path: str, *rows: dict[str, Any]) -> list[tuple[str, str]]:
    exchange = Exchange({"account/balance": [{"details": []}], path: list(rows)})
    found, _ = await verify(desk.path, exchange.client, [subscription(channel)], 0, 0.0)
    return [(one.key, one.column) for one in found]


@pytest.mark.parametrize("inst_type", INSTRUMENTS)
@pytest.mark.parametrize("state", ["live", "partially_filled", "filled", "canceled"])
async def test_orders(desk: Desk, autojump_clock: MockClock, inst_type: str, state: str) -> None:
    pushed_side, side = SIDES.get(inst_type, ("net", "net"))
    key = {"instType": inst_type, "instId": INSTRUMENTS[inst_type], "ordId": "1", "state": state}
    row = complete(Order, **key, fillSz="0", tradeId="", posSide=pushed_side)
    desk.push("orders", row)
    path = "trade/orders-pending" if state in ("live", "partially_filled") else "trade/orders-history"
    assert await differences(desk, "orders", path, respelled(row, compare.ORDERS) | {"posSide": side}) == []
    assert await differences(desk, "orders", path, respelled(row | {"px": "7"}, compare.ORDERS)) == [("1", "px")]


@pytest.mark.parametrize("inst_type", INSTRUMENTS)
@pytest.mark.parametrize("kind", ["conditional", "oco", "trigger", "chase"])
async def test_algo_orders(desk: Desk, autojump_clock: MockClock, inst_type: str, kind: str) -> None:
    key = {"instType": inst_type, "instId": INSTRUMENTS[inst_type], "algoId": "1", "state": "live", "ordType": kind}
    row = complete(AlgoOrder, **key, posSide="net", triggerPxType="last")
    desk.push("orders-algo", row)
    path = "trade/orders-algo-pending"
    assert await differences(desk, "orders-algo", path, respelled(row, compare.ALGO_ORDERS)) == []
    other = respelled(row | {"sz": "7"}, compare.ALGO_ORDERS)
    assert await differences(desk, "orders-algo", path, other) == [("1", "sz")]


@pytest.mark.parametrize("inst_type", ["MARGIN", "SWAP", "FUTURES", "OPTION", "EVENTS"])
@pytest.mark.parametrize("side", ["net", "long", "short"])
@pytest.mark.parametrize("mgn_mode", ["cross", "isolated"])
async def test_positions(desk: Desk, autojump_clock: MockClock, inst_type: str, side: str, mgn_mode: str) -> None:
    key = {"instType": inst_type, "instId": INSTRUMENTS[inst_type], "posId": "1"}
    row = complete(Position, **key, posSide=side, mgnMode=mgn_mode, pTime=str(MS))
    desk.push("positions", row)
    path = "account/positions"
    assert await differences(desk, "positions", path, respelled(row, compare.POSITIONS)) == []
    other = respelled(row | {"pos": "7"}, compare.POSITIONS)
    assert await differences(desk, "positions", path, other) == [("1", "pos")]


# OKX docs, account channel: which fields are empty in which account mode
EMPTY = {
    "spot": "liab crossLiab isoLiab interest borrowFroz mgnRatio imr mmr upl uplLiab maxLoan notionalLever twap",
    "futures": "liab crossLiab interest borrowFroz maxLoan spotInUseAmt clSpotInUseAmt maxSpotInUseAmt",
    "multi-currency": "isoLiab spotInUseAmt clSpotInUseAmt maxSpotInUseAmt",
    "portfolio": "isoEq isoUpl isoLiab",
}


@pytest.mark.parametrize("mode", EMPTY)
@pytest.mark.parametrize("zero", ["", "0", "0.00"])
async def test_balances(desk: Desk, autojump_clock: MockClock, mode: str, zero: str) -> None:
    empty = EMPTY[mode].split()
    row = complete(Balance, ccy="USDT", **dict.fromkeys(empty, ""))
    desk.push("account", {"uTime": str(MS), "details": [row]})
    other = respelled(row, compare.BALANCES)
    other |= dict.fromkeys(empty, zero)
    other["maxSpotInUse"] = other.pop("maxSpotInUseAmt")
    assert await differences(desk, "account", "account/balance", {"details": [other]}) == []
    wrong = other | {"cashBal": "7"}
    assert await differences(desk, "account", "account/balance", {"details": [wrong]}) == [("USDT", "cash_bal")]
