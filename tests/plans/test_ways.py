"""Which way a request goes, and how it looks on a WebSocket."""

from collections.abc import Callable
from pathlib import Path

import httpx
import msgspec
import pytest
import trio
from trio.testing import MockClock

from okxsync.config.settings import AccountSettings, Settings, load
from okxsync.feed.requests import NoReply, NotSent
from okxsync.plans.gather import Gatherer
from okxsync.plans.replies import Judgement, Verdict
from okxsync.plans.sender import REPLY_S, Sender, open_sending_connections
from okxsync.plans.trades import CANCEL, CANCEL_ALGOS, CANCEL_ALL_AFTER, LIMITS, PLACE, SET_LEVERAGE, Trade
from okxsync.plans.ways import WsWay
from okxsync.rest.clients import Clients
from okxsync.sandbox.exchange.exchange import Exchange
from tests.plans.cases import BTC, plan
from tests.plans.cases import account as facts_of
from tests.support.mock_http import MockHttp
from tests.support.replay import Replay, write_config
from tests.support.replies import reply

ID = "P0123456789A0001"
BODY = f'{{"instId":"{BTC}","tdMode":"cross","clOrdId":"{ID}","side":"buy","ordType":"ioc","sz":"1","px":"9"}}'
ORDER = Trade(PLACE, BTC, BODY, ID, 1_800_000_000_000)
ROW = f'"clOrdId":"{ID}","ordId":"31"'
ATTACHED = BODY[:-1] + ',"attachAlgoOrds":[{"attachAlgoClOrdId":"T1","slTriggerPx":"8","slOrdPx":"-1"}]}'


class Peer:
    """Takes the place of the connections of a daemon."""

    def __init__(self, answer: str | Exception | None, live: bool = True) -> None:
        self.answer = answer
        self.live = live
        self.asked: list[tuple[str, bytes, int]] = []

    def takes_requests(self, account: AccountSettings) -> bool:
        return self.live

    async def ask(self, account: AccountSettings, op: str, arg: bytes, exp_ms: int, begin: Callable[[], None]) -> str:
        if isinstance(self.answer, NotSent):
            raise self.answer
        begin()
        self.asked.append((op, arg, exp_ms))
        if self.answer is None:
            await trio.sleep_forever()
        await trio.lowlevel.checkpoint()
        if isinstance(self.answer, Exception):
            raise self.answer
        assert self.answer is not None
        return self.answer


def settings_in(folder: Path, change: Callable[[str], str] = lambda text: text) -> Settings:
    return load(write_config(folder, change(Replay(1, {}).accounts_toml())))


async def send(folder: Path, peer: Peer, request: Trade = ORDER, *, may: bool = True) -> Judgement | None:
    settings = settings_in(folder)
    (account,) = settings.accounts
    clients = Clients(MockHttp(lambda _: reply({})), settings.accounts)
    async with open_sending_connections() as connections:
        sender = Sender(connections, 1, WsWay(peer, lambda: True, lambda account, inst_id: 7))
        return await sender.send(account, clients.clock_of(account.site), request, lambda: may)


async def test_the_argument_is_the_body_with_the_code_of_the_instrument(tmp_path: Path) -> None:
    peer = Peer(f'{{"id":"o1","op":"order","code":"0","data":[{{{ROW},"sCode":"0"}}]}}')
    found = await send(tmp_path, peer)
    ((op, arg, exp_ms),) = peer.asked
    assert (op, exp_ms) == ("order", 1_800_000_000_000)
    sent, body = msgspec.json.decode(arg), msgspec.json.decode(BODY)
    assert body.pop("instId") == BTC
    assert sent == {"instIdCode": 7, **body}
    assert found
    assert (found.verdict, found.ord_id, found.transport, found.http_status) == (Verdict.PLACED, "31", "ws", None)


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (NotSent("the connection is not live"), Verdict.NOT_SENT),
        (NoReply("the connection ended"), Verdict.UNKNOWN),
        (f'{{"op":"order","code":"1","data":[{{{ROW.replace("31", "")},"sCode":"51008"}}]}}', Verdict.REFUSED),
        (f'{{"op":"order","code":"1","data":[{{{ROW.replace("31", "")},"sCode":"50026"}}]}}', Verdict.UNKNOWN),
        ('{"op":"order","code":"60013","msg":"Invalid args","data":[]}', Verdict.REFUSED),
        ('{"event":"error","code":"60011","msg":"Please log in","id":"o1"}', Verdict.REFUSED),
        ('{"op":"order","code":"0","data":[{"clOrdId":"P2","ordId":"32","sCode":"0"}]}', Verdict.UNKNOWN),
        ('{"op":"order","code":"0","data":[]}', Verdict.UNKNOWN),
    ],
)
async def test_what_is_known_of_an_order(tmp_path: Path, answer: str | Exception, verdict: Verdict) -> None:
    found = await send(tmp_path, Peer(answer))
    assert found
    assert (found.verdict, found.transport) == (verdict, "ws")


