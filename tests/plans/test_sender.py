"""A request is sent once or not at all, over real sockets."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from okxsync.config.settings import AccountSettings, load
from okxsync.okx.signing import sign_rest
from okxsync.plans.halt import HaltFile
from okxsync.plans.previewer import WARM_S, Previewer
from okxsync.plans.replies import Judgement, Verdict
from okxsync.plans.sender import Sender, open_sending_connections
from okxsync.plans.trades import PLACE, Trade
from okxsync.rest.clock import SiteClock
from okxsync.rest.http import open_http
from tests.plans.cases import plan
from tests.support.replay import Replay, until, write_config
from tests.support.replies import serve_reply

ID = "P0123456789A0001"
BODY = f'{{"instId":"BTC-USDT-SWAP","clOrdId":"{ID}","sz":"1"}}'
PLACED = json.dumps({"code": "0", "msg": "", "data": [{"clOrdId": ID, "ordId": "31", "sCode": "0"}]})
EXP_MS = 1_800_000_000_000
ORDER = Trade(PLACE, "BTC-USDT-SWAP", BODY, ID, EXP_MS)


def http(body: str, head: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {head}\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()


def account_at(folder: Path, port: int) -> AccountSettings:
    (account,) = load(write_config(folder, Replay(port, {}).accounts_toml())).accounts
    return account


async def place(folder: Path, port: int, may_send: Callable[[], bool] = lambda: True) -> Judgement | None:
    account = account_at(folder, port)
    async with open_sending_connections() as connections, open_http() as client:
        clock = SiteClock(client, account.site.rest)
        return await Sender(connections, 200).send(account, clock, ORDER, may_send)


def port_of(url: str) -> int:
    return int(url[:-1].rpartition(":")[2])


async def test_the_body_is_sent_as_it_is_with_its_expiry_and_a_signature(tmp_path: Path) -> None:
    requests: list[bytes] = []
    async with serve_reply(http(PLACED), requests=requests) as url:
        found = await place(tmp_path, port_of(url))
    assert found is not None
    assert (found.verdict, found.ord_id) == (Verdict.PLACED, "31")
    head, _, body = b"".join(requests).partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
    assert lines[0] == "POST /api/v5/trade/order HTTP/1.1"
    assert headers["exptime"] == str(EXP_MS)
    assert body.decode() == BODY
    stamp = headers["ok-access-timestamp"]
    assert headers["ok-access-sign"] == sign_rest("secret", stamp, "POST", b"/api/v5/trade/order", BODY.encode())


async def test_what_may_not_be_sent_does_not_reach_the_exchange(tmp_path: Path) -> None:
    requests: list[bytes] = []
    async with serve_reply(http(PLACED), requests=requests) as url:
        assert await place(tmp_path, port_of(url), lambda: False) is None
    assert [one for one in requests if one] == []


async def test_whether_it_may_be_sent_is_asked_once_and_nothing_runs_between_the_answer_and_the_write(
    tmp_path: Path,
) -> None:
    """A cancellation takes effect where other tasks run: here it comes with the answer, and the request leaves."""
    requests: list[bytes] = []
    asked: list[int] = []
    async with serve_reply(http(PLACED), requests=requests) as url:
        with trio.CancelScope() as scope:

            def may_send() -> bool:
                asked.append(len(requests))
                scope.cancel()
                return True

            await place(tmp_path, port_of(url), may_send)
        assert scope.cancelled_caught
        await until(lambda: bool(requests))
    assert asked == [0]
    assert requests[0].startswith(b"POST /api/v5/trade/order HTTP/1.1\r\n")
    assert requests[0].endswith(b"\r\n\r\n" + BODY.encode())


async def test_orders_that_are_ready_together_leave_in_several_passes_of_the_event_loop(tmp_path: Path) -> None:
    """Sockets are read in between. That a request leaves, and which, is said by ``may_send``."""
    passes, left = 0, list[int]()

    async def count_passes() -> None:
        nonlocal passes
        while True:
            passes += 1
            await trio.lowlevel.checkpoint()

    def may_send() -> bool:
        left.append(passes)
        return False  # what is to be seen has happened

    async with serve_reply(http(PLACED)) as url, open_sending_connections() as connections, open_http() as client:
        account = account_at(tmp_path, port_of(url))
        sender, clock = Sender(connections, 200), SiteClock(client, account.site.rest)
        await sender.warm([account] * 20)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(count_passes)
            async with trio.open_nursery() as orders:
                for number in range(20):
                    order = Trade(PLACE, f"{number}-USDT-SWAP", BODY, ID, EXP_MS)
                    orders.start_soon(sender.send, account, clock, order, may_send)
            nursery.cancel_scope.cancel(reason="the test is over")
    assert len(left) == 20
    assert max(map(left.count, left)) <= 2  # the counter runs before or after an order of the same pass


async def test_a_refused_connection_is_not_sent(tmp_path: Path) -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    for listener in listeners:
        await listener.aclose()
    found = await place(tmp_path, port)
    assert found is not None
    assert found.verdict is Verdict.NOT_SENT


@pytest.mark.parametrize(
    "parts", [(b"",), (b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{",), (b"garbage\r\n\r\n",)]
)
async def test_what_breaks_after_the_first_byte_is_unknown_and_is_not_repeated(
    tmp_path: Path, parts: tuple[bytes, ...]
) -> None:
    requests: list[bytes] = []
    async with serve_reply(*parts, requests=requests) as url:
        found = await place(tmp_path, port_of(url))
    assert found is not None
    assert found.verdict is Verdict.UNKNOWN
    assert len(requests) == 1


async def test_a_redirect_is_not_followed(tmp_path: Path) -> None:
    requests: list[bytes] = []
    async with serve_reply(http(PLACED, "307 Temporary Redirect\r\nlocation: /again"), requests=requests) as url:
        found = await place(tmp_path, port_of(url))
    assert found is not None
    assert found.verdict is Verdict.UNKNOWN
    assert len(requests) == 1


async def test_a_reply_that_never_comes_is_unknown(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with serve_reply(b"", silent=True) as url:
        found = await place(tmp_path, port_of(url))
    assert found is not None
    assert found.verdict is Verdict.UNKNOWN
    assert "no answer" in found.text


async def test_a_connection_that_the_exchange_closed_while_idle_costs_no_order(tmp_path: Path) -> None:
    """Each client of the stand-in is served one reply, and is closed."""
    async with serve_reply(http(PLACED)) as url, open_sending_connections() as connections, open_http() as client:
        account = account_at(tmp_path, port_of(url))
        sender = Sender(connections, 200)
        clock = SiteClock(client, account.site.rest)
        for _ in range(2):
            found = await sender.send(account, clock, ORDER)
            assert found is not None
            assert found.verdict in (Verdict.PLACED, Verdict.UNKNOWN)


def test_the_halt_file_halts(tmp_path: Path) -> None:
    halt = HaltFile(tmp_path / "okxsync.db")
    assert not halt.exists()
    for _ in range(2):
        halt.make()
    assert halt.exists()
    for _ in range(2):
        halt.remove()
    assert not halt.exists()


async def test_the_connections_of_a_plan_are_opened_before_its_orders(tmp_path: Path) -> None:
    opened = requests = 0

    async def serve(stream: trio.SocketStream) -> None:
        nonlocal opened, requests
        opened += 1
        while await stream.receive_some():
            requests += 1
            await stream.send_all(http(PLACED))

    async with trio.open_nursery() as nursery, open_sending_connections() as connections, open_http() as client:
        [listener] = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        account = account_at(tmp_path, listener.socket.getsockname()[1])
        sender, clock = Sender(connections, 200), SiteClock(client, account.site.rest)
        await sender.warm([account] * 3)
        await until(lambda: opened == 3)
        async with trio.open_nursery() as orders:
            for _ in range(3):
                orders.start_soon(sender.send, account, clock, ORDER)
        assert (opened, requests) == (3, 3)
        nursery.cancel_scope.cancel(reason="the test is over")


async def test_the_connections_stay_open_while_a_preview_may_be_approved(autojump_clock: MockClock) -> None:
    warmed: list[float] = []

    async def warm(accounts: Sequence[AccountSettings]) -> None:
        warmed.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        nothing: Any = None
        previewer = Previewer(nothing, nothing, nothing, warm, nothing, nothing, nursery)
        began = trio.current_time()
        await previewer._keep_warm(plan(), [])
        assert trio.current_time() - began == plan().valid_for
    assert warmed[:3] == [began, began + WARM_S, began + 2 * WARM_S]
    assert warmed[-1] >= began + plan().valid_for - WARM_S
