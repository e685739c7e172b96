"""Accounts are identified with retries; nothing of REST is stored before that."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from okxsync.accounts.registry import Registry
from okxsync.config.settings import Settings, load
from okxsync.messages import ConfiguredAccount, Message, Note
from okxsync.mirror.queries import Identity
from okxsync.rest import client
from okxsync.rest.clients import Clients
from okxsync.rest.http import open_http
from okxsync.runtime.outbox import Inbox
from tests.support.outbox import queue, queued
from tests.support.replay import WITHIN_S, Replay, write_config


def reply(row: str) -> bytes:
    body = f'{{"code":"0","msg":"","data":[{row}]}}'.encode()
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)


NO_UID = reply('{"perm":"read_only"}')
ONE = reply('{"uid":"1","perm":"read_only"}')


class Identifying:
    """A registry on a scripted server, with the messages that it sends to the writer."""

    def __init__(self, registry: Registry, settings: Settings, messages: Inbox) -> None:
        self.registry = registry
        self.settings = settings
        self._messages = messages
        self._received: list[Message] = []

    def received(self) -> list[Message]:
        """Return all messages sent so far."""
        self._received += queued(self._messages)
        return self._received


@asynccontextmanager
async def identifying(
    folder: Path,
    *answers: bytes,
    names: tuple[str, ...] = ("alpha",),
    known: dict[str, Identity] | None = None,
    changed: Callable[[str], Awaitable[None]] | None = None,
) -> AsyncIterator[Identifying]:
    left = list(answers)

    async def serve(stream: trio.SocketStream) -> None:
        if await stream.receive_some():
            await stream.send_all(left.pop(0) if len(left) > 1 else left[0])

    async def ignore(name: str) -> None:
        pass

    send, messages = queue()
    async with trio.open_nursery() as nursery, open_http() as http:
        listeners = await nursery.start(trio.serve_tcp, serve, 0)
        text = Replay(listeners[0].socket.getsockname()[1], {}).accounts_toml("orders")
        head, table = text.split("[[accounts]]")
        tables = [table.replace("alpha", name) for name in names]
        settings = load(write_config(folder, "[[accounts]]".join([head, *tables])))
        clients = Clients(http, settings.accounts)
        registry = Registry(clients.of, send, known or {}, changed or ignore)
        registry.configure(settings.accounts)
        nursery.start_soon(registry.identify, settings.accounts)
        yield Identifying(registry, settings, messages)
        nursery.cancel_scope.cancel(reason="the test is over")


def notes(messages: list[Message]) -> list[tuple[str, str | None]]:
    return [(one.event, one.account) for one in messages if isinstance(one, Note)]


def configs(messages: list[Message]) -> list[str | None]:
    return [one.config for one in messages if isinstance(one, ConfiguredAccount)]


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(WITHIN_S):
        while not condition():  # noqa: ASYNC110 - there is no event to wait for
            await trio.sleep(0.01)


async def test_requests_are_repeated_until_there_is_a_uid(tmp_path: Path) -> None:
    async with identifying(tmp_path, NO_UID, b"HTTP/1.1 503 Busy\r\n\r\n", NO_UID, ONE) as running:
        await until(lambda: len(configs(running.received())) == 2)
        assert configs(running.received()) == [None, '{"uid":"1","perm":"read_only"}']
        assert set(notes(running.received())) == {("account-config-failed", "alpha")}
        assert running.registry.client_of("alpha") is not None


async def test_two_accounts_without_a_uid_are_not_duplicates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "ATTEMPTS", 1)
    async with identifying(tmp_path, NO_UID, names=("alpha", "beta")) as running:
        await until(lambda: len(notes(running.received())) == 2)
        assert sorted(notes(running.received()), key=str) == [
            ("account-config-failed", "alpha"),
            ("account-config-failed", "beta"),
        ]
        assert running.registry.client_of("alpha") is None
        assert running.registry.blocked("alpha") is None  # no rows of another account are stored


async def test_a_name_with_rows_is_held_back_until_the_first_response_or_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "ATTEMPTS", 1)
    changes: list[tuple[str, str | None]] = []

    async def changed(name: str) -> None:
        changes.append((name, running.registry.blocked(name)))

    known = {"alpha": Identity("2", False)}
    async with identifying(tmp_path, NO_UID, ONE, known=known, changed=changed) as running:
        assert running.registry.blocked("alpha") == ""
        await until(lambda: len(changes) == 2)
        (name, first), (_, second) = changes
        assert (name, first) == ("alpha", None)
        assert second is not None
        assert second.startswith(
            'key "alpha" belongs to OKX account uid 1, but the data stored as "alpha" is for uid 2'
        )
        assert running.registry.client_of("alpha") is None
        await until(lambda: ("account-mismatch", "alpha") in notes(running.received()))
