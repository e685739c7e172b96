"""``verify`` reports a difference only if it lasts: both sides may change while they are read."""

from collections.abc import Sequence
from itertools import count

import pytest
from trio.testing import MockClock

from okxsync.okx.channels import subscription
from okxsync.reconcile.verify import verify
from tests.support.desk import MS, Desk
from tests.support.scripted_rest import Exchange, Row


@pytest.mark.parametrize(("wrong", "found"), [(0, []), (1, []), (2, []), (1000, ["USDT"])])
async def test_a_difference_counts_if_it_is_there_three_times(
    desk: Desk, autojump_clock: MockClock, wrong: int, found: list[str]
) -> None:
    def balance(amount: str) -> Row:
        return {"uTime": str(MS), "details": [{"ccy": "USDT", "cashBal": amount, "uTime": str(MS)}]}

    def answer(params: dict[str, str]) -> Sequence[Row]:
        return [balance("5" if next(requests) > wrong else "4")]

    requests = count(1)
    desk.begin("account")
    desk.push("account", balance("5"))
    exchange = Exchange({"account/balance": answer})
    differences, _ = await verify(desk.path, exchange.client, [subscription("account")], 0, 1.0)
    assert [one.key for one in differences] == found
