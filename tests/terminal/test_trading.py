"""Trading over real sockets: what an attacker would send, and what a page may."""

import json
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from okxsync.messages import PlanAnswer, PlanPreviewed
from okxsync.plans.children import to_columns
from okxsync.plans.preview import to_plan_columns
from okxsync.terminal import trading
from okxsync.terminal.access import TRADE_IDLE_S, TRIES
from okxsync.terminal.server import MAX_BODY, serve_terminal
from okxsync.terminal.trading import MAX_REQUEST, PENDING
from tests.plans.cases import CONTRACTS, PLAN_ID, account, plan, preview
from tests.support.desk import Desk
from tests.support.terminal import Clock, Visitor

DOCUMENT = CONTRACTS.format(valid_for="60s", contracts=2)
CANCEL = {"kind": "cancel", "plan": PLAN_ID}
PREVIEW = preview(plan(), account("alpha"), account("beta"))


@pytest.fixture
def desk(desk: Desk) -> Desk:
    """A database whose daemon is this process."""
    desk.apply(desk.start(time.time_ns() // 1000, os.getpid()))
    return desk


@pytest.fixture
async def visitor(desk: Desk, clock: Clock) -> AsyncIterator[Visitor]:
    """A browser that has logged in to a terminal that may trade."""
    async with serve_terminal(desk.path, trade=["core"], steady_s=clock) as (address, token):
        visitor = Visitor(address, token)
        await visitor.login()
        yield visitor


async def ask(visitor: Visitor, path: str = "/request", **message: Any) -> httpx.Response:
    headers = {"Cookie": visitor.cookie, "X-Okxsync-Key": visitor.key}
    return await visitor.request("POST", path, json=message, headers=headers)


def is_halted(desk: Desk) -> bool:
    return Path(f"{desk.path}.halt").exists()


def beat(desk: Desk, *, stops: bool = False) -> None:
    """The daemon says that it lives, or that it stops; on a busy machine a heartbeat is soon old."""
    now_us = time.time_ns() // 1000
    desk.apply(desk.heartbeat(now_us, now_us if stops else None))


def requests(desk: Desk) -> list[tuple[Any, ...]]:
    return desk.rows("SELECT kind, plan_id, body FROM requests ORDER BY id")


async def test_a_request_becomes_the_row_of_the_command_line(desk: Desk, visitor: Visitor) -> None:
    answer = await ask(visitor, kind="preview", document=DOCUMENT)
    assert answer.status_code == 200
    asked = answer.json()
    ((kind, plan_id, body),) = requests(desk)
    assert (kind, plan_id) == ("preview", asked["plan"])
    assert 'title = "contracts at the market"' in json.loads(body)["document"]
    (by, lasts_us) = desk.rows("SELECT by, expires_at - at FROM requests")[0]
    assert by.endswith(", terminal")
    assert lasts_us == 30_000_000
    desk.apply(PlanAnswer(asked["request"], time.time_ns() // 1000, "bad-plan", "there is no group"))
    async with visitor.view("requests") as view:
        while not view.now or {one["outcome"] for one in view.rows.get("requests", {}).values()} != {"bad-plan"}:
            await view.take()
    assert [*view.rows["requests"]] == [(asked["request"],)]
    assert view.now["trade"] == {"groups": ["core"]}


async def test_a_page_follows_the_plan_that_it_names(desk: Desk, visitor: Visitor) -> None:
    orders = [to_columns(PLAN_ID, one) for one in PREVIEW.children]
    async with visitor.view("plans", "plan_orders") as view:
        await view.send({"epoch": None, "sub": {"plans": None, "plan_orders": None}, "plan": PLAN_ID})
        desk.apply(PlanPreviewed(to_plan_columns(PREVIEW), orders))
        while len(view.rows.get("plan_orders", {})) < 2 or not view.rows["plans"][(PLAN_ID,)]["typed"]:
            await view.take()
        shown = view.rows["plans"][(PLAN_ID,)]
        assert shown["typed"] == f"2 accounts {int(shown['confirm'].partition('/')[2]):,} USD"
        assert shown["expires_at"] == shown["preview_at"] + 60_000_000
        assert {one["account"] for one in view.rows["plan_orders"].values()} == {"alpha", "beta"}
        await view.send({"epoch": None, "sub": {"plans": None, "plan_orders": None}, "plan": "../../etc/pw"})
        while view.rows["plan_orders"]:
            await view.take()
        assert view.rows["plans"][(PLAN_ID,)]["typed"] is None


async def test_without_the_option_no_route_changes_anything(desk: Desk) -> None:
    async with serve_terminal(desk.path) as (address, token):
        visitor = Visitor(address, token)
        await visitor.login()
        for message in ({"kind": "preview", "document": DOCUMENT}, CANCEL, {"kind": "halt"}, {"kind": "resume"}):
            assert (await ask(visitor, **message)).status_code == 404
        assert (await ask(visitor, "/session/trade", token=token)).status_code == 404
        async with visitor.view("plans") as view:
            while not view.now:
                await view.take()
        assert view.now["trade"] is None
    assert requests(desk) == []
    assert not is_halted(desk)


async def test_another_page_changes_nothing(desk: Desk, visitor: Visitor) -> None:
    """Whatever it knows: another port of this machine is sent the cookie, and may have guessed the key."""
    host, origin = visitor.host, visitor.origin
    port = visitor.address.port
    for path in ("/request", "/session/trade"):
        for visitor.origin in (None, "null", "http://evil.example", f"http://127.0.0.1:{port + 1}"):
            assert (await ask(visitor, path, **CANCEL)).status_code == 403
        visitor.origin = origin
        for visitor.host in ("evil.example", f"127.0.0.1:{port + 1}"):
            assert (await ask(visitor, path, **CANCEL)).status_code == 421
        visitor.host = host
        for site in ("cross-site", "same-site", "none"):
            headers = {"Cookie": visitor.cookie, "X-Okxsync-Key": visitor.key, "Sec-Fetch-Site": site}
            assert (await visitor.request("POST", path, json=CANCEL, headers=headers)).status_code == 403
    assert requests(desk) == []


async def test_half_a_session_changes_nothing(desk: Desk, visitor: Visitor) -> None:
    cookie, key = visitor.cookie, visitor.key
    name = cookie.partition("=")[0]
    for path in ("/request", "/session/trade"):
        for visitor.cookie, visitor.key in ((cookie, ""), ("", key), (cookie, "x"), (f"{name}={key}", key)):
            assert (await ask(visitor, path, kind="halt", token=visitor.token)).status_code == 401
    assert requests(desk) == []
    assert not is_halted(desk)


async def test_a_form_or_another_method_changes_nothing(desk: Desk, visitor: Visitor) -> None:
    headers = {"Cookie": visitor.cookie, "X-Okxsync-Key": visitor.key}
    body = json.dumps(CANCEL).encode()
    for path in ("/request", "/session/trade"):
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "application/jsonp"):
            answer = await visitor.request("POST", path, content=body, headers={**headers, "Content-Type": kind})
            assert answer.status_code == 415
        for method in ("GET", "PUT", "DELETE", "PATCH", "HEAD"):
            answer = await visitor.request(method, path, headers={**headers, "Content-Type": "application/json"})
            assert answer.status_code == 405
    assert requests(desk) == []


async def test_a_body_has_a_longest_length(desk: Desk, visitor: Visitor) -> None:
    assert (await ask(visitor, kind="preview", document="x" * MAX_REQUEST)).status_code == 413
    assert (await ask(visitor, "/session/trade", token="x" * MAX_BODY)).status_code == 413
    assert requests(desk) == []


async def test_after_a_quarter_of_an_hour_without_trading_the_token_is_asked_for(
    desk: Desk, visitor: Visitor, clock: Clock
) -> None:
    beat(desk)
    assert (await ask(visitor, **CANCEL)).status_code == 200
    async with visitor.view("accounts") as view:
        for _ in range(3):  # an open page acknowledges all the time
            clock.now_s += TRADE_IDLE_S / 3
            await view.take()
    for message in (CANCEL, {"kind": "preview", "document": DOCUMENT}, {"kind": "resume"}):
        answer = await ask(visitor, **message)
        assert (answer.status_code, answer.json().get("token")) == (403, True)
    assert (await ask(visitor, kind="halt", cancel_orders=True)).status_code == 403
    assert not is_halted(desk)
    assert len(requests(desk)) == 1
    assert (await ask(visitor, "/session/trade", token="wrong")).status_code == 403
    assert (await ask(visitor, **CANCEL)).status_code == 403
    assert (await ask(visitor, "/session/trade", token=visitor.token)).status_code == 200
    beat(desk)
    assert (await ask(visitor, **CANCEL)).status_code == 200


async def test_guessing_the_token_for_trading_ends_after_five(visitor: Visitor) -> None:
    codes = [(await ask(visitor, "/session/trade", token=f"guess {number}")).status_code for number in range(TRIES)]
    assert codes == [403] * TRIES
    assert (await ask(visitor, "/session/trade", token=visitor.token)).status_code == 429


async def test_trading_is_halted_without_the_right_a_daemon_or_a_database(
    desk: Desk, visitor: Visitor, clock: Clock
) -> None:
    """By the same file as ``okxsync halt``."""
    clock.now_s += TRADE_IDLE_S
    file = trio.Path(f"{desk.path}.halt")
    async with visitor.view("plans") as view:
        answer = await ask(visitor, kind="halt", reason="wrong price")
        assert (answer.status_code, answer.json()["request"]) == (200, 1)
        assert is_halted(desk)
        while not view.now.get("halted"):
            await view.take()
        assert requests(desk) == [("halt", "", '{"reason":"wrong price","cancel_orders":false}')]
        await file.unlink()
        beat(desk, stops=True)
        answer = await ask(visitor, kind="halt")
        assert (answer.status_code, answer.json()["request"]) == (200, None)
        assert "no daemon is running" in answer.json()["note"]
        assert is_halted(desk)
        await file.unlink()
        desk.path.rename(desk.path.with_name("moved"))
        answer = await ask(visitor, kind="halt")
        assert (answer.status_code, answer.json()["request"]) == (200, None)
        assert is_halted(desk)
        await ask(visitor, "/session/trade", token=visitor.token)
        assert (await ask(visitor, kind="resume")).status_code == 200
        assert not is_halted(desk)
        while view.now["halted"]:
            await view.take()
    assert len(requests(desk)) == 1


async def test_nothing_is_asked_of_a_daemon_that_is_dead(desk: Desk, visitor: Visitor) -> None:
    beat(desk, stops=True)
    answer = await ask(visitor, kind="preview", document=DOCUMENT)
    assert (answer.status_code, answer.json()) == (409, {"error": trading.NO_DAEMON})
    assert requests(desk) == []


async def test_at_most_fifty_requests_wait_for_the_daemon(desk: Desk, visitor: Visitor) -> None:
    later = time.time_ns() // 1000 + 3_600_000_000
    row = "INSERT INTO requests (at, kind, plan_id, body, by, expires_at) VALUES (1, 'cancel', ?, '{}', 'me', ?)"
    desk.db.executemany(row, [(PLAN_ID, 1), *((PLAN_ID, later) for _ in range(PENDING - 1))])  # one has expired
    codes: list[int] = []

    async def send() -> None:
        codes.append((await ask(visitor, **CANCEL)).status_code)

    beat(desk)
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(send)
    assert sorted(codes) == [200, *[429] * 4]
    halted = await ask(visitor, kind="halt")
    assert (halted.status_code, halted.json()["request"]) == (200, None)
    assert is_halted(desk), "this never waits"
    desk.apply(PlanAnswer(2, 1, "no-plan", ""), PlanAnswer(3, 1, "no-plan", ""))
    beat(desk)
    assert (await ask(visitor, **CANCEL)).status_code == 200


async def test_invalid_plans_and_messages_are_answered_with_what_to_fix(desk: Desk, visitor: Visitor) -> None:
    answer = await ask(visitor, kind="preview", document="title = 3")
    assert answer.status_code == 400
    assert "title" in answer.json()["error"]
    assert (await ask(visitor, kind="sell everything")).status_code == 400
    assert (await ask(visitor, kind="execute", plan=PLAN_ID, preview_hash="x")).status_code == 400
    assert requests(desk) == []
