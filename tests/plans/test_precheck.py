"""OKX's own check of an order, which is shown and decides nothing."""

import json

import httpx
import pytest

from okxsync.plans.precheck import Prechecks, summary
from okxsync.rest.clock import SiteClock
from tests.plans.cases import account, plan, preview
from tests.support.accounts import SITE
from tests.support.accounts import account as settings
from tests.support.mock_http import MockHttp
from tests.support.replies import reply

ROW = {"adjEq": "100", "adjEqChg": "-0.5", "imr": "3", "imrChg": "2.25", "mmr": "", "mmrChg": "1"}


@pytest.mark.parametrize(
    ("answer", "status", "text"),
    [
        ({"code": "0", "data": [ROW]}, 200, "adjEq 99.5, imr 5.25 after the order"),
        ({"code": "0", "data": []}, 200, "it has no objection"),
        ({"code": "51008", "msg": "x", "data": []}, 200, "rejected, 51008 not enough funds or margin (x)"),
        ({"code": "50026", "msg": "", "data": []}, 500, "50026 HTTP status 500"),
        ("no JSON", 200, "no reply: HTTP status 200, and no JSON"),
    ],
)
def test_a_reply_is_one_line_for_people(answer: object, status: int, text: str) -> None:
    body = answer if isinstance(answer, str) else json.dumps(answer)
    assert summary(body.encode(), status) == text


async def test_each_order_of_the_modes_that_have_it_is_checked_and_stays_as_it_is() -> None:
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/public/time"):
            return httpx.Response(500)
        asked.append((request.method, request.url.path, request.content.decode()))
        return reply({"code": "0", "msg": "", "data": [ROW]})

    of = preview(plan(), account("alpha"), account("beta", mode="3"), account("gamma", mode="4", live=False))
    http = MockHttp(answer)
    clock = SiteClock(http, SITE.rest)
    accounts = {name: settings(name) for name in ("alpha", "beta", "gamma")}
    modes = {"alpha": "2", "beta": "3", "gamma": "4"}
    found = await Prechecks(http, lambda _: clock).ask(of.children, accounts, modes)
    (body,) = [one.body for one in of.children if one.account == "beta"]
    assert asked == [("POST", "/api/v5/trade/order-precheck", body)]
    assert [one.facts.warnings for one in found] == [(), ("OKX's check: adjEq 99.5, imr 5.25 after the order",), ()]
    assert [(one.body, one.reason) for one in found] == [(one.body, one.reason) for one in of.children]
