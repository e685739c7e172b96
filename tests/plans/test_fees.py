"""The fee of a taker, and that the margin of an order contains it."""

from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from okxsync.plans.fees import taker_fee
from tests.plans.cases import BTC, INVERSE_SWAP, PX, SPOT_PAIR, SWAP, D, account, plan, preview

GROUPS = [{"groupId": "1", "taker": "-0.0005"}, {"groupId": "4", "taker": "-0.0007"}]
OLD = {"taker": "-0.001", "takerU": "-0.0004", "takerUSDC": "-0.0003"}


@pytest.mark.parametrize(
    ("row", "instrument", "fee"),
    [
        ({"feeGroup": GROUPS, **OLD}, replace(SWAP, group="4"), "0.0007"),
        ({"feeGroup": GROUPS, **OLD}, replace(SWAP, group="9"), "0.0004"),
        ({"feeGroup": "?", **OLD}, replace(SWAP, quote="USDC"), "0.0003"),
        (OLD, SPOT_PAIR, "0.001"),
        (OLD, INVERSE_SWAP, "0.001"),
        ({"takerU": "0.0001"}, SWAP, "0.0001"),  # a rebate
        ({"takerU": ""}, SWAP, None),
        ({}, SWAP, None),
    ],
)
def test_it_is_that_of_the_instruments_group(row: dict[str, Any], instrument: Any, fee: str | None) -> None:
    assert taker_fee(row, instrument) == (None if fee is None else D(fee))


def test_the_margin_contains_it() -> None:
    worth = PX * D("0.01")
    (without,) = preview(plan(), account()).ready
    (child,) = preview(plan(), account(takers={BTC: D("0.0005")})).ready
    assert without.facts.margin is not None
    assert child.facts.margin is not None
    assert abs(child.facts.margin - worth / 3 - worth * D("0.0005")) < Decimal("1e-9")
    assert abs(child.facts.margin - without.facts.margin - worth * D("0.0005")) < Decimal("1e-9")
