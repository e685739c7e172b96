"""Which REST replies are valid, over real sockets."""

from pathlib import Path

import httpx
import pytest
from trio.testing import MockClock

from okxsync.config.settings import load
from okxsync.okx.codes import Action
from okxsync.rest.client import AccountClient, Client, RestError
from okxsync.rest.clock import SiteClock
from okxsync.rest.http import open_http
from tests.support.mock_http import MockHttp
from tests.support.replay import Replay, write_config
from tests.support.replies import reply, serve_reply
from tests.support.scripted_rest import Exchange


async def result(folder: Path, head: str, body: str) -> bytes | RestError:
    """Return what a request with this reply returns or raises."""
    answer = f"HTTP/1.1 {head}\r\ncontent-length: {len(body)}\r\n\r\n{body}"
    async with serve_reply(answer.encode()) as url, open_http() as http:
        (account,) = load(write_config(folder, Replay(int(url[:-1].rpartition(":")[2]), {}).accounts_toml())).accounts
        try:
            return await AccountClient(http, account, SiteClock(http, account.site.rest), attempts=1).get(
                "account/positions"
            )
        except RestError as error:
            return error


async def test_an_empty_list_is_valid(tmp_path: Path) -> None:
    assert await result(tmp_path, "200 OK", '{"code":"0","msg":"","data": []}') == b"[]"


@pytest.mark.parametrize(
    ("head", "body", "expected"),
    [
        ("503 Service Unavailable", '{"code":"0","msg":""}', "HTTP status 503"),
        ("403 Forbidden", '{"code":0}', "HTTP status 403"),
        ("502 Bad Gateway", '{"code":"0","data":[]}', "HTTP status 502"),
        ("200 OK", '{"code":"0","msg":""}', "data is not a list"),
        ("200 OK", '{"code":"0","data":null}', "data is not a list"),
        ("200 OK", '{"code":"0","data":{}}', "data is not a list"),
    ],
)
async def test_a_reply_without_a_list_or_success_is_an_error(
    tmp_path: Path, head: str, body: str, expected: str
) -> None:
    error = await result(tmp_path, head, body)
    assert isinstance(error, RestError)
    assert expected in str(error)
    assert error.action is Action.RETRY  # it may be transient


async def test_a_rejected_signature_is_sent_twice(tmp_path: Path, autojump_clock: MockClock) -> None:
    """The second is signed after the clock was measured; if that is wrong too, the secret is."""
    requests: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request.url.path)
        if request.url.path.endswith("public/time"):
            return reply({"code": "0", "data": [{"ts": "1700000000000"}]})
        return reply({"code": "50113", "msg": "Invalid Sign", "data": []})

    (account,) = load(write_config(tmp_path, Replay(1, {}).accounts_toml())).accounts
    http = MockHttp(answer)
    client = AccountClient(http, account, SiteClock(http, account.site.rest))
    with pytest.raises(RestError, match="50113") as failed:
        await client.get("account/positions")
    assert failed.value.action is Action.GIVE_UP
    assert [path.rpartition("/")[2] for path in requests if "positions" in path] == ["positions"] * 2


@pytest.mark.parametrize("head", ["200 OK", "400 Bad Request"])
async def test_a_request_with_an_unlisted_error_is_rejected(tmp_path: Path, head: str) -> None:
    error = await result(tmp_path, head, '{"code":"59999","msg":"no"}')
    assert isinstance(error, RestError)
    assert (error.action, error.is_rejection) == (Action.UNLISTED, True)


@pytest.mark.parametrize(("head", "is_rejection"), [("404 Not Found", True), ("403 Forbidden", False)])
async def test_an_endpoint_that_a_site_does_not_have_rejects_the_request(
    tmp_path: Path, head: str, is_rejection: bool
) -> None:
    error = await result(tmp_path, head, "<html></html>")
    assert isinstance(error, RestError)
    assert error.is_rejection is is_rejection


@pytest.mark.parametrize(("code", "attempts"), [("59999", 3), ("51000", 1), ("51400", 1), ("50030", 1), ("50001", 6)])
async def test_only_what_may_be_transient_is_retried(autojump_clock: MockClock, code: str, attempts: int) -> None:
    exchange = Exchange({"account/positions": code})
    with pytest.raises(RestError, match=code):
        await exchange.client.get("account/positions")
    assert len(exchange.asked) == attempts


async def test_an_error_about_a_header_does_not_show_it(tmp_path: Path) -> None:
    class Auth:
        async def headers(self, method: str, target: bytes, content: bytes) -> dict[str, str]:
            return {"OK-ACCESS-PASSPHRASE": "canary\n"}

    (account,) = load(write_config(tmp_path, Replay(1, {}).accounts_toml())).accounts
    async with open_http() as http:
        client = Client(http, "alpha", account.site, SiteClock(http, account.site.rest), Auth(), attempts=1)
        with pytest.raises(RestError) as caught:
            await client.get("account/config")
    assert str(caught.value) == "account/config: LocalProtocolError"