async def test_a_reply_that_never_comes_is_unknown(tmp_path: Path, autojump_clock: MockClock) -> None:
    found = await send(tmp_path, Peer(None))
    assert found
    assert found.verdict is Verdict.UNKNOWN
    assert f"within {REPLY_S:.0f} s" in found.text


async def test_what_may_not_be_sent_does_not_leave(tmp_path: Path) -> None:
    peer = Peer("")
    assert await send(tmp_path, peer, may=False) is None
    assert peer.asked == []


@pytest.mark.parametrize(
    ("request_", "live", "code", "wanted", "way"),
    [
        (ORDER, True, 7, True, "ws"),
        (ORDER, False, 7, True, "ws"),  # where it is withheld, since the mirror is not live either
        (ORDER, True, 7, False, "rest"),
        (ORDER, True, None, True, "rest"),
        (Trade(PLACE, BTC, ATTACHED, ID, 9), True, 7, True, "rest"),
        (Trade(CANCEL, BTC, f'{{"instId":"{BTC}","ordId":"1"}}'), True, 7, True, "ws"),
        (Trade(CANCEL, BTC, f'{{"instId":"{BTC}","ordId":"1"}}'), False, 7, True, "rest"),
        (Trade(CANCEL_ALGOS, BTC, "[]"), True, 7, True, "rest"),
        (Trade(SET_LEVERAGE, "", "{}"), True, 7, True, "rest"),
        (Trade(CANCEL_ALL_AFTER, "tag", "{}"), True, 7, True, "rest"),
    ],
)
async def test_what_a_websocket_cannot_do_goes_over_rest(
    tmp_path: Path, request_: Trade, live: bool, code: int | None, wanted: bool, way: str
) -> None:
    (account,) = settings_in(tmp_path).accounts
    async with open_sending_connections() as connections:
        sender = Sender(connections, 1, WsWay(Peer("", live), lambda: wanted, lambda account, inst_id: code))
        assert sender.transport_of(account, request_) == way
        assert Sender(connections, 1).transport_of(account, request_) == "rest"


async def test_orders_over_websocket_keep_the_limit_of_the_instrument_and_need_no_place_of_the_address(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    peer = Peer(f'{{"op":"order","code":"0","data":[{{{ROW},"sCode":"0"}}]}}')
    (account,) = settings_in(tmp_path).accounts
    clients = Clients(MockHttp(lambda _: reply({})), [account])
    times: list[float] = []
    async with open_sending_connections() as connections:
        sender = Sender(connections, 1, WsWay(peer, lambda: True, lambda account, inst_id: 7))
        for _ in range(LIMITS[PLACE].calls + 1):
            await sender.send(account, clients.clock_of(account.site), ORDER)
            times.append(trio.current_time())
    assert times[-2] - times[0] < 1
    assert times[-1] - times[0] >= LIMITS[PLACE].window_s


async def test_the_code_of_an_instrument_is_what_okx_told_this_very_account(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    """After a change of the settings a name may be that of another account, with other codes."""
    exchange = Exchange(lambda: 0, seed=1)
    rows = {row["instId"]: row for row in exchange.instrument_rows("SWAP")}

    def answer(request: httpx.Request) -> httpx.Response:
        row = rows[BTC] if request.url.path.endswith("instruments") else {"acctLv": "2"}
        return reply({"code": "0", "msg": "", "data": [row]})

    settings = settings_in(tmp_path)
    (account,) = settings.accounts
    clients = Clients(MockHttp(answer), settings.accounts)
    gatherer = Gatherer(MockHttp(answer), clients)
    assert gatherer.code_of(account, BTC) is None
    await gatherer.refresh(plan(), facts_of("alpha"))
    assert gatherer.code_of(account, BTC) == int(rows[BTC]["instIdCode"])
    assert gatherer.code_of(account, "ETH-USDT-SWAP") is None
    clients.configure(settings_in(tmp_path, lambda text: text.replace('api_key = "', 'api_key = "other-')).accounts)
    assert gatherer.code_of(account, BTC) is None
