"""What counts as an answer of REST, over real sockets."""

from pathlib import Path

import pytest

from okxsync.config.settings import load
from okxsync.okx.codes import Action
from okxsync.rest import client as module
from okxsync.rest.client import AccountClient, RestError
from okxsync.rest.clock import SiteClock
from okxsync.rest.http import open_http
from tests.support.replay import Replay, write_config
from tests.support.replies import saying


async def asked(folder: Path, head: str, body: str) -> bytes | RestError:
    """Return what a question comes to that is answered like this."""
    answer = f"HTTP/1.1 {head}\r\ncontent-length: {len(body)}\r\n\r\n{body}"
    async with saying(answer.encode()) as url, open_http() as http:
        (account,) = load(write_config(folder, Replay(int(url[:-1].rpartition(":")[2]), {}).accounts_toml())).accounts
        try:
            return await AccountClient(http, account, SiteClock(http, account.site.rest)).get("account/positions")
        except RestError as error:
            return error


async def test_an_empty_list_is_an_answer(tmp_path: Path) -> None:
    assert await asked(tmp_path, "200 OK", '{"code":"0","msg":"","data": []}') == b"[]"


@pytest.mark.parametrize(
    ("head", "body", "said"),
    [
        ("503 Service Unavailable", '{"code":"0","msg":""}', "HTTP status 503"),
        ("403 Forbidden", '{"code":0}', "HTTP status 403"),
        ("502 Bad Gateway", '{"code":"0","data":[]}', "HTTP status 502"),
        ("200 OK", '{"code":"0","msg":""}', "no list of data"),
        ("200 OK", '{"code":"0","data":null}', "no list of data"),
        ("200 OK", '{"code":"0","data":{}}', "no list of data"),
    ],
)
async def test_what_is_no_list_or_no_success_proves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, head: str, body: str, said: str
) -> None:
    monkeypatch.setattr(module, "ATTEMPTS", 1)
    error = await asked(tmp_path, head, body)
    assert isinstance(error, RestError)
    assert said in str(error)
    assert error.action is Action.RETRY  # it may pass
