"""A keyring may block, and the event loop continues meanwhile."""

import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import trio

from okxsync.config import reveal
from okxsync.config.secret import ConfigError, Secret, SecretSource
from okxsync.config.settings import AccountSettings
from okxsync.okx.sites import Site
from okxsync.rest.client import AccountClient, RestError
from okxsync.rest.clock import SiteClock
from okxsync.rest.http import open_http

KEYRING = Secret(SecretSource(keyring="okx/alpha"), Path())
PLAIN = Secret("plain", Path())


@pytest.fixture
def unlocked(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """A keyring that waits until it is unlocked."""
    unlocked = threading.Event()

    def get_password(service: str, user: str) -> str:
        return f"{service} {user}" if unlocked.wait(5) else ""

    monkeypatch.setitem(sys.modules, "keyring", SimpleNamespace(get_password=get_password))
    return unlocked


async def test_a_keyring_that_waits_does_not_block_the_loop(unlocked: threading.Event) -> None:
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def unlock() -> None:
            unlocked.set()

        assert await reveal.reveal(KEYRING, PLAIN) == ["okx alpha", "plain"]


async def test_a_keyring_that_never_answers_is_a_missing_secret(
    unlocked: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reveal, "KEYRING_TIMEOUT_S", 0.05)
    with pytest.raises(ConfigError, match="the keyring does not answer"):
        await reveal.reveal(KEYRING)
    assert await reveal.reveal(PLAIN) == ["plain"]
    unlocked.set()


class Unchecked(Secret):
    def reveal(self) -> str:
        return "canary\r"


async def test_an_invalid_header_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("okxsync.rest.client.ATTEMPTS", 1)
    secret = Unchecked("", Path())
    async with trio.open_nursery() as nursery, open_http() as http:
        listeners = await nursery.start(trio.serve_tcp, lambda stream: stream.receive_some(), 0)
        url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        site = Site(url, "", "", "")
        account = AccountSettings("alpha", "local", site, False, PLAIN, PLAIN, secret, (), True)
        with pytest.raises(RestError) as caught:
            await AccountClient(http, account, SiteClock(http, url)).get("account/config")
        assert str(caught.value) == "account/config: LocalProtocolError"
        nursery.cancel_scope.cancel()
